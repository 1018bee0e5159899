package sandbox

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"
)

// A WebhookBehaviour says what becomes of webhooks on their way. The zero value
// sends each event once, at once.
type WebhookBehaviour struct {
	// Delay is how long an event waits before it is sent first. If DelayUpTo is
	// longer, the wait is random between the two.
	Delay     time.Duration
	DelayUpTo time.Duration
	// Duplicate is how many times each event is sent, the copies at random times
	// within DuplicateWithin after the first, a second if 0. 0 and 1 are once.
	Duplicate       int
	DuplicateWithin time.Duration
	// Reorder is how many deliveries are gathered and then sent in a random order;
	// 0 and 1 are none. Those that find too few to go with are sent after a second.
	Reorder int
	// Lose is the share of events that are never sent, from 0 to 1.
	Lose float64
	// BeforeAnswer holds the answer to a payment back until its AUTHORISATION was
	// delivered, or refused once. Such an event is neither delayed nor reordered.
	BeforeAnswer bool
	// Forge is the share of events of which a forgery is sent too, once, from 0 to
	// 1, and Forgeries which kinds that may be; none is all.
	Forge     float64
	Forgeries []Forgery
}

// Limits of a behaviour, so that nothing waits for ever and memory is bounded.
const (
	maxDelay     = 30 * 24 * time.Hour // as long as Adyen goes on trying
	maxDuplicate = 1000
	maxReorder   = 10_000

	defaultWithin = time.Second
)

// Validate returns what is wrong with a behaviour.
func (b *WebhookBehaviour) Validate() error {
	for _, d := range []struct {
		name string
		time.Duration
	}{{"delay", b.Delay}, {"delay_up_to", b.DelayUpTo}, {"duplicate_within", b.DuplicateWithin}} {
		if d.Duration < 0 || d.Duration > maxDelay {
			return fmt.Errorf("%s is %s; it is a duration from 0 to %s", d.name, d.Duration, maxDelay)
		}
	}
	if b.DelayUpTo > 0 && b.DelayUpTo < b.Delay {
		return fmt.Errorf("delay_up_to is %s, less than delay, which is %s", b.DelayUpTo, b.Delay)
	}
	if b.Duplicate < 0 || b.Duplicate > maxDuplicate {
		return fmt.Errorf("duplicate is %d; it is a whole number from 0 to %d", b.Duplicate, maxDuplicate)
	}
	if b.Reorder < 0 || b.Reorder > maxReorder {
		return fmt.Errorf("reorder is %d; it is a whole number from 0 to %d", b.Reorder, maxReorder)
	}
	if !(b.Lose >= 0 && b.Lose <= 1) { // NaN is neither
		return fmt.Errorf("lose is %v; it is a share from 0 to 1", b.Lose)
	}
	if !(b.Forge >= 0 && b.Forge <= 1) {
		return fmt.Errorf("forge is %v; it is a share from 0 to 1", b.Forge)
	}
	for _, f := range b.Forgeries {
		if !slices.Contains(allForgeries, f) {
			return fmt.Errorf("forgeries has %q; known are %s", f, oneOf(allForgeries))
		}
	}
	return nil
}

// A plan says what becomes of one event.
type plan struct {
	waits       []time.Duration // of the event and its copies, before each is sent; none if it is lost
	forgery     Forgery         // "" is none
	forgedWait  time.Duration
	forgedFirst bool // the forger is quicker
}

// plan decides what becomes of an event. All that is random is drawn in the same
// order, whatever the settings are.
func (b *WebhookBehaviour) plan(chance *rand.Rand) plan {
	lost := chance.Float64() < b.Lose
	forged := chance.Float64() < b.Forge
	kind, forgedFirst := chance.Uint64(), chance.Uint64()&1 == 1
	wait := b.Delay
	if b.DelayUpTo > b.Delay {
		wait += upTo(chance, b.DelayUpTo-b.Delay)
	}
	var p plan
	if forged {
		kinds := b.Forgeries
		if len(kinds) == 0 {
			kinds = allForgeries
		}
		p.forgery, p.forgedWait, p.forgedFirst = kinds[kind%uint64(len(kinds))], wait, forgedFirst
	}
	if lost {
		return p
	}
	within := b.DuplicateWithin
	if within == 0 {
		within = defaultWithin
	}
	p.waits = append(p.waits, wait)
	for range b.Duplicate - 1 {
		p.waits = append(p.waits, wait+upTo(chance, within))
	}
	return p
}

// upTo returns a random duration from 0 to d.
func upTo(chance *rand.Rand, d time.Duration) time.Duration {
	return time.Duration(chance.Int64N(int64(d) + 1))
}

// chanceOf returns what is random about an event. It depends on the seed and on
// what the event is about, and not on when it comes or what comes beside it.
func chanceOf(seed uint64, code, about string, number uint64) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(code + "\x00" + about + "\x00" + strconv.FormatUint(number, 10)))
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}
