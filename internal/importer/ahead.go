package importer

import "github.com/contauth/contauth/billing"

const (
	// chunkRows are handed over at once: one at a time would cost more than
	// reading them.
	chunkRows = 256
	// chunksAhead bounds what is in memory.
	chunksAhead = 4
)

// An answer is what a reader yields for a line.
type answer[Row any] struct {
	row Row
	err error
}

// ahead reads rows in a goroutine of its own, a few chunks ahead of whoever
// stores them: reading and storing take about as long, and so happen at once. The
// goroutine has ended when the iteration does.
func ahead[Row any](rows billing.ImportRows[Row]) billing.ImportRows[Row] {
	return func(yield func(Row, error) bool) {
		chunks := make(chan []answer[Row], chunksAhead)
		stop := make(chan struct{})
		go readChunks(rows, chunks, stop)
		defer func() {
			close(stop)
			for range chunks { // until readChunks closes it
			}
		}()
		for chunk := range chunks {
			for _, a := range chunk {
				if !yield(a.row, a.err) {
					return
				}
			}
		}
	}
}

// readChunks sends rows until there are none, or nobody wants more.
func readChunks[Row any](rows billing.ImportRows[Row], chunks chan<- []answer[Row], stop <-chan struct{}) {
	defer close(chunks)
	chunk := make([]answer[Row], 0, chunkRows)
	send := func() bool {
		select {
		case chunks <- chunk:
			chunk = make([]answer[Row], 0, chunkRows)
			return true
		case <-stop:
			return false
		}
	}
	for row, err := range rows {
		if chunk = append(chunk, answer[Row]{row, err}); len(chunk) == chunkRows && !send() {
			return
		}
	}
	if len(chunk) > 0 {
		send()
	}
}
