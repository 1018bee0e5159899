package scheduler

import (
	"context"
	"fmt"
	"time"

	"github.com/contauth/contauth/billing"
)

// A PlanRequest asks for a run: every cycle due up to AsOf becomes a charge,
// and the due charges that match the filter become the manifest.
type PlanRequest struct {
	AsOf          AsOf
	Filter        Filter
	Actor         string
	NeedsApproval bool
	// Preview does the same and stores nothing.
	Preview bool

	Fire         *FireToPlan // the fire that asks; nil for a person
	CatchUp      CatchUp     // what becomes of missed cycles; empty for CatchUpAll
	MissedBefore time.Time   // business time by which missed cycles fell due; zero if none was missed
	Ahead        bool        // charges that fall due by AsOf are taken now, also at live accounts
	ApproveAbove Limits      // above these the run awaits approval
	Caps         Limits      // above these too, with an alert
	// ShopperDayLimit is how many charges a shopper may have on the business day; 0
	// for the store's own limit.
	ShopperDayLimit int
}

// A FireToPlan is a fire of a schedule that has no run yet.
type FireToPlan struct {
	Schedule     Schedule
	FireAt       time.Time // business time
	AsOf         time.Time // business time up to which its run takes charges
	MissedBefore time.Time // see PlanRequest
	Tries        int       // of planning it, this one included
}

// PlanRequest asks for the run of a fire.
func (f FireToPlan) PlanRequest() PlanRequest {
	s := f.Schedule
	return PlanRequest{
		AsOf: AsOf{Instant: f.AsOf}, Filter: s.Filter, Actor: "schedule:" + s.Name, NeedsApproval: s.NeedsApproval,
		Fire: &f, CatchUp: s.CatchUp, MissedBefore: f.MissedBefore, Ahead: f.AsOf.After(f.FireAt),
		ApproveAbove: s.ApproveAbove, Caps: s.Caps,
	}
}

// AsOf says up to when a run takes charges. The zero value means business now.
type AsOf struct {
	Instant time.Time         // business time; or
	Date    billing.LocalDate // every cycle whose local date is on or before it
}

// ParseAsOf reads an RFC 3339 instant or a date. Empty text means business now.
func ParseAsOf(text string) (AsOf, error) {
	if text == "" {
		return AsOf{}, nil
	}
	if date, err := billing.ParseLocalDate(text); err == nil {
		return AsOf{Date: date}, nil
	}
	instant, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return AsOf{}, fmt.Errorf("%q is neither a date such as 2027-01-31 nor an instant such as 2027-01-31T09:00:00Z: %w", text, billing.ErrInvalid)
	}
	return AsOf{Instant: instant.UTC()}, nil
}

// westernmost is how far behind UTC a local date can be: the day ends last at UTC-12.
const westernmost = 12 * time.Hour

// Until is the instant by which everything that a is about has fallen due.
// A date is over everywhere only 12 hours after it is over in UTC.
func (a AsOf) Until(now time.Time) time.Time {
	switch {
	case !a.Date.IsZero():
		return a.Date.AddDays(1).UTC().Add(westernmost)
	case !a.Instant.IsZero():
		return a.Instant
	default:
		return now
	}
}

// BusinessDay is the day that "one charge a token and business day" counts.
func (a AsOf) BusinessDay(now time.Time) billing.LocalDate {
	if !a.Date.IsZero() {
		return a.Date
	}
	return billing.LocalDateOf(a.Until(now).UTC())
}

// A Planner makes runs.
type Planner interface {
	// PlanRun returns the report of the run it made, or for a preview of the run
	// it would have made. It returns billing.ErrInvalid if the request cannot be met.
	PlanRun(ctx context.Context, req PlanRequest) (Report, error)
}
