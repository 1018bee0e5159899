package adyen_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/internal/gateway/gatewaytest"
	"github.com/contauth/contauth/tokens"
)

// whose begins a list of testShopper's.
const whose = `{"merchantAccount":"Demo EU","shopperReference":"acct/000042+&=?#%\"",`

// listOf is a list with these elements.
func listOf(elements ...string) string {
	return whose + `"storedPaymentMethods":[` + strings.Join(elements, ",") + `]}`
}

const storedCard = `{"id":"TKN4W8ZD6V2HJ3K7","type":"scheme","brand":"visa","lastFour":"1142","expiryMonth":"03","expiryYear":"30",` +
	`"holderName":"Jane","supportedRecurringProcessingModels":["CardOnFile"],"mandate":{"id":"other","amount":[{"value":1}]}}`

func march2030() tokens.Expiry { return tokens.Expiry{Year: 2030, Month: time.March} }

func TestVault_Read(t *testing.T) {
	card := func(fields string) string { return listOf(`{"id":"TKN4W8ZD6V2HJ3K7",` + fields + `}`) }
	visa := tokens.Details{Brand: "visa", LastFour: "1142", Expiry: march2030()}
	tests := []struct {
		name string
		body string
		want tokens.Details
	}{
		{"a card", listOf(storedCard), visa},
		{"a card among others", listOf(`{"id":"OTHER","brand":"mc"}`, storedCard, `{"id":"tkn4w8zd6v2hj3k7","brand":"mc"}`), visa},
		{"a card that is listed twice alike", listOf(storedCard, storedCard), visa},
		{"a year of four digits", card(`"expiryMonth":"3","expiryYear":"2030"`), tokens.Details{Expiry: march2030()}},
		{"month and year as numbers", card(`"expiryMonth":3,"expiryYear":30`), tokens.Details{Expiry: march2030()}},
		{"a thirteenth month", card(`"expiryMonth":"13","expiryYear":"2030"`), tokens.Details{}},
		{"a year of three digits", card(`"expiryMonth":"3","expiryYear":"203"`), tokens.Details{}},
		{"a year that is no number", card(`"expiryMonth":"3","expiryYear":"soon"`), tokens.Details{}},
		{"a month without a year", card(`"expiryMonth":"3"`), tokens.Details{}},
		{"a month of null", card(`"expiryMonth":null,"expiryYear":"30"`), tokens.Details{}},
		{"funding where it is told", card(`"brand":"mc","fundingSource":"DEBIT"`), tokens.Details{Brand: "mc", Funding: "DEBIT"}},
		{"what has no brand has a type", card(`"type":"sepadirectdebit","iban":"NL00","ownerName":"Jane"`), tokens.Details{Brand: "sepadirectdebit"}},
		{"a card without a brand", card(`"type":"scheme"`), tokens.Details{}},
		{"more than the last four", card(`"lastFour":"4111111111111142"`), tokens.Details{}},
		{"the last three", card(`"lastFour":"142"`), tokens.Details{LastFour: "142"}},
		{"a card's number as its brand", card(`"brand":"4111 1111 1111 1142"`), tokens.Details{Brand: "[removed]"}},
		{"unknown fields everywhere", `{"new":[{"id":1}],` + listOf(`{"later":{},"id":"TKN4W8ZD6V2HJ3K7","brand":"visa","lastFour":"1142","expiryMonth":"03","expiryYear":"30"}`)[1:], visa},
		{"elements that are no objects", listOf(`null`, `1`, `[]`, `"x"`, storedCard), visa},
		{"an escaped name", listOf(`{"i\u0064":"TKN4W8ZD6V2HJ3K7","brand":"visa","lastFour":"1142","expiryMonth":"03","expiryYear":"30"}`), visa},
		{"without the names of whose it is", `{"storedPaymentMethods":[` + storedCard + `]}`, visa},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk(t, reply{status: 200, body: tt.body})
			got, err := newVault(t, d.URL).Read(t.Context(), testRef)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tokens.Reading{Status: tokens.StatusUntold, Details: tt.want}, got); diff != "" {
				t.Errorf("reading (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{listLine}, d.lines()); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
		})
	}
}

