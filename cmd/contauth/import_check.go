package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/internal/importer"
	"github.com/contauth/contauth/tokens"
)

// A readToken asks a gateway what it has stored under a token.
type readToken func(ctx context.Context, account string, ref tokens.Ref) (tokens.Reading, error)

// A tokenCheck asks the gateways for each token of a file whether they know it as
// that shopper's. It changes nothing, here or there.
type tokenCheck struct {
	read      readToken
	perSecond float64
	out       *importOutput
	result    checkResult
}

// A checkResult counts what gateways said about the tokens of a file.
type checkResult struct {
	Checked    int `json:"checked"`
	Unknown    int `json:"unknown"`    // the gateway has no such token of the shopper
	Invalid    int `json:"invalid"`    // it has, and would not charge it
	Unanswered int `json:"unanswered"` // not checked: nobody answered
}

const (
	mostChecks   = 1000 // a second
	checksAtOnce = 16
	checkTries   = 3  // of a request without an answer
	mostSilences = 10 // one after the other: then the gateway is taken to be down
)

// A checked line is what a gateway said about a token of the file.
type checked struct {
	row     importer.Token
	reading tokens.Reading
	err     error
}

// run checks the rows, of which none is bad, and tells in the order of the file what
// a gateway does not know.
func (c *tokenCheck) run(ctx context.Context, rows billing.ImportRows[importer.Token]) error {
	ctx, cancel := context.WithCancel(ctx)
	pace := time.NewTicker(time.Duration(float64(time.Second) / c.perSecond))
	defer pace.Stop()
	answers := make(chan chan checked, checksAtOnce)
	var readErr error
	go func() {
		defer close(answers)
		readErr = c.ask(ctx, pace.C, rows, answers)
	}()
	defer func() {
		cancel()
		for answer := range answers {
			<-answer
		}
	}()
	printed, silences := time.Now(), 0
	for answer := range answers {
		line := <-answer
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := c.tell(line); err != nil {
			return err
		}
		if silences++; !errors.Is(line.err, tokens.ErrUnanswered) {
			silences = 0
		}
		if silences == mostSilences {
			return fmt.Errorf("the gateway did not answer about %d tokens, one after the other: the check stopped at line %d", silences, line.row.Line)
		}
		if time.Since(printed) >= plainEvery {
			printed = time.Now()
			fmt.Fprintf(c.out.env.stderr, "%s checked, %d unknown\n", counted(c.result.Checked, "token"), c.result.Unknown)
		}
	}
	return readErr
}

// ask asks about each row, a few at once, and sends where each answer will be.
func (c *tokenCheck) ask(ctx context.Context, pace <-chan time.Time, rows billing.ImportRows[importer.Token], answers chan<- chan checked) error {
	for row, err := range rows {
		if err != nil {
			return fmt.Errorf("read the file again: %w", err)
		}
		answer := make(chan checked, 1)
		select {
		case answers <- answer:
		case <-ctx.Done():
			return ctx.Err()
		}
		go func() { answer <- c.askAbout(ctx, pace, row) }()
	}
	return nil
}

// askAbout asks about one row. Every request waits for its turn, also a repeated one.
func (c *tokenCheck) askAbout(ctx context.Context, pace <-chan time.Time, row importer.Token) checked {
	line := checked{row: row}
	for range checkTries {
		select {
		case <-pace:
		case <-ctx.Done():
			line.err = ctx.Err()
			return line
		}
		line.reading, line.err = c.read(ctx, row.MerchantAccount, tokens.Ref{Token: row.Reference, ShopperReference: row.ShopperReference})
		if !errors.Is(line.err, tokens.ErrUnanswered) {
			break
		}
	}
	return line
}

func (c *tokenCheck) tell(line checked) error {
	fault := billing.BadRow{Line: line.row.Line, Column: "token", Value: line.row.MaskedReference()}
	switch {
	case line.err == nil:
		c.result.Checked++
		if line.reading.Status == tokens.StatusInvalid {
			c.result.Invalid++
		}
		return nil
	case errors.Is(line.err, tokens.ErrNotFound):
		c.result.Checked++
		c.result.Unknown++
		fault.Want = "the gateway does not know this token for this shopper"
		return c.out.fault("unknown_token", fault)
	case errors.Is(line.err, tokens.ErrUnanswered):
		c.result.Unanswered++
		fault.Want = "not checked: " + line.err.Error()
		return c.out.fault("unanswered_token", fault)
	}
	return fmt.Errorf("line %d: %w", line.row.Line, line.err)
}

// checkTokens checks the tokens of a file that is good.
func checkTokens(ctx context.Context, s *session, out *importOutput, perSecond float64, rows billing.ImportRows[importer.Token]) error {
	read, err := s.tokenReader(out.env.logger())
	if err != nil {
		return err
	}
	c := tokenCheck{read: read, perSecond: perSecond, out: out}
	if err := errors.Join(c.run(ctx, rows), out.checked(c.result)); err != nil {
		return fmt.Errorf("check tokens: %s: %w", out.path, err)
	}
	if c.result.Unknown+c.result.Unanswered > 0 {
		return fmt.Errorf("check tokens: %s: %s unknown to the gateway, %d without an answer", out.path, counted(c.result.Unknown, "token"), c.result.Unanswered)
	}
	return nil
}

// tokenReader returns what reads tokens at the gateways of the configuration.
func (s *session) tokenReader(logger hclog.Logger) (readToken, error) {
	vaults := make(map[string]tokens.Vault, len(s.config.MerchantAccounts))
	for _, a := range s.config.MerchantAccounts {
		vault, err := newVault(a, s.config.Timing.GatewayTimeout, logger)
		if err != nil {
			return nil, err
		}
		vaults[a.ID] = &guardedVault{vault: vault, session: s, account: a}
	}
	return func(ctx context.Context, account string, ref tokens.Ref) (tokens.Reading, error) {
		return vaults[account].Read(ctx, ref)
	}, nil
}
