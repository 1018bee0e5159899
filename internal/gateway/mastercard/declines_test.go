package mastercard_test

import (
	"errors"
	"os"
	"regexp"
	"testing"

	"github.com/contauth/contauth/billing"
)

// All 37 values of response.gatewayCode of version 100, each under both results
// that tell an outcome (Mastercard Gateway, response.gatewayCode).
func TestCharge_everyGatewayCode(t *testing.T) {
	const (
		paid      = "paid"
		pending   = "pending"
		unknown   = "unknown"
		inProcess = "in progress"
	)
	soft, hard, fraud := string(billing.DeclineSoft), string(billing.DeclineHard), string(billing.DeclineFraud)
	dead, config := string(billing.DeclineTokenInvalid), string(billing.DeclineConfig)
	tests := []struct{ code, onSuccess, onFailure string }{
		{"APPROVED", paid, unknown},
		{"APPROVED_AUTO", paid, unknown},
		{"APPROVED_PENDING_SETTLEMENT", paid, unknown},
		{"PARTIALLY_APPROVED", unknown, unknown},
		{"BALANCE_AVAILABLE", unknown, config},
		{"BALANCE_UNKNOWN", unknown, config},
		{"NO_BALANCE", unknown, config},
		{"INSUFFICIENT_FUNDS", unknown, soft},
		{"DECLINED", unknown, soft},
		{"REFERRED", unknown, soft},
		{"EXPIRED_CARD", unknown, dead},
		{"DECLINED_DO_NOT_CONTACT", unknown, fraud},
		{"DECLINED_PAYMENT_PLAN", unknown, config},
		{"DECLINED_AVS", unknown, hard},
		{"DECLINED_AVS_CSC", unknown, hard},
		{"DECLINED_CSC", unknown, hard},
		{"INVALID_CSC", unknown, hard},
		{"DECLINED_INVALID_PIN", unknown, hard},
		{"DECLINED_PIN_REQUIRED", unknown, hard},
		{"AUTHENTICATION_FAILED", unknown, hard},
		{"NOT_ENROLLED_3D_SECURE", unknown, hard},
		{"AUTHENTICATION_IN_PROGRESS", unknown, hard},
		{"BLOCKED", unknown, fraud},
		{"CANCELLED", unknown, config},
		{"ABORTED", unknown, config},
		{"EXCEEDED_RETRY_LIMIT", unknown, hard},
		{"NOT_SUPPORTED", unknown, config},
		{"DUPLICATE_BATCH", unknown, config},
		{"LOCK_FAILURE", inProcess, inProcess},
		{"TIMED_OUT", unknown, unknown},
		{"ACQUIRER_SYSTEM_ERROR", unknown, unknown},
		{"SYSTEM_ERROR", unknown, unknown},
		{"UNSPECIFIED_FAILURE", unknown, unknown},
		{"UNKNOWN", unknown, unknown},
		{"SUBMITTED", unknown, pending},
		{"PENDING", unknown, pending},
		{"DEFERRED_TRANSACTION_RECEIVED", unknown, pending},

		{"MOON_PHASE", unknown, soft}, // one that is new
		{"", unknown, soft},           // and none at all
	}
	if len(tests) != 37+2 {
		t.Fatalf("%d codes, want 37 and two more", len(tests))
	}
	var answer form
	w := answering(t, func(form) string { return httpAnswer(201, answer.String()) })
	client := newClient(t, w.URL)
	check := func(t *testing.T, code, want string) {
		t.Helper()
		reply, err := client.Charge(t.Context(), testRequest())
		switch want {
		case unknown:
			checkUnknown(t, err, billing.ErrUnknown)
		case inProcess:
			checkUnknown(t, err, billing.ErrInProgress)
		case paid:
			if err != nil || reply.Outcome != billing.OutcomeAuthorised || reply.Class != "" {
				t.Errorf("Charge = %+v, %v, want authorised", reply, err)
			}
		case pending:
			if err != nil || reply.Outcome != billing.OutcomePending || reply.Class != "" {
				t.Errorf("Charge = %+v, %v, want pending", reply, err)
			}
		default:
			if err != nil || reply.Outcome != billing.OutcomeRefused || string(reply.Class) != want || reply.RefusalCode != code {
				t.Errorf("Charge = %+v, %v, want refused, %s", reply, err, want)
			}
		}
	}
	for _, tt := range tests {
		t.Run("SUCCESS "+tt.code, func(t *testing.T) {
			answer = approved.with("response.gatewayCode", tt.code)
			check(t, tt.code, tt.onSuccess)
		})
		t.Run("FAILURE "+tt.code, func(t *testing.T) {
			answer = approved.with("result", "FAILURE", "response.gatewayCode", tt.code)
			check(t, tt.code, tt.onFailure)
		})
		t.Run("PENDING "+tt.code, func(t *testing.T) {
			answer = approved.with("result", "PENDING", "response.gatewayCode", tt.code)
			want := pending
			if tt.code == "LOCK_FAILURE" {
				want = inProcess
			}
			check(t, tt.code, want)
		})
		t.Run("UNKNOWN "+tt.code, func(t *testing.T) {
			answer = approved.with("result", "UNKNOWN", "response.gatewayCode", tt.code)
			want := unknown
			if tt.code == "LOCK_FAILURE" {
				want = inProcess
			}
			check(t, tt.code, want)
		})
	}
}

