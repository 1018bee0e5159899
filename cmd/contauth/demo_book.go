package main

import (
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"time"
)

// A demoBook is the sample book of the demo: always the same for the same sizes,
// so that two people who talk about it see the same numbers.
type demoBook struct {
	subscriptions [][]string // a row of the file each, as demoSubscriptionColumns has it
	charges       [][]string // the same, of demoChargeColumns
	monthEnd      []string   // references of those that are due on the last day of each month
}

// The three days of the story, and the account that it is about.
const demoAccount = "DemoEU"

var demoDays = []string{"2027-01-31", "2027-02-28", "2027-03-31"}

// A demoKind is one way in which the book's subscriptions recur.
type demoKind struct {
	name    string
	of50    int      // how many of fifty subscriptions are of this kind
	unit    string   // interval_unit
	count   int      // interval_count
	anchors []string // local dates
	times   []string // local times
}

// 02:30 is a time that clocks skip or show twice on the days on which they change.
var demoKinds = []demoKind{
	{name: "Month end", of50: 12, unit: "month", count: 1,
		anchors: []string{"2026-08-31", "2026-10-31", "2026-12-31", "2027-01-31"}, times: []string{"00:00", "02:30", "09:00"}},
	{name: "Monthly", of50: 12, unit: "month", count: 1, times: []string{"02:30", "09:00", "18:45"}}, // anchors: see monthlyAnchor
	{name: "Quarterly", of50: 14, unit: "month", count: 3,
		anchors: []string{"2026-10-31", "2026-11-30", "2026-12-31", "2027-01-31"}, times: []string{"09:00", "12:00"}},
	{name: "Every four weeks", of50: 4, unit: "week", count: 4,
		anchors: []string{"2026-12-06", "2027-01-03", "2027-01-31"}, times: []string{"06:15"}},
	{name: "Yearly", of50: 7, unit: "year", count: 1,
		anchors: []string{"2024-02-29", "2025-07-01", "2026-10-15"}, times: []string{"08:00"}},
	{name: "Weekly", of50: 1, unit: "week", count: 1,
		anchors: []string{"2027-01-31"}, times: []string{"02:30"}},
}

const monthEndKind = 0 // of demoKinds

// A demoMarket is a currency with the zones of those who pay in it, and prices
// in its minor units.
type demoMarket struct {
	currency string
	zones    []string
	prices   []int
}

// Two decimals, none, and three; zones north and south of the equator, with and
// without summer time, one of them half an hour off.
var demoMarkets = []demoMarket{
	{"EUR", []string{"Europe/Berlin", "Europe/Dublin", "Atlantic/Azores"}, []int{499, 1299, 4900}},
	{"USD", []string{"America/New_York", "America/Los_Angeles", "Australia/Adelaide"}, []int{599, 1499, 5900}},
	{"JPY", []string{"Asia/Tokyo"}, []int{500, 1480}},
	{"KWD", []string{"Asia/Kuwait"}, []int{1500, 4750}},
}

// demoRefusals are what some tokens get from the sandbox, by their ending: of
// every 32 that are not month-end ones, four.
var demoRefusals = map[int]string{
	3:  ".refuse12", // not enough balance: tried again days later
	11: ".refuse5",  // blocked card: not tried again
	19: ".refuse9",  // issuer unavailable: tried again
	27: ".refuse20", // fraud: a person must look
}

// demoExpired is the ending of a card that has expired: the token turns invalid.
const demoExpired = ".refuse6"

