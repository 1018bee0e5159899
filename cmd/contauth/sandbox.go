package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/spf13/cobra"

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
the same --data it goes on where it was.`,
		Example: `  contauth sandbox --data ./sandbox
  contauth sandbox --data ./sandbox --listen 127.0.0.1:0 --latency 50ms --script faults.yaml`,
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
	return cmd
}

func runSandbox(cmd *cobra.Command, e *env, f sandboxFlags) error {
	options, err := f.options(e)
	if err != nil {
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

// announceSandbox tells in one line where the sandbox is, once it can be reached.
func (e *env) announceSandbox(address net.Addr, dir string) error {
	url := "http://" + address.String()
	if e.json {
		return json.NewEncoder(e.stdout).Encode(map[string]string{"url": url, "ledger": dir})
	}
	_, err := fmt.Fprintf(e.stdout, "sandbox listening on %s (ledger in %s)\n", url, dir)
	return err
}
