// Package mastercard charges stored tokens at the Mastercard Gateway (formerly
// MPGS) and looks after them, over its form-encoded protocol (NVP), version 100:
// PAY, or AUTHORIZE and CAPTURE, without the payer; RETRIEVE_TRANSACTION and
// RETRIEVE_ORDER for what became of it; TOKENIZE and its companions for the
// tokens themselves.
//
// client.go talks and charge.go is the order of what it says; nvp.go, pay.go and
// answer.go are the bytes of both directions, verdict.go says what an error means
// for the money, declines.go and currencies.go hold tables as dated data.
//
// Two things here differ from gateways with idempotency keys:
//
//   - order.id and transaction.id are the key. The order is the charge, the
//     transaction its attempt; an identical request is answered as the first one
//     was (Direct payment FAQ). billing.ChargeRequest.Key is not sent.
//   - The credentials are a part of the body, its last two fields. They are not a
//     part of what makes two requests identical: after a change of password an
//     attempt is still sent again with the same content. That the gateway sees it
//     the same way is not verified. The RequestHash is of the whole body, so it
//     differs then.
//
// Facts are from the gateway's published pages, named where they are used, as of
// November 2026. "Not verified" marks what no page says; there the comment gives
// the rule that costs least if it proves wrong.
package mastercard
