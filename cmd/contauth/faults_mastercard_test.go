package main

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/billing"
)

// The same for the Mastercard Gateway's dialect: every fault, before and after it
// acted, once, and where the charge ends.
func TestGatewayFault_EndsWhereItMustAtMastercard(t *testing.T) {
	const (
		authorised, refused, pending = billing.OutcomeAuthorised, billing.OutcomeRefused, billing.OutcomePending
		unknown, notProcessed        = billing.OutcomeUnknown, billing.OutcomeNotProcessed
	)
	var (
		paidAfterUnknown = ending{unknown, billing.ChargePaid, "", 1, 1}
		accountStopped   = ending{notProcessed, billing.ChargeDue, billing.ReasonAccountRefused, 0, 0}
		staysUnknown     = ending{unknown, billing.ChargeUnknown, billing.ReasonAnswerMissing, 0, 0}
	)
	tests := []struct {
		name string
		rule string // everything but the match and the times
		want ending
	}{
		{"declined for funds", "do: refuse, with: INSUFFICIENT_FUNDS", ending{refused, billing.ChargeDue, billing.ReasonRefusedSoft, 1, 0}},
		{"declined", "do: refuse, with: DECLINED", ending{refused, billing.ChargeDue, billing.ReasonRefusedSoft, 1, 0}},
		{"an expired card", "do: refuse, with: EXPIRED_CARD", ending{refused, billing.ChargeHeld, billing.ReasonTokenInvalid, 1, 0}},
		{"blocked by risk rules", "do: refuse, with: BLOCKED", ending{refused, billing.ChargeUnpaid, billing.ReasonRefusedFraud, 1, 0}},
		{"the acquirer failed, as a look-up confirms", "do: refuse, with: ACQUIRER_SYSTEM_ERROR", ending{unknown, billing.ChargeDue, billing.ReasonRefusedTechnical, 1, 0}},
		{"timed out, as a look-up confirms", "do: refuse, with: TIMED_OUT", ending{unknown, billing.ChargeDue, billing.ReasonRefusedTechnical, 1, 0}},
		{"a code that nobody knows", "do: refuse, with: SOMETHING_NEW", ending{refused, billing.ChargeDue, billing.ReasonRefusedSoft, 1, 0}},
		{"pending", "do: result, with: PENDING", ending{pending, billing.ChargePending, billing.ReasonAwaitsGateway, 0, 0}},
		{"unknown", "do: result, with: UNKNOWN", staysUnknown},

		{"reset before acting", "when: before, do: reset", paidAfterUnknown},
		{"reset after acting", "when: after, do: reset", paidAfterUnknown},
		{"no answer before acting", "when: before, do: drop", paidAfterUnknown},
		{"no answer after acting", "when: after, do: drop", paidAfterUnknown},
		{"slow drip after acting", "when: after, do: drip", paidAfterUnknown},
		{"late answer before acting", "when: before, do: delay, wait: 300ms", ending{authorised, billing.ChargePaid, "", 1, 1}},
		{"late answer after acting", "when: after, do: delay, wait: 300ms", ending{authorised, billing.ChargePaid, "", 1, 1}},
		{"500 before acting", "when: before, do: status, code: 500", paidAfterUnknown},
		{"500 after acting", "when: after, do: status, code: 500", paidAfterUnknown},
		{"503 before acting", "when: before, do: status, code: 503", paidAfterUnknown},
		{"503 after acting", "when: after, do: status, code: 503", paidAfterUnknown},
		// A body with a result wins over the status: SERVER_BUSY may have acted.
		{"429", "when: before, do: status, code: 429", paidAfterUnknown},
		{"401", "when: before, do: status, code: 401", accountStopped},
		{"404", "when: before, do: status, code: 404", ending{notProcessed, billing.ChargeHeld, billing.ReasonRequestRejected, 1, 0}},
		{"moved for good", "when: before, do: redirect, code: 301, with: 'http://127.0.0.1:1/'", paidAfterUnknown},
		{"garbage before acting", "when: before, do: garbage", paidAfterUnknown},
		{"garbage after acting", "when: after, do: garbage", paidAfterUnknown},
		{"an HTML page after acting", "when: after, do: garbage, body: html", paidAfterUnknown},
		{"an empty body after acting", "when: after, do: garbage, body: empty", paidAfterUnknown},
		{"half an answer, as if it were all", "when: after, do: garbage, body: truncated", paidAfterUnknown},
		{"half an answer, then the end", "when: after, do: garbage, body: cut", paidAfterUnknown},
		{"a body of a gigabyte", "when: after, do: garbage, body: huge", paidAfterUnknown},
		{"fields twice", "when: after, do: garbage, body: duplicate_keys", paidAfterUnknown},
		{"an answer to something else", "when: after, do: garbage, body: other", paidAfterUnknown},
		{"a wrong amount in the answer", "when: after, do: wrong_amount", paidAfterUnknown},
		{"a wrong currency in the answer", "when: after, do: wrong_currency", paidAfterUnknown},
		{"another payment's reference in the answer", "when: after, do: wrong_reference", paidAfterUnknown},
		{"100 Continue that nobody asked for", "when: after, do: continue", ending{authorised, billing.ChargePaid, "", 1, 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, mastercardDialect, fmt.Sprintf("- {match: {every: 1}, times: 1, %s}", tt.rule))
			s.addCharges(1)
			s.work()
			if diff := cmp.Diff(tt.want, s.ending()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// A token that the gateway keeps as INVALID shows itself by an error about its field.
// That ends the token: its other charges are held and never sent.
func TestGatewayFault_InvalidTokenAtMastercard(t *testing.T) {
	t.Parallel()
	s := newStage(t, mastercardDialect, "[]")
	const query = `
		WITH t AS (INSERT INTO tokens (merchant_account, token, shopper_reference) VALUES ('DemoMC', 'MC000001xINVALID', 'shopper-1') RETURNING id)
		INSERT INTO charges (token_id, amount_minor, due_at, next_attempt_at, decided_by, currency, model, merchant_account, reference)
		SELECT id, 1000, now() - interval '1 day', now() - interval '1 day', 'test', 'EUR', 'UnscheduledCardOnFile', 'DemoMC', 'req-' || i
		  FROM t, generate_series(1, 3) i`
	if _, err := s.db.SQL().Exec(query); err != nil {
		t.Fatal(err)
	}
	s.work()
	var state string
	var held, sent int
	const after = `
		SELECT (SELECT state FROM tokens), (SELECT count(*) FROM charges WHERE state = 'held' AND reason = 'token_invalid'),
		       (SELECT count(DISTINCT charge_id) FROM observations)`
	if err := s.db.SQL().QueryRow(after).Scan(&state, &held, &sent); err != nil {
		t.Fatal(err)
	}
	if state != "invalid" || held != 3 || sent != 1 {
		t.Errorf("the token is %s, %d charges are held and %d were sent; want invalid, 3 and 1", state, held, sent)
	}
}
