package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// A subject is what an event's pspReference names.
type subject string

const (
	aboutPayment subject = "payment"
	aboutToken   subject = "token" // RECURRING_CONTRACT alone
	aboutCapture subject = "capture"
	aboutCancel  subject = "cancel"
	aboutRefund  subject = "refund"
	aboutDispute subject = "dispute" // all events of one dispute share its pspReference
	aboutLife    subject = "life"    // a token event: the pspReference is of what caused it
)

// A webhookKind is one of the events that POST /sandbox/webhooks can send.
// (Adyen: "Webhook types")
type webhookKind struct {
	about subject
	// begins says that each such event is about something new; the others are
	// about the last one of the payment, if there is one.
	begins bool
	extra  []string // additionalData
}

var webhookKinds = map[string]webhookKind{
	"AUTHORISATION":                      {about: aboutPayment},
	"CAPTURE":                            {about: aboutCapture, begins: true},
	"CAPTURE_FAILED":                     {about: aboutCapture},
	"CANCELLATION":                       {about: aboutCancel, begins: true},
	"REFUND":                             {about: aboutRefund, begins: true},
	"REFUND_FAILED":                      {about: aboutRefund},
	"NOTIFICATION_OF_FRAUD":              {about: aboutDispute, extra: []string{"nofReasonCode", "6", "nofSchemeCode", "visa"}},
	"NOTIFICATION_OF_CHARGEBACK":         {about: aboutDispute, extra: disputeData("Undefended")},
	"CHARGEBACK":                         {about: aboutDispute, extra: disputeData("Undefended")},
	"CHARGEBACK_REVERSED":                {about: aboutDispute, extra: disputeData("Pending")},
	"SECOND_CHARGEBACK":                  {about: aboutDispute, extra: disputeData("Lost")},
	"RECURRING_CONTRACT":                 {about: aboutToken},
	tokenEventPrefix + "created":         {about: aboutLife},
	tokenEventPrefix + "alreadyExisting": {about: aboutLife},
	tokenEventPrefix + "updated":         {about: aboutLife, begins: true},
	tokenEventPrefix + "disabled":        {about: aboutLife, begins: true},
}

// disputeData is the additionalData of a dispute. One of Adyen's own samples has
// the blank before the reason.
func disputeData(status string) []string {
	return []string{"chargebackReasonCode", " 10.4", "chargebackSchemeCode", "visa", "defendable", "true", "disputeStatus", status}
}

// A webhookOrder is what POST /sandbox/webhooks takes: which event to send, of
// which payment in the ledger.
type webhookOrder struct {
	Code         string `json:"code"`
	Reference    string `json:"reference"`     // of the payment
	PSPReference string `json:"psp_reference"` // of the payment, where several have the reference

	EventPSPReference string `json:"event_psp_reference"` // of an earlier event that this one goes on with
	AmountMinor       *int64 `json:"amount_minor"`        // as ISO 4217 counts; default: the payment's
	Success           *bool  `json:"success"`             // default: true; of an AUTHORISATION the payment's
	Reason            string `json:"reason"`
	WithoutOriginal   bool   `json:"without_original"` // no originalReference: Adyen leaves it out of some dispute events
}

// check returns what is wrong with an order by itself.
func (o *webhookOrder) check() error {
	kind, known := webhookKinds[o.Code]
	switch {
	case !known:
		return fmt.Errorf("code is %q; it is one of %s", o.Code, strings.Join(slices.Sorted(maps.Keys(webhookKinds)), ", "))
	case (o.Reference == "") == (o.PSPReference == ""):
		return errors.New("the order needs reference or psp_reference of a payment, and not both")
	case o.AmountMinor != nil && *o.AmountMinor < 0:
		return fmt.Errorf("amount_minor is %d; it cannot be below zero", *o.AmountMinor)
	case kind.about == aboutLife && (o.AmountMinor != nil || o.Success != nil || o.Reason != "" || o.WithoutOriginal):
		return fmt.Errorf("%s has no amount_minor, success, reason and originalReference", o.Code)
	}
	return nil
}

// sentWebhook is what POST /sandbox/webhooks gives.
type sentWebhook struct {
	Code       string `json:"code"`
	PSP        string `json:"psp_reference"`         // of the event: eventId, for a token event
	PaymentPSP string `json:"payment_psp_reference"` // of the payment that it is about
	Lost       bool   `json:"lost"`                  // the behaviour wants it never sent
}

