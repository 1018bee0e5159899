package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/config"
)

func newDoctorCommand(e *env) *cobra.Command {
	var bind bool
	var why string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look whether everything is in order; with --bind, allow live accounts here",
		Long: `Looks at the configuration, the database, its clock, its binding, and whether each
gateway can be reached. Nothing is sent to a gateway.

A database charges live accounts only on the server that it was bound to: a copy or
a restored backup does not know what the original charged since. --bind binds it to
where it is now, with the live credentials of the configuration. Before that, make
sure that no other copy of it is running, and compare its last charges with the
gateway's.`,
		Args: exactArgs(0, "flags"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if bind {
				return e.withDecision(ctx, why, func(s *session, by billing.Decision) error { return e.bind(ctx, s, by) })
			}
			return e.with(ctx, func(s *session) error { return e.examine(ctx, s) })
		},
	}
	cmd.Flags().BoolVar(&bind, "bind", false, "bind the database to its server and to the live credentials")
	addReasonFlag(cmd, &why)
	return cmd
}

func (e *env) bind(ctx context.Context, s *session, by billing.Decision) error {
	live := s.liveCredentials()
	if len(live) == 0 {
		return refusedError("no live merchant account is configured: there is nothing to bind")
	}
	if err := s.db.Bind(ctx, live, by); err != nil {
		return err
	}
	if e.json {
		return e.printJSON(map[string]any{"bound": true, "merchant_accounts": len(live)})
	}
	_, err := fmt.Fprintf(e.stdout, "Bound: %s may be charged from this database, on this server, with these credentials.\n", counted(len(live), "live merchant account"))
	return err
}

// A finding is one thing that doctor looked at.
type finding struct {
	What   string `json:"what"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

func (e *env) examine(ctx context.Context, s *session) error {
	findings := []finding{{"configuration", true, fmt.Sprintf("%s; database %s", counted(len(s.config.MerchantAccounts), "merchant account"), s.config.Database.Describe())}}
	database, err := s.examineDatabase(ctx)
	if err != nil {
		return err
	}
	findings = append(findings, database...)
	for _, a := range s.config.MerchantAccounts {
		findings = append(findings, examineGateway(ctx, a))
		if a.ClientCert != "" {
			findings = append(findings, examineCertificate(a, time.Now()))
		}
	}
	bad := 0
	for _, f := range findings {
		if !f.OK {
			bad++
		}
	}
	if e.json {
		if err := e.printJSON(map[string]any{"ok": bad == 0, "findings": findings}); err != nil {
			return err
		}
	} else {
		for _, f := range findings {
			mark := "ok"
			if !f.OK {
				mark = "NOT OK"
			}
			fmt.Fprintf(e.stdout, "%-7s %-24s %s\n", mark, f.What, f.Detail)
		}
	}
	if bad > 0 {
		return fmt.Errorf("%s not in order", counted(bad, "thing"))
	}
	return nil
}

// mostSkew is how far this machine's clock may be from the database's before
// something is wrong with one of them.
const mostSkew = 5 * time.Second

func (s *session) examineDatabase(ctx context.Context) ([]finding, error) {
	before := time.Now()
	clock, err := s.db.Clock(ctx)
	if err != nil {
		return nil, err
	}
	took := time.Since(before)
	skew := time.Since(clock.Real.Add(took / 2)).Abs()
	findings := []finding{
		{"database", true, fmt.Sprintf("answers in %s, its migrations are this program's", took.Round(100*time.Microsecond))},
		{"clock", skew < mostSkew, fmt.Sprintf("this machine and the database differ by %s", skew.Round(time.Millisecond))},
	}
	if clock.Test {
		findings = append(findings, finding{"test clock", true, "business time is " + instant(clock.Business)})
	}
	live := s.liveCredentials()
	b, err := s.db.Binding(ctx, live)
	if err != nil {
		return nil, err
	}
	f := finding{What: "binding", OK: b.Bound || len(live) == 0}
	switch {
	case b.Bound:
		f.Detail = "bound by " + b.BoundBy + " at " + instant(b.BoundAt)
	case len(live) == 0:
		f.Detail = "not needed: no live merchant account is configured"
	default:
		f.Detail = strings.Join(b.Changes, "; ") + ": contauth doctor --bind --reason TEXT"
	}
	return append(findings, f), nil
}

// examineGateway looks whether the gateway's address takes connections.
func examineGateway(ctx context.Context, a config.MerchantAccount) finding {
	f := finding{What: "gateway of " + a.ID}
	u, err := url.Parse(a.BaseURL)
	if err != nil {
		f.Detail = "its base_url is no address"
		return f
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	conn.Close()
	f.OK, f.Detail = true, a.Environment+", "+u.Host+" takes connections"
	return f
}

// certificateNotice is how long before its end a client certificate must be renewed:
// providers take days.
const certificateNotice = 14 * 24 * time.Hour

// examineCertificate looks at the dates of a client certificate. A gateway that does
// not accept it any more may say so only after a request was written.
func examineCertificate(a config.MerchantAccount, now time.Time) finding {
	f := finding{What: "certificate of " + a.ID}
	pair, err := tls.LoadX509KeyPair(a.ClientCert, a.ClientKey)
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	switch from, until := pair.Leaf.NotBefore, pair.Leaf.NotAfter; {
	case now.Before(from):
		f.Detail = "it is good only from " + instant(from)
	case !now.Before(until):
		f.Detail = "it ended " + instant(until) + ": nothing can be charged with it"
	default:
		f.OK, f.Detail = now.Add(certificateNotice).Before(until), "it ends "+instant(until)
	}
	return f
}
