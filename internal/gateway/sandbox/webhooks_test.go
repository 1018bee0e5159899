package sandbox_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/internal/gateway/sandbox"
	"github.com/contauth/contauth/internal/secret"
)

const webhookKey = "E6B7AD574C7FCED96DD0B0074877DD045A7D494497BB71CEBA61C1CA46412D18"

// A notice is what a receiver reads of one delivery: of a standard webhook, or of
// a token event.
type notice struct {
	Live           string
	AdditionalData map[string]string
	Amount         struct {
		Currency string
		Value    int64
	}
	EventCode           string
	EventDate           string
	MerchantAccountCode string
	MerchantReference   string
	OriginalReference   string
	PaymentMethod       string
	PSPReference        string
	Reason              string
	Success             string

	token tokenNotice
	good  bool // the signature is that of the key
	at    time.Time
}

type tokenNotice struct {
	Type      string
	EventID   string
	CreatedAt string
	Data      struct {
		MerchantAccount, ShopperReference, StoredPaymentMethodID, Type, Operation string
	}
}

// A receiver is who webhooks are sent to.
type receiver struct {
	t      testing.TB
	url    string
	got    chan notice
	mu     sync.Mutex
	status func(n notice) int // of the answer; nil is 200
}

func newReceiver(t testing.TB) *receiver {
	t.Helper()
	r := &receiver{t: t, got: make(chan notice, 10_000)}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	r.url = server.URL + "/hooks"
	return r
}

// answers sets what the receiver says to webhooks.
func (r *receiver) answers(status func(notice) int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = status
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if user, password, _ := req.BasicAuth(); user != "adyen" || password != "open" || req.Method != http.MethodPost || req.URL.Path != "/hooks" {
		r.t.Errorf("%s %s by %q with %q", req.Method, req.URL, user, password)
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the sandbox stopped
	}
	n := r.read(body, req.Header.Get("HmacSignature"))
	r.mu.Lock()
	status := r.status
	r.mu.Unlock()
	code := http.StatusOK
	if status != nil {
		code = status(n)
	}
	w.WriteHeader(code)
	r.got <- n
}

// read reads a delivery as a receiver would that knows Adyen's documents.
func (r *receiver) read(body []byte, header string) notice {
	var envelope struct {
		Live              string
		NotificationItems []struct{ NotificationRequestItem notice }
	}
	if err := json.Unmarshal(body, &envelope); err != nil {
		r.t.Errorf("not JSON: %v: %s", err, body)
		return notice{}
	}
	if len(envelope.NotificationItems) == 0 {
		n := notice{good: header == signed(string(body)), at: time.Now()}
		if err := json.Unmarshal(body, &n.token); err != nil {
			r.t.Errorf("not a token event: %v: %s", err, body)
		}
		n.EventCode = n.token.Type
		return n
	}
	n := envelope.NotificationItems[0].NotificationRequestItem
	n.Live, n.at = envelope.Live, time.Now()
	text := strings.Join([]string{n.PSPReference, n.OriginalReference, n.MerchantAccountCode, n.MerchantReference,
		fmt.Sprint(n.Amount.Value), n.Amount.Currency, n.EventCode, n.Success}, ":")
	n.good = n.AdditionalData["hmacSignature"] == signed(text)
	if header != "" {
		r.t.Errorf("a standard webhook has its signature in a header")
	}
	return n
}

