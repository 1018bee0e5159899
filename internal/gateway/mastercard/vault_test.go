package mastercard_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/gateway/mastercard"
	"github.com/contauth/contauth/tokens"
)

func TestRetrieveToken(t *testing.T) {
	w := saying(t, stored.with("correlationId", "", "response.gatewayCode", "", "verificationStrategy", "", "status", "INVALID"))
	got, err := newClient(t, w.URL).RetrieveToken(t.Context(), testToken)
	if err != nil || got.Token != testToken || got.Status != mastercard.TokenInvalid || got.Chargeable() || got.Card.Brand != "MASTERCARD" {
		t.Errorf("RetrieveToken = %+v, %v", got, err)
	}
	const want = "apiOperation=RETRIEVE_TOKEN&merchant=TESTDEMOMC&token=9512345678901238" +
		"&apiUsername=merchant.TESTDEMOMC&apiPassword=d3b07384d113%2Bedec49eaa6238ad5ff0"
	if diff := cmp.Diff(want, string(w.Requests()[0].Body)); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
}

func TestDeleteToken(t *testing.T) {
	w := saying(t, form{"result": "SUCCESS"})
	if err := newClient(t, w.URL).DeleteToken(t.Context(), testToken); err != nil {
		t.Error(err)
	}
	if got := string(w.Requests()[0].Body); !strings.HasPrefix(got, "apiOperation=DELETE_TOKEN&merchant=TESTDEMOMC&token=9512345678901238&apiUsername=") {
		t.Errorf("asked %s", got)
	}
	for _, result := range []string{"FAILURE", "PENDING", "UNKNOWN", "MOON_PHASE"} {
		w := saying(t, form{"result": result})
		if err := newClient(t, w.URL).DeleteToken(t.Context(), testToken); !errors.Is(err, tokens.ErrUnanswered) || !strings.Contains(err.Error(), result) {
			t.Errorf("%s: DeleteToken = %v, want ErrUnanswered that names it", result, err)
		}
	}
}

// Both operations on one token, through what is alike in them.
func onToken(client *mastercard.Client) map[string]func(context.Context, string) error {
	return map[string]func(context.Context, string) error{
		"RETRIEVE_TOKEN": func(ctx context.Context, token string) error {
			_, err := client.RetrieveToken(ctx, token)
			return err
		},
		"DELETE_TOKEN": client.DeleteToken,
	}
}

func TestVault_errorsAboutOneToken(t *testing.T) {
	tests := []struct {
		name   string
		status int
		answer form
		want   error // nil: a plain refusal
	}{
		{"the token is not known", 400, fault("INVALID_REQUEST", "error.field", "token", "error.validationType", "INVALID"), tokens.ErrNotFound},
		{"404 that the gateway explains", 404, fault("INVALID_REQUEST"), tokens.ErrNotFound},
		{"wrong credentials are not a token that is gone", 401, fault("INVALID_REQUEST", "error.field", "token"), nil},
		{"something else is wrong", 400, fault("INVALID_REQUEST", "error.explanation", "words"), nil},
		{"a server that failed", 500, fault("SERVER_FAILED"), tokens.ErrUnanswered},
		{"a cause that is new", 500, fault("MOON_PHASE"), tokens.ErrUnanswered},
	}
	for _, tt := range tests {
		w := answering(t, func(form) string { return httpAnswer(tt.status, tt.answer.String()) })
		for operation, call := range onToken(newClient(t, w.URL)) {
			t.Run(operation+": "+tt.name, func(t *testing.T) {
				err := call(t.Context(), testToken)
				var refusal *mastercard.Error
				if !errors.As(err, &refusal) || refusal.Operation != operation || refusal.Status != tt.status {
					t.Fatalf("error = %v, want an *Error of %s", err, operation)
				}
				for _, meaning := range []error{tokens.ErrNotFound, tokens.ErrUnanswered} {
					if errors.Is(err, meaning) != (meaning == tt.want) {
						t.Errorf("error = %v, want %v", err, tt.want)
					}
				}
				checkSilent(t, err)
			})
		}
	}
	for operation, call := range onToken(newClient(t, "http://127.0.0.1:1")) {
		for _, token := range []string{"", "a-b", strings.Repeat("t", 41)} {
			if err := call(t.Context(), token); !errors.Is(err, tokens.ErrInvalid) || !strings.Contains(err.Error(), "token: want 1 to 40") {
				t.Errorf("%s of %q: %v, want ErrInvalid", operation, token, err)
			}
		}
	}
}

