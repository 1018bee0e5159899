// Package billing says what is owed and what an answer means. It is rules only:
// no database, no network, no clock and no log, so that each rule can be read,
// and tested, by itself.
//
// # Words
//
//   - A merchant account is one account at one gateway, for tests or live. It owns
//     everything below.
//   - A token is a payment method that the gateway stores; see package tokens.
//   - A [Subscription] is an agreement to charge again and again. Its [Calendar]
//     counts from the anchor, a local date and time with a zone.
//   - A cycle is the n-th time, from 1; its period goes from its date to the next
//     one's, the last day left out.
//   - A [Charge] is the money owed for one cycle, or for one unscheduled request.
//   - An attempt is one request for a charge at the gateway, by number. The next
//     number needs a definite answer to the one before.
//   - An observation is what was learnt about an attempt, and from whom.
//   - To hold is to keep a charge back, with a reason; to waive is never to charge
//     it; to postpone is to leave it to a later run.
//
// # The life of a charge
//
// A charge begins due, or held if its token cannot be charged. A run's plan puts
// it on a list. When its turn comes a process claims it: the row is leased, and
// it is on record that a request may now leave. [Collector.Collect] sends the request
// and [Settle] decides what follows:
//
//	authorised                 paid, and that is the end
//	refused, may change        due again, days later, up to four tries
//	refused, will not change   unpaid, until a person or a new card releases it
//	the card is dead           held, with all other charges of the token
//	accepted, result later     pending
//	not sent, not processed    due again, under the same number where the gateway
//	                           kept nothing under it
//	anything else              unknown
//
// An unknown charge may have been paid. It is only ever sent again as it was,
// with the same key and the same bytes, so that the gateway recognises it; what
// the gateway then says is the truth about the first request. No other request for
// the charge is made before that is known.
//
// [ChargeState.CanMove] has every move; docs/state-machines.md draws them.
package billing
