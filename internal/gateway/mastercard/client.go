package mastercard

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/gateway"
	"github.com/contauth/contauth/internal/secret"
)

// maxAnswer bounds an answer in bytes. Real ones have a few thousand; an order
// with hundreds of transactions stays far below.
const maxAnswer = 1 << 20

var (
	_ billing.Gateway = (*Client)(nil)
	_ billing.Finder  = (*Client)(nil)
)

// Options name one merchant account at the gateway.
type Options struct {
	// MerchantAccount is our name of it, such as DemoMC.
	MerchantAccount string
	// MerchantID is the gateway's name of it. Order ids are known below it only,
	// so it must not change while an attempt is open.
	MerchantID string
	// BaseURL is the one address of all operations, such as
	// https://eu-gateway.mastercard.com/api/nvp/version/100.
	BaseURL string
	// Password is the API password. If it is empty, requests are signed by the
	// client certificate of the connection alone (gateway.Options.Certificate).
	Password secret.String
	// Operation is how a charge is made; empty means Pay.
	Operation Operation
	// Timeout bounds one call from dial to the last byte of its answer; with
	// AuthorizeCapture both requests together. 0 leaves it to the caller's context.
	Timeout time.Duration
}

// A Client charges tokens of one merchant account. It is safe for many
// goroutines.
type Client struct {
	transport http.RoundTripper
	options   Options
	address   *url.URL
	unfit     error // set when the options cannot work: every call answers it
	logger    hclog.Logger
}

// New returns a client. Of httpClient it uses the Transport alone, which should
// be that of gateway.NewHTTPClient: redirects and cookies have no place here,
// and timeouts are the context's.
//
// Options that cannot work do not fail here but in every call, with a
// *billing.NotProcessedError that stops the merchant account: one wrong
// account must not keep a daemon from serving the others.
func New(httpClient *http.Client, options Options, logger hclog.Logger) *Client {
	if options.Operation == "" {
		options.Operation = Pay
	}
	c := &Client{transport: httpClient.Transport, options: options, logger: logger.Named("mastercard")}
	if c.transport == nil {
		c.transport = http.DefaultTransport
	}
	c.address, c.unfit = parseAddress(options.BaseURL)
	if c.unfit == nil {
		c.unfit = checkOptions(options, c.address)
	}
	return c
}

var (
	// nvpPath is where every address of this protocol ends. An address of the REST
	// protocol, or without a version, would refuse each request in its own way.
	nvpPath = regexp.MustCompile(`/api/nvp/version/[1-9][0-9]*$`)

	merchantID = regexp.MustCompile(`^[0-9A-Za-z_-]{1,40}$`)
)

func parseAddress(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		// The address is not quoted: somebody may have put credentials in it.
		return nil, unfitAccount("base_url is not a plain http or https address")
	}
	if !nvpPath.MatchString(u.Path) {
		return nil, unfitAccount("base_url does not end with /api/nvp/version/ and a number")
	}
	return u, nil
}

func checkOptions(o Options, address *url.URL) error {
	password := o.Password.Reveal()
	switch {
	case o.MerchantAccount == "":
		return unfitAccount("merchant account is empty")
	case !merchantID.MatchString(o.MerchantID):
		return unfitAccount("merchant_id is not 1 to 40 of 0-9 a-z A-Z - _")
	case password == "" && address.Scheme != "https":
		return unfitAccount("there is no password, and a client certificate is shown over https only")
	case !isVisibleASCII(password):
		return unfitAccount("the password has a space, a line break or another character that no password has")
	case o.Operation != Pay && o.Operation != AuthorizeCapture:
		return unfitAccount(fmt.Sprintf("operation is neither %s nor %s", Pay, AuthorizeCapture))
	}
	return nil
}

func unfitAccount(message string) error {
	return &billing.NotProcessedError{Scope: billing.ScopeAccount, Code: codeConfiguration, Message: message}
}

// Codes of our own beside the gateway's causes, for what never left.
const (
	codeConfiguration = "configuration"
	codeRequest       = "request"
)

// Endpoint implements billing.Gateway.
func (c *Client) Endpoint() string {
	return Endpoint(c.options.BaseURL, c.options.MerchantID, c.options.Operation)
}

// Endpoint is where the attempts of a merchant are known: orders are known below a
// merchant id alone, so the same request of another merchant at the same address
// would be another payment. So would the same attempt by another operation.
func Endpoint(baseURL, merchantID string, operation Operation) string {
	at := baseURL + "/merchant/" + merchantID
	if operation == AuthorizeCapture {
		at += "/" + string(operation)
	}
	return at
}

// requestHeader is that of every request; nobody changes it. The content type is
// the one that the gateway asks for (Customize your API integration).
var requestHeader = http.Header{
	"Content-Type": {"application/x-www-form-urlencoded; charset=UTF-8"},
	"User-Agent":   {"contauth"},
}

// A message is one request of ours.
type message struct {
	body    []byte
	secrets []string // what no error may repeat of it
}

// sign completes a form: the credentials are its last fields, so that everything
// before them is the same whatever they are. private are the fields' values that
// no error may repeat.
func (c *Client) sign(f form, private ...string) message {
	password := c.options.Password.Reveal()
	if password != "" {
		f.add("apiUsername", "merchant."+c.options.MerchantID)
		f.add("apiPassword", password)
	}
	return message{body: f.body, secrets: secretForms(append(private, password))}
}

// secretForms returns texts as they are and as a form shows them: an error of the
// gateway may quote the body that it did not understand.
func secretForms(texts []string) []string {
	forms := make([]string, 0, len(texts))
	for _, text := range texts {
		if text == "" {
			continue
		}
		forms = append(forms, text)
		if escaped := url.QueryEscape(text); escaped != text {
			forms = append(forms, escaped)
		}
	}
	return forms
}

// send makes one exchange. It fails only if there is no answer at all; what an
// answer says, and whether it can be read, is the answer's affair.
func (c *Client) send(ctx context.Context, m message) (answer, error) {
	from, err := gateway.Post(ctx, c.transport, gateway.Request{URL: c.address, Header: requestHeader, Body: m.body}, maxAnswer)
	if from.Redialled {
		c.logger.Debug("replaced a dead connection before anything was written")
	}
	if from.Status == 0 {
		return answer{}, err
	}
	return readAnswer(from, err, m.secrets), nil
}

// bounded returns a context that ends with the client's own timeout.
func (c *Client) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.options.Timeout <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, c.options.Timeout)
}

// newForm begins a request with the fields that every operation has.
func (c *Client) newForm(operation string) form {
	var f form
	f.body = make([]byte, 0, 768)
	f.add("apiOperation", operation)
	f.add("merchant", c.options.MerchantID)
	return f
}

// isVisibleASCII reports whether s has no space, control character or letter
// outside ASCII.
func isVisibleASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}
