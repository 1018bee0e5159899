package mastercard

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/tokens"
)

var _ tokens.Vault = (*Repository)(nil)

// A Repository is the token repository of one merchant account as package tokens
// wants it.
type Repository struct{ client *Client }

// NewRepository returns the repository that a client's merchant account uses.
func NewRepository(c *Client) *Repository { return &Repository{client: c} }

// sessionLife is about how long a hosted session lives (Mastercard Gateway, Session
// basics).
const sessionLife = 15 * time.Minute

// Read implements tokens.Vault.
func (r *Repository) Read(ctx context.Context, ref tokens.Ref) (tokens.Reading, error) {
	stored, err := r.client.RetrieveToken(ctx, ref.Token)
	if err != nil {
		return tokens.Reading{}, asRefusal(err)
	}
	return stored.reading(), nil
}

// Verify implements tokens.Vault. ACQUIRER is a VERIFY on an order of its own, which
// the verification's key names; BASIC stores the token's own details again under
// it, which has them looked at. Before that the token is read: storing details anew
// may clear INVALID, which is for the shopper alone to do.
func (r *Repository) Verify(ctx context.Context, req tokens.VerifyRequest) (tokens.Verification, error) {
	switch req.Strategy {
	case tokens.StrategyAcquirer:
		return r.askIssuer(ctx, req)
	case tokens.StrategyBasic:
		now, err := r.client.RetrieveToken(ctx, req.Token)
		if err != nil {
			return tokens.Verification{}, asRefusal(err)
		}
		if now.Status == TokenInvalid {
			return tokens.Verification{Strategy: tokens.StrategyBasic, Result: tokens.VerificationDead, Code: string(TokenInvalid)}, nil
		}
		stored, err := r.client.Tokenize(ctx, TokenizeRequest{
			Token: req.Token, SourceToken: req.Token, SourceType: SourceCard, Strategy: tokens.StrategyBasic,
		})
		if err != nil {
			return tokens.Verification{}, asRefusal(err)
		}
		return stored.verification(tokens.StrategyBasic), nil
	}
	return tokens.Verification{Strategy: tokens.StrategyNone, Result: tokens.VerificationNone}, nil
}

func (r *Repository) askIssuer(ctx context.Context, req tokens.VerifyRequest) (tokens.Verification, error) {
	reply, err := r.client.Verify(ctx, VerifyRequest{
		OrderID: verifyOrder(req.Key), TransactionID: "1", Currency: req.Currency, Token: req.Token, MerchantInitiated: true, StoredOnFile: Stored,
	})
	if err != nil {
		return tokens.Verification{}, asRefusal(err)
	}
	v := tokens.Verification{Strategy: tokens.StrategyAcquirer, Code: reply.GatewayCode, Reason: reply.AcquirerMessage}
	switch {
	case reply.Approved:
		v.Result = tokens.VerificationPassed
	case reply.Result == ResultPending || reply.Result == ResultUnknown:
		v.Result = tokens.VerificationFailed
	default:
		v.Result = refusedVerification(reply)
	}
	return v, nil
}

// refusedVerification says what the refusal of a VERIFY means for the token: by the
// class that the same code has for a charge.
func refusedVerification(reply VerifyReply) tokens.VerificationResult {
	switch {
	case reply.GatewayCode == "EXPIRED_CARD":
		return tokens.VerificationExpired
	case strings.HasPrefix(reply.GatewayCode, "AUTHENTICATION_"), strings.HasPrefix(reply.GatewayCode, "DECLINED_AUTHENTICATION"):
		return tokens.VerificationNeedsShopper
	}
	switch reply.Class {
	case billing.DeclineTokenInvalid:
		return tokens.VerificationDead
	case billing.DeclineFraud:
		return tokens.VerificationBlocked
	case billing.DeclineTechnical, billing.DeclineConfig:
		return tokens.VerificationFailed
	case billing.DeclineSoft, billing.DeclineHard:
		return tokens.VerificationDeclined
	}
	return tokens.VerificationNotUnderstood
}

// verifyOrder is the order of a verification: within 40 characters, and never a
// charge's, since no reference of a charge holds a colon.
func verifyOrder(key string) string {
	return "verify:" + key[:min(len(key), maxOrderID-len("verify:"))]
}

