package importer

// HoldsCardData reports whether text contains what looks like a card number, or
// names a security code: the same test that a file's cells must pass.
func HoldsCardData(text string) bool { return hasCardNumber(text) || hasSecurityCode(text) }
