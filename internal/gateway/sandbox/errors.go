package sandbox

import "strconv"

// The error codes of Adyen that the sandbox answers with. They are text: some
// have leading zeros or an underscore. (Adyen: "Error codes and messages".)
const (
	errorGeneral         = "000"    // catch-all, also for a missing or wrong API key
	errorPermission      = "010"    // the credential lacks a role
	errorAmount          = "100"    // a required object, such as the amount, is missing
	errorReference       = "130"    // reference missing
	errorAmountValue     = "137"    // amount cannot be; not checked against Adyen's list
	errorCurrency        = "138"    // currency not supported; not checked against Adyen's list
	errorReturnURL       = "14_030" // returnUrl missing
	errorMetadata        = "177"    // metadata too large
	errorUnreadable      = "702"    // the body cannot be read
	errorUnavailable     = "703"    // a resource is away for a moment; transient
	errorInProgress      = "704"    // the same idempotency key is being worked on
	errorRateLimited     = "705"    // rate limited; told by a third party only
	errorContract        = "800"    // no stored details for this shopper
	errorToken           = "803"    // the token does not exist for this shopper
	errorMerchantAccount = "901"    // invalid merchant account
	errorIO              = "000"    // Adyen names no code for the communication error of its test convention
)

// The error types of Adyen.
const (
	typeValidation    = "validation"
	typeSecurity      = "security"
	typeConfiguration = "configuration"
	typeInternal      = "internal"
)

var allErrorTypes = []string{typeValidation, typeSecurity, typeConfiguration, typeInternal}

// An apiError is an answer of Adyen that is no payment result.
type apiError struct {
	status     int
	code       string // errorCode
	kind       string // errorType
	message    string
	transient  bool // sent with transient-error: true
	retryAfter int  // seconds; 0 is no header

	// The Mastercard Gateway's words. There kind is error.validationType.
	cause string // error.cause; empty is INVALID_REQUEST
	field string // error.field
}

// invalid is a request that Adyen does not process, as it stands.
func invalid(code, message string) *apiError {
	return &apiError{status: 422, code: code, kind: typeValidation, message: message}
}

// unreadable is a request of which nobody can tell what it asks for.
func unreadable(message string) *apiError {
	return &apiError{status: 400, code: errorUnreadable, kind: typeValidation, message: message}
}

var (
	errUnauthorised = &apiError{status: 401, code: errorGeneral, kind: typeSecurity, message: "HTTP Status Response - Unauthorized"}
	errNotJSON      = &apiError{status: 415, code: errorUnreadable, kind: typeValidation, message: "The content type is not application/json"}
	errTooLarge     = &apiError{status: 413, code: errorUnreadable, kind: typeValidation, message: "The request body is too large"}
	errBodyEnds     = unreadable("The body ends early")
	errKeyTooLong   = &apiError{status: 422, code: errorGeneral, kind: typeValidation, message: "The Idempotency-Key is longer than 64 characters"}
	errKeyRunning   = &apiError{status: 422, code: errorInProgress, kind: typeValidation, message: "request already processed or in progress", transient: true}
	errNoConnection = &apiError{status: 503, code: errorUnavailable, kind: typeInternal, message: "No connection available", transient: true}
	errStoredIO     = &apiError{status: 500, code: errorIO, kind: typeInternal, message: "IOException received"}
	errLedger       = &apiError{status: 503, code: errorUnavailable, kind: typeInternal, message: "The sandbox cannot write its ledger", transient: true}
)

// appendTo appends the error body. psp is its pspReference; empty is none.
func (e *apiError) appendTo(b, psp []byte) []byte {
	b = append(b, `{"status":`...)
	b = strconv.AppendInt(b, int64(e.status), 10)
	b = append(b, `,"errorCode":`...)
	b = appendString(b, e.code)
	b = append(b, `,"message":`...)
	b = appendString(b, e.message)
	b = append(b, `,"errorType":`...)
	b = appendString(b, e.kind)
	if len(psp) > 0 {
		b = append(b, `,"pspReference":"`...)
		b = append(b, psp...)
		b = append(b, '"')
	}
	return append(b, '}')
}