// handleWebhookOrder sends an event about a payment. Whoever plays the bank or the
// back office calls it; a second call sends a second event.
func (s *Server) handleWebhookOrder(w http.ResponseWriter, r *http.Request) error {
	if s.webhooks == nil {
		return errNoWebhooks
	}
	var order webhookOrder
	if err := readJSON(r, &order); err != nil {
		return err
	}
	if err := order.check(); err != nil {
		return badRequest(err)
	}
	line, begun, err := s.findPayment(&order)
	if err != nil {
		return err
	}
	psp, err := s.eventPSP(&order, line, begun)
	if err != nil {
		return err
	}
	e, err := s.orderedEvent(&order, line, psp)
	if err != nil {
		return err
	}
	lost := s.webhooks.order(e)
	writeJSON(w, http.StatusCreated, sentWebhook{order.Code, psp, line.PSPReference, lost})
	return nil
}

// findPayment returns the payment that an order names, and the number of the last
// thing of its event's kind that was begun for it; 0 is none. It reads the whole
// ledger: orders are few, and memory for all references is not to be had.
func (s *Server) findPayment(o *webhookOrder) (line *ledgerLine, begun uint64, err error) {
	needle := appendMember(nil, `,"reference":`, o.Reference)
	if o.PSPReference != "" {
		needle = appendMember(nil, `,"psp_reference":`, o.PSPReference)
	}
	about := []byte(webhookKinds[o.Code].about)
	err = s.ledger.each(func(r *record) error {
		switch {
		case r.isAdyens() && bytes.Contains(r.line, needle):
			if line != nil {
				return &controlError{http.StatusConflict, errors.New("several payments have the reference; name one by its psp_reference")}
			}
			line = new(ledgerLine)
			text, err := s.lineNow(r)
			if err != nil {
				return err
			}
			return json.Unmarshal(text, line)
		case r.kind == recordOrdered && line != nil && string(r.key) == line.PSPReference && bytes.Equal(r.answer, about):
			begun = r.seq
		}
		return nil
	})
	if err == nil && line == nil {
		err = &controlError{http.StatusNotFound, errors.New("the ledger has no such payment of Adyen's")}
	}
	if line != nil {
		line.card = s.methods.cardOf(line.Token)
	}
	return line, begun, err
}

// eventPSP returns the pspReference of an event. What an event begins is noted in
// the ledger, so that later ones can go on with it.
func (s *Server) eventPSP(o *webhookOrder, line *ledgerLine, begun uint64) (string, error) {
	kind := webhookKinds[o.Code]
	switch {
	case o.EventPSPReference != "":
		return o.EventPSPReference, nil
	case kind.about == aboutPayment, kind.about == aboutLife && !kind.begins:
		return line.PSPReference, nil
	case kind.about == aboutToken:
		return line.Token, nil
	}
	if kind.begins || begun == 0 {
		begun = s.seq.Add(1)
		r := record{kind: recordOrdered, seq: begun, at: s.clock.now().UnixNano(), key: []byte(line.PSPReference), answer: []byte(kind.about)}
		if _, err := s.ledger.append(&r); err != nil {
			return "", err
		}
	}
	return string(appendPSPReference(nil, s.ledger.seed, begun)), nil
}

// orderedEvent is the event that an order asks for.
func (s *Server) orderedEvent(o *webhookOrder, line *ledgerLine, psp string) (event, error) {
	kind, now := webhookKinds[o.Code], s.clock.now()
	if kind.about == aboutLife {
		return line.tokenEvent(o.Code, psp, now), nil
	}
	var n notification
	switch kind.about {
	case aboutPayment:
		success := line.ResultCode != resultRefused && line.RefusalReasonCode == ""
		if o.Success != nil {
			success = *o.Success
		}
		n = line.authorisation(success, now)
	case aboutToken:
		n = line.contract(now)
	default:
		n = line.modification(o.Code, psp, now)
		n.extra = append(n.extra, kind.extra...)
	}
	n.psp = psp
	if o.Success != nil {
		n.success = *o.Success
	}
	if o.Reason != "" {
		n.reason = o.Reason
	}
	if o.WithoutOriginal {
		n.original = ""
	}
	if o.AmountMinor != nil {
		value, whole := currencies[line.Currency].adyenMinor(*o.AmountMinor)
		if !whole {
			return nil, badRequest(fmt.Errorf("amount_minor is %d, which Adyen cannot express in %s", *o.AmountMinor, line.Currency))
		}
		n.value = value
	}
	return &n, nil
}
