// Package oas holds the OpenAPI document of an API, with the gateway's extension x-tyk-api-gateway, as plugins read it.
package oas

import (
	"encoding/json"
	"fmt"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/TykTechnologies/tyk/internal/clone"
)

// ExtensionTykAPIGateway is the key of the gateway's extension.
const ExtensionTykAPIGateway = "x-tyk-api-gateway"

// OAS is an OpenAPI document. Extensions[ExtensionTykAPIGateway] of one that a hook gets is an *XTykAPIGateway.
type OAS struct {
	openapi3.T
}

// Load reads a document, and resolves the references within it.
func Load(data []byte) (*OAS, error) {
	document, err := openapi3.NewLoader().LoadFromData(data)
	if err != nil {
		return nil, fmt.Errorf("the OpenAPI document: %w", err)
	}
	loaded := &OAS{T: *document}
	if _, has := loaded.Extensions[ExtensionTykAPIGateway]; has {
		if loaded.GetTykExtension() == nil {
			return nil, fmt.Errorf("the OpenAPI document: %s is not as the gateway has it", ExtensionTykAPIGateway)
		}
	}
	return loaded, nil
}

// GetTykExtension gives the gateway's extension, nil for none.
func (s *OAS) GetTykExtension() *XTykAPIGateway {
	switch value := s.Extensions[ExtensionTykAPIGateway].(type) {
	case nil:
		return nil
	case *XTykAPIGateway:
		return value
	default: // as openapi3 reads it
		data, err := json.Marshal(value)
		if err != nil {
			return nil
		}
		extension := new(XTykAPIGateway)
		if json.Unmarshal(data, extension) != nil {
			return nil
		}
		s.Extensions[ExtensionTykAPIGateway] = extension
		return extension
	}
}

// SetTykExtension sets it.
func (s *OAS) SetTykExtension(extension *XTykAPIGateway) {
	if s.Extensions == nil {
		s.Extensions = map[string]interface{}{}
	}
	s.Extensions[ExtensionTykAPIGateway] = extension
}

// RemoveTykExtension removes it.
func (s *OAS) RemoveTykExtension() { delete(s.Extensions, ExtensionTykAPIGateway) }

// GetTykMiddleware gives the middleware of the gateway's extension, nil for none.
func (s *OAS) GetTykMiddleware() *Middleware {
	if extension := s.GetTykExtension(); extension != nil {
		return extension.Middleware
	}
	return nil
}

// Clone gives a deep copy.
func (s *OAS) Clone() (*OAS, error) { return clone.Of(s), nil }
