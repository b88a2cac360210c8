//go:build !tyk_without_oas

package ctx_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/TykTechnologies/tyk/apidef/oas"
	"github.com/TykTechnologies/tyk/ctx"
	"github.com/TykTechnologies/tyk/internal/fakehost"
	"github.com/TykTechnologies/tyk/tykbridge"
)

const document = `{"openapi": "3.0.3", "info": {"title": "T", "version": "1"},
	"paths": {"/a": {"get": {"operationId": "aget", "responses": {"200": {"description": "ok",
		"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Node"}}}}}}}},
	"components": {"schemas": {"Node": {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Node"}}}}},
	"x-tyk-api-gateway": {"info": {"id": "a1", "name": "A", "state": {"active": true}}, "upstream": {"url": "http://u", "mutualTLS": {"enabled": true}},
		"server": {"listenPath": {"value": "/a/", "strip": true}},
		"middleware": {"global": {"pluginConfig": {"driver": "goplugin", "data": {"enabled": true, "value": {"k": "v"}}}},
			"operations": {"aget": {"allow": {"enabled": true}, "mockResponse": {"enabled": true}}}}}}`

func TestOpenAPIDocuments(t *testing.T) {
	call := &tykbridge.Call{Definition: &tykbridge.Definition{OAS: json.RawMessage(document), Spec: map[string]string{"APIID": "a1"}}}
	r := request(call)
	if ctx.GetDefinition(r) != nil {
		t.Fatal("a classic definition of an API in OpenAPI form")
	}
	for i := 0; i < 2; i++ { // the second sees nothing of what the first changed
		got := ctx.GetOASDefinition(r)
		extension := got.Extensions["x-tyk-api-gateway"].(*oas.XTykAPIGateway)
		data := got.GetTykMiddleware().Global.PluginConfig.Data
		if got.Info.Title != "T" || extension.Info.ID != "a1" || extension.Server.ListenPath.Value != "/a/" || data.Value["k"] != "v" ||
			!extension.Middleware.Operations["aget"].Allow.Enabled {
			t.Fatalf("%+v", extension)
		}
		node := got.Paths.Find("/a").Get.Responses["200"].Value.Content["application/json"].Schema.Value
		if node.Properties["next"].Value.Properties["next"] == nil {
			t.Fatal("a reference to itself is not resolved")
		}
		text, err := json.Marshal(got)
		if err != nil || !strings.Contains(string(text), `"mutualTLS":{"enabled":true}`) || !strings.Contains(string(text), `"mockResponse"`) {
			t.Fatalf("%s: %v", text, err)
		}
		got.Info.Title, data.Value["k"] = "changed", "changed"
		got.Paths.Find("/a").Get.Extensions = map[string]interface{}{"x": 1}
	}
	if r.Context().Value(ctx.OASDefinition).(*oas.OAS).Info.Title != "T" {
		t.Fatal("the shared one was changed")
	}
}

func TestThereMayBeNoDocument(t *testing.T) {
	r := request(&tykbridge.Call{})
	if ctx.GetOASDefinition(r) != nil {
		t.Fatal("there is one")
	}
	r = httptest.NewRequest(http.MethodGet, "/", nil)
	ctx.SetOASDefinition(r, &oas.OAS{})
	if ctx.GetOASDefinition(r) == nil {
		t.Fatal("not what was set")
	}
}

func TestADocumentThatCannotBeReadIsNoneAndALine(t *testing.T) {
	host := fakehost.Connect("")
	r := request(&tykbridge.Call{Definition: &tykbridge.Definition{OAS: json.RawMessage(`[`)}})
	if ctx.GetOASDefinition(r) != nil || len(host.Lines()) != 1 {
		t.Fatal("nothing was said")
	}
}
