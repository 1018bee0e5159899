package mastercard_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/gateway/mastercard"
)

// order is an order whose first attempt was refused and whose second was paid.
var order = form{
	"result": "SUCCESS", "merchant": "TESTDEMOMC", "id": "sub_000042~9", "status": "CAPTURED", "amount": "19.99", "currency": "EUR",
	"totalAuthorizedAmount": "19.99", "totalCapturedAmount": "19.99", "totalRefundedAmount": "0.00", "totalDisbursedAmount": "0",
	"transaction[0].result": "FAILURE", "transaction[0].transaction.id": "1", "transaction[0].transaction.type": "PAYMENT",
	"transaction[0].transaction.amount": "19.99", "transaction[0].transaction.currency": "EUR", "transaction[0].response.gatewayCode": "INSUFFICIENT_FUNDS",
	"transaction[10].result": "SUCCESS", "transaction[10].transaction.id": "2", "transaction[10].transaction.type": "PAYMENT",
	"transaction[10].transaction.amount": "19.99", "transaction[10].response.gatewayCode": "APPROVED",
	"transaction[2].transaction.id": "1b", "transaction[2].transaction.type": "MOON_PAYMENT",
}

func TestClient_Order(t *testing.T) {
	w := saying(t, order)
	got, err := newClient(t, w.URL).Order(t.Context(), "sub_000042~9")
	if err != nil {
		t.Fatal(err)
	}
	eur := func(minor int64) billing.Money { return billing.Money{Minor: minor, Currency: "EUR"} }
	want := mastercard.Order{
		ID: "sub_000042~9", Status: "CAPTURED", Amount: eur(1999), Authorized: eur(1999), Captured: eur(1999), Refunded: eur(0),
		Transactions: []mastercard.OrderTransaction{
			{ID: "1", Type: "PAYMENT", Result: mastercard.ResultFailure, GatewayCode: "INSUFFICIENT_FUNDS", Amount: eur(1999)},
			{ID: "1b", Type: "MOON_PAYMENT"},
			{ID: "2", Type: "PAYMENT", Result: mastercard.ResultSuccess, GatewayCode: "APPROVED", Amount: eur(1999)},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Order (-want +got):\n%s", diff)
	}
	asked := string(w.Requests()[0].Body)
	if !strings.HasPrefix(asked, "apiOperation=RETRIEVE_ORDER&merchant=TESTDEMOMC&order.id=sub_000042~9&apiUsername=") {
		t.Errorf("asked %s", asked)
	}
}

func TestClient_Order_whatItRefuses(t *testing.T) {
	tests := []struct {
		name   string
		status int
		answer form
		want   error
	}{
		{"no such order", 400, fault("INVALID_REQUEST", "error.field", "order.id"), billing.ErrNotFound},
		{"another order", 200, order.with("id", "sub_7~1"), billing.ErrMismatch},
		{"an order without id", 200, order.with("id", ""), billing.ErrUnknown},
		{"no total: nobody may take it for zero", 200, order.with("totalCapturedAmount", ""), billing.ErrUnknown},
		{"no currency", 200, order.with("currency", ""), billing.ErrUnknown},
		{"a total that is none", 200, order.with("totalCapturedAmount", "19,99"), billing.ErrUnknown},
		{"a look-up that failed", 200, order.with("result", "FAILURE"), billing.ErrUnknown},
		{"a server that failed", 500, fault("SERVER_FAILED"), billing.ErrUnknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := answering(t, func(form) string { return httpAnswer(tt.status, tt.answer.String()) })
			got, err := newClient(t, w.URL).Order(t.Context(), "sub_000042~9")
			if !errors.Is(err, tt.want) || (tt.want == billing.ErrNotFound) == errors.Is(err, billing.ErrUnknown) {
				t.Errorf("Order = %+v, %v, want %v", got, err, tt.want)
			}
		})
	}
	t.Run("an order.id that is too long", func(t *testing.T) {
		if _, err := newClient(t, "http://127.0.0.1:1").Order(t.Context(), strings.Repeat("r", 41)); !errors.Is(err, billing.ErrInvalid) {
			t.Errorf("Order: %v, want ErrInvalid", err)
		}
	})
}
