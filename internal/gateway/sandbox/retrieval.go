package sandbox

import (
	"encoding/json"
	"net/http"
	"slices"
)

// retrieveTransaction tells of a transaction as it is now, which is not always as
// it was answered.
func (m *mastercard) retrieveTransaction(x *exchange, _ *Rule) reply {
	f := &x.form
	order := orderKey(f.get("merchant"), f.get("order.id"))
	t, err := m.transaction(order + "/" + keyPart(f.get("transaction.id")))
	if err != nil {
		m.log.Error("the ledger cannot be read", "error", err)
		return x.errorReply(errBusy)
	}
	if t == nil {
		return x.errorReply(invalidField("transaction.id", "There is no such transaction."))
	}
	told := &nvpAnswer{t, m.orders.find(x.keys.name([]byte(order))), f.get("correlationId")}
	x.req.value, x.req.currency = t.Amount, t.Currency
	x.answer = told.appendTo(x.answer[:0])
	return reply{status: http.StatusOK, body: x.answer, told: told}
}

// transaction returns the transaction with a key as it is now, or nil.
func (m *mastercard) transaction(key string) (*transaction, error) {
	keys := m.keys[dialectMastercard]
	entry, found := keys.find(keys.name([]byte(key)))
	if !found {
		return nil, nil
	}
	r, err := m.ledger.read(entry.offset)
	if err != nil || len(r.detail) == 0 { // an answer without a transaction
		return nil, err
	}
	return m.asItIs(r)
}

// asItIs returns the transaction of a record with what became of it since.
func (m *mastercard) asItIs(r *record) (*transaction, error) {
	if offset, resolved := m.resolutions.find(r.seq); resolved {
		var err error
		if r, err = m.ledger.read(offset); err != nil {
			return nil, err
		}
	}
	t := new(transaction)
	if err := json.Unmarshal(r.detail, t); err != nil {
		return nil, err
	}
	t.words()
	return t, nil
}

// transactions returns all transactions of an order, oldest first.
func (m *mastercard) transactions(o order) ([]*transaction, error) {
	var all []*transaction
	for at := o.last; at != 0; {
		r, err := m.ledger.read(at)
		if err != nil {
			return nil, err
		}
		t, err := m.asItIs(r)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
		at = t.Previous
	}
	slices.Reverse(all)
	return all, nil
}

// retrieveOrder tells of an order and all its transactions.
func (m *mastercard) retrieveOrder(x *exchange, _ *Rule) reply {
	f := &x.form
	o := m.orders.find(x.keys.name([]byte(orderKey(f.get("merchant"), f.get("order.id")))))
	all, err := m.transactions(o)
	if err != nil {
		m.log.Error("the ledger cannot be read", "error", err)
		return x.errorReply(errBusy)
	}
	if len(all) == 0 {
		return x.errorReply(invalidField("order.id", "There is no such order."))
	}
	b := appendField(x.answer[:0], "correlationId", f.get("correlationId"))
	b = (&nvpAnswer{transaction: all[0], order: o}).appendOrder(b, "")
	b = appendField(b, "merchant", all[0].Merchant)
	b = appendField(b, "result", resultSuccess)
	for i, t := range all {
		b = (&nvpAnswer{transaction: t, order: o}).appendTransaction(b, indexed("transaction", i))
	}
	x.answer = b
	return reply{status: http.StatusOK, body: b}
}
