package mastercard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/tokens"
)

const (
	opRetrieveToken = "RETRIEVE_TOKEN"
	opDeleteToken   = "DELETE_TOKEN"
)

// RetrieveToken asks what is stored under a token, RETRIEVE_TOKEN. It is
// tokens.ErrNotFound if there is no such token; how the gateway says so is not
// verified, so only an error about the field token itself, or HTTP 404, counts.
func (c *Client) RetrieveToken(ctx context.Context, token string) (StoredToken, error) {
	a, err := c.operateOn(ctx, opRetrieveToken, token)
	if err != nil {
		return StoredToken{}, err
	}
	stored, err := a.readToken(token)
	if err != nil {
		return StoredToken{}, fmt.Errorf("mastercard: %s: %w", opRetrieveToken, err)
	}
	return stored, nil
}

// DeleteToken removes a token for good, DELETE_TOKEN. In a repository of unique
// cards other shoppers may have the same token: it is gone for them too. It is
// tokens.ErrNotFound by the rule of RetrieveToken.
func (c *Client) DeleteToken(ctx context.Context, token string) error {
	a, err := c.operateOn(ctx, opDeleteToken, token)
	if err != nil {
		return err
	}
	if a.result() != ResultSuccess {
		return fmt.Errorf("mastercard: %s: %w: result %s: %w", opDeleteToken, tokens.ErrUnanswered, a.masked("result"), billing.ErrUnknown)
	}
	return nil
}

func (c *Client) operateOn(ctx context.Context, operation, token string) (answer, error) {
	if !isToken(token) {
		return answer{}, fmt.Errorf("mastercard: %s: %w", operation, invalidField("token", "want 1 to %d of 0-9 a-z A-Z", maxToken))
	}
	f := c.newForm(operation)
	f.add("token", token)
	return c.operate(ctx, operation, "", c.sign(f, token))
}

// operate makes one exchange about tokens. What comes back without an error has a
// result other than ERROR, and does not carry another correlationId.
//
// The error is an *Error if the gateway refused, a *billing.NotProcessedError if
// something before it did, and tokens.ErrUnanswered, which is also what the
// transport says, if there is no answer to read.
func (c *Client) operate(ctx context.Context, operation, correlation string, m message) (answer, error) {
	a, err := c.tryOperate(ctx, operation, correlation, m)
	if err != nil {
		return answer{}, fmt.Errorf("mastercard: %s: %w", operation, err)
	}
	return a, nil
}

func (c *Client) tryOperate(ctx context.Context, operation, correlation string, m message) (answer, error) {
	if c.unfit != nil {
		return answer{}, c.unfit
	}
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	a, err := c.send(ctx, m)
	if err != nil {
		return answer{}, fmt.Errorf("%w: %w", tokens.ErrUnanswered, err)
	}
	echo := a.fields["correlationId"]
	switch {
	case echo != "" && echo != correlation:
		return answer{}, fmt.Errorf("%w: correlationId differs: %w", tokens.ErrUnanswered, billing.ErrMismatch)
	case a.fields == nil:
		err := a.bareStatus()
		if errors.Is(err, billing.ErrUnknown) {
			err = fmt.Errorf("%w: %w", tokens.ErrUnanswered, err)
		}
		return answer{}, err
	case a.result() == ResultError:
		e := a.asError(operation)
		e.explain()
		return answer{}, e
	}
	return a, nil
}

// explain says what an error of a token operation means to the owner of the token.
//
// Documented is that a session of another version, a new number under
// PRESERVE_6_4, and a number that another token has under UNIQUE_CARD are refused
// as INVALID_REQUEST or "an error"; which field and which words they come with is
// not verified. So the words only make a guess better, and each guess says
// "perhaps".
func (e *Error) explain() {
	words := strings.ToLower(e.Explanation)
	says := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(words, part) })
	}
	aboutNumber := strings.HasPrefix(e.Field, "sourceOfFunds.provided.card.number") || strings.HasPrefix(e.Field, "sourceOfFunds.provided.ach")
	const (
		keeps  = "a repository of PRESERVE_6_4 keeps each token's number for good: store the new card under a new token"
		unique = "a repository of unique cards (UNIQUE_CARD) allows each number under one token: use the token that has it"
	)
	switch {
	case e.Cause == CauseServerBusy || e.Cause == CauseServerFailed:
		e.Advice = "it may have been done: send the same request again in some minutes"
	case e.ValidationType == ValidationUnsupported:
		e.Refusal, e.Advice = tokens.RefusedRequest, "this version of the gateway does not have the field here: leave it out"
	case e.isAccountFault():
		e.Refusal, e.Advice = tokens.RefusedProfile, "the credentials or the merchant's profile do not allow it"
	case e.Cause != CauseInvalidRequest:
	case (e.Operation == opRetrieveToken || e.Operation == opDeleteToken) && (e.Field == "token" || e.Status == http.StatusNotFound):
		e.notFound = true
		e.Advice = "there is no such token"
	case e.Operation != opTokenize && e.Operation != opVerify:
		e.Refusal = tokens.RefusedRequest
	case e.Field == "session.version":
		e.Refusal, e.Advice = tokens.RefusedSessionChanged, "the session changed since this version was read: read it again"
	case says("session") && says("version"):
		e.Refusal, e.Advice = tokens.RefusedSessionChanged, "perhaps the session changed since its version was read: read it again"
	case says("session") && says("no_update", "not been updated", "no data", "empty"):
		e.Refusal, e.Advice = tokens.RefusedSessionEmpty, "perhaps the payer has entered nothing into the session yet"
	case e.Field == "session.id" || says("session"):
		e.Refusal, e.Advice = tokens.RefusedSessionExpired, "perhaps the session has expired, after about 15 minutes: open a new one"
	case aboutNumber && e.ValidationType == ValidationMissing:
		e.Refusal, e.Advice = tokens.RefusedSessionEmpty, "perhaps the payer has entered no number into the session yet"
	case says("preserve", "6.4", "first six", "first 6"):
		e.Refusal, e.Advice = tokens.RefusedNumberKept, "perhaps because "+keeps
	case says("unique", "already", "another token", "other token", "duplicate"):
		e.Refusal, e.Advice = tokens.RefusedCardTaken, "perhaps because "+unique
	case e.Operation == opTokenize && (aboutNumber || e.Field == "token"):
		e.Refusal, e.Advice = tokens.RefusedRequest, "perhaps because "+keeps+"; or because "+unique
	default:
		e.Refusal = tokens.RefusedRequest
	}
}
