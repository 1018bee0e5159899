package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
)

// A Generation says how tokens of the Mastercard Gateway's repository come to be.
type Generation string

const (
	GenerationRandom   Generation = "RANDOM_WITH_LUHN" // 9, fourteen digits, and Luhn's
	GenerationPreserve Generation = "PRESERVE_6_4"     // the card's first six and last four digits, and not Luhn's rule
	GenerationMerchant Generation = "MERCHANT_PROVIDED"
)

// A Management says how many tokens one card may have.
type Management string

const (
	ManagementUniqueToken Management = "UNIQUE_TOKEN" // any number
	ManagementUniqueCard  Management = "UNIQUE_CARD"  // one
)

var (
	allGenerations = []Generation{GenerationRandom, GenerationPreserve, GenerationMerchant}
	allManagements = []Management{ManagementUniqueToken, ManagementUniqueCard}
)

// repositoryID is the test twin of a repository called DEMO.
const repositoryID = "TestDEMO"

// A strategy is how the provider has set up the repository.
type strategy struct {
	Generation Generation `json:"generation"`
	Management Management `json:"management"`
}

// check returns what is wrong with a strategy.
func (s *strategy) check() error {
	if !slices.Contains(allGenerations, s.Generation) {
		return fmt.Errorf("generation is %q; it is one of %s", s.Generation, oneOf(allGenerations))
	}
	if !slices.Contains(allManagements, s.Management) {
		return fmt.Errorf("management is %q; it is one of %s", s.Management, oneOf(allManagements))
	}
	return nil
}

// The statuses of a token.
const (
	statusValid   = "VALID"
	statusInvalid = "INVALID"
)

// Why a token is INVALID.
const (
	byUpdater  = "ACCOUNT_UPDATER" // the scheme says that the details are dead
	byAcquirer = "ACQUIRER"        // its answer to a charge forbids further ones
	byScheme   = "SCHEME_TOKEN"    // the scheme's own token is dead
)

var allCauses = []string{byUpdater, byAcquirer, byScheme}

// Who changed a token last.
const (
	sourceClient  = "CLIENT"  // a merchant
	sourceGateway = "GATEWAY" // the account updater, or other maintenance
)

// A storedToken is a token as the ledger keeps it. One that was deleted stays, so
// that it is not taken for one that was stored elsewhere.
type storedToken struct {
	Token     string   `json:"token"`
	Account   *account `json:"account"`
	Status    string   `json:"status"`
	Cause     string   `json:"cause,omitempty"` // why it is INVALID
	Deleted   bool     `json:"deleted,omitempty"`
	Source    string   `json:"source"`
	UpdatedBy string   `json:"updated_by,omitempty"` // a merchant
	Updated   int64    `json:"updated"`              // Unix nanoseconds
	Used      int64    `json:"used,omitempty"`
	Strategy  string   `json:"verification_strategy,omitempty"`
}

// clone returns a token that can be changed without changing t.
func (t *storedToken) clone() *storedToken {
	c := *t
	if t.Account != nil {
		account := *t.Account
		c.Account = &account
	}
	return &c
}

// A tokenBook is the token repository. Its mutex is held over a whole operation
// on it, so that what was found still holds when it is changed.
type tokenBook struct {
	strict bool // only tokens that were stored here exist

	mu       sync.Mutex
	strategy strategy
	tokens   map[string]*storedToken
	byName   map[string][]string // tokens of an account, by its name
}

func newTokenBook(s strategy, strict bool) *tokenBook {
	return &tokenBook{strict: strict, strategy: s, tokens: make(map[string]*storedToken), byName: make(map[string][]string)}
}

// find returns a token, or nil. Unless the book is strict, what looks like a token
// and was never heard of is one that was stored elsewhere, and the end of its name
// says how it is. The lock is held.
func (b *tokenBook) find(token string) *storedToken {
	if t, stored := b.tokens[token]; stored {
		if t.Deleted {
			return nil
		}
		return t
	}
	ending := nvpEnding(token)
	if b.strict || ending == endingNotFound {
		return nil
	}
	t := &storedToken{Token: token, Account: importedAccount(token), Status: statusValid, Source: sourceClient}
	if ending == endingInvalid {
		t.Status, t.Cause = statusInvalid, byUpdater
	}
	return t
}