func signed(text string) string {
	key, _ := hex.DecodeString(webhookKey)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// next returns the next delivery.
func (r *receiver) next() notice {
	r.t.Helper()
	select {
	case n := <-r.got:
		return n
	case <-time.After(patience):
		r.t.Fatal("no webhook came")
		return notice{}
	}
}

// options send webhooks to the receiver.
func (r *receiver) options(b sandbox.WebhookBehaviour) sandbox.Options {
	return sandbox.Options{Webhooks: &sandbox.WebhookOptions{
		URL: r.url, Key: secret.New(webhookKey), User: "adyen", Password: secret.New("open"), Retry: time.Millisecond, Behaviour: b,
	}}
}

func (g *gateway) webhooks() sandbox.WebhookCounts {
	g.t.Helper()
	var counts sandbox.WebhookCounts
	if err := json.Unmarshal(g.control("GET", "/sandbox/webhooks", "").body, &counts); err != nil {
		g.t.Fatal(err)
	}
	return counts
}

// awaitWebhooks polls until the counts are as wanted.
func (g *gateway) awaitWebhooks(want func(sandbox.WebhookCounts) bool) sandbox.WebhookCounts {
	g.t.Helper()
	for end := time.Now().Add(patience); ; {
		counts := g.webhooks()
		if want(counts) {
			return counts
		}
		if time.Now().After(end) {
			g.t.Fatalf("waited in vain; the counts are %+v", counts)
		}
	}
}

func nothingWaits(c sandbox.WebhookCounts) bool { return c.Waiting == 0 }

func (g *gateway) behave(body string) {
	g.t.Helper()
	if a := g.control("PUT", "/sandbox/webhooks/behaviour", body); a.status != http.StatusOK {
		g.t.Fatalf("behaviour: %d %s", a.status, a.body)
	}
}

// A sent webhook is what the sandbox says of one that was ordered.
type sent struct {
	Code    string `json:"code"`
	PSP     string `json:"psp_reference"`
	Payment string `json:"payment_psp_reference"`
	Lost    bool   `json:"lost"`
}

func (g *gateway) order(body string) sent {
	g.t.Helper()
	a := g.control("POST", "/sandbox/webhooks", body)
	var s sent
	if err := json.Unmarshal(a.body, &s); err != nil || a.status != http.StatusCreated {
		g.t.Fatalf("order %s: %d %s", body, a.status, a.body)
	}
	return s
}

func TestWebhooks_tellOfEachPaymentThatIsDecided(t *testing.T) {
	r := newReceiver(t)
	opts := r.options(sandbox.WebhookBehaviour{})
	opts.Now = func() time.Time { return time.Date(2027, 1, 31, 9, 0, 0, 0, time.UTC) }
	g := newGateway(t, opts)
	tests := []struct {
		name, token string
		c           func(charge) charge
		success     string // "" is no webhook
		reason      string // of a refusal
		value       int64
		currency    string
	}{
		{"authorised", "TK1", nil, "true", "", 1999, "EUR"},
		{"refused", "TK1.refuse6", nil, "false", "Expired Card", 1999, "EUR"},
		{"an error of the acquirer", "TK1.refuse4", nil, "false", "Acquirer Error", 1999, "EUR"},
		{"in the gateway's units", "TK1", func(c charge) charge {
			return c.with("amount", map[string]any{"currency": "ISK", "value": 15000})
		}, "true", "", 15000, "ISK"},
		{"pending: later", "TK1.pending", nil, "", "", 0, ""},
		{"a result of the future", "TK1.future", nil, "", "", 0, ""},
		{"not valid", "TK1.notfound", nil, "", "", 0, ""},
		{"nothing was made", "TK1.ioerror", nil, "", "", 0, ""},
	}
	var made int64
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			reference := fmt.Sprintf("sub/%d~1", i)
			c := newCharge(reference, tt.token)
			if tt.c != nil {
				c = tt.c(c)
			}
			a := g.pay("key "+reference, c)
			if tt.success == "" {
				return
			}
			made++
			got := r.next()
			if !got.good {
				t.Error("the signature is wrong")
			}
			if tt.success == "false" && got.Reason != tt.reason || tt.success == "true" && !strings.HasSuffix(got.Reason, ":03/2030") {
				t.Errorf("reason = %q, want %q", got.Reason, tt.reason)
			}
			if got.AdditionalData["shopperReference"] != "shopper-1" || got.AdditionalData["merchantOrderReference"] != strings.TrimSuffix(reference, "~1") {
				t.Errorf("additionalData = %q", got.AdditionalData)
			}
			if got.PaymentMethod == "" {
				t.Error("no paymentMethod")
			}
			want := notice{
				Live: "false", EventCode: "AUTHORISATION", EventDate: "2027-01-31T11:00:00+02:00", MerchantAccountCode: "DemoEU",
				MerchantReference: reference, PSPReference: a.json(t)["pspReference"].(string), Success: tt.success,
			}
			want.Amount.Value, want.Amount.Currency = tt.value, tt.currency
			got.Reason, got.AdditionalData, got.PaymentMethod, got.good, got.at = "", nil, "", false, time.Time{}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(notice{}, tokenNotice{})); diff != "" {
				t.Errorf("webhook (-want +got):\n%s", diff)
			}
		})
	}
	g.pay("key sub/0~1", newCharge("sub/0~1", "TK1")) // its answer is given again; there is no second payment
	counts := g.awaitWebhooks(nothingWaits)
	if want := (sandbox.WebhookCounts{Made: made, Sent: made, Accepted: made}); counts != want {
		t.Errorf("counts = %+v, want %+v", counts, want)
	}
}

