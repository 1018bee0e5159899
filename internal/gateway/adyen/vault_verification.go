package adyen

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/tokens"
)

// verificationModel says what a verification is for: it has no schedule, and as a
// Subscription it would look like an instalment of one. A token may be used for
// another model than it was made for (Adyen, "Create and use tokens with the
// Sessions flow").
const verificationModel = billing.ModelUnscheduledCardOnFile

// directDebitType is a payment method that has no authorisation of zero: its least
// amount is a cent (Adyen, "SEPA Direct Debit Drop-in").
const directDebitType = "sepadirectdebit"

// Verify implements tokens.Vault. ACQUIRER is an authorisation of zero, which the
// issuer answers like any other. Where it cannot, Adyen authorises a small amount
// and cancels it at once ("BIN data and card verification").
func (v *Vault) Verify(ctx context.Context, req tokens.VerifyRequest) (tokens.Verification, error) {
	verification, err := v.verify(ctx, req)
	if err != nil {
		return tokens.Verification{}, fmt.Errorf("adyen: verify a stored payment method: %w", err)
	}
	verification.Strategy = req.Strategy
	return verification, nil
}

func (v *Vault) verify(ctx context.Context, req tokens.VerifyRequest) (tokens.Verification, error) {
	switch req.Strategy {
	case tokens.StrategyNone:
		return tokens.Verification{Result: tokens.VerificationNone}, nil
	case tokens.StrategyBasic:
		reading, err := v.read(ctx, req.Ref)
		if err != nil {
			return tokens.Verification{}, err
		}
		return v.verifyExpiry(reading.Details.Expiry), nil
	case tokens.StrategyAcquirer:
		return v.verifyAtIssuer(ctx, req)
	}
	return tokens.Verification{}, fmt.Errorf("%w verification strategy", tokens.ErrInvalid)
}

// verifyExpiry is all that Adyen lets us check without the issuer.
func (v *Vault) verifyExpiry(expiry tokens.Expiry) tokens.Verification {
	if !expiry.IsZero() && !v.now().Before(expiry.Ends()) {
		return tokens.Verification{Result: tokens.VerificationExpired, Code: "expired", Reason: "the stored card expired in " + expiry.String()}
	}
	return tokens.Verification{Result: tokens.VerificationPassedBasic}
}

// A verificationOrder is the body of POST /payments of a verification.
type verificationOrder struct {
	MerchantAccount  string                           `json:"merchantAccount"`
	Amount           wireValue                        `json:"amount"`
	Reference        string                           `json:"reference"`
	PaymentMethod    storedMethodID                   `json:"paymentMethod"`
	ShopperReference string                           `json:"shopperReference"`
	Interaction      string                           `json:"shopperInteraction"`
	Model            billing.RecurringProcessingModel `json:"recurringProcessingModel"`
	ReturnURL        string                           `json:"returnUrl"`
}

// A wireValue is an amount as Adyen counts it.
type wireValue struct {
	Currency string `json:"currency"`
	Value    int64  `json:"value"`
}

// A storedMethodID names a token in a request. There is no field for a security
// code here, and there must never be one.
type storedMethodID struct {
	Type string `json:"type,omitempty"`
	ID   string `json:"storedPaymentMethodId"`
}

// newVerificationOrder checks req against Adyen's limits. Its error is a
// tokens.ErrInvalid, or a tokens.ErrUnsupported, and repeats nothing secret.
func newVerificationOrder(account string, req tokens.VerifyRequest) (verificationOrder, error) {
	o := verificationOrder{
		MerchantAccount: account, Amount: wireValue{Currency: req.Currency}, Reference: verificationReference(req),
		PaymentMethod: storedMethodID{Type: req.PaymentMethod, ID: req.Token}, ShopperReference: req.ShopperReference,
		Interaction: contAuth, Model: verificationModel, ReturnURL: req.ReturnURL,
	}
	if o.PaymentMethod.Type == "" {
		o.PaymentMethod.Type = cardType
	}
	if o.PaymentMethod.Type == directDebitType {
		return o, fmt.Errorf("%w: a SEPA direct debit cannot be authorised for zero; its first charge is the test", tokens.ErrUnsupported)
	}
	if err := checkRef(req.Ref); err != nil {
		return o, err
	}
	if err := checkKey(req.Key); err != nil {
		return o, err
	}
	if req.Number < 1 {
		return o, invalid("verification %d is not 1 or more", req.Number)
	}
	if err := checkText("payment method", o.PaymentMethod.Type, 1, maxPaymentMethod); err != nil {
		return o, err
	}
	if err := checkText("return URL", o.ReturnURL, 1, maxReturnURL); err != nil {
		return o, err
	}
	_, err := gatewayValue(billing.Money{Currency: req.Currency})
	return o, err
}