func TestVault_Read_withoutTheToken(t *testing.T) {
	tests := []struct {
		name, body string
		want       string
	}{
		{"an empty list", listOf(), "not found"},
		{"a list of others", listOf(`{"id":"OTHER"}`), "not found"},
		{"an id that differs by a letter's case", listOf(`{"id":"tkn4w8zd6v2hj3k7"}`), "not found"},
		{"an id that is longer", listOf(`{"id":"TKN4W8ZD6V2HJ3K77"}`), "not found"},
		{"the token in another field", listOf(`{"networkTxReference":"TKN4W8ZD6V2HJ3K7","mandate":{"id":"TKN4W8ZD6V2HJ3K7"}}`), "not found"},
		{"the token outside the list", whose + `"id":"TKN4W8ZD6V2HJ3K7","storedPaymentMethods":[]}`, "not found"},
		{"a list of null", whose + `"storedPaymentMethods":null}`, "not found"},
		{"no list, but the shopper", `{"shopperReference":"acct/000042+&=?#%\""}`, "not found"},
		{"no list and no shopper", `{"merchantAccount":"Demo EU"}`, "no answer"},
		{"the list of another shopper", strings.Replace(listOf(), "acct", "ACCT", 1), "no answer"},
		{"the token, in another shopper's list", strings.Replace(listOf(storedCard), "acct", "other", 1), "no answer"},
		{"the list of another account", strings.Replace(listOf(storedCard), "Demo EU", "Demo US", 1), "no answer"},
		{"the token twice, and differently", listOf(storedCard, `{"id":"TKN4W8ZD6V2HJ3K7","brand":"mc"}`), "no answer"},
		{"two ids in one element", listOf(`{"id":"OTHER","id":"TKN4W8ZD6V2HJ3K7"}`), "no answer"},
		{"two years in one element", listOf(strings.Replace(storedCard, `"expiryYear"`, `"expiryYear":"29","expiryYear"`, 1)), "no answer"},
		{"two lists", strings.Replace(listOf(storedCard), `{`, `{"storedPaymentMethods":[],`, 1), "no answer"},
		{"two shoppers", strings.Replace(listOf(storedCard), `{`, `{"shopperReference":"x",`, 1), "no answer"},
		{"two documents", listOf(storedCard) + `{}`, "no answer"},
		{"a list that is cut", strings.TrimSuffix(listOf(storedCard), `]}`), "no answer"},
		{"a list in a list", `[` + listOf(storedCard) + `]`, "no answer"},
		{"an id that is an object", listOf(`{"id":{}}`), "no answer"},
		{"nothing", ``, "no answer"},
		{"bytes that are not UTF-8", listOf("{\"id\":\"\xff\"}"), "no answer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk(t, reply{status: 200, body: tt.body})
			reading, err := newVault(t, d.URL).Read(t.Context(), testRef)
			if got := meaning(err); got != tt.want || reading != (tokens.Reading{}) {
				t.Errorf("Read = %+v, %v: is %q, want %q", reading, err, got, tt.want)
			}
		})
	}
}

// A list may be long, as long as it is bounded.
func TestVault_Read_aLongList(t *testing.T) {
	others := make([]string, 5000)
	for i := range others {
		others[i] = fmt.Sprintf(`{"id":"T%015d","type":"scheme","brand":"mc","lastFour":"0000","expiryMonth":"1","expiryYear":"30"}`, i)
	}
	d := newDesk(t, reply{status: 200, body: listOf(append(others, storedCard)...)})
	reading, err := newVault(t, d.URL).Read(t.Context(), testRef)
	if err != nil || reading.Details.LastFour != "1142" {
		t.Errorf("Read = %+v, %v", reading, err)
	}
}

func TestVault_Delete(t *testing.T) {
	fault := func(code string) string {
		return fmt.Sprintf(`{"errorCode":%q,"errorType":"validation","message":"words"}`, code)
	}
	list := func(elements ...string) reply { return reply{status: 200, body: listOf(elements...)} }
	tests := []struct {
		name    string
		answers []reply
		want    string
		looks   bool // at the list
	}{
		{"deleted", []reply{{status: 204}}, "no error", false},
		{"deleted, with words", []reply{{status: 200, body: `{"response":"[detail-successfully-disabled]"}`}}, "no error", false},
		{"a page of somebody else's", []reply{{status: 200, kind: "text/html", body: "<html>"}}, "no answer", false},
		{"gone with code 800", []reply{{status: 422, body: fault("800")}}, "no error", false},
		{"gone with code 803", []reply{{status: 422, body: fault("803")}}, "no error", false},
		{"gone with code 803 and 404", []reply{{status: 404, body: fault("803")}}, "no error", false},
		{"a 404, and the list is without it", []reply{{status: 404}, list()}, "no error", true},
		{"a 404, and the list has it", []reply{{status: 404}, list(storedCard)}, "refused profile", true},
		{"a 404, and the list has none either", []reply{{status: 404}}, "refused profile", true},
		{"a 404, and no answer about the list", []reply{{status: 404}, {status: 502}}, "refused profile", true},
		{"a 410, and the list is without it", []reply{{status: 410}, list()}, "no error", true},
		{"a 410, and the list has it", []reply{{status: 410}, list(storedCard)}, "no answer", true},
		{"another refusal, and the list is without it", []reply{{status: 422, body: fault("000")}, list(`{"id":"OTHER"}`)}, "no error", true},
		{"another refusal, and the list has it", []reply{{status: 422, body: fault("000")}, list(storedCard)}, "refused request", true},
		{"another refusal, and 800 for the list", []reply{{status: 422, body: fault("000")}, {status: 422, body: fault("800")}}, "no error", true},
		{"a wrong key", []reply{{status: 401}, list()}, "refused profile", false},
		{"a bad gateway", []reply{{status: 502}, list()}, "no answer", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk(t, tt.answers...)
			err := newVault(t, d.URL).Delete(t.Context(), testRef)
			if got := meaning(err); got != tt.want {
				t.Errorf("Delete = %v: is %q, want %q", err, got, tt.want)
			}
			want := []string{deleteLine}
			if tt.looks {
				want = append(want, listLine)
			}
			if diff := cmp.Diff(want, d.lines()); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
			for _, c := range d.all() {
				if c.Body != "" {
					t.Errorf("%s had a body: %s", c.Method, c.Body)
				}
			}
		})
	}
}

// A deletion that nobody answered may be asked for again, by whoever asks.
func TestVault_Delete_neverTwice(t *testing.T) {
	w := gatewaytest.NewWire(t, func(e *gatewaytest.Exchange) {
		if e.Number == 2 {
			e.Hangup()
			return
		}
		e.Say("HTTP/1.1 204 No Content\r\n\r\n")
	})
	v := newVault(t, w.URL)
	if err := v.Delete(t.Context(), testRef); err != nil {
		t.Fatal(err)
	}
	if err := v.Delete(t.Context(), testRef); meaning(err) != "no answer" {
		t.Errorf("Delete = %v, want no answer", err)
	}
	if n := len(w.Requests()); n != 2 {
		t.Errorf("two calls made %d requests", n)
	}
}
