package sandbox_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/internal/gateway/sandbox"
	"github.com/contauth/contauth/internal/secret"
)

func TestPay_anApprovedChargeIsAnsweredAndInTheLedger(t *testing.T) {
	g := newGateway(t, sandbox.Options{})
	g.setClock("2027-01-31T09:00:00Z")
	a := g.ask(newPay("sub-1~2027-01", "1", "MC0001").with("correlationId", "line 7").with("order.reference", "sub-1"))
	if a.status != http.StatusOK || a.header.Get("Content-Type") != "text/plain;charset=UTF-8" {
		t.Errorf("answer = %d %s", a.status, a.header.Get("Content-Type"))
	}
	got := a.form(t)
	receipt := got["transaction.receipt"]
	if len(receipt) != 12 {
		t.Errorf("transaction.receipt = %q, want twelve digits", receipt)
	}
	if got["sandboxUnlistedField"] == "" {
		t.Error("the answer has no field that is new to its reader")
	}
	for name := range got { // what the sandbox makes up
		if strings.HasPrefix(name, "sourceOfFunds.provided.card.") || strings.HasPrefix(name, "transaction.acquirer.") {
			delete(got, name)
		}
	}
	want := fields{
		"agreement.id": "agreement-1", "agreement.type": "RECURRING", "authorizationResponse.responseCode": "00", "correlationId": "line 7",
		"gatewayEntryPoint": "WEB_SERVICES_API", "merchant": "TESTDEMO",
		"order.amount": "19.99", "order.creationTime": "2027-01-31T09:00:00.000Z", "order.currency": "EUR", "order.id": "sub-1~2027-01",
		"order.lastUpdatedTime": "2027-01-31T09:00:00.000Z", "order.merchantAmount": "19.99", "order.merchantCurrency": "EUR",
		"order.reference": "sub-1", "order.status": "CAPTURED",
		"order.totalAuthorizedAmount": "19.99", "order.totalCapturedAmount": "19.99", "order.totalDisbursedAmount": "0.00", "order.totalRefundedAmount": "0.00",
		"response.acquirerCode": "00", "response.acquirerMessage": "Approved", "response.gatewayCode": "APPROVED", "response.gatewayRecommendation": "PROCEED",
		"result": "SUCCESS", "sandboxUnlistedField": got["sandboxUnlistedField"], "sourceOfFunds.token": "MC0001", "sourceOfFunds.type": "CARD",
		"timeOfLastUpdate": "2027-01-31T09:00:00.000Z", "timeOfRecord": "2027-01-31T09:00:00.000Z",
		"transaction.amount": "19.99", "transaction.authorizationCode": receipt[6:], "transaction.currency": "EUR", "transaction.id": "1",
		"transaction.receipt": receipt, "transaction.source": "MERCHANT", "transaction.stan": receipt[:6], "transaction.type": "PAYMENT", "version": "100",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	wantLedger := []entry{{
		IdempotencyKey: "TESTDEMO/sub-1~2027-01/1", MerchantAccount: "TESTDEMO", Reference: "sub-1~2027-01~1", Token: "MC0001",
		ShopperReference: "agreement-1", Model: "Subscription", AmountMinor: 1999, GatewayValue: 1999, Currency: "EUR",
		ResultCode: "Authorised", PSPReference: "sub-1~2027-01/1", At: time.Date(2027, 1, 31, 9, 0, 0, 0, time.UTC),
	}}
	if diff := cmp.Diff(wantLedger, g.ledger()); diff != "" {
		t.Errorf("ledger (-want +got):\n%s", diff)
	}
}

func TestPay_cardsAreShownMasked(t *testing.T) {
	g := newGateway(t, sandbox.Options{})
	got := g.expect(t, newPay("o", "1", "MC0001"), "SUCCESS APPROVED")
	number := got["sourceOfFunds.provided.card.number"]
	if len(number) < 13 || !strings.Contains(number, "xxx") || strings.Trim(number, "0123456789x") != "" {
		t.Errorf("the card number is shown as %q", number)
	}
	if got["sourceOfFunds.provided.card.expiry.month"] != "1" || got["sourceOfFunds.provided.card.expiry.year"] != "39" {
		t.Errorf("the expiry date is %s, %s; want 1 and 39", got["sourceOfFunds.provided.card.expiry.month"], got["sourceOfFunds.provided.card.expiry.year"])
	}
}

func TestPay_amountsHaveTheDecimalsOfTheCurrency(t *testing.T) {
	tests := []struct {
		currency, amount string
		minor            int64 // 0 is a refusal
		answered         string
	}{
		{"EUR", "19.99", 1999, "19.99"}, {"EUR", "20", 2000, "20.00"}, {"EUR", "19.9", 1990, "19.90"}, {"EUR", "0.01", 1, "0.01"},
		{"JPY", "500", 500, "500"}, {"KWD", "12.345", 12345, "12.345"}, {"KWD", "1", 1000, "1.000"}, {"CLP", "150", 150, "150"},
		{"EUR", "19.999", 0, ""}, {"JPY", "500.0", 0, ""}, {"KWD", "1.2345", 0, ""}, {"EUR", "0", 0, ""}, {"EUR", "0.00", 0, ""},
		{"EUR", "-1", 0, ""}, {"EUR", "1.", 0, ""}, {"EUR", ".5", 0, ""}, {"EUR", "1e3", 0, ""}, {"EUR", "123456789012.345", 0, ""},
	}
	g := newGateway(t, sandbox.Options{})
	for _, tt := range tests {
		t.Run(tt.amount+" "+tt.currency, func(t *testing.T) {
			before := len(g.ledger())
			pay := newPay("order of "+tt.amount+tt.currency, "1", "MC1").with("order.amount", tt.amount).with("order.currency", tt.currency)
			if tt.minor == 0 {
				g.expect(t, pay, "INVALID_REQUEST order.amount INVALID")
				return
			}
			if got := g.expect(t, pay, "SUCCESS APPROVED"); got["order.amount"] != tt.answered {
				t.Errorf("order.amount = %s, want %s", got["order.amount"], tt.answered)
			}
			if e := g.ledger()[before]; e.AmountMinor != tt.minor || e.GatewayValue != tt.minor || e.Currency != tt.currency {
				t.Errorf("the ledger has %d, %d %s; want %d", e.AmountMinor, e.GatewayValue, e.Currency, tt.minor)
			}
		})
	}
}

func TestPay_validation(t *testing.T) {
	good := newPay("order", "1", "MC1")
	long := strings.Repeat("o", 41)
	tests := []struct {
		name string
		ask  fields
		want string
	}{
		{"no operation", good.with("apiOperation", ""), "INVALID_REQUEST apiOperation MISSING"},
		{"an unknown operation", good.with("apiOperation", "PAYOUT"), "INVALID_REQUEST apiOperation INVALID"},
		{"an unknown field", good.with("order.colour", "red"), "INVALID_REQUEST order.colour UNSUPPORTED"},
		{"a field in another case", good.with("Order.reference", "r"), "INVALID_REQUEST Order.reference UNSUPPORTED"},
		{"a field of another operation", good.with("token", "MC1"), "INVALID_REQUEST token UNSUPPORTED"},
		{"a key of another gateway", good.with("idempotencyKey", "k"), "INVALID_REQUEST idempotencyKey UNSUPPORTED"},
		{"no order", good.with("order.id", ""), "INVALID_REQUEST order.id MISSING"},
		{"no transaction", good.with("transaction.id", ""), "INVALID_REQUEST transaction.id MISSING"},
		{"no amount", good.with("order.amount", ""), "INVALID_REQUEST order.amount MISSING"},
		{"no currency", good.with("order.currency", ""), "INVALID_REQUEST order.currency MISSING"},
		{"an order of 41", good.with("order.id", long), "INVALID_REQUEST order.id INVALID"},
		{"a transaction of 41", good.with("transaction.id", long), "INVALID_REQUEST transaction.id INVALID"},
		{"a currency in small letters", good.with("order.currency", "eur"), "INVALID_REQUEST order.currency INVALID"},
		{"an unknown currency", good.with("order.currency", "XXX"), "INVALID_REQUEST order.currency INVALID"},
		{"no token", good.with("sourceOfFunds.token", ""), "INVALID_REQUEST sourceOfFunds.token MISSING"},
		{"a token with a full stop", good.with("sourceOfFunds.token", "TK.refuse12"), "INVALID_REQUEST sourceOfFunds.token INVALID"},
		{"a token of 41", good.with("sourceOfFunds.token", long), "INVALID_REQUEST sourceOfFunds.token INVALID"},
		{"an unknown source", good.with("transaction.source", "SHOP"), "INVALID_REQUEST transaction.source INVALID"},
		{"an unknown agreement type", good.with("agreement.type", "SUBSCRIPTION"), "INVALID_REQUEST agreement.type INVALID"},
		{"an agreement without its id", good.with("agreement.id", ""), "INVALID_REQUEST agreement.id MISSING"},
		{"a recurring agreement of unknown amounts", good.with("agreement.amountVariability", ""), "INVALID_REQUEST agreement.amountVariability MISSING"},
		{"an agreement of 101", good.with("agreement.id", strings.Repeat("a", 101)), "INVALID_REQUEST agreement.id INVALID"},
		{"a card that is not stored, by the merchant", good.with("sourceOfFunds.provided.card.storedOnFile", "NOT_STORED"), "INVALID_REQUEST sourceOfFunds.provided.card.storedOnFile INVALID"},
		{"a resubmission of nothing", good.with("transaction.resubmission", "true"), "INVALID_REQUEST referenceOrderId MISSING"},
		{"a day that is none", good.with("agreement.expiryDate", "2027-02-30"), "INVALID_REQUEST agreement.expiryDate INVALID"},
		{"a month that is none", good.with("sourceOfFunds.provided.card.expiry.month", "13"), "INVALID_REQUEST sourceOfFunds.provided.card.expiry.month INVALID"},
		{"payments less than one day apart", good.with("agreement.minimumDaysBetweenPayments", "0"), "INVALID_REQUEST agreement.minimumDaysBetweenPayments INVALID"},
		{"an address that is none", good.with("order.notificationUrl", "here"), "INVALID_REQUEST order.notificationUrl INVALID"},
	}
	g := newGateway(t, sandbox.Options{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := g.expect(t, tt.ask.with("correlationId", "c"), tt.want)
			if got["error.explanation"] == "" || got["correlationId"] != "c" {
				t.Errorf("the error is %v, want an explanation and the correlationId", got)
			}
		})
	}
	if n := len(g.ledger()); n != 0 {
		t.Errorf("the ledger has %d payments, want none", n)
	}
	// A refusal uses nothing up.
	g.expect(t, good, "SUCCESS APPROVED")
}

