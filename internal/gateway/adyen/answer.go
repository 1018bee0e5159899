package adyen

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/gateway"
)

// Longest texts of an answer that are kept, in bytes.
const (
	maxWord = 64
	maxLine = 200
)

// An answerField is a field that decides something. Each may stand in an
// answer once only: readers disagree on which of two counts.
type answerField uint

const (
	fieldResultCode answerField = 1 << iota
	fieldPSPReference
	fieldMerchantReference
	fieldAmount
	fieldCurrency
	fieldValue
	fieldRefusalReason
	fieldRefusalCode
	fieldAdditionalData
	fieldRaw
	fieldAdvice
	fieldInferred
	fieldVariant
	fieldRescue
	fieldErrorCode
	fieldErrorType
	fieldMessage
)

// An answer is what this client reads of Adyen's answers, of payments and of
// errors. The bytes point into the body that was read.
type answer struct {
	seen              answerField
	resultCode        []byte
	pspReference      []byte
	merchantReference []byte
	currency          []byte
	value             int64
	refusalReason     []byte
	refusalCode       []byte
	raw               []byte // additionalData.refusalReasonRaw
	advice            []byte // additionalData.merchantAdviceCode
	inferred          []byte // additionalData.inferredRefusalReason
	variant           []byte // additionalData.paymentMethodVariant
	rescue            []byte // additionalData.retry.rescueScheduled
	errorCode         []byte
	errorType         []byte
	message           []byte
}

func (a *answer) has(f answerField) bool { return a.seen&f == f }

// once notes that f was met, and fails if it was met before.
func (a *answer) once(s *scanner, f answerField) {
	if a.seen&f != 0 {
		s.fail("a field that decides stands there twice")
	}
	a.seen |= f
}

// parse reads body, one JSON object.
func (a *answer) parse(body []byte) error { return scanObject(body, a.topField) }

func (a *answer) topField(s *scanner, name []byte) {
	switch string(name) {
	case "resultCode":
		a.once(s, fieldResultCode)
		a.resultCode = s.text()
	case "pspReference":
		a.once(s, fieldPSPReference)
		a.pspReference = s.loose()
	case "merchantReference":
		a.once(s, fieldMerchantReference)
		a.merchantReference = s.text()
	case "amount":
		a.once(s, fieldAmount)
		s.object(a.amountField)
	case "refusalReason":
		a.once(s, fieldRefusalReason)
		a.refusalReason = s.loose()
	case "refusalReasonCode":
		a.once(s, fieldRefusalCode)
		a.refusalCode = s.loose()
	case "additionalData":
		a.once(s, fieldAdditionalData)
		if s.peek() == '{' {
			s.object(a.additionalField)
		} else {
			s.skip()
		}
	case "errorCode":
		a.once(s, fieldErrorCode)
		a.errorCode = s.loose()
	case "errorType":
		a.once(s, fieldErrorType)
		a.errorType = s.loose()
	case "message":
		a.once(s, fieldMessage)
		a.message = s.loose()
	default:
		s.skip()
	}
}

func (a *answer) amountField(s *scanner, name []byte) {
	switch string(name) {
	case "currency":
		a.once(s, fieldCurrency)
		a.currency = s.text()
	case "value":
		a.once(s, fieldValue)
		a.value = s.integer()
	default:
		s.skip()
	}
}

func (a *answer) additionalField(s *scanner, name []byte) {
	var f answerField
	var into *[]byte
	switch string(name) {
	case "refusalReasonRaw":
		f, into = fieldRaw, &a.raw
	case "merchantAdviceCode":
		f, into = fieldAdvice, &a.advice
	case "inferredRefusalReason":
		f, into = fieldInferred, &a.inferred
	case "paymentMethodVariant":
		f, into = fieldVariant, &a.variant
	case "retry.rescueScheduled":
		f, into = fieldRescue, &a.rescue
	default:
		s.skip()
		return
	}
	a.once(s, f)
	*into = s.loose()
}

// isJSON reports whether the answer says that its body is JSON. An answer that
// does not is somebody else's: a proxy's page, a wrong address.
func isJSON(h http.Header) bool {
	kind, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	return kind == "application/json" || strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json")
}

var (
	errNotAnAnswer = errors.New("an answer that is not JSON by its content type")
	errNoResult    = errors.New("an answer without resultCode")
	errOddStatus   = errors.New("a status that POST /payments does not have")
)

// parsePayment reads the body of a successful answer. Its errors quote nothing.
func parsePayment(from gateway.Answer) (*answer, error) {
	switch from.Status {
	case http.StatusOK, http.StatusCreated, http.StatusAccepted:
	default:
		return nil, errOddStatus
	}
	if !isJSON(from.Header) {
		return nil, errNotAnAnswer
	}
	a := new(answer)
	if err := a.parse(from.Body); err != nil {
		return nil, err
	}
	if len(a.resultCode) == 0 {
		return nil, errNoResult
	}
	return a, nil
}

