package mastercard

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/contauth/contauth/billing"
)

// Charge implements billing.Gateway: PAY, or AUTHORIZE and then CAPTURE.
//
// The Reply's GatewayReference is order.id/transaction.id of the attempt: of the PAY,
// or of the AUTHORIZE, whose CAPTURE stands beside it in the same order. Of all names it is the one that is unique for a merchant, that
// every look-up gives again, and that Merchant Administration shows and searches
// by; transaction.receipt is the acquirer's, and acquirers begin anew.
//
// The RequestHash is that of the first request; a capture's bytes follow from the
// same values.
//
// A request that breaks one of the gateway's limits is never sent. It is answered
// by a *billing.NotProcessedError of charge scope that is Counted, and that is
// billing.ErrInvalid too: the same row would make the same request for ever, so
// the charge must stop and wait for a person instead of being claimed again.
// A request for another merchant account stops the account.
func (c *Client) Charge(ctx context.Context, req billing.ChargeRequest) (billing.Reply, error) {
	reply, err := c.charge(ctx, req)
	if err != nil {
		return reply, fmt.Errorf("mastercard: charge %.*q: %w", maxOrderID, billing.AttemptReference(req.Reference, req.Attempt), err)
	}
	return reply, nil
}

func (c *Client) charge(ctx context.Context, req billing.ChargeRequest) (billing.Reply, error) {
	p, err := c.payment(req)
	if errors.Is(err, billing.ErrInvalid) {
		err = &unsendable{cause: err, meaning: billing.NotProcessedError{
			Scope: billing.ScopeCharge, Counted: true, Code: codeRequest, Message: err.Error(),
		}}
	}
	if err != nil {
		return billing.Reply{}, err
	}
	ctx, cancel := c.bounded(ctx)
	defer cancel()

	first := p.paid()
	if c.options.Operation == AuthorizeCapture {
		first = p.authorized()
	}
	m := c.request(&p, first)
	hashed := billing.Reply{RequestHash: sha256.Sum256(m.body)}
	reply, err := c.ask(ctx, &p, first, m, hashed)
	if err != nil || reply.Outcome != billing.OutcomeAuthorised || first.operation == opPay {
		return reply, err
	}
	second := p.captured()
	reply, err = c.ask(ctx, &p, second, c.request(&p, second), hashed)
	return authorisedBefore(reply, err, hashed)
}

// ask sends one of p's transactions and reads what became of it into reply.
func (c *Client) ask(ctx context.Context, p *payment, t transaction, m message, reply billing.Reply) (billing.Reply, error) {
	a, err := c.send(ctx, m)
	if err != nil {
		return reply, err
	}
	if err := a.compare(p, t, c.options.MerchantID); err != nil {
		return reply, err
	}
	if err := a.failure(); err != nil {
		return c.deadToken(ctx, p, reply, err)
	}
	return c.read(&a, p, t, reply, false)
}

// deadToken makes the error of a token that the gateway keeps as INVALID a refusal:
// such a token shows itself by an error about its field alone, and only its own
// status tells that from a mistake of ours.
func (c *Client) deadToken(ctx context.Context, p *payment, reply billing.Reply, err error) (billing.Reply, error) {
	var no *billing.NotProcessedError
	if !errors.As(err, &no) || no.Scope != billing.ScopeToken {
		return reply, err
	}
	stored, lookErr := c.RetrieveToken(ctx, p.token)
	if lookErr != nil || stored.Status != TokenInvalid {
		return reply, err
	}
	reply.Outcome, reply.Class = billing.OutcomeRefused, billing.DeclineTokenInvalid
	reply.ResultCode, reply.RefusalCode = string(ResultError), string(TokenInvalid)
	reply.RefusalReason = "the gateway keeps the token as INVALID"
	return reply, nil
}

// authorisedBefore says what a capture's answer means for the whole charge, whose
// authorisation was approved: until the capture is approved too, nobody knows
// whether the money comes. It is never "not sent" and never "not processed".
func authorisedBefore(captured billing.Reply, err error, hashed billing.Reply) (billing.Reply, error) {
	const what = "authorised, but its capture"
	switch {
	case errors.Is(err, billing.ErrUnknown):
		return hashed, fmt.Errorf("%s has no clear answer: %w", what, err)
	case err != nil:
		// Not %w: the words may say "not sent", which holds for the capture alone.
		return hashed, fmt.Errorf("%w: %s was not made: %v", billing.ErrUnknown, what, err)
	case captured.Outcome == billing.OutcomeRefused:
		return hashed, fmt.Errorf("%w: %s was refused (%s): capture or void it by hand", billing.ErrUnknown, what, captured.RefusalCode)
	}
	return captured, nil
}

// payment turns a request into the gateway's terms and checks it.
func (c *Client) payment(req billing.ChargeRequest) (payment, error) {
	if c.unfit != nil {
		return payment{}, c.unfit
	}
	if req.MerchantAccount != c.options.MerchantAccount {
		return payment{}, unfitAccount(fmt.Sprintf("a charge of merchant account %q came to the client of %q", req.MerchantAccount, c.options.MerchantAccount))
	}
	return newPayment(req)
}

// An unsendable is the error of a request that breaks a limit: billing.ErrInvalid
// for people, a *billing.NotProcessedError for the protocol.
type unsendable struct {
	cause   error
	meaning billing.NotProcessedError
}

func (u *unsendable) Error() string   { return u.cause.Error() }
func (u *unsendable) Unwrap() []error { return []error{u.cause, &u.meaning} }
