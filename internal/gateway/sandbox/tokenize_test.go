package sandbox_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/internal/gateway/sandbox"
)

// shopper opens a session and types a card into it.
func (g *gateway) shopper(card string) fields {
	return g.shopperWith(`{"card": "` + card + `"}`)
}

// shopperWith opens a session and fills it, and returns its fields for a request.
func (g *gateway) shopperWith(fill string) fields {
	g.t.Helper()
	session := g.ask(asking("CREATE_SESSION", nil)).form(g.t)
	var state struct{ Version string }
	a := g.tell("PUT", "/sandbox/sessions/"+session["session.id"], fill)
	if err := json.Unmarshal(a.body, &state); err != nil {
		g.t.Fatal(err)
	}
	return fields{"session.id": session["session.id"], "session.version": state.Version}
}

// tokenize returns a request that stores the session's card; an empty token leaves
// its name to the gateway.
func tokenize(token string, session fields) fields {
	f := asking("TOKENIZE", session).with("sourceOfFunds.type", "CARD")
	return f.with("token", token)
}

// store stores a card and returns its token.
func (g *gateway) store(t *testing.T, token, card string) string {
	t.Helper()
	return g.expect(t, tokenize(token, g.shopper(card)), "SUCCESS BASIC_VERIFICATION_SUCCESSFUL")["token"]
}

func repository(generation sandbox.Generation, management sandbox.Management) sandbox.Options {
	return mastercard(sandbox.MastercardOptions{Generation: generation, Management: management, StrictTokens: true})
}

