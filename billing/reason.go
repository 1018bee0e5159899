package billing

// A Reason says why a charge was held, skipped, postponed or moved: one code
// in the database, one sentence for people. Codes are never reused.
type Reason string

const (
	ReasonNone Reason = ""

	// Decided by an answer.
	ReasonRefusedSoft      Reason = "refused_soft"
	ReasonRefusedHard      Reason = "refused_hard"
	ReasonRefusedFraud     Reason = "refused_fraud"
	ReasonRefusedTechnical Reason = "refused_technical"
	ReasonRefusedConfig    Reason = "refused_config"
	ReasonTriesUsedUp      Reason = "tries_used_up"
	ReasonTokenInvalid     Reason = "token_invalid"
	ReasonTokenNotFound    Reason = "token_not_found"
	ReasonTokenReactivated Reason = "token_reactivated"
	ReasonRequestRejected  Reason = "request_rejected"
	ReasonAnswerMissing    Reason = "answer_missing"
	ReasonAnswerMismatch   Reason = "answer_mismatch"
	ReasonInProgress       Reason = "in_progress"
	ReasonLeaseExpired     Reason = "lease_expired"
	ReasonAwaitsGateway    Reason = "awaits_gateway"
	ReasonNeedsPerson      Reason = "needs_person"

	// Decided by a plan or by re-validation.
	ReasonSameToken          Reason = "same_card"
	ReasonCatchUp            Reason = "catch_up"
	ReasonShopperLimit       Reason = "shopper_limit"
	ReasonAmountChanged      Reason = "amount_changed"
	ReasonTokenChanged       Reason = "token_changed"
	ReasonAttemptChanged     Reason = "attempt_changed"
	ReasonNoLongerDue        Reason = "no_longer_due"
	ReasonAccountRefused     Reason = "account_refused"
	ReasonAccountPaused      Reason = "account_paused"
	ReasonEndpointChanged    Reason = "endpoint_changed"
	ReasonNotBound           Reason = "not_bound"
	ReasonGatewayUnavailable Reason = "gateway_unavailable"
	ReasonRunAborted         Reason = "run_aborted"
	ReasonNothingDue         Reason = "nothing_due"
	ReasonCalendarInvalid    Reason = "calendar_invalid"
	ReasonCatchUpFew         Reason = "catch_up_few"
	ReasonCatchUpTooOld      Reason = "catch_up_too_old"
	ReasonCatchUpAsk         Reason = "catch_up_ask"
	ReasonCatchUpLatest      Reason = "catch_up_latest"
	ReasonCatchUpNone        Reason = "catch_up_none"
	ReasonBlackout           Reason = "blackout"
	ReasonLateApproval       Reason = "late_approval"
	ReasonDisputed           Reason = "disputed"

	// Decided by a person.
	ReasonHeldByPerson          Reason = "held_by_person"
	ReasonReleased              Reason = "released"
	ReasonCancelledByPerson     Reason = "cancelled_by_person"
	ReasonPaidElsewhere         Reason = "paid_elsewhere"
	ReasonSubscriptionPaused    Reason = "subscription_paused"
	ReasonSubscriptionCancelled Reason = "subscription_cancelled"
	ReasonBeforeImport          Reason = "before_import"
)

// reasonSentences completes "not charged: …" or "moved: …" in plain words.
var reasonSentences = map[Reason]string{
	ReasonRefusedSoft:      "the issuer said no for now; another attempt follows",
	ReasonRefusedHard:      "the issuer said no for good",
	ReasonRefusedFraud:     "refused on suspicion of fraud; nothing is retried",
	ReasonRefusedTechnical: "the payment network failed; another attempt follows",
	ReasonRefusedConfig:    "the gateway refused how the merchant account or the request is set up; a person must look",
	ReasonTriesUsedUp:      "every attempt that the retry rule allows was refused",
	ReasonTokenInvalid:     "the stored card can no longer be charged",
	ReasonTokenNotFound:    "the gateway does not know this token for this shopper",
	ReasonTokenReactivated: "the stored card is good again; a person must release the charge",
	ReasonRequestRejected:  "the gateway rejected the request as it stands; a person must look",
	ReasonAnswerMissing:    "the request may have reached the gateway, but no readable answer came back",
	ReasonAnswerMismatch:   "the gateway's answer names another payment, amount or currency",
	ReasonInProgress:       "the gateway is still working on an earlier copy of this request",
	ReasonLeaseExpired:     "the process that held the charge stopped; the request may have left",
	ReasonAwaitsGateway:    "the gateway accepted the request and tells the result later",
	ReasonNeedsPerson:      "automatic means are used up; a person must find out and close it",

	ReasonSameToken:          "another charge of the same stored card is in progress",
	ReasonShopperLimit:       "the shopper has as many charges on this business day as guards.max_charges_per_shopper_day allows; a later day takes it",
	ReasonCatchUp:            "one charge per stored card and business day; the next day takes the next",
	ReasonAmountChanged:      "the amount changed after the plan",
	ReasonTokenChanged:       "the stored card changed after the plan",
	ReasonAttemptChanged:     "another run made an attempt after the plan",
	ReasonNoLongerDue:        "the charge was no longer due when its turn came",
	ReasonAccountRefused:     "the gateway refused the merchant account, so nothing more was sent to it",
	ReasonAccountPaused:      "sending for this merchant account is paused",
	ReasonEndpointChanged:    "another process was configured with another base_url for this account; stop one of them",
	ReasonNotBound:           "this database is not the one that live accounts were bound to: contauth doctor says more",
	ReasonGatewayUnavailable: "the gateway could not be reached or asked us to stay away",
	ReasonRunAborted:         "a person ended the run",
	ReasonCalendarInvalid:    "its dates cannot be computed, such as for a time zone that this machine does not know",
	ReasonNothingDue:         "the amount is zero: nothing to charge",
	ReasonCatchUpFew:         "missed while nothing ran, after more than the policy charges: a person must release or cancel it",
	ReasonCatchUpTooOld:      "missed while nothing ran, too long ago: a person must release or cancel it",
	ReasonCatchUpAsk:         "missed while nothing ran: the schedule asks a person to release or cancel it",
	ReasonCatchUpLatest:      "missed while nothing ran: the schedule charges the latest cycle alone",
	ReasonCatchUpNone:        "missed while nothing ran: the schedule does not charge such cycles",
	ReasonLateApproval:       "an attempt that counted as refused was approved after all",
	ReasonDisputed:           "the shopper or the issuer disputes a charge; a person decides how to go on",
	ReasonBlackout:           "its period ended on days without charges: a person must release or cancel it",

	ReasonHeldByPerson:          "a person holds it back",
	ReasonReleased:              "a person released it",
	ReasonCancelledByPerson:     "a person cancelled it",
	ReasonPaidElsewhere:         "it was paid by other means",
	ReasonSubscriptionPaused:    "the subscription is paused",
	ReasonSubscriptionCancelled: "the subscription is cancelled",
	ReasonBeforeImport:          "the cycle lay before the import",
}

// Sentence says r in plain words, or returns the code itself if it has none.
func (r Reason) Sentence() string {
	if s, ok := reasonSentences[r]; ok {
		return s
	}
	return string(r)
}

// Reasons are all codes that have a sentence.
func Reasons() []Reason {
	all := make([]Reason, 0, len(reasonSentences))
	for r := range reasonSentences {
		all = append(all, r)
	}
	return all
}
