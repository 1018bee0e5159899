package sandbox

// A dialect is how one gateway is asked, and how it answers. Keys, rules, holds
// and the ledger are the same for all of them.
type dialect interface {
	manners() *manners

	// read checks who asks, and reads what is asked for into x.
	read(x *exchange) *apiError

	// act does what x asks for, for the first time under its key. When it returns,
	// the ledger has it, and the key is kept or released.
	act(x *exchange, rule *Rule) reply

	// untrue is the answer of a gateway that did what it was asked for, for rules
	// that spoil an answer without acting.
	untrue(x *exchange) reply

	// appendError appends the body of an error. psp is its reference; empty is none.
	appendError(b []byte, x *exchange, e *apiError, psp []byte) []byte

	// setHeader sets the headers that an answer has beside its content type.
	setHeader(x *exchange, a reply)
}

// A dialectID names a dialect in the ledger's records.
type dialectID uint8

const (
	dialectAdyen      dialectID = 0
	dialectMastercard dialectID = 1
	dialects                    = 2
)

// manners are the ways of a dialect that no request changes.
type manners struct {
	id          dialectID
	contentType []string // ready for a header map

	// otherBody is the answer to a known key with another body; nil if bodies are
	// not compared, and the key's answer is given again.
	otherBody *apiError

	running      *apiError // the key is being worked on
	noConnection *apiError // nothing was made; the key is not used up
	storedIO     *apiError // nobody knows whether something was made
	ledger       *apiError // the sandbox's own trouble
	statusErrors map[int]apiError

	spoiled spoiledBodies
}

// spoiledBodies are what rules send instead of an answer in this dialect.
type spoiledBodies struct {
	contentType string // one that the dialect never has
	other       string // well-formed, and no answer to a payment
	begins      string // of an answer that goes on for ever with the letter A
	ends        string
	doubled     func(body []byte) []byte // the answer, with second fields that say otherwise
}

// A wrongness is how an answer differs from the payment that it is about, for
// rules that make it lie.
type wrongness struct {
	value     int64 // in the gateway's units
	currency  string
	reference string
}

// A teller can tell of a payment again, with something wrong in it.
type teller interface {
	appendAs(b []byte, w wrongness) []byte
}