func TestTokenize_tellsAllThatIsKnown(t *testing.T) {
	g := newGateway(t, mastercard(sandbox.MastercardOptions{Generation: sandbox.GenerationMerchant, StrictTokens: true}))
	g.setClock("2027-01-31T09:00:00Z")
	got := g.expect(t, tokenize("MC0001", g.shopper("mastercard-1")).with("correlationId", "c"), "SUCCESS BASIC_VERIFICATION_SUCCESSFUL")
	want := fields{
		"correlationId": "c", "repositoryId": "TestDEMO", "response.gatewayCode": "BASIC_VERIFICATION_SUCCESSFUL", "result": "SUCCESS",
		"sandboxUnlistedField": got["sandboxUnlistedField"], "sourceOfFunds.provided.card.brand": "MASTERCARD",
		"sourceOfFunds.provided.card.expiry": "0139", "sourceOfFunds.provided.card.fundingMethod": "CREDIT",
		"sourceOfFunds.provided.card.issuer": "SANDBOX BANK", "sourceOfFunds.provided.card.number": "512345xxxxxx0008",
		"sourceOfFunds.provided.card.scheme": "MASTERCARD", "sourceOfFunds.type": "CARD", "status": "VALID", "token": "MC0001",
		"usage.lastUpdated.merchantId": "TESTDEMO", "usage.lastUpdated.source": "CLIENT", "usage.lastUpdated.time": "2027-01-31T09:00:00.000Z",
		"usage.lastUsedTime": "2027-01-31T09:00:00.000Z", "verificationStrategy": "BASIC",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	delete(want, "response.gatewayCode")
	delete(want, "correlationId")
	if diff := cmp.Diff(want, g.expect(t, asking("RETRIEVE_TOKEN", fields{"token": "MC0001"}), "SUCCESS")); diff != "" {
		t.Errorf("RETRIEVE_TOKEN (-want +got):\n%s", diff)
	}
}

func TestTokenize_theOldShapeOfUsage(t *testing.T) {
	g := newGateway(t, mastercard(sandbox.MastercardOptions{OldUsage: true, OnlyKnownFields: true}))
	g.setClock("2027-01-31T09:00:00Z")
	got := g.expect(t, tokenize("", g.shopper("visa-1")), "SUCCESS BASIC_VERIFICATION_SUCCESSFUL")
	const instant = "2027-01-31T09:00:00.000Z"
	if got["usage.lastUpdated"] != instant || got["usage.lastUpdatedBy"] != "TESTDEMO" || got["usage.lastUsed"] != instant || got["sandboxUnlistedField"] != "" {
		t.Errorf("answer = %v", got)
	}
}

func isLuhn(digits string) bool {
	sum := 0
	for i := range len(digits) {
		d := int(digits[len(digits)-1-i] - '0')
		if i%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}

func TestTokenize_namesHaveTheFormOfTheirGeneration(t *testing.T) {
	cards := map[string]string{"mastercard-1": "512345xxxxxx0008", "amex-1": "371881xxxxx8004", "diners-1": "301234xxxx0000", "maestro-1": "500000xxxxxxxxx0005"}
	for card, number := range cards {
		t.Run(card, func(t *testing.T) {
			random := newGateway(t, repository(sandbox.GenerationRandom, sandbox.ManagementUniqueToken))
			preserving := newGateway(t, repository(sandbox.GenerationPreserve, sandbox.ManagementUniqueToken))
			pattern := regexp.MustCompile("^" + number[:6] + "[0-9]*" + number[len(number)-4:] + "$")
			seen := map[string]bool{}
			for range 20 {
				r, p := random.store(t, "", card), preserving.store(t, "", card)
				if len(r) != 16 || r[0] != '9' || !isLuhn(r) {
					t.Errorf("RANDOM_WITH_LUHN gives %q", r)
				}
				if len(p) != len(number) || !pattern.MatchString(p) || isLuhn(p) {
					t.Errorf("PRESERVE_6_4 gives %q of %s", p, number)
				}
				if seen[r] || seen[p] {
					t.Errorf("%s or %s came twice", r, p)
				}
				seen[r], seen[p] = true, true
			}
		})
	}
	merchant := newGateway(t, repository(sandbox.GenerationMerchant, sandbox.ManagementUniqueToken))
	if got := merchant.store(t, "ourOwnName1", "visa-1"); got != "ourOwnName1" {
		t.Errorf("MERCHANT_PROVIDED gives %q", got)
	}
	merchant.expect(t, tokenize("", merchant.shopper("visa-1")), "INVALID_REQUEST token MISSING")
}

// Every cell of generation × management: what a repository makes of an update, and
// of one card that is stored twice.
func TestTokenize_whatARepositoryAllows(t *testing.T) {
	const refused = "INVALID_REQUEST sourceOfFunds.provided.card.number INVALID"
	const ok = "SUCCESS BASIC_VERIFICATION_SUCCESSFUL"
	tests := []struct {
		generation sandbox.Generation
		management sandbox.Management

		sameNumber, freeNumber, takenNumber string
		twice                               string // a card that is stored again: "another" token, the "same" one, or refused
	}{
		{sandbox.GenerationRandom, sandbox.ManagementUniqueToken, ok, ok, ok, "another"},
		{sandbox.GenerationRandom, sandbox.ManagementUniqueCard, ok, ok, refused, "same"},
		{sandbox.GenerationMerchant, sandbox.ManagementUniqueToken, ok, ok, ok, "another"},
		{sandbox.GenerationMerchant, sandbox.ManagementUniqueCard, ok, ok, refused, refused},
		{sandbox.GenerationPreserve, sandbox.ManagementUniqueToken, ok, refused, refused, "another"},
		{sandbox.GenerationPreserve, sandbox.ManagementUniqueCard, ok, refused, refused, "same"},
	}
	for _, tt := range tests {
		// begin makes a repository with two tokens.
		begin := func(t *testing.T) (g *gateway, first, second string) {
			g = newGateway(t, repository(tt.generation, tt.management))
			if tt.generation == sandbox.GenerationMerchant {
				return g, g.store(t, "first", "mastercard-1"), g.store(t, "second", "visa-1")
			}
			return g, g.store(t, "", "mastercard-1"), g.store(t, "", "visa-1")
		}
		t.Run(fmt.Sprintf("%s, %s", tt.generation, tt.management), func(t *testing.T) {
			for _, u := range []struct{ what, card, want string }{
				{"the same number", "mastercard-1", tt.sameNumber},
				{"a number of no other token", "amex-1", tt.freeNumber},
				{"a number of another token", "visa-1", tt.takenNumber},
			} {
				g, first, _ := begin(t)
				got := g.expect(t, tokenize(first, g.shopperWith(`{"card": "`+u.card+`", "expiry": "12/31"}`)), u.want)
				if u.want == ok && (got["token"] != first || got["sourceOfFunds.provided.card.expiry"] != "1231") {
					t.Errorf("%s: the update gives %v, want token %s", u.what, got, first)
				}
				state := g.token(first)
				if (state.Account == u.card && state.Expiry == "12/31") != (u.want == ok) {
					t.Errorf("%s: the token stands for %+v", u.what, state)
				}
			}
			g, _, second := begin(t)
			name, unknown := "", "INVALID_REQUEST token INVALID"
			if tt.generation == sandbox.GenerationMerchant {
				name, unknown = "third", ok
			}
			again := g.ask(tokenize(name, g.shopper("visa-1"))).form(t)
			switch {
			case tt.twice == "another" && (again["token"] == second || again["result"] != "SUCCESS"):
				t.Errorf("a card that is stored again gives %v, want another token than %s", again, second)
			case tt.twice == "same" && again["token"] != second:
				t.Errorf("a card that is stored again gives %v, want its token %s", again, second)
			case tt.twice == refused && again.gist() != refused:
				t.Errorf("a card that is stored again gives %s, want %s", again.gist(), refused)
			}
			g.expect(t, tokenize("neverHeardOf", g.shopper("jcb-1")), unknown)
		})
	}
}

// A tokenState is what the sandbox's control says of a token.
type tokenState struct {
	Token, Status, Cause, Account, Number, Expiry, Brand, Source string
}

func (g *gateway) token(token string) tokenState {
	g.t.Helper()
	var state tokenState
	if err := json.Unmarshal(g.tell("GET", "/sandbox/tokens/"+token, "").body, &state); err != nil {
		g.t.Fatal(err)
	}
	return state
}

func TestRepository_isSetUpOtherwiseWhileItRuns(t *testing.T) {
	g := newGateway(t, sandbox.Options{})
	if got := string(g.tell("GET", "/sandbox/repository", "").body); got != `{"generation":"RANDOM_WITH_LUHN","management":"UNIQUE_TOKEN"}`+"\n" {
		t.Errorf("at first it is %s", got)
	}
	g.tell("PUT", "/sandbox/repository", `{"generation": "PRESERVE_6_4", "management": "UNIQUE_CARD"}`)
	first := g.store(t, "", "visa-1")
	if !strings.HasPrefix(first, "450875") || g.store(t, "", "visa-1") != first {
		t.Errorf("the token is %s", first)
	}
	for _, body := range []string{`{"generation": "RANDOM", "management": "UNIQUE_CARD"}`, `{"generation": "RANDOM_WITH_LUHN"}`, `{"strategy": "x"}`} {
		if a := g.control("PUT", "/sandbox/repository", body); a.status != 400 {
			t.Errorf("%s: %d %s, want 400", body, a.status, a.body)
		}
	}
}

func TestTokenize_everyVerificationCanBeHad(t *testing.T) {
	const prefix = "EXTERNAL_VERIFICATION_"
	tests := []struct{ name, fill, strategy, want string }{
		{"none", `{"card": "visa-1"}`, "NONE", "SUCCESS NO_VERIFICATION_PERFORMED"},
		{"basic", `{"card": "visa-1.BLOCKED"}`, "BASIC", "SUCCESS BASIC_VERIFICATION_SUCCESSFUL"},
		{"the profile's", `{"card": "visa-1"}`, "", "SUCCESS BASIC_VERIFICATION_SUCCESSFUL"},
		{"good", `{"card": "visa-1"}`, "ACQUIRER", "SUCCESS " + prefix + "SUCCESSFUL"},
		{"good by name", `{"card": "visa-1.SUCCESSFUL", "expiry": "05/39"}`, "ACQUIRER", "SUCCESS " + prefix + "SUCCESSFUL"},
		{"declined by name", `{"card": "visa-1.DECLINED"}`, "ACQUIRER", "FAILURE " + prefix + "DECLINED"},
		{"declined by expiry", `{"card": "visa-1", "expiry": "05/39"}`, "ACQUIRER", "FAILURE " + prefix + "DECLINED"},
		{"expired by name", `{"card": "visa-1.DECLINED_EXPIRED_CARD"}`, "ACQUIRER", "FAILURE " + prefix + "DECLINED_EXPIRED_CARD"},
		{"expired by expiry", `{"card": "visa-1", "expiry": "04/27"}`, "ACQUIRER", "FAILURE " + prefix + "DECLINED_EXPIRED_CARD"},
		{"a wrong code by name", `{"card": "visa-1.DECLINED_INVALID_CSC"}`, "ACQUIRER", "FAILURE " + prefix + "DECLINED_INVALID_CSC"},
		{"a wrong code typed", `{"card": "visa-1", "security_code": "102"}`, "ACQUIRER", "FAILURE " + prefix + "DECLINED_INVALID_CSC"},
		{"a right code typed", `{"card": "visa-1", "security_code": "100"}`, "ACQUIRER", "SUCCESS " + prefix + "SUCCESSFUL"},
		{"the payer is wanted", `{"card": "visa-1.DECLINED_AUTHENTICATION_REQUIRED"}`, "ACQUIRER", "FAILURE " + prefix + "DECLINED_AUTHENTICATION_REQUIRED"},
		{"blocked", `{"card": "visa-1.BLOCKED"}`, "ACQUIRER", "FAILURE " + prefix + "BLOCKED"},
		{"trouble by name", `{"card": "visa-1.PROCESSING_ERROR"}`, "ACQUIRER", "FAILURE " + prefix + "PROCESSING_ERROR"},
		{"trouble by expiry", `{"card": "visa-1", "expiry": "01/37"}`, "ACQUIRER", "FAILURE " + prefix + "PROCESSING_ERROR"},
		{"unknown", `{"card": "visa-1", "expiry": "05/37"}`, "ACQUIRER", "UNKNOWN " + prefix + "PROCESSING_ERROR"},
	}
	for _, store := range []bool{false, true} {
		t.Run(fmt.Sprintf("a card that fails is stored: %t", store), func(t *testing.T) {
			for _, tt := range tests {
				g := newGateway(t, mastercard(sandbox.MastercardOptions{Generation: sandbox.GenerationMerchant, StrictTokens: true, StoreDeclined: store}))
				g.setClock("2026-06-01T12:00:00Z")
				f := tokenize("MC1", g.shopperWith(tt.fill)).with("transaction.currency", "EUR").with("verificationStrategy", tt.strategy)
				got := g.expect(t, f, tt.want)
				stored := store || got["result"] == "SUCCESS"
				if want := map[bool]string{true: "SUCCESS", false: "INVALID_REQUEST token INVALID"}[stored]; stored != (got["token"] == "MC1") {
					t.Errorf("%s: the answer is %v", tt.name, got)
				} else {
					g.expect(t, asking("RETRIEVE_TOKEN", fields{"token": "MC1"}), want)
				}
			}
		})
	}
}

func TestTokenize_anAcquirerNeedsACurrency(t *testing.T) {
	g := newGateway(t, mastercard(sandbox.MastercardOptions{Verification: "ACQUIRER"}))
	f := tokenize("", g.shopper("visa-1"))
	g.expect(t, f, "INVALID_REQUEST transaction.currency MISSING")
	g.expect(t, f.with("transaction.currency", "EUR"), "SUCCESS EXTERNAL_VERIFICATION_SUCCESSFUL")
	g.expect(t, f.with("verificationStrategy", "BASIC"), "SUCCESS BASIC_VERIFICATION_SUCCESSFUL")
}

func TestTokenize_theLifeOfASession(t *testing.T) {
	g := newGateway(t, sandbox.Options{})
	g.setClock("2027-01-31T09:00:00Z")
	session := g.expect(t, asking("CREATE_SESSION", fields{"session.authenticationLimit": "25"}), "SUCCESS")
	id := session["session.id"]
	if len(id) < 31 || len(id) > 35 || len(session["session.version"]) != 10 || len(session["session.aes256Key"]) != 44 ||
		session["session.updateStatus"] != "NO_UPDATE" || session["session.authenticationLimit"] != "25" {
		t.Errorf("CREATE_SESSION gives %v", session)
	}
	f := tokenize("MC1", fields{"session.id": id})
	g.expect(t, f, "INVALID_REQUEST sourceOfFunds.provided.card.number MISSING") // nothing was typed
	g.expect(t, f.with("session.id", strings.Repeat("S", 31)), "INVALID_REQUEST session.id INVALID")
	g.expect(t, f.with("session.id", "short"), "INVALID_REQUEST session.id INVALID")

	g.tell("PUT", "/sandbox/sessions/"+id, `{"card": "visa-1", "failed": true}`)
	g.expect(t, f, "INVALID_REQUEST sourceOfFunds.provided.card.number INVALID") // the browser's update failed
	g.tell("PUT", "/sandbox/sessions/"+id, `{"card": "visa-1"}`)
	read := g.expect(t, asking("RETRIEVE_SESSION", fields{"session.id": id}), "SUCCESS")
	if read["session.updateStatus"] != "SUCCESS" || read["session.version"] == session["session.version"] || read["session.aes256Key"] != "" ||
		read["sourceOfFunds.provided.card.number"] != "450875xxxxxx1019" {
		t.Errorf("RETRIEVE_SESSION gives %v", read)
	}
	versioned := f.with("session.version", read["session.version"])
	g.expect(t, versioned, "SUCCESS BASIC_VERIFICATION_SUCCESSFUL")
	changed := g.expect(t, asking("UPDATE_SESSION", fields{"session.id": id, "session.version": read["session.version"], "order.amount": "19.99", "order.currency": "EUR"}), "SUCCESS")
	if changed["order.amount"] != "19.99" || changed["session.version"] == read["session.version"] {
		t.Errorf("UPDATE_SESSION gives %v", changed)
	}
	g.expect(t, versioned, "INVALID_REQUEST session.version INVALID") // it has changed since
	g.expect(t, asking("UPDATE_SESSION", fields{"session.id": id, "session.version": read["session.version"]}), "INVALID_REQUEST session.version INVALID")
	g.expect(t, f.with("merchant", "TESTOTHER").with("apiUsername", "merchant.TESTOTHER"), "INVALID_REQUEST session.id INVALID")

	g.setClock("2027-01-31T09:14:59.999Z")
	g.expect(t, f, "SUCCESS BASIC_VERIFICATION_SUCCESSFUL") // several requests, in its time
	g.setClock("2027-01-31T09:15:00Z")
	g.expect(t, f, "INVALID_REQUEST session.id INVALID")
	g.expect(t, asking("RETRIEVE_SESSION", fields{"session.id": id}), "INVALID_REQUEST session.id INVALID")
	if a := g.control("PUT", "/sandbox/sessions/"+id, `{"card": "visa-1"}`); a.status != 409 {
		t.Errorf("a card for an expired session: %d", a.status)
	}
}

func TestSessions_wrongFillsAreRefused(t *testing.T) {
	g := newGateway(t, sandbox.Options{})
	id := g.ask(asking("CREATE_SESSION", nil)).form(t)["session.id"]
	for body, want := range map[string]int{
		`{"card": "5123450000000008"}`: 400, `{"card": ""}`: 400, `{"card": "visa-9"}`: 400, `{"card": "visa-1.MAYBE"}`: 400,
		`{"card": "visa-1", "expiry": "13/39"}`: 400, `{"number": "1"}`: 400, `{"card": "visa-1"}`: 200,
	} {
		if a := g.control("PUT", "/sandbox/sessions/"+id, body); a.status != want {
			t.Errorf("%s: %d %s, want %d", body, a.status, a.body, want)
		}
	}
	if a := g.control("PUT", "/sandbox/sessions/none", `{"card": "visa-1"}`); a.status != 404 {
		t.Errorf("a session that is not there: %d", a.status)
	}
}

func TestPay_withASession(t *testing.T) {
	g := newGateway(t, sandbox.Options{})
	for card, want := range map[string]string{
		"visa-1": "SUCCESS APPROVED", "visa-1.DECLINED_AUTHENTICATION_REQUIRED": "FAILURE AUTHENTICATION_FAILED", "visa-1.BLOCKED": "FAILURE BLOCKED",
	} {
		pay := newPay(card, "1", "").with("sourceOfFunds.token", "").with("transaction.source", "INTERNET").
			with("sourceOfFunds.provided.card.storedOnFile", "TO_BE_STORED").with("session.id", g.shopper(card)["session.id"])
		got := g.expect(t, pay, want)
		if got["sourceOfFunds.provided.card.number"] != "450875xxxxxx1019" || got["sourceOfFunds.provided.card.storedOnFile"] != "TO_BE_STORED" {
			t.Errorf("%s: the card is %v", card, got)
		}
	}
}

func TestTokenize_detailsFromElsewhere(t *testing.T) {
	g := newGateway(t, sandbox.Options{})
	first := g.store(t, "", "visa-1")
	expiry := fields{"sourceOfFunds.type": "CARD", "sourceOfFunds.provided.card.expiry.month": "5", "sourceOfFunds.provided.card.expiry.year": "39"}

	got := g.expect(t, asking("TOKENIZE", expiry).with("token", first), "SUCCESS BASIC_VERIFICATION_SUCCESSFUL")
	if got["sourceOfFunds.provided.card.expiry"] != "0539" || got["sourceOfFunds.provided.card.number"] != "450875xxxxxx1019" {
		t.Errorf("a new expiry date gives %v", got)
	}
	got = g.expect(t, asking("TOKENIZE", fields{"sourceOfFunds.type": "CARD", "sourceOfFunds.token": first}), "SUCCESS BASIC_VERIFICATION_SUCCESSFUL")
	if got["token"] == first || got["sourceOfFunds.provided.card.number"] != "450875xxxxxx1019" {
		t.Errorf("another token of it is %v", got)
	}
	session := g.shopper("amex-1")
	for name, value := range expiry {
		session[name] = value
	}
	got = g.expect(t, asking("TOKENIZE", session), "SUCCESS BASIC_VERIFICATION_SUCCESSFUL")
	if got["sourceOfFunds.provided.card.expiry"] != "0539" || got["sourceOfFunds.provided.card.brand"] != "AMEX" {
		t.Errorf("what stands in the request goes before the session: %v", got)
	}
	read := g.expect(t, asking("RETRIEVE_SESSION", fields{"session.id": session["session.id"]}), "SUCCESS")
	if read["sourceOfFunds.provided.card.expiry.year"] != "39" || read["sourceOfFunds.provided.card.expiry.month"] != "1" {
		t.Errorf("the session has changed: %v", read)
	}
	g.expect(t, asking("TOKENIZE", fields{"sourceOfFunds.type": "CARD"}), "INVALID_REQUEST sourceOfFunds.provided.card.number MISSING")
	g.expect(t, asking("TOKENIZE", nil), "INVALID_REQUEST sourceOfFunds.type MISSING")
	g.expect(t, asking("TOKENIZE", fields{"sourceOfFunds.type": "CARD", "token": first}), "INVALID_REQUEST sourceOfFunds.provided.card.number MISSING")
	g.expect(t, asking("TOKENIZE", fields{"sourceOfFunds.type": "CARD", "sourceOfFunds.token": "xNOTFOUND"}), "INVALID_REQUEST sourceOfFunds.token INVALID")
	g.expect(t, tokenize(first, g.shopper("visa-1")).with("responseControls.sensitiveData", "UNMASK"), "INVALID_REQUEST responseControls.sensitiveData INVALID")
	g.expect(t, asking("RETRIEVE_TOKEN", fields{"token": first, "responseControls.sensitiveData": "UNMASK"}), "INVALID_REQUEST responseControls.sensitiveData INVALID")
}

func TestTokenize_bankAccounts(t *testing.T) {
	const ach = "sourceOfFunds.provided.ach."
	g := newGateway(t, repository(sandbox.GenerationRandom, sandbox.ManagementUniqueCard))
	f := asking("TOKENIZE", fields{
		"sourceOfFunds.type": "ACH", ach + "accountType": "CONSUMER_CHECKING", ach + "bankAccountHolder": "A. Name",
		ach + "bankAccountNumber": "1234567890", ach + "routingNumber": "026009593", ach + "secCode": "PPD",
	})
	got := g.expect(t, f, "SUCCESS BASIC_VERIFICATION_SUCCESSFUL")
	if got[ach+"bankAccountNumber"] != "xxxxxx7890" || got["sourceOfFunds.type"] != "ACH" || got[ach+"accountIdentifier"] == "" || len(got["token"]) != 16 {
		t.Errorf("answer = %v", got)
	}
	if again := g.expect(t, f, "SUCCESS BASIC_VERIFICATION_SUCCESSFUL"); again["token"] != got["token"] {
		t.Errorf("the same account has the tokens %s and %s", got["token"], again["token"])
	}
	if other := g.expect(t, f.with(ach+"bankAccountNumber", "1234567891"), "SUCCESS BASIC_VERIFICATION_SUCCESSFUL"); other["token"] == got["token"] {
		t.Error("two accounts have one token")
	}
	if short := g.expect(t, f.with(ach+"bankAccountNumber", "42"), "SUCCESS BASIC_VERIFICATION_SUCCESSFUL"); short[ach+"bankAccountNumber"] != "x2" {
		t.Errorf("a short number is shown as %s", short[ach+"bankAccountNumber"])
	}
	for name, want := range map[string]string{
		"accountType": "MISSING", "bankAccountHolder": "MISSING", "bankAccountNumber": "MISSING", "routingNumber": "MISSING", "secCode": "MISSING",
	} {
		g.expect(t, f.with(ach+name, ""), "INVALID_REQUEST "+ach+name+" "+want)
	}
	g.expect(t, f.with(ach+"routingNumber", "12345678"), "INVALID_REQUEST "+ach+"routingNumber INVALID")
	paid := g.expect(t, newPay("order", "1", got["token"]).with("sourceOfFunds.type", "ACH"), "SUCCESS APPROVED")
	if paid[ach+"bankAccountNumber"] != "xxxxxx7890" || strings.Contains(fmt.Sprint(paid), "1234567890") {
		t.Errorf("a payment shows %v", paid)
	}
}

func TestDeleteToken_isFinal(t *testing.T) {
	for name, strict := range map[string]bool{"strict": true, "not strict": false} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t, mastercard(sandbox.MastercardOptions{StrictTokens: strict}))
			token := g.store(t, "", "visa-1")
			g.expect(t, newPay("order", "1", token), "SUCCESS APPROVED")
			g.expect(t, asking("DELETE_TOKEN", fields{"token": token}), "SUCCESS")
			for _, f := range []fields{asking("DELETE_TOKEN", fields{"token": token}), asking("RETRIEVE_TOKEN", fields{"token": token}), tokenize(token, g.shopper("visa-1"))} {
				g.expect(t, f, "INVALID_REQUEST token INVALID")
			}
			g.expect(t, newPay("order", "2", token), "INVALID_REQUEST sourceOfFunds.token INVALID")
			if again := g.store(t, "", "visa-1"); again == token {
				t.Error("the card has its old token again")
			}
		})
	}
}

