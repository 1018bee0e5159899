package scheduler

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/contauth/contauth/billing"
)

// A ScheduleID is the number that the database gave a schedule.
type ScheduleID int64

// A ScheduleState says whether a schedule fires.
type ScheduleState string

const (
	ScheduleActive  ScheduleState = "active"  // fires
	SchedulePaused  ScheduleState = "paused"  // its fires are put on record as skipped
	ScheduleRemoved ScheduleState = "removed" // for good; its runs keep its name
)

// A CatchUp says what becomes of cycles that were missed: that fell due before
// the schedule's last fire but one and were in no run, because nothing ran. A
// cycle that its own fire takes is never missed.
type CatchUp string

const (
	// CatchUpFew charges the oldest missed cycle of a subscription, a day later
	// the next, and holds the others and those older than CatchUpAge for a person.
	CatchUpFew    CatchUp = "few"
	CatchUpAll    CatchUp = "all"    // charges each missed cycle, the oldest first, one a token and day
	CatchUpLatest CatchUp = "latest" // charges the newest cycle that is due, waives the older ones
	CatchUpNone   CatchUp = "none"   // waives the missed ones
	CatchUpAsk    CatchUp = "ask"    // holds the missed ones for a person
)

// CatchUps are the policies, the default first.
var CatchUps = []CatchUp{CatchUpFew, CatchUpAll, CatchUpLatest, CatchUpNone, CatchUpAsk}

const (
	// CatchUpFewCycles is how many missed cycles of a subscription CatchUpFew
	// charges without asking.
	CatchUpFewCycles = 2
	// CatchUpAge is how old a missed cycle may be for CatchUpFew to charge it.
	CatchUpAge = 45 * 24 * time.Hour
)

// A Limits bounds a run by its number of charges and its money in each
// currency. The zero value bounds nothing.
type Limits struct {
	Count       int              `json:"count,omitempty"`        // 0 for no limit
	AmountMinor map[string]int64 `json:"amount_minor,omitempty"` // by currency, in ISO minor units
}

// IsZero reports whether l bounds nothing.
func (l Limits) IsZero() bool { return l.Count == 0 && len(l.AmountMinor) == 0 }

// Exceeded says in words which limit planned totals exceed, or "".
func (l Limits) Exceeded(totals []Totals) string {
	var count int64
	for _, t := range totals {
		count += t.Planned.Count
		if limit, ok := l.AmountMinor[t.Currency]; ok && t.Planned.AmountMinor > limit {
			return fmt.Sprintf("%s is more than %s", billing.Money{Minor: t.Planned.AmountMinor, Currency: t.Currency},
				billing.Money{Minor: limit, Currency: t.Currency})
		}
	}
	if l.Count > 0 && count > int64(l.Count) {
		return fmt.Sprintf("%d charges are more than %d", count, l.Count)
	}
	return ""
}

// A Schedule makes a run each time that it fires.
type Schedule struct {
	ID    ScheduleID
	Name  string
	State ScheduleState

	Cron     string // see NewTimetable
	Zone     string
	Blackout Blackout

	Filter  Filter
	CatchUp CatchUp

	NeedsApproval bool   // each run awaits approval
	ApproveAbove  Limits // a run above these awaits approval
	Caps          Limits // a run above these awaits approval too, with an alert

	CreatedAt  time.Time // business time; @every counts from here
	CreatedBy  string
	FiredUntil time.Time // business time up to which every fire is on record
	NextFireAt time.Time // business time; zero if there is none
	Reason     string    // why it is paused or removed
}

var scheduleName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`)

// Validate returns billing.ErrInvalid for a schedule that cannot be: its name,
// its policy, its model. Agenda tells about its times.
func (s Schedule) Validate() error {
	switch {
	case !scheduleName.MatchString(s.Name):
		return fmt.Errorf("%w name %q: want 1 to 40 of a-z 0-9 -, beginning with a letter or digit", billing.ErrInvalid, s.Name)
	case !slices.Contains(CatchUps, s.CatchUp):
		return fmt.Errorf("%w catch-up policy %q: want few, all, latest, none or ask", billing.ErrInvalid, s.CatchUp)
	case s.Filter.Model != "" && s.Filter.Model != billing.ModelSubscription && s.Filter.Model != billing.ModelUnscheduledCardOnFile:
		return fmt.Errorf("%w model %q: want Subscription or UnscheduledCardOnFile", billing.ErrInvalid, s.Filter.Model)
	case s.Filter.Limit < 0 || s.Caps.Count < 0 || s.ApproveAbove.Count < 0:
		return fmt.Errorf("%w limit: a number of charges cannot be negative", billing.ErrInvalid)
	}
	for _, limits := range []Limits{s.Caps, s.ApproveAbove} {
		for currency, minor := range limits.AmountMinor {
			if _, err := billing.NewMoney(minor, currency); err != nil {
				return fmt.Errorf("limit: %w", err)
			}
		}
	}
	return nil
}

// Agenda returns when s fires. least is the shortest @every that is allowed. It
// returns billing.ErrInvalid if the times cannot be computed.
func (s Schedule) Agenda(least time.Duration) (Agenda, error) {
	zone, err := billing.LoadZone(s.Zone)
	if err != nil {
		return Agenda{}, err
	}
	times, err := NewTimetable(s.Cron, zone, s.CreatedAt, least)
	if err != nil {
		return Agenda{}, err
	}
	return NewAgenda(times, zone, s.Blackout)
}
