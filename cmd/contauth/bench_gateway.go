package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/contauth/contauth/internal/bench"
)

// A benchGateway is a sandbox in a process of its own, and what it must have
// in its ledger when it ends.
type benchGateway struct {
	server  *bench.Server
	dir     string
	url     string
	baseURL string // as a merchant account has it
	client  http.Client
	posts   int64
	paid    []string // references of charges that the books call paid
}

// startGateway starts a sandbox with an empty ledger.
func (b *bencher) startGateway(ctx context.Context, latency time.Duration) (*benchGateway, error) {
	b.serial++
	gw := &benchGateway{dir: filepath.Join(b.dir, fmt.Sprintf("gateway-%d", b.serial))}
	var hello struct {
		URL string `json:"url"`
	}
	var err error
	gw.server, err = bench.StartServer(ctx, b.env.stderr, &hello, b.program,
		"sandbox", "--json", "--listen", "127.0.0.1:0", "--data", gw.dir, "--latency", latency.String())
	if err != nil {
		return nil, err
	}
	gw.url, gw.baseURL = hello.URL, hello.URL+"/adyen/v71"
	return gw, nil
}

func (gw *benchGateway) stop() {
	gw.client.CloseIdleConnections()
	gw.server.Stop()
	_ = os.RemoveAll(gw.dir) // what stays goes with the directory above it
}

func (gw *benchGateway) get(ctx context.Context, path string, read func(io.Reader) error) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, gw.url+path, nil)
	if err != nil {
		return err
	}
	answer, err := gw.client.Do(request)
	if err != nil {
		return fmt.Errorf("ask the gateway: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("ask the gateway for %s: HTTP %d", path, answer.StatusCode)
	}
	return read(answer.Body)
}

func (gw *benchGateway) stats(ctx context.Context) (stats bench.Stats, err error) {
	err = gw.get(ctx, "/sandbox/stats", func(r io.Reader) error { return json.NewDecoder(r).Decode(&stats) })
	return stats, err
}

// expect notes what a run, or a naive loop's mark, has charged since a moment.
func (gw *benchGateway) expect(ctx context.Context, data bench.Book, runID int64, since time.Time) error {
	paid, err := data.Paid(ctx, runID, since)
	gw.paid = append(gw.paid, paid...)
	return err
}

// check compares the ledger with what was posted and what is paid.
func (gw *benchGateway) check(ctx context.Context) error {
	var ledger *bench.Ledger
	err := gw.get(ctx, "/sandbox/ledger", func(r io.Reader) (err error) {
		ledger, err = bench.ReadLedger(r)
		return err
	})
	if err != nil {
		return err
	}
	stats, err := gw.stats(ctx)
	if err != nil {
		return err
	}
	return errors.Join(stats.Check(gw.posts), ledger.Check(gw.posts, bench.ChargePrefix, gw.paid))
}
