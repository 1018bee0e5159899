package mastercard_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/internal/gateway/mastercard"
	"github.com/contauth/contauth/tokens"
)

// tokenize returns what the client makes of an answer to a reactivation.
func tokenize(t *testing.T, f form) mastercard.StoredToken {
	t.Helper()
	got, err := newClient(t, saying(t, f).URL).Tokenize(t.Context(), reactivation())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestTokenize_readsTheWholeAnswer(t *testing.T) {
	want := mastercard.StoredToken{
		Result: mastercard.ResultSuccess, Token: testToken, RepositoryID: "TestDEMO", Status: mastercard.TokenValid,
		Verification: mastercard.Verification{Strategy: tokens.StrategyAcquirer, GatewayCode: "EXTERNAL_VERIFICATION_SUCCESSFUL"},
		SourceType:   mastercard.SourceCard,
		Card: mastercard.Card{
			Brand: "MASTERCARD", Scheme: "MASTERCARD", LocalBrand: "Local Debit", FundingMethod: "CREDIT", Issuer: "Bank of Somewhere",
			Expiry: tokens.Expiry{Year: 2039, Month: time.January}, MaskedNumber: "512345xxxxxx0008",
		},
		Updated:       mastercard.TokenUpdate{At: time.Date(2026, 11, 21, 8, 30, 0, 123e6, time.UTC), By: "TESTDEMOMC"},
		LastUsed:      time.Date(2026, 11, 21, 8, 31, 0, 0, time.UTC),
		CorrelationID: "run 7/42",
	}
	if diff := cmp.Diff(want, tokenize(t, stored)); diff != "" {
		t.Errorf("StoredToken (-want +got):\n%s", diff)
	}
}

// Every value of every enumeration of the operation, each with what becomes of it,
// and for each one that does not exist (Create or Update Token).
func TestTokenize_everyEnumeration(t *testing.T) {
	const newWord = "MOON_PHASE"
	brands := []string{
		"AMEX", "CHINA_UNIONPAY", "DINERS_CLUB", "DISCOVER", "JCB", "LOCAL_BRAND_ONLY", "MAESTRO", "MASTERCARD", "RUPAY", "UATP", "UNKNOWN", "VISA",
	}
	schemes := []string{"AMEX", "CHINA_UNIONPAY", "DINERS_CLUB", "DISCOVER", "JCB", "MASTERCARD", "OTHER", "RUPAY", "UATP", "VISA"}
	tests := []struct {
		field  string
		values []string
		read   func(mastercard.StoredToken) string
	}{
		{"result", []string{"SUCCESS", "FAILURE", "PENDING", "UNKNOWN"}, func(s mastercard.StoredToken) string { return string(s.Result) }},
		{"status", []string{"VALID", "INVALID"}, func(s mastercard.StoredToken) string { return string(s.Status) }},
		{"sourceOfFunds.type", []string{"CARD", "ACH"}, func(s mastercard.StoredToken) string { return string(s.SourceType) }},
		{"sourceOfFunds.provided.card.brand", brands, func(s mastercard.StoredToken) string { return s.Card.Brand }},
		{"sourceOfFunds.provided.card.scheme", schemes, func(s mastercard.StoredToken) string { return s.Card.Scheme }},
		{"sourceOfFunds.provided.card.fundingMethod", []string{"CHARGE", "CREDIT", "DEBIT", "UNKNOWN"}, func(s mastercard.StoredToken) string { return s.Card.FundingMethod }},
		{"sourceOfFunds.provided.ach.accountType", []string{"CONSUMER_CHECKING", "CONSUMER_SAVINGS", "CORPORATE_CHECKING"}, func(s mastercard.StoredToken) string { return string(s.ACH.AccountType) }},
		{"sourceOfFunds.provided.ach.secCode", []string{"PPD", "TEL", "WEB"}, func(s mastercard.StoredToken) string { return string(s.ACH.SECCode) }},
		{"verificationStrategy", []string{"ACQUIRER", "BASIC", "NONE"}, func(s mastercard.StoredToken) string { return string(s.Verification.Strategy) }},
		{"usage.lastUpdated.source", []string{"CLIENT", "GATEWAY"}, func(s mastercard.StoredToken) string { return s.Updated.Source }},
	}
	for _, tt := range tests {
		for _, value := range append(tt.values, newWord) {
			t.Run(tt.field+" "+value, func(t *testing.T) {
				got := tokenize(t, stored.with(tt.field, value))
				if tt.read(got) != value {
					t.Errorf("%q was read as %q", value, tt.read(got))
				}
				// Nothing but result and status decides whether the token may be charged.
				want := tt.field != "result" && tt.field != "status" || value == "SUCCESS" || value == "VALID"
				if got.Chargeable() != want {
					t.Errorf("Chargeable = %t, want %t", got.Chargeable(), want)
				}
			})
		}
	}
}

// Every response.gatewayCode of the operation, with the result that comes with it
// (inferred), whether the token may then be charged, and what the domain makes of
// the code as it is handed on.
func TestTokenize_everyGatewayCode(t *testing.T) {
	tests := []struct {
		code, result string
		chargeable   bool
		want         tokens.VerificationResult
	}{
		{"BASIC_VERIFICATION_SUCCESSFUL", "SUCCESS", true, tokens.VerificationPassedBasic},
		{"EXTERNAL_VERIFICATION_SUCCESSFUL", "SUCCESS", true, tokens.VerificationPassed},
		{"NO_VERIFICATION_PERFORMED", "SUCCESS", true, tokens.VerificationNone},
		{"EXTERNAL_VERIFICATION_DECLINED", "FAILURE", false, tokens.VerificationDeclined},
		{"EXTERNAL_VERIFICATION_DECLINED_EXPIRED_CARD", "FAILURE", false, tokens.VerificationExpired},
		{"EXTERNAL_VERIFICATION_DECLINED_INVALID_CSC", "FAILURE", false, tokens.VerificationWrongCode},
		{"EXTERNAL_VERIFICATION_DECLINED_AUTHENTICATION_REQUIRED", "FAILURE", false, tokens.VerificationNeedsShopper},
		{"EXTERNAL_VERIFICATION_BLOCKED", "FAILURE", false, tokens.VerificationBlocked},
		{"EXTERNAL_VERIFICATION_PROCESSING_ERROR", "FAILURE", false, tokens.VerificationFailed},
		{"EXTERNAL_VERIFICATION_PROCESSING_ERROR", "UNKNOWN", false, tokens.VerificationFailed},
		{"MOON_PHASE", "SUCCESS", true, tokens.VerificationNotUnderstood},
	}
	for _, tt := range tests {
		t.Run(tt.result+" "+tt.code, func(t *testing.T) {
			got := tokenize(t, stored.with("response.gatewayCode", tt.code, "result", tt.result))
			if got.Verification.GatewayCode != tt.code || string(got.Result) != tt.result || got.Chargeable() != tt.chargeable {
				t.Errorf("StoredToken = %+v, code %q, Chargeable %t", got, got.Verification.GatewayCode, got.Chargeable())
			}
			if result := tokens.ResultOf(got.Verification.GatewayCode); result != tt.want {
				t.Errorf("ResultOf = %s, want %s", result, tt.want)
			}
		})
	}
}

// Both shapes of what versions write differently, and what is neither.
func TestTokenize_shapesOfVersions(t *testing.T) {
	const expiry, updated = "sourceOfFunds.provided.card.expiry", "usage.lastUpdated"
	january, instant := tokens.Expiry{Year: 2039, Month: time.January}, time.Date(2026, 11, 21, 8, 30, 0, 0, time.UTC)
	expiries := []struct {
		name  string
		pairs []string
		want  tokens.Expiry
	}{
		{"MMYY", []string{expiry, "0139"}, january},
		{"month and year", []string{expiry, "", expiry + ".month", "1", expiry + ".year", "39"}, january},
		{"month and year with zeros", []string{expiry, "", expiry + ".month", "01", expiry + ".year", "05"}, tokens.Expiry{Year: 2005, Month: 1}},
		{"a month that is none", []string{expiry, "1339"}, tokens.Expiry{}},
		{"month zero", []string{expiry, "0039"}, tokens.Expiry{}},
		{"masked", []string{expiry, "xx39"}, tokens.Expiry{}},
		{"too short", []string{expiry, "139"}, tokens.Expiry{}},
		{"four digits of a year", []string{expiry, "", expiry + ".month", "1", expiry + ".year", "2039"}, tokens.Expiry{}},
		{"a month alone", []string{expiry, "", expiry + ".month", "1"}, tokens.Expiry{}},
		{"none", []string{expiry, ""}, tokens.Expiry{}},
	}
	for _, tt := range expiries {
		t.Run("expiry: "+tt.name, func(t *testing.T) {
			if got := tokenize(t, stored.with(tt.pairs...)).Card.Expiry; got != tt.want {
				t.Errorf("Expiry = %v, want %v", got, tt.want)
			}
		})
	}
	usages := []struct {
		name  string
		pairs []string
		want  mastercard.TokenUpdate
		used  time.Time
	}{
		{"times", []string{updated, "2026-11-21T08:30:00.000Z", "usage.lastUpdatedBy", "M1", "usage.lastUsed", "2026-11-21T08:30:00Z"},
			mastercard.TokenUpdate{At: instant, By: "M1"}, instant},
		{"a group", []string{updated, "", "usage.lastUpdatedBy", "", "usage.lastUsed", "", updated + ".time", "2026-11-21T09:30:00.000+01:00",
			updated + ".merchantId", "M1", updated + ".source", "GATEWAY", "usage.lastUsedTime", "2026-11-21T08:30:00.000Z"},
			mastercard.TokenUpdate{At: instant, By: "M1", Source: "GATEWAY"}, instant},
		{"times that are none", []string{updated, "yesterday", "usage.lastUpdatedBy", "", "usage.lastUsed", "0000"}, mastercard.TokenUpdate{}, time.Time{}},
		{"none", []string{updated, "", "usage.lastUpdatedBy", "", "usage.lastUsed", ""}, mastercard.TokenUpdate{}, time.Time{}},
	}
	for _, tt := range usages {
		t.Run("usage: "+tt.name, func(t *testing.T) {
			got := tokenize(t, stored.with(tt.pairs...))
			if got.Updated != tt.want || !got.LastUsed.Equal(tt.used) {
				t.Errorf("Updated = %+v, LastUsed = %v, want %+v, %v", got.Updated, got.LastUsed, tt.want, tt.used)
			}
		})
	}
}

// The profile decides how a number is masked; one that is not masked at all never
// gets further than this.
func TestTokenize_neverKeepsANumber(t *testing.T) {
	tests := []struct{ field, number, want string }{
		{"card.number", "512345xxxxxx0008", "512345xxxxxx0008"},
		{"card.number", "xxxxxxxxxxxx0008", "xxxxxxxxxxxx0008"},
		{"card.number", "5123450000000008", "xxxxxxxxxxxx0008"},
		{"card.number", "51234500xxx00008", "xxxxxxxxxxxx0008"},
		{"card.number", "5123 4500 0000 0008", ""},
		{"card.number", "", ""},
		{"ach.bankAccountNumber", "xxxxxx0000", "xxxxxx0000"},
		{"ach.bankAccountNumber", "1234567890", "xxxxxx7890"},
		{"ach.bankAccountNumber", "AX12345", "xxx2345"},
		{"ach.bankAccountNumber", "123", "123"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.field, " ", tt.number), func(t *testing.T) {
			got := tokenize(t, stored.with("sourceOfFunds.provided.card.number", "").with("sourceOfFunds.provided."+tt.field, tt.number))
			if number := got.Card.MaskedNumber + got.ACH.MaskedNumber; number != tt.want {
				t.Errorf("%s was kept as %q, want %q", tt.number, number, tt.want)
			}
		})
	}
}

func TestTokenize_readsABankAccount(t *testing.T) {
	const group = "sourceOfFunds.provided.ach."
	w := saying(t, form{
		"result": "SUCCESS", "token": testToken, "status": "VALID", "response.gatewayCode": "NO_VERIFICATION_PERFORMED", "sourceOfFunds.type": "ACH",
		group + "accountType": "CONSUMER_SAVINGS", group + "bankAccountHolder": testHolder, group + "bankAccountNumber": "xxxxxx0000",
		group + "routingNumber": "021000021", group + "secCode": "WEB", group + "accountIdentifier": "f3a9c2",
	})
	got, err := newClient(t, w.URL).Tokenize(t.Context(), bankAccount())
	want := mastercard.StoredACH{
		AccountType: mastercard.ConsumerSavings, Holder: testHolder, MaskedNumber: "xxxxxx0000", RoutingNumber: "021000021",
		SECCode: mastercard.SECInternet, AccountIdentifier: "f3a9c2",
	}
	if err != nil || got.ACH != want {
		t.Errorf("Tokenize = %+v, %v, want %+v", got.ACH, err, want)
	}
}
