package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/contauth/contauth/config"
	"github.com/contauth/contauth/internal/postgres"
)

// Where a sandbox shows its ledger and its counters.
const (
	sandboxLedger = "/sandbox/ledger"
	sandboxStats  = "/sandbox/stats"
)

// sandboxPayments is how a sandbox's base_url goes on behind its host.
var sandboxPayments = []string{"/adyen/", "/mastercard/"}

// longestLedgerLine is far beyond what the sandbox writes.
const longestLedgerLine = 1 << 20

// ledgerClient reads ledgers over HTTP. It waits a few seconds for an answer
// to begin, and for its end as long as the context allows.
var ledgerClient = &http.Client{
	Transport: &http.Transport{ResponseHeaderTimeout: 10 * time.Second},
	CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // a gateway that redirects is no sandbox
	},
}

// namedLedger opens the ledger that --ledger names: a file of JSON lines, or the
// address of a sandbox or of its ledger. It speaks for all configured accounts.
func namedLedger(ctx context.Context, cfg config.Config, name string) (postgres.Ledger, error) {
	ledger := postgres.Ledger{Name: name}
	names := accountNames(cfg)
	for _, account := range cfg.MerchantAccounts {
		ledger.MerchantAccounts = append(ledger.MerchantAccounts, account.ID)
	}
	if !strings.HasPrefix(name, "http://") && !strings.HasPrefix(name, "https://") {
		file, err := os.Open(name)
		if err != nil {
			return ledger, usageError("--ledger: %w", err)
		}
		file.Close()
		ledger.Entries = ledgerEntries(names, func() (io.ReadCloser, error) { return os.Open(name) })
		return ledger, nil
	}
	at, err := url.Parse(name)
	if err != nil {
		return ledger, usageError("--ledger: %w", err)
	}
	if at.Path == "" || at.Path == "/" {
		at.Path = sandboxLedger
	}
	if root, ok := strings.CutSuffix(at.String(), sandboxLedger); ok {
		if ledger.SameKeyOtherBody, err = readStats(ctx, root+sandboxStats); err != nil {
			return ledger, fmt.Errorf("--ledger: %w", err)
		}
	}
	ledger.Entries = ledgerEntries(names, func() (io.ReadCloser, error) { return get(ctx, at.String()) })
	return ledger, nil
}

// accountNames are our names of merchant accounts by those that their gateway
// knows them by, where the two differ.
func accountNames(cfg config.Config) map[string]string {
	names := map[string]string{}
	for _, account := range cfg.MerchantAccounts {
		if account.MerchantID != "" {
			names[account.MerchantID] = account.ID
		}
	}
	return names
}

// sandboxLedgers opens the ledgers of the sandboxes that the configured test
// accounts are charged at. A sandbox that does not answer is left out; check
// says so.
func sandboxLedgers(ctx context.Context, cfg config.Config) []postgres.Ledger {
	var ledgers []postgres.Ledger
	names := accountNames(cfg)
	at := map[string]int{} // by root: place in ledgers, -1 if it does not answer
	for _, account := range cfg.MerchantAccounts {
		root, ok := sandboxRoot(account)
		if !ok {
			continue
		}
		i, known := at[root]
		if !known {
			stats, err := readStats(ctx, root+sandboxStats)
			if i = -1; err == nil {
				i = len(ledgers)
				ledgers = append(ledgers, postgres.Ledger{
					Name: root + sandboxLedger, SameKeyOtherBody: stats,
					Entries: ledgerEntries(names, func() (io.ReadCloser, error) { return get(ctx, root+sandboxLedger) }),
				})
			}
			at[root] = i
		}
		if i >= 0 {
			ledgers[i].MerchantAccounts = append(ledgers[i].MerchantAccounts, account.ID)
		}
	}
	return ledgers
}

// sandboxRoot returns the address of the sandbox that an account is charged at:
// http://127.0.0.1:8090 for http://127.0.0.1:8090/adyen/v71. Real gateways have
// other paths, and are never asked for a ledger.
func sandboxRoot(account config.MerchantAccount) (string, bool) {
	at, err := url.Parse(account.BaseURL)
	ours := func(path string) bool { return strings.HasPrefix(at.Path, path) }
	if err != nil || account.Environment != config.EnvironmentTest || !slices.ContainsFunc(sandboxPayments, ours) {
		return "", false
	}
	return at.Scheme + "://" + at.Host, true
}

// readStats returns how many requests a sandbox has seen whose key it knew with
// other bytes.
func readStats(ctx context.Context, at string) (*int64, error) {
	body, err := get(ctx, at)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var stats struct {
		SameKeyOtherBody *int64 `json:"same_key_other_body"`
	}
	if err := json.NewDecoder(io.LimitReader(body, longestLedgerLine)).Decode(&stats); err != nil || stats.SameKeyOtherBody == nil {
		return nil, fmt.Errorf("%s is no sandbox: it does not tell what it counted", at)
	}
	return stats.SameKeyOtherBody, nil
}

func get(ctx context.Context, at string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	resp, err := ledgerClient.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("%s answers %s", at, resp.Status)
	}
	return resp.Body, nil
}

// ledgerEntries streams a ledger that is opened when it is read, with our names
// of the merchant accounts. An error, such as a ledger that breaks off, ends the
// stream.
func ledgerEntries(names map[string]string, open func() (io.ReadCloser, error)) iter.Seq2[postgres.LedgerEntry, error] {
	return func(yield func(postgres.LedgerEntry, error) bool) {
		in, err := open()
		if err != nil {
			yield(postgres.LedgerEntry{}, err)
			return
		}
		defer in.Close()
		readLedger(in)(func(entry postgres.LedgerEntry, err error) bool {
			if name, ok := names[entry.MerchantAccount]; ok {
				entry.MerchantAccount = name
			}
			return yield(entry, err)
		})
	}
}

// readLedger parses JSON lines. Fields that a later sandbox may add are passed by.
func readLedger(in io.Reader) iter.Seq2[postgres.LedgerEntry, error] {
	return func(yield func(postgres.LedgerEntry, error) bool) {
		lines := bufio.NewScanner(in)
		lines.Buffer(nil, longestLedgerLine)
		for n := 1; lines.Scan(); n++ {
			if len(bytes.TrimSpace(lines.Bytes())) == 0 {
				continue
			}
			entry, err := parseLedgerLine(lines.Bytes())
			if err != nil {
				err = fmt.Errorf("line %d: %w", n, err)
			}
			if !yield(entry, err) || err != nil {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(postgres.LedgerEntry{}, err)
		}
	}
}

var errNoPayment = errors.New("it is no payment: want a JSON object with merchant_account, reference, currency, result_code, psp_reference and at")

// parseLedgerLine reads one payment. Its errors never quote the line.
func parseLedgerLine(line []byte) (postgres.LedgerEntry, error) {
	var entry postgres.LedgerEntry
	if err := json.Unmarshal(line, &entry); err != nil {
		return postgres.LedgerEntry{}, errNoPayment
	}
	for _, text := range []string{entry.MerchantAccount, entry.Reference, entry.Currency, entry.ResultCode, entry.PSPReference} {
		if text == "" || strings.ContainsRune(text, 0) { // Postgres stores no zero bytes
			return postgres.LedgerEntry{}, errNoPayment
		}
	}
	if entry.At.IsZero() || strings.ContainsRune(entry.IdempotencyKey, 0) {
		return postgres.LedgerEntry{}, errNoPayment
	}
	return entry, nil
}