func TestWebhooks_tellWhatTheAnswerDoesNot(t *testing.T) {
	for _, rule := range []string{"do: reset", "do: status", "do: garbage", "do: stored_io_error", "do: wrong_amount"} {
		t.Run(rule, func(t *testing.T) {
			r := newReceiver(t)
			g := newGateway(t, r.options(sandbox.WebhookBehaviour{}))
			g.script("[{match: {every: 1}, when: after, " + rule + "}]")
			g.post(context.Background(), "key", newCharge("ref", "TK").bytes(t)) // whatever came of it
			got := r.next()
			if e := g.ledger()[0]; !got.good || got.PSPReference != e.PSPReference || got.Amount.Value != e.GatewayValue || got.Success != "true" {
				t.Errorf("webhook = %+v, ledger %+v", got, e)
			}
		})
	}
}

func TestWebhooks_areNotSentUnlessAskedFor(t *testing.T) {
	g := newGateway(t, sandbox.Options{})
	g.pay("key", newCharge("ref", "TK"))
	for _, call := range [][3]string{
		{"GET", "/sandbox/webhooks", ""}, {"POST", "/sandbox/webhooks", `{"code": "REFUND", "reference": "ref"}`},
		{"GET", "/sandbox/webhooks/behaviour", ""}, {"PUT", "/sandbox/webhooks/behaviour", "{}"}, {"PUT", "/sandbox/webhooks/url", `{"url": "http://127.0.0.1:1"}`},
	} {
		a := g.control(call[0], call[1], call[2])
		if a.status != http.StatusConflict || !strings.Contains(fmt.Sprint(a.json(t)["error"]), "--webhook-url") {
			t.Errorf("%s %s: %d %s", call[0], call[1], a.status, a.body)
		}
	}
}

func TestWebhookOrders_sendWhatIsDoneToAPayment(t *testing.T) {
	r := newReceiver(t)
	g := newGateway(t, r.options(sandbox.WebhookBehaviour{}))
	g.pay("key", newCharge("ref", "TK"))
	paid := r.next()
	tests := []struct {
		name, order, code string
		psp               string // payment, token, or "" for one of its own
		original          bool
		success           string
		value             int64
		reason            string
	}{
		{"a capture", `"code": "CAPTURE"`, "CAPTURE", "", true, "true", 1999, ""},
		{"a capture that failed", `"code": "CAPTURE_FAILED", "reason": "Insufficient balance"`, "CAPTURE_FAILED", "", true, "true", 1999, "Insufficient balance"},
		{"a cancellation", `"code": "CANCELLATION"`, "CANCELLATION", "", true, "true", 1999, ""},
		{"a part refund", `"code": "REFUND", "amount_minor": 500`, "REFUND", "", true, "true", 500, ""},
		{"a refused refund", `"code": "REFUND", "success": false, "reason": "Refund refused"`, "REFUND", "", true, "false", 1999, "Refund refused"},
		{"a refund that failed", `"code": "REFUND_FAILED"`, "REFUND_FAILED", "", true, "true", 1999, ""},
		{"a fraud report", `"code": "NOTIFICATION_OF_FRAUD"`, "NOTIFICATION_OF_FRAUD", "", true, "true", 1999, ""},
		{"a dispute", `"code": "NOTIFICATION_OF_CHARGEBACK"`, "NOTIFICATION_OF_CHARGEBACK", "", true, "true", 1999, ""},
		{"a chargeback", `"code": "CHARGEBACK"`, "CHARGEBACK", "", true, "true", 1999, ""},
		{"a chargeback won", `"code": "CHARGEBACK_REVERSED", "without_original": true`, "CHARGEBACK_REVERSED", "", false, "true", 1999, ""},
		{"a chargeback lost", `"code": "SECOND_CHARGEBACK"`, "SECOND_CHARGEBACK", "", true, "true", 1999, ""},
		{"a stored token", `"code": "RECURRING_CONTRACT"`, "RECURRING_CONTRACT", "token", true, "true", 0, ""},
		{"the payment again, otherwise", `"code": "AUTHORISATION", "success": false`, "AUTHORISATION", "payment", false, "false", 1999, "Refused"},
		{"a reference of the caller's", `"code": "REFUND", "event_psp_reference": "MINE"`, "REFUND", "MINE", true, "true", 1999, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := g.order(`{"reference": "ref", ` + tt.order + `}`)
			got := r.next()
			if !got.good || got.EventCode != tt.code || got.Success != tt.success || got.Amount.Value != tt.value || got.Reason != tt.reason || got.MerchantReference != "ref" {
				t.Errorf("webhook = %+v", got)
			}
			if got.PSPReference != s.PSP || s.Payment != paid.PSPReference || s.Code != tt.code || s.Lost {
				t.Errorf("the sandbox says %+v of %+v", s, got)
			}
			original := ""
			if tt.original {
				original = paid.PSPReference
			}
			if got.OriginalReference != original {
				t.Errorf("originalReference = %q, want %q", got.OriginalReference, original)
			}
			switch want := map[string]string{"payment": paid.PSPReference, "token": "TK", "MINE": "MINE"}[tt.psp]; {
			case want != "" && got.PSPReference != want:
				t.Errorf("pspReference = %q, want %q", got.PSPReference, want)
			case want == "" && (len(got.PSPReference) != 16 || got.PSPReference == paid.PSPReference):
				t.Errorf("pspReference = %q, want one of its own", got.PSPReference)
			}
		})
	}
}

