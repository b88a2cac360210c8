package config_test

import (
	"testing"

	"github.com/TykTechnologies/tyk/config"
	"github.com/TykTechnologies/tyk/internal/fakehost"
)

func TestSettingsAreTheGateways(t *testing.T) {
	fakehost.Connect("")
	if conf := config.Global(); conf.HashKeys || conf.Other != nil {
		t.Fatalf("%+v", conf)
	}
	text := `{"listen_port": 8080, "hash_keys": true, "storage": {"host": "h", "port": 6379}, "node_secret": 5, "of_tomorrow": 1}`
	fakehost.Connect(text)
	conf := config.Global()
	if conf.ListenPort != 8080 || !conf.HashKeys || conf.Storage.Host != "h" || conf.Storage.Port != 6379 || string(conf.Other) != text {
		t.Fatalf("%+v", conf)
	}
	fakehost.Connect(`{"listen_port": 1}`)
	if conf := config.Global(); conf.ListenPort != 1 || conf.HashKeys {
		t.Fatalf("%+v", conf)
	}
}

func TestAPluginsTestsCanReplaceThem(t *testing.T) {
	before := config.Global
	defer func() { config.Global = before }()
	config.Global = func() config.Config { return config.Config{ListenPort: 7} }
	if config.Global().ListenPort != 7 {
		t.Fatal("not replaced")
	}
}
