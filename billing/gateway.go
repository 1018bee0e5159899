package billing

import "context"

// A Gateway charges stored payment methods. There is one for each merchant
// account. Implementations are safe for many goroutines.
type Gateway interface {
	// Charge asks for the money of one attempt, once: it never sends a request
	// a second time by itself. The same request always makes the same bytes.
	//
	// A decline is a Reply, not an error. An error is one of three, and tells
	// the one thing that matters about money:
	//
	//	ErrNotSent               no byte of the request left this process
	//	*NotProcessedError       the gateway answered that it did not try
	//	ErrUnknown               anything else: it may have been charged
	//
	// The Reply's RequestHash is set whenever bytes were made, with an error too.
	Charge(ctx context.Context, req ChargeRequest) (Reply, error)

	// CheckAmount returns ErrInvalid, in words for a person, if the gateway
	// cannot express the amount or does not know the currency.
	CheckAmount(amount Money) error

	// Endpoint is where the requests go. Keys are known at one endpoint only: an
	// attempt must not be sent again to another.
	Endpoint() string

	// WireVersion names the way in which Charge writes a request's bytes. An
	// attempt made under another version must not be sent again.
	WireVersion() int
}

// A Finder is a Gateway that can be asked what became of an attempt. Where there
// is one, an attempt without an answer is looked up before it is sent again.
type Finder interface {
	// Find asks about the attempt that Charge would make, and moves no money. Its
	// Reply is as Charge's. ErrNotFound says that the gateway has no such attempt,
	// which is no licence for another one: the first may still be on its way. Any
	// other error says nothing about the attempt.
	Find(ctx context.Context, req ChargeRequest) (Reply, error)
}

// A ChargeRequest is everything that enters the bytes of one attempt, and its key.
type ChargeRequest struct {
	Key              string // idempotency key, at most 64 characters
	MerchantAccount  string
	Reference        string // the charge's, without the attempt
	Attempt          int    // 1 is the first
	Amount           Money
	Token            string
	ShopperReference string
	PaymentMethod    string // the gateway's type; "scheme" for cards
	Model            RecurringProcessingModel
	ReturnURL        string
}

// A Reply is a gateway's answer about one attempt.
type Reply struct {
	Outcome          Outcome // OutcomeAuthorised, OutcomeRefused or OutcomePending
	GatewayReference string  // Adyen: pspReference
	ResultCode       string  // the gateway's word, as it came
	RefusalCode      string  // the gateway's code, as text; it may have leading zeros
	RefusalReason    string  // the gateway's words, cut to a line
	RawCode          string  // the acquirer's words behind it, where the gateway tells
	AdviceCode       string  // the scheme's advice, where the gateway tells
	Class            DeclineClass
	RequestHash      [32]byte // SHA-256 of the body that was sent
}
