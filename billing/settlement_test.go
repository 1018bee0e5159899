package billing_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/contauth/contauth/billing"
)

var replaySteps = []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute}

func TestSettle(t *testing.T) {
	now := time.Date(2027, 1, 31, 9, 0, 0, 0, time.UTC)
	refused := func(class billing.DeclineClass) billing.Reply {
		return billing.Reply{Outcome: billing.OutcomeRefused, Class: class, RefusalCode: "6"}
	}
	notProcessed := func(scope billing.Scope, counted bool) error {
		return fmt.Errorf("charge: %w", &billing.NotProcessedError{Scope: scope, Counted: counted, Status: 422, Code: "130"})
	}
	type want struct {
		Outcome billing.Outcome
		Counted bool
		State   billing.ChargeState
		Reason  billing.Reason
		Stop    billing.Scope
	}
	tests := []struct {
		name    string
		attempt int
		replays int
		reply   billing.Reply
		err     error
		want    want
	}{
		{"authorised is paid", 1, 0, billing.Reply{Outcome: billing.OutcomeAuthorised}, nil,
			want{billing.OutcomeAuthorised, true, billing.ChargePaid, "", ""}},
		{"accepted for later stays pending", 1, 0, billing.Reply{Outcome: billing.OutcomePending}, nil,
			want{billing.OutcomePending, false, billing.ChargePending, billing.ReasonAwaitsGateway, ""}},
		{"a soft decline is due again", 1, 0, refused(billing.DeclineSoft), nil,
			want{billing.OutcomeRefused, true, billing.ChargeDue, billing.ReasonRefusedSoft, ""}},
		{"the fourth soft decline is unpaid", 4, 0, refused(billing.DeclineSoft), nil,
			want{billing.OutcomeRefused, true, billing.ChargeUnpaid, billing.ReasonTriesUsedUp, ""}},
		{"a technical decline is due again", 1, 0, refused(billing.DeclineTechnical), nil,
			want{billing.OutcomeRefused, true, billing.ChargeDue, billing.ReasonRefusedTechnical, ""}},
		{"a hard decline is unpaid", 1, 0, refused(billing.DeclineHard), nil,
			want{billing.OutcomeRefused, true, billing.ChargeUnpaid, billing.ReasonRefusedHard, ""}},
		{"fraud is unpaid", 1, 0, refused(billing.DeclineFraud), nil,
			want{billing.OutcomeRefused, true, billing.ChargeUnpaid, billing.ReasonRefusedFraud, ""}},
		{"our own fault is held", 1, 0, refused(billing.DeclineConfig), nil,
			want{billing.OutcomeRefused, true, billing.ChargeHeld, billing.ReasonRefusedConfig, ""}},
		{"a dead token is held", 1, 0, refused(billing.DeclineTokenInvalid), nil,
			want{billing.OutcomeRefused, true, billing.ChargeHeld, billing.ReasonTokenInvalid, ""}},
		{"a class that nobody knows is unpaid", 1, 0, refused("new"), nil,
			want{billing.OutcomeRefused, true, billing.ChargeUnpaid, billing.ReasonRefusedHard, ""}},
		{"a reply without an outcome is unknown", 1, 0, billing.Reply{}, nil,
			want{billing.OutcomeUnknown, false, billing.ChargeUnknown, billing.ReasonAnswerMissing, ""}},

		{"not sent is due with the same number", 1, 0, billing.Reply{}, billing.ErrNotSent,
			want{billing.OutcomeNotSent, false, billing.ChargeDue, billing.ReasonGatewayUnavailable, billing.ScopeNow}},
		{"429 is due with the same number", 1, 0, billing.Reply{}, notProcessed(billing.ScopeNow, false),
			want{billing.OutcomeNotProcessed, false, billing.ChargeDue, billing.ReasonGatewayUnavailable, billing.ScopeNow}},
		{"401 is due with the same number and stops the account", 1, 0, billing.Reply{}, notProcessed(billing.ScopeAccount, false),
			want{billing.OutcomeNotProcessed, false, billing.ChargeDue, billing.ReasonAccountRefused, billing.ScopeAccount}},
		{"a stored validation error is held and uses up its number", 1, 0, billing.Reply{}, notProcessed(billing.ScopeCharge, true),
			want{billing.OutcomeNotProcessed, true, billing.ChargeHeld, billing.ReasonRequestRejected, billing.ScopeCharge}},
		{"an unknown token is held and uses up its number", 1, 0, billing.Reply{}, notProcessed(billing.ScopeToken, true),
			want{billing.OutcomeNotProcessed, true, billing.ChargeHeld, billing.ReasonTokenNotFound, billing.ScopeToken}},
		{"no answer is unknown", 1, 0, billing.Reply{}, billing.ErrUnknown,
			want{billing.OutcomeUnknown, false, billing.ChargeUnknown, billing.ReasonAnswerMissing, ""}},
		{"another payment's answer is unknown", 1, 0, billing.Reply{}, billing.ErrMismatch,
			want{billing.OutcomeUnknown, false, billing.ChargeUnknown, billing.ReasonAnswerMismatch, ""}},
		{"in progress is unknown", 1, 0, billing.Reply{}, billing.ErrInProgress,
			want{billing.OutcomeUnknown, false, billing.ChargeUnknown, billing.ReasonInProgress, ""}},
		{"an error of no known kind is unknown", 1, 0, billing.Reply{}, errors.New("odd"),
			want{billing.OutcomeUnknown, false, billing.ChargeUnknown, billing.ReasonAnswerMissing, ""}},

		{"a replay that is authorised is paid", 1, 1, billing.Reply{Outcome: billing.OutcomeAuthorised}, nil,
			want{billing.OutcomeAuthorised, true, billing.ChargePaid, "", ""}},
		{"a replay that was not sent stays unknown", 1, 1, billing.Reply{}, billing.ErrNotSent,
			want{billing.OutcomeUnknown, false, billing.ChargeUnknown, billing.ReasonAnswerMissing, billing.ScopeNow}},
		{"a replay told to come later stays unknown", 1, 1, billing.Reply{}, notProcessed(billing.ScopeNow, false),
			want{billing.OutcomeUnknown, false, billing.ChargeUnknown, billing.ReasonAnswerMissing, billing.ScopeNow}},
		{"a replay refused for the account stays unknown", 1, 1, billing.Reply{}, notProcessed(billing.ScopeAccount, false),
			want{billing.OutcomeUnknown, false, billing.ChargeUnknown, billing.ReasonAnswerMissing, billing.ScopeAccount}},
		{"a replay answered with the stored error is held", 1, 1, billing.Reply{}, notProcessed(billing.ScopeCharge, true),
			want{billing.OutcomeNotProcessed, true, billing.ChargeHeld, billing.ReasonRequestRejected, billing.ScopeCharge}},
		{"a replay that we refuse to build stays unknown", 1, 1, billing.Reply{}, &billing.NotProcessedError{Scope: billing.ScopeCharge, Counted: true},
			want{billing.OutcomeUnknown, false, billing.ChargeUnknown, billing.ReasonAnswerMissing, billing.ScopeCharge}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			charge := &billing.ClaimedCharge{ID: 7, TokenID: 8, RunID: 9, Attempt: tt.attempt, Replays: tt.replays, BusinessNow: now}
			s := billing.Settle(charge, tt.reply, tt.err, replaySteps)
			got := want{s.Outcome, s.Counted, s.State, s.Reason, s.Stop}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if !billing.ChargeClaimed.CanMove(s.State) {
				t.Errorf("a claimed charge may not become %s", s.State)
			}
			if s.State == billing.ChargeUnknown && s.ResolveIn <= 0 {
				t.Error("an unknown charge that nobody looks at again")
			}
			if !s.Counted && !s.NextAttemptAt.IsZero() {
				t.Errorf("the time of the next attempt is moved to %s without an answer", s.NextAttemptAt)
			}
			if s.Counted && s.State == billing.ChargeDue && !s.NextAttemptAt.After(now) {
				t.Error("another attempt at once after a refusal")
			}
			if (s.TokenCause != "") != (s.Reason == billing.ReasonTokenInvalid) {
				t.Errorf("token cause %q with reason %s", s.TokenCause, s.Reason)
			}
		})
	}
}

