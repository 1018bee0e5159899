package mastercard_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/gateway/mastercard"
	"github.com/contauth/contauth/tokens"
)

func verification() mastercard.VerifyRequest {
	return mastercard.VerifyRequest{
		OrderID: "verify-7", TransactionID: "1", Currency: "EUR", Token: testToken, MerchantInitiated: true, StoredOnFile: mastercard.Stored,
		AgreementID: "sub_000042", Model: billing.ModelSubscription,
	}
}

var verified = form{
	"result": "SUCCESS", "merchant": "TESTDEMOMC", "order.id": "verify-7", "order.amount": "0.00", "order.currency": "EUR",
	"transaction.id": "1", "transaction.type": "VERIFICATION", "transaction.amount": "0", "response.gatewayCode": "APPROVED",
	"response.acquirerCode": "85", "response.acquirerMessage": "No reason to decline", "response.cardSecurityCode.gatewayCode": "MATCH",
	"authorizationResponse.transactionIdentifier": "MDS0001", "sourceOfFunds.provided.card.scheme": "MASTERCARD",
	"sourceOfFunds.provided.card.expiry.month": "1", "sourceOfFunds.provided.card.expiry.year": "39",
}

func TestVerify_sendsExactlyTheseBytes(t *testing.T) {
	const credentials = "&apiUsername=merchant.TESTDEMOMC&apiPassword=d3b07384d113%2Bedec49eaa6238ad5ff0"
	start := verification()
	start.Token, start.SessionID, start.SessionVersion, start.MerchantInitiated = "", testSession, testVersion, false
	start.StoredOnFile, start.Model, start.CorrelationID = mastercard.ToBeStored, billing.ModelUnscheduledCardOnFile, "c1"
	bare := mastercard.VerifyRequest{OrderID: "verify-7", TransactionID: "1", Currency: "EUR", Token: testToken}
	tests := []struct {
		name    string
		request mastercard.VerifyRequest
		want    string
	}{
		{"a stored card without its payer", verification(),
			"apiOperation=VERIFY&merchant=TESTDEMOMC&order.id=verify-7&transaction.id=1&order.currency=EUR&transaction.source=MERCHANT" +
				"&sourceOfFunds.type=CARD&sourceOfFunds.token=9512345678901238&sourceOfFunds.provided.card.storedOnFile=STORED" +
				"&agreement.id=sub_000042&agreement.type=RECURRING&agreement.amountVariability=VARIABLE"},
		{"the start of an agreement with its payer", start,
			"apiOperation=VERIFY&merchant=TESTDEMOMC&correlationId=c1&order.id=verify-7&transaction.id=1&order.currency=EUR&session.id=" + testSession +
				"&session.version=bbdb1a4601&sourceOfFunds.type=CARD&sourceOfFunds.provided.card.storedOnFile=TO_BE_STORED" +
				"&agreement.id=sub_000042&agreement.type=UNSCHEDULED"},
		{"nothing but a token", bare,
			"apiOperation=VERIFY&merchant=TESTDEMOMC&order.id=verify-7&transaction.id=1&order.currency=EUR&sourceOfFunds.type=CARD&sourceOfFunds.token=9512345678901238"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := saying(t, verified)
			if _, err := newClient(t, w.URL).Verify(t.Context(), tt.request); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want+credentials, string(w.Requests()[0].Body)); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
		})
	}
}

