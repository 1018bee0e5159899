package billing

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A Collector turns one claimed charge into what was learnt about it, through
// a gateway. It is safe for many goroutines.
type Collector struct {
	gateway Gateway
	keyer   *AttemptKeyer
	replays []time.Duration
}

// NewCollector returns a collector for one merchant account. replays are the
// waits before an unknown attempt is sent again.
func NewCollector(gateway Gateway, keyer *AttemptKeyer, replays []time.Duration) *Collector {
	return &Collector{gateway: gateway, keyer: keyer, replays: replays}
}

// WireVersion is the gateway's, to be stored with each claim.
func (c *Collector) WireVersion() int { return c.gateway.WireVersion() }

// Endpoint is the gateway's, where the keys of the account's attempts are known.
func (c *Collector) Endpoint() string { return c.gateway.Endpoint() }

// Collect sends the request of a claimed charge, once, and says what follows. A
// replay is looked up first where the gateway can: only what it does not know is
// sent again.
// ctx bounds the whole exchange. A panic in the gateway counts as an unknown
// outcome: the request may have left.
func (c *Collector) Collect(ctx context.Context, charge *ClaimedCharge) (s Settlement) {
	defer func() {
		if p := recover(); p != nil {
			s = Settle(charge, Reply{}, fmt.Errorf("%w: panic: %v", ErrUnknown, p), c.replays)
		}
	}()
	req := c.Request(charge)
	if finder, ok := c.gateway.(Finder); ok && charge.Replays > 0 {
		reply, err := finder.Find(ctx, req)
		if !errors.Is(err, ErrNotFound) {
			return Settle(charge, reply, aboutLookUp(err), c.replays)
		}
		// "Not found" may be wrong, and then a refusal to try says nothing of the first
		// request: only a result does.
		reply, err = c.gateway.Charge(ctx, req)
		return Settle(charge, reply, aboutLookUp(err), c.replays)
	}
	reply, err := c.gateway.Charge(ctx, req)
	return Settle(charge, reply, err, c.replays)
}

// aboutLookUp keeps what a failed look-up says of the gateway and the account, and
// takes from it that it counted: it was never about the attempt.
func aboutLookUp(err error) error {
	var refused *NotProcessedError
	if errors.As(err, &refused) {
		uncounted := *refused
		uncounted.Counted = false
		return &uncounted
	}
	return err
}

// Request is all that enters the bytes of the charge's open attempt, and its key.
func (c *Collector) Request(charge *ClaimedCharge) ChargeRequest {
	return ChargeRequest{
		Key:              c.keyer.Key(OperationCharge, charge.MerchantAccount, charge.Reference, charge.Attempt),
		MerchantAccount:  charge.MerchantAccount,
		Reference:        charge.Reference,
		Attempt:          charge.Attempt,
		Amount:           charge.Amount,
		Token:            charge.Token,
		ShopperReference: charge.ShopperReference,
		PaymentMethod:    charge.PaymentMethod,
		Model:            charge.Model,
		ReturnURL:        charge.ReturnURL,
	}
}
