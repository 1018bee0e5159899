package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/importer"
	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/tokens"
)

// tokenRows are lines from 2 on, each of a token A-TOKEN-OF-n of shopper-n.
func tokenRows(n int) billing.ImportRows[importer.Token] {
	return func(yield func(importer.Token, error) bool) {
		for i := range n {
			row := importer.Token{Line: i + 2, Token: tokens.Token{
				MerchantAccount: "DemoEU", Reference: fmt.Sprintf("A-TOKEN-OF-%d", i+2), ShopperReference: fmt.Sprintf("shopper-%d", i+2),
			}}
			if !yield(row, nil) {
				return
			}
		}
	}
}

// silentLines are what is told of lines without an answer.
func silentLines(from, to int) string {
	var all strings.Builder
	for line := from; line <= to; line++ {
		reference := tokens.Token{Reference: fmt.Sprintf("A-TOKEN-OF-%d", line)}.MaskedReference()
		fmt.Fprintf(&all, "book.csv:%d: token %q: not checked: no answer\n", line, reference)
	}
	return all.String()
}

func TestTokenCheck(t *testing.T) {
	broken := errors.New("the account has no such privilege")
	tests := []struct {
		name   string
		rows   int
		read   func(line string, try int) (tokens.Reading, error)
		want   checkResult
		stderr string
		err    error
	}{
		{"all known", 40, func(string, int) (tokens.Reading, error) { return tokens.Reading{}, nil }, checkResult{Checked: 40}, "", nil},
		{"an empty book", 0, nil, checkResult{}, "", nil},
		{"one unknown, one that is not charged", 4, func(line string, _ int) (tokens.Reading, error) {
			switch line {
			case "3":
				return tokens.Reading{}, fmt.Errorf("read: %w", tokens.ErrNotFound)
			case "4":
				return tokens.Reading{Status: tokens.StatusInvalid}, nil
			}
			return tokens.Reading{Status: tokens.StatusValid}, nil
		}, checkResult{Checked: 4, Unknown: 1, Invalid: 1}, "book.csv:3: token \"…OF-3\": the gateway does not know this token for this shopper\n", nil},
		{"an answer at the third try", 2, func(_ string, try int) (tokens.Reading, error) {
			if try < 3 {
				return tokens.Reading{}, tokens.ErrUnanswered
			}
			return tokens.Reading{}, nil
		}, checkResult{Checked: 2}, "", nil},
		{"one without an answer", 3, func(line string, _ int) (tokens.Reading, error) {
			if line == "2" {
				return tokens.Reading{}, tokens.ErrUnanswered
			}
			return tokens.Reading{}, nil
		}, checkResult{Checked: 2, Unanswered: 1}, "book.csv:2: token \"…OF-2\": not checked: no answer\n", nil},
		{"what is wrong with the account ends it", 30, func(line string, _ int) (tokens.Reading, error) {
			if line == "3" {
				return tokens.Reading{}, broken
			}
			return tokens.Reading{}, nil
		}, checkResult{Checked: 1}, "", fmt.Errorf("line 3: %w", broken)},
		{"a gateway that is down ends it", 100, func(string, int) (tokens.Reading, error) { return tokens.Reading{}, tokens.ErrUnanswered },
			checkResult{Unanswered: 10}, silentLines(2, 11), errors.New("the gateway did not answer about 10 tokens, one after the other: the check stopped at line 11")},
		{"a silence between answers is none", 60, func(line string, _ int) (tokens.Reading, error) {
			if line == "7" {
				return tokens.Reading{}, nil
			}
			return tokens.Reading{}, tokens.ErrUnanswered
		}, checkResult{Checked: 1, Unanswered: 15}, silentLines(2, 6) + silentLines(8, 17), errors.New("the gateway did not answer about 10 tokens, one after the other: the check stopped at line 17")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var stderr bytes.Buffer
				var mu sync.Mutex
				tries := map[string]int{}
				c := tokenCheck{
					perSecond: 100, out: newImportOutput(&env{stdout: io.Discard, stderr: &stderr}, "book.csv"),
					read: func(_ context.Context, account string, ref tokens.Ref) (tokens.Reading, error) {
						line := ref.Token[len("A-TOKEN-OF-"):]
						if account != "DemoEU" || ref.ShopperReference != "shopper-"+line {
							t.Errorf("asked about line %s of %s, shopper %s", line, account, ref.ShopperReference)
						}
						mu.Lock()
						defer mu.Unlock()
						tries[line]++
						return tt.read(line, tries[line])
					},
				}
				err := c.run(t.Context(), tokenRows(tt.rows))
				if fmt.Sprint(err) != fmt.Sprint(tt.err) {
					t.Errorf("error %v, want %v", err, tt.err)
				}
				if diff := cmp.Diff(tt.want, c.result); diff != "" {
					t.Errorf("result (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(tt.stderr, stderr.String()); diff != "" {
					t.Errorf("stderr (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// However fast or slow gateways are, no second has more requests than the rate.
func TestTokenCheck_rate(t *testing.T) {
	for _, took := range []time.Duration{0, 70 * time.Millisecond, 3 * time.Second} {
		t.Run(took.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const rows, rate = 100, 10
				var mu sync.Mutex
				var sent []time.Time
				c := tokenCheck{
					perSecond: rate, out: newImportOutput(&env{stdout: io.Discard, stderr: io.Discard}, "book.csv"),
					read: func(context.Context, string, tokens.Ref) (tokens.Reading, error) {
						mu.Lock()
						sent = append(sent, time.Now())
						mu.Unlock()
						time.Sleep(took)
						return tokens.Reading{}, nil
					},
				}
				if err := c.run(t.Context(), tokenRows(rows)); err != nil || c.result.Checked != rows {
					t.Fatalf("%d checked, error %v", c.result.Checked, err)
				}
				for i := rate; i < len(sent); i++ {
					if within := sent[i].Sub(sent[i-rate]); within < time.Second {
						t.Fatalf("%d requests within %s", rate+1, within)
					}
				}
			})
		})
	}
}

// An interrupted check leaves nothing behind: the test ends only with its goroutines.
func TestTokenCheck_interrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := tokenCheck{
			perSecond: 10, out: newImportOutput(&env{stdout: io.Discard, stderr: io.Discard}, "book.csv"),
			read: func(ctx context.Context, _ string, ref tokens.Ref) (tokens.Reading, error) {
				if ref.Token == "A-TOKEN-OF-9" {
					cancel()
				}
				return tokens.Reading{}, ctx.Err()
			},
		}
		if err := c.run(ctx, tokenRows(1_000_000)); !errors.Is(err, context.Canceled) || c.result.Checked > 9 {
			t.Errorf("%d checked, error %v", c.result.Checked, err)
		}
	})
}

