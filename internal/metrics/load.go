package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/contauth/contauth/scheduler"
)

// describe makes the description of a metric with these labels.
func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("contauth_"+name, help, labels, nil)
}

// gauge is one value of a metric.
func gauge(desc *prometheus.Desc, value float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
}

var (
	laneQueued    = describe("lane_queued", "Charges that this process has claimed and not sent yet.", "merchant_account")
	laneInFlight  = describe("lane_in_flight", "Requests of this process without an answer yet.", "merchant_account")
	laneLimit     = describe("lane_limit", "Requests that this process may have in flight now.", "merchant_account")
	laneShare     = describe("lane_share", "This process's share of the account's max_in_flight.", "merchant_account")
	accountOutage = describe("account_outage_seconds", "For how long this process has found the gateway out of reach; 0 if it answers.", "merchant_account")
	unwritten     = describe("answers_unwritten", "Answers of this process that the database has not committed yet.")
)

// A loadCollector tells what the process has in hand.
type loadCollector struct {
	load func() scheduler.Load
}

// Describe implements prometheus.Collector.
func (loadCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{laneQueued, laneInFlight, laneLimit, laneShare, accountOutage, unwritten} {
		descs <- desc
	}
}

// Collect implements prometheus.Collector.
func (c loadCollector) Collect(metrics chan<- prometheus.Metric) {
	load := c.load()
	for _, l := range load.Lanes {
		metrics <- gauge(laneQueued, float64(l.Queued), l.MerchantAccount)
		metrics <- gauge(laneInFlight, float64(l.InFlight), l.MerchantAccount)
		metrics <- gauge(laneLimit, float64(l.Limit), l.MerchantAccount)
		metrics <- gauge(laneShare, float64(l.Share), l.MerchantAccount)
		metrics <- gauge(accountOutage, l.Outage.Seconds(), l.MerchantAccount)
	}
	metrics <- gauge(unwritten, float64(load.Unwritten))
}
