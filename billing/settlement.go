package billing

import (
	"errors"
	"time"

	"github.com/contauth/contauth/tokens"
)

// A Settlement is what was learnt about one attempt and what follows from it:
// one observation, and the move of the charge if it still stands where the
// attempt left it.
type Settlement struct {
	ChargeID ChargeID
	TokenID  tokens.ID
	RunID    int64
	Attempt  int
	LeaseNo  int

	Source  Source
	Outcome Outcome
	Reply   Reply
	Detail  string // an error's words, without secrets; empty otherwise

	Counted       bool        // a definite answer: the next attempt has the next number
	State         ChargeState // where the charge goes
	Reason        Reason
	NextAttemptAt time.Time     // business time of the next attempt, after a refusal; zero leaves it as it is
	ResolveIn     time.Duration // real time until the resolver looks, when unknown or pending; 0 for never
	TokenCause    string        // set when the token turned invalid by this answer

	// Stop says how much further than this charge the answer reaches:
	// ScopeAccount ends the account's part of the run, ScopeNow backs off.
	Stop       Scope
	RetryAfter time.Duration // the gateway's own wish, with ScopeNow
}

// Settle decides what a gateway's answer to a claimed charge means. It is the
// table of the charge protocol, step 5, and has no side effects.
func Settle(c *ClaimedCharge, reply Reply, err error, replays []time.Duration) Settlement {
	s := Settlement{
		ChargeID: c.ID, TokenID: c.TokenID, RunID: c.RunID, Attempt: c.Attempt, LeaseNo: c.LeaseNo,
		Source: SourceAPI, Reply: reply,
	}
	if c.Replays > 0 {
		s.Source = SourceReplay
	}
	if err != nil {
		s.settleError(c, err, replays)
		return s
	}
	s.Outcome = reply.Outcome
	switch reply.Outcome {
	case OutcomeAuthorised:
		s.Counted, s.State = true, ChargePaid
	case OutcomePending:
		s.State, s.Reason, s.ResolveIn = ChargePending, ReasonAwaitsGateway, pendingRecheck
	case OutcomeRefused:
		s.Counted = true
		s.settleRefusal(c)
	default:
		s.becomeUnknown(c, replays, ReasonAnswerMissing)
	}
	return s
}

// pendingRecheck is how often a pending charge is asked about; the webhook
// normally comes first.
const pendingRecheck = 24 * time.Hour

func (s *Settlement) settleRefusal(c *ClaimedCharge) {
	class := s.Reply.Class
	if next, ok := class.NextAttempt(c.Attempt, c.BusinessNow); ok {
		s.State, s.NextAttemptAt = ChargeDue, next
		s.Reason = ReasonRefusedSoft
		if class == DeclineTechnical {
			s.Reason = ReasonRefusedTechnical
		}
		return
	}
	switch class {
	case DeclineTokenInvalid:
		s.State, s.Reason = ChargeHeld, ReasonTokenInvalid
		s.TokenCause = "refusal " + s.Reply.RefusalCode
	case DeclineConfig:
		s.State, s.Reason = ChargeHeld, ReasonRefusedConfig
	case DeclineFraud:
		s.State, s.Reason = ChargeUnpaid, ReasonRefusedFraud
	case DeclineSoft, DeclineTechnical:
		s.State, s.Reason = ChargeUnpaid, ReasonTriesUsedUp
	default:
		s.State, s.Reason = ChargeUnpaid, ReasonRefusedHard
	}
}

func (s *Settlement) settleError(c *ClaimedCharge, err error, replays []time.Duration) {
	s.Detail = oneLine(err.Error())
	var refused *NotProcessedError
	switch {
	case errors.As(err, &refused):
		s.Outcome, s.Counted, s.Stop = OutcomeNotProcessed, refused.Counted, refused.Scope
		s.RetryAfter = time.Duration(refused.RetryAfter) * time.Second
		s.Reply.RefusalCode = refused.Code
		switch {
		case !refused.Counted:
			s.State = ChargeDue
			if refused.Scope == ScopeAccount {
				s.Reason = ReasonAccountRefused
			} else {
				s.Reason = ReasonGatewayUnavailable
			}
		case refused.Scope == ScopeToken:
			s.State, s.Reason = ChargeHeld, ReasonTokenNotFound
		default:
			s.State, s.Reason = ChargeHeld, ReasonRequestRejected
		}
	case errors.Is(err, ErrNotSent):
		s.Outcome, s.State, s.Reason, s.Stop = OutcomeNotSent, ChargeDue, ReasonGatewayUnavailable, ScopeNow
	case errors.Is(err, ErrMismatch):
		s.becomeUnknown(c, replays, ReasonAnswerMismatch)
	case errors.Is(err, ErrInProgress):
		s.becomeUnknown(c, replays, ReasonInProgress)
	default:
		s.becomeUnknown(c, replays, ReasonAnswerMissing)
	}
	// A replay is of an attempt that may have been sent before. "This copy was
	// not processed" says nothing about the first one, so it stays unknown: only
	// an answer that the gateway stored under the key settles it, and a refusal
	// of our own (no HTTP status) is no answer at all.
	counted := s.Counted && (refused == nil || refused.Status != 0)
	if c.Replays > 0 && !counted && s.Outcome != OutcomeUnknown {
		stop, wait := s.Stop, s.RetryAfter
		s.becomeUnknown(c, replays, ReasonAnswerMissing)
		s.Stop, s.RetryAfter = stop, wait
	}
}

func (s *Settlement) becomeUnknown(c *ClaimedCharge, replays []time.Duration, reason Reason) {
	s.Outcome, s.Counted, s.NextAttemptAt = OutcomeUnknown, false, time.Time{}
	if c.Pending {
		// What the gateway accepted stays accepted; only its result is missing.
		s.State, s.Reason, s.ResolveIn = ChargePending, ReasonAwaitsGateway, pendingRecheck
		return
	}
	s.State, s.Reason = ChargeUnknown, reason
	s.ResolveIn = NextReplay(c.Replays, replays)
}

// NextReplay returns how long to wait before an unknown attempt that was
// already sent again done times is sent once more. After the steps of the
// list it doubles, up to an hour; the key's safe life ends it.
func NextReplay(done int, steps []time.Duration) time.Duration {
	if done < len(steps) {
		return steps[done]
	}
	wait := 2 * time.Minute
	if len(steps) > 0 {
		wait = steps[len(steps)-1]
	}
	for ; done >= len(steps) && wait < time.Hour; done-- {
		wait *= 2
	}
	return min(wait, time.Hour)
}

// oneLine keeps the first line of an error's text, at most 300 bytes of it.
func oneLine(text string) string {
	for i, r := range text {
		if r == '\n' || i >= 300 {
			return text[:i]
		}
	}
	return text
}
