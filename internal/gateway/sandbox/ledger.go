package sandbox

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// ledgerName is the one file in the data directory.
const ledgerName = "ledger.log"

// The file begins with ledgerMagic and eight random bytes, from which the
// pspReferences of this ledger are made. Records follow, without padding.
const (
	ledgerMagic  = "contauth-sandbox-1\n"
	ledgerStart  = int64(len(ledgerMagic) + 8)
	recordHeader = 48
	maxRecord    = 1 << 20 // far above what one request may bring along
)

// A recordKind says what a record of the ledger tells.
type recordKind uint8

const (
	recordPayment   recordKind = 1 // a payment that was made, and what was answered
	recordAnswer    recordKind = 2 // no payment, but an answer that is kept under a key
	recordResend    recordKind = 3 // a key came again
	recordForgotten recordKind = 4 // a key's answer was dropped by a rule
	recordOrdered   recordKind = 5 // a webhook began a refund or the like; see begun

	recordVerification recordKind = 6  // a card was checked: like a payment, but no money
	recordModification recordKind = 7  // a capture, refund or void at the Mastercard Gateway
	recordResolved     recordKind = 8  // what became of a payment that was not decided
	recordToken        recordKind = 9  // a stored token as it is from now on; see tokenBook
	recordSession      recordKind = 10 // a session as it is from now on
)

// A record is one entry of the ledger. A payment and the answer that is kept
// under its key are one record, so that no crash can part them.
type record struct {
	kind      recordKind
	dialect   dialectID
	otherBody bool   // recordResend: the body was not the one the key came with
	status    int    // HTTP status of answer
	seq       uint64 // number of the payment or answer; its pspReference is made of it
	at        int64  // Unix time in nanoseconds, on the sandbox's clock
	bodySum   uint64 // the first eight bytes of the body's SHA-256
	key       []byte // idempotency key; empty if the request had none
	line      []byte // the payment as a line of JSON; empty unless a payment
	detail    []byte // what the dialect needs to know of it; JSON, or empty
	answer    []byte // the body of the answer
}

