package adyen

import (
	"encoding/json"
	"net/http"
	"os"
	"testing"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/gateway"
)

func benchRequest() billing.ChargeRequest {
	return billing.ChargeRequest{
		Key: "Zk3sK7f0b1q_x-2mY9d8c7b6a5Z4y3X2w1V0u9t8s7R", MerchantAccount: "DemoEU", Reference: "sub_000042~9", Attempt: 2,
		Amount: billing.Money{Minor: 1999, Currency: "EUR"}, Token: "TKN4W8ZD6V2HJ3K7", ShopperReference: "acct_000042",
		PaymentMethod: "scheme", Model: billing.ModelSubscription, ReturnURL: "https://example.invalid/",
	}
}

// BenchmarkEncode is the check and the bytes of one request.
func BenchmarkEncode(b *testing.B) {
	request := benchRequest()
	b.ReportAllocs()
	for b.Loop() {
		p, err := newPayment(request)
		if err != nil {
			b.Fatal(err)
		}
		p.appendJSON(make([]byte, 0, 768))
	}
}

// BenchmarkDecode compares the scanner with encoding/json, which reads the same
// fields but notices neither doubled fields nor bytes that are not UTF-8.
func BenchmarkDecode(b *testing.B) {
	for _, file := range []string{"authorised", "refused_balance"} {
		body, err := os.ReadFile("testdata/" + file + ".json")
		if err != nil {
			b.Fatal(err)
		}
		from := gateway.Answer{Status: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: body}
		b.Run(file+"/scanner", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				a, err := parsePayment(from)
				if err != nil {
					b.Fatal(err)
				}
				var reply billing.Reply
				if err := a.fill(&reply, fuzzed, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(file+"/encoding-json", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var a struct {
					ResultCode, PSPReference, MerchantReference, RefusalReason, RefusalReasonCode string
					Amount                                                                        *struct {
						Currency string
						Value    int64
					}
					AdditionalData map[string]any
				}
				if err := json.Unmarshal(body, &a); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
