package tokens

import (
	"context"
	"errors"
	"time"
)

// A PollStore finds the tokens that should be read.
type PollStore interface {
	// TokensToRead takes up to limit tokens of the accounts that something is due with
	// within that time and that were not read for as long as fresh says, those first
	// that are due soonest. What it returns is not returned to anybody else.
	TokensToRead(ctx context.Context, accounts []string, within, fresh time.Duration, limit int) ([]ID, error)
	// TokensUnread gives back tokens that were taken and not read after all: they are
	// to be read as soon as any.
	TokensUnread(ctx context.Context, ids []ID) error
}

// A Poller asks gateways that do not tell by themselves what became of tokens. Any
// number of processes may run one.
type Poller struct {
	Keeper    *Keeper
	Store     PollStore
	Accounts  []string      // those whose gateway must be asked
	Within    time.Duration // what is due later is read later
	Fresh     time.Duration // how long a reading is good
	PerSecond float64       // readings, by this process
	// Report hears of each reading, and of an error that ended a round (with id 0).
	Report func(id ID, applied Applied, changed bool, err error)
}

// pollEvery is how often a poller looks for tokens to read.
const pollEvery = 10 * time.Second

// Run polls until ctx ends.
func (p *Poller) Run(ctx context.Context) {
	if len(p.Accounts) == 0 || p.PerSecond <= 0 {
		return
	}
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for ctx.Err() == nil {
		p.round(ctx)
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

// round reads what is to be read now. A gateway that does not answer is left alone
// until the next round; the token that it did not answer about must wait, or it would
// be the first again and keep back the others for ever.
func (p *Poller) round(ctx context.Context) {
	limit := max(1, int(p.PerSecond*pollEvery.Seconds()))
	ids, err := p.Store.TokensToRead(ctx, p.Accounts, p.Within, p.Fresh, limit)
	if err != nil {
		p.report(0, Applied{}, false, err)
		return
	}
	pace := time.NewTicker(time.Duration(float64(time.Second) / p.PerSecond))
	defer pace.Stop()
	for i, id := range ids {
		applied, changed, err := p.Keeper.Refresh(ctx, id)
		if ctx.Err() != nil {
			p.giveBack(ctx, ids[i:])
			return
		}
		p.report(id, applied, changed, err)
		switch {
		case errors.Is(err, ErrUnanswered):
			p.giveBack(ctx, ids[i+1:])
			return
		case err != nil && !isAboutToken(err):
			p.giveBack(ctx, ids[i:])
			return
		}
		select {
		case <-ctx.Done():
			p.giveBack(ctx, ids[i+1:])
			return
		case <-pace.C:
		}
	}
}

// isAboutToken reports whether an error is of one token, and says nothing of the
// others of its account.
func isAboutToken(err error) bool {
	var refused *RefusedError
	return errors.Is(err, ErrNotFound) || errors.As(err, &refused) && refused.Refusal != RefusedProfile
}

// giveBack returns what was not read, also while the process stops.
func (p *Poller) giveBack(ctx context.Context, ids []ID) {
	if len(ids) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := p.Store.TokensUnread(ctx, ids); err != nil {
		p.report(0, Applied{}, false, err)
	}
}

func (p *Poller) report(id ID, applied Applied, changed bool, err error) {
	if p.Report != nil {
		p.Report(id, applied, changed, err)
	}
}
