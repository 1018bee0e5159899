package tokens

import (
	"fmt"
	"slices"
	"strings"

	"github.com/contauth/contauth/internal/secret"
)

// ACHPaymentMethod is the payment method of a token that stands for a bank account.
const ACHPaymentMethod = "ach"

// A BankAccount is one in the United States that is debited by ACH. It is handed to
// the gateway, which answers a token for it, and is kept nowhere else.
type BankAccount struct {
	AccountType   string        // CONSUMER_CHECKING, CONSUMER_SAVINGS or CORPORATE_CHECKING
	Holder        string        // who it belongs to
	AccountNumber secret.String // at the bank
	RoutingNumber string        // of the bank
	SECCode       string        // how the holder agreed: PPD, TEL or WEB
}

// String is silent: the account is its holder's.
func (BankAccount) String() string { return "bank account" }

// GoString keeps %#v as silent as String.
func (BankAccount) GoString() string { return "bank account" }

var (
	bankAccountTypes = []string{"CONSUMER_CHECKING", "CONSUMER_SAVINGS", "CORPORATE_CHECKING"}
	secCodes         = []string{"PPD", "TEL", "WEB"}
)

// Limits of ACH accounts (Mastercard Gateway, Create or Update Token).
const (
	maxBankAccountHolder = 28
	maxBankAccountNumber = 17
	routingNumberLength  = 9
)

// Validate checks each field. The error is an ErrInvalid that names the field and
// never repeats what it holds.
func (a BankAccount) Validate() error {
	number := a.AccountNumber.Reveal()
	switch {
	case !slices.Contains(bankAccountTypes, a.AccountType):
		return fmt.Errorf("%w account_type: want one of %q", ErrInvalid, bankAccountTypes)
	case a.Holder == "" || len([]rune(a.Holder)) > maxBankAccountHolder || strings.ContainsFunc(a.Holder, isControl):
		return fmt.Errorf("%w holder: want 1 to %d characters", ErrInvalid, maxBankAccountHolder)
	case number == "" || len(number) > maxBankAccountNumber || strings.ContainsFunc(number, notInAccountNumber):
		return fmt.Errorf("%w account_number: want 1 to %d of 0-9, a-z, A-Z, space, '-' and '/'", ErrInvalid, maxBankAccountNumber)
	case !isRoutingNumber(a.RoutingNumber):
		return fmt.Errorf("%w routing_number: want the %d digits of an ABA number, the last of which checks the others", ErrInvalid, routingNumberLength)
	case !slices.Contains(secCodes, a.SECCode):
		return fmt.Errorf("%w sec_code: want one of %q, by how the holder agreed", ErrInvalid, secCodes)
	}
	return nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' }

func notInAccountNumber(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == ' ', r == '-', r == '/':
		return false
	}
	return true
}

// isRoutingNumber checks the digits of an ABA number: weighted 3, 7, 1 over and
// over, they add up to a multiple of ten.
func isRoutingNumber(s string) bool {
	if len(s) != routingNumberLength {
		return false
	}
	sum := 0
	for i, r := range s {
		if r < '0' || r > '9' {
			return false
		}
		sum += [...]int{3, 7, 1}[i%3] * int(r-'0')
	}
	return sum > 0 && sum%10 == 0
}
