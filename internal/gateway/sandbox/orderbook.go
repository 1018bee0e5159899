package sandbox

import "sync"

// orderLife is how long an order.id is one order's: for ever.
const orderLife = 1<<63 - 1

// An orderStatus is what has become of an order so far.
type orderStatus uint8

const (
	orderOpen orderStatus = iota
	orderFailed
	orderVerified
	orderAuthorized
	orderPartlyCaptured
	orderCaptured
	orderPartlyRefunded
	orderRefunded
	orderCancelled
)

var orderStatuses = [...]string{
	"PENDING", "FAILED", "VERIFIED", "AUTHORIZED", "PARTIALLY_CAPTURED", "CAPTURED", "PARTIALLY_REFUNDED", "REFUNDED", "CANCELLED",
}

// String returns the status as order.status says it.
func (s orderStatus) String() string { return orderStatuses[s] }

// An order is the money of an order, and where its transactions are. It holds no
// pointer, so that the garbage collector never looks into a book of a million.
type order struct {
	working  bool // a transaction of it is being made
	status   orderStatus
	currency [3]byte
	last     int64 // where its last transaction stands in the ledger; 0 if it has none

	amount, authorized, captured, refunded int64 // minor units

	created, updated int64 // Unix nanoseconds
}

// An orderBook has the orders of all merchants.
type orderBook struct {
	mu     sync.Mutex
	orders map[keyName]order
}

// lock lets one transaction at a time work on an order, and reports whether the
// caller's is it.
func (b *orderBook) lock(name keyName) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	o := b.orders[name]
	if o.working {
		return false
	}
	o.working = true
	b.orders[name] = o
	return true
}

func (b *orderBook) unlock(name keyName) {
	b.mu.Lock()
	defer b.mu.Unlock()
	o := b.orders[name]
	if o.last == 0 { // nothing came of it
		delete(b.orders, name)
		return
	}
	o.working = false
	b.orders[name] = o
}

// find returns an order; its last is 0 if there is none.
func (b *orderBook) find(name keyName) order {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.orders[name]
}

// change puts what f makes of an order in its place.
func (b *orderBook) change(name keyName, f func(*order)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	o := b.orders[name]
	f(&o)
	b.orders[name] = o
}

// add counts a transaction in its order.
func (o *order) add(t *transaction) {
	if o.created == 0 {
		o.created, o.status = t.At, orderOpen
		copy(o.currency[:], t.Currency)
	}
	if recordOf(t.Kind) != recordModification {
		o.amount = t.Amount
	}
	o.updated = max(o.updated, t.Updated)
	if !t.approves() {
		if !t.open() && o.status == orderOpen {
			o.status = orderFailed
		}
		return
	}
	switch t.Kind {
	case kindPayment:
		o.authorized += t.Granted
		o.captured += t.Granted
	case kindAuthorization:
		o.authorized += t.Granted
	case kindVerification:
		if o.status == orderOpen || o.status == orderFailed {
			o.status = orderVerified
		}
		return
	case kindCapture:
		o.captured += t.Granted
	case kindRefund:
		o.refunded += t.Granted
	case kindVoid + "_" + kindPayment:
		o.authorized -= t.Granted
		o.captured -= t.Granted
	case kindVoid + "_" + kindAuthorization:
		o.authorized -= t.Granted
	case kindVoid + "_" + kindCapture:
		o.captured -= t.Granted
	case kindVoid + "_" + kindRefund:
		o.refunded -= t.Granted
	}
	o.status = o.statusOfMoney()
}

func (o *order) statusOfMoney() orderStatus {
	switch {
	case o.refunded > 0 && o.refunded >= o.captured:
		return orderRefunded
	case o.refunded > 0:
		return orderPartlyRefunded
	case o.captured > 0 && o.captured < o.authorized:
		return orderPartlyCaptured
	case o.captured > 0:
		return orderCaptured
	case o.authorized > 0:
		return orderAuthorized
	}
	return orderCancelled
}
