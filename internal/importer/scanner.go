package importer

import (
	"errors"
	"io"
)

const (
	// maxCell is more than any column can need, in bytes.
	maxCell = 64 << 10
	// maxCells is more cells than any header has.
	maxCells = 64
)

// A record is one line of a CSV file, or several if a quoted cell has line
// breaks. It is valid until the next one is read.
type record struct {
	line  int      // where it begins, from 1
	cells []string // without their quotes; long ones cut to maxCell bytes
	count int      // cells of the line, also those beyond maxCells

	fault     string // why the line is no CSV from faultCell on; empty if it is
	faultCell int
	longCell  int // the first cell beyond maxCell bytes; -1 if there is none
}

// blank reports whether the line has nothing in it, like those that Excel leaves
// at the end of a table.
func (r *record) blank() bool {
	for _, cell := range r.cells {
		if cell != "" {
			return false
		}
	}
	return r.fault == ""
}

// A scanner splits a CSV file (RFC 4180) into records, as encoding/csv does. It
// exists because encoding/csv holds a whole line in memory however long it is,
// and gives no way to go on behind one: here a cell of any length costs maxCell
// bytes, and a file is read to its end whatever is in it.
type scanner struct {
	src    io.Reader
	err    error // of src, kept until what came with it is used up
	buf    []byte
	unread []byte // the rest of buf

	line   int // of the next byte
	record record
	text   []byte // all cells of the record
	ends   []int  // where each cell ends in text
}

func newScanner(src io.Reader) *scanner {
	return &scanner{src: src, buf: make([]byte, 64<<10), line: 1}
}

// A place says where in a line the scanner is.
type place int

const (
	cellStart   place = iota
	inPlain           // in a cell without quotes
	inQuotes          // in a cell, between its quotes
	afterQuote        // behind a quote that ends the quotes, or is the first of two
	afterReturn       // behind a quote and a carriage return
	inFault           // in the rest of a line that is no CSV
)

const (
	faultBareQuote  = `has a '"' in the middle; want the whole cell between '"', and each '"' in it doubled`
	faultAfterQuote = `goes on behind its closing '"'; want a comma or the end of the line there`
	faultUnclosed   = `has an opening '"' and no closing one`
)

// next reads the next line that is not empty. It returns io.EOF after the last
// one, or the error of the source.
func (s *scanner) next() (*record, error) {
	for {
		if err := s.scan(); err != nil {
			return nil, err
		}
		if r := &s.record; len(r.cells) > 1 || r.cells[0] != "" || r.fault != "" {
			return r, nil
		}
	}
}

func (s *scanner) scan() error {
	s.record = record{line: s.line, cells: s.record.cells[:0], longCell: -1}
	s.text, s.ends = s.text[:0], s.ends[:0]
	at := cellStart
	for {
		b, err := s.readByte()
		if err != nil {
			return s.finish(at, err)
		}
		if b == '\n' {
			s.line++
		}
		switch at {
		case cellStart, inPlain:
			switch {
			case b == ',':
				s.endCell()
				at = cellStart
			case b == '\n':
				return s.endRecord(at)
			case b == '"' && at == cellStart:
				at = inQuotes
			case b == '"':
				s.blame(faultBareQuote)
				at = inFault
			default:
				s.add(b)
				at = inPlain
			}
		case inQuotes:
			if b == '"' {
				at = afterQuote
			} else {
				s.addQuoted(b)
			}
		case afterQuote, afterReturn:
			switch {
			case b == '"' && at == afterQuote:
				s.add(b)
				at = inQuotes
			case b == ',' && at == afterQuote:
				s.endCell()
				at = cellStart
			case b == '\r' && at == afterQuote:
				at = afterReturn
			case b == '\n':
				return s.endRecord(at)
			default:
				s.blame(faultAfterQuote)
				at = inFault
			}
		case inFault:
			if b == '\n' {
				return s.endRecord(at)
			}
		}
	}
}

func (s *scanner) readByte() (byte, error) {
	if len(s.unread) == 0 {
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
	b := s.unread[0]
	s.unread = s.unread[1:]
	return b, nil
}

func (s *scanner) fill() error {
	const patience = 100 // reads without a byte or an error
	for range patience {
		if s.err != nil {
			return s.err
		}
		var n int
		n, s.err = s.src.Read(s.buf)
		if s.unread = s.buf[:n]; n > 0 {
			return nil
		}
	}
	return io.ErrNoProgress
}

// finish ends the last line, which need not have a line end.
func (s *scanner) finish(at place, err error) error {
	if !errors.Is(err, io.EOF) {
		return err
	}
	if at == cellStart && len(s.ends) == 0 {
		return io.EOF
	}
	if at == inQuotes {
		s.blame(faultUnclosed)
	}
	return s.endRecord(at)
}

// cell returns where the present cell begins in text.
func (s *scanner) cell() int {
	if len(s.ends) == 0 {
		return 0
	}
	return s.ends[len(s.ends)-1]
}

func (s *scanner) add(b byte) {
	switch {
	case s.record.count >= maxCells:
	case len(s.text)-s.cell() < maxCell:
		s.text = append(s.text, b)
	case s.record.longCell < 0:
		s.record.longCell = len(s.ends)
	}
}

// addQuoted is add with the line breaks of Windows turned into those of Unix, as
// encoding/csv does.
func (s *scanner) addQuoted(b byte) {
	if last := len(s.text) - 1; b == '\n' && last >= s.cell() && s.text[last] == '\r' {
		s.text[last] = '\n'
		return
	}
	s.add(b)
}

func (s *scanner) endCell() {
	if s.record.count < maxCells {
		s.ends = append(s.ends, len(s.text))
	}
	s.record.count++
}

func (s *scanner) blame(fault string) {
	s.record.fault, s.record.faultCell = fault, s.record.count
}

func (s *scanner) endRecord(at place) error {
	if last := len(s.text) - 1; (at == inPlain || at == cellStart) && last >= s.cell() && s.text[last] == '\r' {
		s.text = s.text[:last]
	}
	s.endCell()
	all, start := string(s.text), 0 // one copy for all cells
	for _, end := range s.ends {
		s.record.cells = append(s.record.cells, all[start:end])
		start = end
	}
	return nil
}
