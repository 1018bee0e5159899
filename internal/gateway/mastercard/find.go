package mastercard

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/contauth/contauth/billing"
)

// Find implements billing.Finder: RETRIEVE_TRANSACTION with the ids of the
// attempt. Its result is that of the stored transaction, so a FAILURE is a
// refused payment and no failed look-up (inferred; seen so in notifications).
// The Reply has no RequestHash: nothing was sent that could move money.
//
// With AuthorizeCapture the capture is asked about first. An attempt that was
// authorised and not captured is ErrNotFound: the sequence has to be sent again,
// and its first half will be answered as it was.
//
// Besides ErrNotFound an error is billing.ErrNotSent, a
// *billing.NotProcessedError that stops the account or asks for patience and is
// never Counted, or billing.ErrUnknown. None says anything about the attempt.
func (c *Client) Find(ctx context.Context, req billing.ChargeRequest) (billing.Reply, error) {
	reply, err := c.find(ctx, req)
	if err != nil {
		return billing.Reply{}, fmt.Errorf("mastercard: look up charge %.*q: %w", maxOrderID, billing.AttemptReference(req.Reference, req.Attempt), err)
	}
	return reply, nil
}

func (c *Client) find(ctx context.Context, req billing.ChargeRequest) (billing.Reply, error) {
	p, err := c.payment(req)
	if errors.Is(err, billing.ErrInvalid) {
		return billing.Reply{}, fmt.Errorf("%w: %w", billing.ErrUnknown, err)
	}
	if err != nil {
		return billing.Reply{}, err
	}
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	if c.options.Operation == Pay {
		return c.findTransaction(ctx, &p, p.paid())
	}
	captured, err := c.findTransaction(ctx, &p, p.captured())
	switch {
	case err == nil:
		return authorisedBefore(captured, nil, billing.Reply{})
	case !errors.Is(err, billing.ErrNotFound):
		return billing.Reply{}, err
	}
	reserved, err := c.findTransaction(ctx, &p, p.authorized())
	if err == nil && reserved.Outcome == billing.OutcomeAuthorised {
		return billing.Reply{}, fmt.Errorf("%w: authorised, and not captured", billing.ErrNotFound)
	}
	return reserved, err
}

func (c *Client) findTransaction(ctx context.Context, p *payment, t transaction) (billing.Reply, error) {
	a, err := c.send(ctx, c.lookUp(p, t))
	if err != nil {
		return billing.Reply{}, err
	}
	if err := a.compare(p, t, c.options.MerchantID); err != nil {
		return billing.Reply{}, err
	}
	if err := a.lookUpFailure(); err != nil {
		return billing.Reply{}, err
	}
	reply, err := c.read(&a, p, t, billing.Reply{}, true)
	if errors.Is(err, billing.ErrInProgress) {
		// What the gateway could not do because the order was locked it did not do:
		// the documented way on is the same ids again, as for what it never saw.
		return billing.Reply{}, fmt.Errorf("%w: the order was locked", billing.ErrNotFound)
	}
	return reply, err
}

// lookUpFailure says what an answer without a stored transaction means.
//
// How the gateway says "no such transaction" is not verified. A look-up consists
// of the credentials and the ids alone, so INVALID_REQUEST, which is not about the
// credentials, and names no field but the ids or none, can only say that. To be
// wrong about it is harmless: what follows is the identical request, which the
// gateway answers as it did the first time.
func (a *answer) lookUpFailure() error {
	err := a.failure()
	var no *billing.NotProcessedError
	switch {
	case err == nil:
		return nil
	case a.fields == nil:
		return err
	case errors.As(err, &no) && no.Scope == billing.ScopeAccount:
		return err
	}
	e := a.asError(opRetrieveTransaction)
	if e.Cause == CauseInvalidRequest && (e.Field == "" || e.Field == "order.id" || e.Field == "transaction.id" || e.Status == http.StatusNotFound) {
		return fmt.Errorf("%w: %w", billing.ErrNotFound, e)
	}
	return fmt.Errorf("%w: %w", billing.ErrUnknown, e)
}
