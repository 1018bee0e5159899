package metrics

import (
	"context"

	"github.com/hashicorp/go-hclog"

	"github.com/contauth/contauth/scheduler"
)

// NewBook is a book on its own.
func NewBook(read func(context.Context) (scheduler.Figures, error), logger hclog.Logger) *book {
	return newBook(read, logger)
}

// Latest is what the book would show.
func (b *book) Latest() (scheduler.Figures, error) { return b.latest() }
