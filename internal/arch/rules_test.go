package arch_test

// A rule says what one package may import besides the standard library. Tests
// of the package may import what testRule adds.
type rule struct {
	pkg    string   // path below the module
	why    string   // in one line, for whoever meets the rule
	ours   []string // packages of this module, exactly
	others []string // modules or packages of others, with all below them
	never  []string // packages of the standard library, with all below them
}

// everything as the one entry of ours and others lifts the rule.
const everything = "*"

// The libraries that more than one package may use.
const (
	hclog = "github.com/hashicorp/go-hclog"
	pq    = "github.com/lib/pq"
	sqlx  = "github.com/jmoiron/sqlx"
	uuid  = "github.com/google/uuid"
	yml   = "go.yaml.in/yaml/v3"
)

// outside is what pure rules have no business with: the network, files,
// databases, logs and other processes.
var outside = []string{"database", "log", "net/http", "net/rpc", "net/smtp", "os", "syscall"}

// rules is the whole law: a package without a row fails the test. Arrows point
// inwards; adapters never meet; only cmd/contauth knows config and the concrete
// adapters. .golangci.yml says the same to editors, and a test compares the two.
var rules = []rule{
	{
		pkg: "tokens", why: "what a stored card may be used for: pure rules, below billing because a decline changes a token and never the reverse",
		ours: []string{"internal/secret"}, never: outside,
	},
	{
		pkg: "billing", why: "what is owed and what an answer means: pure rules, so that they can be tested without a world",
		ours: []string{"tokens", "internal/secret"}, never: outside,
	},
	{
		pkg: "scheduler", why: "when: it drives billing through interfaces it owns, and knows no database and no gateway",
		ours: []string{"billing", "tokens"}, others: []string{"github.com/robfig/cron/v3", hclog, uuid}, never: []string{"database", "net/http"},
	},
	{
		pkg: "config", why: "settings are read once, by cmd/contauth; yaml beside koanf because koanf forgets line numbers",
		ours: []string{"internal/secret"}, others: []string{"github.com/knadh/koanf", yml},
	},
	{
		pkg: "migrations", why: "the schema stands alone, so that any release can be migrated by any tool",
		others: []string{"github.com/pressly/goose/v3"},
	},
	{
		pkg: "internal/secret", why: "it lies below everything",
	},
	{
		pkg: "internal/postgres", why: "the only place that knows SQL and Postgres' errors",
		ours: []string{"billing", "tokens", "scheduler", "internal/secret"}, others: []string{sqlx, pq, hclog, uuid},
	},
	{
		pkg: "internal/importer", why: "reads files into billing's rows; it does not know where they are stored",
		ours: []string{"billing", "tokens"}, never: []string{"database", "net/http"},
	},
	{
		pkg: "internal/embeddedpg", why: "starts a server and hands out an address; it does not know what is stored there",
		others: []string{"github.com/fergusstrange/embedded-postgres", "golang.org/x/sys", hclog, pq},
	},
	{
		pkg: "internal/pgtest", why: "gives a test a migrated database; the store under test is opened by the test",
		ours: []string{"internal/embeddedpg", "internal/logtest", "migrations"}, others: []string{sqlx, pq, hclog, uuid},
	},
	{
		pkg: "internal/logtest", why: "sends logs to t.Log",
		others: []string{hclog},
	},
	{
		pkg: "internal/gateway", why: "manners that all gateway clients share",
		ours: []string{"billing", "tokens", "internal/secret"}, others: []string{hclog},
	},
	{
		pkg: "internal/gateway/adyen", why: "one gateway's dialect, behind billing's ports",
		ours: []string{"billing", "tokens", "internal/gateway", "internal/secret"}, others: []string{hclog},
	},
	{
		pkg: "internal/gateway/mastercard", why: "one gateway's dialect, behind billing's and tokens' ports",
		ours: []string{"billing", "tokens", "internal/gateway", "internal/secret"}, others: []string{hclog},
	},
	{
		pkg: "internal/gateway/sandbox", why: "the other side of the wire: it must not share a client's idea of the dialect; yaml for its scripts",
		ours: []string{"billing", "tokens", "internal/gateway", "internal/secret"}, others: []string{hclog, yml},
	},
	{
		pkg: "internal/gateway/gatewaytest", why: "the contract of billing.Gateway, for every adapter's tests",
		ours: []string{"billing", "tokens", "internal/gateway", "internal/secret"}, others: []string{hclog, "github.com/google/go-cmp"},
	},
	{
		pkg: "internal/httpserver", why: "serves the routes that it is handed; what they answer is others' affair",
		others: []string{hclog},
	},
	{
		pkg: "internal/metrics", why: "the only place that knows Prometheus: a meter of the scheduler's, which says itself what it wants counted",
		ours: []string{"billing", "scheduler"}, others: []string{"github.com/prometheus/client_golang", hclog},
	},
	{
		pkg: "internal/bench", why: "measures what it is handed; the naive loop it compares with speaks SQL itself",
		ours: []string{"billing", "tokens", "scheduler"}, others: []string{hclog, sqlx, pq, "golang.org/x/sys"},
	},
	{
		pkg: "internal/arch", why: "these tests",
	},
	{
		pkg: "cmd/contauth", why: "the one place where everything meets",
		ours: []string{everything}, others: []string{everything},
	},
}

// testRule is what tests may import on top of their package's rule. The
// concrete adapters are not in it, except the sandbox: it is reached over HTTP.
var testRule = rule{
	why: "tests run against real Postgres and the real sandbox",
	ours: []string{
		"internal/embeddedpg", "internal/gateway/gatewaytest", "internal/gateway/sandbox", "internal/logtest", "internal/pgtest", "internal/secret", "migrations",
	},
	others: []string{
		hclog, pq, sqlx, uuid, yml, "github.com/google/go-cmp", "github.com/rogpeppe/go-internal", "go.uber.org/goleak", "pgregory.net/rapid",
	},
}

// adapters connect the domain to one thing outside each. None may know another.
var adapters = []string{
	"internal/postgres", "internal/gateway/adyen", "internal/gateway/mastercard", "internal/gateway/sandbox",
}
