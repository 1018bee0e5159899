// Package scheduler decides when: it fires schedules, plans runs, claims their
// charges, has them collected, settles the answers, and resolves what stayed open.
//
// A [Runner] works runs, one of them ([Runner.Work]) or all there are
// ([Runner.Serve]). What a process works with is its crew: a lane to each merchant
// account, with its senders, and the flushers that write answers in groups. Each
// run has a part in each lane, whose feed claims the next charges of the manifest.
// A lane begins with one request at a time and allows one more with each good
// answer, so that a broken account costs a handful of calls, and not a manifest.
//
// A [Daemon] does that and more, until it is stopped: it puts the fires of each
// [Schedule] on record, plans their runs, applies what gateways told unasked, and
// accounts for each day. An [Agenda] says when a schedule fires.
//
// Everything that must survive is in the [Store]. A process that dies leaves leases
// that run out, and the next one, whichever it is, goes on: see docs/daemon.md and
// docs/charge-protocol.md.
package scheduler
