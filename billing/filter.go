package billing

// A ChargeFilter says which charges to list. The zero filter is all of them, in
// the order of their ids.
type ChargeFilter struct {
	RunID           int64 // only items of this run's manifest
	MerchantAccount string
	Subscription    SubscriptionID
	State           ChargeState
	// Day is the billing day: the local date on which a cycle begins, or, of an
	// unscheduled charge, the date in UTC on which it falls due.
	Day   LocalDate
	After ChargeID // only charges with greater ids: the page after one that ended there
	Limit int      // at most so many; 0 for no limit
}

// A SubscriptionFilter says which subscriptions to list. The zero filter is all
// of them, in the order of their ids.
type SubscriptionFilter struct {
	MerchantAccount string
	State           SubscriptionState
	After           SubscriptionID // only subscriptions with greater ids
	Limit           int            // at most so many; 0 for no limit
}
