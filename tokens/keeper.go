package tokens

import (
	"context"
	"errors"
	"fmt"
)

// A Store keeps tokens, their timeline, and what a change means for charges.
type Store interface {
	// ReadToken returns a token and what is known of its card.
	ReadToken(ctx context.Context, id ID) (Record, error)
	// TokenNamed returns the token that an account has under a gateway's name, and
	// whether it has one.
	TokenNamed(ctx context.Context, account, reference string) (Token, bool, error)
	// AddToken stores a token with its first event. If the account has it already for
	// the same shopper, it returns the one it has; for another shopper it is
	// ErrInvalid.
	AddToken(ctx context.Context, token Token, change Change) (Applied, error)
	// ApplyChange writes a change and, in the same transaction, holds the charges of a
	// token that can no longer be charged, or releases those that its invalidity held.
	ApplyChange(ctx context.Context, id ID, change Change) (Applied, error)
	// CountVerification takes the number of a token's next verification, before it is
	// asked for: no two have one number.
	CountVerification(ctx context.Context, id ID) (int, error)
}

// A Record is a token and what is known of it.
type Record struct {
	Token
	Details       Details
	ReturnURL     string // of the account's charges
	Subscriptions int    // that charge it
}

// An Account is a merchant account as tokens need it.
type Account struct {
	Vault    Vault
	Currency string // of ACQUIRER verifications that name none; may be empty
	Release  Release
	// Key makes the idempotency key of a token's verification, or of a session by
	// its reference.
	Key func(reference string, number int) string
}

// A Keeper does what the life of tokens needs at the gateways and writes it down.
// It is safe for many goroutines.
type Keeper struct {
	store    Store
	accounts map[string]Account
}

// NewKeeper returns a keeper of the tokens of some merchant accounts, by their ids.
func NewKeeper(store Store, accounts map[string]Account) *Keeper {
	return &Keeper{store: store, accounts: accounts}
}

func (k *Keeper) account(id string) (Account, error) {
	account, ok := k.accounts[id]
	if !ok {
		return Account{}, fmt.Errorf("%w merchant account: %s is not in the configuration", ErrInvalid, id)
	}
	return account, nil
}

// An Order is what a person asks of a token, and who it is.
type Order struct {
	Actor, Why string
	SessionID  string       // of a hosted session in which the shopper entered a card
	Version    string       // session.version, if it must not have changed
	ACH        *BankAccount // of Add, in place of a session
	Strategy   Strategy
	Currency   string // of StrategyAcquirer; empty takes the account's
}

func (o *Order) complete(a Account) error {
	if o.Strategy == StrategyAcquirer && o.Currency == "" {
		if o.Currency = a.Currency; o.Currency == "" {
			return fmt.Errorf("%w currency: an ACQUIRER verification needs one: give --currency, or set verification_currency for the account", ErrInvalid)
		}
	}
	return nil
}

// Add stores what a shopper entered into a session as a new token. reference is the
// token's name where the merchant chooses it, else empty; it may be no token's yet,
// since the gateway would put the new details in the place of that token's. Nothing
// is stored here unless the gateway may charge the token.
func (k *Keeper) Add(ctx context.Context, account, shopper, reference string, o Order) (Applied, Verification, error) {
	if err := ValidateShopperReference(shopper); err != nil {
		return Applied{}, Verification{}, err
	}
	a, err := k.account(account)
	if err != nil {
		return Applied{}, Verification{}, err
	}
	if err := o.complete(a); err != nil {
		return Applied{}, Verification{}, err
	}
	if reference != "" {
		if err := k.refuseTaken(ctx, account, shopper, reference); err != nil {
			return Applied{}, Verification{}, err
		}
	}
	method := DefaultPaymentMethod
	if o.ACH != nil {
		if err := o.ACH.Validate(); err != nil {
			return Applied{}, Verification{}, err
		}
		method = ACHPaymentMethod
	}
	saved, err := a.Vault.Save(ctx, SaveRequest{
		Token: reference, SessionID: o.SessionID, SessionVersion: o.Version, ACH: o.ACH, Strategy: o.Strategy, Currency: o.Currency,
	})
	if err != nil {
		return Applied{}, saved.Verification, err
	}
	if saved.Status == StatusInvalid || !saved.Verification.AllowsReactivation() {
		return Applied{}, saved.Verification, refusedCard(saved)
	}
	applied, err := k.store.AddToken(ctx, Token{
		MerchantAccount: account, ShopperReference: shopper, Reference: saved.Token,
		PaymentMethod: method, State: saved.Verification.Effect(Unverified),
	}, Change{
		Kind: EventCreated, Source: SourceSession, Actor: o.Actor, Why: o.Why, Details: &saved.Details, Verification: &saved.Verification,
	})
	return applied, saved.Verification, err
}

