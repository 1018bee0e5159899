package mastercard_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/billing"
)

var update = flag.Bool("update", false, "rewrite testdata/*.golden from what the client answers now")

// Each testdata/NAME.nvp is an answer of the gateway's to testRequest; NAME.golden
// is what contauth makes of it.
func TestCharge_replies(t *testing.T) {
	files, err := filepath.Glob("testdata/*.nvp")
	if err != nil || len(files) < 15 {
		t.Fatalf("%d answers in testdata, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".nvp"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			w := answering(t, func(form) string { return httpAnswer(201, string(text)) })
			reply, err := newClient(t, w.URL).Charge(t.Context(), testRequest())
			got := describe(reply, err)
			golden := strings.TrimSuffix(file, ".nvp") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("reply (-want +got):\n%s", diff)
			}
		})
	}
}

func describe(reply billing.Reply, err error) string {
	var no *billing.NotProcessedError
	switch {
	case errors.As(err, &no):
		return fmt.Sprintf("not processed (%s, counted %t): %v\n", no.Scope, no.Counted, err)
	case errors.Is(err, billing.ErrMismatch):
		return fmt.Sprintf("mismatch: %v\n", err)
	case errors.Is(err, billing.ErrInProgress):
		return fmt.Sprintf("in progress: %v\n", err)
	case err != nil:
		return fmt.Sprintf("unknown: %v\n", err)
	}
	facts := []struct{ name, value string }{
		{"outcome", string(reply.Outcome)}, {"class", string(reply.Class)}, {"gateway_reference", reply.GatewayReference},
		{"result_code", reply.ResultCode}, {"refusal_code", reply.RefusalCode}, {"refusal_reason", reply.RefusalReason},
		{"raw_code", reply.RawCode}, {"advice_code", reply.AdviceCode},
	}
	var text strings.Builder
	for _, f := range facts {
		if f.value != "" {
			fmt.Fprintf(&text, "%s: %s\n", f.name, f.value)
		}
	}
	return text.String()
}
