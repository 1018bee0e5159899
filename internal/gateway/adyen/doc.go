// Package adyen charges stored tokens at Adyen's Checkout API: POST /payments
// with shopperInteraction ContAuth.
//
// client.go talks, wire.go and answer.go are the bytes of both directions,
// verdict.go says what an HTTP status means for the money, declines.go and
// currencies.go hold Adyen's tables as dated data.
//
// Facts are from Adyen's published Checkout specification (v71 and v72, as of
// July 2026) and the pages "API idempotency", "Result codes", "Refusal reasons"
// and "Currency codes". Where those are silent, the comment says that the rule
// is ours.
package adyen
