package mastercard_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/gateway/gatewaytest"
	"github.com/contauth/contauth/internal/gateway/mastercard"
	"github.com/contauth/contauth/internal/secret"
	"github.com/contauth/contauth/tokens"
)

const (
	testSession = "SESSION0002663432544J37502155E8"
	testVersion = "bbdb1a4601"
	testToken   = "9512345678901238"
	testAccount = "12 34-5678/90"
	testHolder  = "Ada Byron & Söhne"
)

// reactivation stores what a shopper entered under the token that there is.
func reactivation() mastercard.TokenizeRequest {
	return mastercard.TokenizeRequest{
		Token: testToken, SessionID: testSession, SessionVersion: testVersion, SourceType: mastercard.SourceCard,
		Currency: "EUR", Strategy: tokens.StrategyAcquirer, CorrelationID: "run 7/42",
	}
}

// bankAccount stores an account that a person gave in writing.
func bankAccount() mastercard.TokenizeRequest {
	return mastercard.TokenizeRequest{
		SourceType: mastercard.SourceACH,
		ACH: mastercard.ACH{
			AccountType: mastercard.ConsumerChecking, Holder: testHolder, Number: secret.New(testAccount),
			RoutingNumber: "021000021", SECCode: mastercard.SECWritten,
		},
	}
}

// stored is the answer to a reactivation, with every field that the operation has.
var stored = form{
	"result": "SUCCESS", "correlationId": "run 7/42", "repositoryId": "TestDEMO", "token": testToken, "status": "VALID",
	"response.gatewayCode": "EXTERNAL_VERIFICATION_SUCCESSFUL", "verificationStrategy": "ACQUIRER",
	"sourceOfFunds.type": "CARD", "sourceOfFunds.provided.card.brand": "MASTERCARD", "sourceOfFunds.provided.card.scheme": "MASTERCARD",
	"sourceOfFunds.provided.card.localBrand": "Local Debit", "sourceOfFunds.provided.card.fundingMethod": "CREDIT",
	"sourceOfFunds.provided.card.issuer": "Bank of Somewhere", "sourceOfFunds.provided.card.expiry": "0139",
	"sourceOfFunds.provided.card.number": "512345xxxxxx0008",
	"usage.lastUpdated":                  "2026-11-21T08:30:00.123Z", "usage.lastUpdatedBy": "TESTDEMOMC", "usage.lastUsed": "2026-11-21T08:31:00.000Z",
}

