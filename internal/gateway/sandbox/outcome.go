package sandbox

import (
	"strconv"
	"strings"
)

// The result codes that the sandbox gives by itself; a rule may give any other.
const (
	resultAuthorised = "Authorised"
	resultRefused    = "Refused"
	resultError      = "Error"
	resultCancelled  = "Cancelled"
	resultReceived   = "Received"
	resultPending    = "Pending"
	resultRedirect   = "RedirectShopper"
)

// The test values of additionalData.RequestedTestAcquirerResponseCode that are
// no refusals (Adyen: "Testing result codes and refusal reasons").
const (
	testApproved = 1
	testPending  = 13
)

// An outcome is what becomes of a payment.
type outcome struct {
	result  string
	refusal refusal // of results that are a "no"; the zero value otherwise

	gatewayCode string // the Mastercard Gateway's word for what is not an approval
}

func refused(code int) outcome {
	r := refusalFor(code)
	return outcome{result: r.result, refusal: r}
}

// requestedError is what a request asks for by
// additionalData.RequestedTestErrorResponseCode, or by its token.
type requestedError string

const (
	requestNoConnection requestedError = "NO_CONNECTION_AVAILABLE" // nothing left; the key is not used up
	requestIOException  requestedError = "IOEXCEPTION_RECEIVED"    // kept under the key
)

// tokenEndings are the endings of a token that decide its payments, without
// the refusals. See the package comment.
var tokenEndings = map[string]outcome{
	"pending":  {result: resultPending},
	"received": {result: resultReceived},
	"future":   {result: "FutureResult", refusal: refusal{code: 999, reason: "A reason of the future"}},
}

// decide returns what becomes of a valid payment. A rule goes before the test
// codes in the request, and they before the token's ending.
func decide(req *request, rule *Rule) outcome {
	switch {
	case rule != nil && rule.Do == ActionRefuse && rule.Code == 0 && rule.With != "":
		return refused(2) // the rule speaks of another gateway's codes
	case rule != nil && rule.Do == ActionRefuse:
		return refused(rule.Code)
	case rule != nil && rule.Do == ActionResult:
		return outcomeNamed(rule.With)
	case req.testResult != "":
		return requestedOutcome(req.testResult)
	case req.shopperInteraction != contAuth || req.model == modelCardOnFile:
		// Nobody said that the shopper is absent, so the bank wants to see them.
		return outcome{result: resultRedirect}
	}
	ending := tokenEnding(req.token)
	if code, isRefusal := refusalEnding(ending); isRefusal {
		return refused(code)
	}
	if o, known := tokenEndings[ending]; known {
		return o
	}
	return outcome{result: resultAuthorised}
}

// outcomeNamed returns the outcome with a result code, with a refusal that goes with it.
func outcomeNamed(result string) outcome {
	switch result {
	case resultRefused:
		return refused(2)
	case resultError:
		return refused(4)
	case resultCancelled:
		return refused(22)
	}
	return outcome{result: result}
}

// requestedOutcome returns the outcome of a RequestedTestAcquirerResponseCode.
func requestedOutcome(text string) outcome {
	code, err := strconv.Atoi(text)
	switch {
	case err != nil:
		return refused(2)
	case code == testApproved:
		return outcome{result: resultAuthorised}
	case code == testPending:
		return outcome{result: resultReceived}
	}
	return refused(code)
}

// tokenEnding returns what stands behind the last full stop of a token.
func tokenEnding(token string) string {
	if i := strings.LastIndexByte(token, '.'); i >= 0 {
		return token[i+1:]
	}
	return ""
}

// refusalEnding returns the code of an ending such as refuse12.
func refusalEnding(ending string) (code int, ok bool) {
	digits, found := strings.CutPrefix(ending, "refuse")
	if !found {
		return 0, false
	}
	code, err := strconv.Atoi(digits)
	return code, err == nil && code >= 0
}

// errorAskedFor returns the error that the request asks for, or "".
func errorAskedFor(req *request) requestedError {
	switch tokenEnding(req.token) {
	case "noconnection":
		return requestNoConnection
	case "ioerror":
		return requestIOException
	}
	return requestedError(req.testError)
}
