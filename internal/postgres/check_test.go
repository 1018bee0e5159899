package postgres_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/postgres"
)

// A checkedDesk is a desk on which all has gone well, and what its gateway says: some
// of every kind of charge, so that each invariant has something to look at.
type checkedDesk struct {
	*desk
	keyer  *billing.AttemptKeyer
	ledger []postgres.LedgerEntry
	other  int64 // requests with a known key and other bytes, as the gateway counted

	subscription                                              billing.SubscriptionID
	paid, unpaid, unknown, held, elsewhere, due, again, taken billing.ChargeID
}

func newCheckedDesk(t testing.TB) *checkedDesk {
	t.Helper()
	b := &checkedDesk{desk: newDesk(t)}
	secret, err := b.db.KeySecret(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	b.keyer = billing.NewAttemptKeyer(secret, "adyen", "test")
	b.subscription = b.desk.subscription("gym-1", "2026-01-31 09:00")
	b.paid = b.chargeOf(b.subscription)
	b.answered(b.paid, billing.OutcomeAuthorised, billing.ChargePaid, "")
	b.unpaid = b.charge()
	b.answered(b.unpaid, billing.OutcomeRefused, billing.ChargeUnpaid, billing.ReasonRefusedHard)
	b.again = b.charge()
	b.answered(b.again, billing.OutcomeRefused, billing.ChargeDue, billing.ReasonRefusedSoft)
	b.unknown = b.charge()
	b.answered(b.unknown, billing.OutcomeUnknown, billing.ChargeUnknown, billing.ReasonAnswerMissing)
	b.paidAtGateway(b.unknown, 1)
	b.due, b.held, b.elsewhere, b.taken = b.charge(), b.charge(), b.charge(), b.charge()
	if _, err := b.db.HoldCharge(context.Background(), b.held, by("asks for time")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.db.ClosePaidElsewhere(context.Background(), b.elsewhere, by("paid in cash")); err != nil {
		t.Fatal(err)
	}
	b.claim(b.taken)
	return b
}

// answered charges a charge and records the answer; one that the gateway decided
// is in the ledger, too.
func (b *checkedDesk) answered(id billing.ChargeID, outcome billing.Outcome, state billing.ChargeState, reason billing.Reason) {
	b.t.Helper()
	c := b.claim(id)
	s := billing.Settlement{
		ChargeID: c.ID, RunID: c.RunID, Attempt: c.Attempt, LeaseNo: c.LeaseNo, TokenID: c.TokenID,
		Counted: outcome != billing.OutcomeUnknown, Source: billing.SourceAPI, Outcome: outcome, State: state, Reason: reason,
		ResolveIn: time.Minute, Reply: billing.Reply{RequestHash: [32]byte{byte(id), 1}},
	}
	switch outcome {
	case billing.OutcomeAuthorised:
		s.Reply.GatewayReference = b.paidAtGateway(id, c.Attempt).PSPReference
	case billing.OutcomeRefused:
		s.Reply.GatewayReference = b.atGateway(id, c.Attempt, "Refused").PSPReference
	}
	if _, err := b.db.Settle(context.Background(), []*billing.Settlement{&s}, nil); err != nil {
		b.t.Fatal(err)
	}
}

func (b *checkedDesk) paidAtGateway(id billing.ChargeID, attempt int) *postgres.LedgerEntry {
	b.t.Helper()
	return b.atGateway(id, attempt, "Authorised")
}

// atGateway adds a payment of a charge to the ledger.
func (b *checkedDesk) atGateway(id billing.ChargeID, attempt int, result string) *postgres.LedgerEntry {
	b.t.Helper()
	return b.entry(get[string](b.desk, `SELECT reference FROM charges WHERE id = $1`, id), attempt, result)
}

func (b *checkedDesk) entry(reference string, attempt int, result string) *postgres.LedgerEntry {
	b.ledger = append(b.ledger, postgres.LedgerEntry{
		IdempotencyKey:  b.keyer.Key(billing.OperationCharge, "DemoEU", reference, attempt),
		MerchantAccount: "DemoEU", Reference: reference + "~" + string(rune('0'+attempt)),
		AmountMinor: 1234, GatewayValue: 1234, Currency: "EUR", ResultCode: result,
		PSPReference: "PSP" + string(rune('A'+len(b.ledger))), At: time.Date(2026, 1, 31, 23, 59, 59, 0, time.UTC),
	})
	return &b.ledger[len(b.ledger)-1]
}

// of returns the one entry of a charge's first attempt.
func (b *checkedDesk) of(id billing.ChargeID) *postgres.LedgerEntry {
	b.t.Helper()
	reference := get[string](b.desk, `SELECT reference FROM charges WHERE id = $1`, id) + "~1"
	for i := range b.ledger {
		if b.ledger[i].Reference == reference {
			return &b.ledger[i]
		}
	}
	b.t.Fatalf("%s is not in the ledger", reference)
	return nil
}

// lose takes the entry of a charge out of the ledger.
func (b *checkedDesk) lose(id billing.ChargeID) {
	b.t.Helper()
	reference := b.of(id).Reference
	b.ledger = slices.DeleteFunc(b.ledger, func(e postgres.LedgerEntry) bool { return e.Reference == reference })
}

// note stores an observation as only a fault could.
func (b *checkedDesk) note(id billing.ChargeID, attempt int, source, outcome string, hash byte) {
	b.t.Helper()
	b.exec(`INSERT INTO observations (charge_id, at, attempt, counted, source, outcome, request_hash)
	        VALUES ($1, now(), $2, $3, $4, $5, $6)`, id, attempt, outcome == "authorised", source, outcome, append([]byte{byte(id), hash}, make([]byte, 30)...))
}

func (b *checkedDesk) audit(kind, before, after string) {
	b.t.Helper()
	b.exec(`INSERT INTO audit (actor, action, object_kind, object, before, after)
	        VALUES ('mia', 'test', $1, '7', jsonb_build_object('state', $2::text), jsonb_build_object('state', $3::text))`, kind, before, after)
}

func (b *checkedDesk) request() postgres.CheckRequest {
	return postgres.CheckRequest{
		Lease: time.Minute,
		HoldsCardData: func(text string) bool {
			return strings.Contains(text, "4111 1111 1111 1111") || strings.Contains(text, "CVC 123")
		},
		Ledgers: []postgres.Ledger{{
			Name: "test", MerchantAccounts: []string{"DemoEU"}, SameKeyOtherBody: &b.other,
			Entries: func(yield func(postgres.LedgerEntry, error) bool) {
				for _, e := range b.ledger {
					if !yield(e, nil) {
						return
					}
				}
			},
		}},
	}
}

func (b *checkedDesk) check(req postgres.CheckRequest) []postgres.CheckResult {
	b.t.Helper()
	results, err := b.db.Check(context.Background(), req)
	if err != nil {
		b.t.Fatal(err)
	}
	return results
}

// broken returns the ids of the invariants that do not hold.
func broken(results []postgres.CheckResult) []string {
	var ids []string
	for _, r := range results {
		if r.Violations > 0 {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

func TestDB_Check_aSoundBook(t *testing.T) {
	t.Parallel()
	b := newCheckedDesk(t)
	results := b.check(b.request())
	var ids []string
	for _, r := range results {
		ids = append(ids, r.ID)
		if !r.OK() || len(r.Sample) > 0 || r.Meaning == "" {
			t.Errorf("%s: got %+v, want it to hold", r.ID, r)
		}
	}
	want := []string{"I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I10", "I11", "I13", "I15", "I16", "I17"}
	if diff := cmp.Diff(want, ids); diff != "" {
		t.Errorf("invariants (-want +got):\n%s", diff)
	}
	if note := results[0].Note; note != "payments at the gateway whose answer is still awaited: 1" {
		t.Errorf("note of I1: %q, want the one payment whose answer was lost", note)
	}
	if again := broken(b.check(b.request())); again != nil {
		t.Errorf("a second check on the same connections finds %v", again)
	}
}

// A check that cannot fail proves nothing. Each spoiled breaks one thing, by means
// that no use case has; the check must tell it, and nothing but what follows from it.
type spoiled struct {
	name  string
	spoil func(*checkedDesk)
	want  []string // the invariants that do not hold
}

func (tt spoiled) test(t *testing.T, b *checkedDesk) {
	t.Helper()
	tt.spoil(b)
	results := b.check(b.request())
	if diff := cmp.Diff(tt.want, broken(results)); diff != "" {
		t.Errorf("broken (-want +got):\n%s%+v", diff, results)
	}
	for _, r := range results {
		if (r.Violations > 0) != (len(r.Sample) > 0) {
			t.Errorf("%s: %d violations, but the sample %q", r.ID, r.Violations, r.Sample)
		}
		if told := strings.Join(r.Sample, " "); strings.Contains(told, "4111") || strings.Contains(told, "CVC") {
			t.Errorf("%s quotes what it found: %q", r.ID, told)
		}
	}
}

func TestDB_Check_findsWhatTheLedgerContradicts(t *testing.T) {
	t.Parallel()
	tests := []spoiled{
		{"a payment of no charge", func(b *checkedDesk) { b.entry("stranger", 1, "Authorised") }, []string{"I1", "I8"}},
		{"a payment whose reference names no attempt", func(b *checkedDesk) { b.of(b.paid).Reference = "gym-1" }, []string{"I1", "I6", "I8"}},
		{"a payment that is not recorded", func(b *checkedDesk) { b.paidAtGateway(b.due, 1) }, []string{"I1", "I8"}},
		{"a refusal that is not recorded", func(b *checkedDesk) { b.atGateway(b.due, 1, "Refused") }, []string{"I1"}},
		{"a payment that is recorded only", func(b *checkedDesk) { b.lose(b.paid) }, []string{"I1", "I8"}},
		{"a refusal that is recorded only", func(b *checkedDesk) { b.lose(b.unpaid) }, []string{"I1"}},
		{"a refusal recorded as a payment", func(b *checkedDesk) { b.of(b.paid).ResultCode = "Refused" }, []string{"I1", "I8"}},
		{"another payment's reference recorded", func(b *checkedDesk) { b.of(b.paid).PSPReference = "PSPZZZ" }, []string{"I1"}},
		{"charged although paid elsewhere", func(b *checkedDesk) { b.paidAtGateway(b.elsewhere, 1) }, []string{"I1", "I8"}},
		{"a second payment of a paid charge", func(b *checkedDesk) { b.paidAtGateway(b.paid, 2) }, []string{"I1", "I2", "I8"}},
		{"two payments of one attempt", func(b *checkedDesk) { b.paidAtGateway(b.paid, 1) }, []string{"I1", "I2", "I8"}},
		{"a key of another attempt", func(b *checkedDesk) { b.of(b.paid).IdempotencyKey = b.of(b.unpaid).IdempotencyKey }, []string{"I6"}},
		{"no key", func(b *checkedDesk) { b.of(b.paid).IdempotencyKey = "" }, []string{"I6"}},
		{"another body, as the gateway saw it", func(b *checkedDesk) { b.other = 1 }, []string{"I7"}},
		{"a currency counted in two ways", func(b *checkedDesk) { b.of(b.unpaid).GatewayValue = 12 }, []string{"I8"}},
		{"the day's sum is another one", func(b *checkedDesk) { b.of(b.paid).AmountMinor, b.of(b.paid).GatewayValue = 1235, 1235 }, []string{"I8", "I11"}},
		{"another currency at the gateway", func(b *checkedDesk) { b.of(b.unpaid).Currency = "USD" }, []string{"I11"}},
	}
	b := newCheckedDesk(t)
	whole := slices.Clone(b.ledger)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b.ledger, b.other = slices.Clone(whole), 0
			tt.test(t, b)
		})
	}
}

func TestDB_Check_findsWhatIsBroken(t *testing.T) {
	t.Parallel()
	tests := []spoiled{
		{"a cycle that is no charge", func(b *checkedDesk) {
			b.exec(`UPDATE subscriptions SET next_cycle = 3, next_charge_at = '2026-03-31T07:00:00Z'`)
		}, []string{"I3"}},
		{"a charge of a cycle to come", func(b *checkedDesk) {
			b.exec(`UPDATE subscriptions SET next_cycle = 1, next_charge_at = '2026-01-31T08:00:00Z'`)
		}, []string{"I3"}},
		{"a next cycle on another day", func(b *checkedDesk) {
			b.exec(`UPDATE subscriptions SET next_charge_at = '2026-02-27T08:00:00Z'`)
		}, []string{"I3"}},
		{"a next cycle that nothing will charge", func(b *checkedDesk) { b.exec(`UPDATE subscriptions SET next_charge_at = NULL`) }, []string{"I3"}},
		{"a next cycle after the end", func(b *checkedDesk) { b.exec(`UPDATE subscriptions SET max_cycles = 1`) }, []string{"I3"}},
		{"an active subscription that is over", func(b *checkedDesk) {
			b.exec(`UPDATE subscriptions SET max_cycles = 1, next_charge_at = NULL`)
		}, []string{"I3"}},
		{"a zone that nobody knows", func(b *checkedDesk) { b.exec(`UPDATE subscriptions SET timezone = 'Mars/Base'`) }, []string{"I3"}},
		{"a due charge put off for ever", func(b *checkedDesk) {
			b.exec(`UPDATE charges SET next_attempt_at = now() + interval '41 days' WHERE id = $1`, b.again)
		}, []string{"I4"}},
		{"an unknown charge that nobody resolves", func(b *checkedDesk) { b.exec(`UPDATE charges SET resolve_at = NULL WHERE id = $1`, b.unknown) }, []string{"I4"}},
		{"an unknown charge of no run", func(b *checkedDesk) { b.exec(`UPDATE charges SET run_id = NULL WHERE id = $1`, b.unknown) }, []string{"I4"}},
		{"a claimed charge without a claim", func(b *checkedDesk) { b.exec(`DELETE FROM claims`) }, []string{"I4"}},
		{"a held charge without a reason", func(b *checkedDesk) {
			b.exec(`ALTER TABLE charges DROP CONSTRAINT charge_state_is_whole`)
			b.exec(`UPDATE charges SET reason = '' WHERE id = $1`, b.held)
		}, []string{"I4"}},
		{"an open charge that no plan would find", func(b *checkedDesk) {
			b.exec(`DELETE FROM open_charges WHERE charge_id = $1`, b.due)
		}, []string{"I4"}},
		{"two approved attempts", func(b *checkedDesk) {
			b.exec(`UPDATE charges SET answered = 2 WHERE id = $1`, b.paid)
			b.note(b.paid, 2, "person", "authorised", 1)
		}, []string{"I5"}},
		{"an approved attempt beside an open one", func(b *checkedDesk) {
			b.exec(`UPDATE charges SET answered = 1 WHERE id = $1`, b.taken)
			b.note(b.taken, 1, "person", "authorised", 1)
		}, []string{"I5", "I10"}},
		{"a hole in the numbers", func(b *checkedDesk) { b.exec(`UPDATE charges SET answered = 2 WHERE id = $1`, b.again) }, []string{"I6"}},
		{"news of an attempt to come", func(b *checkedDesk) { b.note(b.due, 7, "api", "unknown", 1) }, []string{"I6"}},
		{"news of no charge", func(b *checkedDesk) { b.note(1_000_000, 1, "api", "unknown", 1) }, []string{"I6"}},
		{"another body under the same number", func(b *checkedDesk) { b.note(b.unknown, 1, "replay", "unknown", 2) }, []string{"I7"}},
		{"paid without an approval", func(b *checkedDesk) {
			b.exec(`UPDATE charges SET state = 'paid', finished_at = now() WHERE id = $1`, b.due)
		}, []string{"I10"}},
		{"approved and not paid", func(b *checkedDesk) {
			b.exec(`UPDATE charges SET state = 'due', finished_at = NULL, attempt_started_at = NULL WHERE id = $1`, b.paid)
		}, []string{"I1", "I10"}},
		{"unpaid without a refusal", func(b *checkedDesk) {
			b.exec(`UPDATE charges SET state = 'unpaid', reason = 'refused_hard', finished_at = now() WHERE id = $1`, b.due)
		}, []string{"I10"}},
		{"paid elsewhere and approved", func(b *checkedDesk) { b.exec(`UPDATE charges SET reason = 'paid_elsewhere' WHERE id = $1`, b.paid) }, []string{"I1", "I10"}},
		{"unknown without a lost answer", func(b *checkedDesk) {
			b.exec(`UPDATE observations SET outcome = 'not_sent' WHERE charge_id = $1`, b.unknown)
		}, []string{"I10"}},
		{"pending without such an answer", func(b *checkedDesk) { b.exec(`UPDATE charges SET state = 'pending' WHERE id = $1`, b.unknown) }, []string{"I10"}},
		{"a paid charge that was released", func(b *checkedDesk) { b.audit("charge", "paid", "due") }, []string{"I10"}},
		{"a cancelled subscription that was resumed", func(b *checkedDesk) { b.audit("subscription", "cancelled", "active") }, []string{"I10"}},
		{"an aborted run that went on", func(b *checkedDesk) { b.audit("run", "aborted", "running") }, []string{"I10"}},
		{"an item of another amount", func(b *checkedDesk) { b.exec(`UPDATE run_items SET amount_minor = 1 WHERE charge_id = $1`, b.paid) }, []string{"I11"}},
		{"a card number in a description", func(b *checkedDesk) {
			b.exec(`UPDATE charges SET description = 'card 4111 1111 1111 1111' WHERE id = $1`, b.due)
		}, []string{"I13"}},
		{"a security code in the audit", func(b *checkedDesk) {
			b.exec(`INSERT INTO audit (actor, action, object_kind, object, after) VALUES ('mia', 'x', 'file', 'f', '{"note": "CVC 123"}')`)
		}, []string{"I13"}},
		{"a webhook that nobody reads", func(b *checkedDesk) {
			b.exec(`INSERT INTO inbox (gateway, merchant_account, kind, code, gateway_reference, signed, document, digest, next_try_at)
				VALUES ('adyen', 'DemoEU', 'authorised', 'AUTHORISATION', 'PAY', true, '{}', 'x', now() - interval '61 minutes')`)
		}, []string{"I15"}},
		{"a webhook that waits for nothing", func(b *checkedDesk) {
			b.exec(`INSERT INTO inbox (gateway, merchant_account, kind, code, gateway_reference, signed, document, digest, next_try_at, state, charge_id, tries)
				VALUES ('adyen', 'DemoEU', 'refused', 'AUTHORISATION', 'PAY', true, '{}', 'x', now() - interval '61 minutes', 'waiting', $1, 3)`, b.paid)
		}, []string{"I15"}},
		{"a lease that nobody ends", func(b *checkedDesk) {
			b.exec(`UPDATE charges SET lease_until = now() - interval '31 seconds' WHERE id = $1`, b.taken)
		}, []string{"I16"}},
		{"a run that nobody works", func(b *checkedDesk) {
			b.exec(`UPDATE runs SET progress_at = now() - interval '121 seconds' WHERE id = (SELECT min(id) FROM runs)`)
		}, []string{"I16"}},
		{"a due charge whose token is dead", func(b *checkedDesk) {
			b.exec(`UPDATE tokens SET state = 'invalid', cause = 'test' WHERE id = (SELECT token_id FROM charges WHERE id = $1)`, b.due)
		}, []string{"I17"}},
		{"a claimed charge whose token is switched off, and nobody says so", func(b *checkedDesk) {
			b.exec(`UPDATE tokens SET state = 'disabled' WHERE id = (SELECT token_id FROM charges WHERE id = $1)`, b.taken)
		}, []string{"I17"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.test(t, newCheckedDesk(t))
		})
	}
}

// What must not be taken for a fault.
func TestDB_Check_passes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*checkedDesk)
	}{
		{"a lease within its grace", func(b *checkedDesk) {
			b.exec(`UPDATE charges SET lease_until = now() - interval '5 seconds' WHERE id = $1`, b.taken)
		}},
		{"a charge that falls due in a year", func(b *checkedDesk) {
			b.exec(`UPDATE charges SET due_at = now() + interval '1 year', next_attempt_at = now() + interval '1 year' WHERE id = $1`, b.due)
		}},
		{"a subscription parked for its zone", func(b *checkedDesk) {
			b.exec(`UPDATE subscriptions SET timezone = 'Mars/Base', state = 'paused', reason = 'calendar_invalid', next_charge_at = NULL`)
		}},
		{"a subscription that was cancelled", func(b *checkedDesk) {
			if _, err := b.db.CancelSubscription(context.Background(), b.desk.subscription("gym-2", "2026-01-31 09:00"), by("moves away")); err != nil {
				b.t.Fatal(err)
			}
		}},
		{"a subscription that is paused", func(b *checkedDesk) {
			if _, err := b.db.PauseSubscription(context.Background(), b.subscription, by("is ill")); err != nil {
				b.t.Fatal(err)
			}
		}},
		{"an unknown charge that a person must close", func(b *checkedDesk) {
			b.exec(`UPDATE charges SET resolve_at = NULL, reason = 'needs_person' WHERE id = $1`, b.unknown)
		}},
		{"a claimed charge that shall be stopped for its dead token", func(b *checkedDesk) {
			b.exec(`UPDATE tokens SET state = 'invalid', cause = 'test' WHERE id = (SELECT token_id FROM charges WHERE id = $1)`, b.taken)
			b.exec(`UPDATE charges SET stop_request = 'hold', stop_reason = 'token_invalid', stop_actor = 'gateway' WHERE id = $1`, b.taken)
		}},
		{"a payment of another account in the ledger", func(b *checkedDesk) { b.entry("stranger", 1, "Authorised").MerchantAccount = "Other" }},
		{"a currency of which the gateway counts fewer decimals", func(b *checkedDesk) { b.everyValue(12) }},
		{"a number that only looks long", func(b *checkedDesk) { b.exec(`UPDATE charges SET description = '4111 1111 1111 1112'`) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newCheckedDesk(t)
			tt.change(b)
			if results := b.check(b.request()); broken(results) != nil {
				t.Errorf("broken: %v\n%+v", broken(results), results)
			}
		})
	}
}