func TestTokenize_sendsExactlyTheseBytes(t *testing.T) {
	const credentials = "&apiUsername=merchant.TESTDEMOMC&apiPassword=d3b07384d113%2Bedec49eaa6238ad5ff0"
	tests := []struct {
		name    string
		request mastercard.TokenizeRequest
		want    string
	}{
		{"a session under the token that there is", reactivation(),
			"apiOperation=TOKENIZE&merchant=TESTDEMOMC&correlationId=run+7%2F42&token=9512345678901238&session.id=" + testSession +
				"&session.version=bbdb1a4601&sourceOfFunds.type=CARD&transaction.currency=EUR&verificationStrategy=ACQUIRER"},
		{"a session under a token that the gateway names", mastercard.TokenizeRequest{SessionID: testSession, SourceType: mastercard.SourceCard},
			"apiOperation=TOKENIZE&merchant=TESTDEMOMC&session.id=" + testSession + "&sourceOfFunds.type=CARD"},
		{"another token with a new expiry", mastercard.TokenizeRequest{
			Token: "mine1", SourceType: mastercard.SourceCard, SourceToken: testToken, Expiry: tokens.Expiry{Year: 2039, Month: 1},
		}, "apiOperation=TOKENIZE&merchant=TESTDEMOMC&token=mine1&sourceOfFunds.type=CARD&sourceOfFunds.token=9512345678901238" +
			"&sourceOfFunds.provided.card.expiry.month=1&sourceOfFunds.provided.card.expiry.year=39"},
		{"a year with a leading zero", mastercard.TokenizeRequest{
			SourceType: mastercard.SourceCard, SourceToken: testToken, Expiry: tokens.Expiry{Year: 2005, Month: 12},
		}, "apiOperation=TOKENIZE&merchant=TESTDEMOMC&sourceOfFunds.type=CARD&sourceOfFunds.token=9512345678901238" +
			"&sourceOfFunds.provided.card.expiry.month=12&sourceOfFunds.provided.card.expiry.year=05"},
		{"a bank account", bankAccount(),
			"apiOperation=TOKENIZE&merchant=TESTDEMOMC&sourceOfFunds.type=ACH&sourceOfFunds.provided.ach.accountType=CONSUMER_CHECKING" +
				"&sourceOfFunds.provided.ach.bankAccountHolder=Ada+Byron+%26+S%C3%B6hne&sourceOfFunds.provided.ach.bankAccountNumber=12+34-5678%2F90" +
				"&sourceOfFunds.provided.ach.routingNumber=021000021&sourceOfFunds.provided.ach.secCode=PPD"},
		{"a bank account from a session", mastercard.TokenizeRequest{SourceType: mastercard.SourceACH, SessionID: testSession},
			"apiOperation=TOKENIZE&merchant=TESTDEMOMC&session.id=" + testSession + "&sourceOfFunds.type=ACH"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := answering(t, func(asked form) string {
				return httpAnswer(201, stored.with("token", orElse(asked["token"], "9999"), "correlationId", asked["correlationId"]).String())
			})
			if _, err := newClient(t, w.URL).Tokenize(t.Context(), tt.request); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want+credentials, string(w.Requests()[0].Body)); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
		})
	}
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// Every rule of the operation's fields is told before anything is sent, by the
// gateway's name of the field, and without its value.
func TestTokenize_validates(t *testing.T) {
	card := func(edit func(*mastercard.TokenizeRequest)) mastercard.TokenizeRequest {
		r := reactivation()
		edit(&r)
		return r
	}
	ach := func(edit func(*mastercard.ACH)) mastercard.TokenizeRequest {
		r := bankAccount()
		edit(&r.ACH)
		return r
	}
	const group = "sourceOfFunds.provided.ach."
	tests := []struct {
		name    string
		request mastercard.TokenizeRequest
		want    string // beginning of the complaint; empty if it may be sent
	}{
		{"a session", card(func(r *mastercard.TokenizeRequest) {}), ""},
		{"a session of 35 characters", card(func(r *mastercard.TokenizeRequest) { r.SessionID = strings.Repeat("S", 35) }), ""},
		{"a session of 30 characters", card(func(r *mastercard.TokenizeRequest) { r.SessionID = strings.Repeat("S", 30) }), "session.id: want 31 to 35"},
		{"a session of 36 characters", card(func(r *mastercard.TokenizeRequest) { r.SessionID = strings.Repeat("S", 36) }), "session.id: want 31 to 35"},
		{"a session outside ASCII", card(func(r *mastercard.TokenizeRequest) { r.SessionID = strings.Repeat("é", 16) }), "session.id: want 31 to 35"},
		{"a version of 9 characters", card(func(r *mastercard.TokenizeRequest) { r.SessionVersion = "123456789" }), "session.version: want exactly 10"},
		{"a version of 11 characters", card(func(r *mastercard.TokenizeRequest) { r.SessionVersion = "12345678901" }), "session.version: want exactly 10"},
		{"a version outside ASCII", card(func(r *mastercard.TokenizeRequest) { r.SessionVersion = "ééééé" }), "session.version: want exactly 10"},
		{"a version without a session", card(func(r *mastercard.TokenizeRequest) { r.SessionID, r.SourceToken = "", testToken }), "session.version: only with session.id"},
		{"a token of 40 characters", card(func(r *mastercard.TokenizeRequest) { r.Token = strings.Repeat("t", 40) }), ""},
		{"a token of 41 characters", card(func(r *mastercard.TokenizeRequest) { r.Token = strings.Repeat("t", 41) }), "token: want 1 to 40"},
		{"a token with a dash", card(func(r *mastercard.TokenizeRequest) { r.Token = "a-b" }), "token: want 1 to 40"},
		{"a source token with a dash", card(func(r *mastercard.TokenizeRequest) { r.SourceToken = "a-b" }), "sourceOfFunds.token: want 1 to 40"},
		{"no type", card(func(r *mastercard.TokenizeRequest) { r.SourceType = "" }), "sourceOfFunds.type: want one of [CARD ACH]"},
		{"a type in small letters", card(func(r *mastercard.TokenizeRequest) { r.SourceType = "card" }), "sourceOfFunds.type: want one of"},
		{"a type of later versions", card(func(r *mastercard.TokenizeRequest) { r.SourceType = "GIFT_CARD" }), "sourceOfFunds.type: want one of"},
		{"nothing to store", mastercard.TokenizeRequest{Token: testToken, SourceType: mastercard.SourceCard}, "sourceOfFunds: want a session"},
		{"an expiry alone", mastercard.TokenizeRequest{Token: testToken, SourceType: mastercard.SourceCard, Expiry: tokens.Expiry{Year: 2030, Month: 6}}, ""},
		{"month 13", card(func(r *mastercard.TokenizeRequest) { r.Expiry = tokens.Expiry{Year: 2030, Month: 13} }), "sourceOfFunds.provided.card.expiry.month: want 1 to 12"},
		{"month 0", card(func(r *mastercard.TokenizeRequest) { r.Expiry = tokens.Expiry{Year: 2030} }), "sourceOfFunds.provided.card.expiry.month: want 1 to 12"},
		{"a year of the last century", card(func(r *mastercard.TokenizeRequest) { r.Expiry = tokens.Expiry{Year: 1999, Month: 6} }), "sourceOfFunds.provided.card.expiry.year"},
		{"a year of two digits", card(func(r *mastercard.TokenizeRequest) { r.Expiry = tokens.Expiry{Year: 30, Month: 6} }), "sourceOfFunds.provided.card.expiry.year"},
		{"the acquirer without a currency", card(func(r *mastercard.TokenizeRequest) { r.Currency = "" }), "transaction.currency: verification by the acquirer needs one"},
		{"BASIC without a currency", card(func(r *mastercard.TokenizeRequest) { r.Strategy, r.Currency = tokens.StrategyBasic, "" }), ""},
		{"NONE without a currency", card(func(r *mastercard.TokenizeRequest) { r.Strategy, r.Currency = tokens.StrategyNone, "" }), ""},
		{"the profile's strategy", card(func(r *mastercard.TokenizeRequest) { r.Strategy, r.Currency = "", "" }), ""},
		{"a strategy in small letters", card(func(r *mastercard.TokenizeRequest) { r.Strategy = "acquirer" }), "verificationStrategy: want one of [ACQUIRER BASIC NONE]"},
		{"a currency in small letters", card(func(r *mastercard.TokenizeRequest) { r.Currency = "eur" }), "transaction.currency: want 3 letters"},
		{"a correlation of 100 characters", card(func(r *mastercard.TokenizeRequest) { r.CorrelationID = strings.Repeat("é", 100) }), ""},
		{"a correlation of 101 characters", card(func(r *mastercard.TokenizeRequest) { r.CorrelationID = strings.Repeat("c", 101) }), "correlationId: want 1 to 100"},
		{"a correlation that is not UTF-8", card(func(r *mastercard.TokenizeRequest) { r.CorrelationID = "\xff" }), "correlationId: want 1 to 100"},

		{"a bank account", bankAccount(), ""},
		{"a bank account that is another's", mastercard.TokenizeRequest{SourceType: mastercard.SourceACH, SourceToken: testToken}, ""},
		{"ACH without an account", mastercard.TokenizeRequest{SourceType: mastercard.SourceACH, Expiry: tokens.Expiry{Year: 2030, Month: 6}}, "sourceOfFunds.provided.card.expiry: only with"},
		{"ACH from nowhere", mastercard.TokenizeRequest{SourceType: mastercard.SourceACH}, "sourceOfFunds: want a session"},
		{"a bank account under the type of cards", func() mastercard.TokenizeRequest {
			r := bankAccount()
			r.SourceType = mastercard.SourceCard
			return r
		}(), "sourceOfFunds.provided.ach: only with sourceOfFunds.type ACH"},
		{"no kind of account", ach(func(a *mastercard.ACH) { a.AccountType = "" }), group + "accountType: want one of [CONSUMER_CHECKING CONSUMER_SAVINGS CORPORATE_CHECKING]"},
		{"a kind that is none", ach(func(a *mastercard.ACH) { a.AccountType = "CORPORATE_SAVINGS" }), group + "accountType: want one of"},
		{"no holder", ach(func(a *mastercard.ACH) { a.Holder = "" }), group + "bankAccountHolder: want 1 to 28"},
		{"a holder of 28 letters", ach(func(a *mastercard.ACH) { a.Holder = strings.Repeat("ö", 28) }), ""},
		{"a holder of 29 letters", ach(func(a *mastercard.ACH) { a.Holder = strings.Repeat("ö", 29) }), group + "bankAccountHolder: want 1 to 28"},
		{"no number", ach(func(a *mastercard.ACH) { a.Number = secret.String{} }), group + "bankAccountNumber: want 1 to 17"},
		{"a number of 17", ach(func(a *mastercard.ACH) { a.Number = secret.New(strings.Repeat("7", 17)) }), ""},
		{"a number of 18", ach(func(a *mastercard.ACH) { a.Number = secret.New(strings.Repeat("7", 18)) }), group + "bankAccountNumber: want 1 to 17"},
		{"a number with a dot", ach(func(a *mastercard.ACH) { a.Number = secret.New("12.34") }), group + "bankAccountNumber: want 1 to 17"},
		{"a routing number of 8 digits", ach(func(a *mastercard.ACH) { a.RoutingNumber = "02100002" }), group + "routingNumber: want 9 digits"},
		{"a routing number of 10 digits", ach(func(a *mastercard.ACH) { a.RoutingNumber = "0210000210" }), group + "routingNumber: want 9 digits"},
		{"a routing number with a letter", ach(func(a *mastercard.ACH) { a.RoutingNumber = "02100002x" }), group + "routingNumber: want 9 digits"},
		{"no SEC code", ach(func(a *mastercard.ACH) { a.SECCode = "" }), group + "secCode: want one of [PPD TEL WEB]"},
		{"a SEC code that is none here", ach(func(a *mastercard.ACH) { a.SECCode = "CCD" }), group + "secCode: want one of [PPD TEL WEB]"},
	}
	w := answering(t, func(form) string { return httpAnswer(201, "result=PENDING") })
	client := newClient(t, w.URL)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := len(w.Requests())
			_, err := client.Tokenize(t.Context(), tt.request)
			sent := len(w.Requests()) - before
			if tt.want == "" {
				if err != nil || sent != 1 {
					t.Errorf("Tokenize: %v, %d sent, want none of it refused", err, sent)
				}
				return
			}
			if !errors.Is(err, tokens.ErrInvalid) || !strings.HasPrefix(err.Error(), "mastercard: TOKENIZE: invalid request: "+tt.want) || sent != 0 {
				t.Errorf("Tokenize: %v, %d sent, want ErrInvalid that begins with %q", err, sent, tt.want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("error = %v has more than a line", err)
			}
			checkSilent(t, err, testSession, testAccount, testHolder)
		})
	}
}