func TestWebhookOrders_sendTheLifeOfAToken(t *testing.T) {
	r := newReceiver(t)
	g := newGateway(t, r.options(sandbox.WebhookBehaviour{}))
	g.pay("key", newCharge("ref", "TK"))
	paid := r.next()
	for event, operation := range map[string]string{"created": "created", "updated": "updated", "disabled": "", "alreadyExisting": "alreadyExisting"} {
		s := g.order(`{"reference": "ref", "code": "recurring.token.` + event + `"}`)
		got := r.next()
		data := got.token.Data
		if !got.good || got.EventCode != "recurring.token."+event || data.Operation != operation || data.StoredPaymentMethodID != "TK" ||
			data.ShopperReference != "shopper-1" || data.MerchantAccount != "DemoEU" || data.Type == "" || got.token.EventID != s.PSP {
			t.Errorf("%s: %+v, the sandbox says %+v", event, got, s)
		}
		if byPayment := event == "created" || event == "alreadyExisting"; (s.PSP == paid.PSPReference) != byPayment {
			t.Errorf("%s: eventId %s, the payment's is %s", event, s.PSP, paid.PSPReference)
		}
	}
}

// What belongs together has one pspReference, also after the sandbox was killed.
func TestWebhookOrders_goOnWithWhatWasBegun(t *testing.T) {
	r := newReceiver(t)
	dir := t.TempDir()
	opts := r.options(sandbox.WebhookBehaviour{})
	opts.DataDir = dir
	psp := map[string][]string{}
	order := func(g *gateway, reference string, codes ...string) {
		for _, code := range codes {
			psp[reference+" "+code] = append(psp[reference+" "+code], g.order(`{"reference": "`+reference+`", "code": "`+code+`"}`).PSP)
		}
	}
	t.Run("before", func(t *testing.T) {
		g := newGateway(t, opts)
		g.pay("key-1", newCharge("a", "TK"))
		g.pay("key-2", newCharge("b", "TK"))
		order(g, "a", "REFUND", "REFUND", "NOTIFICATION_OF_CHARGEBACK", "CAPTURE")
		order(g, "b", "CHARGEBACK")
	})
	g := newGateway(t, opts)
	order(g, "a", "CHARGEBACK", "SECOND_CHARGEBACK", "REFUND_FAILED", "CAPTURE_FAILED")
	order(g, "b", "CHARGEBACK_REVERSED", "REFUND_FAILED")
	same := func(a, b string) {
		t.Helper()
		if a != b {
			t.Errorf("%s and %s, want one pspReference; all: %q", a, b, psp)
		}
	}
	same(psp["a NOTIFICATION_OF_CHARGEBACK"][0], psp["a CHARGEBACK"][0])
	same(psp["a CHARGEBACK"][0], psp["a SECOND_CHARGEBACK"][0])
	same(psp["a REFUND"][1], psp["a REFUND_FAILED"][0])
	same(psp["a CAPTURE"][0], psp["a CAPTURE_FAILED"][0])
	same(psp["b CHARGEBACK"][0], psp["b CHARGEBACK_REVERSED"][0])
	others := []string{psp["a REFUND"][0], psp["a REFUND"][1], psp["a CHARGEBACK"][0], psp["a CAPTURE"][0], psp["b CHARGEBACK"][0], psp["b REFUND_FAILED"][0]}
	slices.Sort(others)
	if n := len(slices.Compact(slices.Clone(others))); n != len(others) {
		t.Errorf("%d pspReferences for %d things: %q", n, len(others), psp)
	}
	g.pay("key-3", newCharge("c", "TK"))
	if ledger := g.ledger(); len(ledger) != 3 || slices.Contains(others, ledger[2].PSPReference) {
		t.Errorf("the ledger has %+v", ledger)
	}
}

