package sandbox

import "net/http"

// The values of error.cause.
const (
	causeInvalid  = "INVALID_REQUEST"
	causeRejected = "REQUEST_REJECTED"
	causeBusy     = "SERVER_BUSY"
	causeFailed   = "SERVER_FAILED"
)

// The values of error.validationType.
const (
	fieldInvalid     = "INVALID"
	fieldMissing     = "MISSING"
	fieldUnsupported = "UNSUPPORTED"
)

func invalidField(field, message string) *apiError {
	return &apiError{status: http.StatusBadRequest, kind: fieldInvalid, field: field, message: message}
}

func missingField(field string) *apiError {
	return &apiError{status: http.StatusBadRequest, kind: fieldMissing, field: field, message: "Missing parameter."}
}

func unsupportedField(field string) *apiError {
	return &apiError{status: http.StatusBadRequest, kind: fieldUnsupported, field: field, message: "Unsupported parameter."}
}

var (
	errBadCredentials = &apiError{status: http.StatusUnauthorized, cause: causeRejected, message: "Invalid credentials."}
	errNotNVP         = &apiError{status: http.StatusUnsupportedMediaType, message: "The content type is not application/x-www-form-urlencoded"}
	errOtherContent   = &apiError{status: http.StatusBadRequest, kind: fieldInvalid, field: "transaction.id", message: "The order has such a transaction, with other content."}
	errLocked         = &apiError{status: http.StatusOK, code: codeLocked}
	errBusy           = &apiError{status: http.StatusServiceUnavailable, cause: causeBusy, message: "The server is busy."}
	errServerFailed   = &apiError{status: http.StatusInternalServerError, cause: causeFailed}
)

// nvpStatusErrors are the bodies that errors have by their status. The gateway's
// pages tie causes to no status; these are likely.
var nvpStatusErrors = map[int]apiError{
	400: {message: "The request cannot be read."},
	401: *errBadCredentials,
	403: {cause: causeRejected},
	404: {message: "There is no such thing."},
	422: {message: "The request cannot be processed as it stands."},
	429: *errBusy,
	500: *errServerFailed,
	503: *errBusy,
}

// appendNVPError appends an error as the NVP dialect says it. A lock is no error
// there, but the outcome of a transaction that was not made.
func appendNVPError(b []byte, f *form, e *apiError, psp []byte) []byte {
	b = appendField(b, "correlationId", f.get("correlationId"))
	if e.code == codeLocked {
		b = appendField(b, "merchant", f.get("merchant"))
		b = appendField(b, "order.id", f.get("order.id"))
		b = appendField(b, "response.gatewayCode", codeLocked)
		b = appendField(b, "result", resultFailure)
		return appendField(b, "transaction.id", f.get("transaction.id"))
	}
	cause := e.cause
	if cause == "" {
		cause = causeInvalid
		if e.status >= 500 {
			cause = causeFailed
		}
	}
	b = appendField(b, "error.cause", cause)
	switch cause {
	case causeRejected, causeFailed:
		if len(psp) == 0 {
			psp = []byte(nobody)
		}
		b = appendField(b, "error.supportCode", string(psp))
	default:
		b = appendField(b, "error.explanation", e.message)
	}
	if e.field != "" {
		b = appendField(b, "error.field", e.field)
		b = appendField(b, "error.validationType", e.kind)
	}
	return appendField(b, "result", "ERROR")
}
