package billing

import "time"

// A DeclineClass says what a refusal means for the next attempt.
type DeclineClass string

const (
	DeclineNone         DeclineClass = ""
	DeclineSoft         DeclineClass = "soft"          // later may work: funds, limits, a generic no
	DeclineHard         DeclineClass = "hard"          // this card will not pay, or only with its holder present
	DeclineTokenInvalid DeclineClass = "token_invalid" // the stored details are dead
	DeclineFraud        DeclineClass = "fraud"         // never again without a person
	DeclineTechnical    DeclineClass = "technical"     // no issuer decided
	DeclineConfig       DeclineClass = "config"        // our request or account is wrong
)

// A retryRule says how often and how far apart a class may be tried.
type retryRule struct {
	attempts int // answered attempts after which the charge is unpaid
	wait     time.Duration
}

// retryRules is deliberately far inside every scheme's ceiling (the strictest
// known: 15 tries in 30 days and 10 in a day for one card).
var retryRules = map[DeclineClass]retryRule{
	DeclineSoft:      {attempts: 4, wait: 3 * 24 * time.Hour},
	DeclineTechnical: {attempts: 4, wait: 24 * time.Hour},
}

// NextAttempt returns when a charge whose latest refusal is of class c may be
// tried again, and false if it may not. answered counts that refusal.
func (c DeclineClass) NextAttempt(answered int, now time.Time) (time.Time, bool) {
	rule, ok := retryRules[c]
	if !ok || answered >= rule.attempts {
		return time.Time{}, false
	}
	return now.Add(rule.wait), true
}