// results are the resultCodes of a charge without its shopper. Every other,
// known (PartiallyAuthorised, AuthenticationFinished, AuthenticationNotRequired,
// Success) or not, leaves the outcome unknown.
//
// The four that ask the shopper to act are refusals: no shopper is there and no
// money moved; the same request would ask again.
var results = map[string]struct {
	word         string
	outcome      billing.Outcome
	needsShopper bool
}{
	"Authorised":       {word: "Authorised", outcome: billing.OutcomeAuthorised},
	"Refused":          {word: "Refused", outcome: billing.OutcomeRefused},
	"Error":            {word: "Error", outcome: billing.OutcomeRefused},
	"Cancelled":        {word: "Cancelled", outcome: billing.OutcomeRefused},
	"Received":         {word: "Received", outcome: billing.OutcomePending},
	"Pending":          {word: "Pending", outcome: billing.OutcomePending},
	"RedirectShopper":  {word: "RedirectShopper", outcome: billing.OutcomeRefused, needsShopper: true},
	"IdentifyShopper":  {word: "IdentifyShopper", outcome: billing.OutcomeRefused, needsShopper: true},
	"ChallengeShopper": {word: "ChallengeShopper", outcome: billing.OutcomeRefused, needsShopper: true},
	"PresentToShopper": {word: "PresentToShopper", outcome: billing.OutcomeRefused, needsShopper: true},
}

// fill writes what the answer says about p into reply.
//
// An answer must name the payment it is about: without merchantReference it
// could be about any, and a refusal believed of the wrong payment opens a
// second attempt as surely as an approval closes the first. Authorised must
// carry a pspReference too: money without a handle cannot be refunded. The
// amount is compared where it stands (refusals have none). These rules are
// contauth's own: Adyen asks for none of them.
func (a *answer) fill(reply *billing.Reply, p payment, secrets []string) error {
	if err := a.compare(p); err != nil {
		return err
	}
	result, ok := results[string(a.resultCode)]
	if !ok {
		return fmt.Errorf("%w: resultCode %q", billing.ErrUnknown, line(a.resultCode, maxWord, secrets))
	}
	if result.outcome == billing.OutcomeAuthorised && len(a.pspReference) == 0 {
		return fmt.Errorf("%w: Authorised without pspReference", billing.ErrUnknown)
	}
	reply.Outcome, reply.ResultCode = result.outcome, result.word
	// Not through line: a pspReference may be 16 digits.
	reply.GatewayReference = wordOf(a.pspReference)
	if result.outcome != billing.OutcomeRefused {
		return nil
	}
	reply.RefusalCode = line(a.refusalCode, maxWord, secrets)
	reply.RefusalReason = line(a.refusalReason, maxLine, secrets)
	reply.RawCode = line(a.raw, maxLine, secrets)
	reply.AdviceCode = leadingCode(line(a.advice, maxLine, secrets))
	switch {
	case string(a.rescue) == "true":
		// Adyen's Auto Rescue goes on trying by itself. An attempt of ours
		// beside it could charge twice, so the result is still to come.
		reply.Outcome = billing.OutcomePending
	case result.needsShopper:
		reply.Class = billing.DeclineHard
	default:
		reply.Class = classify(refusal{
			code:     reply.RefusalCode,
			reason:   reply.RefusalReason,
			raw:      leadingCode(reply.RawCode),
			advice:   reply.AdviceCode,
			inferred: line(a.inferred, maxLine, secrets),
			visa:     strings.HasPrefix(string(a.variant), "visa"),
		})
	}
	return nil
}

// compare returns an error unless the answer is about p.
func (a *answer) compare(p payment) error {
	switch {
	case !a.has(fieldMerchantReference):
		return fmt.Errorf("%w: an answer without merchantReference", billing.ErrUnknown)
	case string(a.merchantReference) != p.reference:
		return fmt.Errorf("%w: merchantReference differs", billing.ErrMismatch)
	case !a.has(fieldAmount):
		return nil
	case !a.has(fieldCurrency | fieldValue):
		return fmt.Errorf("%w: an amount without value or currency", billing.ErrUnknown)
	case string(a.currency) != p.currency:
		return fmt.Errorf("%w: currency differs", billing.ErrMismatch)
	case a.value != p.value:
		return fmt.Errorf("%w: value is %d, not %d", billing.ErrMismatch, a.value, p.value)
	}
	return nil
}

func line(text []byte, limit int, secrets []string) string {
	if len(text) == 0 {
		return ""
	}
	return gateway.Line(string(text), limit, secrets...)
}

// wordOf returns an identifier of the gateway, or nothing if it is none.
func wordOf(text []byte) string {
	s := string(text)
	if len(s) > maxWord || !isVisibleASCII(s) {
		return ""
	}
	return s
}

// leadingCode returns "24" of "24 : Retry after 1 hour".
func leadingCode(text string) string {
	code, _, _ := strings.Cut(text, ":")
	code = strings.TrimSpace(code)
	if len(code) > 4 || strings.ContainsRune(code, ' ') {
		return ""
	}
	return code
}
