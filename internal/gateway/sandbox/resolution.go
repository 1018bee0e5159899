package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
)

// resolutions say, by the number of a payment, where in the ledger stands what
// became of it after it was answered.
type resolutions struct {
	mu sync.Mutex
	at map[uint64]int64
}

func (r *resolutions) add(seq uint64, offset int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at == nil {
		r.at = make(map[uint64]int64)
	}
	r.at[seq] = offset
}

func (r *resolutions) find(seq uint64) (offset int64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	offset, ok = r.at[seq]
	return offset, ok
}

// lineNow returns the line of a payment with what became of it since.
func (s *Server) lineNow(r *record) ([]byte, error) {
	offset, resolved := s.resolutions.find(r.seq)
	if !resolved {
		return r.line, nil
	}
	now, err := s.ledger.read(offset)
	if err != nil {
		return nil, err
	}
	return now.line, nil
}

// A resolutionOrder is what POST /sandbox/resolutions takes: of which transaction,
// and what it turns out to be.
type resolutionOrder struct {
	Merchant    string `json:"merchant_account"` // where several have the reference
	Reference   string `json:"reference"`        // <order.id>~<transaction.id>
	GatewayCode string `json:"gateway_code"`
}

var errNoTransaction = &controlError{http.StatusNotFound, errors.New("the ledger has no such transaction of the Mastercard Gateway")}

// handleResolution decides a transaction that was answered as unknown or pending.
// Whoever plays the acquirer calls it; a transaction is decided once.
func (m *mastercard) handleResolution(w http.ResponseWriter, r *http.Request) error {
	var wanted resolutionOrder
	if err := readJSON(r, &wanted); err != nil {
		return err
	}
	v, known := verdicts[wanted.GatewayCode]
	if !known || v.open() || v.Code == codeLocked {
		return badRequest(fmt.Errorf("gateway_code is %q; it is one that decides, such as APPROVED or DECLINED", wanted.GatewayCode))
	}
	key, err := m.findTransaction(&wanted)
	if err != nil {
		return err
	}
	orderName := m.keys[dialectMastercard].name(key[:bytes.LastIndexByte(key, '/')])
	if !m.orders.lock(orderName) {
		return &controlError{http.StatusConflict, errors.New("a transaction of the order is being made")}
	}
	defer m.orders.unlock(orderName)
	t, err := m.transaction(string(key))
	if err != nil {
		return err
	}
	if t == nil {
		return errNoTransaction
	}
	if !t.open() {
		return &controlError{http.StatusConflict, fmt.Errorf("the transaction is %s, which is decided", t.Code)}
	}
	t.verdict, t.Updated = v, m.clock.now().UnixNano()
	t.grant()
	line := t.appendLine(nil, string(key))
	detail, err := json.Marshal(t)
	if err != nil {
		return err
	}
	offset, err := m.ledger.append(&record{
		kind: recordResolved, dialect: dialectMastercard, seq: t.Seq, at: t.Updated, key: key, line: line, detail: detail,
	})
	if err != nil {
		return err
	}
	m.resolutions.add(t.Seq, offset)
	m.count(t, offset, recordResolved)
	writeJSON(w, http.StatusOK, json.RawMessage(bytes.TrimSpace(line)))
	return nil
}

// findTransaction reads the ledger for the transaction that an order names, and
// returns its key.
func (m *mastercard) findTransaction(o *resolutionOrder) (key []byte, err error) {
	needle := appendMember(nil, `,"reference":`, o.Reference)
	account := appendMember(nil, `,"merchant_account":`, o.Merchant)
	err = m.ledger.each(func(r *record) error {
		if r.dialect != dialectMastercard || !bytes.Contains(r.line, needle) || o.Merchant != "" && !bytes.Contains(r.line, account) {
			return nil
		}
		if key != nil && !bytes.Equal(key, r.key) {
			return &controlError{http.StatusConflict, errors.New("several merchants have the reference; name one by merchant_account")}
		}
		key = bytes.Clone(r.key)
		return nil
	})
	if err == nil && key == nil {
		err = errNoTransaction
	}
	return key, err
}
