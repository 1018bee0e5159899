package adyen

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/gateway"
	"github.com/contauth/contauth/tokens"
)

var _ tokens.Vault = (*Vault)(nil)

// A Vault is where Adyen keeps the payment methods of one merchant account: the
// calls of the Checkout API about tokens (/storedPaymentMethods, /sessions, and
// /payments with an amount of zero). It is safe for many goroutines.
type Vault struct {
	transport http.RoundTripper
	options   Options
	base      string // begins every address; without a slash at its end
	unfit     error  // set when the options cannot work: every call answers it
	now       func() time.Time
	logger    hclog.Logger
}

// NewVault returns a vault. It takes what New takes, and means the same by it:
// options that cannot work fail in every call, here with a tokens.ErrInvalid.
func NewVault(client *http.Client, options Options, logger hclog.Logger) *Vault {
	v := &Vault{
		transport: client.Transport, options: options, base: strings.TrimSuffix(options.BaseURL, "/"),
		now: time.Now, logger: logger.Named("adyen"),
	}
	if v.transport == nil {
		v.transport = http.DefaultTransport
	}
	_, err := paymentsURL(options.BaseURL)
	if err == nil {
		err = checkAccount(options)
	}
	if no := new(billing.NotProcessedError); errors.As(err, &no) {
		v.unfit = fmt.Errorf("%w merchant account: %s", tokens.ErrInvalid, no.Message)
	}
	return v
}

// Save implements tokens.Vault. No call of Adyen's answers the token of what a
// shopper entered for certain: the RECURRING_CONTRACT webhook does (Adyen, "Create
// and use tokens with the Sessions flow").
func (v *Vault) Save(context.Context, tokens.SaveRequest) (tokens.Saved, error) {
	return tokens.Saved{}, fmt.Errorf("adyen: save a payment method: %w: Adyen tells a new token by webhook alone: open a session, and wait for the webhook", tokens.ErrUnsupported)
}

// A vaultRequest is one call, before its address and header are made.
type vaultRequest struct {
	method string
	path   string // below the base, escaped, with its query
	key    string // idempotency key of a POST; only POST has one at Adyen
	body   []byte
	// private is what no error may repeat of the call.
	private []string
}

// send makes one exchange. An answer of success has a nil error; the error of any
// other is one that tokens.Vault allows. With an error the Answer may still have a
// Status.
func (v *Vault) send(ctx context.Context, r vaultRequest) (gateway.Answer, error) {
	if v.unfit != nil {
		return gateway.Answer{}, v.unfit
	}
	address, err := url.Parse(v.base + r.path)
	if err != nil {
		return gateway.Answer{}, invalid("it makes no address") // err would quote it
	}
	if v.options.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, v.options.Timeout)
		defer cancel()
	}
	answer, err := gateway.Do(ctx, v.transport, gateway.Request{
		Method: r.method, URL: address, Header: v.header(r), Body: r.body,
	}, maxAnswer)
	if answer.Redialled {
		v.logger.Debug("replaced a dead connection before anything was written", "method", r.method)
	}
	switch {
	case answer.Status == 0:
		return answer, unanswered(err)
	case answer.Status > 299:
		return answer, v.fault(answer, err, r.private)
	case err != nil:
		return answer, unanswered(err)
	}
	return answer, nil
}

// header is made anew for each request, so that the key stands nowhere else.
func (v *Vault) header(r vaultRequest) http.Header {
	header := http.Header{
		"Accept":     {"application/json"},
		"User-Agent": {"contauth"},
		"X-Api-Key":  {v.options.APIKey.Reveal()},
	}
	if r.body != nil {
		header["Content-Type"] = []string{"application/json"}
	}
	if r.key != "" {
		header["Idempotency-Key"] = []string{r.key}
	}
	return header
}

// query is what tells GET and DELETE whose tokens they are about. Without the
// shopper either would be about more than one token's owner.
func (v *Vault) query(shopper string) string {
	return "?" + url.Values{"merchantAccount": {v.options.MerchantAccount}, "shopperReference": {shopper}}.Encode()
}

// secrets returns texts that no error may repeat, as they are and as an address or a
// body shows them. The longest come first: one may hold another.
func (v *Vault) secrets(private ...string) []string {
	forms := make([]string, 0, 3*len(private)+3)
	for _, text := range append(slices.Clip(private), v.options.APIKey.Reveal()) {
		quoted := appendString(nil, text)
		forms = append(forms, text, url.QueryEscape(text), string(quoted[1:len(quoted)-1]))
	}
	slices.SortStableFunc(forms, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	return slices.Compact(forms)
}

func unanswered(cause error) error { return fmt.Errorf("%w: %w", tokens.ErrUnanswered, cause) }

// readable returns the body of a success, or says why it cannot be Adyen's.
func readable(from gateway.Answer, statuses ...int) ([]byte, error) {
	switch {
	case !slices.Contains(statuses, from.Status):
		return nil, unanswered(fmt.Errorf("HTTP %d, a status that this call does not have", from.Status))
	case !isJSON(from.Header):
		return nil, unanswered(fmt.Errorf("HTTP %d: %w", from.Status, errNotAnAnswer))
	}
	return from.Body, nil
}

// checkRef checks what names a token. An empty name would make an address of all
// tokens of a shopper, and dots alone one of another resource. The error is a
// tokens.ErrInvalid and repeats nothing.
func checkRef(ref tokens.Ref) error {
	if err := tokens.ValidateReference(ref.Token); err != nil {
		return err
	}
	if strings.Trim(ref.Token, ".") == "" {
		return fmt.Errorf("%w token: it has dots alone", tokens.ErrInvalid)
	}
	return tokens.ValidateShopperReference(ref.ShopperReference)
}

// checkKey checks an idempotency key.
func checkKey(key string) error {
	if len(key) == 0 || len(key) > maxKey || !isVisibleASCII(key) {
		return invalid("the idempotency key is not 1 to %d visible characters", maxKey)
	}
	return nil
}

// A fieldSet knows which fields of an object were met. Those that decide may stand
// there once only, as in the answer to a charge.
type fieldSet map[string]bool

func (f fieldSet) once(s *scanner, name []byte) {
	if f[string(name)] {
		s.fail("a field that decides stands there twice")
	}
	f[string(name)] = true
}

// bodyOf returns a body of fields in the order of their declaration, which makes the
// same bytes of the same request.
func bodyOf(order any) ([]byte, error) {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(order); err != nil {
		return nil, invalid("it makes no JSON")
	}
	return bytes.TrimSuffix(body.Bytes(), []byte("\n")), nil
}

// elements calls element for each value of an array; it must consume the value.
func (s *scanner) elements(element func()) {
	if !s.open('[') {
		return
	}
	for more := s.peek() != ']'; more; more = s.comma() {
		element()
	}
	s.shut(']')
}