func TestPay_allFieldsOfTheReferenceAreTaken(t *testing.T) {
	g := newGateway(t, sandbox.Options{})
	pay := newPay("order", "1", "MC1")
	for name, value := range map[string]string{
		"correlationId": "c", "order.reference": "r", "transaction.reference": "t", "order.notificationUrl": "https://example.invalid/hooks",
		"agreement.paymentFrequency": "MONTHLY", "agreement.minimumDaysBetweenPayments": "28", "agreement.numberOfPayments": "12",
		"agreement.startDate": "2027-01-31", "agreement.expiryDate": "2047-01-31", "agreement.minimumAmountPerPayment": "1.00",
		"agreement.maximumAmountPerPayment": "100.00", "agreement.customData": "x", "agreement.retailer.abbreviatedTradingName": "Shop",
		"agreement.retailer.merchantCategoryCode": "5411", "agreement.retailer.tradingName": "The Shop", "referenceOrderId": "first",
		"transaction.acquirer.traceId": "MCC123456789", "transaction.resubmission": "true", "transaction.acquirer.customData": "y",
		"sourceOfFunds.provided.card.expiry.month": "1", "sourceOfFunds.provided.card.expiry.year": "39", "sourceOfFunds.provided.card.nameOnCard": "A. Name",
	} {
		pay[name] = value
	}
	g.expect(t, pay, "SUCCESS APPROVED")
}

