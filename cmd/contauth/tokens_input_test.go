package main

import (
	"strings"
	"testing"
)

const (
	testSession = "SESSION0002034479234N2348753H12"
	testNumber  = "4111111111111111"
)

// What cannot be meant is one line that names the field, stores nothing and sends
// nothing.
func TestTokens_refuseBadInput(t *testing.T) {
	d := newTokenDesk(t)
	const (
		add        = "tokens add --merchant-account DemoMC --session " + testSession
		ach        = "tokens add --merchant-account DemoMC --shopper shopper-9 --ach -"
		open       = "tokens add --merchant-account DemoEU --shopper shopper-9 --currency EUR"
		reactivate = "tokens reactivate 4 --reason test"
	)
	tests := []struct {
		name, line string
		stdin      string
		field      string // that the error names
		never      string // what it must not repeat
	}{
		{name: "a shopper of two characters", line: add + " --shopper ab", field: "--shopper"},
		{name: "an e-mail address", line: add + " --shopper mia@example.com", field: "--shopper", never: "mia@"},
		{name: "an e-mail address at Adyen", line: "tokens add --merchant-account DemoEU --currency EUR --shopper mia@example.com", field: "--shopper", never: "mia@"},
		{name: "a card number for a shopper", line: add + " --shopper " + testNumber, field: "--shopper", never: testNumber},
		{name: "a card number for a token", line: add + " --shopper shopper-9 --token " + testNumber, field: "--token", never: testNumber},
		{name: "a card number for an account", line: "tokens add --shopper shopper-9 --merchant-account " + testNumber, field: "--merchant-account", never: testNumber},
		{name: "a card number for a currency", line: add + " --shopper shopper-9 --currency " + testNumber, field: "--currency", never: testNumber},
		{name: "a card number for a session", line: "tokens add --merchant-account DemoMC --shopper shopper-9 --session " + testNumber, field: "--session", never: testNumber},
		{name: "a card number for a reason", line: "tokens disable 2 --reason " + testNumber, field: "--reason", never: testNumber},
		{name: "a card number as a TOKEN", line: "tokens show " + testNumber, field: "TOKEN", never: testNumber},
		{name: "a shopper that is an e-mail address, to be forgotten", line: "tokens forget-shopper mia@example.com --reason test", field: "SHOPPER", never: "mia@"},
		{name: "an unknown strategy", line: add + " --shopper shopper-9 --verify GUESS", field: "--verify"},
		{name: "an unknown strategy of a verification", line: "tokens verify 2 --strategy GUESS", field: "--strategy"},
		{name: "a verification that verifies nothing", line: "tokens verify 2 --strategy NONE", field: "--strategy"},
		{name: "ACQUIRER without currency", line: add + " --shopper shopper-9 --verify ACQUIRER", field: "currency"},
		{name: "ACQUIRER without currency, of one token", line: "tokens verify 2 --strategy ACQUIRER", field: "currency"},
		{name: "ACQUIRER without currency, of many", line: "tokens verify --merchant-account DemoMC --strategy ACQUIRER", field: "currency"},
		{name: "ACQUIRER without currency, to reactivate", line: reactivate + " --verify ACQUIRER --session " + testSession, field: "currency"},
		{name: "a currency that is none", line: add + " --shopper shopper-9 --currency XXQ", field: "--currency"},
		{name: "a session that is too short", line: "tokens add --merchant-account DemoMC --shopper shopper-9 --session SESSION1", field: "--session"},
		{name: "no session", line: "tokens add --merchant-account DemoMC --shopper shopper-9", field: "--session"},
		{name: "a version of 9 characters", line: add + " --shopper shopper-9 --session-version 123456789", field: "--session-version"},
		{name: "a version of 11 characters", line: reactivate + " --session " + testSession + " --session-version 12345678901", field: "--session-version"},
		{name: "a version without a session", line: reactivate + " --session-version 1234567890", field: "--session-version"},
		{name: "to reactivate without a session", line: reactivate, field: "--session"},
		{name: "to reactivate what is valid", line: "tokens reactivate 2 --reason test --session " + testSession, field: "state"},
		{name: "to reactivate without a reason", line: "tokens reactivate 4 --session " + testSession, field: "--reason"},
		{name: "a session at Adyen", line: "tokens reactivate 1 --reason test --session " + testSession, field: "--session"},
		{name: "another shopper's token", line: add + " --shopper shopper-1 --token 9000000000000003", field: "token", never: "9000000000000003"},
		{name: "a token that is invalid", line: add + " --shopper shopper-1 --token 9000000000000004", field: "token"},
		{name: "another merchant account's token", line: "tokens verify 2 --merchant-account DemoEU", field: "TOKEN"},
		{name: "an account that is not there", line: "tokens add --merchant-account Elsewhere --shopper shopper-9", field: "--merchant-account"},
		{name: "no account", line: "tokens add --shopper shopper-9", field: "--merchant-account"},
		{name: "to replace by another shopper's", line: "tokens replace 4 3 --reason test", field: "different shoppers"},
		{name: "to replace by another account's", line: "tokens replace 4 1 --reason test", field: "merchant account"},
		{name: "to replace by an invalid one", line: "tokens replace 2 4 --reason test", field: "cannot be charged"},
		{name: "a flag of the other gateway", line: open + " --token name", field: "--token"},
		{name: "another flag of the other gateway", line: add + " --shopper shopper-9 --model Subscription", field: "--model"},
		{name: "an unknown model", line: open + " --model Sometimes", field: "--model"},
		{name: "an amount below zero", line: open + " --amount-minor -1", field: "--amount-minor"},
		{name: "no currency", line: "tokens add --merchant-account DemoEU --shopper shopper-9", field: "--currency"},
		{name: "no ACH account", line: ach, field: "--ach"},
		{name: "an ACH account without SEC code", line: ach, field: "sec_code",
			stdin: `{"account_type": "CONSUMER_CHECKING", "holder": "A Holder", "account_number": "000123456789", "routing_number": "021000021"}`, never: "000123456789"},
		{name: "an ACH account of an unknown type", line: ach, field: "account_type",
			stdin: `{"account_type": "CURRENT", "holder": "A Holder", "account_number": "000123456789", "routing_number": "021000021", "sec_code": "WEB"}`},
		{name: "an ACH account with a wrong routing number", line: ach, field: "routing_number",
			stdin: `{"account_type": "CONSUMER_CHECKING", "holder": "A Holder", "account_number": "000123456789", "routing_number": "021000022", "sec_code": "WEB"}`},
		{name: "an ACH account with a long number", line: ach, field: "account_number",
			stdin: `{"account_type": "CONSUMER_CHECKING", "holder": "A Holder", "account_number": "000123456789012345", "routing_number": "021000021", "sec_code": "WEB"}`, never: "000123456789012345"},
		{name: "an ACH account with a field too many", line: ach, field: "--ach",
			stdin: `{"account_number": "000123456789", "pin": "1234"}`, never: "000123456789"},
		{name: "an ACH account without end", line: ach, field: "--ach", stdin: `{"holder": "` + strings.Repeat("x", 10000) + `"}`},
		{name: "ACH and a session", line: ach + " --session " + testSession, field: "--ach"},
		{name: "no tokens to verify", line: "tokens verify", field: "TOKEN"},
		{name: "one token and many", line: "tokens verify 2 --unverified", field: "--unverified"},
		{name: "no rate", line: "tokens verify --unverified --rate 0", field: "--rate"},
		{name: "a time that is none", line: "tokens verify --due-within soon", field: "--due-within"},
		{name: "a time that lies behind", line: "tokens list --expiring=-3d", field: "--expiring"},
		{name: "a job that is not there", line: "tokens verify --job 7", field: "job 7"},
		{name: "a job with another strategy", line: "tokens verify --job 7 --strategy ACQUIRER", field: "--strategy"},
		{name: "an unknown state", line: "tokens list --state gone", field: "--state"},
	}
	before := d.stored()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d.stdin = tt.stdin
			stdout, stderr, code := d.types(tt.line)
			if code == exitDone || stdout != "" {
				t.Errorf("exit code %d, printed %q; want a refusal", code, stdout)
			}
			if strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, tt.field) {
				t.Errorf("told %q; want one line that names %q", stderr, tt.field)
			}
			if tt.never != "" && strings.Contains(stderr, tt.never) {
				t.Errorf("%q repeats what was typed", stderr)
			}
			if strings.Contains(stderr, "invalid invalid") || strings.Contains(stderr, "%!") {
				t.Errorf("badly worded: %q", stderr)
			}
			if after := d.stored(); after != before {
				t.Errorf("stored %s, before it was %s", after, before)
			}
			if n := d.sent.Load(); n != 0 {
				t.Errorf("%d requests were sent", n)
			}
		})
	}
}
