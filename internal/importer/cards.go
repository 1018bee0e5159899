package importer

import (
	"regexp"
	"strings"
)

// A prefix is how the card numbers of an issuer begin: with a number of as many
// digits as low and high have, from low to high.
type prefix struct {
	low, high         string
	shortest, longest int // digits of the whole number
}

// prefixes are those that ISO/IEC 7812 gives to payment cards, as their schemes
// publish them; neighbours are taken together where telling them apart would
// change nothing.
var prefixes = []prefix{
	{"4", "4", 13, 19},       // Visa
	{"51", "55", 16, 16},     // Mastercard
	{"2221", "2720", 16, 16}, // Mastercard
	{"2200", "2204", 16, 19}, // Mir
	{"34", "34", 15, 15},     // American Express
	{"37", "37", 15, 15},     // American Express
	{"300", "305", 14, 19},   // Diners Club
	{"3095", "3095", 14, 19}, // Diners Club
	{"36", "36", 14, 19},     // Diners Club
	{"38", "39", 14, 19},     // Diners Club
	{"3528", "3589", 16, 19}, // JCB
	{"50", "50", 13, 19},     // Maestro, RuPay, Elo
	{"56", "58", 13, 19},     // Maestro
	{"6", "6", 13, 19},       // Discover, UnionPay, Maestro, RuPay
	{"81", "81", 16, 19},     // UnionPay, RuPay
}

const (
	shortestCard = 13
	longestCard  = 19
)

// hasCardNumber reports whether there is a card number in s: 13 to 19 digits with
// the prefix of an issuer and a right check digit, alone or in groups with a
// space or a dash between them, which may stand in a longer text.
func hasCardNumber(s string) bool {
	if countDigits(s) < shortestCard || isUUID(s) {
		return false
	}
	for start := 0; start < len(s); start++ {
		if !isDigit(s[start]) || start > 0 && isDigit(s[start-1]) {
			continue // a number begins where a group begins
		}
		if beginsCard(s[start:]) {
			return true
		}
	}
	return false
}

// beginsCard reports whether s begins with a card number that ends where a group
// of digits ends.
func beginsCard(s string) bool {
	digits := make([]byte, 0, longestCard)
	for i := 0; i < len(s); i++ {
		if !isDigit(s[i]) {
			if (s[i] != ' ' && s[i] != '-') || !isDigit(s[i-1]) {
				return false
			}
			continue
		}
		if digits = append(digits, s[i]); len(digits) > longestCard {
			return false
		}
		if groupEnds := i+1 == len(s) || !isDigit(s[i+1]); groupEnds && isCardNumber(digits) {
			return true
		}
	}
	return false
}

func isCardNumber(digits []byte) bool {
	return len(digits) >= shortestCard && hasIssuer(string(digits)) && passesLuhn(digits)
}

func hasIssuer(digits string) bool {
	for _, p := range prefixes {
		head := digits[:len(p.low)]
		if p.low <= head && head <= p.high && p.shortest <= len(digits) && len(digits) <= p.longest {
			return true
		}
	}
	return false
}

// passesLuhn checks the last digit as ISO/IEC 7812 does: from the right, every
// second digit counts double, and the digits of all of them add up to a multiple
// of ten.
func passesLuhn(digits []byte) bool {
	sum := 0
	for i := range digits {
		d := int(digits[len(digits)-1-i] - '0')
		if i%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}

// isUUID reports whether s is a UUID as people write it. Its groups would
// sometimes pass for those of a card number: among a million UUIDs, a few dozen.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch i {
		case 8, 13, 18, 23:
			if s[i] != '-' {
				return false
			}
		default:
			if !strings.ContainsRune("0123456789abcdefABCDEF", rune(s[i])) {
				return false
			}
		}
	}
	return true
}

// securityCode finds a card's security code by the word before it; the digits
// alone could be anything.
var securityCode = regexp.MustCompile(`(?i)\b(?:c[vs][cv]2?|cv2|cid|security[ _-]?code)\b[^0-9a-z]{0,5}(?:is )?[0-9]{3,4}\b`)

// hasSecurityCode reports whether s names a card's security code.
func hasSecurityCode(s string) bool {
	const shortest = len("cid 123")
	return len(s) >= shortest && strings.ContainsAny(s, "cC") && strings.ContainsAny(s, "0123456789") && securityCode.MatchString(s)
}

// isSecurityCodeColumn reports whether a column of that name would hold security
// codes.
func isSecurityCodeColumn(name string) bool {
	letters := strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
			return r
		}
		return -1
	}, strings.ToLower(name))
	switch letters {
	case "cvc", "cvc2", "cvv", "cvv2", "cv2", "csc", "cid", "cardcvc", "cardcvv", "cardsecuritycode", "securitycode", "cardverificationvalue", "cardverificationcode":
		return true
	}
	return false
}

func countDigits(s string) int {
	n := 0
	for i := range len(s) {
		if isDigit(s[i]) {
			n++
		}
	}
	return n
}

func isDigit(b byte) bool { return '0' <= b && b <= '9' }
