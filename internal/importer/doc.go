// Package importer reads subscriptions, charges and tokens from CSV files, as
// people write them by hand, programs export them and Excel saves them.
//
// It reads a file as a stream: memory does not grow with the file, whatever the
// file contains. Every line becomes a row that billing would accept, or a
// billing.BadRow that says what is wrong with it; reading goes on behind a bad
// row, so that a person repairs a file once and not once for each fault.
//
// What looks like a card number or a security code is refused wherever it stands
// and is never repeated: contauth works with the gateway's tokens, and a card
// number in its database, its errors or its logs would put all of them in scope
// of PCI DSS.
package importer