// A check asks the gateway about pairs of token and shopper, and only reads.
func TestImportTokensCommand_check(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != "/adyen/v71/storedPaymentMethods" {
			t.Errorf("unexpected request %s %s", r.Method, r.URL.Path)
		}
		shopper := r.URL.Query().Get("shopperReference")
		list := "[]"
		if shopper == "shopper-1" {
			list = `[{"id": "M5N7TQ4TG5PFWR50", "type": "scheme", "brand": "visa", "lastFour": "0042", "expiryMonth": "03", "expiryYear": "2030"}]`
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"merchantAccount": "DemoEU", "shopperReference": %q, "storedPaymentMethods": %s}`, shopper, list)
	}))
	t.Cleanup(server.Close)
	e, s := importSessionAt(t, server.URL)
	const header = "merchant_account,token,shopper_reference\n"
	file := importFile(t)
	known := file("known.csv", header+"DemoEU,M5N7TQ4TG5PFWR50,shopper-1\n")
	book := file("book.csv", header+"DemoEU,M5N7TQ4TG5PFWR50,shopper-1\nDemoEU,M5N7TQ4TG5PFWR50XX,shopper-1\nDemoEU,M5N7TQ4TG5PFWR51,shopper-2\n")
	const unknown = "the gateway does not know this token for this shopper"
	runImportCommands(t, e, []importCommandTest{
		{"instead of storing", []string{"tokens", book, "--dry-run", "--check", "--rate", "1000"}, exitFailure,
			"would import tokens: 3 rows: 3 new, 0 changed, 0 unchanged\ndry run: nothing was stored\n" +
				"checked 3 tokens at the gateway: 2 unknown, 0 that it would not charge, 0 without an answer\n",
			book + ":3: token \"…50XX\": " + unknown + "\n" + book + ":4: token \"…WR51\": " + unknown + "\n" +
				"contauth: check tokens: " + book + ": 2 tokens unknown to the gateway, 0 without an answer\n"},
		{"after storing, as JSON", []string{"tokens", book, "--check", "--rate", "1000", "--json"}, exitFailure,
			`{"kind":"result","rows":3,"bad":0,"new":3,"changed":0,"unchanged":0,"new_tokens":3,"held":0,"charges":0,"waived":0,"completed":0,"dry_run":false}` + "\n" +
				`{"kind":"unknown_token","line":3,"column":"token","value":"…50XX","want":"` + unknown + `"}` + "\n" +
				`{"kind":"unknown_token","line":4,"column":"token","value":"…WR51","want":"` + unknown + `"}` + "\n" +
				`{"kind":"check","checked":3,"unknown":2,"invalid":0,"unanswered":0}` + "\n",
			"contauth: check tokens: " + book + ": 2 tokens unknown to the gateway, 0 without an answer\n"},
		{"all known", []string{"tokens", known, "--check", "--rate", "1000"}, exitDone,
			"imported tokens: 1 row: 0 new, 0 changed, 1 unchanged\n" +
				"checked 1 token at the gateway: 0 unknown, 0 that it would not charge, 0 without an answer\n", ""},
	})
	for found, err := range s.db.FindTokens(t.Context(), postgres.TokenFilter{}) {
		if err != nil || found.State != tokens.Unverified || !found.ReadAt.IsZero() {
			t.Errorf("token %d is %s, read at %s, error %v: the check changed it", found.ID, found.State, found.ReadAt, err)
		}
	}
}