// Whatever the gateway does, a charge is tried a bounded number of times, and
// never again after a refusal that forbids it.
func TestSettle_NeverRetriesForEver(t *testing.T) {
	classes := []billing.DeclineClass{billing.DeclineSoft, billing.DeclineTechnical, billing.DeclineHard, billing.DeclineFraud,
		billing.DeclineConfig, billing.DeclineTokenInvalid, "new"}
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
		for attempt := 1; ; attempt++ {
			class := rapid.SampledFrom(classes).Draw(t, "class")
			charge := &billing.ClaimedCharge{Attempt: attempt, BusinessNow: now}
			s := billing.Settle(charge, billing.Reply{Outcome: billing.OutcomeRefused, Class: class}, nil, replaySteps)
			if s.State != billing.ChargeDue {
				return
			}
			if class != billing.DeclineSoft && class != billing.DeclineTechnical {
				t.Fatalf("tried again after %s", class)
			}
			if attempt >= 10 {
				t.Fatalf("attempt %d follows", attempt+1)
			}
			if s.NextAttemptAt.Sub(now) < 24*time.Hour {
				t.Fatalf("tried again after %s", s.NextAttemptAt.Sub(now))
			}
			now = s.NextAttemptAt
		}
	})
}

func TestNextReplay(t *testing.T) {
	tests := []struct {
		name  string
		done  int
		steps []time.Duration
		want  time.Duration
	}{
		{"the first step", 0, replaySteps, 5 * time.Second},
		{"the last step", 2, replaySteps, 2 * time.Minute},
		{"after the steps it doubles", 3, replaySteps, 4 * time.Minute},
		{"and doubles again", 4, replaySteps, 8 * time.Minute},
		{"up to an hour", 40, replaySteps, time.Hour},
		{"without steps", 0, nil, 4 * time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := billing.NextReplay(tt.done, tt.steps); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