func TestWebhookOrders_wrongOnesAreRefused(t *testing.T) {
	r := newReceiver(t)
	g := newGateway(t, r.options(sandbox.WebhookBehaviour{}))
	isk := newCharge("isk", "TK").with("amount", map[string]any{"currency": "CVE", "value": 150})
	g.pay("key-1", newCharge("twice", "TK"))
	g.pay("key-2", newCharge("twice", "TK"))
	g.pay("key-3", isk)
	for range 3 {
		r.next()
	}
	tests := []struct {
		name, body string
		status     int
	}{
		{"an unknown code", `{"code": "PAYOUT", "reference": "twice"}`, 400},
		{"no payment named", `{"code": "REFUND"}`, 400},
		{"a payment named twice", `{"code": "REFUND", "reference": "twice", "psp_reference": "X"}`, 400},
		{"no such payment", `{"code": "REFUND", "reference": "never"}`, 404},
		{"part of a reference", `{"code": "REFUND", "reference": "twi"}`, 404},
		{"a reference that two payments have", `{"code": "REFUND", "reference": "twice"}`, 409},
		{"below zero", `{"code": "REFUND", "reference": "isk", "amount_minor": -1}`, 400},
		{"an amount that Adyen cannot express", `{"code": "REFUND", "reference": "isk", "amount_minor": 15050}`, 400},
		{"a token event with an amount", `{"code": "recurring.token.created", "reference": "isk", "amount_minor": 1}`, 400},
		{"an unknown field", `{"code": "REFUND", "reference": "isk", "amount": 1}`, 400},
		{"no JSON", `code: REFUND`, 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if a := g.control("POST", "/sandbox/webhooks", tt.body); a.status != tt.status || a.json(t)["error"] == "" {
				t.Errorf("%d %s, want %d with an error", a.status, a.body, tt.status)
			}
		})
	}
	if s := g.order(`{"code": "REFUND", "psp_reference": "` + g.ledger()[1].PSPReference + `"}`); s.Payment != g.ledger()[1].PSPReference {
		t.Errorf("by its pspReference: %+v", s)
	}
}

func TestWebhooks_areSentUntilTheyAreAccepted(t *testing.T) {
	tests := []struct {
		name    string
		refusal int
	}{
		{"an error of the receiver", 500}, {"a wrong password", 401}, {"a redirect is not followed", 302},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newReceiver(t)
			var tries atomic.Int32
			r.answers(func(notice) int {
				if tries.Add(1) <= 5 {
					return tt.refusal
				}
				return http.StatusNoContent
			})
			g := newGateway(t, r.options(sandbox.WebhookBehaviour{}))
			g.pay("key", newCharge("ref", "TK"))
			counts := g.awaitWebhooks(nothingWaits)
			if want := (sandbox.WebhookCounts{Made: 1, Sent: 6, Accepted: 1, Refused: 5}); counts != want {
				t.Errorf("counts = %+v, want %+v", counts, want)
			}
		})
	}
}

// Who receives may be there later, and elsewhere.
func TestWebhooks_goWhereTheyAreSentLater(t *testing.T) {
	r := newReceiver(t)
	opts := r.options(sandbox.WebhookBehaviour{})
	opts.Webhooks.URL = "http://127.0.0.1:1/hooks"
	g := newGateway(t, opts)
	g.pay("key", newCharge("ref", "TK"))
	g.awaitWebhooks(func(c sandbox.WebhookCounts) bool { return c.Refused > 0 })
	if a := g.control("PUT", "/sandbox/webhooks/url", `{"url": "`+r.url+`"}`); a.status != http.StatusOK {
		t.Fatalf("url: %d %s", a.status, a.body)
	}
	if got := r.next(); got.MerchantReference != "ref" {
		t.Errorf("webhook = %+v", got)
	}
	for _, url := range []string{"", "ftp://127.0.0.1/", "http://", "http://user:word@127.0.0.1/"} {
		if a := g.control("PUT", "/sandbox/webhooks/url", `{"url": "`+url+`"}`); a.status != http.StatusBadRequest || strings.Contains(string(a.body), "word@") {
			t.Errorf("url %q: %d %s", url, a.status, a.body)
		}
	}
}

