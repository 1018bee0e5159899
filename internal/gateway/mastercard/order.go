package mastercard

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"github.com/contauth/contauth/billing"
)

// An Order is what the gateway has under one order.id: a charge with all its
// attempts.
type Order struct {
	ID     string
	Status string // the gateway's word, such as CAPTURED, AUTHORIZED or FAILED
	Amount billing.Money
	// What the order's transactions add up to. Before a new attempt Captured must
	// be zero.
	Authorized, Captured, Refunded billing.Money
	Transactions                   []OrderTransaction // in the gateway's order
}

// An OrderTransaction is one transaction of an order.
type OrderTransaction struct {
	ID          string
	Type        string // such as PAYMENT, AUTHORIZATION, CAPTURE or REFUND
	Result      Result
	GatewayCode string
	Amount      billing.Money // zero if the gateway does not tell
}

// Order asks for the order of a charge, RETRIEVE_ORDER, for people and for checks
// of what was taken. It is billing.ErrNotFound if the gateway has none, by the
// rules of Find; other errors are as those of Find.
func (c *Client) Order(ctx context.Context, orderID string) (Order, error) {
	order, err := c.order(ctx, orderID)
	if err != nil {
		return Order{}, fmt.Errorf("mastercard: look up order %.*q: %w", maxOrderID, orderID, err)
	}
	return order, nil
}

func (c *Client) order(ctx context.Context, orderID string) (Order, error) {
	if c.unfit != nil {
		return Order{}, c.unfit
	}
	if err := checkText("order.id", orderID, maxOrderID); err != nil {
		return Order{}, err
	}
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	f := c.newForm(opRetrieveOrder)
	f.add("order.id", orderID)
	a, err := c.send(ctx, c.sign(f))
	if err != nil {
		return Order{}, err
	}
	if err := a.lookUpFailure(); err != nil {
		return Order{}, err
	}
	return a.readOrder(orderID)
}

// readOrder reads the order's own fields, which stand at the top level, and
// transaction[n], each of which looks like a transaction's answer (seen, not
// documented for this protocol).
func (a *answer) readOrder(orderID string) (Order, error) {
	if a.result() != ResultSuccess {
		return Order{}, fmt.Errorf("%w: result %s of a look-up", billing.ErrUnknown, a.masked("result"))
	}
	switch id, ok := a.fields["id"]; {
	case !ok:
		return Order{}, fmt.Errorf("%w: an order without id", billing.ErrUnknown)
	case id != orderID:
		return Order{}, fmt.Errorf("%w: id differs", billing.ErrMismatch)
	}
	order := Order{ID: orderID, Status: a.masked("status")}
	currency := a.fields["currency"]
	for _, total := range [...]struct {
		name string
		into *billing.Money
	}{
		{"amount", &order.Amount},
		{"totalAuthorizedAmount", &order.Authorized},
		{"totalCapturedAmount", &order.Captured},
		{"totalRefundedAmount", &order.Refunded},
	} {
		// All four are always given; nobody may take a missing one for zero.
		sum, err := parseAmount(a.fields[total.name], currency)
		if err != nil {
			return Order{}, fmt.Errorf("%s: %w", total.name, err)
		}
		*total.into = sum
	}
	for _, i := range a.transactionIndexes() {
		order.Transactions = append(order.Transactions, a.readOrderTransaction(fmt.Sprintf("transaction[%d].", i), currency))
	}
	return order, nil
}

func (a *answer) readOrderTransaction(prefix, currency string) OrderTransaction {
	t := OrderTransaction{
		ID:          a.masked(prefix + "transaction.id"),
		Type:        a.masked(prefix + "transaction.type"),
		Result:      Result(a.masked(prefix + "result")),
		GatewayCode: a.masked(prefix + "response.gatewayCode"),
	}
	if own, ok := a.fields[prefix+"transaction.currency"]; ok {
		currency = own
	}
	if amount, err := parseAmount(a.fields[prefix+"transaction.amount"], currency); err == nil {
		t.Amount = amount
	}
	return t
}

// transactionField finds the index of a transaction in a field's name.
var transactionField = regexp.MustCompile(`^transaction\[([0-9]{1,6})\]\.`)

// transactionIndexes are the indexes in use, in order: whether the first is 0 or 1
// is not verified.
func (a *answer) transactionIndexes() []int {
	var indexes []int
	for name := range a.fields {
		if match := transactionField.FindStringSubmatch(name); match != nil {
			i, _ := strconv.Atoi(match[1]) // at most six digits
			indexes = append(indexes, i)
		}
	}
	slices.SortFunc(indexes, cmp.Compare[int])
	return slices.Compact(indexes)
}
