package oas

import (
	"github.com/TykTechnologies/tyk/apidef"
	"github.com/TykTechnologies/tyk/internal/loose"
)

// XTykAPIGateway is the gateway's extension. Its keys that have no field here are kept, and so are those of Upstream, Server,
// Global and Operation.
type XTykAPIGateway struct {
	Info       Info        `json:"info"`
	Upstream   Upstream    `json:"upstream"`
	Server     Server      `json:"server"`
	Middleware *Middleware `json:"middleware,omitempty"`

	rest loose.Rest
}

// Info is what the API is.
type Info struct {
	ID         string          `json:"id,omitempty"`
	DBID       apidef.ObjectID `json:"dbId,omitempty"`
	OrgID      string          `json:"orgId,omitempty"`
	Name       string          `json:"name"`
	Expiration string          `json:"expiration,omitempty"`
	State      State           `json:"state"`
	Versioning *Versioning     `json:"versioning,omitempty"`
}

// State is whether the API is served.
type State struct {
	Active   bool `json:"active"`
	Internal bool `json:"internal,omitempty"`
}

// Versioning is the versions of the API.
type Versioning struct {
	Enabled              bool          `json:"enabled"`
	Name                 string        `json:"name,omitempty"`
	Default              string        `json:"default"`
	Location             string        `json:"location"`
	Key                  string        `json:"key,omitempty"`
	Versions             []VersionToID `json:"versions"`
	StripVersioningData  bool          `json:"stripVersioningData,omitempty"`
	UrlVersioningPattern string        `json:"urlVersioningPattern,omitempty"` //nolint:revive // its name is the interface's
	FallbackToDefault    bool          `json:"fallbackToDefault,omitempty"`
}

// VersionToID is the API of a version.
type VersionToID struct {
	Name string `json:"name"`
	ID   string `json:"id"`
}

// Upstream is where requests go.
type Upstream struct {
	URL                string              `json:"url"`
	RateLimit          *RateLimit          `json:"rateLimit,omitempty"`
	LoadBalancing      *LoadBalancing      `json:"loadBalancing,omitempty"`
	PreserveHostHeader *PreserveHostHeader `json:"preserveHostHeader,omitempty"`
	Proxy              *Proxy              `json:"proxy,omitempty"`
	TLSTransport       *TLSTransport       `json:"tlsTransport,omitempty"`

	rest loose.Rest
}

// RateLimit limits the API over all its keys.
type RateLimit struct {
	Enabled bool                    `json:"enabled"`
	Rate    int                     `json:"rate"`
	Per     apidef.ReadableDuration `json:"per"`
}

// LoadBalancing spreads requests.
type LoadBalancing struct {
	Enabled              bool                  `json:"enabled"`
	SkipUnavailableHosts bool                  `json:"skipUnavailableHosts,omitempty"`
	Targets              []LoadBalancingTarget `json:"targets,omitempty"`
}

// LoadBalancingTarget is one target.
type LoadBalancingTarget struct {
	URL    string `json:"url"`
	Weight int    `json:"weight"`
}

// PreserveHostHeader leaves Host as the client sent it.
type PreserveHostHeader struct {
	Enabled bool `json:"enabled"`
}

// Proxy is a proxy on the way to the target.
type Proxy struct {
	Enabled bool   `json:"enabled"`
	URL     string `json:"url"`
}

// TLSTransport is how the target is spoken to.
type TLSTransport struct {
	InsecureSkipVerify   bool     `json:"insecureSkipVerify,omitempty"`
	Ciphers              []string `json:"ciphers,omitempty"`
	MinVersion           string   `json:"minVersion,omitempty"`
	MaxVersion           string   `json:"maxVersion,omitempty"`
	ForceCommonNameCheck bool     `json:"forceCommonNameCheck,omitempty"`
}

// Server is where the API is served, and to whom.
type Server struct {
	ListenPath         ListenPath          `json:"listenPath"`
	Authentication     *Authentication     `json:"authentication,omitempty"`
	ClientCertificates *ClientCertificates `json:"clientCertificates,omitempty"`
	GatewayTags        *GatewayTags        `json:"gatewayTags,omitempty"`
	CustomDomain       *Domain             `json:"customDomain,omitempty"`
	IPAccessControl    *IPAccessControl    `json:"ipAccessControl,omitempty"`
	Protocol           string              `json:"protocol,omitempty"`
	Port               int                 `json:"port,omitempty"`

	rest loose.Rest
}

// ListenPath is the path that the API is served under.
type ListenPath struct {
	Value string `json:"value"`
	Strip bool   `json:"strip,omitempty"`
}