func TestNVP_refusedAtTheDoor(t *testing.T) {
	good := newPay("order", "1", "MC1")
	tests := []struct {
		name, kind, body string
		status           int
		want             string
	}{
		{"no user", "", good.with("apiUsername", "").encode(), 401, "REQUEST_REJECTED"},
		{"no password", "", good.with("apiPassword", "").encode(), 401, "REQUEST_REJECTED"},
		{"neither", "", good.with("apiUsername", "").with("apiPassword", "").encode(), 401, "REQUEST_REJECTED"},
		{"a wrong password", "", good.with("apiPassword", "guess").encode(), 401, "REQUEST_REJECTED"},
		{"another merchant's user", "", good.with("apiUsername", "merchant.TESTOTHER").encode(), 401, "REQUEST_REJECTED"},
		{"a user who is no merchant", "", good.with("apiUsername", "TESTDEMO").encode(), 401, "REQUEST_REJECTED"},
		{"a merchant that does not exist", "", good.with("merchant", "TESTOTHER").with("apiUsername", "merchant.TESTOTHER").encode(), 401, "REQUEST_REJECTED"},
		{"JSON", "application/json", good.encode(), 415, "INVALID_REQUEST"},
		{"half an escape", "", good.encode() + "&x=%4", 400, "INVALID_REQUEST"},
		{"no UTF-8", "", good.encode() + "&x=%ff", 400, "INVALID_REQUEST"},
		{"a field twice", "", good.encode() + "&order.amount=1.00", 400, "INVALID_REQUEST"},
		{"an empty body", "", "", 401, "REQUEST_REJECTED"},
		{"11 MB", "", strings.Repeat("&", 11<<20), 413, "INVALID_REQUEST"},
	}
	g := newGateway(t, sandbox.Options{
		MerchantAccounts: []string{"TESTDEMO"},
		Mastercard:       sandbox.MastercardOptions{Passwords: []secret.String{secret.New("hush"), secret.New("next")}},
	})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.kind == "" {
				tt.kind = "application/x-www-form-urlencoded"
			}
			req, err := http.NewRequest("POST", g.url+nvpPath, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", tt.kind)
			a, err := g.send(req)
			if err != nil {
				t.Fatal(err)
			}
			got := a.form(t)
			if a.status != tt.status || got.gist() != tt.want {
				t.Errorf("answered %d %s, want %d %s", a.status, a.body, tt.status, tt.want)
			}
			if tt.want == "REQUEST_REJECTED" && got["error.supportCode"] == "" {
				t.Error("a rejection has no supportCode")
			}
		})
	}
	for _, password := range []string{"hush", "next"} {
		g.expect(t, good.with("apiPassword", password), "SUCCESS APPROVED")
	}
	if stats := g.stats(); stats.Payments != 1 || stats.CardDataInRequest != 0 {
		t.Errorf("stats = %+v, want one payment", stats)
	}
}