// Every cause and validation type, and what a person reads of each refusal.
func TestTokenize_refusals(t *testing.T) {
	onField := func(field, kind, words string) form {
		return fault("INVALID_REQUEST", "error.field", field, "error.validationType", kind, "error.explanation", words)
	}
	const number = "sourceOfFunds.provided.card.number"
	tests := []struct {
		name   string
		answer form
		want   tokens.Refusal
		advice string // a part of it
	}{
		{"the session has another version", onField("session.version", "INVALID", "Value is invalid"), tokens.RefusedSessionChanged, "the session changed since"},
		{"the words say so", fault("INVALID_REQUEST", "error.explanation", "Session version does not match"), tokens.RefusedSessionChanged, "perhaps the session changed"},
		{"the session is not known", onField("session.id", "INVALID", "Value is invalid"), tokens.RefusedSessionExpired, "perhaps the session has expired"},
		{"the words say that it expired", fault("INVALID_REQUEST", "error.explanation", "The session has expired"), tokens.RefusedSessionExpired, "perhaps the session has expired"},
		{"nothing was entered", fault("INVALID_REQUEST", "error.explanation", "Session update status is NO_UPDATE"), tokens.RefusedSessionEmpty, "perhaps the payer has entered nothing"},
		{"no number came from the session", onField(number, "MISSING", "Value is missing"), tokens.RefusedSessionEmpty, "perhaps the payer has entered no number"},
		{"the repository keeps numbers", onField(number, "INVALID", "Not allowed for PRESERVE_6_4"), tokens.RefusedNumberKept, "perhaps because a repository of PRESERVE_6_4"},
		{"the words name 6.4", fault("INVALID_REQUEST", "error.explanation", "would break the 6.4 rule"), tokens.RefusedNumberKept, "perhaps because a repository of PRESERVE_6_4"},
		{"the card is another token's", fault("INVALID_REQUEST", "error.explanation", "The card is already assigned"), tokens.RefusedCardTaken, "perhaps because a repository of unique cards"},
		{"a number, and nothing more", onField(number, "INVALID", "Value is invalid"), tokens.RefusedRequest, "PRESERVE_6_4 keeps each token's number for good: store the new card under a new token; or because a repository of unique cards"},
		{"the token, and nothing more", onField("token", "INVALID", "Value is invalid"), tokens.RefusedRequest, "perhaps because"},
		{"a bank account, and nothing more", onField("sourceOfFunds.provided.ach.bankAccountNumber", "INVALID", "Value is invalid"), tokens.RefusedRequest, "perhaps because"},
		{"a field that this version lacks", onField("verificationStrategy", "UNSUPPORTED", "Unexpected parameter"), tokens.RefusedRequest, "does not have the field here"},
		{"anything else", onField("transaction.currency", "INVALID", "Value is invalid"), tokens.RefusedRequest, ""},
		{"the operation is not enabled", onField("apiOperation", "INVALID", "Value is invalid"), tokens.RefusedProfile, "the merchant's profile"},
		{"wrong credentials", fault("INVALID_REQUEST", "error.explanation", "Invalid credentials."), tokens.RefusedProfile, "the credentials"},
		{"a firewall's rule", fault("REQUEST_REJECTED", "error.supportCode", "4711"), tokens.RefusedProfile, "the credentials"},
		{"a server without resources", fault("SERVER_BUSY", "error.explanation", "busy"), "", "send the same request again"},
		{"a server that failed", fault("SERVER_FAILED", "error.supportCode", "4111111111111111"), "", "send the same request again"},
		{"a cause that is new", fault("MOON_PHASE"), "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := answering(t, func(form) string { return httpAnswer(400, tt.answer.String()) })
			_, err := newClient(t, w.URL).Tokenize(t.Context(), reactivation())
			var got *mastercard.Error
			if !errors.As(err, &got) {
				t.Fatalf("error = %v, want an *Error", err)
			}
			want := map[string]string{
				"cause": tt.answer["error.cause"], "explanation": tt.answer["error.explanation"], "field": tt.answer["error.field"],
				"support code": tt.answer["error.supportCode"], "validation type": tt.answer["error.validationType"], "refusal": string(tt.want),
			}
			read := map[string]string{
				"cause": string(got.Cause), "explanation": got.Explanation, "field": got.Field,
				"support code": got.SupportCode, "validation type": string(got.ValidationType), "refusal": string(got.Refusal),
			}
			if diff := cmp.Diff(want, read); diff != "" {
				t.Errorf("Error (-want +got):\n%s", diff)
			}
			if !strings.Contains(got.Advice, tt.advice) || !strings.Contains(err.Error(), got.Advice) || (tt.advice == "") != (got.Advice == "") {
				t.Errorf("error = %v, want %q in it", err, tt.advice)
			}
			uncertain := got.Cause != mastercard.CauseInvalidRequest && got.Cause != mastercard.CauseRequestRejected
			if errors.Is(err, tokens.ErrUnanswered) != uncertain || errors.Is(err, billing.ErrUnknown) != uncertain {
				t.Errorf("error = %v, want unanswered %t", err, uncertain)
			}
		})
	}
}

