package main

import (
	"errors"
	"fmt"

	"github.com/contauth/contauth/tokens"
)

// refusal adds to a gateway's refusal what to do about it. id is the token whose
// details were to be replaced, 0 for a new one.
func refusal(err error, id tokens.ID) error {
	if errors.Is(err, tokens.ErrUnanswered) {
		return fmt.Errorf("nobody knows whether the gateway did it: %w: type the same command again", err)
	}
	var refused *tokens.RefusedError
	if !errors.As(err, &refused) {
		return err
	}
	if way := wayOutOfRefusal(refused.Refusal, id); way != "" {
		return fmt.Errorf("the gateway refused: %w: %s", err, way)
	}
	return fmt.Errorf("the gateway refused: %w", err)
}

func wayOutOfRefusal(why tokens.Refusal, id tokens.ID) string {
	other := "contauth tokens list --shopper REFERENCE shows it"
	if id != 0 {
		other = fmt.Sprintf("if that one is the same shopper's, contauth tokens replace %d THAT --reason TEXT", id)
	}
	switch why {
	case tokens.RefusedSessionExpired:
		return "a session lives about 15 minutes: let the shopper enter the card again, and use the new session at once"
	case tokens.RefusedSessionChanged:
		return "the shopper changed what is in the session: read its version again, or leave out --session-version"
	case tokens.RefusedSessionEmpty:
		return "the shopper has entered nothing yet: wait for the shop's page to say that the session was updated"
	case tokens.RefusedNumberKept:
		if id != 0 {
			return fmt.Sprintf("these tokens keep their card's number for good (PRESERVE_6_4): store the new card with contauth tokens add, then contauth tokens replace %d NEW --reason TEXT", id)
		}
		return "these tokens keep their card's number for good (PRESERVE_6_4): leave out --token and let the gateway name a new one"
	case tokens.RefusedCardTaken:
		return "the card is stored under another token, and each card has only one (UNIQUE_CARD): " + other
	case tokens.RefusedProfile:
		return "the merchant's profile does not allow it: ask the payment provider, or verify by BASIC"
	}
	return ""
}