// Neither a request nor what an error says of it shows what must not be seen.
func TestTokenize_isSilentAboutSecrets(t *testing.T) {
	secrets := []string{testAccount, "12+34-5678%2F90", testHolder, testPassword, testToken, testSession}
	request := bankAccount()
	request.Token, request.SessionID = testToken, testSession
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		for _, value := range []any{request, &request, request.ACH, []mastercard.TokenizeRequest{request}, mastercard.VerifyRequest{Token: testToken, SessionID: testSession}, mastercard.Session{ID: testSession}, mastercard.StoredToken{Token: testToken}} {
			text := fmt.Sprintf(verb, value)
			for _, s := range secrets {
				if strings.Contains(text, s) {
					t.Errorf("%s of %T prints %q", verb, value, text)
				}
			}
		}
	}
	w := gatewaytest.NewWire(t, func(e *gatewaytest.Exchange) {
		all := strings.Join(secrets, " ") + " " + string(e.Body)
		e.Say(httpAnswer(400, fault("INVALID_REQUEST", "error.explanation", all, "error.field", all, "error.supportCode", all, "error.validationType", all).String()))
	})
	_, err := newClient(t, w.URL).Tokenize(t.Context(), request)
	var refusal *mastercard.Error
	if !errors.As(err, &refusal) {
		t.Fatalf("error = %v, want an *Error", err)
	}
	checkSilent(t, err, secrets...)
	checkSilent(t, fmt.Errorf("%+v", *refusal), secrets...)
	if len(refusal.Explanation) == 0 || len(refusal.Explanation) > 200 || strings.ContainsAny(refusal.Explanation, "\r\n") {
		t.Errorf("Explanation = %q, want a line", refusal.Explanation)
	}
}