// ClientCertificates are those that may call.
type ClientCertificates struct {
	Enabled   bool     `json:"enabled"`
	Allowlist []string `json:"allowlist"`
}

// GatewayTags are the gateways that serve the API.
type GatewayTags struct {
	Enabled bool     `json:"enabled"`
	Tags    []string `json:"tags"`
}

// Domain is the domain that the API is served under.
type Domain struct {
	Enabled      bool     `json:"enabled"`
	Name         string   `json:"name"`
	Certificates []string `json:"certificates,omitempty"`
}

// IPAccessControl is the addresses that may call.
type IPAccessControl struct {
	Enabled bool     `json:"enabled"`
	Allow   []string `json:"allow,omitempty"`
	Block   []string `json:"block,omitempty"`
}

// Authentication is how keys are checked.
type Authentication struct {
	Enabled                bool                        `json:"enabled"`
	StripAuthorizationData bool                        `json:"stripAuthorizationData,omitempty"`
	BaseIdentityProvider   apidef.AuthTypeEnum         `json:"baseIdentityProvider,omitempty"`
	Custom                 *CustomPluginAuthentication `json:"custom,omitempty"`
	SecuritySchemes        map[string]interface{}      `json:"securitySchemes,omitempty"`

	rest loose.Rest
}

// CustomPluginAuthentication is a plugin that checks keys.
type CustomPluginAuthentication struct {
	Enabled bool                  `json:"enabled"`
	Config  *AuthenticationPlugin `json:"config,omitempty"`
	AuthSources
}

// AuthSources is where a key is looked for.
type AuthSources struct {
	Header *AuthSource `json:"header,omitempty"`
	Cookie *AuthSource `json:"cookie,omitempty"`
	Query  *AuthSource `json:"query,omitempty"`
}

// AuthSource is one place.
type AuthSource struct {
	Enabled bool   `json:"enabled"`
	Name    string `json:"name,omitempty"`
}

// AuthenticationPlugin is the function that checks keys.
type AuthenticationPlugin struct {
	Enabled        bool         `json:"enabled"`
	FunctionName   string       `json:"functionName"`
	Path           string       `json:"path"`
	RawBodyOnly    bool         `json:"rawBodyOnly,omitempty"`
	RequireSession bool         `json:"requireSession,omitempty"`
	IDExtractor    *IDExtractor `json:"idExtractor,omitempty"`
}

// IDExtractor takes an id out of requests.
type IDExtractor struct {
	Enabled bool                     `json:"enabled"`
	Source  apidef.IdExtractorSource `json:"source"`
	With    apidef.IdExtractorType   `json:"with"`
	Config  *IDExtractorConfig       `json:"config"`
}

// IDExtractorConfig is where the id is.
type IDExtractorConfig struct {
	HeaderName       string `json:"headerName,omitempty"`
	FormParamName    string `json:"formParamName,omitempty"`
	Regexp           string `json:"regexp,omitempty"`
	RegexpMatchIndex int    `json:"regexpMatchIndex,omitempty"`
	XPathExp         string `json:"xPathExp,omitempty"`
}

// UnmarshalJSON reads it.
func (x *XTykAPIGateway) UnmarshalJSON(data []byte) (err error) {
	type fields XTykAPIGateway
	x.rest, err = loose.Decode(data, (*fields)(x))
	return err
}

// MarshalJSON writes it, with the keys that it came with.
func (x XTykAPIGateway) MarshalJSON() ([]byte, error) {
	type fields XTykAPIGateway
	return loose.Encode(fields(x), x.rest)
}

// UnmarshalJSON reads it.
func (u *Upstream) UnmarshalJSON(data []byte) (err error) {
	type fields Upstream
	u.rest, err = loose.Decode(data, (*fields)(u))
	return err
}

// MarshalJSON writes it, with the keys that it came with.
func (u Upstream) MarshalJSON() ([]byte, error) {
	type fields Upstream
	return loose.Encode(fields(u), u.rest)
}

// UnmarshalJSON reads it.
func (s *Server) UnmarshalJSON(data []byte) (err error) {
	type fields Server
	s.rest, err = loose.Decode(data, (*fields)(s))
	return err
}

// MarshalJSON writes it, with the keys that it came with.
func (s Server) MarshalJSON() ([]byte, error) {
	type fields Server
	return loose.Encode(fields(s), s.rest)
}

// UnmarshalJSON reads it.
func (a *Authentication) UnmarshalJSON(data []byte) (err error) {
	type fields Authentication
	a.rest, err = loose.Decode(data, (*fields)(a))
	return err
}

// MarshalJSON writes it, with the keys that it came with.
func (a Authentication) MarshalJSON() ([]byte, error) {
	type fields Authentication
	return loose.Encode(fields(a), a.rest)
}
