package tokens

import (
	"fmt"
	"slices"
	"strings"
)

// A Strategy says how a card is verified.
type Strategy string

const (
	// StrategyAcquirer asks the issuer: at the Mastercard Gateway by VERIFY, at Adyen
	// by an authorisation of zero. It counts at the schemes as an attempt.
	StrategyAcquirer Strategy = "ACQUIRER"
	// StrategyBasic looks at the format and range of the number. It proves nothing
	// about the card's life.
	StrategyBasic Strategy = "BASIC"
	// StrategyNone verifies nothing: the first charge is the test.
	StrategyNone Strategy = "NONE"
)

var strategies = []Strategy{StrategyAcquirer, StrategyBasic, StrategyNone}

// UnmarshalText implements encoding.TextUnmarshaler, in any case of letters.
func (s *Strategy) UnmarshalText(text []byte) error {
	if found := Strategy(strings.ToUpper(string(text))); slices.Contains(strategies, found) {
		*s = found
		return nil
	}
	return fmt.Errorf("%w verification strategy: want one of %q", ErrInvalid, strategies)
}

// String returns the strategy's word.
func (s Strategy) String() string { return string(s) }

// A VerificationResult says what a verification found, in words of our own.
type VerificationResult string

const (
	VerificationPassed        VerificationResult = "passed"         // the issuer said yes
	VerificationPassedBasic   VerificationResult = "passed_basic"   // the number has the right format and range
	VerificationNone          VerificationResult = "none"           // nothing was verified
	VerificationDeclined      VerificationResult = "declined"       // the issuer said no, without saying that the card is dead
	VerificationExpired       VerificationResult = "expired"        // the card has expired
	VerificationDead          VerificationResult = "dead"           // the issuer says that the card will not come back
	VerificationWrongCode     VerificationResult = "wrong_code"     // the security code was wrong
	VerificationNeedsShopper  VerificationResult = "needs_shopper"  // only the shopper can authenticate
	VerificationBlocked       VerificationResult = "blocked"        // stopped by rules about risk
	VerificationFailed        VerificationResult = "failed"         // it could not be done: try again later
	VerificationNotUnderstood VerificationResult = "not_understood" // an answer that this version does not know
)

// gatewayCodes are the values of response.gatewayCode of TOKENIZE and their
// results (Mastercard Gateway, Create or Update Token).
var gatewayCodes = map[string]VerificationResult{
	"BASIC_VERIFICATION_SUCCESSFUL":                          VerificationPassedBasic,
	"EXTERNAL_VERIFICATION_SUCCESSFUL":                       VerificationPassed,
	"EXTERNAL_VERIFICATION_DECLINED":                         VerificationDeclined,
	"EXTERNAL_VERIFICATION_DECLINED_EXPIRED_CARD":            VerificationExpired,
	"EXTERNAL_VERIFICATION_DECLINED_INVALID_CSC":             VerificationWrongCode,
	"EXTERNAL_VERIFICATION_DECLINED_AUTHENTICATION_REQUIRED": VerificationNeedsShopper,
	"EXTERNAL_VERIFICATION_BLOCKED":                          VerificationBlocked,
	"EXTERNAL_VERIFICATION_PROCESSING_ERROR":                 VerificationFailed,
	"NO_VERIFICATION_PERFORMED":                              VerificationNone,
}

// ResultOf returns what a response.gatewayCode of TOKENIZE says; an unknown code
// is VerificationNotUnderstood, which changes nothing.
func ResultOf(gatewayCode string) VerificationResult {
	if result, ok := gatewayCodes[gatewayCode]; ok {
		return result
	}
	return VerificationNotUnderstood
}

// A Verification is the outcome of one.
type Verification struct {
	Strategy Strategy
	Result   VerificationResult
	Code     string // the gateway's own word
	Reason   string // the gateway's words, one line without secrets; may be empty
}

// verificationEffects is what each result does to a token that may be charged: the
// state that it then has, or none where it stays as it is. A decline alone leaves
// it: funds may be missing today, and the next charge says more.
var verificationEffects = map[VerificationResult]State{
	VerificationPassed:        Valid,
	VerificationPassedBasic:   "",
	VerificationNone:          "",
	VerificationDeclined:      "",
	VerificationExpired:       Invalid,
	VerificationDead:          Invalid,
	VerificationWrongCode:     "",
	VerificationNeedsShopper:  "",
	VerificationBlocked:       "",
	VerificationFailed:        "",
	VerificationNotUnderstood: "",
}

// Effect returns the state of a chargeable token after the verification. A token
// that is invalid or disabled stays so: only a reactivation brings it back.
func (v Verification) Effect(now State) State {
	if next := verificationEffects[v.Result]; next != "" && now.Chargeable() {
		return next
	}
	return now
}

// AllowsReactivation reports whether a token whose details were replaced may be
// charged again after this verification: what was asked for must have passed.
func (v Verification) AllowsReactivation() bool {
	switch v.Result {
	case VerificationPassed:
		return true
	case VerificationPassedBasic:
		return v.Strategy == StrategyBasic
	case VerificationNone:
		return v.Strategy == StrategyNone
	}
	return false
}

// verificationSentences completes "the card …".
var verificationSentences = map[VerificationResult]string{
	VerificationPassed:        "was verified by its issuer",
	VerificationPassedBasic:   "has a number of the right format and range; whether it lives is not known",
	VerificationNone:          "was not verified: its first charge is the test",
	VerificationDeclined:      "was declined by its issuer, which did not say that it is dead: the next charge says more",
	VerificationExpired:       "has expired: ask for a new expiry date or another card",
	VerificationDead:          "will not be accepted again, says its issuer: ask for another card",
	VerificationWrongCode:     "was declined for its security code: let the shopper enter it again",
	VerificationNeedsShopper:  "is accepted only with its shopper present to authenticate",
	VerificationBlocked:       "was stopped by risk rules at the gateway: a person must look there",
	VerificationFailed:        "could not be verified now: try again later",
	VerificationNotUnderstood: "got an answer that this version does not know: nothing follows from it",
}

// Sentence says the result in plain words, to follow "the card".
func (r VerificationResult) Sentence() string { return verificationSentences[r] }
