//go:build scale

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/contauth/contauth/internal/importer"
	"github.com/contauth/contauth/internal/postgres"

	"github.com/contauth/contauth/billing"
)

// TestScaleImport imports a million subscriptions with as many tokens.
func TestScaleImport(t *testing.T) {
	importTwice(t, importKind[billing.ImportedSubscription]{read: importer.Subscriptions, store: (*postgres.DB).ImportSubscriptions},
		"reference,merchant_account,shopper_reference,token,payment_method,amount_minor,currency,interval_unit,interval_count,anchor,timezone,max_cycles,ends_on,description",
		func(w io.Writer, i int) {
			fmt.Fprintf(w, "SUB-%08d,DemoEU,shopper-%08d,TKN%08dXQ,,%d,EUR,month,1,2026-01-%02dT09:00,Europe/Berlin,,,plan %d\n", i, i, i, 500+i%9000, 1+i%31, i%7)
		})
}

// TestScaleImportTokens imports a million tokens with their cards.
func TestScaleImportTokens(t *testing.T) {
	importTwice(t, importKind[importer.Token]{read: importer.Tokens, store: storeTokens},
		"merchant_account,token,shopper_reference,payment_method,expiry,brand,last_four",
		func(w io.Writer, i int) {
			fmt.Fprintf(w, "DemoEU,TKN%08dXQ,shopper-%08d,,20%02d-%02d,visa,%04d\n", i, i, 27+i%9, 1+i%12, i%10_000)
		})
}

// importTwice imports a million lines, twice, and watches the rate and this
// process's memory.
func importTwice[Row any](t *testing.T, kind importKind[Row], header string, line func(w io.Writer, i int)) {
	t.Helper()
	const rows, rate, heap = 1_000_000, 50_000, 64 << 20
	path := filepath.Join(t.TempDir(), "book.csv")
	writeBook(t, path, rows, header, line)
	_, s := importSession(t)
	var peak uint64
	req := billing.ImportRequest{
		Actor: "scale", File: "book.csv", Hash: func() string { return "" },
		Bad:     func(row billing.BadRow) error { return &row },
		Changed: func(c billing.ImportChange) error { return fmt.Errorf("unexpected difference %+v", c) },
	}
	for _, what := range []string{"new", "again"} {
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		n, start := 0, time.Now()
		read := kind.read(file, importer.Options{Accounts: amountCheckers(s.config), Now: time.Now()})
		watched := func(yield func(Row, error) bool) {
			for row, err := range read {
				if n++; n%50_000 == 0 {
					var m runtime.MemStats
					runtime.ReadMemStats(&m)
					peak = max(peak, m.HeapInuse)
				}
				if !yield(row, err) {
					return
				}
			}
		}
		result, err := kind.store(s.db, t.Context(), watched, req)
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
		took := time.Since(start)
		t.Logf("%s: %d rows in %s, %.0f rows/s, peak heap %d KiB: %+v", what, result.Rows, took.Round(time.Millisecond), rows/took.Seconds(), peak>>10, result)
		if got := rows / took.Seconds(); got < rate {
			t.Errorf("%s: %.0f rows/s, want %d", what, got, rate)
		}
	}
	if peak > heap {
		t.Errorf("peak heap %d bytes, want at most %d", peak, heap)
	}
}

func writeBook(t *testing.T, path string, rows int, header string, line func(w io.Writer, i int)) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(file)
	fmt.Fprintln(w, header)
	for i := range rows {
		line(w, i)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}