// What became of a request that has no answer is not known, in the words of both
// packages that ask.
func TestTokenize_withoutAnAnswer(t *testing.T) {
	tests := []struct {
		name   string
		answer func(*gatewaytest.Exchange)
		want   error
	}{
		{"a hang-up", (*gatewaytest.Exchange).Hangup, billing.ErrUnknown},
		{"an empty body", func(e *gatewaytest.Exchange) { e.Say(httpAnswer(200, "")) }, billing.ErrUnknown},
		{"503", func(e *gatewaytest.Exchange) { e.Say(httpAnswer(503, "")) }, billing.ErrUnknown},
		{"a server without resources", func(e *gatewaytest.Exchange) { e.Say(httpAnswer(503, fault("SERVER_BUSY").String())) }, billing.ErrUnknown},
		{"a server that failed", func(e *gatewaytest.Exchange) { e.Say(httpAnswer(500, fault("SERVER_FAILED").String())) }, billing.ErrUnknown},
		{"the answer of another request", func(e *gatewaytest.Exchange) {
			e.Say(httpAnswer(201, stored.with("correlationId", "run 8/1").String()))
		}, billing.ErrMismatch},
		{"the answer about another token", func(e *gatewaytest.Exchange) { e.Say(httpAnswer(201, stored.with("token", "9999").String())) }, billing.ErrMismatch},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := gatewaytest.NewWire(t, tt.answer)
			got, err := newClient(t, w.URL).Tokenize(t.Context(), reactivation())
			if !errors.Is(err, tt.want) || !errors.Is(err, tokens.ErrUnanswered) || got != (mastercard.StoredToken{}) {
				t.Errorf("Tokenize = %v, %v, want %v", got, err, tt.want)
			}
			checkSilent(t, err, testSession)
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		_, err := newClient(t, "http://127.0.0.1:1").Tokenize(t.Context(), reactivation())
		if !errors.Is(err, billing.ErrNotSent) || !errors.Is(err, tokens.ErrUnanswered) {
			t.Errorf("Tokenize: %v, want ErrNotSent", err)
		}
	})
	t.Run("a name of the gateway's own choice is missing", func(t *testing.T) {
		request := reactivation()
		request.Token = ""
		w := saying(t, stored.with("token", ""))
		if _, err := newClient(t, w.URL).Tokenize(t.Context(), request); !errors.Is(err, tokens.ErrUnanswered) {
			t.Errorf("Tokenize: %v, want ErrUnanswered", err)
		}
	})
}

// A request that something before the gateway turned away, and an account that
// cannot work.
func TestTokenize_turnedAway(t *testing.T) {
	for status, scope := range map[int]billing.Scope{401: billing.ScopeAccount, 404: billing.ScopeAccount, 429: billing.ScopeNow} {
		w := answering(t, func(form) string { return httpAnswer(status, "") })
		_, err := newClient(t, w.URL).Tokenize(t.Context(), reactivation())
		checkNotProcessed(t, err, billing.NotProcessedError{Scope: scope, Status: status})
	}
	_, err := newClientWith(t, mastercard.Options{}).Tokenize(t.Context(), reactivation())
	checkNotProcessed(t, err, billing.NotProcessedError{Scope: billing.ScopeAccount, Code: "configuration"})
}
