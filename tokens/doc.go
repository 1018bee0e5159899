// Package tokens holds the stored credential: the name under which a gateway
// keeps a shopper's payment method, and whether it may be charged.
//
// A token belongs to one merchant account and one shopper reference. It stands
// below package billing: a declined charge changes a token, a token never
// changes a charge.
//
// Neither the gateway's name of a token nor the shopper reference is written to
// a log. A Token prints as "token 7"; where people need to recognise it, show
// MaskedReference.
package tokens
