package analytics_test

import (
	"testing"

	pump "github.com/TykTechnologies/tyk-pump/analytics"
	"github.com/TykTechnologies/tyk/analytics"
)

func TestTheRecordIsOne(t *testing.T) {
	hook := func(record *pump.AnalyticsRecord) { record.Latency = pump.Latency{Total: 5} }
	record := analytics.AnalyticsRecord{}
	hook(&record)
	if record.Latency.Total != 5 {
		t.Fatal("two types")
	}
}