// get is find, with the lock taken.
func (b *tokenBook) get(token string) *storedToken {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t := b.find(token); t != nil {
		return t.clone()
	}
	return nil
}

// put puts a token in its place. The lock is held.
func (b *tokenBook) put(t *storedToken) {
	if old := b.tokens[t.Token]; old != nil && old.Account != nil {
		rest := slices.DeleteFunc(b.byName[old.Account.Name], func(token string) bool { return token == t.Token })
		b.byName[old.Account.Name] = rest
		if len(rest) == 0 {
			delete(b.byName, old.Account.Name)
		}
	}
	b.tokens[t.Token] = t
	if !t.Deleted && t.Account != nil {
		b.byName[t.Account.Name] = append(b.byName[t.Account.Name], t.Token)
	}
}

// recall takes a token from the ledger.
func (b *tokenBook) recall(detail []byte) error {
	t := new(storedToken)
	if err := json.Unmarshal(detail, t); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.put(t)
	return nil
}

// used notes that a token was charged, and marks one INVALID whose acquirer forbids
// to charge it again.
func (b *tokenBook) used(t *transaction) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if stored := b.tokens[t.Token]; stored != nil && !t.Advised {
		used := *stored
		used.Used = t.At
		b.tokens[t.Token] = &used
		return
	}
	if !t.Advised {
		return
	}
	if found := b.find(t.Token); found != nil {
		stopped := found.clone()
		stopped.Status, stopped.Cause, stopped.Source, stopped.UpdatedBy = statusInvalid, byAcquirer, sourceGateway, ""
		stopped.Updated, stopped.Used = t.At, t.At
		b.put(stopped)
	}
}

// holder returns a token of the account that is not the one named; empty if there
// is none. The lock is held.
func (b *tokenBook) holder(account *account, but string) string {
	for _, token := range b.byName[account.Name] {
		if token != but {
			return token
		}
	}
	return ""
}

var (
	errOtherNumber = errors.New("the repository preserves digits of the account number, so that a token keeps its number")
	errHasToken    = errors.New("the account number has another token, and the repository allows one")
)

// mayBecome returns why a token cannot stand for an account from now on. The lock
// is held.
func (b *tokenBook) mayBecome(t *storedToken, account *account) error {
	if t.Account.Name == account.Name {
		return nil
	}
	if b.strategy.Generation == GenerationPreserve {
		return errOtherNumber
	}
	return b.mayHave(account, t.Token)
}

// mayHave returns why an account cannot have a token. The lock is held.
func (b *tokenBook) mayHave(account *account, token string) error {
	if b.strategy.Management == ManagementUniqueCard && b.holder(account, token) != "" {
		return errHasToken
	}
	return nil
}

// name makes a token for an account that nobody has. The lock is held; seed and
// seq are where it comes from.
func (b *tokenBook) name(account *account, seed, seq uint64) string {
	for n := mix(seed + seq); ; n = mix(n + 1) {
		token := randomToken(n)
		if b.strategy.Generation == GenerationPreserve && account.Bank == nil {
			token = preservingToken(account.Number, n)
		}
		if _, taken := b.tokens[token]; !taken {
			return token
		}
	}
}

// randomToken is 9, fourteen digits of n, and the digit that Luhn's rule wants.
func randomToken(n uint64) string {
	digits := "9" + fmt.Sprintf("%014d", n%100_000_000_000_000)
	return digits + string(luhnDigit(digits))
}

// preservingToken keeps what a masked number shows, and breaks Luhn's rule.
func preservingToken(number string, n uint64) string {
	middle := len(number) - 10
	digits := fmt.Sprintf("%020d", n)
	for {
		token := number[:6] + digits[len(digits)-middle:] + number[len(number)-4:]
		if !isLuhn(token) {
			return token
		}
		last, _ := strconv.Atoi(digits[len(digits)-1:])
		digits = digits[:len(digits)-1] + strconv.Itoa((last+1)%10)
	}
}