func TestCreateSession(t *testing.T) {
	answer := form{
		"result": "SUCCESS", "merchant": "TESTDEMOMC", "correlationId": "c1", "session.id": testSession, "session.version": testVersion,
		"session.updateStatus": "NO_UPDATE", "session.aes256Key": "keykeykeykeykeykeykeykeykeykeykeykeykeykeyk=", "session.authenticationLimit": "5",
	}
	w := saying(t, answer)
	got, err := newClient(t, w.URL).CreateSession(t.Context(), mastercard.SessionRequest{AuthenticationLimit: 5, CorrelationID: "c1"})
	if want := (mastercard.Session{ID: testSession, Version: testVersion, UpdateStatus: "NO_UPDATE"}); err != nil || got != want {
		t.Errorf("CreateSession = %#v, %v", got, err)
	}
	if asked := string(w.Requests()[0].Body); !strings.HasPrefix(asked, "apiOperation=CREATE_SESSION&merchant=TESTDEMOMC&correlationId=c1&session.authenticationLimit=5&apiUsername=") {
		t.Errorf("asked %s", asked)
	}
	client := newClient(t, "http://127.0.0.1:1")
	for _, limit := range []int{-1, 26} {
		if _, err := client.CreateSession(t.Context(), mastercard.SessionRequest{AuthenticationLimit: limit}); !errors.Is(err, tokens.ErrInvalid) {
			t.Errorf("limit %d: %v, want ErrInvalid", limit, err)
		}
	}
	if _, err := client.CreateSession(t.Context(), mastercard.SessionRequest{CorrelationID: strings.Repeat("c", 101)}); !errors.Is(err, tokens.ErrInvalid) {
		t.Errorf("a long correlationId: %v, want ErrInvalid", err)
	}
	for name, broken := range map[string]form{
		"no session":             answer.with("session.id", ""),
		"a session that is none": answer.with("session.id", "short"),
		"a failure":              answer.with("result", "FAILURE"),
		"another correlationId":  answer.with("correlationId", "c2"),
	} {
		w := saying(t, broken)
		if _, err := newClient(t, w.URL).CreateSession(t.Context(), mastercard.SessionRequest{CorrelationID: "c1"}); !errors.Is(err, tokens.ErrUnanswered) {
			t.Errorf("%s: %v, want ErrUnanswered", name, err)
		}
	}
	refusing := answering(t, func(form) string {
		return httpAnswer(400, fault("INVALID_REQUEST", "error.explanation", "session").String())
	})
	var refusal *mastercard.Error
	if _, err := newClient(t, refusing.URL).CreateSession(t.Context(), mastercard.SessionRequest{}); !errors.As(err, &refusal) || refusal.Refusal != tokens.RefusedRequest {
		t.Errorf("CreateSession: %v, want a refused request", err)
	}
}
