package apidef_test

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/TykTechnologies/tyk/apidef"
)

// decoded gives JSON as maps, to be compared.
func decoded(t *testing.T, text []byte) (value map[string]interface{}) {
	t.Helper()
	if err := json.Unmarshal(text, &value); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return value
}

// TestNothingOfADefinitionIsLost reads one with keys of other versions, and of other shapes, and writes it again.
func TestNothingOfADefinitionIsLost(t *testing.T) {
	text := []byte(`{"id": {"$oid": "5e9d9544a1dcd60001d0ed20"}, "name": "A", "active": true, "use_keyless": true,
		"jwt_jwks_uris": [{"url": "u", "cache_timeout": "1m30s"}],
		"version_data": {"not_versioned": true, "versions": {"Default": {"name": "Default", "use_extended_paths": true,
			"extended_paths": {"go_plugin": [{"path": "/x", "func_name": "F"}]}}}},
		"custom_middleware": {"pre": [{"name": "F", "path": "p.so"}], "driver": "goplugin"},
		"graphql": {"enabled": true, "supergraph": {"merged_sdl": "s"}},
		"slug": 7, "tomorrow": {"deep": [1, {"a": null}]}}`)
	var definition apidef.APIDefinition
	if err := json.Unmarshal(text, &definition); err != nil {
		t.Fatal(err)
	}
	if definition.Id.Hex() != "5e9d9544a1dcd60001d0ed20" || definition.JWTJwksURIs[0].CacheTimeout.Seconds() != 90 || definition.Slug != "" ||
		definition.VersionData.Versions["Default"].ExtendedPaths.GoPlugin[0].SymbolName != "F" ||
		definition.CustomMiddleware.Pre[0].Name != "F" || definition.CustomMiddleware.Driver != apidef.GoPluginDriver {
		t.Fatalf("%+v", definition)
	}
	written, err := json.Marshal(definition)
	if err != nil {
		t.Fatal(err)
	}
	before, after := decoded(t, text), decoded(t, written)
	for _, key := range []string{"name", "slug", "tomorrow"} {
		if !reflect.DeepEqual(before[key], after[key]) {
			t.Errorf("%s was %v and is %v", key, before[key], after[key])
		}
	}
	if after["graphql"].(map[string]interface{})["supergraph"] == nil {
		t.Error("keys of graphql are lost")
	}
	var again apidef.APIDefinition
	if err := json.Unmarshal(written, &again); err != nil {
		t.Fatal(err)
	}
	if twice, err := json.Marshal(again); err != nil || string(twice) != string(written) {
		t.Errorf("%v: %s and %s", err, written, twice)
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{`"1h"`: time.Hour, `""`: 0, `5`: 5} {
		var got apidef.ReadableDuration
		if err := json.Unmarshal([]byte(text), &got); err != nil || time.Duration(got) != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	if json.Unmarshal([]byte(`"soon"`), new(apidef.ReadableDuration)) == nil {
		t.Error("soon is a time")
	}
}

func TestHostLists(t *testing.T) {
	list := apidef.NewHostListFromList([]string{"a", "b"})
	if host, err := list.GetIndex(1); host != "b" || err != nil || list.Len() != 2 {
		t.Fatal(host, err)
	}
	if _, err := list.GetIndex(2); err == nil {
		t.Fatal("there is a third")
	}
}
