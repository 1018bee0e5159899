package sandbox_test

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/contauth/contauth/internal/gateway/sandbox"
)

const nvpPath = "/mastercard/api/nvp/version/100"

// fields are the names and values of an NVP request or answer.
type fields map[string]string

// asking returns a request for an operation, with credentials that are good.
func asking(operation string, more fields) fields {
	f := fields{"apiOperation": operation, "merchant": "TESTDEMO", "apiUsername": "merchant.TESTDEMO", "apiPassword": "hush"}
	for name, value := range more {
		f[name] = value
	}
	return f
}

// newPay returns a charge that is right, as contauth makes one.
func newPay(order, transaction, token string) fields {
	return asking("PAY", fields{
		"order.id": order, "transaction.id": transaction, "order.amount": "19.99", "order.currency": "EUR",
		"sourceOfFunds.token": token, "sourceOfFunds.type": "CARD", "sourceOfFunds.provided.card.storedOnFile": "STORED",
		"transaction.source": "MERCHANT", "agreement.id": "agreement-1", "agreement.type": "RECURRING", "agreement.amountVariability": "FIXED",
	})
}

// with returns the request with a field of another value; empty takes it away.
func (f fields) with(name, value string) fields {
	changed := fields{}
	for n, v := range f {
		changed[n] = v
	}
	if value == "" {
		delete(changed, name)
	} else {
		changed[name] = value
	}
	return changed
}

func (f fields) encode() string {
	values := url.Values{}
	for name, value := range f {
		values.Set(name, value)
	}
	return values.Encode()
}

// postNVP sends a form.
func (g *gateway) postNVP(ctx context.Context, body string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.url+nvpPath, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.GetBody = nil // or net/http would send it again on its own
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=UTF-8")
	return g.send(req)
}

// send sends a request and reads its answer whole.
func (g *gateway) send(req *http.Request) (answer, error) {
	resp, err := g.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	read, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, read}, err
}

// ask sends a request that must be answered.
func (g *gateway) ask(f fields) answer {
	g.t.Helper()
	a, err := g.postNVP(context.Background(), f.encode())
	if err != nil {
		g.t.Fatalf("%s: %v", f["apiOperation"], err)
	}
	return a
}

// form reads an answer of the NVP dialect.
func (a answer) form(t testing.TB) fields {
	t.Helper()
	values, err := url.ParseQuery(string(a.body))
	if err != nil {
		t.Fatalf("the answer is no form: %v: %q", err, a.body)
	}
	f := fields{}
	for name, all := range values {
		if len(all) != 1 {
			t.Fatalf("%s is there %d times in %q", name, len(all), a.body)
		}
		f[name] = all[0]
	}
	return f
}

// gist is what an answer comes to: result and gatewayCode, or the cause, the field
// and the type of an error.
func (f fields) gist() string {
	if f["result"] != "ERROR" {
		return strings.TrimSpace(f["result"] + " " + f["response.gatewayCode"])
	}
	return strings.TrimSpace(f["error.cause"] + " " + f["error.field"] + " " + f["error.validationType"])
}

// expect asks and wants an answer that comes to that.
func (g *gateway) expect(t *testing.T, f fields, gist string) fields {
	t.Helper()
	a := g.ask(f)
	got := a.form(t)
	if got.gist() != gist {
		t.Errorf("%s is answered %d %s, want %s", f["apiOperation"], a.status, a.body, gist)
	}
	return got
}

// setClock stops the sandbox's clock at an instant.
func (g *gateway) setClock(instant string) {
	g.t.Helper()
	if a := g.control("PUT", "/sandbox/clock", `{"now": "`+instant+`", "stopped": true}`); a.status != http.StatusOK {
		g.t.Fatalf("clock: %d %s", a.status, a.body)
	}
}

// tell calls a control that must be content.
func (g *gateway) tell(method, path, body string) answer {
	g.t.Helper()
	a := g.control(method, path, body)
	if a.status/100 != 2 {
		g.t.Fatalf("%s %s %s: %d %s", method, path, body, a.status, a.body)
	}
	return a
}

func mastercard(o sandbox.MastercardOptions) sandbox.Options { return sandbox.Options{Mastercard: o} }