// The acquirer's code beats the gateway's where it forbids more, and never less,
// and only for cards of the scheme whose code it is.
func TestCharge_refinesByTheAcquirersCode(t *testing.T) {
	tests := []struct {
		name                     string
		gateway, acquirer, brand string
		want                     billing.DeclineClass
	}{
		{"a generic no stays one", "DECLINED", "05", "VISA", billing.DeclineSoft},
		{"a limit stays soft", "DECLINED", "61", "VISA", billing.DeclineSoft},
		{"an issuer that was not reached", "DECLINED", "91", "VISA", billing.DeclineTechnical},
		{"a lost Visa", "DECLINED", "41", "VISA", billing.DeclineHard},
		{"a lost Mastercard", "DECLINED", "41", "MASTERCARD", billing.DeclineHard},
		{"the same digits of another scheme", "DECLINED", "41", "JCB", billing.DeclineSoft},
		{"the same digits without a scheme", "DECLINED", "41", "", billing.DeclineSoft},
		{"83 of a Mastercard is fraud", "DECLINED", "83", "MASTERCARD", billing.DeclineFraud},
		{"58 of a Mastercard is our account's", "DECLINED", "58", "MASTERCARD", billing.DeclineConfig},
		{"58 of a Visa is not in the table", "DECLINED", "58", "VISA", billing.DeclineSoft},
		{"a number that is no longer valid", "DECLINED", "14", "VISA", billing.DeclineTokenInvalid},
		{"a stop order for all of a Visa", "DECLINED", "R3", "VISA", billing.DeclineHard},
		{"a wish for authentication", "DECLINED", "1A", "VISA", billing.DeclineHard},
		{"three digits of Amex", "DECLINED", "101", "AMEX", billing.DeclineTokenInvalid},
		{"expired, of any scheme", "DECLINED", "54", "", billing.DeclineTokenInvalid},
		{"fraud, of any scheme", "REFERRED", "59", "", billing.DeclineFraud},
		{"too little money does not soften a lost card", "INSUFFICIENT_FUNDS", "43", "VISA", billing.DeclineHard},
		{"a technical code does not soften an expired card", "EXPIRED_CARD", "91", "VISA", billing.DeclineTokenInvalid},
		{"fraud beats all", "DECLINED_DO_NOT_CONTACT", "14", "VISA", billing.DeclineFraud},
		{"an acquirer's code of its own", "DECLINED", "Z99X", "VISA", billing.DeclineSoft},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := saying(t, refused.with("response.gatewayCode", tt.gateway, "response.acquirerCode", tt.acquirer,
				"sourceOfFunds.provided.card.scheme", tt.brand))
			reply, err := newClient(t, w.URL).Charge(t.Context(), testRequest())
			if err != nil || reply.Class != tt.want || reply.RawCode != tt.acquirer || reply.RefusalReason != "Do not honour" {
				t.Errorf("Charge = %+v, %v, want class %s", reply, err, tt.want)
			}
		})
	}
}

// The table is data: a row without its reason or its source would stop the
// program at its first refusal, so it must stop here.
func TestDeclines_haveADateAndSources(t *testing.T) {
	text, err := os.ReadFile("declines.csv")
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`As of\s+(?:# )?20[0-9]{2}-[0-9]{2}`).Match(text) {
		t.Error("declines.csv does not say of when it is")
	}
	if n := len(regexp.MustCompile(`(?m)^gatewayCode,any,`).FindAll(text, -1)); n != 37 {
		t.Errorf("declines.csv has %d gateway codes, version 100 has 37", n)
	}
}

func TestCharge_partialApprovalIsForAPerson(t *testing.T) {
	w := saying(t, approved.with("response.gatewayCode", "PARTIALLY_APPROVED", "order.totalAuthorizedAmount", "5.00"))
	_, err := newClient(t, w.URL).Charge(t.Context(), testRequest())
	if !errors.Is(err, billing.ErrUnknown) || !regexp.MustCompile(`PARTIALLY_APPROVED.*a person`).MatchString(err.Error()) {
		t.Errorf("error = %v, want the code and whom it needs", err)
	}
}
