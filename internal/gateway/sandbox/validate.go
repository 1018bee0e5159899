package sandbox

import "slices"

// What the sandbox knows of Adyen's words in a request.
const (
	contAuth         = "ContAuth"
	modelCardOnFile  = "CardOnFile"
	modelSubscribed  = "Subscription"
	modelUnscheduled = "UnscheduledCardOnFile"
)

// Limits of Adyen's specification of PaymentRequest.
const (
	maxBody             = 10 << 20
	maxKey              = 64
	maxReference        = 80
	maxOrderReference   = 1000
	maxToken            = 64
	minShopperReference = 3
	maxShopperReference = 256
	maxMetadata         = 20
)

// A version is one of the versions of the Checkout API. They differ in limits.
type version struct {
	returnURL int // the longest returnUrl
}

var (
	v71 = version{returnURL: 8000}
	v72 = version{returnURL: 1024}
)

// validate returns what is wrong with a request, or nil; amount is what it
// asks for in minor units of ISO 4217.
func (s *Server) validate(req *request, v version) (amount int64, wrong *apiError) {
	if wrong := s.validateAccount(req); wrong != nil {
		return 0, wrong
	}
	amount, wrong = validateAmount(req)
	if wrong != nil {
		return 0, wrong
	}
	switch {
	case req.reference == "":
		return 0, invalid(errorReference, "Required field 'reference' is not provided.")
	case len(req.reference) > maxReference:
		return 0, invalid(errorReference, "Field 'reference' is longer than 80 characters.")
	case len(req.merchantOrderReference) > maxOrderReference:
		return 0, invalid(errorReference, "Field 'merchantOrderReference' is longer than 1000 characters.")
	case req.returnURL == "":
		return 0, invalid(errorReturnURL, "Return URL is missing.")
	case len(req.returnURL) > v.returnURL:
		return 0, invalid(errorReturnURL, "Return URL is too long.")
	case req.metadata > maxMetadata:
		return 0, invalid(errorMetadata, "Metadata size exceeds limit")
	}
	return amount, validateToken(req)
}

func (s *Server) validateAccount(req *request) *apiError {
	if req.merchantAccount == "" || len(s.accounts) > 0 && !slices.Contains(s.accounts, req.merchantAccount) {
		return &apiError{status: 422, code: errorMerchantAccount, kind: typeSecurity, message: "Invalid Merchant Account"}
	}
	return nil
}

func validateAmount(req *request) (int64, *apiError) {
	if !req.hasAmount {
		return 0, invalid(errorAmount, "Required object 'amount' is not provided.")
	}
	c, known := currencies[req.currency]
	if !known {
		return 0, invalid(errorCurrency, "Unsupported currency specified")
	}
	minor, whole := c.isoMinor(req.value)
	if req.value < 0 || !whole {
		return 0, invalid(errorAmountValue, "Invalid amount specified")
	}
	return minor, nil
}

// validateToken checks what a charge of a stored token needs.
func validateToken(req *request) *apiError {
	switch {
	case req.cardData != "":
		return invalid("101", "The sandbox charges stored tokens only; the request carries card data in '"+req.cardData+"'.")
	case req.token == "":
		return invalid(errorAmount, "Required field 'paymentMethod.storedPaymentMethodId' is not provided.")
	case len(req.token) > maxToken:
		return invalid(errorToken, "PaymentDetail not found")
	case len(req.shopperReference) < minShopperReference || len(req.shopperReference) > maxShopperReference:
		return invalid(errorGeneral, "Recurring payments need a shopperReference of 3 to 256 characters.")
	case !slices.Contains([]string{modelCardOnFile, modelSubscribed, modelUnscheduled}, req.model):
		return invalid(errorGeneral, "Field 'recurringProcessingModel' is not valid.")
	}
	switch tokenEnding(req.token) {
	case "nocontract":
		return invalid(errorContract, "Contract not found")
	case "notfound":
		return invalid(errorToken, "PaymentDetail not found")
	}
	return nil
}
