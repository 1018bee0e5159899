// Package sandbox is a simulated payment gateway: it speaks Adyen's dialect
// over real HTTP, keeps its own ledger and its own memory of idempotency keys,
// and can be told to misbehave before and after it acts. What it knows about
// money comes only from the requests that reach it, so that its ledger can
// prove, or disprove, what contauth says.
//
// # Paying
//
// POST /adyen/v71/payments and /adyen/v72/payments charge a stored token.
// X-API-Key is required; any key is good unless Options.APIKey names the one
// that is. A payment is in the ledger, and its answer kept under its
// Idempotency-Key, before a byte of the answer is sent: both survive a kill of
// the process. The same key gives the same bytes again and changes nothing,
// for seven days. While the first request with a key is at work, another one
// is told 422 with errorCode 704 and transient-error: true.
//
// Kept under the key: every 200, every validation error (422), and a 500 that
// stands for a lost connection to the acquirer. Not kept: 400, 401, 403, 413,
// 415, 429 and everything marked transient-error: true.
//
// # Forcing a result
//
// By the request, as Adyen documents it for its test platform:
// additionalData.RequestedTestAcquirerResponseCode is a refusal code, or 1 for
// Authorised, or 13 for Received; a code that nobody knows is refused with
// that code. additionalData.RequestedTestErrorResponseCode is
// NO_CONNECTION_AVAILABLE (transient, the key is not used up) or
// IOEXCEPTION_RECEIVED (500, kept under the key).
//
// By the token, since requests of contauth carry nothing that is for tests
// only. What stands behind the token's last full stop decides:
//
//	TK0001.refuse12      Refused with refusalReasonCode 12; any code works, and
//	                     brings its own resultCode: refuse4 gives Error,
//	                     refuse22 gives Cancelled
//	TK0001.pending       Pending
//	TK0001.received      Received
//	TK0001.future        a resultCode and a refusalReasonCode that nobody knows
//	TK0001.notfound      422, errorCode 803: no such token for this shopper
//	TK0001.nocontract    422, errorCode 800: nothing stored for this shopper
//	TK0001.noconnection  503, transient-error: true; nothing was made
//	TK0001.ioerror       500, kept under the key; nothing was made
//
// Every other token is Authorised. A request that does not say ContAuth with
// Subscription or UnscheduledCardOnFile gets RedirectShopper, as a bank would
// ask for a shopper who is not there.
//
// # Misbehaving
//
// A script is a list of rules, given at the start or by PUT /sandbox/script as
// YAML or JSON; see [Rule] and [Action] for all that a rule can say:
//
//	# every tenth payment is made, and nobody hears of it
//	- {match: {every: 10}, when: after, do: reset}
//	# this charge is told to come back later, twice
//	- {match: {reference: sub-1~2}, when: before, do: status, code: 429, retry_after: 2, times: 2}
//
// # Holding
//
// A request can be stopped at a [Point], so that a test can kill whoever waits
// for the answer:
//
//	POST   /sandbox/holds {"match": {"every": 1}, "point": "acted"}  → {"id": "1", …}
//	GET    /sandbox/holds/1?wait=10s    answers when a request is held there
//	DELETE /sandbox/holds/1             lets it go on
//
// A hold stops one request. At the points "connected" and "half_request" the
// request is not known yet, so they take every only. A held request whose
// client dies goes on by itself, as it would at a gateway; at "connected" and
// "half_request" that is not noticed, and the hold lasts until it is ended.
//
// # Webhooks
//
// With Options.Webhooks the sandbox sends signed standard webhooks, one event
// each: an AUTHORISATION for every payment that is authorised or refused, also
// where its answer never arrived. The rest is sent when somebody asks for it,
// about a payment in the ledger:
//
//	POST /sandbox/webhooks {"code": "REFUND", "reference": "sub-1~2", "amount_minor": 500}
//
// code is AUTHORISATION (as when a pending payment is decided), CAPTURE,
// CAPTURE_FAILED, CANCELLATION, REFUND, REFUND_FAILED, NOTIFICATION_OF_FRAUD,
// NOTIFICATION_OF_CHARGEBACK, CHARGEBACK, CHARGEBACK_REVERSED,
// SECOND_CHARGEBACK, RECURRING_CONTRACT, or recurring.token.created, .updated,
// .disabled and .alreadyExisting, which are token events, signed over their
// bytes in the header hmacsignature. psp_reference names the payment where
// several have the reference. success, reason, amount_minor, without_original
// and event_psp_reference (of a refund or dispute to go on with) may be given.
// A capture, cancellation or refund has a pspReference of its own; what failed
// has that of the last one, and all events of one dispute have one: the ledger
// keeps those. The answer has the event's psp_reference.
//
// Any 2xx within ten seconds accepts a delivery; otherwise it is sent again
// after Adyen's waits. What waits when the process ends is not sent any more:
// the ledger knows the payment, and an order for its AUTHORISATION sends that
// again. GET /sandbox/webhooks counts; PUT /sandbox/webhooks/url {"url": "…"}
// sends elsewhere, also what waits.
//
// What becomes of webhooks on their way is set by [WebhookBehaviour], and while
// the sandbox runs by
//
//	PUT /sandbox/webhooks/behaviour {"delay": "1s", "delay_up_to": "5s", "duplicate": 3, "duplicate_within": "2s",
//	    "reorder": 10, "lose": 0.1, "before_answer": true, "forge": 0.1, "forgeries": ["amount", "key"]}
//
// where what is left out is off. One seed loses, forges and delays the same
// payments, by their reference, whatever the order in which they come.
//
// # Watching
//
// GET /sandbox/ledger streams all payments, refused ones too, one JSON object
// a line. amount_minor counts as ISO 4217 does, gateway_value as Adyen does.
// GET /sandbox/stats tells what was counted. PUT /sandbox/clock with {"now":
// "2027-01-31T09:00:00Z"} sets the clock that dates payments and ages keys, and
// "stopped": true stops it; DELETE gives it back to the machine.
package sandbox