// Save implements tokens.Vault by TOKENIZE.
func (r *Repository) Save(ctx context.Context, req tokens.SaveRequest) (tokens.Saved, error) {
	tokenize := TokenizeRequest{
		Token: req.Token, SessionID: req.SessionID, SessionVersion: req.SessionVersion, SourceType: SourceCard,
		Strategy: req.Strategy, Currency: req.Currency,
	}
	if a := req.ACH; a != nil {
		tokenize.SourceType, tokenize.ACH = SourceACH, ACH{
			AccountType: AccountType(a.AccountType), Holder: a.Holder, Number: a.AccountNumber,
			RoutingNumber: a.RoutingNumber, SECCode: SECCode(a.SECCode),
		}
	}
	stored, err := r.client.Tokenize(ctx, tokenize)
	if err != nil {
		return tokens.Saved{}, asRefusal(err)
	}
	return tokens.Saved{
		Token: cmp.Or(stored.Token, req.Token), Reading: stored.reading(), Verification: stored.verification(req.Strategy),
	}, nil
}

// OpenSession implements tokens.Vault. The session is empty: the shop's page fills it
// with what its shopper enters.
func (r *Repository) OpenSession(ctx context.Context, req tokens.SessionRequest) (tokens.Session, error) {
	opened, err := r.client.CreateSession(ctx, SessionRequest{})
	if err != nil {
		return tokens.Session{}, asRefusal(err)
	}
	return tokens.Session{ID: opened.ID, Version: opened.Version, Expires: time.Now().Add(sessionLife).UTC()}, nil
}

// Delete implements tokens.Vault.
func (r *Repository) Delete(ctx context.Context, ref tokens.Ref) error {
	if err := r.client.DeleteToken(ctx, ref.Token); err != nil && !errors.Is(err, tokens.ErrNotFound) {
		return asRefusal(err)
	}
	return nil
}

func (t StoredToken) reading() tokens.Reading {
	status := tokens.StatusUntold
	switch t.Status {
	case TokenValid:
		status = tokens.StatusValid
	case TokenInvalid:
		status = tokens.StatusInvalid
	}
	number := cmp.Or(t.Card.MaskedNumber, t.ACH.MaskedNumber)
	return tokens.Reading{Status: status, Details: tokens.Details{
		Brand: t.Card.Brand, Funding: t.Card.FundingMethod, LastFour: number[max(0, len(number)-4):], Expiry: t.Card.Expiry,
		Fingerprint: t.ACH.AccountIdentifier, ChangedAt: t.Updated.At, ChangedByGateway: t.Updated.Source == updatedByGateway,
	}}
}

// updatedByGateway is usage.lastUpdated.source of what an account updater or the
// maintenance of tokens changed (Mastercard Gateway, version 100).
const updatedByGateway = "GATEWAY"

func (t StoredToken) verification(asked tokens.Strategy) tokens.Verification {
	applied := t.Verification.Strategy
	if applied.UnmarshalText([]byte(applied)) != nil {
		applied = asked // not told, or a word of a later version
	}
	v := tokens.Verification{
		Strategy: applied, Code: t.Verification.GatewayCode, Result: tokens.ResultOf(t.Verification.GatewayCode),
	}
	if v.Code == "" && t.Result == ResultSuccess {
		v.Result = tokens.VerificationNone
	}
	return v
}

// asRefusal makes what the gateway refused a tokens.RefusedError, which people read;
// what means more than a refusal stays as it is.
func asRefusal(err error) error {
	var refused *Error
	if !errors.As(err, &refused) || errors.Is(err, tokens.ErrNotFound) || errors.Is(err, tokens.ErrUnanswered) {
		return err
	}
	text := refused.Explanation
	if refused.SupportCode != "" {
		text = strings.TrimSpace(text + " (support code " + refused.SupportCode + ")")
	}
	return &tokens.RefusedError{
		Refusal: cmp.Or(refused.Refusal, tokens.RefusedRequest), Field: refused.Field, Text: cmp.Or(text, refused.Advice, refused.Error()),
	}
}
