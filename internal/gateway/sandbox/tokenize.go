package sandbox

import (
	"encoding/binary"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// The ways to verify a card that is stored.
const (
	verifyAcquirer = "ACQUIRER"
	verifyBasic    = "BASIC"
	verifyNone     = "NONE"
)

var allVerifications = []string{verifyAcquirer, verifyBasic, verifyNone}

// The values of response.gatewayCode of TOKENIZE; those of an acquirer that says
// no are made from verifiedPrefix.
const (
	notVerified    = "NO_VERIFICATION_PERFORMED"
	verifiedBasic  = "BASIC_VERIFICATION_SUCCESSFUL"
	verifiedPrefix = "EXTERNAL_VERIFICATION_"
)

// allVerdictsOfCards are what an acquirer says to a card, behind verifiedPrefix.
var allVerdictsOfCards = []string{
	"SUCCESSFUL", "DECLINED", "DECLINED_EXPIRED_CARD", "DECLINED_INVALID_CSC", "DECLINED_AUTHENTICATION_REQUIRED", "BLOCKED", "PROCESSING_ERROR",
}

// A verification is what came of checking a card.
type verification struct {
	strategy string
	code     string // response.gatewayCode
	result   string
}

// details are what a TOKENIZE wants to store.
type details struct {
	account *account
	session *hostedSession // where they came from; nil if there was none
}

// tokenize creates or updates a token. The repository is locked over all of it:
// what was found must still hold when it is written.
func (m *mastercard) tokenize(x *exchange, rule *Rule) reply {
	f := &x.form
	m.tokens.mu.Lock()
	defer m.tokens.mu.Unlock()
	target, wrong := m.target(f)
	if wrong != nil {
		return x.errorReply(wrong)
	}
	given, wrong := m.detailsOf(f, target)
	if wrong != nil {
		return x.errorReply(wrong)
	}
	if target, wrong = m.tokenFor(f, target, given.account); wrong != nil {
		return x.errorReply(wrong)
	}
	checked, wrong := m.verify(f, rule, given)
	if wrong != nil {
		return x.errorReply(wrong)
	}
	if checked.result == resultSuccess || m.options.StoreDeclined {
		now := m.clock.now().UnixNano()
		target.Account, target.Status, target.Cause, target.Deleted = given.account, statusValid, "", false
		target.Source, target.UpdatedBy, target.Updated, target.Used = sourceClient, strings.Clone(f.get("merchant")), now, now
		target.Strategy = strings.Clone(checked.strategy)
		if err := m.keepToken(target); err != nil {
			m.log.Error("the ledger cannot be written", "error", err)
			return x.errorReply(errBusy)
		}
	}
	b := appendField(x.answer[:0], "correlationId", f.get("correlationId"))
	b = appendField(b, "response.gatewayCode", checked.code)
	b = appendField(b, "result", checked.result)
	x.answer = m.appendToken(b, target, checked.strategy)
	return reply{status: http.StatusOK, body: x.answer}
}

// target returns a copy of the token that the request names; nil if it names none,
// or a new one. The repository is locked.
func (m *mastercard) target(f *form) (*storedToken, *apiError) {
	name := f.get("token")
	merchantProvided := m.tokens.strategy.Generation == GenerationMerchant
	if name == "" {
		if merchantProvided {
			return nil, missingField("token")
		}
		return nil, nil
	}
	if found := m.tokens.find(name); found != nil {
		return found.clone(), nil
	}
	if !merchantProvided {
		return nil, invalidField("token", "There is no such token.")
	}
	return nil, nil
}

// detailsOf finds what is to be stored: what stands in the request goes before the
// session, that before another token. A number that none of them has is that of
// the token itself.
func (m *mastercard) detailsOf(f *form, target *storedToken) (details, *apiError) {
	if f.get("responseControls.sensitiveData") != "" {
		return details{}, invalidField("responseControls.sensitiveData", "Clear numbers need a permission and a certificate.")
	}
	if f.get("sourceOfFunds.type") == "ACH" {
		bank, wrong := bankOf(f)
		return details{account: bank}, wrong
	}
	var given details
	expiry := expiryOf(f)
	switch {
	case f.has("session.id"):
		session, wrong := m.sessionOf(f)
		if wrong != nil {
			return details{}, wrong
		}
		given = details{session.Account, session}
	case f.has("sourceOfFunds.token"):
		other := m.tokens.find(f.get("sourceOfFunds.token"))
		if other == nil {
			return details{}, invalidField("sourceOfFunds.token", "There is no such token.")
		}
		given.account = other.clone().Account
	case target != nil && expiry != "":
		given.account = target.clone().Account
	case !f.has("sourceOfFunds.type"):
		return details{}, missingField("sourceOfFunds.type")
	default:
		return details{}, missingField("sourceOfFunds.provided.card.number")
	}
	if expiry != "" && given.account.Bank == nil {
		given.account.Expiry = expiry
	}
	return given, nil
}

// bankOf reads a bank account, of which everything must be there.
func bankOf(f *form) (*account, *apiError) {
	const prefix = "sourceOfFunds.provided.ach."
	for _, name := range []string{"accountType", "bankAccountHolder", "bankAccountNumber", "routingNumber", "secCode"} {
		if !f.has(prefix + name) {
			return nil, missingField(prefix + name)
		}
	}
	return newBankAccount(f.get(prefix+"bankAccountNumber"), bankAccount{
		Type: f.get(prefix + "accountType"), Holder: f.get(prefix + "bankAccountHolder"),
		Routing: f.get(prefix + "routingNumber"), SECCode: f.get(prefix + "secCode"),
	}), nil
}

// tokenFor returns the token that is to stand for the account, if the repository's
// rules allow one. It is locked.
func (m *mastercard) tokenFor(f *form, target *storedToken, account *account) (*storedToken, *apiError) {
	const number = "sourceOfFunds.provided.card.number"
	if target != nil {
		if err := m.tokens.mayBecome(target, account); err != nil {
			return nil, invalidField(number, err.Error())
		}
		return target, nil
	}
	if name := f.get("token"); name != "" {
		if err := m.tokens.mayHave(account, name); err != nil {
			return nil, invalidField(number, err.Error())
		}
		return &storedToken{Token: strings.Clone(name)}, nil // or all of the request would stay in memory
	}
	if m.tokens.strategy.Management == ManagementUniqueCard {
		if holder := m.tokens.holder(account, ""); holder != "" {
			return m.tokens.find(holder).clone(), nil
		}
	}
	name := m.tokens.name(account, m.randomness(), m.seq.Add(1))
	return &storedToken{Token: name}, nil
}

// randomness is where the names of this ledger's tokens and sessions come from.
func (m *mastercard) randomness() uint64 { return binary.LittleEndian.Uint64(m.ledger.seed[:]) }

// keepToken writes a token into the ledger, and then into the repository, which is locked.
func (m *mastercard) keepToken(t *storedToken) error {
	detail, err := json.Marshal(t)
	if err != nil {
		return err
	}
	r := record{kind: recordToken, dialect: dialectMastercard, seq: m.seq.Load(), at: t.Updated, key: []byte(t.Token), detail: detail}
	if _, err := m.ledger.append(&r); err != nil {
		return err
	}
	m.tokens.put(t)
	return nil
}

// verify checks a card in the way that the request or the profile wants.
func (m *mastercard) verify(f *form, rule *Rule, given details) (verification, *apiError) {
	v := verification{strategy: f.get("verificationStrategy"), result: resultSuccess}
	if v.strategy == "" {
		v.strategy = m.options.Verification
	}
	switch {
	case rule != nil && rule.decides() && rule.With != "":
		v.code = rule.With
	case v.strategy == verifyNone:
		v.code = notVerified
		return v, nil
	case v.strategy == verifyBasic:
		v.code = verifiedBasic
		return v, nil
	case !f.has("transaction.currency"):
		return v, missingField("transaction.currency")
	default:
		v.code = verifiedPrefix + m.askAcquirer(given)
	}
	v.result = resultFailure
	if v.code == notVerified || v.code == verifiedBasic || v.code == verifiedPrefix+"SUCCESSFUL" {
		v.result = resultSuccess
	}
	if strings.HasSuffix(v.code, "PROCESSING_ERROR") && byExpiry(given.account.Expiry, m.clock.now()) == "UNKNOWN" {
		v.result = resultUnknown
	}
	return v, nil
}

// askAcquirer returns what an acquirer says to a card: what the shopper's card was
// said to bring, then its security code, then its expiry date.
func (m *mastercard) askAcquirer(given details) string {
	if given.session != nil {
		switch {
		case given.session.Verification != "":
			return given.session.Verification
		case slices.Contains(wrongSecurityCodes, given.session.SecurityCode):
			return "DECLINED_INVALID_CSC"
		}
	}
	switch v := verdictOf(byExpiry(given.account.Expiry, m.clock.now())); {
	case v.Code == "EXPIRED_CARD":
		return "DECLINED_EXPIRED_CARD"
	case v.ledger == resultRefused:
		return "DECLINED"
	case !v.approves():
		return "PROCESSING_ERROR"
	}
	return "SUCCESSFUL"
}

// wrongSecurityCodes are those that the test system takes for wrong ones, of cards
// with three digits and with four.
var wrongSecurityCodes = []string{"102", "1020"}

// appendToken appends what is told of a token: little of one that was never stored,
// because its card failed.
func (m *mastercard) appendToken(b []byte, t *storedToken, strategy string) []byte {
	b = appendField(b, "repositoryId", repositoryID)
	if t.Account == nil {
		b = appendField(b, "status", statusInvalid)
		return appendField(b, "verificationStrategy", strategy)
	}
	b = t.Account.appendTo(b, "", oneField)
	b = appendField(b, "status", t.Status)
	b = appendField(b, "token", t.Token)
	b = m.appendUsage(b, t)
	if !m.options.OnlyKnownFields {
		b = appendField(b, "sandboxUnlistedField", "a reader passes over it")
	}
	return appendField(b, "verificationStrategy", strategy)
}

// appendUsage appends when a token was changed and used last, in the shape of
// version 100 or of older ones.
func (m *mastercard) appendUsage(b []byte, t *storedToken) []byte {
	instant := func(nanoseconds int64) string {
		if nanoseconds == 0 {
			return ""
		}
		return nvpInstant(nanoseconds)
	}
	if m.options.OldUsage {
		b = appendField(b, "usage.lastUpdated", instant(t.Updated))
		b = appendField(b, "usage.lastUpdatedBy", t.UpdatedBy)
		return appendField(b, "usage.lastUsed", instant(t.Used))
	}
	b = appendField(b, "usage.lastUpdated.merchantId", t.UpdatedBy)
	b = appendField(b, "usage.lastUpdated.source", t.Source)
	b = appendField(b, "usage.lastUpdated.time", instant(t.Updated))
	return appendField(b, "usage.lastUsedTime", instant(t.Used))
}

// retrieveToken tells of a token, without having it checked.
func (m *mastercard) retrieveToken(x *exchange, _ *Rule) reply {
	f := &x.form
	if f.has("responseControls.sensitiveData") {
		return x.errorReply(invalidField("responseControls.sensitiveData", "Clear numbers need a permission and a certificate."))
	}
	t := m.tokens.get(f.get("token"))
	if t == nil {
		return x.errorReply(invalidField("token", "There is no such token."))
	}
	b := appendField(x.answer[:0], "correlationId", f.get("correlationId"))
	b = appendField(b, "result", resultSuccess)
	x.answer = m.appendToken(b, t, t.Strategy)
	return reply{status: http.StatusOK, body: x.answer}
}

// deleteToken takes a token away for good. A second call finds none.
func (m *mastercard) deleteToken(x *exchange, _ *Rule) reply {
	f := &x.form
	m.tokens.mu.Lock()
	defer m.tokens.mu.Unlock()
	t := m.tokens.find(f.get("token"))
	if t == nil {
		return x.errorReply(invalidField("token", "There is no such token."))
	}
	gone := t.clone()
	gone.Deleted, gone.Source, gone.UpdatedBy, gone.Updated = true, sourceClient, f.get("merchant"), m.clock.now().UnixNano()
	if err := m.keepToken(gone); err != nil {
		m.log.Error("the ledger cannot be written", "error", err)
		return x.errorReply(errBusy)
	}
	b := appendField(x.answer[:0], "correlationId", f.get("correlationId"))
	x.answer = appendField(b, "result", resultSuccess)
	return reply{status: http.StatusOK, body: x.answer}
}