func (b *checkedDesk) everyValue(value int64) {
	b.exec(`ALTER TABLE charges DISABLE TRIGGER charge_money_is_frozen`)
	b.exec(`UPDATE charges SET amount_minor = 1200`)
	b.exec(`UPDATE run_items SET amount_minor = 1200`)
	for i := range b.ledger {
		b.ledger[i].AmountMinor, b.ledger[i].GatewayValue = 1200, value
	}
}

func TestDB_Check_withoutALedger(t *testing.T) {
	t.Parallel()
	b := newCheckedDesk(t)
	req := b.request()
	req.Ledgers = nil
	for _, r := range b.check(req) {
		unchecked := r.ID == "I1" || r.ID == "I2" || r.ID == "I8"
		if r.Checked == unchecked || r.OK() == unchecked || unchecked && r.Note != "not checked: no ledger" {
			t.Errorf("%s: got %+v", r.ID, r)
		}
	}
}

func TestDB_Check_ofOneAccount(t *testing.T) {
	t.Parallel()
	b := newCheckedDesk(t)
	other := postgres.AccountSettings{ID: "DemoUS", Gateway: "adyen", Environment: "test",
		BaseURL: "http://127.0.0.1:1/adyen/v71", ReturnURL: "https://example.invalid/", MaxInFlight: 1}
	if err := b.db.SyncAccounts(context.Background(), []postgres.AccountSettings{other}); err != nil {
		t.Fatal(err)
	}
	b.exec(`UPDATE charges SET answered = 2 WHERE id = $1`, b.again)
	b.lose(b.paid)
	req := b.request()
	req.MerchantAccount = "DemoUS"
	results := b.check(req)
	if broken(results) != nil {
		t.Errorf("faults of another account are told: %+v", results)
	}
	if note := results[0].Note; note != "not checked, no ledger: DemoUS" {
		t.Errorf("note of I1: %q, want that no ledger speaks for the account", note)
	}
	req.MerchantAccount = "DemoEU"
	if diff := cmp.Diff([]string{"I1", "I6", "I8"}, broken(b.check(req))); diff != "" {
		t.Errorf("broken (-want +got):\n%s", diff)
	}
}

