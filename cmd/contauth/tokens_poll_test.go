package main

import (
	"fmt"
	"syscall"
	"testing"
)

// A daemon notices that a token became INVALID before it charges it, and says so.
func TestServe_readsTokens(t *testing.T) {
	w := newTokenWorld(t, "")
	token := w.addToken("shopper-1", "visa-1")
	w.charge("one", token)
	w.contauth(0, "charges", "hold", "one", "--reason", "nobody charges it meanwhile")
	w.gatewaySays(token.Token, `{"status": "INVALID"}`)
	if _, err := w.db.Exec(`UPDATE cards SET read_at = NULL`); err != nil {
		t.Fatal(err)
	}
	p := w.serve()
	p.awaitError("a token changed at its gateway")
	says(t, p.stderr.String(), fmt.Sprintf("token_id=%d", token.ID), "state=invalid")
	p.signal(syscall.SIGTERM)
	if code := p.wait(); code != exitDone {
		t.Errorf("exit %d\n%s", code, p.stderr.String())
	}
	says(t, w.contauth(0, "tokens", "show", fmt.Sprint(token.ID)), "the gateway's status is INVALID", "poll")
}