func TestWebhooks_beforeTheAnswer(t *testing.T) {
	r := newReceiver(t)
	arrived, free := make(chan struct{}), make(chan struct{})
	r.answers(func(notice) int {
		close(arrived)
		<-free
		return http.StatusOK
	})
	// A delay and a window would keep it back, if it were not before the answer.
	g := newGateway(t, r.options(sandbox.WebhookBehaviour{BeforeAnswer: true, Delay: time.Hour, Reorder: 10}))
	got := g.payInBackground(context.Background(), "key", newCharge("ref", "TK"))
	<-arrived
	select {
	case s := <-got:
		t.Fatalf("the answer came first: %d %v", s.status, s.err)
	default:
	}
	if e := g.ledger(); len(e) != 1 {
		t.Errorf("the ledger has %d payments, want 1", len(e))
	}
	close(free)
	sees(200, "Authorised")(t, <-got)
	if n := r.next(); n.MerchantReference != "ref" {
		t.Errorf("webhook = %+v", n)
	}
}

func TestWebhooks_aRefusalBeforeTheAnswerHoldsItNoLonger(t *testing.T) {
	r := newReceiver(t)
	r.answers(func(notice) int { return http.StatusServiceUnavailable })
	g := newGateway(t, r.options(sandbox.WebhookBehaviour{BeforeAnswer: true}))
	sees(200, "Authorised")(t, seen{answer: g.pay("key", newCharge("ref", "TK"))})
	r.answers(nil)
	g.awaitWebhooks(nothingWaits)
}

// Copies are of one event, and their dates differ.
func TestWebhooks_duplicates(t *testing.T) {
	r := newReceiver(t)
	g := newGateway(t, r.options(sandbox.WebhookBehaviour{Duplicate: 4, DuplicateWithin: 20 * time.Millisecond}))
	g.pay("key", newCharge("ref", "TK"))
	psps, dates := map[string]bool{}, map[string]bool{}
	for range 4 {
		n := r.next()
		psps[n.PSPReference], dates[n.EventDate] = true, true
	}
	if len(psps) != 1 || len(dates) != 4 {
		t.Errorf("pspReferences %v, dates %v; want one and four", psps, dates)
	}
	if counts := g.awaitWebhooks(nothingWaits); counts.Made != 1 || counts.Accepted != 4 {
		t.Errorf("counts = %+v", counts)
	}
}

func TestWebhooks_delay(t *testing.T) {
	const wait = 50 * time.Millisecond
	r := newReceiver(t)
	g := newGateway(t, r.options(sandbox.WebhookBehaviour{Delay: wait}))
	began := time.Now()
	g.pay("key", newCharge("ref", "TK"))
	if n := r.next(); n.at.Sub(began) < wait {
		t.Errorf("the webhook came after %s, want at least %s", n.at.Sub(began), wait)
	}
	g.awaitWebhooks(nothingWaits)
	g.behave(`{"delay": "24h"}`)
	g.pay("key-2", newCharge("ref-2", "TK"))
	if counts := g.webhooks(); counts.Waiting != 1 || counts.Made != 2 {
		t.Errorf("counts = %+v, want one that waits", counts)
	}
}

func TestWebhooks_reorder(t *testing.T) {
	const events = 24
	r := newReceiver(t)
	g := newGateway(t, r.options(sandbox.WebhookBehaviour{Reorder: events}))
	var want, got []string
	for i := range events {
		reference := fmt.Sprintf("ref-%02d", i)
		g.pay(reference, newCharge(reference, "TK"))
		want = append(want, reference)
	}
	for range events {
		got = append(got, r.next().MerchantReference)
	}
	if slices.Equal(want, got) {
		t.Error("the webhooks came in the order of the payments")
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("references (-want +got):\n%s", diff)
	}
	// Fewer than a window come all the same: by themselves, or with the next behaviour.
	g.pay("late", newCharge("late", "TK"))
	g.behave(`{}`)
	if n := r.next(); n.MerchantReference != "late" {
		t.Errorf("webhook = %+v", n)
	}
}

// The same seed loses the same webhooks, whatever the order of the payments.
func TestWebhooks_loseAShare(t *testing.T) {
	const events = 60
	lost := func(t *testing.T, seed uint64, backwards bool) []string {
		r := newReceiver(t)
		opts := r.options(sandbox.WebhookBehaviour{Lose: 0.5})
		opts.Webhooks.Seed = seed
		g := newGateway(t, opts)
		missing := map[string]bool{}
		for i := range events {
			if backwards {
				i = events - 1 - i
			}
			reference := fmt.Sprintf("ref-%02d", i)
			g.pay(reference, newCharge(reference, "TK"))
			missing[reference] = true
		}
		counts := g.awaitWebhooks(nothingWaits)
		if counts.Made != events || counts.Lost+counts.Accepted != events || counts.Lost < 15 || counts.Lost > 45 {
			t.Errorf("counts = %+v", counts)
		}
		for range counts.Accepted {
			delete(missing, r.next().MerchantReference)
		}
		var list []string
		for reference := range missing {
			list = append(list, reference)
		}
		slices.Sort(list)
		return list
	}
	first := lost(t, 1, false)
	if diff := cmp.Diff(first, lost(t, 1, true)); diff != "" {
		t.Errorf("the same seed loses others (-first +second):\n%s", diff)
	}
	if slices.Equal(first, lost(t, 2, false)) {
		t.Error("another seed loses the same")
	}
}

