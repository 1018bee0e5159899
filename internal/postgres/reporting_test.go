package postgres_test

import (
	"context"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/contauth/contauth/billing"
)

const reportingPage = "../../docs/reporting.md"

// documentedColumns reads the page's tables: by view, "name type" in their order.
func documentedColumns(t *testing.T) map[string][]string {
	t.Helper()
	page, err := os.ReadFile(reportingPage)
	if err != nil {
		t.Fatal(err)
	}
	heading := regexp.MustCompile(`^## reporting\.([a-z_]+)$`)
	row := regexp.MustCompile("^\\| `([a-z_]+)` \\| `([a-z ]+)` \\| .+ \\|$")
	columns := map[string][]string{}
	view := ""
	for _, line := range strings.Split(string(page), "\n") {
		if found := heading.FindStringSubmatch(line); found != nil {
			view = found[1]
		} else if found := row.FindStringSubmatch(line); found != nil {
			columns[view] = append(columns[view], found[1]+" "+found[2])
		} else if strings.HasPrefix(line, "| `") {
			t.Errorf("%s: the row %q is not | `column` | `type` | meaning |", reportingPage, line)
		}
	}
	return columns
}

func TestReporting_isAsDocumented(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	var rows []struct {
		View   string `db:"table_name"`
		Column string `db:"what"`
	}
	const query = `
		SELECT table_name, column_name || ' ' || data_type AS what
		  FROM information_schema.columns WHERE table_schema = 'reporting' ORDER BY table_name, ordinal_position`
	if err := d.sql.Select(&rows, query); err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for _, r := range rows {
		got[r.View] = append(got[r.View], r.Column)
	}
	if diff := cmp.Diff(documentedColumns(t), got); diff != "" {
		t.Errorf("views of reporting (-%s +database):\n%s", reportingPage, diff)
	}
}

// asReader runs work with the rights of contauth_reader alone.
func asReader(t *testing.T, d *desk, work func(tx *sqlx.Tx)) {
	t.Helper()
	tx, err := d.sql.Beginx()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec(`SET LOCAL ROLE contauth_reader`); err != nil {
		t.Fatal(err)
	}
	work(tx)
}

func TestReporting_theReaderReadsViewsAndNothingElse(t *testing.T) {
	t.Parallel()
	b := newCheckedDesk(t)
	for view := range documentedColumns(t) {
		asReader(t, b.desk, func(tx *sqlx.Tx) {
			var rows int
			if err := tx.Get(&rows, `SELECT count(*) FROM reporting.`+view); err != nil || rows == 0 {
				t.Errorf("reporting.%s: %d rows, error %v", view, rows, err)
			}
		})
	}
	var tables []string
	const query = `SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'`
	if err := b.sql.Select(&tables, query); err != nil || len(tables) < 10 {
		t.Fatalf("found the tables %v, error %v", tables, err)
	}
	denied := []string{`CREATE TABLE reporting.mine (id int)`, `DELETE FROM reporting.runs`, `UPDATE reporting.runs SET reason = ''`}
	for _, table := range tables {
		denied = append(denied, `SELECT FROM public.`+table, `DELETE FROM public.`+table)
	}
	const insufficientPrivilege = "42501"
	for _, statement := range denied {
		asReader(t, b.desk, func(tx *sqlx.Tx) {
			if _, err := tx.Exec(statement); pq.As(err) == nil || string(pq.As(err).Code) != insufficientPrivilege {
				t.Errorf("%s: got error %v, want that it is not allowed", statement, err)
			}
		})
	}
}

func TestReporting_charges(t *testing.T) {
	t.Parallel()
	b := newCheckedDesk(t)
	tests := []struct {
		name string
		id   billing.ChargeID
		want string
	}{
		{"a cycle", b.paid, "gym-1~1|gym-1|1|2026-01-31|2026-02-28|Subscription|1234|EUR|paid||1|gateway|t"},
		{"an unscheduled charge with an open attempt", b.unknown, "#|||||UnscheduledCardOnFile|1234|EUR|unknown|answer_missing|1|gateway|f"},
		{"one that waits for its second attempt", b.again, "#|||||UnscheduledCardOnFile|1234|EUR|due|refused_soft|1|gateway|f"},
		{"one that was never tried", b.due, "#|||||UnscheduledCardOnFile|1234|EUR|due||0|mia|f"},
		{"one that was paid elsewhere", b.elsewhere, "#|||||UnscheduledCardOnFile|1234|EUR|paid|paid_elsewhere|0|mia|t"},
	}
	const query = `
		SELECT concat_ws('|', CASE WHEN subscription IS NULL THEN '#' ELSE reference END, coalesce(subscription, ''),
		                 coalesce(cycle::text, ''), coalesce(period_start::text, ''), coalesce(period_end::text, ''), model, amount_minor, currency,
		                 state, reason, attempts, decided_by, CASE WHEN finished_at IS NULL THEN 'f' ELSE 't' END)
		  FROM reporting.charges WHERE id = $1`
	for _, tt := range tests {
		if got := get[string](b.desk, query, tt.id); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
	}
	if all, shown := get[int](b.desk, `SELECT count(*) FROM charges`), get[int](b.desk, `SELECT count(*) FROM reporting.charges`); all != shown {
		t.Errorf("%d charges, %d rows", all, shown)
	}
}

// The outcome of an attempt does not depend on the order in which news arrived.
func TestReporting_attempts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		news []billing.Outcome // in the order in which they were recorded
		want billing.Outcome
	}{
		{"one answer", []billing.Outcome{billing.OutcomeRefused}, billing.OutcomeRefused},
		{"a lost answer that a replay found", []billing.Outcome{billing.OutcomeUnknown, billing.OutcomeAuthorised}, billing.OutcomeAuthorised},
		{"an answer that came after its lease", []billing.Outcome{billing.OutcomeAuthorised, billing.OutcomeUnknown}, billing.OutcomeAuthorised},
		{"a refusal and then a timeout", []billing.Outcome{billing.OutcomeRefused, billing.OutcomeUnknown}, billing.OutcomeRefused},
		{"a contradiction counts as paid", []billing.Outcome{billing.OutcomeAuthorised, billing.OutcomeRefused}, billing.OutcomeAuthorised},
		{"not sent, then asked again", []billing.Outcome{billing.OutcomeNotSent, billing.OutcomePending}, billing.OutcomePending},
		{"nothing definite", []billing.Outcome{billing.OutcomePending, billing.OutcomeUnknown}, billing.OutcomeUnknown},
	}
	d := newDesk(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id := d.charge()
			for i, outcome := range tt.news {
				counted := outcome == billing.OutcomeAuthorised || outcome == billing.OutcomeRefused
				d.exec(`INSERT INTO observations (charge_id, at, attempt, counted, source, outcome)
				        VALUES ($1, $2, 1, $3, 'api', $4)`, id, time.Unix(int64(i), 0), counted, outcome)
			}
			var got struct {
				Outcome      billing.Outcome `db:"outcome"`
				Observations int             `db:"observations"`
				Seconds      float64         `db:"seconds"`
			}
			const query = `
				SELECT outcome, observations, extract(epoch FROM last_observed_at - first_observed_at) AS seconds
				  FROM reporting.attempts WHERE charge_id = $1 AND attempt = 1`
			if err := d.sql.GetContext(context.Background(), &got, query, id); err != nil {
				t.Fatal(err)
			}
			if n := len(tt.news); got.Outcome != tt.want || got.Observations != n || got.Seconds != float64(n-1) {
				t.Errorf("got %+v, want %s of %d observations", got, tt.want, n)
			}
		})
	}
}
