package bench

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/contauth/contauth/billing"
)

// Stats are what the gateway has counted, as its /sandbox/stats tells.
type Stats struct {
	Payments         int64   `json:"payments"`
	DuplicateKeys    int64   `json:"duplicate_keys"`
	SameKeyOtherBody int64   `json:"same_key_other_body"`
	InFlight         int64   `json:"in_flight"`
	CPUSeconds       float64 `json:"cpu_seconds"`
}

// Minus returns what was counted since before.
func (s Stats) Minus(before Stats) Stats {
	return Stats{
		Payments: s.Payments - before.Payments, DuplicateKeys: s.DuplicateKeys - before.DuplicateKeys,
		SameKeyOtherBody: s.SameKeyOtherBody - before.SameKeyOtherBody, InFlight: s.InFlight,
		CPUSeconds: s.CPUSeconds - before.CPUSeconds,
	}
}

// Check returns what is wrong if, since the last look, posts requests were
// answered.
func (s Stats) Check(posts int64) error {
	var faults []error
	if s.Payments != posts {
		faults = append(faults, fmt.Errorf("%d requests were answered, but the gateway made %d payments", posts, s.Payments))
	}
	if s.DuplicateKeys != 0 {
		faults = append(faults, fmt.Errorf("%d requests came with a key that the gateway knew", s.DuplicateKeys))
	}
	if s.SameKeyOtherBody != 0 {
		faults = append(faults, fmt.Errorf("%d requests came with a known key and other bytes", s.SameKeyOtherBody))
	}
	return errors.Join(faults...)
}

// A Ledger is what a gateway has charged, payment by payment.
type Ledger struct {
	Payments   int64
	references map[string]int32 // authorised payments, by charge
	keys       map[string]struct{}
	faults     []error
}

// maxFaults bounds how many faults of one kind are told.
const maxFaults = 5

// ReadLedger reads a gateway's ledger, one payment a line, and keeps what is
// wrong with it for Check.
func ReadLedger(r io.Reader) (*Ledger, error) {
	l := &Ledger{references: map[string]int32{}, keys: map[string]struct{}{}}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var payment struct {
			Key        string `json:"idempotency_key"`
			Reference  string `json:"reference"`
			ResultCode string `json:"result_code"`
		}
		if err := json.Unmarshal(lines.Bytes(), &payment); err != nil {
			return nil, fmt.Errorf("read the ledger, line %d: %w", l.Payments+1, err)
		}
		l.Payments++
		if _, known := l.keys[payment.Key]; known || payment.Key == "" {
			l.fault(fmt.Errorf("the key of payment %d, %s, has been there before, or is empty", l.Payments, payment.Reference))
		}
		l.keys[payment.Key] = struct{}{}
		if payment.ResultCode == "Authorised" {
			charge, _, ok := billing.SplitAttemptReference(payment.Reference)
			if !ok {
				l.fault(fmt.Errorf("payment %d, %s, names no attempt of a charge", l.Payments, payment.Reference))
			}
			l.references[charge]++
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	l.keys = nil
	return l, nil
}

func (l *Ledger) fault(err error) {
	if len(l.faults) < maxFaults {
		l.faults = append(l.faults, err)
	}
}

// Check returns what is wrong: a key twice, a number of payments that is not
// the number of posts, a charge of paid that the gateway charged another number
// of times than once, and a charge with prefix that the gateway charged and
// that is not in paid.
func (l *Ledger) Check(posts int64, prefix string, paid []string) error {
	faults := l.faults
	if l.Payments != posts {
		faults = append(faults, fmt.Errorf("%d requests were answered, but the ledger has %d payments", posts, l.Payments))
	}
	known := make(map[string]struct{}, len(paid))
	wrong := 0
	for _, reference := range paid {
		known[reference] = struct{}{}
		if times := l.references[reference]; times != 1 {
			if wrong++; wrong <= maxFaults {
				faults = append(faults, fmt.Errorf("charge %s is paid here, but was charged %d times at the gateway", reference, times))
			}
		}
	}
	lost := 0
	for reference := range l.references {
		if _, ok := known[reference]; !ok && strings.HasPrefix(reference, prefix) {
			if lost++; lost <= maxFaults {
				faults = append(faults, fmt.Errorf("charge %s was charged at the gateway, but is not paid here", reference))
			}
		}
	}
	if more := max(wrong-maxFaults, 0) + max(lost-maxFaults, 0); more > 0 {
		faults = append(faults, fmt.Errorf("and %d charges more", more))
	}
	return errors.Join(faults...)
}
