package arch_test

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/google/go-cmp/cmp"
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
	}
	if compose.Services["database"].Health == nil {
		t.Error("nobody can wait for the database: it has no health check")
	}
	if got := compose.Services["contauth"].Env["CONTAUTH_DATABASE_URL"]; !strings.Contains(got, "@database:") {
		t.Errorf("contauth's database is %q, want the service", got)
	}
	checkSettings(t, compose.Configs["settings"].Content)
}

// checkSettings reads the contauth.yaml inside compose.yaml. What the keys mean
// is config's affair; here they must parse and reach the sandbox.
func checkSettings(t *testing.T, content string) {
	t.Helper()
	var settings struct {
		Accounts []map[string]string `yaml:"merchant_accounts"`
	}
	if err := yaml.Unmarshal([]byte(content), &settings); err != nil {
		t.Fatalf("the settings inside compose.yaml: %v", err)
	}
	if len(settings.Accounts) != 1 || !strings.HasPrefix(settings.Accounts[0]["base_url"], "http://sandbox:") {
		t.Errorf("the settings inside compose.yaml lead to %s accounts, want one at the sandbox", strconv.Itoa(len(settings.Accounts)))
	}
}
