package main

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/gateway/sandbox"
	"github.com/contauth/contauth/internal/logtest"
	"github.com/contauth/contauth/internal/pgtest"
	"github.com/contauth/contauth/internal/postgres"
	"github.com/contauth/contauth/scheduler"
)

// A stage is the real pipeline in this process: Postgres, a gateway's adapter
// and the sandbox over HTTP.
type stage struct {
	t       *testing.T
	dialect dialect
	db      *postgres.DB
	runner  *scheduler.Runner
	address string
}

func newStage(t *testing.T, d dialect, rules string) *stage {
	t.Helper()
	ctx := t.Context()
	parsed, err := sandbox.ParseScript("script", []byte(rules))
	if err != nil {
		t.Fatal(err)
	}
	server, err := sandbox.New(sandbox.Options{DataDir: t.TempDir(), Rules: parsed})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := sandbox.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan error, 1)
	go func() { served <- server.Serve(serving, listener) }()
	t.Cleanup(func() {
		stop()
		<-served
		server.Close()
	})
	return newStageAt(t, d, listener.Addr().String())
}

func newStageAt(t *testing.T, d dialect, address string) *stage {
	t.Helper()
	ctx := t.Context()
	logger := logtest.New(t)
	db, err := postgres.Open(ctx, pgtest.New(t).DSN, logger)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	client := d.client("http://"+address, logger)
	if err := db.SyncAccounts(ctx, []postgres.AccountSettings{{
		ID: d.account, Gateway: d.name, Environment: "test", BaseURL: client.Endpoint(), ReturnURL: "https://example.invalid/", MaxInFlight: 4,
	}}); err != nil {
		t.Fatal(err)
	}
	key, err := db.KeySecret(ctx)
	if err != nil {
		t.Fatal(err)
	}
	replays := []time.Duration{20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond}
	collectors := map[string]*billing.Collector{
		d.account: billing.NewCollector(client, billing.NewAttemptKeyer(key, d.name, "test"), replays),
	}
	process, err := db.RegisterProcess(ctx, "test")
	if err != nil {
		t.Fatal(err)
	}
	runner := scheduler.NewRunner(db, process, collectors, scheduler.Options{
		Lease: 5 * time.Second, GatewayTimeout: 2 * time.Second, ClaimAhead: 500 * time.Millisecond, Flush: time.Millisecond, Replays: replays,
	}, logger)
	return &stage{t: t, dialect: d, db: db, runner: runner, address: address}
}

// addCharges stores n due charges, each with a token of its own.
func (s *stage) addCharges(n int) {
	s.t.Helper()
	const query = `
		WITH t AS (INSERT INTO tokens (merchant_account, token, shopper_reference)
		           SELECT $2, 'TK' || i, 'shopper-' || i FROM generate_series(1, $1) i RETURNING id)
		INSERT INTO charges (token_id, amount_minor, due_at, next_attempt_at, decided_by, currency, model, merchant_account, reference)
		SELECT id, 1000 + id, now() - interval '1 day', now() - interval '1 day', 'test', 'EUR', 'UnscheduledCardOnFile', $2, 'req-' || id
		  FROM t`
	if _, err := s.db.SQL().Exec(query, n, s.dialect.account); err != nil {
		s.t.Fatal(err)
	}
}

// work plans a run and works it to its end.
func (s *stage) work() (scheduler.Result, scheduler.Report) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	plan, err := s.db.PlanRun(ctx, scheduler.PlanRequest{Actor: "test"})
	if err != nil {
		s.t.Fatal(err)
	}
	result, err := s.runner.Work(ctx, plan.Run.ID, "test", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	report, err := s.db.ReportRun(ctx, plan.Run.ID)
	if err != nil {
		s.t.Fatal(err)
	}
	return result, report
}

// An ending is how a charge stands after a fault, what the first answer meant,
// and what the gateway has in its ledger for it.
type ending struct {
	First    billing.Outcome
	State    billing.ChargeState
	Reason   billing.Reason
	Answered int
	Charged  int // authorised payments at the gateway
}