// refuseTaken refuses a name that a token cannot have, or that one has already.
func (k *Keeper) refuseTaken(ctx context.Context, account, shopper, reference string) error {
	if err := ValidateReference(reference); err != nil {
		return err
	}
	known, taken, err := k.store.TokenNamed(ctx, account, reference)
	switch {
	case err != nil || !taken:
		return err
	case known.ShopperReference != shopper:
		return fmt.Errorf("%w token: %s has this name and is another shopper's: a token is one shopper's for good", ErrInvalid, known)
	}
	return fmt.Errorf("%w token: %s has this name already, and is %s; an invalid one gets new details by its reactivation", ErrInvalid, known, known.State)
}

// refusedCard is the error of details that a gateway stored, or not, but would not
// charge.
func refusedCard(saved Saved) error {
	if saved.Verification.AllowsReactivation() {
		return &RefusedError{Refusal: RefusedRequest, Text: "the gateway keeps the token as INVALID: nothing can be charged with it"}
	}
	return &RefusedError{Refusal: RefusedRequest, Text: "the card " + saved.Verification.Result.Sentence()}
}

// Reactivate brings an invalid token back with the details of a session or, at a
// gateway whose tokens are renewed under their own id, by asking the issuer. The
// charges that its invalidity held are released in the same transaction.
func (k *Keeper) Reactivate(ctx context.Context, id ID, o Order) (Applied, Verification, error) {
	record, a, err := k.load(ctx, id)
	if err != nil {
		return Applied{}, Verification{}, err
	}
	if record.State != Invalid {
		return Applied{}, Verification{}, fmt.Errorf("%w state: %s is %s; only an invalid token is reactivated", ErrInvalid, record, record.State)
	}
	if err := o.complete(a); err != nil {
		return Applied{}, Verification{}, err
	}
	change := Change{Kind: EventReactivated, State: Valid, Source: SourceSession, Actor: o.Actor, Why: o.Why, Release: a.Release}
	var seen Verification
	if o.SessionID != "" {
		saved, err := a.Vault.Save(ctx, SaveRequest{
			Token: record.Reference, SessionID: o.SessionID, SessionVersion: o.Version, Strategy: o.Strategy, Currency: o.Currency,
		})
		if err != nil {
			return Applied{}, saved.Verification, err
		}
		seen = saved.Verification
		if saved.Status != StatusValid || !seen.AllowsReactivation() {
			return k.note(ctx, id, change, seen, refusedCard(saved))
		}
		change.Details, change.Detail = &saved.Details, changes(record.Details, saved.Details)
	} else {
		change.Source = SourceVerify
		reading, err := a.Vault.Read(ctx, record.ref())
		if err != nil {
			return Applied{}, seen, err
		}
		if reading.Status == StatusInvalid { // an issuer's yes would not help
			return k.note(ctx, id, change, seen, refusedCard(Saved{Reading: reading}))
		}
		if seen, err = k.verify(ctx, a, record, StrategyAcquirer, o.Currency); err != nil {
			return Applied{}, seen, err
		}
		if seen.Result != VerificationPassed {
			return k.note(ctx, id, change, seen, refusedCard(Saved{Reading: reading, Verification: seen}))
		}
		change.Details, change.Detail = &reading.Details, changes(record.Details, reading.Details)
	}
	change.Verification = &seen
	applied, err := k.store.ApplyChange(ctx, id, change)
	return applied, seen, err
}

// note keeps a verification that did not bring a token back, in place of the change
// that was wanted, and returns why.
func (k *Keeper) note(ctx context.Context, id ID, wanted Change, seen Verification, why error) (Applied, Verification, error) {
	kind := EventVerified
	if seen.Strategy == "" {
		kind = EventRead
	}
	applied, err := k.store.ApplyChange(ctx, id, Change{
		Kind: kind, Source: wanted.Source, Actor: wanted.Actor, Why: wanted.Why, Detail: why.Error(), Verification: &seen,
	})
	return applied, seen, errors.Join(why, err)
}

// Verify asks whether a token's card is good, and does to the token what the
// answer demands.
func (k *Keeper) Verify(ctx context.Context, id ID, o Order) (Applied, Verification, error) {
	record, a, err := k.load(ctx, id)
	if err != nil {
		return Applied{}, Verification{}, err
	}
	if err := o.complete(a); err != nil {
		return Applied{}, Verification{}, err
	}
	seen, err := k.verify(ctx, a, record, o.Strategy, o.Currency)
	if err != nil {
		return Applied{Token: record.Token}, seen, err
	}
	change := Change{Kind: EventVerified, Since: record.StateSince, Source: SourceVerify, Actor: o.Actor, Why: o.Why, Detail: string(seen.Result), Verification: &seen}
	if next := seen.Effect(record.State); next != record.State {
		change.State = next
		if next == Invalid {
			change.Kind, change.Cause = EventInvalid, "verification "+seen.Code
		}
	}
	applied, err := k.store.ApplyChange(ctx, id, change)
	return applied, seen, err
}

