package sandbox_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/contauth/contauth/internal/gateway/sandbox"
)

// A held request is one that a test stopped.
type heldRequest struct {
	ID         string `json:"id"`
	Point      string `json:"point"`
	Arrived    bool   `json:"arrived"`
	Reference  string `json:"reference"`
	ClientGone bool   `json:"client_gone"`
}

func (g *gateway) hold(match, point string) heldRequest {
	g.t.Helper()
	a := g.control("POST", "/sandbox/holds", `{"match": `+match+`, "point": "`+point+`"}`)
	if a.status != http.StatusCreated {
		g.t.Fatalf("hold at %s: %d %s", point, a.status, a.body)
	}
	return g.readHold(a)
}

func (g *gateway) readHold(a answer) heldRequest {
	g.t.Helper()
	var h heldRequest
	if err := json.Unmarshal(a.body, &h); err != nil {
		g.t.Fatalf("hold: %v: %s", err, a.body)
	}
	return h
}

// payInBackground sends a charge; the channel gives what came of it.
func (g *gateway) payInBackground(ctx context.Context, key string, c charge) <-chan seen {
	body := c.bytes(g.t)
	got := make(chan seen, 1)
	go func() {
		a, err := g.post(ctx, key, body)
		got <- seen{a, err}
	}()
	return got
}

var points = []struct {
	point, match string
	acted        bool // a payment is made when the request is held there
}{
	{"connected", `{"every": 1}`, false},
	{"half_request", `{"every": 1}`, false},
	{"request_read", `{"reference": "ref"}`, false},
	{"acted", `{"token": "TK"}`, true},
	{"half_answer", `{"reference": "charge"}`, true},
}

func TestHolds_stopOneRequestUntilTheyEnd(t *testing.T) {
	for _, tt := range points {
		t.Run(tt.point, func(t *testing.T) {
			g := newGateway(t, sandbox.Options{})
			payer := clientOf(t, g.url) // with a connection of its own
			c := newCharge("ref", "TK").with("merchantOrderReference", "charge")
			h := g.hold(tt.match, tt.point)
			if h.Arrived {
				t.Fatal("a request is held before one was sent")
			}
			got := payer.payInBackground(context.Background(), "key", c)
			h = g.readHold(g.control("GET", "/sandbox/holds/"+h.ID+"?wait=20s", ""))
			if !h.Arrived {
				t.Fatal("the request did not come to the point")
			}
			g.checkLedger(t, "while the request is held", tt.acted, "Authorised")
			select {
			case s := <-got:
				t.Fatalf("the held request was answered: %d %v", s.status, s.err)
			default:
			}
			g.control("DELETE", "/sandbox/holds/"+h.ID, "")
			s := <-got
			sees(200, "Authorised")(t, s)
			if !json.Valid(s.body) {
				t.Errorf("the answer is not whole: %q", s.body)
			}
			if a := g.control("GET", "/sandbox/holds/"+h.ID, ""); a.status != http.StatusNotFound {
				t.Errorf("an ended hold is still there: %d", a.status)
			}
		})
	}
}

// TestHolds_aClientThatDiesWedgesNothing lets the client go while it is held.
// The gateway has, or makes, the payment all the same.
func TestHolds_aClientThatDiesWedgesNothing(t *testing.T) {
	for _, tt := range points {
		t.Run(tt.point, func(t *testing.T) {
			g := newGateway(t, sandbox.Options{})
			payer := clientOf(t, g.url)
			h := g.hold(tt.match, tt.point)
			ctx, die := context.WithCancel(context.Background())
			got := payer.payInBackground(ctx, "key", newCharge("ref", "TK").with("merchantOrderReference", "charge"))
			g.control("GET", "/sandbox/holds/"+h.ID+"?wait=20s", "")
			die()
			if s := <-got; s.err == nil {
				t.Fatal("the client did not die")
			}
			g.control("DELETE", "/sandbox/holds/"+h.ID, "")
			// Now another process asks again, with the same key and bytes.
			g.payUntilDone(t, "key", newCharge("ref", "TK").with("merchantOrderReference", "charge"))
			g.checkLedger(t, "in the end", true, "Authorised")
			if stats := g.stats(); stats.SameKeyOtherBody != 0 {
				t.Errorf("stats = %+v", stats)
			}
		})
	}
}

// payUntilDone sends a charge again while the gateway says that it works on it.
func (g *gateway) payUntilDone(t *testing.T, key string, c charge) answer {
	t.Helper()
	for {
		a := g.pay(key, c)
		if a.status != 422 || !bytes.Contains(a.body, []byte(`"704"`)) {
			sees(200, "Authorised")(t, seen{answer: a})
			return a
		}
	}
}

func TestHolds_aSecondRequestWithTheKeyIsToldToWait(t *testing.T) {
	g := newGateway(t, sandbox.Options{})
	c := newCharge("ref", "TK")
	h := g.hold(`{"reference": "ref"}`, "request_read")
	got := g.payInBackground(context.Background(), "key", c)
	h = g.readHold(g.control("GET", "/sandbox/holds/"+h.ID+"?wait=20s", ""))
	if h.Reference != "ref" {
		t.Errorf("held reference = %q, want ref", h.Reference)
	}
	if stats := g.stats(); stats.InFlight != 1 {
		t.Errorf("in_flight = %d, want 1", stats.InFlight)
	}
	seesTransient(422, "")(t, seen{answer: g.pay("key", c)})
	g.control("DELETE", "/sandbox/holds/"+h.ID, "")
	first := <-got
	if again := g.pay("key", c); !bytes.Equal(first.body, again.body) {
		t.Errorf("the two answers differ:\n%s\n%s", first.body, again.body)
	}
	if stats := g.stats(); stats.Payments != 1 || stats.DuplicateKeys != 2 || stats.SameKeyOtherBody != 0 {
		t.Errorf("stats = %+v, want 1 payment, 2 duplicate keys, no other body", stats)
	}
}

func TestHolds_wrongOnesAreRefused(t *testing.T) {
	g := newGateway(t, sandbox.Options{})
	for name, body := range map[string]string{
		"an unknown point":                `{"match": {"every": 1}, "point": "later"}`,
		"no match":                        `{"match": {}, "point": "acted"}`,
		"two matches":                     `{"match": {"every": 1, "token": "T"}, "point": "acted"}`,
		"a reference at the connection":   `{"match": {"reference": "r"}, "point": "connected"}`,
		"a reference at half the request": `{"match": {"reference": "r"}, "point": "half_request"}`,
		"an unknown field":                `{"match": {"every": 1}, "where": "acted"}`,
		"no JSON":                         `every: 1`,
	} {
		if a := g.control("POST", "/sandbox/holds", body); a.status != http.StatusBadRequest || a.json(t)["error"] == "" {
			t.Errorf("%s: %d %s, want 400 with an error", name, a.status, a.body)
		}
	}
	h := g.hold(`{"every": 1}`, "acted")
	if a := g.control("GET", "/sandbox/holds/"+h.ID+"?wait=soon", ""); a.status != http.StatusBadRequest {
		t.Errorf("wait=soon: %d", a.status)
	}
	if a := g.control("DELETE", "/sandbox/holds/99", ""); a.status != http.StatusNotFound {
		t.Errorf("a hold that is not there: %d", a.status)
	}
}