func TestNVP_onlyPOSTAndOnlyVersion100(t *testing.T) {
	g := newGateway(t, sandbox.Options{})
	for _, tt := range []struct {
		method, path string
		want         int
	}{
		{"GET", nvpPath, 405}, {"PUT", nvpPath, 405}, {"POST", "/mastercard/api/nvp/version/61", 404},
		{"GET", nvpPath + "/information", 200}, {"POST", nvpPath + "/information", 200},
	} {
		a := g.control(tt.method, tt.path, "")
		if a.status != tt.want {
			t.Errorf("%s %s: %d, want %d", tt.method, tt.path, a.status, tt.want)
		}
		if tt.want == 200 && (a.form(t)["status"] != "OPERATING" || len(a.form(t)["gatewayVersion"]) < 5) {
			t.Errorf("%s %s: %s", tt.method, tt.path, a.body)
		}
	}
}

func TestNVP_cardDataIsRefusedAndCounted(t *testing.T) {
	const number, code = "sourceOfFunds.provided.card.number", "sourceOfFunds.provided.card.securityCode"
	g := newGateway(t, sandbox.Options{})
	session := g.expect(t, asking("CREATE_SESSION", nil), "SUCCESS")["session.id"]
	for name, f := range map[string]fields{
		"a number to pay":                newPay("o", "1", "MC1").with(number, "5123450000000008"),
		"a security code to pay":         newPay("o", "1", "MC1").with(code, "100"),
		"a number to store":              asking("TOKENIZE", fields{"sourceOfFunds.type": "CARD", number: "5123450000000008"}),
		"a number for a session":         asking("UPDATE_SESSION", fields{"session.id": session, number: "5123450000000008"}),
		"a number where nobody takes it": asking("RETRIEVE_ORDER", fields{"order.id": "o", number: "5123450000000008"}),
	} {
		field := number
		if f[code] != "" {
			field = code
		}
		t.Run(name, func(t *testing.T) { g.expect(t, f, "INVALID_REQUEST "+field+" INVALID") })
	}
	if stats := g.stats(); stats.CardDataInRequest != 5 || stats.Payments != 0 {
		t.Errorf("stats = %+v, want five alarms and no payment", stats)
	}
}