// Work goes on beside a check: a charge that is made and recorded after the
// ledger was read is missing in it, and that is no fault.
func TestDB_Check_besideWork(t *testing.T) {
	t.Parallel()
	b := newCheckedDesk(t)
	req := b.request()
	entries := req.Ledgers[0].Entries
	req.Ledgers[0].Entries = func(yield func(postgres.LedgerEntry, error) bool) {
		read := slices.Clone(b.ledger)
		b.answered(b.due, billing.OutcomeAuthorised, billing.ChargePaid, "")
		b.ledger = read
		entries(yield)
	}
	if results := b.check(req); broken(results) != nil {
		t.Errorf("broken: %v\n%+v", broken(results), results)
	}
	if got := b.stands(b.due); got != "paid" {
		t.Fatalf("the charge is %s: the test is broken", got)
	}
}

func TestDB_Check_aLedgerThatBreaksOff(t *testing.T) {
	t.Parallel()
	b := newCheckedDesk(t)
	cut := errors.New("cut off")
	req := b.request()
	whole := req.Ledgers[0].Entries
	req.Ledgers[0].Entries = breaking(whole, cut)
	if results, err := b.db.Check(context.Background(), req); !errors.Is(err, cut) {
		t.Fatalf("got %+v, error %v, want the ledger's error", results, err)
	}
	req.Ledgers[0].Entries = whole
	if results := b.check(req); broken(results) != nil {
		t.Errorf("the next check finds %v", broken(results))
	}
}

func breaking(entries iter.Seq2[postgres.LedgerEntry, error], with error) iter.Seq2[postgres.LedgerEntry, error] {
	return func(yield func(postgres.LedgerEntry, error) bool) {
		for e, err := range entries {
			yield(e, err)
			break
		}
		yield(postgres.LedgerEntry{}, with)
	}
}
