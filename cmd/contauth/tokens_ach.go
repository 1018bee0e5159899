package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/contauth/contauth/internal/secret"
	"github.com/contauth/contauth/tokens"
)

// maxBankAccountFile bounds the description of a bank account, in bytes.
const maxBankAccountFile = 4 << 10

// bankAccountJSON is how a bank account is written for tokens add --ach.
type bankAccountJSON struct {
	AccountType   string        `json:"account_type"`
	Holder        string        `json:"holder"`
	AccountNumber secret.String `json:"account_number"`
	RoutingNumber string        `json:"routing_number"`
	SECCode       string        `json:"sec_code"`
}

// readBankAccount reads a bank account from a file, or from standard input for "-":
// never from the command line, which other users of the machine can see. Its errors
// repeat nothing of it.
func (e *env) readBankAccount(path string) (tokens.BankAccount, error) {
	in := e.stdin
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return tokens.BankAccount{}, usageError("--ach: %w", err)
		}
		defer file.Close()
		in = file
	}
	text, err := io.ReadAll(io.LimitReader(in, maxBankAccountFile+1))
	if err != nil {
		return tokens.BankAccount{}, fmt.Errorf("--ach: %w", err)
	}
	if len(text) > maxBankAccountFile {
		return tokens.BankAccount{}, fmt.Errorf("--ach: more than %d bytes, which is no bank account", maxBankAccountFile)
	}
	var read bankAccountJSON
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&read); err != nil || decoder.More() {
		// The decoder's own words may quote what it read.
		return tokens.BankAccount{}, fmt.Errorf("--ach: want one JSON object of texts: account_type, holder, account_number, routing_number and sec_code")
	}
	account := tokens.BankAccount(read)
	if err := account.Validate(); err != nil {
		return tokens.BankAccount{}, fmt.Errorf("--ach: %w", err)
	}
	return account, nil
}
