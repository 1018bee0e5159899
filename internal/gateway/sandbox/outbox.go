package sandbox

import (
	"bytes"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/contauth/contauth/internal/secret"
)

const (
	senders = 8
	// maxWaiting bounds what waits, and so memory: about 50 MB with letters of an
	// ordinary length.
	maxWaiting = 50_000
	// acceptTime is how long Adyen waits for a delivery to be accepted.
	acceptTime = 10 * time.Second
	// reorderTime is how long gathered deliveries wait for others.
	reorderTime = time.Second
)

// retryWaits are Adyen's waits after each refusal; the last one goes on until
// retryTime is over. (Adyen: "Troubleshoot webhooks")
var retryWaits = []time.Duration{
	9 * time.Second, 18 * time.Second, 27 * time.Second,
	2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour,
}

const retryTime = 30 * 24 * time.Hour

// WebhookCounts are the numbers of GET /sandbox/webhooks, from the start of the
// process.
type WebhookCounts struct {
	Made           int64 `json:"made"`            // events, lost ones too
	Sent           int64 `json:"sent"`            // deliveries that were tried: copies and retries too, forgeries not
	Accepted       int64 `json:"accepted"`        // of those, answered with any 2xx
	Refused        int64 `json:"refused"`         // of those, answered otherwise or not at all
	Lost           int64 `json:"lost"`            // events that the behaviour never sends
	Waiting        int64 `json:"waiting"`         // deliveries and forgeries that are still to be sent, or are being sent
	Abandoned      int64 `json:"abandoned"`       // deliveries given up after the last retry, or because too many waited
	Forged         int64 `json:"forged"`          // forgeries that were sent
	ForgedAccepted int64 `json:"forged_accepted"` // of those, answered with any 2xx: should be 0
}

// A delivery is a letter on its way.
type delivery struct {
	letter
	code   string // of the event, for the log
	forged bool
	due    time.Time     // on the machine's clock; zero goes before all others
	order  uint64        // among those that are due at the same time
	first  time.Time     // when it was tried first
	tries  int           // how often
	tried  chan struct{} // closed after the first try; nil if nobody waits for that
}

// An outbox sends deliveries when they are due, and again until they are
// accepted. What waits when it stops is forgotten.
type outbox struct {
	client   *http.Client
	url      atomic.Pointer[string]
	user     string
	password secret.String
	retry    time.Duration // the first wait after a refusal; the others grow with it
	log      hclog.Logger

	wake chan struct{} // something may be due earlier than what hand waits for
	due  chan *delivery
	stop context.CancelFunc
	work sync.WaitGroup

	mu       sync.Mutex
	waiting  deliveries
	gathered []*delivery // for a random order
	release  *time.Timer // sends what was gathered
	shuffle  *rand.Rand
	last     uint64 // delivery.order
	failing  bool   // the last answer was a refusal
	stopped  bool
	counts   WebhookCounts
}

// start starts the senders.
func (o *outbox) start() {
	ctx, stop := context.WithCancel(context.Background())
	o.stop = stop
	o.wake, o.due = make(chan struct{}, 1), make(chan *delivery)
	o.work.Go(func() { o.hand(ctx) })
	for range senders {
		o.work.Go(func() { o.send(ctx) })
	}
}

// end stops the senders in the middle of what they do, and takes nothing more.
func (o *outbox) end() {
	o.mu.Lock()
	first := !o.stopped
	o.stopped = true
	if o.release != nil {
		o.release.Stop()
	}
	waiting := o.counts.Waiting
	o.mu.Unlock()
	o.stop()
	if first && waiting > 0 {
		o.log.Warn("stopped with webhooks that nobody accepted; they are not sent any more", "waiting", waiting)
	}
}

// wait returns when the senders have ended.
func (o *outbox) wait() {
	o.work.Wait()
	o.client.CloseIdleConnections()
}

// count counts an event.
func (o *outbox) count(lost bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.counts.Made++
	if lost {
		o.counts.Lost++
	}
}

// add takes deliveries of one event, in the order in which to send those that
// are due at once, and reports whether it took them. reorder is how many
// deliveries to gather for a random order; 0 and 1 are none.
func (o *outbox) add(batch []*delivery, reorder int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stopped || o.counts.Waiting+int64(len(batch)) > maxWaiting {
		for _, d := range batch {
			if !d.forged {
				o.counts.Abandoned++
			}
		}
		return false
	}
	o.counts.Waiting += int64(len(batch))
	if reorder <= 1 || len(batch) == 0 {
		o.push(batch...)
		return true
	}
	o.gathered = append(o.gathered, batch...)
	switch {
	case len(o.gathered) >= reorder:
		o.pushGathered()
	case len(o.gathered) == len(batch):
		o.release = time.AfterFunc(reorderTime, o.flush)
	}
	return true
}

// flush sends what was gathered, in a random order.
func (o *outbox) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pushGathered()
}

