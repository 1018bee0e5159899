package arch_test

import (
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/contauth/contauth/internal/gateway/sandbox"
)

// A step is one instruction of a Dockerfile.
type step struct{ word, rest string }

func readDockerfile(t *testing.T) []step {
	t.Helper()
	text, err := os.ReadFile(root + "/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	return steps(string(text))
}

func steps(dockerfile string) []step {
	var all []step
	joined := strings.ReplaceAll(dockerfile, "\\\n", " ")
	for line := range strings.Lines(joined) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		word, rest, _ := strings.Cut(line, " ")
		all = append(all, step{strings.ToUpper(word), strings.TrimSpace(rest)})
	}
	return all
}

func TestSteps(t *testing.T) {
	got := steps("# c\nFROM a AS b\n\nrun x \\\n  y\n")
	want := []step{{"FROM", "a AS b"}, {"RUN", "x    y"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(step{})); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

func TestDockerfile(t *testing.T) {
	all := readDockerfile(t)
	last := lastStage(all)
	builder := all[:len(all)-len(last)]

	if last[0] != (step{"FROM", "scratch"}) {
		t.Errorf("the last stage begins %v: want an empty image", last[0])
	}
	if !slices.ContainsFunc(builder, func(s step) bool { return s.word == "RUN" && strings.Contains(s.rest, "make build") }) {
		t.Error("the program is not built by make build, the way the tests build it")
	}
	if slices.ContainsFunc(last, func(s step) bool { return s.word == "RUN" }) {
		t.Error("the last stage runs something: there is no shell in it")
	}
	if !slices.ContainsFunc(last, func(s step) bool { return s.word == "COPY" && strings.Contains(s.rest, "ca-certificates.crt") }) {
		t.Error("no certificates: the gateway could not be trusted")
	}
	user := slices.IndexFunc(last, func(s step) bool { return s.word == "USER" })
	if user < 0 || !regexp.MustCompile(`^[1-9][0-9]*:[1-9][0-9]*$`).MatchString(last[user].rest) {
		t.Error("the user is not a number above zero")
	}
	if end := last[len(last)-1]; end != (step{"ENTRYPOINT", `["/contauth"]`}) {
		t.Errorf("the last line is %v: want the program as the entry point, in exec form", end)
	}
}

func lastStage(all []step) []step {
	for i, s := range slices.Backward(all) {
		if s.word == "FROM" {
			return all[i:]
		}
	}
	return []step{{}}
}

// The builder must be able to compile what go.mod asks for.
func TestDockerfile_hasTheGoOfTheModule(t *testing.T) {
	text, err := os.ReadFile(root + "/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(string(text))
	if want == nil {
		t.Fatal("go.mod names no version of Go")
	}
	if first := readDockerfile(t)[0]; !strings.HasPrefix(first.rest, "golang:"+want[1]+"-") {
		t.Errorf("the builder is %q, go.mod wants Go %s", first.rest, want[1])
	}
}

func TestCompose(t *testing.T) {
	text, err := os.ReadFile(root + "/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var compose struct {
		Services map[string]struct {
			Image    string            `yaml:"image"`
			Command  []string          `yaml:"command"`
			Ports    []string          `yaml:"ports"`
			Volumes  []string          `yaml:"volumes"`
			Env      map[string]string `yaml:"environment"`
			Network  string            `yaml:"network_mode"`
			ReadOnly bool              `yaml:"read_only"`
			Health   map[string]any    `yaml:"healthcheck"`
		} `yaml:"services"`
		Configs map[string]struct {
			Content string `yaml:"content"`
		} `yaml:"configs"`
		Volumes map[string]any `yaml:"volumes"`
	}
	if err := yaml.Unmarshal(text, &compose); err != nil {
		t.Fatal(err)
	}
	if len(compose.Services) == 0 {
		t.Fatal("compose.yaml has no services")
	}
	for name, service := range compose.Services {
		for _, port := range service.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s opens %s to the world", name, port)
			}
		}
		for _, volume := range service.Volumes {
			source, _, _ := strings.Cut(volume, ":")
			if _, ok := compose.Volumes[source]; !ok {
				t.Errorf("%s mounts %s, which is not declared", name, source)
			}
		}
		if service.Image == "contauth" && !service.ReadOnly {
			t.Errorf("%s may write to its own image", name)
		}
		if address := listenAddress(service.Command); address != "" {
			checkListen(t, name, address)
			if len(service.Ports) > 0 {
				t.Errorf("%s opens %q to this machine, and nothing outside its container reaches %s", name, service.Ports, address)
			}
		}
	}
	if compose.Services["database"].Health == nil {
		t.Error("nobody can wait for the database: it has no health check")
	}
	if got := compose.Services["contauth"].Env["CONTAUTH_DATABASE_URL"]; !strings.Contains(got, "@database:") {
		t.Errorf("contauth's database is %q, want the service", got)
	}
	if got := compose.Services["contauth"].Network; got != "service:sandbox" {
		t.Errorf("contauth's network is %q, so that it does not reach the sandbox's loopback: want service:sandbox", got)
	}
	checkSettings(t, compose.Configs["settings"].Content, listenAddress(compose.Services["sandbox"].Command))
}

// listenAddress is what follows --listen on a command line, "" without it.
func listenAddress(command []string) string {
	if i := slices.Index(command, "--listen"); i >= 0 && i+1 < len(command) {
		return command[i+1]
	}
	return ""
}

// checkListen asks the program's own rule whether a service may listen there,
// at a free port of that host.
func checkListen(t *testing.T, service, address string) {
	t.Helper()
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		t.Errorf("%s listens on %q: %v", service, address, err)
		return
	}
	listener, err := sandbox.Listen(net.JoinHostPort(host, "0"))
	if err != nil {
		t.Errorf("%s does not start: %v", service, err)
		return
	}
	listener.Close()
}

// checkSettings reads the contauth.yaml inside compose.yaml. What the keys mean
// is config's affair; here they must parse and lead to the sandbox's address.
func checkSettings(t *testing.T, content, sandboxAddress string) {
	t.Helper()
	var settings struct {
		Accounts []map[string]string `yaml:"merchant_accounts"`
	}
	if err := yaml.Unmarshal([]byte(content), &settings); err != nil {
		t.Fatalf("the settings inside compose.yaml: %v", err)
	}
	if len(settings.Accounts) != 1 || !strings.HasPrefix(settings.Accounts[0]["base_url"], "http://"+sandboxAddress+"/") {
		t.Errorf("the settings inside compose.yaml name %d accounts, want one at the sandbox's %s", len(settings.Accounts), sandboxAddress)
	}
}