func TestTokens_neverHeardOf(t *testing.T) {
	g := newGateway(t, sandbox.Options{})
	got := g.expect(t, asking("RETRIEVE_TOKEN", fields{"token": "MC0001"}), "SUCCESS")
	if got["status"] != "VALID" || got["sourceOfFunds.provided.card.expiry"] != "0139" {
		t.Errorf("a token that was stored elsewhere is %v", got)
	}
	g.expect(t, asking("RETRIEVE_TOKEN", fields{"token": "MC0001xNOTFOUND"}), "INVALID_REQUEST token INVALID")
	strict := newGateway(t, mastercard(sandbox.MastercardOptions{StrictTokens: true}))
	strict.expect(t, asking("RETRIEVE_TOKEN", fields{"token": "MC0001"}), "INVALID_REQUEST token INVALID")
	strict.expect(t, newPay("order", "1", "MC0001"), "INVALID_REQUEST sourceOfFunds.token INVALID")
}

func TestTokens_oneThatIsInvalidIsHealedByANewCard(t *testing.T) {
	for name, breaks := range map[string]func(g *gateway) (token, cause string){
		"by its name": func(*gateway) (string, string) { return "MC0001xINVALID", "ACCOUNT_UPDATER" },
		"by a stop of its acquirer": func(g *gateway) (string, string) {
			pay := newPay("stopped", "1", "MC0001xSTOP")
			if got := g.ask(pay).form(g.t); got.gist() != "FAILURE DECLINED" || got["response.acquirerCode"] != "R1" {
				g.t.Errorf("the stop is %v", got)
			}
			if again := g.ask(pay).form(g.t); again.gist() != "FAILURE DECLINED" { // the answer is kept
				g.t.Errorf("sent again it is %v", again)
			}
			return "MC0001xSTOP", "ACQUIRER"
		},
		"by the account updater": func(g *gateway) (string, string) {
			token := g.store(g.t.(*testing.T), "", "visa-1")
			g.tell("POST", "/sandbox/tokens/"+token, `{"status": "INVALID"}`)
			return token, "ACCOUNT_UPDATER"
		},
		"by the scheme's token": func(g *gateway) (string, string) {
			g.tell("POST", "/sandbox/tokens/MC0001", `{"status": "INVALID", "cause": "SCHEME_TOKEN"}`)
			return "MC0001", "SCHEME_TOKEN"
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			p := startProcess(t, dir)
			p.t = t
			token, cause := breaks(p.gateway)
			p.kill()
			g := startProcess(t, dir)
			if state := g.token(token); state.Status != "INVALID" || state.Cause != cause {
				t.Errorf("the token is %+v, want INVALID by %s", state, cause)
			}
			g.expect(t, newPay("order", "1", token), "INVALID_REQUEST sourceOfFunds.token INVALID")
			if got := g.expect(t, asking("RETRIEVE_TOKEN", fields{"token": token}), "SUCCESS"); got["status"] != "INVALID" {
				t.Errorf("RETRIEVE_TOKEN gives %v", got)
			}
			got := g.expect(t, tokenize(token, g.shopper("mastercard-2")), "SUCCESS BASIC_VERIFICATION_SUCCESSFUL")
			if got["status"] != "VALID" || got["token"] != token {
				t.Errorf("the new card gives %v", got)
			}
			// The end of its name spoke of the old card; and a refusal used nothing up.
			g.expect(t, newPay("order", "1", token), "SUCCESS APPROVED")
			if n := g.stats().Payments; n != int64(len(g.ledger())) {
				t.Errorf("stats say %d payments, the ledger has %d", n, len(g.ledger()))
			}
		})
	}
}

