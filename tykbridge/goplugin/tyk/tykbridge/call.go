// Package tykbridge is what the packages of this module stand on: the call that a hook runs in, and the host.
package tykbridge

import (
	"context"
	"encoding/json"
	"sync"
)

// Call is what a hook runs in. It belongs to its request: one goroutine at a time, as *http.Request.
type Call struct {
	Definition *Definition // of the API; nil when the host defined none

	SessionJSON []byte // as the host sent it, in Tyk's JSON; nil: there is none
	Session     any    // what was made of SessionJSON, or was set: package ctx's
	SetSession  bool   // the host is to get Session back, as json.Marshal writes it

	Token    string // the key or token of the request; "" for none
	SetToken bool   // the host is to get Token back

	Metadata map[string]string // the session's metadata; nil for none
	Earlier  *Left             // what the request's hook before left; nil for nothing
	Rewrite  string            // the URL that the request is to go to; "" for the API's own target
}

// Left is what one hook leaves to the next of the same request. Nobody changes it.
type Left struct {
	Context context.Context // the request's, as the hook left it
	Values  map[any]any     // under keys that the call itself has values for
	Session any             // that the hook set; nil for none
	Shown   string          // the session's JSON that the host sent when it did
}

// Definition is an API, given once and shared by all its calls: nobody changes it.
type Definition struct {
	Classic json.RawMessage   `json:"definition"` // in Tyk's classic form; nil when there is none
	OAS     json.RawMessage   `json:"oas"`        // the OAS document, with x-tyk-api-gateway; nil when there is none
	Spec    map[string]string `json:"spec"`       // OrgID, APIID, bundle_hash, config_data (JSON text)

	kept sync.Map // of key: a sync.OnceValue of what was made
}

// Keep gives what make returned for this key when it was asked first: a definition is decoded once.
func (d *Definition) Keep(key any, make func() any) any {
	once, found := d.kept.Load(key)
	if !found {
		once, _ = d.kept.LoadOrStore(key, sync.OnceValue(make))
	}
	return once.(func() any)()
}