// verificationReference names a verification at Adyen and in its webhook. It is a
// function of the key, so that the same request makes the same bytes, and tells
// nothing of it: who knows a key can ask for its answer. It has no '~', with which
// a webhook would be taken for an attempt's.
func verificationReference(req tokens.VerifyRequest) string {
	hash := sha256.Sum256([]byte("verification\x00" + req.Key))
	return "verify-" + hex.EncodeToString(hash[:16]) + "-" + strconv.Itoa(req.Number)
}

func (v *Vault) verifyAtIssuer(ctx context.Context, req tokens.VerifyRequest) (tokens.Verification, error) {
	order, err := newVerificationOrder(v.options.MerchantAccount, req)
	if err != nil {
		return tokens.Verification{}, err
	}
	body, err := bodyOf(order)
	if err != nil {
		return tokens.Verification{}, err
	}
	private := []string{req.Token, req.ShopperReference, req.Key}
	from, err := v.send(ctx, vaultRequest{method: http.MethodPost, path: "/payments", key: req.Key, body: body, private: private})
	if err != nil {
		return tokens.Verification{}, err
	}
	result, err := parsePayment(from)
	if err == nil {
		err = result.compareVerification(order)
	}
	if err != nil {
		return tokens.Verification{}, unanswered(fmt.Errorf("HTTP %d: %w", from.Status, err))
	}
	secrets := v.secrets(private...)
	if result.saysTokenUnknown() {
		return tokens.Verification{}, fmt.Errorf("%w: %s", tokens.ErrNotFound, tokenUnknownText)
	}
	verification := result.verification(secrets)
	if code := line(result.refusalCode, maxWord, secrets); code != "" && !isKnownRefusal(code) {
		v.logger.Warn("refusal code not in the table, taken as soft", "code", code, "reason", verification.Reason, "reference", order.Reference)
	}
	return verification, nil
}

// compareVerification returns an error unless the answer is about order. Its value
// is not compared: where zero is not possible, it may be that of the small amount.
func (a *answer) compareVerification(order verificationOrder) error {
	return a.compare(payment{reference: order.Reference, currency: order.Amount.Currency, value: a.value})
}

func (a *answer) saysTokenUnknown() bool {
	return strings.Contains(string(a.refusalReason), tokenUnknownText)
}

// verification says what an answer means for the card. The resultCodes are those of
// a charge; one that is pending says nothing yet, and nobody waits for it.
func (a *answer) verification(secrets []string) tokens.Verification {
	word := line(a.resultCode, maxWord, secrets)
	seen := tokens.Verification{Code: word, Reason: line(a.refusalReason, maxLine, secrets)}
	result, known := results[string(a.resultCode)]
	switch {
	case !known:
		seen.Result = tokens.VerificationNotUnderstood
	case result.outcome == billing.OutcomeAuthorised:
		seen.Result, seen.Reason = tokens.VerificationPassed, "" // a reason of success is none
	case result.outcome == billing.OutcomePending, result.word == resultError:
		seen.Result = tokens.VerificationFailed
	case result.needsShopper:
		seen.Result = tokens.VerificationNeedsShopper
	default:
		seen.Result = refusalResult(refusal{
			code:     line(a.refusalCode, maxWord, secrets),
			reason:   seen.Reason,
			raw:      leadingCode(line(a.raw, maxLine, secrets)),
			advice:   leadingCode(line(a.advice, maxLine, secrets)),
			inferred: line(a.inferred, maxLine, secrets),
			visa:     strings.HasPrefix(string(a.variant), "visa"),
		})
	}
	if code := line(a.refusalCode, maxWord, secrets); code != "" && seen.Result != tokens.VerificationPassed {
		seen.Code = word + " " + code
	}
	return seen
}