// gatewayCodes are all values of response.gatewayCode that version 100 knows, what
// they bring with them, and the ledger's word.
var gatewayCodes = []struct{ code, result, ledger string }{
	{"APPROVED", "SUCCESS", "Authorised"}, {"APPROVED_AUTO", "SUCCESS", "Authorised"}, {"APPROVED_PENDING_SETTLEMENT", "SUCCESS", "Authorised"},
	{"PARTIALLY_APPROVED", "SUCCESS", "PartiallyAuthorised"},
	{"BALANCE_AVAILABLE", "SUCCESS", "Error"}, {"BALANCE_UNKNOWN", "SUCCESS", "Error"}, {"NO_BALANCE", "FAILURE", "Error"},
	{"INSUFFICIENT_FUNDS", "FAILURE", "Refused"}, {"DECLINED", "FAILURE", "Refused"}, {"REFERRED", "FAILURE", "Refused"},
	{"EXPIRED_CARD", "FAILURE", "Refused"}, {"DECLINED_DO_NOT_CONTACT", "FAILURE", "Refused"}, {"DECLINED_PAYMENT_PLAN", "FAILURE", "Refused"},
	{"DECLINED_AVS", "FAILURE", "Refused"}, {"DECLINED_AVS_CSC", "FAILURE", "Refused"}, {"DECLINED_CSC", "FAILURE", "Refused"},
	{"INVALID_CSC", "FAILURE", "Refused"}, {"DECLINED_INVALID_PIN", "FAILURE", "Refused"}, {"DECLINED_PIN_REQUIRED", "FAILURE", "Refused"},
	{"AUTHENTICATION_FAILED", "FAILURE", "Refused"}, {"NOT_ENROLLED_3D_SECURE", "FAILURE", "Refused"},
	{"AUTHENTICATION_IN_PROGRESS", "FAILURE", "Refused"}, {"BLOCKED", "FAILURE", "Refused"}, {"CANCELLED", "FAILURE", "Cancelled"},
	{"ABORTED", "FAILURE", "Cancelled"}, {"EXCEEDED_RETRY_LIMIT", "FAILURE", "Refused"}, {"NOT_SUPPORTED", "FAILURE", "Refused"},
	{"DUPLICATE_BATCH", "FAILURE", "Error"}, {"TIMED_OUT", "FAILURE", "Error"}, {"ACQUIRER_SYSTEM_ERROR", "FAILURE", "Error"},
	{"SYSTEM_ERROR", "FAILURE", "Error"}, {"UNSPECIFIED_FAILURE", "FAILURE", "Error"}, {"UNKNOWN", "UNKNOWN", "Unknown"},
	{"SUBMITTED", "PENDING", "Received"}, {"PENDING", "PENDING", "Pending"}, {"DEFERRED_TRANSACTION_RECEIVED", "PENDING", "Received"},
}

