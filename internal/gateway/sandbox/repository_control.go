package sandbox

import "net/http"

// handleRepository tells how the token repository is set up.
func (m *mastercard) handleRepository(w http.ResponseWriter, _ *http.Request) {
	m.tokens.mu.Lock()
	defer m.tokens.mu.Unlock()
	writeJSON(w, http.StatusOK, m.tokens.strategy)
}

// handleRepositorySet sets it up otherwise. Tokens that are stored stay as they are.
func (m *mastercard) handleRepositorySet(w http.ResponseWriter, r *http.Request) error {
	var to strategy
	if err := readJSON(r, &to); err != nil {
		return err
	}
	if err := to.check(); err != nil {
		return badRequest(err)
	}
	m.tokens.mu.Lock()
	defer m.tokens.mu.Unlock()
	m.tokens.strategy = to
	writeJSON(w, http.StatusOK, to)
	return nil
}
