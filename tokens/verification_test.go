package tokens_test

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/contauth/contauth/tokens"
)

var (
	states     = []tokens.State{tokens.Unverified, tokens.Valid, tokens.Invalid, tokens.Disabled}
	strategies = []tokens.Strategy{tokens.StrategyAcquirer, tokens.StrategyBasic, tokens.StrategyNone}
	results    = []tokens.VerificationResult{
		tokens.VerificationPassed, tokens.VerificationPassedBasic, tokens.VerificationNone, tokens.VerificationDeclined, tokens.VerificationExpired,
		tokens.VerificationDead, tokens.VerificationWrongCode, tokens.VerificationNeedsShopper, tokens.VerificationBlocked, tokens.VerificationFailed,
		tokens.VerificationNotUnderstood,
	}
)

// Every value of response.gatewayCode of TOKENIZE, and what it does to a token that
// is unverified or valid. What it does to the others is below: nothing.
func TestResultOf(t *testing.T) {
	tests := []struct {
		name, code        string
		result            tokens.VerificationResult
		unverified, valid tokens.State // afterwards
	}{
		{"the number looks right", "BASIC_VERIFICATION_SUCCESSFUL", tokens.VerificationPassedBasic, tokens.Unverified, tokens.Valid},
		{"the issuer said yes", "EXTERNAL_VERIFICATION_SUCCESSFUL", tokens.VerificationPassed, tokens.Valid, tokens.Valid},
		{"a decline may be for today's funds", "EXTERNAL_VERIFICATION_DECLINED", tokens.VerificationDeclined, tokens.Unverified, tokens.Valid},
		{"expired", "EXTERNAL_VERIFICATION_DECLINED_EXPIRED_CARD", tokens.VerificationExpired, tokens.Invalid, tokens.Invalid},
		{"the code, which no charge sends", "EXTERNAL_VERIFICATION_DECLINED_INVALID_CSC", tokens.VerificationWrongCode, tokens.Unverified, tokens.Valid},
		{"only with its shopper", "EXTERNAL_VERIFICATION_DECLINED_AUTHENTICATION_REQUIRED", tokens.VerificationNeedsShopper, tokens.Unverified, tokens.Valid},
		{"stopped for risk", "EXTERNAL_VERIFICATION_BLOCKED", tokens.VerificationBlocked, tokens.Unverified, tokens.Valid},
		{"not possible now", "EXTERNAL_VERIFICATION_PROCESSING_ERROR", tokens.VerificationFailed, tokens.Unverified, tokens.Valid},
		{"not asked for", "NO_VERIFICATION_PERFORMED", tokens.VerificationNone, tokens.Unverified, tokens.Valid},
		{"a word of a later version", "EXTERNAL_VERIFICATION_DEFERRED", tokens.VerificationNotUnderstood, tokens.Unverified, tokens.Valid},
		{"another case of letters", "external_verification_successful", tokens.VerificationNotUnderstood, tokens.Unverified, tokens.Valid},
		{"no word", "", tokens.VerificationNotUnderstood, tokens.Unverified, tokens.Valid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			result := tokens.ResultOf(tt.code)
			if result != tt.result {
				t.Errorf("%q is %s, want %s", tt.code, result, tt.result)
			}
			seen := tokens.Verification{Strategy: tokens.StrategyAcquirer, Result: result, Code: tt.code}
			want := map[tokens.State]tokens.State{
				tokens.Unverified: tt.unverified, tokens.Valid: tt.valid, tokens.Invalid: tokens.Invalid, tokens.Disabled: tokens.Disabled,
			}
			for _, now := range states {
				if got := seen.Effect(now); got != want[now] {
					t.Errorf("a token that is %s becomes %s, want %s", now, got, want[now])
				}
			}
		})
	}
}

// An issuer may say outright that a card will not come back: no gatewayCode does, but
// Adyen's refusals do.
func TestVerification_Effect_ofADeadCard(t *testing.T) {
	for now, want := range map[tokens.State]tokens.State{
		tokens.Unverified: tokens.Invalid, tokens.Valid: tokens.Invalid, tokens.Invalid: tokens.Invalid, tokens.Disabled: tokens.Disabled,
	} {
		if got := (tokens.Verification{Result: tokens.VerificationDead}).Effect(now); got != want {
			t.Errorf("a token that is %s becomes %s, want %s", now, got, want)
		}
	}
}

// Whatever a verification finds, it brings no token back, and moves one only along a
// legal way.
func TestVerification_Effect_property(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seen := tokens.Verification{
			Strategy: rapid.SampledFrom(strategies).Draw(rt, "strategy"),
			Result:   rapid.OneOf(rapid.SampledFrom(results), rapid.Map(rapid.String(), func(s string) tokens.VerificationResult { return tokens.VerificationResult(s) })).Draw(rt, "result"),
		}
		now := rapid.SampledFrom(states).Draw(rt, "state")
		next := seen.Effect(now)
		if !now.Chargeable() && next.Chargeable() {
			rt.Errorf("%s brings a token back that is %s", seen.Result, now)
		}
		if next != now && !now.CanMove(next) {
			rt.Errorf("%s moves a token from %s to %s", seen.Result, now, next)
		}
		if next == tokens.Valid && now == tokens.Unverified && seen.Result != tokens.VerificationPassed {
			rt.Errorf("%s confirms a token", seen.Result)
		}
	})
}

func TestVerification_AllowsReactivation(t *testing.T) {
	type asked struct {
		result   tokens.VerificationResult
		strategy tokens.Strategy
	}
	allowed := []asked{ // what was asked for has passed; nothing else
		{tokens.VerificationPassed, tokens.StrategyAcquirer},
		{tokens.VerificationPassed, tokens.StrategyBasic},
		{tokens.VerificationPassed, tokens.StrategyNone},
		{tokens.VerificationPassedBasic, tokens.StrategyBasic},
		{tokens.VerificationNone, tokens.StrategyNone},
	}
	for _, result := range append(slices.Clone(results), "", "a word of a later version") {
		for _, strategy := range append(slices.Clone(strategies), "") {
			want := slices.Contains(allowed, asked{result, strategy}) || result == tokens.VerificationPassed
			if got := (tokens.Verification{Strategy: strategy, Result: result}).AllowsReactivation(); got != want {
				t.Errorf("%q after %q: allows reactivation %t, want %t", result, strategy, got, want)
			}
		}
	}
}

func TestVerificationResult_Sentence(t *testing.T) {
	told := map[string]tokens.VerificationResult{}
	for _, result := range results {
		sentence := result.Sentence()
		if sentence == "" {
			t.Errorf("nobody is told what %s means", result)
		}
		if other, same := told[sentence]; same {
			t.Errorf("%s and %s are told in the same words", result, other)
		}
		told[sentence] = result
	}
}

func TestStrategy_UnmarshalText(t *testing.T) {
	tests := []struct {
		name, text string
		want       tokens.Strategy
	}{
		{"as the gateway writes it", "ACQUIRER", tokens.StrategyAcquirer},
		{"in small letters", "basic", tokens.StrategyBasic},
		{"in any", "nOnE", tokens.StrategyNone},
		{"one that does not exist", "ISSUER", ""},
		{"with a space", "BASIC ", ""},
		{"none at all", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got tokens.Strategy
			err := got.UnmarshalText([]byte(tt.text))
			if got != tt.want || (err == nil) != (tt.want != "") || err != nil && !errors.Is(err, tokens.ErrInvalid) {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}
