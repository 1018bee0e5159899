// Package sandbox is a simulated payment gateway: it speaks Adyen's dialect and
// the Mastercard Gateway's over real HTTP, keeps its own ledger and its own memory
// of idempotency keys, and can be told to misbehave before and after it acts. What
// it knows about money comes only from the requests that reach it, so that its
// ledger can prove, or disprove, what contauth says.
//
// Ledger, scripts, holds, clock and counters are the same for both gateways, and
// one server is both at once.
//
// # Paying at Adyen
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
// A payment of nothing only checks a card: it is no payment in the ledger, but
// stands under GET /sandbox/verifications.
//
// # Forcing a result at Adyen
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
// # Storing a card at Adyen
//
// POST /adyen/v71/sessions opens a session; the same Idempotency-Key gives the same
// one. Nobody types a card into it, so a control stands for the shopper:
//
//	POST /sandbox/checkouts/{id} {"result": "Authorised", "card": "visa-1", "expiry": "03/30"}
//
// result is Authorised, Pending, Refused (with refusal_code), Error or Cancelled;
// what is Pending is decided by a second call. card is the name of a test card:
// mastercard-1 to -4, visa-1 and -2, amex-1 to -4, diners-, jcb-, discover-,
// maestro- and uatp-1 and -2. No number of a card ever passes through a client.
// consent: false is a shopper who does not want askForConsent to store the card.
//
// An Authorised session that stores makes a token for the shopper, or finds the one
// that the card has, and sends AUTHORISATION, RECURRING_CONTRACT and
// recurring.token.created or .alreadyExisting; webhooks names those to send, if not
// all. GET /adyen/v71/storedPaymentMethods lists the tokens of a shopper, DELETE
// /adyen/v71/storedPaymentMethods/{id} ends one, and sends recurring.token.disabled.
//
// A token that was stored here can be charged for its shopper only, and one that was
// deleted not at all. Every other token counts as one that was stored elsewhere and
// is anybody's; PUT /sandbox/methods/{token} {"merchant_account": "…",
// "shopper_reference": "…", "card": "visa-1", "expiry": "03/30"} lists it, and
// replaces the card behind any token.
//
// # Paying at the Mastercard Gateway
//
// POST /mastercard/api/nvp/version/100 takes and gives forms (NVP). apiOperation is
// PAY, AUTHORIZE, CAPTURE, REFUND, VOID, VERIFY, RETRIEVE_TRANSACTION,
// RETRIEVE_ORDER, TOKENIZE, RETRIEVE_TOKEN, DELETE_TOKEN, CREATE_SESSION,
// UPDATE_SESSION or RETRIEVE_SESSION. apiUsername is merchant.<merchant>, and any
// apiPassword is good unless [MastercardOptions] name those that are; else the answer
// is REQUEST_REJECTED, with HTTP 401. GET or POST …/100/information needs neither.
//
// fields.csv says which field each operation needs and knows, and what may stand in
// it. A field that is not known there, is missing or cannot be is INVALID_REQUEST
// with error.field and error.validationType, with HTTP 400. So is everything that
// carries a card number or security code; that is counted in card_data_in_request.
//
// merchant, order.id and transaction.id are a transaction's key. The same request
// again, whatever its credentials, its correlationId and the order of its fields,
// gives the bytes of the first answer and changes nothing, for ever; the same ids
// with other content are INVALID_REQUEST, error.field transaction.id, and counted in
// same_key_other_body. While a transaction of an order is at work, all others of the
// order are told result FAILURE, response.gatewayCode LOCK_FAILURE, and are not made.
// Errors use no ids up: nothing was made. Operations that make no transaction have no
// key; each time they come they are done.
//
// RETRIEVE_TRANSACTION and RETRIEVE_ORDER tell what is true now. CAPTURE and REFUND
// go as far as the totals of the order do, VOID ends a transaction once. Nothing
// keeps an order from being paid twice: the ledger is to show it.
//
// In the ledger, reference is <order.id>~<transaction.id>, psp_reference
// <order.id>/<transaction.id>, idempotency_key the three parts with slashes between
// them, shopper_reference agreement.id, and refusal_reason_code the gatewayCode of
// what is no approval. result_code is Authorised, PartiallyAuthorised, Refused,
// Error, Cancelled, Pending, Received or Unknown. PAY and AUTHORIZE stand there; a
// VERIFY stands under GET /sandbox/verifications, and CAPTURE, REFUND and VOID,
// as Captured, Refunded and Voided, under GET /sandbox/modifications.
//
// What was answered as UNKNOWN or PENDING is decided by
//
//	POST /sandbox/resolutions {"reference": "sub-1~2", "gateway_code": "APPROVED"}
//
// with merchant_account where several merchants have the reference. Look-ups and the
// ledger then say what was decided; the same request still gives the old answer.
//
// # Forcing a result at the Mastercard Gateway
//
// A rule goes before the order's reference, that before the token, and that before
// the card's expiry date.
//
// By order.reference: what stands behind its last .FAIL, as in sub-1.FAILBLOCKED, is
// a gatewayCode, with or without its underscores, or one of the endings of tokens.
//
// By the token: what stands behind its last small x.
//
//	MC0001xDECLINED           response.gatewayCode DECLINED; all 37 codes work, without
//	                          their underscores: xINSUFFICIENTFUNDS, xUNKNOWN, xPENDING
//	MC0001xDECLINED61         the same, with the acquirer's code 61 behind it
//	MC0001xFUTURE             a result and a gatewayCode that nobody knows
//	MC0001xSTOP               DECLINED, with an acquirer's advice to stop, after which
//	                          the token is INVALID
//	MC0001xINVALID            a token that is INVALID: charges of it are refused with
//	                          INVALID_REQUEST, error.field sourceOfFunds.token
//	MC0001xNOTFOUND           no such token; the same error
//	MC0001xLOCKFAILURE        another transaction never lets go of the order
//
// An ending speaks of the card that was stored elsewhere. TOKENIZE puts another card
// in its place, and then the expiry date decides, as the gateway publishes it for its
// test system and expiries.csv dates it: 05/39 is DECLINED, 04/27 EXPIRED_CARD, 08/28
// TIMED_OUT, 01/37 ACQUIRER_SYSTEM_ERROR, 02/37 UNSPECIFIED_FAILURE, 05/37 UNKNOWN,
// all others are APPROVED. A card that nobody knows expires in 01/39.
//
// # Storing a card at the Mastercard Gateway
//
// CREATE_SESSION opens a session, and a control stands for the shopper, by the name
// of a test card:
//
//	PUT /sandbox/sessions/{id} {"card": "visa-1", "expiry": "01/39", "security_code": "100"}
//
// Each change gives the session another version. failed: true is a browser whose
// update failed. After fifteen minutes of the sandbox's clock the session is over.
// TOKENIZE refuses one that is over or not there (error.field session.id), another
// session.version (session.version), one without a card
// (sourceOfFunds.provided.card.number, MISSING) and one whose update failed (the
// same, INVALID).
//
// The token repository is TestDEMO. Its generation is RANDOM_WITH_LUHN, PRESERVE_6_4
// or MERCHANT_PROVIDED, its management UNIQUE_TOKEN or UNIQUE_CARD, by the options or
// by PUT /sandbox/repository {"generation": "…", "management": "…"}. An update that
// breaks its rules is INVALID_REQUEST with the field
// sourceOfFunds.provided.card.number: PRESERVE_6_4 never changes a number, and
// UNIQUE_CARD has no two tokens of one. A token that nobody has heard of counts as
// one that was stored elsewhere, unless StrictTokens is set; a deleted one does not.
// Tokens of bank accounts (ACH) are named as under RANDOM_WITH_LUHN.
//
// With the verificationStrategy ACQUIRER, of the request or the options, a card is
// verified as EXTERNAL_VERIFICATION_SUCCESSFUL, or as the end of its name in the
// session says: visa-1.DECLINED, .DECLINED_EXPIRED_CARD, .DECLINED_INVALID_CSC,
// .DECLINED_AUTHENTICATION_REQUIRED, .BLOCKED, .PROCESSING_ERROR. The security code
// 102 is .DECLINED_INVALID_CSC; an expiry date that is declined .DECLINED, an expired
// one .DECLINED_EXPIRED_CARD, one that brings trouble .PROCESSING_ERROR, 05/37 with
// the result UNKNOWN. BASIC and NONE give BASIC_VERIFICATION_SUCCESSFUL and
// NO_VERIFICATION_PERFORMED. What fails is not stored, unless StoreDeclined is set.
// A charge with such a session is declined likewise.
//
// What the account updater, an acquirer or a scheme does to a token is done by
//
//	POST /sandbox/tokens/{token} {"status": "INVALID", "cause": "ACCOUNT_UPDATER"}
//	POST /sandbox/tokens/{token} {"card": "visa-2", "expiry": "05/31", "source": "GATEWAY"}
//
// with the causes ACCOUNT_UPDATER, ACQUIRER and SCHEME_TOKEN. New details make a
// token VALID. GET /sandbox/tokens/{token} tells which card it is, and why it is
// INVALID.
//
// Answers about transactions and tokens have a field that no reader knows, unless
// OnlyKnownFields is set; with StrangeEvery each n-th transaction has a value that
// nobody knows in response.gatewayRecommendation.
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
//	# the first look-up at the Mastercard Gateway gets a page
//	- {match: {every: 1}, operation: RETRIEVE_TRANSACTION, do: garbage, body: html, times: 1}
//	# a decline with the acquirer's code behind it
//	- {match: {token: MC0001}, do: refuse, with: DECLINED, code: 61}
//
// A rule without an operation touches, and its every counts, what is about money:
// Adyen's payments, and PAY, AUTHORIZE, VERIFY, CAPTURE, REFUND and VOID. Operations
// of Adyen are payments, sessions, storedPaymentMethods (the list) and disable (the
// deletion). refuse takes Adyen's code, or with a gatewayCode, and then code is the
// acquirer's; of TOKENIZE with is the verification's gatewayCode. result takes the
// words of either gateway or of the ledger. status answers the Mastercard Gateway's
// clients with the error.cause that likely goes with it, or with the one in
// error_code; stored_io_error is SERVER_FAILED to them. wrong_reference changes
// order.id.
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
// A hold stops one request; with "operation" one of those. At the points "connected" and "half_request" the
// request is not known yet, so they take every only. A held request whose
// client dies goes on by itself, as it would at a gateway; at "connected" and
// "half_request" that is not noticed, and the hold lasts until it is ended.
//
// # Webhooks
//
// With Options.Webhooks the sandbox sends Adyen's signed standard webhooks, one event
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
// a line. amount_minor counts as ISO 4217 does, gateway_value as the gateway does.
// GET /sandbox/verifications and GET /sandbox/modifications stream what is no payment
// in the same form. GET /sandbox/stats tells what was counted. PUT /sandbox/clock with {"now":
// "2027-01-31T09:00:00Z"} sets the clock that dates payments and ages keys, and
// "stopped": true stops it; DELETE gives it back to the machine.
package sandbox
