package billing

import (
	"slices"
	"strconv"
	"strings"
)

// An EventKind says what an event is about, whichever gateway sent it.
type EventKind string

const (
	EventAuthorised         EventKind = "authorised"          // a payment was approved
	EventRefused            EventKind = "refused"             // a payment was refused
	EventCaptured           EventKind = "captured"            // the money of an approved payment was asked for
	EventCaptureFailed      EventKind = "capture_failed"      // it will not come after all
	EventCancelled          EventKind = "cancelled"           // an approved payment was released: no money moves
	EventRefunded           EventKind = "refunded"            // money goes back to the shopper
	EventRefundFailed       EventKind = "refund_failed"       // it did not, or came back
	EventDisputeOpened      EventKind = "dispute_opened"      // the cardholder disputes; no money has moved
	EventChargeback         EventKind = "chargeback"          // the disputed amount was taken from us
	EventChargebackReversed EventKind = "chargeback_reversed" // it came back, for now
	EventChargebackFinal    EventKind = "chargeback_final"    // it was taken for good
	EventFraudNotice        EventKind = "fraud_notice"        // the issuer calls the payment fraud
	EventTokenStored        EventKind = "token_stored"
	EventTokenUpdated       EventKind = "token_updated"
	EventTokenDisabled      EventKind = "token_disabled"
	EventOther              EventKind = "other" // kept on record, without effect
)

// MovesMoneyOrTokens reports whether an event of the kind changes anything, and so
// must be signed.
func (k EventKind) MovesMoneyOrTokens() bool { return k != EventOther }

// IsPayment reports whether the kind is the result of an attempt.
func (k EventKind) IsPayment() bool { return k == EventAuthorised || k == EventRefused }

// An Event is news from a gateway that nobody asked for, a webhook's.
type Event struct {
	Kind              EventKind
	Code              string // the gateway's own word, such as AUTHORISATION
	MerchantAccount   string
	GatewayReference  string // of the payment, or of what was done to it
	OriginalReference string // of the payment, where GatewayReference is not
	Reference         string // ours, as it was sent: <charge>~<attempt>
	Amount            Money  // in ISO minor units; zero where the event has none
	Token             string
	ShopperReference  string // of a token's event, only where the signature covers it
	Refusal           Reply  // class and codes of a refusal; nobody vouches for them
	Signed            bool   // the gateway's signature was checked
	Document          []byte // what is kept of the message, JSON
}

// Attempt splits Reference into the charge's reference and the attempt's number.
// It reports false if it is not of that form.
func (e Event) Attempt() (charge string, attempt int, ok bool) {
	i := strings.LastIndexByte(e.Reference, '~')
	if i <= 0 {
		return "", 0, false
	}
	attempt, err := strconv.Atoi(e.Reference[i+1:])
	if err != nil || attempt < 1 || strconv.Itoa(attempt) != e.Reference[i+1:] {
		return "", 0, false
	}
	return e.Reference[:i], attempt, true
}

// Standing is what is known about a charge when an event about one of its
// attempts is looked at.
type Standing struct {
	State    ChargeState
	Answered int
	Amount   Money
	// ReplayComing says that an unknown attempt will be sent again by itself.
	ReplayComing bool
	// Authorised are the attempts with an approval on record.
	Authorised []int
}

// A Verdict is what follows from an event.
type Verdict string

const (
	VerdictKnown    Verdict = "known"    // it says what is on record already
	VerdictSettles  Verdict = "settles"  // it is the answer to the open attempt
	VerdictPays     Verdict = "pays"     // an earlier attempt was approved after all: the charge is paid
	VerdictWaits    Verdict = "waits"    // the open attempt must be settled first
	VerdictStops    Verdict = "stops"    // the same, and nothing more of it may be sent
	VerdictReverses Verdict = "reverses" // money went back, was disputed, or came again: amounts of the charge
	VerdictAlerts   Verdict = "alerts"   // a person must look
	VerdictMismatch Verdict = "mismatch" // it does not fit the charge that it names
)

// Judge says what an event about an attempt means for its charge. It depends on
// what is known alone and not on the order in which it came to be known: events
// that wait are judged again until nothing changes.
func (e Event) Judge(attempt int, s Standing) Verdict {
	switch e.Kind {
	case EventAuthorised:
		return e.judgeApproval(attempt, s)
	case EventRefused:
		return judgeRefusal(attempt, s)
	case EventCaptureFailed:
		return VerdictAlerts
	case EventCancelled, EventRefunded, EventRefundFailed, EventDisputeOpened, EventChargeback, EventChargebackReversed,
		EventChargebackFinal, EventFraudNotice:
		return VerdictReverses
	default:
		return VerdictKnown
	}
}

// judgeApproval: money moved at the gateway, whatever else we believed.
func (e Event) judgeApproval(attempt int, s Standing) Verdict {
	switch {
	case e.Amount != s.Amount || attempt > s.Answered+1:
		return VerdictMismatch
	case s.State == ChargePaid || s.State == ChargeCancelled || s.State == ChargeWaived:
		if slices.Contains(s.Authorised, attempt) {
			return VerdictKnown
		}
		return VerdictAlerts // it was paid twice, or is no longer owed
	case attempt == s.Answered+1 && s.State != ChargeUnpaid:
		return VerdictSettles
	case s.State.HasOpenAttempt():
		return VerdictStops
	default:
		return VerdictPays
	}
}

// judgeRefusal: the answer under the attempt's key tells more than the event, so
// that comes first where it will come.
func judgeRefusal(attempt int, s Standing) Verdict {
	switch {
	case attempt > s.Answered+1:
		return VerdictMismatch
	case slices.Contains(s.Authorised, attempt):
		return VerdictAlerts
	case attempt <= s.Answered || !s.State.HasOpenAttempt():
		return VerdictKnown
	case s.State == ChargeClaimed || s.State == ChargeUnknown && s.ReplayComing:
		return VerdictWaits
	default:
		return VerdictSettles
	}
}

// A Reversal is what was taken back of a charge, in ISO minor units.
type Reversal struct {
	RefundedMinor int64
	DisputedMinor int64
}

// Reverse adds up what the events of one charge took back, whatever their order:
// what counts is which events there are for each refund and each dispute.
func Reverse(events []Event, amount Money) Reversal {
	type history struct {
		amount int64
		kinds  []EventKind
	}
	by := map[string]*history{}
	for _, e := range events {
		h := by[e.GatewayReference]
		if h == nil {
			h = &history{}
			by[e.GatewayReference] = h
		}
		if e.Amount.Currency == amount.Currency {
			h.amount = max(h.amount, e.Amount.Minor)
		}
		h.kinds = append(h.kinds, e.Kind)
	}
	var r Reversal
	cancelled := false
	for _, h := range by {
		has := func(kind EventKind) bool { return slices.Contains(h.kinds, kind) }
		cancelled = cancelled || has(EventCancelled)
		if has(EventRefunded) && !has(EventRefundFailed) {
			r.RefundedMinor += h.amount
		}
		if has(EventChargebackFinal) || has(EventChargeback) && !has(EventChargebackReversed) {
			r.DisputedMinor += h.amount
		}
	}
	if cancelled {
		r.RefundedMinor = amount.Minor
	}
	return r
}

// Stops reports whether nothing more may be charged for the subscription of the
// charge: the cardholder or the issuer objects. It stays so when we win: a person
// decides.
func (k EventKind) Stops() bool {
	switch k {
	case EventDisputeOpened, EventChargeback, EventChargebackFinal, EventFraudNotice:
		return true
	}
	return false
}
