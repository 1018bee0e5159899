package sandbox

import (
	_ "embed"
	"strings"
	"time"
)

//go:embed gatewaycodes.csv
var gatewayCodesCSV string

//go:embed expiries.csv
var expiriesCSV string

// A verdict is what becomes of a transaction at the Mastercard Gateway.
type verdict struct {
	Code    string `json:"code"`   // response.gatewayCode
	Result  string `json:"result"` // result
	ledger  string // result_code
	Advised bool   `json:"stop,omitempty"` // the acquirer forbids to charge the card again

	AcquirerCode    string `json:"acquirer_code,omitempty"`
	AcquirerMessage string `json:"acquirer_message,omitempty"`
	recommendation  string
}

// The summaries of an answer. The field is called result.
const (
	resultSuccess = "SUCCESS"
	resultFailure = "FAILURE"
	resultOpen    = "PENDING"
	resultUnknown = "UNKNOWN"
)

// Ledger words that Adyen's side has no use for.
const (
	ledgerPartly  = "PartiallyAuthorised"
	ledgerUnknown = "Unknown"
)

// Codes that the program itself names.
const (
	codeApproved = "APPROVED"
	codePartly   = "PARTIALLY_APPROVED"
	codeDeclined = "DECLINED"
	codeLocked   = "LOCK_FAILURE"
)

// What a token's ending says that is no gatewayCode; see the package comment.
const (
	endingFuture   = "FUTURE"
	endingStop     = "STOP"
	endingInvalid  = "INVALID"
	endingNotFound = "NOTFOUND"
)

var (
	verdicts       = mustReadVerdicts(gatewayCodesCSV)
	verdictEndings = verdictsByEnding(verdicts)
	expiryVerdicts = mustReadExpiries(expiriesCSV)
)

func mustReadVerdicts(text string) map[string]verdict {
	table := make(map[string]verdict)
	for _, row := range mustReadTable(text, 6) {
		table[row[0]] = verdict{Code: row[0], Result: row[1], ledger: row[2], AcquirerCode: row[3], AcquirerMessage: row[4], recommendation: row[5]}
	}
	return table
}

// verdictsByEnding returns the codes as tokens spell them, which can have no
// underscores.
func verdictsByEnding(table map[string]verdict) map[string]string {
	endings := make(map[string]string)
	for code := range table {
		endings[strings.ReplaceAll(code, "_", "")] = code
	}
	return endings
}

// An expiryVerdict is what an expiry date means from a day on.
type expiryVerdict struct {
	since        time.Time
	expiry, code string
}

func mustReadExpiries(text string) []expiryVerdict {
	var table []expiryVerdict
	for _, row := range mustReadTable(text, 3) {
		since, err := time.Parse(time.DateOnly, row[0])
		if err != nil {
			panic("sandbox: embedded table: " + err.Error())
		}
		table = append(table, expiryVerdict{since, row[1], row[2]})
	}
	return table
}

// byExpiry returns the code that an expiry date, MM/YY, stands for at a time.
func byExpiry(expiry string, now time.Time) string {
	code, since := codeApproved, time.Time{}
	for _, row := range expiryVerdicts {
		if row.expiry == expiry && !row.since.After(now) && !row.since.Before(since) {
			code, since = row.code, row.since
		}
	}
	return code
}

// approves reports whether money was granted.
func (v *verdict) approves() bool {
	known := verdicts[v.Code]
	return v.Result == resultSuccess && (known.ledger == resultAuthorised || known.ledger == ledgerPartly)
}

// open reports whether the outcome is still to come.
func (v *verdict) open() bool { return v.Result == resultOpen || v.Result == resultUnknown }

// verdictOf returns the verdict with a code. One that the table does not know is
// a failure, as the real gateway may answer with a new one.
func verdictOf(code string) verdict {
	if v, known := verdicts[code]; known {
		return v
	}
	return verdict{Code: code, Result: resultFailure, ledger: resultRefused, recommendation: "DO_NOT_PROCEED"}
}

