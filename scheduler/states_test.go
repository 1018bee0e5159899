package scheduler_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
	"github.com/contauth/contauth/tokens"
)

var update = flag.Bool("update", false, "write docs/state-machines.md and the golden files anew")

// statesFile is made here because this package sees the states of charges and
// subscriptions, too.
const statesFile = "../docs/state-machines.md"

// A machine is one of the drawings.
type machine struct {
	title, intro string
	source, kind string // the file and the type that the states are constants of
	constraint   string // by which the database knows them
	first        []string
	canMove      func(from, to string) bool
	moves        map[string]string // "from → to": who makes the move, and why
	outro        string
}

var machines = []machine{
	{
		title: "Charge",
		intro: "The money owed for one cycle of a subscription, or for one unscheduled request. Its row carries the open attempt: " +
			"a charge that is claimed, pending or unknown may be at the gateway.",
		source: "../billing/charge.go", kind: "ChargeState", constraint: "charge_state_is_whole",
		first:   []string{"due", "held", "waived"},
		canMove: func(from, to string) bool { return billing.ChargeState(from).CanMove(billing.ChargeState(to)) },
		moves: map[string]string{
			"due → claimed":   "a process leases it, to charge it now",
			"due → held":      "a person holds it, its subscription is paused, its token died, the catch-up policy or a blackout says so, or an outage outlasted guards.outage_limit",
			"due → cancelled": "a person cancels it, or its subscription",
			"due → waived":    "an import makes its amount zero, or the catch-up policy does not charge it",
			"due → paid":      "a person records that it was paid elsewhere, or a late answer says that it was authorised",

			"claimed → due":     "it was given back unsent, the gateway did not process it, or it was refused and will be tried again",
			"claimed → pending": "the gateway accepted it and tells the result later",
			"claimed → unknown": "no readable answer came, or the lease ran out",
			"claimed → paid":    "authorised",
			"claimed → unpaid":  "refused, and nothing will try it again by itself",
			"claimed → held":    "refused in a way that a person must look at, or a person's wish to hold it came in time",

			"unknown → paid":    "a replay, or a late answer, tells that it was authorised",
			"unknown → unpaid":  "a replay, or a late answer, tells that it was refused for good",
			"unknown → due":     "a replay, or a late answer, tells that it was refused for now",
			"unknown → held":    "a replay, or a late answer, tells that it was refused in a way that a person must look at",
			"unknown → pending": "a replay, or a late answer, tells that the gateway accepted it and tells the result later",

			"pending → paid":   "the result came: authorised",
			"pending → unpaid": "the result came: refused for good",
			"pending → due":    "the result came: refused for now",
			"pending → held":   "the result came: refused in a way that a person must look at",

			"held → due":       "a person releases it, its subscription goes on, or it has a good token again",
			"held → cancelled": "a person cancels it, or its subscription",
			"held → waived":    "an import makes its amount zero",
			"held → paid":      "a person records that it was paid elsewhere, or a late answer says that it was authorised",

			"unpaid → due":  "a person releases it, or there is a new card",
			"unpaid → paid": "a person records that it was paid elsewhere, or a webhook says that an earlier attempt was approved after all",
		},
		outro: `A refusal that is learnt late has the same consequences as one that is learnt at once. That is why an unknown or
pending charge may become held (its token died, say), and why an unknown one may become pending: the replay of a
lost request is answered like the request itself. Only the process that holds a lease may say that nothing was sent;
nobody says so of an unknown charge. A wish to hold or cancel a charge that may be at the gateway is kept on its row and
carried out in the statement that would make it due or held: it passes through that state unseen. Paid is never left:
refunds and disputes are amounts, not states.`,
	},
	{
		title:  "Subscription",
		intro:  "An agreement to charge repeatedly.",
		source: "../billing/subscription.go", kind: "SubscriptionState", constraint: "subscription_state_is_known",
		first: []string{"active", "completed"},
		canMove: func(from, to string) bool {
			return billing.SubscriptionState(from).CanMove(billing.SubscriptionState(to))
		},
		moves: map[string]string{
			"active → paused":    "a person pauses it, the shopper or the issuer objects to a charge of it, or its dates cannot be computed on this machine",
			"active → past_due":  "a charge of it is unpaid, and nothing will try it again by itself; no command of this version makes this move",
			"active → cancelled": "a person cancels it",
			"active → completed": "its last cycle became a charge",

			"paused → active":    "a person resumes it",
			"paused → past_due":  "a charge of it that was under way is unpaid; no command of this version makes this move",
			"paused → cancelled": "a person cancels it",
			"paused → completed": "its last cycle was accounted for",

			"past_due → active":    "what was unpaid is settled",
			"past_due → paused":    "a person pauses it",
			"past_due → cancelled": "a person cancels it",
			"past_due → completed": "its last cycle became a charge",

			"completed → active": "an import moves its end further away",
		},
		outro: `Cycles of a paused subscription are waived when they fall due, on record, except while its dates cannot be computed: those
are owed. A cancelled subscription never comes back; import a new one. No command of this version makes a subscription past due:
the state is there for the database and for those who read it, and its ways out are open.`,
	},
	{
		title:  "Token",
		intro:  "A stored payment method. Charges are sent with one that is unverified or valid, and never with another.",
		source: "../tokens/token.go", kind: "State", constraint: "token_state_is_known",
		first:   []string{"unverified", "valid"},
		canMove: func(from, to string) bool { return tokens.State(from).CanMove(tokens.State(to)) },
		moves: map[string]string{
			"unverified → valid":    "a verification by its issuer passed",
			"unverified → invalid":  "a refusal, the gateway's status or a verification says that its details are dead",
			"unverified → disabled": "a person switches it off, or it was removed at the gateway",

			"valid → invalid":  "a refusal, the gateway's status or a verification says that its details are dead",
			"valid → disabled": "a person switches it off, or it was removed at the gateway",

			"invalid → valid":    "its shopper entered other details, or the account updater renewed it",
			"invalid → disabled": "a person switches it off, or it was removed at the gateway",
		},
		outro: `With the move to invalid or disabled, in the same transaction, its charges that are due are held, and what is open is not sent
again. With the move back they are released, as ` + "`token_release`" + ` of the merchant account says. A disabled token is gone at its gateway.`,
	},
	{
		title:  "Run",
		intro:  "One batch of charges with a frozen manifest. Only items of a running run are ever claimed.",
		source: "run.go", kind: "RunState", constraint: "run_state_is_known",
		first:   []string{"planned", "awaiting_approval"},
		canMove: func(from, to string) bool { return scheduler.RunState(from).CanMove(scheduler.RunState(to)) },
		moves: map[string]string{
			"planned → running":           "somebody starts it",
			"planned → awaiting_approval": "somebody asks for an approval of its manifest",
			"planned → aborted":           "a person ends it before it begins",

			"awaiting_approval → planned": "a person approves the manifest's hash",
			"awaiting_approval → aborted": "a person refuses it",

			"running → paused":    "a person pauses it, or too much of its canary was declined",
			"running → completed": "every item is answered, open at the gateway, or has a reason why it was not charged",
			"running → aborted":   "a person ends it; what is claimed and unsent is given back",

			"paused → running": "a person resumes it",
			"paused → aborted": "a person ends it",
		},
		outro: "A run that its process left is still running: `contauth run resume` goes on with it. A run is completed although charges of it\n" +
			"wait for another attempt or for an answer; those belong to later runs and to the resolver.",
	},
}

