//go:build !tyk_without_oas

package ctx

// OpenAPI documents, which bring a library that makes a small plugin 3 MB larger: with the tag tyk_without_oas plugins that
// do not ask for them are spared it.

import (
	"net/http"

	"github.com/TykTechnologies/tyk/apidef/oas"
	"github.com/TykTechnologies/tyk/internal/clone"
	"github.com/TykTechnologies/tyk/log"
	"github.com/TykTechnologies/tyk/tykbridge"
)

type documentKey struct{}

func init() {
	document = func(call *tykbridge.Call) any {
		if loaded := oasOf(call); loaded != nil {
			return loaded
		}
		return nil
	}
}

func oasOf(call *tykbridge.Call) *oas.OAS {
	if call.Definition == nil || call.Definition.OAS == nil {
		return nil
	}
	return call.Definition.Keep(documentKey{}, func() any {
		document, err := oas.Load(call.Definition.OAS)
		if err != nil {
			log.Get().WithError(err).Error("ctx.GetOASDefinition: the API definition cannot be read")
		}
		return document
	}).(*oas.OAS)
}

// GetOASDefinition gives the API's OpenAPI document, nil for an API in classic form. It is a copy, which takes time with a
// large document: r.Context().Value(ctx.OASDefinition).(*oas.OAS) is the one that all share, to be read only.
func GetOASDefinition(r *http.Request) *oas.OAS {
	document, _ := r.Context().Value(OASDefinition).(*oas.OAS)
	return clone.Of(document)
}

// SetOASDefinition has GetOASDefinition give another document from here on, in this hook. For tests of plugins.
func SetOASDefinition(r *http.Request, s *oas.OAS) { put(r, OASDefinition, s) }