// resultError is the resultCode of a payment that failed on its way.
const resultError = "Error"

// expiredCode is the refusalReasonCode of "Expired Card".
const expiredCode = "6"

// cardWords says of what a hard refusal demands more than that this card was
// declined: that it is dead to us, or that its shopper must act. The keys are those
// of declines.csv, where the words behind the codes stand. Visa's categories and
// Mastercard's advice are believed where they speak of the card, and not where they
// speak of one payment.
var cardWords = map[declineKey]tokens.VerificationResult{
	{"code", "5"}:                      tokens.VerificationDead, // lost, stolen, picked up or blocked
	{"code", "26"}:                     tokens.VerificationDead, // the cardholder stopped the payments: a retry is fined
	{"advice", "03"}:                   tokens.VerificationDead, // do not try again
	{"advice", "21"}:                   tokens.VerificationDead, // the cardholder stopped the payments
	{"inferred", "Closed Account"}:     tokens.VerificationDead,
	{"visa", "04"}:                     tokens.VerificationDead, // pick up card
	{"visa", "07"}:                     tokens.VerificationDead, // pick up card, fraud
	{"visa", "15"}:                     tokens.VerificationDead, // no such issuer
	{"visa", "41"}:                     tokens.VerificationDead, // lost
	{"visa", "43"}:                     tokens.VerificationDead, // stolen
	{"visa", "46"}:                     tokens.VerificationDead, // closed account
	{"visa", "R1"}:                     tokens.VerificationDead, // the cardholder stopped the payments
	{"visa", "R3"}:                     tokens.VerificationDead, // and all others
	{"code", "11"}:                     tokens.VerificationNeedsShopper,
	{"code", "24"}:                     tokens.VerificationNeedsShopper, // we sent no security code that could be wrong
	{"code", "32"}:                     tokens.VerificationNeedsShopper,
	{"code", "36"}:                     tokens.VerificationNeedsShopper,
	{"code", "38"}:                     tokens.VerificationNeedsShopper,
	{"code", "42"}:                     tokens.VerificationNeedsShopper,
	{"inferred", "3D Secure Mandated"}: tokens.VerificationNeedsShopper,
	{"inferred", "CVC Mandated"}:       tokens.VerificationNeedsShopper,
}

// refusalResult says what a refusal means for the card, by the class that the same
// refusal of a charge has.
func refusalResult(r refusal) tokens.VerificationResult {
	switch classify(r) {
	case billing.DeclineFraud:
		return tokens.VerificationBlocked
	case billing.DeclineTokenInvalid:
		if codeKey(r.code) == expiredCode {
			return tokens.VerificationExpired
		}
		return tokens.VerificationDead
	case billing.DeclineTechnical, billing.DeclineConfig: // nobody looked at the card, or not as we meant
		return tokens.VerificationFailed
	case billing.DeclineHard:
		return hardResult(r)
	}
	return tokens.VerificationDeclined
}

// hardResult prefers what forbids more, should two fields differ.
func hardResult(r refusal) tokens.VerificationResult {
	result := tokens.VerificationDeclined
	for _, key := range [...]declineKey{{"code", codeKey(r.code)}, {"advice", r.advice}, {"inferred", r.inferred}, {"visa", r.raw}} {
		if key.source == "visa" && !r.visa {
			continue
		}
		switch cardWords[key] {
		case tokens.VerificationDead:
			return tokens.VerificationDead
		case tokens.VerificationNeedsShopper:
			result = tokens.VerificationNeedsShopper
		}
	}
	return result
}
