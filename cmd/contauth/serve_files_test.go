package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/contauth/contauth/config"
)

// requireCommand fails unless contauth understands a command line.
func requireCommand(t *testing.T, where string, args []string) {
	t.Helper()
	cmd, rest, err := newRootCommand(&env{}).Find(args)
	if err != nil || cmd.HasSubCommands() {
		t.Errorf("%s: contauth %s is no command: %v", where, strings.Join(args, " "), err)
		return
	}
	if err := cmd.ParseFlags(rest); err != nil {
		t.Errorf("%s: contauth %s: %v", where, strings.Join(args, " "), err)
		return
	}
	if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
		t.Errorf("%s: contauth %s: %v", where, strings.Join(args, " "), err)
	}
}

var unitLine = regexp.MustCompile(`(?m)^([A-Za-z]+)=(.*)$`)

func TestUnit(t *testing.T) {
	text, err := os.ReadFile("../../packaging/contauth.service")
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{}
	for _, line := range unitLine.FindAllStringSubmatch(string(text), -1) {
		settings[line[1]] = line[2]
	}
	program, args, _ := strings.Cut(settings["ExecStart"], " ")
	if program != "/usr/local/bin/contauth" {
		t.Errorf("ExecStart begins with %q", program)
	}
	requireCommand(t, "ExecStart", strings.Fields(args))
	for key, want := range map[string]string{
		"Restart": "on-failure", "TimeoutStopSec": "40", "DynamicUser": "yes", "NoNewPrivileges": "yes", "ProtectSystem": "strict",
		"Environment": "CONTAUTH_LOG_FORMAT=json", "ExecReload": "/bin/kill -HUP $MAINPID",
	} {
		if settings[key] != want {
			t.Errorf("%s is %q, want %q", key, settings[key], want)
		}
	}
}

// Each service of ours in compose.yaml runs a command that exists, with settings
// that load, and no two share an address.
func TestCompose_commandsExist(t *testing.T) {
	text, err := os.ReadFile("../../compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var compose struct {
		Services map[string]struct {
			Image   string            `yaml:"image"`
			Command []string          `yaml:"command"`
			Env     map[string]string `yaml:"environment"`
		} `yaml:"services"`
		Configs map[string]struct {
			Content string `yaml:"content"`
		} `yaml:"configs"`
	}
	if err := yaml.Unmarshal(text, &compose); err != nil {
		t.Fatal(err)
	}
	var addresses []string
	for name, service := range compose.Services {
		if service.Image != "contauth" || len(service.Command) == 0 {
			continue
		}
		requireCommand(t, name, service.Command)
		if service.Command[0] != "serve" {
			continue
		}
		cfg, err := config.Load(config.Sources{
			File:     "contauth.yaml",
			ReadFile: func(string) ([]byte, error) { return []byte(compose.Configs["settings"].Content), nil },
			Lookup:   func(name string) (string, bool) { value, ok := service.Env[name]; return value, ok },
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if slices.Contains(addresses, cfg.Serve.Listen) {
			t.Errorf("%s shares %s with another service", name, cfg.Serve.Listen)
		}
		addresses = append(addresses, cfg.Serve.Listen)
	}
	if len(addresses) != 2 {
		t.Errorf("%d daemons, want two", len(addresses))
	}
}
