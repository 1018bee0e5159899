package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/contauth/contauth/billing"
)

// tell is the story. Each step ends with an error if it did not go as told.
func (d *demo) tell(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		d.tellImport, d.tellPlan, d.tellCharge, d.tellLostAnswer, d.tellOtherMonths, d.tellCards, d.tellProof,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	d.tellWhatNext()
	return nil
}

func (d *demo) tellImport(ctx context.Context) error {
	d.headline("The files",
		"For this story it is 31 January 2027. Every command runs with --config %s.", d.path(demoConfig))
	if err := d.contauth(ctx, exitDone, "clock", "set", demoDays[0]+"T06:00:00Z"); err != nil {
		return err
	}
	if err := d.contauth(ctx, exitDone, "import", "subscriptions", demoSubscriptions); err != nil {
		return err
	}
	return d.contauth(ctx, exitDone, "import", "charges", demoCharges)
}

func (d *demo) tellPlan(ctx context.Context) error {
	d.headline("What would be charged?",
		"Everything that falls due up to the end of 31 January, wherever the shopper's clock says\n"+
			"   so. A preview is the same code as a plan, and stores nothing.")
	return d.contauth(ctx, exitDone, "run", "plan", "--as-of", demoDays[0], "--preview")
}

// chooseLostAnswer finds the charge whose answer the gateway is told to lose.
func (d *demo) chooseLostAnswer(ctx context.Context) error {
	subscription := d.book.monthEnd[len(d.book.monthEnd)/2]
	var s subscriptionJSON
	if err := d.ask(ctx, &s, "subscriptions", "show", subscription); err != nil {
		return err
	}
	d.lost = billing.CycleReference(subscription, s.NextCycle)
	return nil
}

func (d *demo) tellCharge(ctx context.Context) error {
	if err := d.chooseLostAnswer(ctx); err != nil {
		return err
	}
	d.headline("The run",
		"Some cards will be refused. And the gateway is told to misbehave once: to make the\n"+
			"   payment %s, and to cut the connection instead of answering.", d.lost)
	script := fmt.Sprintf("[{match: {reference: %s}, when: after, do: reset, times: 1}]", d.lost)
	d.typed("curl -X PUT %s/sandbox/script --data '%s'", d.gateway, script)
	if err := d.putScript(ctx, script); err != nil {
		return err
	}
	return d.runDay(ctx, demoDays[0])
}

// runDay plans and charges all that is due on a day, and requires an end of each.
func (d *demo) runDay(ctx context.Context, day string) error {
	if err := d.contauth(ctx, exitDeclined, "run", "start", "--as-of", day, "--yes"); err != nil {
		return err
	}
	var newest runJSON
	if err := d.ask(ctx, &newest, "run", "list", "--limit", "1"); err != nil {
		return err
	}
	return d.requireSettled(ctx, fmt.Sprint(newest.ID))
}

func (d *demo) tellLostAnswer(ctx context.Context) error {
	d.headline("The answer that was lost",
		"After the cut nobody here could know whether %s was paid. So it was not\n"+
			"   charged anew: the same request was sent again under the same key, and the gateway\n"+
			"   told what had become of it.", d.lost)
	if err := d.contauth(ctx, exitDone, "charges", "show", d.lost); err != nil {
		return err
	}
	var charge chargeDetailJSON
	if err := d.ask(ctx, &charge, "charges", "show", d.lost); err != nil {
		return err
	}
	var sources []string
	for _, o := range charge.Observations {
		sources = append(sources, fmt.Sprintf("%s %s", o.Source, o.Outcome))
	}
	if told := strings.Join(sources, ", "); told != "api unknown, replay authorised" {
		return fmt.Errorf("%s was to be unknown and then authorised by a replay, and was: %s", d.lost, told)
	}
	d.typed("curl -s %s%s | grep %s~", d.gateway, sandboxLedger, d.lost)
	lines, err := d.ledgerLines(ctx, d.lost+"~")
	if err != nil {
		return err
	}
	d.say("%s", strings.Join(lines, "\n"))
	if len(lines) != 1 {
		return fmt.Errorf("the gateway made %d payments of %s, and not one", len(lines), d.lost)
	}
	d.say("\nOne line: one payment.")
	return nil
}

func (d *demo) tellOtherMonths(ctx context.Context) error {
	d.headline("28 February and 31 March",
		"A subscription that began on a 31st falls due on the last day of a shorter month, and\n"+
			"   on the 31st again after it.")
	for _, day := range demoDays[1:] {
		if err := d.contauth(ctx, exitDone, "clock", "set", day+"T06:00:00Z"); err != nil {
			return err
		}
		if err := d.runDay(ctx, day); err != nil {
			return err
		}
	}
	if err := d.contauth(ctx, exitDone, "subscriptions", "show", d.book.monthEnd[0]); err != nil {
		return err
	}
	d.say("")
	for _, day := range demoDays {
		if err := d.requireMonthEnd(ctx, day); err != nil {
			return err
		}
		d.say("%s: %d of %d month-end subscriptions paid, each once.", day, len(d.book.monthEnd), len(d.book.monthEnd))
	}
	return nil
}

