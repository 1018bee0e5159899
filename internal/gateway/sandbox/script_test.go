package sandbox_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/internal/gateway/sandbox"
)

func TestParseScript(t *testing.T) {
	no := false
	want := []sandbox.Rule{
		{Match: sandbox.Match{Every: 10}, When: sandbox.WhenAfter, Do: sandbox.ActionReset, Times: 1},
		{Match: sandbox.Match{Reference: "sub-1~2"}, When: sandbox.WhenBefore, Do: sandbox.ActionStatus, Code: 503, Transient: &no},
		{Match: sandbox.Match{Token: "TK"}, When: sandbox.WhenBefore, Do: sandbox.ActionDelay, Wait: 250 * time.Millisecond},
	}
	yaml := `
# comments are fine
- match: {every: 10}
  when: after
  do: reset
  times: 1
- {match: {reference: sub-1~2}, do: status, code: 503, transient: false}
- {match: {token: TK}, when: before, do: delay, wait: 250ms}
`
	json := "[\t{\"match\": {\"every\": 10}, \"when\": \"after\", \"do\": \"reset\",\n\t\"times\": 1},\n" +
		`{"match": {"reference": "sub-1~2"}, "do": "status", "code": 503, "transient": false},` +
		`{"match": {"token": "TK"}, "when": "before", "do": "delay", "wait": "250ms"}]`
	for name, text := range map[string]string{"YAML": yaml, "JSON": json} {
		got, err := sandbox.ParseScript("faults.yaml", []byte(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if got, err := sandbox.ParseScript("", []byte("# nothing\n")); err != nil || got != nil {
		t.Errorf("an empty script = %v, %v", got, err)
	}
}

func TestParseScript_faultsAreNamedInOneLine(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"no list", "match: 1", "f.yaml: line 1: expected a list of rules"},
		{"an unknown field", "- {match: {every: 1}, do: reset}\n- {match: {every: 1}, doo: reset}", `f.yaml: line 2: entry 2: unknown field "doo"; known are match, when, do, code`},
		{"an unknown action", "- {match: {every: 1}, do: explode}", `entry 1: do is "explode"; it is one of refuse, result`},
		{"an unknown side", "- {match: {every: 1}, do: reset, when: during}", `when is "during"; it is one of before, after`},
		{"no action", "- {match: {every: 1}}", "do is missing; it is one of"},
		{"no match", "- {do: reset}", "match is missing; it needs reference, token or every"},
		{"two matches", "- {match: {every: 1, token: T}, do: reset}", "match has 2 fields; it needs one of"},
		{"an unknown match", "- {match: {amount: 1}, do: reset}", `unknown field match."amount"; known are reference, token, every`},
		{"every 0", "- {match: {every: 0}, do: reset}", `match.every is "0"; it is a whole number from 1`},
		{"a refusal without its code", "- {match: {every: 1}, do: refuse}", "code is missing; do: refuse needs the refusal code"},
		{"a code that is no number", "- {match: {every: 1}, do: refuse, code: twelve}", `code is "twelve"; it is a whole number`},
		{"a code of nothing", "- {match: {every: 1}, do: reset, code: 5}", "code is for refuse, status, redirect, not for reset"},
		{"a status out of range", "- {match: {every: 1}, do: status, code: 99}", "code is 99; do: status takes an HTTP status"},
		{"a field twice", "- {match: {every: 1}, do: reset, do: drop}", "do is there twice"},
		{"a delay without a wait", "- {match: {every: 1}, do: delay}", "wait is missing"},
		{"a wait of nothing", "- {match: {every: 1}, do: delay, wait: 0s}", `wait is "0s"; it is a duration above zero`},
		{"no YAML", "- {match: [", "f.yaml: line "},
		{"an entry that is a word", "- reset", "entry 1: expected fields"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := sandbox.ParseScript("f.yaml", []byte(tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error = %v\nwant one line with %s", err, tt.want)
			}
		})
	}
}

// FuzzParseScript looks for a script that breaks the parser, or makes an error
// that is not one line, or a rule that the parser itself would not take.
func FuzzParseScript(f *testing.F) {
	f.Add("- {match: {every: 10}, when: after, do: reset, times: 1}")
	f.Add(`[{"match": {"token": "TK"}, "do": "status", "code": 429, "retry_after": 2}]`)
	f.Add("- &a {match: {reference: r}, do: garbage, body: html}\n- *a")
	f.Fuzz(func(t *testing.T, text string) {
		rules, err := sandbox.ParseScript("f", []byte(text))
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("the error is not one line: %q", err)
			}
			return
		}
		for _, r := range rules {
			set := 0
			for _, is := range []bool{r.Match.Reference != "", r.Match.Token != "", r.Match.Every > 0} {
				if is {
					set++
				}
			}
			if set != 1 || r.Do == "" || r.When == "" {
				t.Errorf("a rule without a match, an action or a side: %+v", r)
			}
		}
	})
}