func TestTokens_theAccountUpdaterReplacesDetails(t *testing.T) {
	g := newGateway(t, sandbox.Options{})
	token := g.store(t, "", "visa-1")
	g.setClock("2027-01-31T09:00:00Z")
	g.tell("POST", "/sandbox/tokens/"+token, `{"expiry": "05/39", "source": "GATEWAY"}`)
	got := g.expect(t, asking("RETRIEVE_TOKEN", fields{"token": token}), "SUCCESS")
	if got["sourceOfFunds.provided.card.expiry"] != "0539" || got["usage.lastUpdated.source"] != "GATEWAY" || got["usage.lastUpdated.time"] != "2027-01-31T09:00:00.000Z" ||
		got["usage.lastUpdated.merchantId"] != "" || got["sourceOfFunds.provided.card.number"] != "450875xxxxxx1019" {
		t.Errorf("after a new expiry date RETRIEVE_TOKEN gives %v", got)
	}
	g.expect(t, newPay("order", "1", token), "FAILURE DECLINED") // as that date says
	g.tell("POST", "/sandbox/tokens/"+token, `{"card": "mastercard-2", "expiry": "01/39"}`)
	if got = g.expect(t, asking("RETRIEVE_TOKEN", fields{"token": token}), "SUCCESS"); got["sourceOfFunds.provided.card.number"] != "222300xxxxxx0007" {
		t.Errorf("after a new card RETRIEVE_TOKEN gives %v", got)
	}
	g.expect(t, newPay("order", "2", token), "SUCCESS APPROVED")
	g.tell("PUT", "/sandbox/repository", `{"generation": "PRESERVE_6_4", "management": "UNIQUE_TOKEN"}`)
	for body, want := range map[string]int{
		`{"card": "visa-1"}`: 409, `{"card": "mastercard-2"}`: 200, `{}`: 400, `{"status": "GONE"}`: 400, `{"status": "VALID", "cause": "ACQUIRER"}`: 400,
		`{"status": "INVALID", "cause": "MOON"}`: 400, `{"card": "visa-99"}`: 400, `{"expiry": "0139"}`: 400, `{"expiry": "01/39", "source": "ME"}`: 400,
	} {
		if a := g.control("POST", "/sandbox/tokens/"+token, body); a.status != want {
			t.Errorf("%s: %d %s, want %d", body, a.status, a.body, want)
		}
	}
	if a := g.control("GET", "/sandbox/tokens/MC1xNOTFOUND", ""); a.status != 404 {
		t.Errorf("a token that is not there: %d", a.status)
	}
	if a := g.control("POST", "/sandbox/tokens/MC1xNOTFOUND", `{"status": "INVALID"}`); a.status != 404 {
		t.Errorf("a change of a token that is not there: %d", a.status)
	}
}
