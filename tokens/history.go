package tokens

import "time"

// An EventKind says what happened to a token.
type EventKind string

const (
	EventCreated     EventKind = "created"     // stored here: by import, session, webhook or hand
	EventRead        EventKind = "read"        // the gateway was asked, and told something new
	EventVerified    EventKind = "verified"    // a verification, whatever its result
	EventInvalid     EventKind = "invalid"     // it can no longer be charged
	EventReactivated EventKind = "reactivated" // new details brought it back
	EventReplaced    EventKind = "replaced"    // another token took over its subscriptions
	EventDisabled    EventKind = "disabled"    // switched off, here or at the gateway
	EventErased      EventKind = "erased"      // its shopper was deleted
)

// A Source says how the news of an event came.
type Source string

const (
	SourcePerson  Source = "person"
	SourceImport  Source = "import"
	SourceWebhook Source = "webhook"
	SourcePoll    Source = "poll"   // the daemon asked the gateway
	SourceCharge  Source = "charge" // a refusal said so
	SourceSession Source = "session"
	SourceVerify  Source = "verification"
)

// An Event is one line of a token's timeline.
type Event struct {
	At     time.Time // by the database's clock
	Kind   EventKind
	State  State  // the token's afterwards
	Cause  string // why, in a gateway's or a person's words
	Source Source
	Actor  string // "gateway", "contauth", or who asked
	Detail string // for people: what changed
}

// A Change is what one piece of news does to a token: written in one transaction,
// together with what follows for its charges.
type Change struct {
	Kind         EventKind
	State        State // "" leaves it
	Cause        string
	Source       Source
	Actor        string
	Why          string // a person's reason, for the audit; may be empty
	Detail       string
	Details      *Details      // nil leaves what is known
	Verification *Verification // nil leaves the last one
	Release      Release       // of a change that makes an invalid token valid
	// Since, if set, is since when the token had the state that the news is about: if
	// it has had another since, the news is old and changes no state.
	Since time.Time
}

// A Release says when charges that a token's invalidity held are charged after the
// token came back.
type Release string

const (
	ReleaseNow     Release = "now"      // they are due, and a run takes them at once
	ReleaseNextRun Release = "next_run" // they are due: the next run that is planned takes them
	ReleaseByHand  Release = "by_hand"  // they stay held until a person releases each
)

// Applied says what followed from a change.
type Applied struct {
	Token    Token
	Held     int // charges that are held because of it
	Released int // charges that are due again
	Waiting  int // charges that stay held, each with its reason
}