// isAdyens reports whether the record is a payment of Adyen's, or a verification,
// which is a payment of nothing.
func (r *record) isAdyens() bool {
	return r.dialect == dialectAdyen && (r.kind == recordPayment || r.kind == recordVerification)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendTo appends the record's bytes: checksum, length, fixed fields, then
// key, line, detail and answer.
func (r *record) appendTo(b []byte) []byte {
	start := len(b)
	b = append(b, make([]byte, recordHeader)...)
	b = append(b, r.key...)
	b = append(b, r.line...)
	b = append(b, r.detail...)
	b = append(b, r.answer...)
	h := b[start:]
	binary.LittleEndian.PutUint32(h[4:], uint32(len(h)))
	h[8] = byte(r.kind)
	h[9] = byte(r.dialect) << 1
	if r.otherBody {
		h[9] |= 1
	}
	binary.LittleEndian.PutUint16(h[10:], uint16(r.status))
	binary.LittleEndian.PutUint32(h[12:], uint32(len(r.key)))
	binary.LittleEndian.PutUint32(h[16:], uint32(len(r.line)))
	binary.LittleEndian.PutUint32(h[20:], uint32(len(r.detail)))
	binary.LittleEndian.PutUint64(h[24:], uint64(r.at))
	binary.LittleEndian.PutUint64(h[32:], r.seq)
	binary.LittleEndian.PutUint64(h[40:], r.bodySum)
	binary.LittleEndian.PutUint32(h, crc32.Checksum(h[4:], castagnoli))
	return b
}

// parse reads a whole record from h. Its slices are parts of h.
func (r *record) parse(h []byte) error {
	if binary.LittleEndian.Uint32(h) != crc32.Checksum(h[4:], castagnoli) {
		return errDamaged
	}
	payload := h[recordHeader:]
	lineAt := int(binary.LittleEndian.Uint32(h[12:]))
	detailAt := lineAt + int(binary.LittleEndian.Uint32(h[16:]))
	answerAt := detailAt + int(binary.LittleEndian.Uint32(h[20:]))
	if answerAt > len(payload) || h[9]>>1 >= dialects {
		return errDamaged
	}
	*r = record{
		kind: recordKind(h[8]), dialect: dialectID(h[9] >> 1), otherBody: h[9]&1 == 1, status: int(binary.LittleEndian.Uint16(h[10:])),
		at: int64(binary.LittleEndian.Uint64(h[24:])), seq: binary.LittleEndian.Uint64(h[32:]), bodySum: binary.LittleEndian.Uint64(h[40:]),
		key: payload[:lineAt], line: payload[lineAt:detailAt], detail: payload[detailAt:answerAt], answer: payload[answerAt:],
	}
	return nil
}

var (
	errDamaged = errors.New("the record is damaged")
	errTorn    = errors.New("the record is torn off")
)

// A ledger is the append-only file of all payments and kept answers. A record
// is with the operating system before append returns, so it survives a kill of
// this process; it is not flushed to the disk, since the sandbox's money is
// not worth a flush.
type ledger struct {
	file *os.File
	seed [8]byte // random, made with the file

	mu      sync.Mutex
	size    int64 // bytes of whole records in the file
	writing bool  // somebody writes; whoever comes meanwhile joins next
	next    *group
	spare   []byte // the buffer of the group written last
}

// A group is what several requests give to one write.
type group struct {
	buf  []byte
	done chan struct{} // closed when written; made only if somebody waits
	at   int64         // where in the file buf begins; set when written
	err  error
}

// openLedger opens or makes the ledger in dir, gives every whole record to
// each, cuts off a torn last one and returns how many bytes that was.
func openLedger(dir string, each func(offset int64, r *record) error) (l *ledger, torn int64, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, 0, fmt.Errorf("make the data directory: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(dir, ledgerName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, 0, fmt.Errorf("open the ledger: %w", err)
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, 0, fmt.Errorf("%s is in use by another sandbox", file.Name())
	}
	l = &ledger{file: file, next: new(group)}
	if err := l.begin(); err != nil {
		return nil, 0, err
	}
	end, err := l.scan(each)
	if err != nil {
		return nil, 0, err
	}
	if torn, err = l.cut(end); err != nil {
		return nil, 0, err
	}
	l.size = end
	return l, torn, nil
}

// begin reads the first bytes of the file, or writes them if it is new. A file
// killed while it was new has less than that, and no payment.
func (l *ledger) begin() error {
	var start [ledgerStart]byte
	n, err := io.ReadFull(l.file, start[:])
	if err == nil && string(start[:len(ledgerMagic)]) == ledgerMagic {
		copy(l.seed[:], start[len(ledgerMagic):])
		return nil
	}
	if err == nil || string(start[:min(n, len(ledgerMagic))]) != ledgerMagic[:min(n, len(ledgerMagic))] {
		return fmt.Errorf("%s is not a ledger of this sandbox", l.file.Name())
	}
	l.seed = newSeed()
	copy(start[copy(start[:], ledgerMagic):], l.seed[:])
	if _, err := l.file.WriteAt(start[:], 0); err != nil {
		return fmt.Errorf("begin the ledger: %w", err)
	}
	return nil
}

// scan gives all whole records to each and returns where the last one ends.
func (l *ledger) scan(each func(int64, *record) error) (end int64, err error) {
	info, err := l.file.Stat()
	if err != nil {
		return 0, fmt.Errorf("read the ledger: %w", err)
	}
	records := newRecordReader(l.file, ledgerStart, info.Size())
	for {
		offset := records.offset
		switch r, err := records.next(); {
		case err == nil:
			if err := each(offset, r); err != nil {
				return 0, fmt.Errorf("%s cannot be understood at byte %d: %w", l.file.Name(), offset, err)
			}
		case errors.Is(err, io.EOF), errors.Is(err, errTorn):
			return offset, nil
		case errors.Is(err, errDamaged):
			return 0, fmt.Errorf("%s is damaged at byte %d; move the file away to begin with an empty ledger", l.file.Name(), offset)
		default:
			return 0, fmt.Errorf("read the ledger: %w", err)
		}
	}
}

// cut drops what stands behind end.
func (l *ledger) cut(end int64) (torn int64, err error) {
	info, err := l.file.Stat()
	if err != nil {
		return 0, fmt.Errorf("read the ledger: %w", err)
	}
	if info.Size() == end {
		return 0, nil
	}
	if err := l.file.Truncate(end); err != nil {
		return 0, fmt.Errorf("cut the torn end off the ledger: %w", err)
	}
	return info.Size() - end, nil
}

// append writes a record and returns where in the file it stands. Whoever
// finds nobody writing writes, for all that joined, until nobody waits: under
// load one write carries many records, without a goroutine of its own.
func (l *ledger) append(r *record) (offset int64, err error) {
	l.mu.Lock()
	g := l.next
	inGroup := int64(len(g.buf))
	g.buf = r.appendTo(g.buf)
	if l.writing {
		if g.done == nil {
			g.done = make(chan struct{})
		}
		l.mu.Unlock()
		<-g.done
		return g.at + inGroup, g.err
	}
	l.writing = true
	for len(l.next.buf) > 0 {
		l.writeNext()
	}
	l.writing = false
	l.mu.Unlock()
	return g.at + inGroup, g.err
}

// writeNext writes the waiting group. It is called with the lock held and
// lets go of it during the write.
func (l *ledger) writeNext() {
	g := l.next
	l.next = &group{buf: l.spare[:0]}
	g.at = l.size
	l.mu.Unlock()
	_, err := l.file.WriteAt(g.buf, g.at)
	l.mu.Lock()
	if err != nil { // nothing of it counts: the next group is written over it
		g.err = fmt.Errorf("write the ledger: %w", err)
		_ = l.file.Truncate(g.at) // what stays is cut off at the next start
	} else {
		l.size += int64(len(g.buf))
	}
	l.spare, g.buf = g.buf, nil
	if g.done != nil {
		close(g.done)
	}
}

// read returns the record at offset.
func (l *ledger) read(offset int64) (*record, error) {
	var head [8]byte
	if _, err := l.file.ReadAt(head[:], offset); err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	buf := make([]byte, min(binary.LittleEndian.Uint32(head[4:]), maxRecord))
	if _, err := l.file.ReadAt(buf, offset); err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	r := new(record)
	if err := r.parse(buf); err != nil {
		return nil, fmt.Errorf("read the ledger at byte %d: %w", offset, err)
	}
	return r, nil
}

// writeLines writes what line makes of every record of a kind that is in the ledger
// now.
func (l *ledger) writeLines(w io.Writer, kind recordKind, line func(*record) ([]byte, error)) error {
	out := bufio.NewWriterSize(w, 64<<10)
	err := l.each(func(r *record) error {
		if r.kind != kind {
			return nil
		}
		text, err := line(r)
		if err == nil {
			_, err = out.Write(text)
		}
		return err
	})
	if err != nil {
		return err
	}
	return out.Flush()
}

// each gives every record that is in the ledger now to f, oldest first, until
// one makes f fail.
func (l *ledger) each(f func(*record) error) error {
	l.mu.Lock()
	end := l.size
	l.mu.Unlock()
	records := newRecordReader(l.file, ledgerStart, end)
	for {
		r, err := records.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the ledger: %w", err)
		}
		if err := f(r); err != nil {
			return err
		}
	}
}

