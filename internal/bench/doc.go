// Package bench measures how close contauth comes to what its gateway, its
// machine and its database allow, and compares it with simpler programs that
// do the same work.
//
// It knows what is measured (Series), how (Meter, Drive), what the rows of the
// result are made of (Row), and how every payment is checked at the
// gateway (Ledger). The processes that are measured, and the pipeline itself,
// are handed to it by the program.
package bench
