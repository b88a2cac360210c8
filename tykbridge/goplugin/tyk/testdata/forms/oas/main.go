// Package main has the forms for APIs in OpenAPI form.
package main

import (
	"net/http"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/TykTechnologies/tyk/apidef/oas"
	"github.com/TykTechnologies/tyk/ctx"
	"github.com/TykTechnologies/tyk/log"
)

// Read is a pre.
func Read(_ http.ResponseWriter, r *http.Request) {
	document := ctx.GetOASDefinition(r)
	var plain *openapi3.T = &document.T
	log.Get().Info(document.Info.Title, plain.OpenAPI, document.Paths.Find("/auth").Options.Extensions["x-mine"])
	data := document.GetTykExtension().Middleware.Global.PluginConfig.Data
	if value, ok := data.Value["k"].(string); ok && data.Enabled {
		r.Header.Add("X-K", value)
	}
	if extension, ok := document.Extensions[oas.ExtensionTykAPIGateway].(*oas.XTykAPIGateway); ok {
		r.Header.Add("X-Id", extension.Info.ID+extension.Upstream.URL+extension.Server.ListenPath.Value)
	}
	if shared, ok := r.Context().Value(ctx.OASDefinition).(*oas.OAS); ok {
		log.Get().Debug(shared.Info.Version)
	}
}

func main() {}