func (l *ledger) close() error { return l.file.Close() }

// A recordReader reads records one after the other.
type recordReader struct {
	in     *bufio.Reader
	offset int64 // where the next record begins
	end    int64
	buf    []byte
	record record
}

func newRecordReader(file io.ReaderAt, from, to int64) *recordReader {
	return &recordReader{in: bufio.NewReaderSize(io.NewSectionReader(file, from, to-from), 256<<10), offset: from, end: to}
}

// next returns the next record, good until the call after; io.EOF at the end,
// errTorn if only a beginning is there, errDamaged if it is whole and wrong.
// A damaged last record counts as torn: nothing whole stands behind it.
func (rr *recordReader) next() (*record, error) {
	left := rr.end - rr.offset
	if left == 0 {
		return nil, io.EOF
	}
	if left < recordHeader {
		return nil, errTorn
	}
	head, err := rr.in.Peek(8)
	if err != nil {
		return nil, err
	}
	length := int64(binary.LittleEndian.Uint32(head[4:]))
	if length < recordHeader || length > maxRecord {
		return nil, errDamaged
	}
	if length > left {
		return nil, errTorn
	}
	if int64(cap(rr.buf)) < length {
		rr.buf = make([]byte, length)
	}
	rr.buf = rr.buf[:length]
	if _, err := io.ReadFull(rr.in, rr.buf); err != nil {
		return nil, err
	}
	if err := rr.record.parse(rr.buf); err != nil {
		if length == left {
			return nil, errTorn
		}
		return nil, err
	}
	rr.offset += length
	return &rr.record, nil
}
