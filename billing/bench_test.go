package billing_test

import (
	"testing"
	_ "time/tzdata"

	"github.com/contauth/contauth/billing"
)

// The calendar is asked for every row that becomes a charge, tens of thousands
// of times a second.
func BenchmarkCalendar(b *testing.B) {
	for _, name := range []string{"Europe/Berlin", "America/New_York", "Asia/Tokyo", "Africa/Casablanca"} {
		c := calendar(b, "2027-01-31T09:00", name, billing.Month, 1)
		date := localDate(b, "2031-05-20")
		b.Run("Date/"+name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				c.Date(1 + i%240)
			}
		})
		b.Run("DueAt/"+name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				c.DueAt(1 + i%240)
			}
		})
		b.Run("FirstCycleOn/"+name, func(b *testing.B) {
			for b.Loop() {
				c.FirstCycleOn(date)
			}
		})
		b.Run("LoadZone/"+name, func(b *testing.B) {
			for b.Loop() {
				if _, err := billing.LoadZone(name); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