func TestWebhooks_forgeries(t *testing.T) {
	for _, kind := range []sandbox.Forgery{sandbox.ForgeryAmount, sandbox.ForgerySuccess, sandbox.ForgeryReference, sandbox.ForgeryKey, sandbox.ForgeryUnsigned} {
		t.Run(string(kind), func(t *testing.T) {
			r := newReceiver(t)
			r.answers(func(n notice) int {
				if !n.good {
					return http.StatusUnauthorized
				}
				return http.StatusOK
			})
			g := newGateway(t, r.options(sandbox.WebhookBehaviour{Forge: 1, Forgeries: []sandbox.Forgery{kind}}))
			g.pay("key", newCharge("ref", "TK"))
			g.order(`{"code": "recurring.token.updated", "reference": "ref"}`)
			var good, forged []notice
			for range 4 {
				if n := r.next(); n.good {
					good = append(good, n)
				} else {
					forged = append(forged, n)
				}
			}
			if len(good) != 2 || len(forged) != 2 {
				t.Fatalf("%d good and %d forged webhooks, want 2 and 2", len(good), len(forged))
			}
			// Refused forgeries are not sent again: a forger is not Adyen.
			want := sandbox.WebhookCounts{Made: 2, Sent: 2, Accepted: 2, Forged: 2}
			if counts := g.awaitWebhooks(nothingWaits); counts != want {
				t.Errorf("counts = %+v, want %+v", counts, want)
			}
			f := forged[slices.IndexFunc(forged, func(n notice) bool { return n.token.Type == "" })]
			changed := map[sandbox.Forgery]bool{
				sandbox.ForgeryAmount: f.Amount.Value != 1999, sandbox.ForgerySuccess: f.Success != "true", sandbox.ForgeryReference: f.MerchantReference != "ref",
				sandbox.ForgeryUnsigned: f.AdditionalData["hmacSignature"] == "",
			}
			for what, is := range changed {
				if is != (what == kind) {
					t.Errorf("changed %s = %t in %+v", what, is, f)
				}
			}
		})
	}
}

func TestWebhooks_aReceiverThatTakesForgeriesIsFound(t *testing.T) {
	r := newReceiver(t)
	g := newGateway(t, r.options(sandbox.WebhookBehaviour{Forge: 1, Lose: 1}))
	g.pay("key", newCharge("ref", "TK"))
	want := sandbox.WebhookCounts{Made: 1, Lost: 1, Forged: 1, ForgedAccepted: 1}
	if counts := g.awaitWebhooks(nothingWaits); counts != want {
		t.Errorf("counts = %+v, want %+v", counts, want)
	}
}