// pushGathered is flush with the lock held.
func (o *outbox) pushGathered() {
	if o.release != nil {
		o.release.Stop()
		o.release = nil
	}
	o.shuffle.Shuffle(len(o.gathered), func(i, j int) { // who goes when is their order
		o.gathered[i].due, o.gathered[j].due = o.gathered[j].due, o.gathered[i].due
	})
	o.push(o.gathered...)
	o.gathered = nil
}

// push queues deliveries. The lock is held.
func (o *outbox) push(batch ...*delivery) {
	for _, d := range batch {
		o.last++
		d.order = o.last
		heap.Push(&o.waiting, d)
	}
	select {
	case o.wake <- struct{}{}:
	default: // hand is going to look anyway
	}
}

// hand gives deliveries to the senders when they are due, until ctx ends.
func (o *outbox) hand(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		d, wait := o.next(time.Now())
		if d != nil {
			select {
			case o.due <- d:
			case <-ctx.Done():
				return
			}
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-o.wake:
		case <-ctx.Done():
			return
		}
	}
}

// next takes the first delivery that is due, or tells how long none is.
func (o *outbox) next(now time.Time) (*delivery, time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.waiting) == 0 {
		return nil, time.Hour
	}
	if d := o.waiting[0]; d.due.After(now) {
		return nil, d.due.Sub(now)
	}
	return heap.Pop(&o.waiting).(*delivery), 0
}

// send tries what hand gives it, until ctx ends.
func (o *outbox) send(ctx context.Context) {
	for {
		select {
		case d := <-o.due:
			o.try(ctx, d)
		case <-ctx.Done():
			return
		}
	}
}

// try sends a delivery once, and queues it again if it was refused.
func (o *outbox) try(ctx context.Context, d *delivery) {
	if d.tries == 0 {
		d.first = time.Now()
	}
	d.tries++
	err := o.post(ctx, d)
	if err != nil && ctx.Err() != nil {
		return // the sandbox stops, which says nothing about the receiver
	}
	tried := d.tried
	d.tried = nil
	o.settle(d, err)
	if tried != nil {
		close(tried)
	}
}

// post sends a delivery once. Adyen takes any 2xx for an acceptance, follows no
// redirects and reads no more of an answer.
func (o *outbox) post(ctx context.Context, d *delivery) error {
	ctx, cancel := context.WithTimeout(ctx, acceptTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, *o.url.Load(), bytes.NewReader(d.body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	if o.user != "" {
		req.SetBasicAuth(o.user, o.password.Reveal())
	}
	if d.signature != "" {
		req.Header.Set("hmacsignature", d.signature)
	}
	resp, err := o.client.Do(req)
	if err != nil {
		if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
			return wrapped.Err // the address is known, and long
		}
		return err
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("answered %s", resp.Status)
	}
	return nil
}

// settle counts what became of a try, and queues a refused delivery again.
func (o *outbox) settle(d *delivery, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if d.forged {
		o.counts.Waiting--
		o.counts.Forged++
		if err == nil {
			if o.counts.ForgedAccepted++; o.counts.ForgedAccepted == 1 {
				o.log.Warn("a forged webhook was accepted; others are only counted", "event", d.code)
			}
		}
		return
	}
	o.counts.Sent++
	if failed := err != nil; failed != o.failing {
		o.failing = failed
		if failed {
			o.log.Warn("a webhook was refused and is tried again; so are others from now on, without a word", "event", d.code, "error", err)
		} else {
			o.log.Info("webhooks are accepted again")
		}
	}
	if err == nil {
		o.counts.Accepted++
		o.counts.Waiting--
		return
	}
	o.counts.Refused++
	now := time.Now()
	if now.Sub(d.first) > o.scaled(retryTime) {
		o.counts.Abandoned++
		o.counts.Waiting--
		return
	}
	d.due = now.Add(o.scaled(retryWaits[min(d.tries, len(retryWaits))-1]))
	o.push(d)
}

// scaled returns one of Adyen's times as it is with the retry of this outbox.
func (o *outbox) scaled(d time.Duration) time.Duration {
	return time.Duration(float64(d) * float64(o.retry) / float64(retryWaits[0]))
}

// deliveries is a heap, with what is due first at its top.
type deliveries []*delivery

func (ds deliveries) Len() int      { return len(ds) }
func (ds deliveries) Swap(i, j int) { ds[i], ds[j] = ds[j], ds[i] }

func (ds deliveries) Less(i, j int) bool {
	if ds[i].due.Equal(ds[j].due) {
		return ds[i].order < ds[j].order
	}
	return ds[i].due.Before(ds[j].due)
}

// Push implements heap.Interface.
func (ds *deliveries) Push(d any) { *ds = append(*ds, d.(*delivery)) }

// Pop implements heap.Interface.
func (ds *deliveries) Pop() any {
	last := len(*ds) - 1
	d := (*ds)[last]
	(*ds)[last] = nil
	*ds = (*ds)[:last]
	return d
}