func (k *Keeper) verify(ctx context.Context, a Account, record Record, strategy Strategy, currency string) (Verification, error) {
	if strategy == StrategyNone {
		return Verification{Strategy: StrategyNone, Result: VerificationNone}, nil
	}
	number, err := k.store.CountVerification(ctx, record.ID)
	if err != nil {
		return Verification{}, err
	}
	return a.Vault.Verify(ctx, VerifyRequest{
		Ref: record.ref(), Strategy: strategy, Currency: currency, Number: number, Key: a.Key(record.Reference, number),
		PaymentMethod: record.PaymentMethod, ReturnURL: record.ReturnURL,
	})
}

// Refresh reads a token at its gateway and writes down what is new. A token that an
// account updater renewed comes back by itself: its shopper agreed to be charged,
// whatever number the bank prints on the card. It reports whether anything changed.
func (k *Keeper) Refresh(ctx context.Context, id ID) (Applied, bool, error) {
	record, a, err := k.load(ctx, id)
	if err != nil {
		return Applied{}, false, err
	}
	reading, err := a.Vault.Read(ctx, record.ref())
	if err != nil {
		return Applied{Token: record.Token}, false, err
	}
	change := Change{Kind: EventRead, Since: record.StateSince, Source: SourcePoll, Actor: "gateway", Details: &reading.Details, Detail: changes(record.Details, reading.Details)}
	switch {
	case reading.Status == StatusInvalid && record.State.Chargeable():
		change.Kind, change.State, change.Cause = EventInvalid, Invalid, "the gateway's status is INVALID"
	case reading.Status == StatusValid && record.State == Invalid && reading.Details.ChangedByGateway &&
		reading.Details.ChangedAt.After(record.StateSince):
		change.Kind, change.State, change.Detail = EventReactivated, Valid, "renewed by the account updater"
		change.Release = a.Release
	case change.Detail == "":
		return Applied{Token: record.Token}, false, nil
	}
	applied, err := k.store.ApplyChange(ctx, id, change)
	return applied, err == nil, err
}

// Disable switches a token off here and then removes it at its gateway. If the
// second fails, the token is off all the same, and Disable may be called again.
func (k *Keeper) Disable(ctx context.Context, id ID, o Order) (Applied, error) {
	record, a, err := k.load(ctx, id)
	if err != nil {
		return Applied{}, err
	}
	applied := Applied{Token: record.Token}
	if record.State != Disabled {
		change := Change{Kind: EventDisabled, State: Disabled, Cause: o.Why, Source: SourcePerson, Actor: o.Actor, Why: o.Why}
		if applied, err = k.store.ApplyChange(ctx, id, change); err != nil {
			return applied, err
		}
	}
	if err := a.Vault.Delete(ctx, record.ref()); err != nil && !errors.Is(err, ErrNotFound) {
		return applied, fmt.Errorf("%s is switched off here, and perhaps not removed at the gateway: %w", record, err)
	}
	return applied, nil
}

// OpenSession opens a session in which a shopper stores a payment method.
func (k *Keeper) OpenSession(ctx context.Context, account string, req SessionRequest) (Session, error) {
	if err := ValidateShopperReference(req.ShopperReference); err != nil {
		return Session{}, err
	}
	a, err := k.account(account)
	if err != nil {
		return Session{}, err
	}
	req.Key = a.Key(req.Reference, 1)
	return a.Vault.OpenSession(ctx, req)
}

func (k *Keeper) load(ctx context.Context, id ID) (Record, Account, error) {
	record, err := k.store.ReadToken(ctx, id)
	if err != nil {
		return Record{}, Account{}, err
	}
	a, err := k.account(record.MerchantAccount)
	return record, a, err
}

func (r Record) ref() Ref { return Ref{Token: r.Reference, ShopperReference: r.ShopperReference} }

// changes says for people what differs between two readings, or nothing.
func changes(before, after Details) string {
	switch {
	case before == (Details{}) && after.LastFour != "":
		return "first reading"
	case !before.Expiry.IsZero() && after.Expiry != before.Expiry && after.LastFour != before.LastFour:
		return "another card: …" + after.LastFour + ", expires " + after.Expiry.String()
	case before.LastFour != "" && after.LastFour != before.LastFour:
		return "another number: …" + after.LastFour
	case after.Expiry != before.Expiry:
		return "expires " + after.Expiry.String() + insteadOf(before.Expiry)
	case after.Brand != before.Brand || after.Funding != before.Funding || after.Fingerprint != before.Fingerprint:
		return "brand or funding"
	}
	return ""
}

func insteadOf(before Expiry) string {
	if before.IsZero() {
		return ""
	}
	return ", not " + before.String()
}