func TestBehaviour_isSetAndShown(t *testing.T) {
	r := newReceiver(t)
	g := newGateway(t, r.options(sandbox.WebhookBehaviour{Lose: 0.5}))
	body := `{"delay":"1s","delay_up_to":"1m0s","duplicate":3,"duplicate_within":"250ms","reorder":10,"lose":0.1,"before_answer":true,"forge":0.2,"forgeries":["amount","key"]}`
	g.behave(body)
	if diff := cmp.Diff(body, strings.TrimSpace(string(g.control("GET", "/sandbox/webhooks/behaviour", "").body))); diff != "" {
		t.Errorf("behaviour (-want +got):\n%s", diff)
	}
	for name, wrong := range map[string]string{
		"a share above all": `{"lose": 2}`, "a number as a duration": `{"delay": 5}`, "a word as a duration": `{"delay": "soon"}`,
		"an unknown forgery": `{"forgeries": ["date"]}`, "an unknown field": `{"losing": 1}`,
	} {
		if a := g.control("PUT", "/sandbox/webhooks/behaviour", wrong); a.status != http.StatusBadRequest || a.json(t)["error"] == "" {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
}

// A receiver that says nothing does not keep a sandbox from stopping.
func TestServer_closesWhileAWebhookIsOnItsWay(t *testing.T) {
	for _, before := range []bool{false, true} {
		t.Run(fmt.Sprintf("before the answer: %t", before), func(t *testing.T) {
			r := newReceiver(t)
			arrived, free := make(chan struct{}), make(chan struct{})
			t.Cleanup(func() { close(free) }) // before the receiver closes
			r.answers(func(notice) int {
				close(arrived)
				<-free
				return http.StatusOK
			})
			opts := r.options(sandbox.WebhookBehaviour{BeforeAnswer: before})
			opts.DataDir = t.TempDir()
			server, err := sandbox.New(opts)
			if err != nil {
				t.Fatal(err)
			}
			front := httptest.NewServer(server)
			defer front.Close()
			g := clientOf(t, front.URL)
			got := g.payInBackground(context.Background(), "key", newCharge("ref", "TK"))
			<-arrived
			closed := make(chan error, 1)
			go func() { closed <- server.Close() }()
			select {
			case err := <-closed:
				if err != nil {
					t.Errorf("Close: %v", err)
				}
			case <-time.After(patience):
				t.Fatal("Close waits for the receiver")
			}
			<-got // the payment is answered, whatever it says
		})
	}
}

func TestNew_refusesWebhooksThatCannotBeSent(t *testing.T) {
	good := newReceiver(t).options(sandbox.WebhookBehaviour{}).Webhooks
	tests := []struct {
		name   string
		change func(*sandbox.WebhookOptions)
	}{
		{"no URL", func(o *sandbox.WebhookOptions) { o.URL = "" }},
		{"a path", func(o *sandbox.WebhookOptions) { o.URL = "/hooks" }},
		{"a password in the URL", func(o *sandbox.WebhookOptions) { o.URL = "http://adyen:open@127.0.0.1/" }},
		{"no key", func(o *sandbox.WebhookOptions) { o.Key = secret.String{} }},
		{"half a key", func(o *sandbox.WebhookOptions) { o.Key = secret.New(webhookKey[:32]) }},
		{"a password of nobody", func(o *sandbox.WebhookOptions) { o.User = "" }},
		{"a retry before", func(o *sandbox.WebhookOptions) { o.Retry = -1 }},
		{"a wrong behaviour", func(o *sandbox.WebhookOptions) { o.Behaviour.Lose = 2 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			changed := *good
			tt.change(&changed)
			server, err := sandbox.New(sandbox.Options{DataDir: t.TempDir(), Webhooks: &changed})
			if err == nil {
				server.Close()
				t.Fatal("New took it")
			}
			for _, word := range []string{"open", webhookKey[:32]} {
				if strings.Contains(err.Error(), word) {
					t.Errorf("the error tells a secret: %v", err)
				}
			}
		})
	}
}

// Memory is bounded: what is too much is given up, and counted.
func TestWebhooks_tooManyAreGivenUp(t *testing.T) {
	r := newReceiver(t)
	g := newGateway(t, r.options(sandbox.WebhookBehaviour{Delay: time.Hour, Duplicate: 1000}))
	for i := range 51 {
		g.pay("", newCharge(fmt.Sprint(i), "TK"))
	}
	want := sandbox.WebhookCounts{Made: 51, Waiting: 50_000, Abandoned: 1000}
	if counts := g.webhooks(); counts != want {
		t.Errorf("counts = %+v, want %+v", counts, want)
	}
}

func TestWebhooks_underManyPayments(t *testing.T) {
	r := newReceiver(t)
	g := newGateway(t, r.options(sandbox.WebhookBehaviour{
		DelayUpTo: 5 * time.Millisecond, Duplicate: 2, DuplicateWithin: 10 * time.Millisecond, Reorder: 7, Lose: 0.1, Forge: 0.2,
	}))
	r.answers(func(n notice) int {
		switch {
		case !n.good:
			return http.StatusUnauthorized
		case n.at.UnixNano()%3 == 0:
			return http.StatusServiceUnavailable
		}
		return http.StatusAccepted
	})
	var payers sync.WaitGroup
	for payer := range 8 {
		payers.Go(func() {
			for i := range 25 {
				reference := fmt.Sprintf("ref-%d-%d", payer, i)
				if a, err := g.post(context.Background(), reference, newCharge(reference, "TK").bytes(t)); err != nil || a.status != http.StatusOK {
					t.Errorf("pay %s: %d %v", reference, a.status, err)
				}
			}
		})
	}
	payers.Wait()
	c := g.awaitWebhooks(nothingWaits)
	if c.Made != 200 || c.Accepted != 2*(c.Made-c.Lost) || c.Sent != c.Accepted+c.Refused || c.Forged == 0 || c.ForgedAccepted != 0 || c.Abandoned != 0 {
		t.Errorf("counts = %+v", c)
	}
}
