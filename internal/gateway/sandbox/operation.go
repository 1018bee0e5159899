package sandbox

import (
	"fmt"
	"slices"
)

// An operation is what an apiOperation of the Mastercard Gateway asks for.
type operation struct {
	name string
	// kind is the transaction that the operation makes; empty if it makes none.
	kind transactionKind
	do   func(m *mastercard, x *exchange, rule *Rule) reply
}

var operations = []operation{
	{"PAY", kindPayment, (*mastercard).charge},
	{"AUTHORIZE", kindAuthorization, (*mastercard).charge},
	{"VERIFY", kindVerification, (*mastercard).charge},
	{"CAPTURE", kindCapture, (*mastercard).modify},
	{"REFUND", kindRefund, (*mastercard).modify},
	{"VOID", kindVoid, (*mastercard).modify},
	{"RETRIEVE_TRANSACTION", "", (*mastercard).retrieveTransaction},
	{"RETRIEVE_ORDER", "", (*mastercard).retrieveOrder},
	{"TOKENIZE", "", (*mastercard).tokenize},
	{"RETRIEVE_TOKEN", "", (*mastercard).retrieveToken},
	{"DELETE_TOKEN", "", (*mastercard).deleteToken},
	{"CREATE_SESSION", "", (*mastercard).createSession},
	{"UPDATE_SESSION", "", (*mastercard).updateSession},
	{"RETRIEVE_SESSION", "", (*mastercard).retrieveSession},
}

// operationNames are what rules and holds can name.
var operationNames = func() []string {
	names := []string{operationPayments, operationSessions, operationMethods, operationDisable}
	for _, o := range operations {
		names = append(names, o.name)
	}
	return names
}()

func operationNamed(name string) *operation {
	if i := slices.IndexFunc(operations, func(o operation) bool { return o.name == name }); i >= 0 {
		return &operations[i]
	}
	return nil
}

// checkOperation returns what is wrong with the operation of a rule or hold.
func checkOperation(name string) error {
	if name == "" || slices.Contains(operationNames, name) {
		return nil
	}
	return fmt.Errorf("operation is %q; it is one of %s", name, oneOf(operationNames))
}
