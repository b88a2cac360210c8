package oas

import (
	"github.com/TykTechnologies/tyk/apidef"
	"github.com/TykTechnologies/tyk/internal/loose"
)

// Middleware is what requests go through.
type Middleware struct {
	Global     *Global    `json:"global,omitempty"`
	Operations Operations `json:"operations,omitempty"`

	rest loose.Rest
}

// Global is what holds for all paths.
type Global struct {
	PluginConfig              *PluginConfig     `json:"pluginConfig,omitempty"`
	CORS                      *CORS             `json:"cors,omitempty"`
	PrePlugin                 *PluginList       `json:"prePlugin,omitempty"` // older form of PrePlugins
	PrePlugins                CustomPlugins     `json:"prePlugins,omitempty"`
	PostAuthenticationPlugin  *PluginList       `json:"postAuthenticationPlugin,omitempty"` // likewise
	PostAuthenticationPlugins CustomPlugins     `json:"postAuthenticationPlugins,omitempty"`
	PostPlugin                *PluginList       `json:"postPlugin,omitempty"` // likewise
	PostPlugins               CustomPlugins     `json:"postPlugins,omitempty"`
	ResponsePlugin            *PluginList       `json:"responsePlugin,omitempty"` // likewise
	ResponsePlugins           CustomPlugins     `json:"responsePlugins,omitempty"`
	Cache                     *Cache            `json:"cache,omitempty"`
	TransformRequestHeaders   *TransformHeaders `json:"transformRequestHeaders,omitempty"`
	TransformResponseHeaders  *TransformHeaders `json:"transformResponseHeaders,omitempty"`
	ContextVariables          *ContextVariables `json:"contextVariables,omitempty"`

	rest loose.Rest
}

// PluginConfig is what plugins of the API have in common.
type PluginConfig struct {
	Driver apidef.MiddlewareDriver `json:"driver,omitempty"`
	Bundle *PluginBundle           `json:"bundle,omitempty"`
	Data   *PluginConfigData       `json:"data,omitempty"`
}

// PluginBundle is the bundle that plugins come from.
type PluginBundle struct {
	Enabled bool   `json:"enabled"`
	Path    string `json:"path"`
}

// PluginConfigData is what the API's author has to say to plugins.
type PluginConfigData struct {
	Enabled bool                   `json:"enabled"`
	Value   map[string]interface{} `json:"value"`
}

// CustomPlugins is plugins, in their order.
type CustomPlugins []CustomPlugin

// CustomPlugin is one plugin.
type CustomPlugin struct {
	Enabled        bool   `json:"enabled"`
	FunctionName   string `json:"functionName"`
	Path           string `json:"path"`
	Code           string `json:"code,omitempty"`
	RawBodyOnly    bool   `json:"rawBodyOnly,omitempty"`
	RequireSession bool   `json:"requireSession,omitempty"`
}

// PluginList is CustomPlugins in their older form.
type PluginList struct {
	Plugins CustomPlugins `json:"plugins,omitempty"`
}

// CORS answers browsers about requests from other origins.
type CORS struct {
	Enabled            bool     `json:"enabled"`
	MaxAge             int      `json:"maxAge,omitempty"` // seconds
	AllowCredentials   bool     `json:"allowCredentials,omitempty"`
	ExposedHeaders     []string `json:"exposedHeaders,omitempty"`
	AllowedHeaders     []string `json:"allowedHeaders,omitempty"`
	OptionsPassthrough bool     `json:"optionsPassthrough,omitempty"`
	Debug              bool     `json:"debug,omitempty"`
	AllowedOrigins     []string `json:"allowedOrigins,omitempty"`
	AllowedMethods     []string `json:"allowedMethods,omitempty"`
}

// Cache is what responses are kept.
type Cache struct {
	Enabled                    bool     `json:"enabled"`
	Timeout                    int64    `json:"timeout,omitempty"` // seconds
	CacheAllSafeRequests       bool     `json:"cacheAllSafeRequests,omitempty"`
	CacheResponseCodes         []int    `json:"cacheResponseCodes,omitempty"`
	CacheByHeaders             []string `json:"cacheByHeaders,omitempty"`
	EnableUpstreamCacheControl bool     `json:"enableUpstreamCacheControl,omitempty"`
	ControlTTLHeaderName       string   `json:"controlTTLHeaderName,omitempty"`
}

// TransformHeaders changes headers.
type TransformHeaders struct {
	Enabled bool     `json:"enabled"`
	Remove  []string `json:"remove,omitempty"`
	Add     Headers  `json:"add,omitempty"`
}

// Headers is headers, in their order.
type Headers []Header

// Header is one header.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// ContextVariables makes $tyk_context known.
type ContextVariables struct {
	Enabled bool `json:"enabled"`
}

// Operations is what holds for single operations, by operationId.
type Operations map[string]*Operation

// Operation is what holds for one.
type Operation struct {
	Allow                    *Allowance         `json:"allow,omitempty"`
	Block                    *Allowance         `json:"block,omitempty"`
	IgnoreAuthentication     *Allowance         `json:"ignoreAuthentication,omitempty"`
	TransformRequestHeaders  *TransformHeaders  `json:"transformRequestHeaders,omitempty"`
	TransformResponseHeaders *TransformHeaders  `json:"transformResponseHeaders,omitempty"`
	PostPlugins              []EndpointPlugin   `json:"postPlugins,omitempty"`
	RateLimit                *RateLimitEndpoint `json:"rateLimit,omitempty"`

	rest loose.Rest
}

// Allowance is whether something holds.
type Allowance struct {
	Enabled    bool `json:"enabled"`
	IgnoreCase bool `json:"ignoreCase,omitempty"`
}

// EndpointPlugin is the Go plugin of an operation.
type EndpointPlugin struct {
	Enabled      bool   `json:"enabled"`
	Name         string `json:"name,omitempty"`
	FunctionName string `json:"functionName"`
	Path         string `json:"path"`
}

// RateLimitEndpoint limits an operation.
type RateLimitEndpoint RateLimit

// UnmarshalJSON reads it.
func (m *Middleware) UnmarshalJSON(data []byte) (err error) {
	type fields Middleware
	m.rest, err = loose.Decode(data, (*fields)(m))
	return err
}

// MarshalJSON writes it, with the keys that it came with.
func (m Middleware) MarshalJSON() ([]byte, error) {
	type fields Middleware
	return loose.Encode(fields(m), m.rest)
}

// UnmarshalJSON reads it.
func (g *Global) UnmarshalJSON(data []byte) (err error) {
	type fields Global
	g.rest, err = loose.Decode(data, (*fields)(g))
	return err
}

// MarshalJSON writes it, with the keys that it came with.
func (g Global) MarshalJSON() ([]byte, error) {
	type fields Global
	return loose.Encode(fields(g), g.rest)
}

// UnmarshalJSON reads it.
func (o *Operation) UnmarshalJSON(data []byte) (err error) {
	type fields Operation
	o.rest, err = loose.Decode(data, (*fields)(o))
	return err
}

// MarshalJSON writes it, with the keys that it came with.
func (o Operation) MarshalJSON() ([]byte, error) {
	type fields Operation
	return loose.Encode(fields(o), o.rest)
}
