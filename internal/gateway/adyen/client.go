package adyen

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/gateway"
	"github.com/contauth/contauth/internal/secret"
)

// maxAnswer bounds an answer in bytes. Real ones have some hundred, a few
// thousand with every additional-data field switched on.
const maxAnswer = 1 << 20

var _ billing.Gateway = (*Client)(nil)

// Options name one merchant account at Adyen.
type Options struct {
	MerchantAccount string
	// BaseURL has the version in its path, such as
	// https://checkout-test.adyen.com/v71; live ones are read in the Customer
	// Area. Keys are compared within a region only, so it must not change
	// while an attempt is open.
	BaseURL string
	APIKey  secret.String
	// Timeout bounds one charge from dial to the last byte of the answer.
	// 0 leaves it to the caller's context. Below 60 s it makes unknown outcomes.
	Timeout time.Duration
}

// A Client charges tokens of one merchant account. It is safe for many
// goroutines.
type Client struct {
	transport http.RoundTripper
	options   Options
	payments  *url.URL
	header    http.Header // of every request; the values are shared, never changed
	unfit     error       // set when the options cannot work: every charge answers it
	logger    hclog.Logger
}

// New returns a client. Of httpClient it uses the Transport alone, which should
// be that of gateway.NewHTTPClient: redirects and cookies have no place here,
// and timeouts are the context's.
//
// Options that cannot work do not fail here but in every Charge, with a
// *billing.NotProcessedError that stops the merchant account: one wrong
// account must not keep a daemon from serving the others.
func New(httpClient *http.Client, options Options, logger hclog.Logger) *Client {
	c := &Client{transport: httpClient.Transport, options: options, logger: logger.Named("adyen")}
	if c.transport == nil {
		c.transport = http.DefaultTransport
	}
	c.payments, c.unfit = paymentsURL(options.BaseURL)
	if c.unfit == nil {
		c.unfit = checkAccount(options)
	}
	c.header = http.Header{
		"Accept":       {"application/json"},
		"Content-Type": {"application/json"},
		"User-Agent":   {"contauth"},
		"X-Api-Key":    {options.APIKey.Reveal()},
	}
	return c
}

func paymentsURL(base string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSuffix(base, "/") + "/payments")
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		// The address is not quoted: somebody may have put credentials in it.
		return nil, unfitAccount("base_url is not a plain http or https address")
	}
	return u, nil
}

func checkAccount(o Options) error {
	switch key := o.APIKey.Reveal(); {
	case key == "":
		return unfitAccount("api_key is empty")
	case !isVisibleASCII(key):
		return unfitAccount("api_key has a space, a line break or another character that no key has")
	case o.MerchantAccount == "":
		return unfitAccount("merchant account is empty")
	}
	return nil
}

func unfitAccount(message string) error {
	return &billing.NotProcessedError{Scope: billing.ScopeAccount, Code: codeConfiguration, Message: message}
}

// Endpoint implements billing.Gateway: the base URL as it was configured.
func (c *Client) Endpoint() string { return c.options.BaseURL }

// WireVersion implements billing.Gateway.
func (c *Client) WireVersion() int { return wireVersion }

// Charge implements billing.Gateway: one POST /payments.
//
// A request that breaks one of Adyen's limits is never sent. It is answered by
// a *billing.NotProcessedError of charge scope that is Counted, and that is
// billing.ErrInvalid too: the same row would make the same request for ever, so
// the charge must stop and wait for a person instead of being claimed again.
// A request for another merchant account stops the account.
func (c *Client) Charge(ctx context.Context, req billing.ChargeRequest) (billing.Reply, error) {
	reply, err := c.charge(ctx, req)
	if err != nil {
		return reply, fmt.Errorf("adyen: charge %.*q: %w", maxReference, paymentReference(req), err)
	}
	return reply, nil
}

func (c *Client) charge(ctx context.Context, req billing.ChargeRequest) (billing.Reply, error) {
	if c.unfit != nil {
		return billing.Reply{}, c.unfit
	}
	payment, err := c.payment(req)
	if err != nil {
		return billing.Reply{}, err
	}
	body := payment.appendJSON(make([]byte, 0, 768))
	reply := billing.Reply{RequestHash: sha256.Sum256(body)}

	if c.options.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.options.Timeout)
		defer cancel()
	}
	answer, err := gateway.Post(ctx, c.transport, gateway.Request{URL: c.payments, Header: c.headerFor(req.Key), Body: body}, maxAnswer)
	if answer.Redialled {
		c.logger.Debug("replaced a dead connection before anything was written", "reference", payment.reference)
	}
	if answer.Status == 0 {
		return reply, err
	}
	secrets := []string{c.options.APIKey.Reveal(), req.Token, req.ShopperReference, req.Key}
	if answer.Status < 200 || answer.Status > 299 {
		return reply, verdict(answer, err, secrets)
	}
	if err != nil {
		return reply, err
	}
	return c.read(payment, answer, reply, secrets)
}

// read makes an answer of success into a reply, or says why it cannot be one.
func (c *Client) read(p payment, answer gateway.Answer, reply billing.Reply, secrets []string) (billing.Reply, error) {
	result, err := parsePayment(answer)
	if err != nil {
		return reply, fmt.Errorf("%w: HTTP %d: %w", billing.ErrUnknown, answer.Status, err)
	}
	err = result.fill(&reply, p, secrets)
	if err == nil && reply.Outcome == billing.OutcomeRefused && !isKnownRefusal(reply.RefusalCode) && reply.RefusalCode != "" {
		c.logger.Warn("refusal code not in the table, taken as soft", "code", reply.RefusalCode, "reason", reply.RefusalReason, "psp_reference", reply.GatewayReference)
	}
	return reply, err
}

// headerFor returns the header of one request.
func (c *Client) headerFor(key string) http.Header {
	header := make(http.Header, len(c.header)+1)
	for name, values := range c.header {
		header[name] = values
	}
	header["Idempotency-Key"] = []string{key}
	return header
}

// payment turns a request into Adyen's terms and checks it.
func (c *Client) payment(req billing.ChargeRequest) (payment, error) {
	if req.MerchantAccount != c.options.MerchantAccount {
		return payment{}, unfitAccount(fmt.Sprintf("a charge of merchant account %q came to the client of %q", req.MerchantAccount, c.options.MerchantAccount))
	}
	p, err := newPayment(req)
	if err != nil {
		return payment{}, &unsendable{cause: err, meaning: billing.NotProcessedError{
			Scope: billing.ScopeCharge, Counted: true, Code: codeRequest, Message: err.Error(),
		}}
	}
	return p, nil
}

// An unsendable is the error of a request that breaks a limit: billing.ErrInvalid
// for people, a *billing.NotProcessedError for the protocol.
type unsendable struct {
	cause   error
	meaning billing.NotProcessedError
}

func (u *unsendable) Error() string   { return u.cause.Error() }
func (u *unsendable) Unwrap() []error { return []error{u.cause, &u.meaning} }

// Codes of our own beside Adyen's numbers, for what never left.
const (
	codeConfiguration = "configuration"
	codeRequest       = "request"
)
