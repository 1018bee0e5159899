package tokens_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/contauth/contauth/internal/secret"
	"github.com/contauth/contauth/tokens"
)

func TestBankAccount_Validate(t *testing.T) {
	good := tokens.BankAccount{
		AccountType: "CONSUMER_CHECKING", Holder: "A Holder", AccountNumber: secret.New("000-123 456/789"), RoutingNumber: "021000021", SECCode: "WEB",
	}
	tests := []struct {
		name   string
		change func(*tokens.BankAccount)
		field  string // that the error names; "" for no error
	}{
		{"a good one", func(*tokens.BankAccount) {}, ""},
		{"savings, by telephone", func(a *tokens.BankAccount) { a.AccountType, a.SECCode = "CONSUMER_SAVINGS", "TEL" }, ""},
		{"a company's, in writing", func(a *tokens.BankAccount) { a.AccountType, a.SECCode = "CORPORATE_CHECKING", "PPD" }, ""},
		{"a holder of 28 letters beyond ASCII", func(a *tokens.BankAccount) { a.Holder = strings.Repeat("ñ", 28) }, ""},
		{"an unknown type", func(a *tokens.BankAccount) { a.AccountType = "CHECKING" }, "account_type"},
		{"a type in other letters", func(a *tokens.BankAccount) { a.AccountType = "consumer_checking" }, "account_type"},
		{"no holder", func(a *tokens.BankAccount) { a.Holder = "" }, "holder"},
		{"a holder of 29 letters", func(a *tokens.BankAccount) { a.Holder = strings.Repeat("a", 29) }, "holder"},
		{"a holder of two lines", func(a *tokens.BankAccount) { a.Holder = "A\nHolder" }, "holder"},
		{"no number", func(a *tokens.BankAccount) { a.AccountNumber = secret.String{} }, "account_number"},
		{"a number of 18", func(a *tokens.BankAccount) { a.AccountNumber = secret.New(strings.Repeat("1", 18)) }, "account_number"},
		{"a number with a dot", func(a *tokens.BankAccount) { a.AccountNumber = secret.New("1234.56") }, "account_number"},
		{"a routing number of 8", func(a *tokens.BankAccount) { a.RoutingNumber = "02100002" }, "routing_number"},
		{"a routing number with a wrong digit", func(a *tokens.BankAccount) { a.RoutingNumber = "021000022" }, "routing_number"},
		{"a routing number of zeros", func(a *tokens.BankAccount) { a.RoutingNumber = "000000000" }, "routing_number"},
		{"a routing number with a letter", func(a *tokens.BankAccount) { a.RoutingNumber = "02100002l" }, "routing_number"},
		{"no SEC code", func(a *tokens.BankAccount) { a.SECCode = "" }, "sec_code"},
		{"an unknown SEC code", func(a *tokens.BankAccount) { a.SECCode = "CCD" }, "sec_code"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			account := good
			tt.change(&account)
			err := account.Validate()
			if (err != nil) != (tt.field != "") || err != nil && (!errors.Is(err, tokens.ErrInvalid) || !strings.Contains(err.Error(), tt.field+":")) {
				t.Errorf("got %v, want an ErrInvalid that names %q", err, tt.field)
			}
		})
	}
}

func TestBankAccount_printsNothing(t *testing.T) {
	account := tokens.BankAccount{Holder: "A Holder", AccountNumber: secret.New("000123456789"), RoutingNumber: "021000021"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		for _, value := range []any{account, &account} {
			if got := fmt.Sprintf(verb, value); strings.Contains(got, "Holder") || strings.Contains(got, "0001") || strings.Contains(got, "0210") {
				t.Errorf("%s of %T prints %q", verb, value, got)
			}
		}
	}
}
