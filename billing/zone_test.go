package billing_test

import (
	"errors"
	"testing"
	"time"

	"github.com/contauth/contauth/billing"
)

func TestZone_Instant(t *testing.T) {
	tests := []struct {
		name, zone, local, want string
	}{
		{"an ordinary time", "Europe/Berlin", "2027-01-31T09:00", "2027-01-31T08:00:00Z"},
		{"in the gap: its end", "Europe/Berlin", "2027-03-28T02:30", "2027-03-28T01:00:00Z"},
		{"at the beginning of the gap: its end", "Europe/Berlin", "2027-03-28T02:00", "2027-03-28T01:00:00Z"},
		{"at the end of the gap", "Europe/Berlin", "2027-03-28T03:00", "2027-03-28T01:00:00Z"},
		{"a second before the gap", "Europe/Berlin", "2027-03-28T01:59:59", "2027-03-28T00:59:59Z"},
		{"shown twice: the first", "Europe/Berlin", "2027-10-31T02:30", "2027-10-31T00:30:00Z"},
		{"just before the doubled hour", "Europe/Berlin", "2027-10-31T01:59:59", "2027-10-30T23:59:59Z"},
		{"just after the doubled hour", "Europe/Berlin", "2027-10-31T03:00", "2027-10-31T02:00:00Z"},
		{"a gap at midnight", "Africa/Cairo", "2027-04-30T00:00", "2027-04-29T22:00:00Z"},
		{"a gap of half an hour", "Australia/Lord_Howe", "2027-10-03T02:15", "2027-10-02T15:30:00Z"},
		{"a doubled half hour", "Australia/Lord_Howe", "2027-04-04T01:45", "2027-04-03T14:45:00Z"},
		{"an offset with three quarters of an hour", "Asia/Kathmandu", "2027-01-01T09:00", "2027-01-01T03:15:00Z"},
		{"a zone with a sign that means the opposite", "Etc/GMT+5", "2027-01-01T09:00", "2027-01-01T14:00:00Z"},
		{"Samoa had no 30 December 2011: the 31st, same time", "Pacific/Apia", "2011-12-30T09:00", "2011-12-30T19:00:00Z"},
		{"Samoa on 31 December 2011", "Pacific/Apia", "2011-12-31T09:00", "2011-12-30T19:00:00Z"},
		{"Samoa on 29 December 2011", "Pacific/Apia", "2011-12-29T09:00", "2011-12-29T19:00:00Z"},
		{"Kwajalein had no 21 August 1993", "Pacific/Kwajalein", "1993-08-21T09:00", "1993-08-21T21:00:00Z"},
		{"Kiritimati had no 31 December 1994", "Pacific/Kiritimati", "1994-12-31T09:00", "1994-12-31T19:00:00Z"},
		{"a gap up to midnight: the next day begins", "Asia/Pyongyang", "2018-05-04T23:45", "2018-05-04T15:00:00Z"},
		{"before 1970", "Europe/Berlin", "1969-12-31T09:00", "1969-12-31T08:00:00Z"},
		{"a new year after a leap year", "Europe/Berlin", "2029-01-01T00:00", "2028-12-31T23:00:00Z"},
		{"beyond 2038", "Europe/Berlin", "2040-07-01T09:00", "2040-07-01T07:00:00Z"},
		{"the last day of a leap year beyond 2100", "Europe/Berlin", "2104-12-31T23:30", "2104-12-31T22:30:00Z"},
		{"the gap of a year beyond 2100", "America/New_York", "2120-03-10T02:30", "2120-03-10T07:00:00Z"},
		{"the year 9999", "America/New_York", "9999-12-31T09:00", "9999-12-31T14:00:00Z"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := zone(t, tt.zone).Instant(localDateTime(t, tt.local))
			if got.Format(time.RFC3339) != tt.want || got.Location() != time.UTC {
				t.Errorf("%s in %s = %v, want %s", tt.local, tt.zone, got, tt.want)
			}
		})
	}
}

func TestZone_Date(t *testing.T) {
	tests := []struct{ name, zone, instant, want string }{
		{"ahead of UTC", "Pacific/Auckland", "2027-01-31T12:00:00Z", "2027-02-01"},
		{"behind UTC", "America/New_York", "2027-02-01T04:59:59Z", "2027-01-31"},
		{"the second before Samoa moved", "Pacific/Apia", "2011-12-30T09:59:59Z", "2011-12-29"},
		{"the second after", "Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-31"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			instant, err := time.Parse(time.RFC3339, tt.instant)
			if got := zone(t, tt.zone).Date(must(t, instant, err)); got != localDate(t, tt.want) {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestLoadZone(t *testing.T) {
	first, again := zone(t, "Europe/Berlin"), zone(t, "Europe/Berlin")
	if first != again || first.String() != "Europe/Berlin" || first.IsZero() {
		t.Errorf("loaded %v and %v, want the same zone twice", first, again)
	}
	tests := []struct{ name, zone string }{
		{"none", ""},
		{"the machine's own", "Local"},
		{"the machine's own, as a file", "localtime"},
		{"the rules for unknown zones", "posixrules"},
		{"the placeholder", "Factory"},
		{"clocks that count leap seconds", "right/Europe/Berlin"},
		{"a copy of the database", "posix/Europe/Berlin"},
		{"a city that is no zone", "Europe/Munich"},
		{"an offset", "+01:00"},
		{"an abbreviation that is no zone", "CEST"},
		{"a path", "../../etc/passwd"},
		{"an absolute path", "/etc/localtime"},
		{"a folder", "Europe"},
		{"a list that lies beside the zones", "zone.tab"},
		{"a NUL", "Europe/Berlin\x00"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := billing.LoadZone(tt.zone); !errors.Is(err, billing.ErrInvalid) || !got.IsZero() {
				t.Errorf("LoadZone(%q) = %v, %v; want ErrInvalid", tt.zone, got, err)
			}
		})
	}
}