// newDemoBook makes a book of so many subscriptions and unscheduled charges.
func newDemoBook(subscriptions, charges int) demoBook {
	random := rand.New(rand.NewPCG(2027, 1)) //nolint:gosec // sample data: must be the same each time
	var b demoBook
	cards := 0 // that are not month-end ones
	for i := range subscriptions {
		kind := demoKindOf(i)
		market := pick(random, demoMarkets)
		ending := ""
		if kind == monthEndKind {
			b.monthEnd = append(b.monthEnd, demoReference("sub", i))
		} else {
			ending = demoRefusals[cards%32]
			cards++
		}
		b.subscriptions = append(b.subscriptions, demoSubscription(random, i, demoKinds[kind], market, ending))
	}
	for i := range charges {
		ending := demoRefusals[i%32]
		if i == 0 || i == charges/2 {
			ending = demoExpired
		}
		b.charges = append(b.charges, demoCharge(random, i, subscriptions+i, pick(random, demoMarkets), ending))
	}
	return b
}

// demoKindOf mixes the kinds through the book. 7 and 50 have no common factor,
// so that each run of fifty has each kind as often as it says.
func demoKindOf(i int) int {
	place := i * 7 % 50
	for kind, k := range demoKinds {
		if place < k.of50 {
			return kind
		}
		place -= k.of50
	}
	panic("demo: the kinds do not add up to fifty")
}

func demoSubscription(random *rand.Rand, i int, k demoKind, m demoMarket, ending string) []string {
	date := monthlyAnchor(random)
	if len(k.anchors) > 0 {
		date = pick(random, k.anchors)
	}
	maxCycles, endsOn := "", ""
	switch {
	case k.name == "Quarterly" && i%3 == 0:
		maxCycles = "12"
	case k.name == "Monthly" && i%5 == 0:
		endsOn = "2027-03-15"
	}
	return []string{
		demoReference("sub", i), demoAccount, demoReference("shopper", i), demoToken(i, ending), "scheme",
		strconv.Itoa(pick(random, m.prices)), m.currency, k.unit, strconv.Itoa(k.count),
		date + "T" + pick(random, k.times), pick(random, m.zones), maxCycles, endsOn, k.name,
	}
}

// monthlyAnchor is some day from the 1st to the 28th of a month of 2026.
func monthlyAnchor(random *rand.Rand) string {
	return fmt.Sprintf("2026-%02d-%02d", 1+random.IntN(12), 1+random.IntN(28))
}

func demoCharge(random *rand.Rand, i, card int, m demoMarket, ending string) []string {
	due := time.Date(2027, time.January, 29, 0, random.IntN(2*24*60), 0, 0, time.UTC)
	return []string{
		demoReference("topup", i), demoAccount, demoReference("shopper", card), demoToken(card, ending), "scheme",
		strconv.Itoa(pick(random, m.prices)), m.currency, due.Format(time.RFC3339), "Top-up",
	}
}

func demoReference(noun string, i int) string { return fmt.Sprintf("%s-%06d", noun, i+1) }

// demoToken is as long as a gateway's, with a letter in the middle so that nothing
// takes it for a card number.
func demoToken(i int, ending string) string {
	return fmt.Sprintf("TK%06dX%07d%s", i+1, (i+1)*7919%10_000_000, ending)
}

func pick[T any](random *rand.Rand, from []T) T { return from[random.IntN(len(from))] }

// The columns of the two files. Their order is free; this is the one of the manual.
var (
	demoSubscriptionColumns = []string{
		"reference", "merchant_account", "shopper_reference", "token", "payment_method", "amount_minor", "currency",
		"interval_unit", "interval_count", "anchor", "timezone", "max_cycles", "ends_on", "description",
	}
	demoChargeColumns = []string{
		"reference", "merchant_account", "shopper_reference", "token", "payment_method", "amount_minor", "currency",
		"due_at", "description",
	}
)

// writeSubscriptions and writeCharges write the files that the demo imports.
func (b demoBook) writeSubscriptions(path string) error {
	return writeCSV(path, demoSubscriptionColumns, b.subscriptions)
}

func (b demoBook) writeCharges(path string) error {
	return writeCSV(path, demoChargeColumns, b.charges)
}

func writeCSV(path string, header []string, rows [][]string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	out := csv.NewWriter(file)
	out.Write(header) // a csv.Writer keeps its first error
	if err := out.WriteAll(rows); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return file.Close()
}
