package mastercard

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/gateway"
)

// Longest texts of an answer that are kept, in bytes.
const (
	maxWord = 64
	maxLine = 200
)

// A Result is the first thing that an answer says (Transaction errors).
type Result string

const (
	ResultSuccess Result = "SUCCESS" // processed: the gatewayCode says what came of it
	ResultFailure Result = "FAILURE" // declined or rejected by gateway, acquirer or issuer
	ResultPending Result = "PENDING" // in progress
	ResultUnknown Result = "UNKNOWN" // the gateway does not know
	ResultError   Result = "ERROR"   // not processed; the error fields say why
)

// An answer is what came back to one request.
type answer struct {
	status   int
	header   http.Header
	fields   fields // nil if unreadable is set
	bad      error  // why the body cannot be read
	secrets  []string
	received error // what went wrong while the body came; bad too
}

var errNoResult = errors.New("an answer without result")

// readAnswer reads the body whatever the status says: the gateway documents its
// outcomes by result, and not which HTTP statuses this protocol has (not
// verified). bodyErr is what went wrong while the body was received.
func readAnswer(from gateway.Answer, bodyErr error, secrets []string) answer {
	a := answer{status: from.Status, header: from.Header, secrets: secrets, received: bodyErr, bad: bodyErr}
	if bodyErr != nil {
		return a
	}
	found, err := parseFields(from.Body)
	if err == nil && found["result"] == "" {
		err = errNoResult
	}
	if err != nil {
		a.bad = err
		return a
	}
	a.fields = found
	return a
}

func (a *answer) result() Result { return Result(a.fields["result"]) }

// word returns a field that is an identifier or a value of an enumeration,
// or nothing if it cannot be one.
func (a *answer) word(name string) string {
	if s := a.fields[name]; len(s) <= maxWord && isVisibleASCII(s) {
		return s
	}
	return ""
}

// line returns a field of words as one line that is fit to be stored and shown.
func (a *answer) line(name string) string {
	return gateway.Line(a.fields[name], maxLine, a.secrets...)
}

// masked returns a field of one word that may hold what must not be kept.
func (a *answer) masked(name string) string {
	return gateway.Line(a.fields[name], maxWord, a.secrets...)
}

// transactionKinds are the values of transaction.type that an answer can be held
// to. Others may come with time, and prove nothing.
var transactionKinds = []string{
	"AUTHENTICATION", "AUTHORIZATION", "AUTHORIZATION_UPDATE", "CAPTURE", "CHARGEBACK", "DISBURSEMENT", "FUNDING", "PAYMENT", "REFUND",
	"REFUND_REQUEST", "VERIFICATION", "VOID_AUTHORIZATION", "VOID_CAPTURE", "VOID_PAYMENT", "VOID_REFUND",
}

// read makes an answer without an error into a reply, or says why it cannot be
// one (Interpret the transaction response; Transaction errors).
//
// SUCCESS says only that the processing worked; money has moved if the code is of
// the approved class too. PARTIALLY_APPROVED is not: less was taken than is owed,
// and a person must decide. A code that is not in the table is a soft refusal
// under FAILURE, which says by itself that the operation was declined, and under
// SUCCESS it says nothing.
//
// looked says that the answer is of a look-up: what failed on its way may still be
// approved, so a first answer that says so is no answer yet.
func (c *Client) read(a *answer, p *payment, t transaction, reply billing.Reply, looked bool) (billing.Reply, error) {
	code := a.masked("response.gatewayCode")
	open := func(why string) (billing.Reply, error) {
		return reply, fmt.Errorf("%w: result %s with gatewayCode %q%s", billing.ErrUnknown, a.masked("result"), code, why)
	}
	meaning := meaningOf(code)
	if meaning == codeLocked {
		return reply, fmt.Errorf("%w: gatewayCode %s", billing.ErrInProgress, code)
	}
	filled := reply
	filled.ResultCode = string(a.result())
	filled.GatewayReference = p.orderID + "/" + strconv.Itoa(p.attempt)
	switch a.result() {
	case ResultSuccess:
		switch meaning {
		case codeApproved:
			filled.Outcome = billing.OutcomeAuthorised
			return filled, nil
		case codePartial:
			return open(": a part of the amount may be taken, and a person must look at it")
		}
		return open(" is no approval")
	case ResultPending:
		filled.Outcome = billing.OutcomePending
		return filled, nil
	case ResultFailure:
		switch meaning {
		case codeRefused, codeNew:
			if !looked && slices.Contains(failedOnTheWay, code) {
				return open(": look it up before it counts as refused")
			}
			c.refuse(a, code, &filled)
			return filled, nil
		case codePending:
			filled.Outcome = billing.OutcomePending
			return filled, nil
		}
		return open("")
	}
	return open("")
}