func (d *demo) tellProof(ctx context.Context) error {
	d.headline("Nobody was missed, nobody paid twice",
		"check compares the database with itself and with the gateway's own ledger.")
	if err := d.contauth(ctx, exitDone, "check"); err != nil {
		return err
	}
	if err := d.contauth(ctx, exitDone, "run", "list"); err != nil {
		return err
	}
	paid, err := d.charges(ctx, "--state", "paid")
	if err != nil {
		return err
	}
	made, times, err := d.authorised(ctx)
	if err != nil {
		return err
	}
	for reference, n := range times {
		if n != 1 {
			return fmt.Errorf("the gateway charged %s %d times", reference, n)
		}
	}
	if made != len(paid) {
		return fmt.Errorf("the gateway made %d payments, and the database knows of %d", made, len(paid))
	}
	d.say("\nThe gateway's ledger: %d payments made. The database: %d charges paid. Made twice: none.", made, len(paid))
	return nil
}

func (d *demo) tellWhatNext() {
	d.say("\nAll went as told, in %s.", time.Since(d.began).Round(time.Second))
	if !d.stays {
		d.say(`
Next: go through it yourself, with the same book.
  contauth demo --dir ./try                       keep everything, and show how to go on
  contauth help                                   every command; README.md has a first hour`)
		return
	}
	config := d.path(demoConfig)
	d.say(`
Next: go through it yourself. In another terminal, and then here:
  contauth sandbox --listen %s --data %s
  contauth charges list --state held --config %s
  contauth run plan --as-of 2027-04-30 --preview --config %s
  contauth check --config %s`,
		strings.TrimPrefix(d.gateway, "http://"), d.path(demoLedger), config, config, config)
}

// requireSettled returns an error unless every item of a run came to its end,
// some were paid and some were declined.
func (d *demo) requireSettled(ctx context.Context, id string) error {
	var report runJSON
	if err := d.ask(ctx, &report, "run", "show", id); err != nil {
		return err
	}
	var paid int64
	for _, t := range report.Totals {
		if open := t.Unknown.Count + t.Pending.Count + t.Left.Count; open > 0 {
			return fmt.Errorf("run %s left %d charges in %s without an end", id, open, t.Currency)
		}
		paid += t.Paid.Count
	}
	if report.State != "completed" || paid == 0 || len(report.Declines) == 0 {
		return fmt.Errorf("run %s is %s with %d paid and %d kinds of refusals", id, report.State, paid, len(report.Declines))
	}
	return nil
}

// requireMonthEnd returns an error unless each month-end subscription has
// exactly one paid charge whose period begins on the day.
func (d *demo) requireMonthEnd(ctx context.Context, day string) error {
	charges, err := d.charges(ctx, "--day", day, "--state", "paid")
	if err != nil {
		return err
	}
	paid := map[string]int{}
	for _, c := range charges {
		if c.Subscription != nil {
			paid[*c.Subscription]++
		}
	}
	for _, reference := range d.book.monthEnd {
		if paid[reference] != 1 {
			return fmt.Errorf("%s was paid %d times for %s", reference, paid[reference], day)
		}
	}
	return nil
}

// charges are what charges list answers to programs.
func (d *demo) charges(ctx context.Context, filter ...string) ([]chargeJSON, error) {
	out, err := d.quietly(ctx, append([]string{"charges", "list"}, filter...)...)
	if err != nil {
		return nil, err
	}
	var charges []chargeJSON
	for lines := json.NewDecoder(out); ; {
		var c chargeJSON
		if err := lines.Decode(&c); errors.Is(err, io.EOF) {
			return charges, nil
		} else if err != nil {
			return nil, err
		}
		charges = append(charges, c)
	}
}

// ask decodes what a command answers to programs.
func (d *demo) ask(ctx context.Context, answer any, args ...string) error {
	out, err := d.quietly(ctx, args...)
	if err != nil {
		return err
	}
	return json.NewDecoder(out).Decode(answer)
}

// quietly runs a command with --json and returns what it printed.
func (d *demo) quietly(ctx context.Context, args ...string) (io.Reader, error) {
	var out bytes.Buffer
	e := d.command(append(d.withPaths(args), "--json"))
	e.stdout = &out
	if code := run(ctx, e); code != exitDone {
		return nil, fmt.Errorf("contauth %s ended with exit %d", strings.Join(args, " "), code)
	}
	return &out, nil
}

// putScript tells the sandbox how to misbehave.
func (d *demo) putScript(ctx context.Context, script string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, d.gateway+"/sandbox/script", strings.NewReader(script))
	if err != nil {
		return err
	}
	resp, err := ledgerClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil {
		return err
	}
	d.say("%s", bytes.TrimSpace(answer))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the sandbox refused the script: %s", resp.Status)
	}
	return nil
}

// ledgerLines are the lines of the gateway's ledger that contain a text.
func (d *demo) ledgerLines(ctx context.Context, text string) ([]string, error) {
	ledger, err := get(ctx, d.gateway+sandboxLedger)
	if err != nil {
		return nil, err
	}
	defer ledger.Close()
	var found []string
	lines := bufio.NewScanner(ledger)
	for lines.Scan() {
		if strings.Contains(lines.Text(), text) {
			found = append(found, lines.Text())
		}
	}
	return found, lines.Err()
}

// authorised counts the payments that the gateway made, in all and by charge.
func (d *demo) authorised(ctx context.Context) (made int, times map[string]int, err error) {
	ledger, err := get(ctx, d.gateway+sandboxLedger)
	if err != nil {
		return 0, nil, err
	}
	defer ledger.Close()
	times = map[string]int{}
	for entry, err := range readLedger(ledger) {
		if err != nil {
			return 0, nil, err
		}
		if entry.ResultCode == "Authorised" {
			made++
			charge, _, ok := billing.SplitAttemptReference(entry.Reference)
			if !ok {
				return 0, nil, fmt.Errorf("the gateway's ledger has a payment %q, which names no attempt of a charge", entry.Reference)
			}
			times[charge]++
		}
	}
	return made, times, nil
}