func (s *stage) ending() ending {
	s.t.Helper()
	var e ending
	const query = `
		SELECT coalesce((SELECT o.outcome FROM observations o WHERE o.charge_id = c.id ORDER BY o.id LIMIT 1), ''), c.state, c.reason, c.answered
		  FROM charges c`
	if err := s.db.SQL().QueryRow(query).Scan(&e.First, &e.State, &e.Reason, &e.Answered); err != nil {
		s.t.Fatal(err)
	}
	w := &world{t: s.t, gateway: "http://" + s.address, http: testClient()}
	for _, entry := range w.ledger() {
		if entry.ResultCode == "Authorised" {
			e.Charged++
		}
	}
	return e
}

// Every fault of the gateway, before and after it acted, once, and where the
// charge ends. "Once" means that the next try of the same request finds the
// gateway well again.
func TestGatewayFault_EndsWhereItMust(t *testing.T) {
	const (
		authorised, refused, pending = billing.OutcomeAuthorised, billing.OutcomeRefused, billing.OutcomePending
		unknown, notProcessed        = billing.OutcomeUnknown, billing.OutcomeNotProcessed
	)
	var (
		paidAfterUnknown = ending{unknown, billing.ChargePaid, "", 1, 1}
		paidAfterNo      = ending{notProcessed, billing.ChargePaid, "", 1, 1}
		accountStopped   = ending{notProcessed, billing.ChargeDue, billing.ReasonAccountRefused, 0, 0}
		heldForPerson    = ending{notProcessed, billing.ChargeHeld, billing.ReasonRequestRejected, 1, 0}
	)
	tests := []struct {
		name string
		rule string // everything but the match and the times
		want ending
	}{
		{"refused, no money", "do: refuse, code: 12", ending{refused, billing.ChargeDue, billing.ReasonRefusedSoft, 1, 0}},
		{"refused, blocked card", "do: refuse, code: 5", ending{refused, billing.ChargeUnpaid, billing.ReasonRefusedHard, 1, 0}},
		{"refused, expired card", "do: refuse, code: 6", ending{refused, billing.ChargeHeld, billing.ReasonTokenInvalid, 1, 0}},
		{"refused, fraud", "do: refuse, code: 20", ending{refused, billing.ChargeUnpaid, billing.ReasonRefusedFraud, 1, 0}},
		{"refused, invalid amount", "do: refuse, code: 7", ending{refused, billing.ChargeHeld, billing.ReasonRefusedConfig, 1, 0}},
		{"refused, issuer unavailable", "do: refuse, code: 9", ending{refused, billing.ChargeDue, billing.ReasonRefusedTechnical, 1, 0}},
		{"result Error", "do: refuse, code: 4", ending{refused, billing.ChargeDue, billing.ReasonRefusedTechnical, 1, 0}},
		{"result Cancelled", "do: refuse, code: 22", ending{refused, billing.ChargeUnpaid, billing.ReasonRefusedFraud, 1, 0}},
		{"result Pending", "do: result, with: Pending", ending{pending, billing.ChargePending, billing.ReasonAwaitsGateway, 0, 0}},
		{"result Received", "do: result, with: Received", ending{pending, billing.ChargePending, billing.ReasonAwaitsGateway, 0, 0}},
		{"result that asks for the shopper", "do: result, with: RedirectShopper", ending{refused, billing.ChargeUnpaid, billing.ReasonRefusedHard, 1, 0}},
		{"result for a part of the amount", "do: result, with: PartiallyAuthorised", ending{unknown, billing.ChargeUnknown, billing.ReasonAnswerMissing, 0, 0}},
		{"result that nobody knows", "do: result, with: Maybe", ending{unknown, billing.ChargeUnknown, billing.ReasonAnswerMissing, 0, 0}},

		{"reset before acting", "when: before, do: reset", paidAfterUnknown},
		{"reset after acting", "when: after, do: reset", paidAfterUnknown},
		{"no answer before acting", "when: before, do: drop", paidAfterUnknown},
		{"no answer after acting", "when: after, do: drop", paidAfterUnknown},
		{"slow drip of a request to try later, before acting", "when: before, do: drip", paidAfterNo},
		{"slow drip after acting", "when: after, do: drip", paidAfterUnknown},
		{"late answer before acting", "when: before, do: delay, wait: 300ms", ending{authorised, billing.ChargePaid, "", 1, 1}},
		{"late answer after acting", "when: after, do: delay, wait: 300ms", ending{authorised, billing.ChargePaid, "", 1, 1}},

		{"500 internal before acting", "when: before, do: status, code: 500", paidAfterUnknown},
		{"500 internal after acting", "when: after, do: status, code: 500", paidAfterUnknown},
		{"502 before acting", "when: before, do: status, code: 502", paidAfterUnknown},
		{"502 after acting", "when: after, do: status, code: 502", paidAfterUnknown},
		{"504 after acting", "when: after, do: status, code: 504", paidAfterUnknown},
		{"503 without the transient mark", "when: after, do: status, code: 503, transient: false", paidAfterUnknown},
		{"503 with the transient mark", "when: before, do: status, code: 503", paidAfterNo},
		{"408", "when: before, do: status, code: 408", paidAfterUnknown},
		{"429", "when: before, do: status, code: 429", paidAfterNo},
		{"429 with Retry-After", "when: before, do: status, code: 429, retry_after: 2", paidAfterNo},
		{"409 in progress", "when: before, do: status, code: 409, error_code: '704'", paidAfterUnknown},
		{"422 in progress", "when: before, do: status, code: 422, error_code: '704'", paidAfterUnknown},

		{"400", "when: before, do: status, code: 400", accountStopped},
		{"401", "when: before, do: status, code: 401", accountStopped},
		{"403", "when: before, do: status, code: 403", accountStopped},
		{"404", "when: before, do: status, code: 404", accountStopped},
		{"405", "when: before, do: status, code: 405", accountStopped},
		{"413", "when: before, do: status, code: 413", accountStopped},
		{"moved for good", "when: before, do: redirect, code: 301, with: 'http://127.0.0.1:1/'", accountStopped},
		{"a redirect before acting", "when: before, do: redirect, with: 'http://127.0.0.1:1/'", paidAfterUnknown},
		{"a redirect after acting", "when: after, do: redirect, with: 'http://127.0.0.1:1/'", paidAfterUnknown},
		{"422 validation", "when: before, do: status, code: 422, error_code: '130', error_type: validation", heldForPerson},
		{"500 of type validation", "when: before, do: status, code: 500, error_type: validation", heldForPerson},
		{"500 of type configuration", "when: before, do: status, code: 500, error_type: configuration", heldForPerson},
		{"500 of type security", "when: before, do: status, code: 500, error_type: security", heldForPerson},
		{"422 no such token", "when: before, do: status, code: 422, error_code: '803'", ending{notProcessed, billing.ChargeHeld, billing.ReasonTokenNotFound, 1, 0}},
		{"422 nothing stored for the shopper", "when: before, do: status, code: 422, error_code: '800'", ending{notProcessed, billing.ChargeHeld, billing.ReasonTokenNotFound, 1, 0}},
		{"stored I/O error, not charged", "when: before, do: stored_io_error", ending{unknown, billing.ChargeUnknown, billing.ReasonAnswerMissing, 0, 0}},
		{"stored I/O error, charged", "when: after, do: stored_io_error", ending{unknown, billing.ChargeUnknown, billing.ReasonAnswerMissing, 0, 1}},

		{"garbage before acting", "when: before, do: garbage", paidAfterUnknown},
		{"garbage after acting", "when: after, do: garbage", paidAfterUnknown},
		{"an HTML page after acting", "when: after, do: garbage, body: html", paidAfterUnknown},
		{"an empty body after acting", "when: after, do: garbage, body: empty", paidAfterUnknown},
		{"truncated JSON after acting", "when: after, do: garbage, body: truncated", paidAfterUnknown},
		{"half an answer, then the end", "when: after, do: garbage, body: cut", paidAfterUnknown},
		{"a body of a gigabyte", "when: after, do: garbage, body: huge", paidAfterUnknown},
		{"duplicate keys in the JSON", "when: after, do: garbage, body: duplicate_keys", paidAfterUnknown},
		{"a wrong content type", "when: after, do: garbage, body: content_type", paidAfterUnknown},
		{"JSON that is no answer", "when: after, do: garbage, body: other", paidAfterUnknown},
		{"a wrong amount in the answer", "when: after, do: wrong_amount", paidAfterUnknown},
		{"a wrong currency in the answer", "when: after, do: wrong_currency", paidAfterUnknown},
		{"another payment's reference in the answer", "when: after, do: wrong_reference", paidAfterUnknown},
		{"100 Continue that nobody asked for", "when: after, do: continue", ending{authorised, billing.ChargePaid, "", 1, 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, adyenDialect, fmt.Sprintf("- {match: {every: 1}, times: 1, %s}", tt.rule))
			s.addCharges(1)
			s.work()
			if diff := cmp.Diff(tt.want, s.ending()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// A gateway that cannot be reached costs no attempt: everything is still due,
// and the report says why.
func TestGatewayFault_RefusedConnection(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close() // nobody listens there now
	s := newStageAt(t, adyenDialect, address)
	s.addCharges(50)
	result, report := s.work()
	if len(result.Stops) != 1 || result.Stops[0].Reason != billing.ReasonGatewayUnavailable {
		t.Errorf("stops: %+v, want gateway_unavailable", result.Stops)
	}
	if got := report.Totals[0].Postponed.Count; got != 50 {
		t.Errorf("%d postponed, want 50", got)
	}
	var attempts int
	if err := s.db.SQL().QueryRow(`SELECT sum(answered) FROM charges WHERE state = 'due'`).Scan(&attempts); err != nil || attempts != 0 {
		t.Errorf("%d attempts used up (%v), want none", attempts, err)
	}
}

// A burst of "no such token" is the account's fault, not that of its tokens.
func TestGatewayFault_BurstOfUnknownTokens(t *testing.T) {
	t.Parallel()
	s := newStage(t, adyenDialect, "- {match: {every: 1}, when: before, do: status, code: 422, error_code: '803'}")
	s.addCharges(200)
	result, report := s.work()
	if len(result.Stops) != 1 || result.Stops[0].Reason != billing.ReasonAccountRefused {
		t.Errorf("stops: %+v, want account_refused", result.Stops)
	}
	if held := report.Totals[0].Held.Count; held > 10 {
		t.Errorf("%d charges held before the brake, want at most 10", held)
	}
	var dead int
	if err := s.db.SQL().QueryRow(`SELECT count(*) FROM tokens WHERE state = 'invalid'`).Scan(&dead); err != nil || dead != 0 {
		t.Errorf("%d tokens called invalid (%v), want none", dead, err)
	}
}

// A gateway that answers everything with a page is left alone after a few tries.
func TestGatewayFault_OnlyPages(t *testing.T) {
	t.Parallel()
	s := newStage(t, adyenDialect, "- {match: {every: 1}, when: before, do: garbage, body: html}")
	s.addCharges(500)
	result, report := s.work()
	if len(result.Stops) != 1 || result.Stops[0].Reason != billing.ReasonGatewayUnavailable {
		t.Errorf("stops: %+v, want gateway_unavailable", result.Stops)
	}
	if unknown := report.Totals[0].Unknown.Count; unknown > 60 {
		t.Errorf("%d of 500 charges are unknown, want a few", unknown)
	}
}
