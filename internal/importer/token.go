package importer

import (
	"strconv"
	"strings"

	"github.com/contauth/contauth/tokens"
)

// A Token is what one line of a file says about a token. A payment method, and
// details, that the file does not tell are empty.
type Token struct {
	Line int // in the file, from 1
	tokens.Token
	Details tokens.Details
}

func (r *row) importedToken() Token {
	r.merchantAccount()
	return Token{
		Line: r.record.line,
		Token: tokens.Token{
			MerchantAccount: r.cell(colMerchantAccount), Reference: r.token(), ShopperReference: r.shopperReference(),
			PaymentMethod: r.paymentMethod(),
		},
		Details: tokens.Details{Expiry: r.expiry(), Brand: r.brand(), LastFour: r.lastFour()},
	}
}

func (r *row) expiry() tokens.Expiry {
	s := r.cell(colExpiry)
	if s == "" {
		return tokens.Expiry{}
	}
	year, month, ok := cutExpiry(s)
	if !ok {
		r.refuse(colExpiry, "want the last month of the card as YYYY-MM or MM/YY, like 2030-03 or 03/30, or nothing")
		return tokens.Expiry{}
	}
	e, err := tokens.NewExpiry(year, month)
	if err != nil {
		r.refuseErr(colExpiry, err)
	}
	return e
}

// cutExpiry reads YYYY-MM or MM/YY. Whether there is such a month is not its
// business.
func cutExpiry(s string) (year, month int, ok bool) {
	const full, short = len("2030-03"), len("03/30")
	y, m, ok := strings.Cut(s, "-")
	switch {
	case len(s) == full && ok && len(m) == 2 && y[0] != '0': // year 0030 is not 2030
	case len(s) == short && s[2] == '/':
		m, y = s[:2], s[3:]
	default:
		return 0, 0, false
	}
	if countDigits(y)+countDigits(m) != len(s)-1 {
		return 0, 0, false
	}
	year, _ = strconv.Atoi(y) // digits alone, and few of them
	month, _ = strconv.Atoi(m)
	return year, month, true
}

func (r *row) brand() string {
	const longest = 40 // more than any gateway's name of one
	s := r.cell(colBrand)
	if len(s) > longest || strings.ContainsFunc(s, notInBrand) {
		r.refuse(colBrand, "want the gateway's name of a brand, like visa or MASTERCARD, or nothing")
	}
	return s
}

func notInBrand(c rune) bool { return c != ' ' && notInPaymentMethod(c) }

func notLetterOrDigit(c rune) bool { return c == '_' || c == '-' || notInPaymentMethod(c) }

// lastFour wants all four: a table program that takes them for a number drops the
// zeros in front.
func (r *row) lastFour() string {
	s := r.cell(colLastFour)
	if s != "" && (len(s) != 4 || strings.ContainsFunc(s, notLetterOrDigit)) {
		r.refuse(colLastFour, "want the last four characters of the number, zeros in front too, or nothing")
	}
	return s
}
