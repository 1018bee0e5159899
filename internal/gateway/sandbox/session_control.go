package sandbox

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

var errNoSession = &controlError{http.StatusNotFound, errors.New("there is no such session")}

// sessionFill is what PUT /sandbox/sessions/{id} takes: the name of a card, perhaps
// with a full stop and what an acquirer says to it, such as visa-1.BLOCKED.
type sessionFill struct {
	Card         string `json:"card"`
	Expiry       string `json:"expiry"`
	SecurityCode string `json:"security_code"`
	Failed       bool   `json:"failed"` // the browser's update failed
}

// sessionState is what it gives.
type sessionState struct {
	ID      string `json:"id"`
	Version string `json:"version"`
	Status  string `json:"update_status"`
	Number  string `json:"number"` // masked
}

// handleSessionFill stands for the shopper who types a card into the merchant's
// page. A second call types another one.
func (m *mastercard) handleSessionFill(w http.ResponseWriter, r *http.Request) error {
	var fill sessionFill
	if err := readJSON(r, &fill); err != nil {
		return err
	}
	name, verification, _ := strings.Cut(fill.Card, ".")
	card, known := testCardNamed(name)
	if !known {
		return badRequest(unknownCard(name))
	}
	if verification != "" && !slices.Contains(allVerdictsOfCards, verification) {
		return badRequest(fmt.Errorf("card is %q; behind the full stop stands one of %s", fill.Card, oneOf(allVerdictsOfCards)))
	}
	if err := checkExpiry(fill.Expiry); err != nil {
		return badRequest(err)
	}
	s := m.sessions.get(r.PathValue("id"))
	if s == nil {
		return errNoSession
	}
	if s.expired(m.clock.now()) {
		return &controlError{http.StatusConflict, errors.New("the session has expired")}
	}
	if fill.Expiry == "" {
		fill.Expiry = goodExpiry
	}
	s.Account, s.SecurityCode, s.Verification, s.Status = card.account(fill.Expiry), fill.SecurityCode, verification, updateSuccess
	if fill.Failed {
		s.Status = updateFailure
	}
	if err := m.change(s); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, sessionState{s.ID, s.Version, s.Status, s.Account.Number})
	return nil
}