func TestVerify_reads(t *testing.T) {
	tests := []struct {
		name  string
		pairs []string
		want  mastercard.VerifyReply // the parts that differ from verified
	}{
		{"the issuer said yes", nil, mastercard.VerifyReply{Result: "SUCCESS", GatewayCode: "APPROVED", Approved: true}},
		{"the issuer said no", []string{"result", "FAILURE", "response.gatewayCode", "DECLINED"},
			mastercard.VerifyReply{Result: "FAILURE", GatewayCode: "DECLINED", Class: billing.DeclineSoft}},
		{"the card is lost", []string{"result", "FAILURE", "response.gatewayCode", "DECLINED", "response.acquirerCode", "41"},
			mastercard.VerifyReply{Result: "FAILURE", GatewayCode: "DECLINED", Class: billing.DeclineHard}},
		{"the card has expired", []string{"result", "FAILURE", "response.gatewayCode", "EXPIRED_CARD"},
			mastercard.VerifyReply{Result: "FAILURE", GatewayCode: "EXPIRED_CARD", Class: billing.DeclineTokenInvalid}},
		{"a code that is new", []string{"result", "FAILURE", "response.gatewayCode", "MOON_PHASE"},
			mastercard.VerifyReply{Result: "FAILURE", GatewayCode: "MOON_PHASE", Class: billing.DeclineSoft}},
		{"processed without an approval", []string{"response.gatewayCode", "DECLINED"}, mastercard.VerifyReply{Result: "SUCCESS", GatewayCode: "DECLINED"}},
		{"approved by a failure", []string{"result", "FAILURE"}, mastercard.VerifyReply{Result: "FAILURE", GatewayCode: "APPROVED"}},
		{"in process", []string{"result", "PENDING", "response.gatewayCode", "PENDING"}, mastercard.VerifyReply{Result: "PENDING", GatewayCode: "PENDING"}},
		{"unknown", []string{"result", "UNKNOWN", "response.gatewayCode", "UNKNOWN"}, mastercard.VerifyReply{Result: "UNKNOWN", GatewayCode: "UNKNOWN"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			answer := verified.with(tt.pairs...)
			want := tt.want
			want.AcquirerCode, want.AcquirerMessage, want.SecurityCode = answer["response.acquirerCode"], "No reason to decline", "MATCH"
			want.SchemeTransaction, want.Card = "MDS0001", mastercard.Card{Scheme: "MASTERCARD", Expiry: tokens.Expiry{Year: 2039, Month: 1}}
			got, err := newClient(t, saying(t, answer).URL).Verify(t.Context(), verification())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("VerifyReply (-want +got):\n%s", diff)
			}
		})
	}
}

func TestVerify_believesNoOtherTransaction(t *testing.T) {
	for name, answer := range map[string]form{
		"another order":       verified.with("order.id", "verify-8"),
		"another transaction": verified.with("transaction.id", "2"),
		"no ids":              verified.with("order.id", "", "transaction.id", ""),
		"a payment":           verified.with("transaction.type", "PAYMENT"),
		"another merchant":    verified.with("merchant", "OTHER"),
	} {
		if got, err := newClient(t, saying(t, answer).URL).Verify(t.Context(), verification()); !errors.Is(err, tokens.ErrUnanswered) || !errors.Is(err, billing.ErrUnknown) {
			t.Errorf("%s: Verify = %+v, %v, want ErrUnanswered", name, got, err)
		}
	}
}

func TestVerify_validates(t *testing.T) {
	tests := []struct {
		name string
		edit func(*mastercard.VerifyRequest)
		want string
	}{
		{"no order", func(r *mastercard.VerifyRequest) { r.OrderID = "" }, "order.id: want 1 to 40"},
		{"an order that is too long", func(r *mastercard.VerifyRequest) { r.OrderID = strings.Repeat("o", 41) }, "order.id: want 1 to 40"},
		{"no transaction", func(r *mastercard.VerifyRequest) { r.TransactionID = "" }, "transaction.id: want 1 to 40"},
		{"no currency", func(r *mastercard.VerifyRequest) { r.Currency = "" }, "order.currency: want 3 letters"},
		{"a token with a dash", func(r *mastercard.VerifyRequest) { r.Token = "a-b" }, "sourceOfFunds.token: want 1 to 40"},
		{"no card", func(r *mastercard.VerifyRequest) { r.Token = "" }, "sourceOfFunds: want a token or a session"},
		{"a session that is none", func(r *mastercard.VerifyRequest) { r.SessionID = "S" }, "session.id: want 31 to 35"},
		{"NOT_STORED, which is for payers", func(r *mastercard.VerifyRequest) { r.StoredOnFile = "NOT_STORED" }, "sourceOfFunds.provided.card.storedOnFile: want TO_BE_STORED or STORED"},
		{"an agreement without its type", func(r *mastercard.VerifyRequest) { r.Model = "" }, "agreement: want an id and a type together"},
		{"a type without its agreement", func(r *mastercard.VerifyRequest) { r.AgreementID = "" }, "agreement: want an id and a type together"},
		{"an agreement that is too long", func(r *mastercard.VerifyRequest) { r.AgreementID = strings.Repeat("a", 101) }, "agreement.id: want 1 to 100"},
		{"a model of payers", func(r *mastercard.VerifyRequest) { r.Model = "CardOnFile" }, "agreement.type: want the model Subscription or UnscheduledCardOnFile"},
		{"a correlation that is too long", func(r *mastercard.VerifyRequest) { r.CorrelationID = strings.Repeat("c", 101) }, "correlationId: want 1 to 100"},
	}
	client := newClient(t, "http://127.0.0.1:1")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			request := verification()
			tt.edit(&request)
			_, err := client.Verify(t.Context(), request)
			if !errors.Is(err, tokens.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Verify: %v, want ErrInvalid with %q", err, tt.want)
			}
			checkSilent(t, err)
		})
	}
}
