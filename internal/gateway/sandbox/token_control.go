package sandbox

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

var errNoToken = &controlError{http.StatusNotFound, errors.New("there is no such token")}

// tokenState is what GET and POST /sandbox/tokens/{token} give.
type tokenState struct {
	Token     string    `json:"token"`
	Status    string    `json:"status"`
	Cause     string    `json:"cause"` // why it is INVALID
	Account   string    `json:"account"`
	Number    string    `json:"number"` // masked
	Expiry    string    `json:"expiry"` // MM/YY
	Brand     string    `json:"brand"`
	Source    string    `json:"source"` // of the last change: CLIENT or GATEWAY
	UpdatedBy string    `json:"updated_by"`
	Updated   time.Time `json:"updated"`
}

func stateOfToken(t *storedToken) tokenState {
	return tokenState{
		Token: t.Token, Status: t.Status, Cause: t.Cause, Account: t.Account.Name, Number: t.Account.Number, Expiry: t.Account.Expiry,
		Brand: t.Account.Brand, Source: t.Source, UpdatedBy: t.UpdatedBy, Updated: time.Unix(0, t.Updated).UTC(),
	}
}

// handleToken tells of a token what no gateway would: which card it is by name, and
// why it is INVALID.
func (m *mastercard) handleToken(w http.ResponseWriter, r *http.Request) error {
	t := m.tokens.get(r.PathValue("token"))
	if t == nil {
		return errNoToken
	}
	writeJSON(w, http.StatusOK, stateOfToken(t))
	return nil
}

// A tokenChange is what POST /sandbox/tokens/{token} takes; what is left out stays.
type tokenChange struct {
	Status string `json:"status"`
	Cause  string `json:"cause"`
	Card   string `json:"card"`
	Expiry string `json:"expiry"`
	Source string `json:"source"`
}

var expiryPattern = regexp.MustCompile(`^(0[1-9]|1[0-2])/[0-9]{2}$`)

// check returns what is wrong with a change by itself.
func (c *tokenChange) check() error {
	switch {
	case c.Status == "" && c.Card == "" && c.Expiry == "":
		return errors.New("the change needs status, card or expiry")
	case c.Status != "" && c.Status != statusValid && c.Status != statusInvalid:
		return fmt.Errorf("status is %q; it is %s or %s", c.Status, statusValid, statusInvalid)
	case c.Cause != "" && (c.Status != statusInvalid || !slices.Contains(allCauses, c.Cause)):
		return fmt.Errorf("cause is %q; with the status %s it is one of %s", c.Cause, statusInvalid, oneOf(allCauses))
	case c.Source != "" && c.Source != sourceGateway && c.Source != sourceClient:
		return fmt.Errorf("source is %q; it is %s or %s", c.Source, sourceGateway, sourceClient)
	}
	if c.Card != "" {
		if _, known := testCardNamed(c.Card); !known {
			return unknownCard(c.Card)
		}
	}
	return checkExpiry(c.Expiry)
}

func unknownCard(name string) error {
	return fmt.Errorf("card is %q; it is one of %s", name, strings.Join(testCardNames(), ", "))
}

func checkExpiry(expiry string) error {
	if expiry != "" && !expiryPattern.MatchString(expiry) {
		return fmt.Errorf("expiry is %q; it is a month such as 01/39", expiry)
	}
	return nil
}

// handleTokenChange changes a token as the account updater does, or an acquirer.
// Whoever plays them calls it; a second call changes it again.
func (m *mastercard) handleTokenChange(w http.ResponseWriter, r *http.Request) error {
	var change tokenChange
	if err := readJSON(r, &change); err != nil {
		return err
	}
	if err := change.check(); err != nil {
		return badRequest(err)
	}
	m.tokens.mu.Lock()
	defer m.tokens.mu.Unlock()
	found := m.tokens.find(r.PathValue("token"))
	if found == nil {
		return errNoToken
	}
	t := found.clone()
	if err := m.apply(&change, t); err != nil {
		return err
	}
	if err := m.keepToken(t); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, stateOfToken(t))
	return nil
}

// apply changes a token. New details make it VALID, unless the change says otherwise.
func (m *mastercard) apply(c *tokenChange, t *storedToken) error {
	t.Updated, t.Source, t.UpdatedBy = m.clock.now().UnixNano(), sourceGateway, ""
	if c.Source != "" {
		t.Source = c.Source
	}
	if card, known := testCardNamed(c.Card); known {
		account := card.account(t.Account.Expiry)
		if err := m.tokens.mayBecome(t, account); err != nil {
			return &controlError{http.StatusConflict, err}
		}
		t.Account = account
	}
	if c.Expiry != "" {
		t.Account.Expiry = c.Expiry
	}
	switch {
	case c.Status == statusInvalid:
		t.Status, t.Cause = statusInvalid, byUpdater
		if c.Cause != "" {
			t.Cause = c.Cause
		}
	default:
		t.Status, t.Cause = statusValid, ""
	}
	return nil
}
