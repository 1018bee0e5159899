package tokens_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/contauth/contauth/tokens"
)

// A queue hands out tokens to read, as they stand in it. It is also the store of a
// keeper: every token is valid, and of account DemoMC.
type queue struct {
	fakeStore
	waiting []tokens.ID
	given   []tokens.ID // back
	limits  []int
	err     error
}

func (q *queue) TokensToRead(_ context.Context, accounts []string, within, fresh time.Duration, limit int) ([]tokens.ID, error) {
	if !slices.Equal(accounts, []string{"DemoMC"}) || within != 7*24*time.Hour || fresh != 24*time.Hour {
		return nil, fmt.Errorf("asked for %q, %s, %s", accounts, within, fresh)
	}
	q.limits = append(q.limits, limit)
	n := min(limit, len(q.waiting))
	ids := q.waiting[:n:n]
	q.waiting = q.waiting[n:]
	return ids, q.err
}

func (q *queue) TokensUnread(ctx context.Context, ids []tokens.ID) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	q.given = append(q.given, ids...)
	return nil
}

func (q *queue) ReadToken(_ context.Context, id tokens.ID) (tokens.Record, error) {
	return tokens.Record{Token: tokens.Token{ID: id, MerchantAccount: "DemoMC", Reference: fmt.Sprint(id), State: tokens.Valid}}, nil
}

// A slowVault notes when each token is read, and what it was told not to answer it
// does not.
type slowVault struct {
	fakeVault
	began time.Time
	read  []string // "<token> after <time>"
	mute  string   // the token that is not answered
	stop  func()   // called while that one is read
}

func (v *slowVault) Read(_ context.Context, ref tokens.Ref) (tokens.Reading, error) {
	v.read = append(v.read, fmt.Sprintf("%s after %s", ref.Token, time.Since(v.began)))
	if ref.Token == v.mute {
		if v.stop != nil {
			v.stop()
		}
		return tokens.Reading{}, fmt.Errorf("read: %w", tokens.ErrUnanswered)
	}
	return tokens.Reading{Status: tokens.StatusValid}, nil
}

// poll lets a poller read what is in the queue for some time at two a second.
func poll(t *testing.T, q *queue, v *slowVault, lasting time.Duration) (faults []error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(context.Background(), lasting)
		defer stop()
		v.began = time.Now()
		if v.mute != "" && v.stop != nil {
			v.stop = stop
		}
		p := tokens.Poller{
			Keeper: tokens.NewKeeper(q, map[string]tokens.Account{"DemoMC": {Vault: v}}), Store: q,
			Accounts: []string{"DemoMC"}, Within: 7 * 24 * time.Hour, Fresh: 24 * time.Hour, PerSecond: 2,
			Report: func(_ tokens.ID, _ tokens.Applied, _ bool, err error) {
				if err != nil {
					faults = append(faults, err)
				}
			},
		}
		p.Run(ctx)
	})
	return faults
}

func TestPoller_keepsItsPace(t *testing.T) {
	q, v := &queue{waiting: []tokens.ID{3, 1, 2}}, &slowVault{}
	if faults := poll(t, q, v, 25*time.Second); faults != nil {
		t.Errorf("faults %v", faults)
	}
	if diff := cmp.Diff([]string{"3 after 0s", "1 after 500ms", "2 after 1s"}, v.read); diff != "" {
		t.Errorf("read (-want +got):\n%s", diff)
	}
	if !slices.Equal(q.limits, []int{20, 20, 20}) {
		t.Errorf("it took %v: want no more at once than it reads until it looks again", q.limits)
	}
	if q.given != nil {
		t.Errorf("given back: %v", q.given)
	}
}

// What a silent gateway keeps from being read is read in the next round. Only the one
// that it was asked about waits: asked first again, it could stop all others for ever.
func TestPoller_leavesASilentGatewayAlone(t *testing.T) {
	q, v := &queue{waiting: []tokens.ID{1, 2, 3, 4}}, &slowVault{mute: "2"}
	faults := poll(t, q, v, 5*time.Second)
	if len(faults) != 1 || !errors.Is(faults[0], tokens.ErrUnanswered) {
		t.Errorf("faults %v", faults)
	}
	if diff := cmp.Diff([]string{"1 after 0s", "2 after 500ms"}, v.read); diff != "" {
		t.Errorf("read (-want +got):\n%s", diff)
	}
	if !slices.Equal(q.given, []tokens.ID{3, 4}) {
		t.Errorf("given back: %v, want the two that were not asked about", q.given)
	}
}

// A process that stops gives back what it took and did not read, also the one that
// it is reading.
func TestPoller_stops(t *testing.T) {
	q, v := &queue{waiting: []tokens.ID{1, 2, 3}}, &slowVault{mute: "2", stop: func() {}}
	if faults := poll(t, q, v, time.Hour); faults != nil {
		t.Errorf("faults %v: nobody needs to know that a stop interrupts", faults)
	}
	if !slices.Equal(q.given, []tokens.ID{2, 3}) {
		t.Errorf("given back: %v", q.given)
	}
}

func TestPoller_tellsWhatItCannotFind(t *testing.T) {
	q := &queue{err: errors.New("the database is away")}
	if faults := poll(t, q, &slowVault{}, 15*time.Second); len(faults) != 2 || !errors.Is(faults[0], q.err) {
		t.Errorf("faults %v, want one a round", faults)
	}
}

func TestPoller_hasNothingToDo(t *testing.T) {
	for name, p := range map[string]tokens.Poller{
		"no account": {PerSecond: 1}, "no rate": {Accounts: []string{"DemoMC"}},
	} {
		t.Run(name, func(t *testing.T) {
			p.Run(context.Background()) // returns at once, or never
		})
	}
}
