// Package metrics shows Prometheus what a daemon does and what the database says
// about the book. It is the only package that knows Prometheus.
package metrics