// failedOnTheWay are codes after which the acquirer may have approved all the same
// (Transaction errors: retrieve the transaction first).
var failedOnTheWay = []string{"TIMED_OUT", "ACQUIRER_SYSTEM_ERROR", "SYSTEM_ERROR", "UNSPECIFIED_FAILURE"}

// refuse fills in why the payment was refused.
func (c *Client) refuse(a *answer, code string, reply *billing.Reply) {
	reply.Outcome = billing.OutcomeRefused
	reply.RefusalCode = code
	reply.RefusalReason = a.line("response.acquirerMessage")
	reply.RawCode = a.masked("response.acquirerCode")
	// Answers of payments name the card's scheme (seen, not documented for PAY).
	reply.Class = classify(code, a.word("sourceOfFunds.provided.card.scheme"), reply.RawCode)
	if meaningOf(code) == codeNew {
		c.logger.Warn("gateway code not in the table, taken as soft", "code", code, "transaction", reply.GatewayReference)
	}
}

// compare returns an error unless the answer is about transaction t of p.
//
// An answer with an outcome must name the transaction: without, it could be about
// any, and a refusal believed of the wrong one opens a second attempt as surely as
// an approval closes the first. Everything else is compared where it stands. These
// rules are contauth's own: the gateway asks for none of them.
func (a *answer) compare(p *payment, t transaction, merchant string) error {
	if err := a.compareNames(p, t, merchant); err != nil {
		return err
	}
	for _, group := range [...]string{"order", "transaction"} {
		if err := a.compareAmount(group, p.amount); err != nil {
			return err
		}
	}
	return nil
}

func (a *answer) compareNames(p *payment, t transaction, merchant string) error {
	named := a.result() == ResultSuccess || a.result() == ResultFailure || a.result() == ResultPending
	for _, id := range [...]struct{ name, want string }{{"order.id", p.orderID}, {"transaction.id", t.id}} {
		switch got, ok := a.fields[id.name]; {
		case !ok && named:
			return fmt.Errorf("%w: an answer without %s", billing.ErrUnknown, id.name)
		case ok && got != id.want:
			return fmt.Errorf("%w: %s differs", billing.ErrMismatch, id.name)
		}
	}
	if got, ok := a.fields["merchant"]; ok && got != merchant {
		return fmt.Errorf("%w: merchant differs", billing.ErrMismatch)
	}
	if kind := a.fields["transaction.type"]; kind != t.kind && slices.Contains(transactionKinds, kind) {
		return fmt.Errorf("%w: it is of type %s, not %s", billing.ErrMismatch, kind, t.kind)
	}
	return nil
}

func (a *answer) compareAmount(group string, want billing.Money) error {
	currency, hasCurrency := a.fields[group+".currency"]
	text, hasAmount := a.fields[group+".amount"]
	if hasCurrency && currency != want.Currency {
		return fmt.Errorf("%w: %s.currency differs", billing.ErrMismatch, group)
	}
	if !hasAmount {
		return nil
	}
	got, err := parseAmount(text, want.Currency)
	if err != nil {
		return fmt.Errorf("%s.amount: %w", group, err)
	}
	if got != want {
		return fmt.Errorf("%w: %s.amount is %s, not %s", billing.ErrMismatch, group, got, want)
	}
	return nil
}
