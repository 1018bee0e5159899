package metrics_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/contauth/contauth/internal/metrics"
)

var (
	typeLine   = regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`)
	metricName = regexp.MustCompile(`\b(contauth|go|process)_[a-z0-9_]+`)
	heading    = regexp.MustCompile(`(?m)^### (Contauth[A-Za-z]+)$`)
)

// names lists the metrics that Prometheus would store, from a scrape in which
// each has a value.
func names(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, line := range typeLine.FindAllStringSubmatch(scrape(t, watched(t, metrics.Sources{})), -1) {
		if all = append(all, line[1]); line[2] == "histogram" {
			all = append(all, line[1]+"_bucket", line[1]+"_sum", line[1]+"_count")
		}
	}
	return all
}

type alertRule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func readAlerts(t *testing.T) []alertRule {
	t.Helper()
	text, err := os.ReadFile("../../packaging/prometheus-alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string      `yaml:"name"`
			Rules []alertRule `yaml:"rules"`
		} `yaml:"groups"`
	}
	decoder := yaml.NewDecoder(strings.NewReader(string(text)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil {
		t.Fatal(err)
	}
	var rules []alertRule
	for _, group := range file.Groups {
		rules = append(rules, group.Rules...)
	}
	if len(rules) < 10 {
		t.Fatalf("only %d rules: the search is broken", len(rules))
	}
	return rules
}

// An alert on a metric that does not exist never fires.
func TestAlerts_nameMetricsThatExist(t *testing.T) {
	known := names(t)
	for _, rule := range readAlerts(t) {
		named := metricName.FindAllString(rule.Expr, -1)
		if len(named) == 0 {
			t.Errorf("%s names no metric: %s", rule.Alert, rule.Expr)
		}
		for _, name := range named {
			if !slices.Contains(known, name) {
				t.Errorf("%s names %s, which does not exist", rule.Alert, name)
			}
		}
		if rule.Annotations["summary"] == "" || rule.Labels["severity"] != "page" && rule.Labels["severity"] != "ticket" {
			t.Errorf("%s lacks a summary, or a severity of page or ticket", rule.Alert)
		}
		for _, pair := range []string{"()", "{}", "[]"} {
			if strings.Count(rule.Expr, pair[:1]) != strings.Count(rule.Expr, pair[1:]) {
				t.Errorf("%s: %s do not pair in %s", rule.Alert, pair, rule.Expr)
			}
		}
	}
}

// Whoever is woken by an alert finds it in the run book, and nothing there has
// outlived its alert. Metrics that the run book names exist.
func TestAlerts_areInTheRunBook(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	var explained []string
	for _, match := range heading.FindAllStringSubmatch(string(text), -1) {
		explained = append(explained, match[1])
	}
	var alerts []string
	for _, rule := range readAlerts(t) {
		alerts = append(alerts, rule.Alert)
	}
	if !slices.Equal(alerts, explained) {
		t.Errorf("docs/operations.md explains %q, the rules are %q", explained, alerts)
	}
	known := names(t)
	for _, name := range metricName.FindAllString(string(text), -1) {
		if strings.HasPrefix(name, "contauth_") && name != "contauth_reader" && !slices.Contains(known, name) {
			t.Errorf("docs/operations.md names the metric %s, which does not exist", name)
		}
	}
}
