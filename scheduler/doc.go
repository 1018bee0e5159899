// Package scheduler decides when: it plans runs, claims their charges, has
// them collected, settles the answers, and resolves what stayed open.
//
// A [Runner] works a run in lanes, one for each merchant account. A lane's feed
// claims the next charges of the manifest while its workers send those that are
// claimed; answers are written in groups by flushers. It begins with one request
// at a time and allows one more with each good answer, so that a broken account
// costs a handful of calls, and not a manifest.
//
// Everything that must survive is in the [Store]. A runner that dies leaves leases
// that run out, and the next one, in whatever process, goes on: see
// docs/charge-protocol.md.
package scheduler