func TestStateMachines(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# State machines

Every state and every legal move, made from the tables in the code by ` + "`go test ./scheduler -update`" + `. ` + "`contauth check`" + ` (I10)
compares them with what is on record.
`)
	for _, m := range machines {
		m.write(t, &b)
	}
	if *update {
		if err := os.MkdirAll(filepath.Dir(statesFile), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(statesFile, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(statesFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b.String(), string(got)); diff != "" {
		t.Errorf("%s is out of date; run go test ./scheduler -update (-code +file):\n%s", statesFile, diff)
	}
}

// The database and the code know the same words.
func TestStateMachines_areThoseOfTheDatabase(t *testing.T) {
	for _, m := range machines {
		var want []string
		for _, s := range m.states(t) {
			want = append(want, s.name)
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, m.statesOfDatabase(t)); diff != "" {
			t.Errorf("%s: states (-Go +SQL):\n%s", m.title, diff)
		}
	}
	var charges []string
	for _, s := range machines[0].states(t) {
		charges = append(charges, s.name)
	}
	var all []string
	for _, s := range billing.ChargeStates() {
		all = append(all, string(s))
	}
	if diff := cmp.Diff(charges, all); diff != "" {
		t.Errorf("billing.ChargeStates (-constants +list):\n%s", diff)
	}
}

func (m machine) statesOfDatabase(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../migrations/[0-9]*.sql")
	if err != nil {
		t.Fatal(err)
	}
	constraint := regexp.MustCompile(`CONSTRAINT ` + m.constraint + ` CHECK \((?:state IN \([^)]*\)|CASE state\n(?s:.*?)ELSE false END)\)`)
	var words []string
	for _, file := range files { // the newest migration that has it counts
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if found := constraint.Find(text); found != nil {
			words = nil
			for _, word := range regexp.MustCompile(`'(\w+)'`).FindAllSubmatch(found, -1) {
				words = append(words, string(word[1]))
			}
		}
	}
	slices.Sort(words)
	return words
}

// A state is one constant and the comment beside it.
type state struct{ name, meaning string }

// states reads the constants of the machine's type from the source.
func (m machine) states(t *testing.T) []state {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), m.source, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var states []state
	for _, decl := range file.Decls {
		group, ok := decl.(*ast.GenDecl)
		if !ok || group.Tok != token.CONST {
			continue
		}
		for _, spec := range group.Specs {
			value := spec.(*ast.ValueSpec)
			if kind, ok := value.Type.(*ast.Ident); !ok || kind.Name != m.kind {
				continue
			}
			name, err := strconv.Unquote(value.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			meaning := strings.TrimSpace(value.Comment.Text())
			if meaning == "" {
				t.Errorf("%s %s has no comment that says what it means", m.kind, name)
			}
			states = append(states, state{name, meaning})
		}
	}
	if len(states) < 2 {
		t.Fatalf("%s has no constants of type %s", m.source, m.kind)
	}
	return states
}

// write draws the machine and lists its states and moves.
func (m machine) write(t *testing.T, b *strings.Builder) {
	t.Helper()
	states := m.states(t)
	fmt.Fprintf(b, "\n## %s\n\n%s\n\n```mermaid\nstateDiagram-v2\n", m.title, m.intro)
	for _, s := range m.first {
		fmt.Fprintf(b, "    [*] --> %s\n", s)
	}
	var list strings.Builder
	known := 0
	for _, from := range states {
		leaves := false
		for _, to := range states {
			if !m.canMove(from.name, to.name) {
				continue
			}
			leaves = true
			move := from.name + " → " + to.name
			why, ok := m.moves[move]
			if !ok {
				t.Errorf("%s: the move %s has no words", m.title, move)
			}
			known++
			fmt.Fprintf(b, "    %s --> %s\n", from.name, to.name)
			fmt.Fprintf(&list, "- %s: %s\n", move, why)
		}
		if !leaves {
			fmt.Fprintf(b, "    %s --> [*]\n", from.name)
		}
	}
	if known != len(m.moves) {
		t.Errorf("%s: %d moves have words, but %d are legal", m.title, len(m.moves), known)
	}
	b.WriteString("```\n\n| state | meaning |\n| --- | --- |\n")
	for _, s := range states {
		fmt.Fprintf(b, "| `%s` | %s |\n", s.name, s.meaning)
	}
	fmt.Fprintf(b, "\n%s\n%s\n", list.String(), m.outro)
}