func TestPay_everyGatewayCodeCanBeHad(t *testing.T) {
	ways := map[string]func(g *gateway, code string) fields{
		"by token": func(_ *gateway, code string) fields {
			return newPay("order", "1", "MC0001x"+strings.ReplaceAll(code, "_", ""))
		},
		"by reference": func(_ *gateway, code string) fields {
			return newPay("order", "1", "MC0001").with("order.reference", "sub-1.FAIL"+code)
		},
		"by reference without underscores": func(_ *gateway, code string) fields {
			return newPay("order", "1", "MC0001").with("order.reference", ".FAIL"+strings.ReplaceAll(code, "_", ""))
		},
		"by a rule that refuses": func(g *gateway, code string) fields {
			g.script("- {match: {every: 1}, do: refuse, with: " + code + "}")
			return newPay("order", "1", "MC0001")
		},
		"by a rule with a result": func(g *gateway, code string) fields {
			g.script("- {match: {every: 1}, do: result, with: " + code + "}")
			return newPay("order", "1", "MC0001")
		},
	}
	for way, newRequest := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			for _, tt := range gatewayCodes {
				g := newGateway(t, sandbox.Options{})
				got := g.expect(t, newRequest(g, tt.code), tt.result+" "+tt.code)
				ledger := g.ledger()
				wantCode, wantMinor := tt.code, int64(1999)
				switch tt.ledger {
				case "Authorised":
					wantCode = ""
				case "PartiallyAuthorised":
					wantCode, wantMinor = "", 999
				}
				if len(ledger) != 1 || ledger[0].ResultCode != tt.ledger || ledger[0].RefusalReasonCode != wantCode || ledger[0].AmountMinor != wantMinor {
					t.Errorf("%s: ledger %+v, want %s with code %q and %d", tt.code, ledger, tt.ledger, wantCode, wantMinor)
				}
				captured := map[int64]string{1999: "0.00", 999: "9.99"}[wantMinor]
				if tt.ledger == "Authorised" {
					captured = "19.99"
				}
				if got["order.totalCapturedAmount"] != captured {
					t.Errorf("%s: order.totalCapturedAmount = %s, want %s", tt.code, got["order.totalCapturedAmount"], captured)
				}
				again := g.ask(newRequest(g, tt.code)).form(t)
				if diff := cmp.Diff(got, again); diff != "" {
					t.Errorf("%s sent again (-first +again):\n%s", tt.code, diff)
				}
			}
		})
	}
}

func TestPay_steeredByToken(t *testing.T) {
	tests := []struct{ name, token, want, acquirerCode string }{
		{"an ordinary token", "MC0001", "SUCCESS APPROVED", "00"},
		{"a token of sixteen digits", "9123456789012345", "SUCCESS APPROVED", "00"},
		{"an x that says nothing", "MC0001xabc", "SUCCESS APPROVED", "00"},
		{"an x at the end", "MC0001x", "SUCCESS APPROVED", "00"},
		{"the last x counts", "xDECLINEDxEXPIREDCARD", "FAILURE EXPIRED_CARD", "54"},
		{"a capital X is none", "MC0001XDECLINED", "SUCCESS APPROVED", "00"},
		{"the acquirer's code too", "MC0001xDECLINED61", "FAILURE DECLINED", "61"},
		{"the acquirer's code in letters", "MC0001xDECLINEDR0", "FAILURE DECLINED", "R0"},
		{"values of the future", "MC0001xFUTURE", "RESULT_OF_THE_FUTURE CODE_OF_THE_FUTURE", ""},
		{"a stop of all further charges", "MC0001xSTOP", "FAILURE DECLINED", "R1"},
		{"a token that is not valid", "MC0001xINVALID", "INVALID_REQUEST sourceOfFunds.token INVALID", ""},
		{"a token that is not there", "MC0001xNOTFOUND", "INVALID_REQUEST sourceOfFunds.token INVALID", ""},
	}
	g := newGateway(t, sandbox.Options{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := g.expect(t, newPay(tt.name, "1", tt.token), tt.want); got["response.acquirerCode"] != tt.acquirerCode {
				t.Errorf("response.acquirerCode = %q, want %q", got["response.acquirerCode"], tt.acquirerCode)
			}
		})
	}
}

func TestPay_aLockIsNoTransaction(t *testing.T) {
	g := newGateway(t, sandbox.Options{})
	g.expect(t, newPay("o", "1", "MC1xLOCKFAILURE"), "FAILURE LOCK_FAILURE")
	if n := len(g.ledger()); n != 0 {
		t.Errorf("the ledger has %d payments, want none", n)
	}
	g.expect(t, asking("RETRIEVE_TRANSACTION", fields{"order.id": "o", "transaction.id": "1"}), "INVALID_REQUEST transaction.id INVALID")
}

