package sandbox

// A Forgery is how a webhook that nobody but a forger sent differs from the one
// that it imitates.
type Forgery string

const (
	ForgeryAmount    Forgery = "amount"    // another amount, the old signature
	ForgerySuccess   Forgery = "success"   // the opposite success, the old signature
	ForgeryReference Forgery = "reference" // another merchantReference, the old signature
	ForgeryKey       Forgery = "key"       // signed with another key
	ForgeryUnsigned  Forgery = "unsigned"  // no signature at all
)

var allForgeries = []Forgery{ForgeryAmount, ForgerySuccess, ForgeryReference, ForgeryKey, ForgeryUnsigned}
