package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/contauth/contauth/internal/gateway/sandbox"
	"github.com/contauth/contauth/internal/secret"
)

// sandboxFlags are the flags of contauth sandbox.
type sandboxFlags struct {
	listen   string
	data     string
	latency  time.Duration
	script   string
	apiKey   string
	accounts []string
	keyLife  time.Duration
	webhooks webhookFlags
}

// webhookFlags are those of them that begin with --webhook-.
type webhookFlags struct {
	sandbox.WebhookOptions

	key, password string // where these are kept
	forgeries     []string
}

func newSandboxCommand(e *env) *cobra.Command {
	var f sandboxFlags
	cmd := &cobra.Command{
		Use:   "sandbox --data DIR",
		Short: "Run a simulated gateway with its own ledger, for trials and tests",
		Long: `Run a simulated payment gateway on this machine.

It answers like Adyen's Checkout API under /adyen/v71 and /adyen/v72, keeps its
own ledger (GET /sandbox/ledger) and can be told to misbehave (--script). A
token that ends in .refuse12 is refused with code 12, one that ends in .pending
stays pending; all others are authorised. It ends on Ctrl-C; started again with
the same --data it goes on where it was.

With --webhook-url it sends signed webhooks: by itself of each payment that is
authorised or refused, and of refunds, disputes and the like when it is asked to
(POST /sandbox/webhooks). The other --webhook flags lead them astray.`,
		Example: `  contauth sandbox --data ./sandbox
  contauth sandbox --data ./sandbox --listen 127.0.0.1:0 --latency 50ms --script faults.yaml
  contauth sandbox --data ./sandbox --webhook-url http://127.0.0.1:8080/webhooks/adyen --webhook-key file:hmac.key --webhook-lose 0.1`,
		Args: exactArgs(0, "flags"),
		RunE: func(cmd *cobra.Command, _ []string) error { return runSandbox(cmd, e, f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", "127.0.0.1:8090", "loopback `ADDRESS` to listen on; port 0 takes a free one")
	flags.StringVar(&f.data, "data", "", "`DIR` for the ledger, made if it is missing")
	flags.DurationVar(&f.latency, "latency", 0, "how long each payment takes")
	flags.StringVar(&f.script, "script", "", "YAML `FILE` with rules for misbehaving")
	flags.StringVar(&f.apiKey, "api-key", "", "the one X-API-Key that is good (default: any)")
	flags.StringSliceVar(&f.accounts, "merchant-account", nil, "merchant accounts that exist (default: all)")
	flags.DurationVar(&f.keyLife, "key-life", 7*24*time.Hour, "how long an idempotency key is remembered")
	f.webhooks.add(flags)
	return cmd
}

func (f *webhookFlags) add(flags *pflag.FlagSet) {
	b := &f.Behaviour
	flags.StringVar(&f.URL, "webhook-url", "", "`URL` to send webhooks to (default: none are sent)")
	flags.StringVar(&f.key, "webhook-key", "", "`WHERE` the key that signs them is kept, 64 hexadecimal digits: env:NAME or file:PATH")
	flags.StringVar(&f.User, "webhook-user", "", "`NAME` to send as HTTP Basic")
	flags.StringVar(&f.password, "webhook-password", "", "`WHERE` its password is kept: env:NAME or file:PATH")
	flags.DurationVar(&f.Retry, "webhook-retry", 9*time.Second, "wait before a refused webhook is sent again; later waits grow with it")
	flags.Uint64Var(&f.Seed, "webhook-seed", 0, "`NUMBER` that all that is random about webhooks comes from")
	flags.DurationVar(&b.Delay, "webhook-delay", 0, "how long each webhook waits before it is sent")
	flags.DurationVar(&b.DelayUpTo, "webhook-delay-up-to", 0, "let that be random, up to this")
	flags.IntVar(&b.Duplicate, "webhook-duplicate", 1, "send each webhook `N` times")
	flags.DurationVar(&b.DuplicateWithin, "webhook-duplicate-within", time.Second, "send the copies within this, at random")
	flags.IntVar(&b.Reorder, "webhook-reorder", 0, "gather `N` webhooks, then send them in a random order")
	flags.Float64Var(&b.Lose, "webhook-lose", 0, "`SHARE` of webhooks that are never sent, from 0 to 1")
	flags.BoolVar(&b.BeforeAnswer, "webhook-before-answer", false, "deliver a payment's webhook before its answer")
	flags.Float64Var(&b.Forge, "webhook-forge", 0, "`SHARE` of webhooks of which a forgery is sent too, from 0 to 1")
	flags.StringSliceVar(&f.forgeries, "webhook-forgeries", nil, "what forgers do: amount, success, reference, key, unsigned (default: all)")
}

func runSandbox(cmd *cobra.Command, e *env, f sandboxFlags) error {
	options, err := f.options(e)
	if err != nil {
		return err
	}
	if options.Webhooks, err = f.webhooks.options(e, cmd.Flags()); err != nil {
		return err
	}
	if !e.inDemo { // else the process is not the sandbox's own
		limitMemory(e.lookup, sandboxMemory)
	}
	listener, err := sandbox.Listen(f.listen)
	if err != nil {
		return usageError("%w", err)
	}
	defer listener.Close()
	server, err := sandbox.New(options)
	if err != nil {
		return err
	}
	defer server.Close()
	if err := e.announceSandbox(listener.Addr(), f.data); err != nil {
		return err
	}
	return server.Serve(cmd.Context(), listener)
}

func (f *sandboxFlags) options(e *env) (sandbox.Options, error) {
	if f.data == "" {
		return sandbox.Options{}, usageError("--data DIR is missing: the sandbox needs a directory for its ledger")
	}
	if f.latency < 0 || f.keyLife <= 0 {
		return sandbox.Options{}, usageError("--latency cannot be below zero, and --key-life must be above it")
	}
	options := sandbox.Options{
		DataDir:          f.data,
		Latency:          f.latency,
		KeyLife:          f.keyLife,
		APIKey:           secret.New(f.apiKey),
		MerchantAccounts: f.accounts,
		Log:              e.logger(),
	}
	if f.script == "" {
		return options, nil
	}
	text, err := os.ReadFile(f.script)
	if err != nil {
		return sandbox.Options{}, usageError("read the script: %w", err)
	}
	if options.Rules, err = sandbox.ParseScript(f.script, text); err != nil {
		return sandbox.Options{}, usageError("%w", err)
	}
	return options, nil
}

// options are those of the webhooks; nil if none are to be sent.
func (f *webhookFlags) options(e *env, flags *pflag.FlagSet) (*sandbox.WebhookOptions, error) {
	if f.URL == "" {
		given := ""
		flags.Visit(func(flag *pflag.Flag) {
			if given == "" && strings.HasPrefix(flag.Name, "webhook-") {
				given = flag.Name
			}
		})
		if given != "" {
			return nil, usageError("--%s needs --webhook-url URL: without it no webhooks are sent", given)
		}
		return nil, nil
	}
	if f.key == "" {
		return nil, usageError("--webhook-url needs --webhook-key env:NAME or file:PATH: webhooks are signed")
	}
	if (f.User == "") != (f.password == "") {
		return nil, usageError("--webhook-user and --webhook-password go together")
	}
	var err error
	if f.Key, err = e.flagSecret("webhook-key", f.key); err != nil {
		return nil, err
	}
	if f.password != "" {
		if f.Password, err = e.flagSecret("webhook-password", f.password); err != nil {
			return nil, err
		}
	}
	for _, word := range f.forgeries {
		f.Behaviour.Forgeries = append(f.Behaviour.Forgeries, sandbox.Forgery(word))
	}
	if err := f.Validate(); err != nil {
		return nil, usageError("%w", err)
	}
	return &f.WebhookOptions, nil
}

// flagSecret returns the secret that a flag's value refers to. It cannot be the
// secret itself, and is not repeated in case it is: everybody on the machine sees
// command lines.
func (e *env) flagSecret(flag, reference string) (secret.String, error) {
	var value string
	if name, ok := strings.CutPrefix(reference, "env:"); ok {
		if value, ok = e.lookup(name); !ok || value == "" {
			return secret.String{}, usageError("--%s: the variable %s is not set", flag, name)
		}
	} else if path, ok := strings.CutPrefix(reference, "file:"); ok {
		text, err := os.ReadFile(path)
		if err != nil {
			return secret.String{}, usageError("--%s: %w", flag, err)
		}
		if value = strings.TrimRight(string(text), "\r\n"); value == "" {
			return secret.String{}, usageError("--%s: the file %s is empty", flag, path)
		}
	} else {
		return secret.String{}, usageError("--%s: write env:NAME or file:PATH of where the secret is kept, not the secret", flag)
	}
	return secret.New(value), nil
}

// announceSandbox tells in one line where the sandbox is, once it can be reached.
func (e *env) announceSandbox(address net.Addr, dir string) error {
	url := "http://" + address.String()
	if e.json {
		return json.NewEncoder(e.stdout).Encode(map[string]string{"url": url, "ledger": dir})
	}
	_, err := fmt.Fprintf(e.stdout, "sandbox listening on %s (ledger in %s)\n", url, dir)
	return err
}
