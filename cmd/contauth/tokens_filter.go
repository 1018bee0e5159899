package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/contauth/contauth/internal/postgres"
)

// expiringWithin is how far --expiring looks ahead: past the end of next month,
// whatever the day.
const expiringWithin = "45d"

// expiringSoon is the same for one token.
const expiringSoon = 45 * 24 * time.Hour

// tokenSelection is what flags say about which tokens.
type tokenSelection struct {
	account    string
	unverified bool
	expiring   string
	dueWithin  string

	expires, due time.Duration // 0 for any
}

func (f *tokenSelection) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.account, "merchant-account", "", "only tokens of this merchant `ACCOUNT`")
	flags.BoolVar(&f.unverified, "unverified", false, "only tokens that nobody verified")
	flags.StringVar(&f.expiring, "expiring", "", "only cards that expire within this `TIME`, such as --expiring=90d (alone: "+expiringWithin+")")
	flags.Lookup("expiring").NoOptDefVal = expiringWithin
	flags.StringVar(&f.dueWithin, "due-within", "", "only tokens that something is due with within this `TIME`, such as 7d or 36h")
}

func (f *tokenSelection) parse() (err error) {
	if f.expiring != "" {
		if f.expires, err = parseSpan("--expiring", f.expiring); err != nil {
			return err
		}
	}
	if f.dueWithin != "" {
		f.due, err = parseSpan("--due-within", f.dueWithin)
	}
	return err
}

// longestSpan is more than any card lives.
const longestSpan = 20 * 366 * 24 * time.Hour

// parseSpan reads a time ahead: days such as 7d, or hours such as 36h.
func parseSpan(flag, text string) (time.Duration, error) {
	var span time.Duration
	var err error
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n int
		n, err = strconv.Atoi(days)
		span = time.Duration(min(n, int(longestSpan/time.Hour))) * 24 * time.Hour
	} else {
		span, err = time.ParseDuration(text)
	}
	if err != nil || span <= 0 || span > longestSpan {
		return 0, usageError("%s: want a time ahead, such as 7d or 36h", flag)
	}
	return span, nil
}

// filter says the selection to the database. now is business time.
func (f *tokenSelection) filter(now time.Time) postgres.TokenFilter {
	filter := postgres.TokenFilter{MerchantAccount: f.account, Unverified: f.unverified}
	if f.expires > 0 {
		filter.ExpiresBefore = now.Add(f.expires)
	}
	if f.due > 0 {
		filter.DueBefore = now.Add(f.due)
	}
	return filter
}

// words repeats the selection as it was typed, for the record.
func (f *tokenSelection) words(flags *pflag.FlagSet) string {
	var words []string
	for _, name := range []string{"merchant-account", "unverified", "expiring", "due-within"} {
		if !flags.Changed(name) {
			continue
		}
		word := "--" + name
		if value := flags.Lookup(name).Value.String(); value != "true" {
			word = fmt.Sprintf("%s=%s", word, value)
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}