// words fills in what is not kept with a transaction.
func (v *verdict) words() {
	known, is := verdicts[v.Code]
	switch {
	case is && known.Result == v.Result:
		v.ledger, v.recommendation = known.ledger, known.recommendation
	case v.Result == resultFailure:
		v.ledger, v.recommendation = resultRefused, "DO_NOT_PROCEED"
	default:
		v.ledger = v.Result
	}
}

// endingVerdict returns what a token's ending decides. Two characters behind a
// code are the acquirer's: DECLINED61.
func endingVerdict(ending string) (v verdict, decides bool) {
	switch ending {
	case "":
		return verdict{}, false
	case endingFuture:
		return verdict{Code: "CODE_OF_THE_FUTURE", Result: "RESULT_OF_THE_FUTURE", ledger: "FutureResult"}, true
	case endingStop:
		v = verdicts[codeDeclined]
		v.Advised, v.AcquirerCode, v.AcquirerMessage = true, "R1", "Revocation of authorization order"
		v.recommendation = "DO_NOT_PROCEED_ABANDON_ORDER"
		return v, true
	}
	if code, known := verdictEndings[ending]; known {
		return verdicts[code], true
	}
	if split := len(ending) - 2; split > 0 {
		if code, known := verdictEndings[ending[:split]]; known {
			return verdicts[code].of(ending[split:]), true
		}
	}
	return verdict{}, false
}

// of returns the verdict with another code of the acquirer behind it.
func (v verdict) of(acquirerCode string) verdict {
	v.AcquirerCode, v.AcquirerMessage = acquirerCode, ""
	return v
}

// nvpEnding returns what stands behind the last x of a token.
func nvpEnding(token string) string {
	if i := strings.LastIndexByte(token, 'x'); i >= 0 {
		return token[i+1:]
	}
	return ""
}

// failPrefix stands in an order.reference before the code that it forces.
const failPrefix = ".FAIL"

// referenceVerdict returns what an order.reference forces.
func referenceVerdict(reference string) (v verdict, decides bool) {
	i := strings.LastIndex(reference, failPrefix)
	if i < 0 || i+len(failPrefix) == len(reference) {
		return verdict{}, false
	}
	code := reference[i+len(failPrefix):]
	if v, decides = endingVerdict(code); decides {
		return v, true
	}
	return verdictOf(code), true
}

// ruleVerdict returns what a rule forces.
func ruleVerdict(rule *Rule) (v verdict, decides bool) {
	switch {
	case rule == nil:
		return verdict{}, false
	case rule.Do == ActionRefuse:
		v = verdictOf(codeDeclined)
		if rule.With != "" {
			v = verdictOf(rule.With)
		}
		if rule.Code > 0 {
			v = v.of(twoDigits(rule.Code))
		}
		return v, true
	case rule.Do == ActionResult:
		return verdictNamed(rule.With), true
	}
	return verdict{}, false
}

func twoDigits(n int) string {
	if n > 99 {
		n %= 100
	}
	return string([]byte{'0' + byte(n/10), '0' + byte(n%10)})
}

// verdictNamed returns the verdict that a rule names by a gatewayCode, by a result
// or by the ledger's word, so that one script may serve all gateways.
func verdictNamed(word string) verdict {
	if v, known := verdicts[word]; known {
		return v
	}
	switch word {
	case resultSuccess, resultAuthorised:
		return verdicts[codeApproved]
	case resultFailure, resultRefused:
		return verdicts[codeDeclined]
	case ledgerPartly:
		return verdicts[codePartly]
	case resultError:
		return verdicts["SYSTEM_ERROR"]
	case resultCancelled:
		return verdicts["CANCELLED"]
	case resultPending:
		return verdicts["PENDING"]
	case resultReceived:
		return verdicts["SUBMITTED"]
	case ledgerUnknown:
		return verdicts["UNKNOWN"]
	}
	return verdict{Code: word, Result: word, ledger: word}
}