func TestPay_steeredByExpiryDate(t *testing.T) {
	tests := []struct{ name, at, month, year, want string }{
		{"the good one", "2026-06-01", "1", "39", "SUCCESS APPROVED"},
		{"declined", "2026-06-01", "5", "39", "FAILURE DECLINED"},
		{"expired", "2026-06-01", "4", "27", "FAILURE EXPIRED_CARD"},
		{"timed out", "2026-06-01", "08", "28", "FAILURE TIMED_OUT"},
		{"the acquirer's trouble", "2026-06-01", "1", "37", "FAILURE ACQUIRER_SYSTEM_ERROR"},
		{"trouble", "2026-06-01", "2", "37", "FAILURE UNSPECIFIED_FAILURE"},
		{"unknown", "2026-06-01", "5", "37", "UNKNOWN UNKNOWN"},
		{"any other", "2026-06-01", "12", "31", "SUCCESS APPROVED"},
		{"what it meant before", "2022-06-01", "1", "28", "FAILURE UNSPECIFIED_FAILURE"},
		{"what it means now", "2026-06-01", "1", "28", "SUCCESS APPROVED"},
	}
	g := newGateway(t, sandbox.Options{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g.setClock(tt.at + "T12:00:00Z")
			g.expect(t, newPay(tt.name, "1", "MC1").with("sourceOfFunds.provided.card.expiry.month", tt.month).
				with("sourceOfFunds.provided.card.expiry.year", tt.year), tt.want)
		})
	}
}

func TestPay_oneScriptServesBothGateways(t *testing.T) {
	for _, tt := range []struct{ rule, adyen, nvp string }{
		{"do: refuse, code: 51", "Refused", "FAILURE DECLINED"},
		{"do: refuse, with: BLOCKED, code: 5", "Refused", "FAILURE BLOCKED"},
		{"do: refuse, with: BLOCKED", "Refused", "FAILURE BLOCKED"},
		{"do: result, with: Pending", "Pending", "PENDING PENDING"},
		{"do: result, with: Received", "Received", "PENDING SUBMITTED"},
		{"do: result, with: Error", "Error", "FAILURE SYSTEM_ERROR"},
		{"do: result, with: Cancelled", "Cancelled", "FAILURE CANCELLED"},
		{"do: result, with: Refused", "Refused", "FAILURE DECLINED"},
		{"do: result, with: Unknown", "Unknown", "UNKNOWN UNKNOWN"},
		{"do: result, with: Maybe", "Maybe", "Maybe Maybe"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			g := newGateway(t, sandbox.Options{})
			g.script("- {match: {every: 1}, " + tt.rule + "}")
			if got := g.pay("k", newCharge("r", "TK")).json(t)["resultCode"]; got != tt.adyen {
				t.Errorf("Adyen says %v, want %s", got, tt.adyen)
			}
			g.expect(t, newPay("o", "1", "MC1"), tt.nvp)
			for _, e := range g.ledger() {
				if e.ResultCode != tt.adyen {
					t.Errorf("the ledger says %s of %s, want %s", e.ResultCode, e.Reference, tt.adyen)
				}
			}
		})
	}
}

func TestPay_strangeValuesComeEveryNth(t *testing.T) {
	g := newGateway(t, mastercard(sandbox.MastercardOptions{StrangeEvery: 3, OnlyKnownFields: true}))
	var strange []int
	for i := 1; i <= 6; i++ {
		got := g.expect(t, newPay("order", string(rune('0'+i)), "MC1"), "SUCCESS APPROVED")
		if got["response.gatewayRecommendation"] == "RECOMMENDATION_OF_THE_FUTURE" {
			strange = append(strange, i)
		}
		if got["sandboxUnlistedField"] != "" {
			t.Error("there is a field that nobody knows")
		}
	}
	if diff := cmp.Diff([]int{3, 6}, strange); diff != "" {
		t.Errorf("answers with a strange value (-want +got):\n%s", diff)
	}
}

func TestNew_refusesAMastercardThatCannotBe(t *testing.T) {
	for name, o := range map[string]sandbox.MastercardOptions{
		"generation":     {Generation: "RANDOM"},
		"management":     {Management: "UNIQUE"},
		"verification":   {Verification: "FULL"},
		"strange values": {StrangeEvery: -1},
	} {
		opts := mastercard(o)
		opts.DataDir = t.TempDir()
		if server, err := sandbox.New(opts); err == nil {
			server.Close()
			t.Errorf("%s: New took it", name)
		}
	}
}
