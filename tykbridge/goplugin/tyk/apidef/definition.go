// Package apidef holds the API definition in the gateway's classic form, as plugins read it.
package apidef

import (
	"encoding/json"
	"time"

	"github.com/TykTechnologies/tyk/internal/loose"
)

// APIDefinition is an API. Its JSON is the gateway's; keys that stand here under no name are kept, and written again.
type APIDefinition struct {
	Id                  ObjectID      `json:"id,omitempty"` //nolint:revive // its name is the interface's
	Name                string        `json:"name"`
	Expiration          string        `json:"expiration,omitempty"`
	ExpirationTs        time.Time     `json:"-"`
	Slug                string        `json:"slug"`
	ListenPort          int           `json:"listen_port"`
	Protocol            string        `json:"protocol"`
	EnableProxyProtocol bool          `json:"enable_proxy_protocol"`
	JsonRpcVersion      string        `json:"json_rpc_version,omitempty"` //nolint:revive // likewise
	ApplicationProtocol string        `json:"application_protocol,omitempty"`
	APIID               string        `json:"api_id"`
	OrgID               string        `json:"org_id"`
	Active              bool          `json:"active"`
	Internal            bool          `json:"internal"`
	IsOAS               bool          `json:"is_oas,omitempty"`
	Domain              string        `json:"domain"`
	DomainDisabled      bool          `json:"domain_disabled,omitempty"`
	Certificates        []string      `json:"certificates"`
	Tags                []string      `json:"tags"`
	TagsDisabled        bool          `json:"tags_disabled,omitempty"`
	Proxy               ProxyConfig   `json:"proxy"`
	CORS                CORSConfig    `json:"CORS"`
	CacheOptions        CacheOptions  `json:"cache_options"`
	UptimeTests         UptimeTests   `json:"uptime_tests"`
	GraphQL             GraphQLConfig `json:"graphql"`

	UseKeylessAccess          bool                  `json:"use_keyless"`
	UseStandardAuth           bool                  `json:"use_standard_auth"`
	UseBasicAuth              bool                  `json:"use_basic_auth"`
	UseOauth2                 bool                  `json:"use_oauth2"`
	UseOpenID                 bool                  `json:"use_openid"`
	UseMutualTLSAuth          bool                  `json:"use_mutual_tls_auth"`
	UseGoPluginAuth           bool                  `json:"use_go_plugin_auth"`    // older name of CustomPluginAuthEnabled
	EnableCoProcessAuth       bool                  `json:"enable_coprocess_auth"` // likewise
	CustomPluginAuthEnabled   bool                  `json:"custom_plugin_auth_enabled"`
	EnableJWT                 bool                  `json:"enable_jwt"`
	EnableSignatureChecking   bool                  `json:"enable_signature_checking"`
	Auth                      AuthConfig            `json:"auth"`
	AuthConfigs               map[string]AuthConfig `json:"auth_configs"`
	BaseIdentityProvidedBy    AuthTypeEnum          `json:"base_identity_provided_by"`
	StripAuthData             bool                  `json:"strip_auth_data"`
	SecurityRequirements      [][]string            `json:"security_requirements,omitempty"`
	SecurityRequirementScopes []map[string][]string `json:"security_requirement_scopes,omitempty"`
	BasicAuth                 BasicAuthMeta         `json:"basic_auth"`
	Oauth2Meta                Oauth2Meta            `json:"oauth_meta"`
	NotificationsDetails      NotificationsManager  `json:"notifications"`
	OpenIDOptions             OpenIDOptions         `json:"openid_options"`
	HmacAllowedClockSkew      float64               `json:"hmac_allowed_clock_skew"`
	HmacAllowedAlgorithms     []string              `json:"hmac_allowed_algorithms"`
	RequestSigning            RequestSigningMeta    `json:"request_signing"`
	AuthProvider              ProviderMeta          `json:"auth_provider"`
	SessionProvider           ProviderMeta          `json:"session_provider"`

	JWTSigningMethod           string            `json:"jwt_signing_method"`
	JWTSource                  string            `json:"jwt_source"`
	JWTJwksURIs                []JWK             `json:"jwt_jwks_uris"`
	JWTIdentityBaseField       string            `json:"jwt_identity_base_field"`
	JWTClientIDBaseField       string            `json:"jwt_client_base_field"`
	JWTPolicyFieldName         string            `json:"jwt_policy_field_name"`
	JWTDefaultPolicies         []string          `json:"jwt_default_policies"`
	JWTIssuedAtValidationSkew  uint64            `json:"jwt_issued_at_validation_skew"`
	JWTExpiresAtValidationSkew uint64            `json:"jwt_expires_at_validation_skew"`
	JWTNotBeforeValidationSkew uint64            `json:"jwt_not_before_validation_skew"`
	JWTSkipKid                 bool              `json:"jwt_skip_kid"`
	JWTScopeToPolicyMapping    map[string]string `json:"jwt_scope_to_policy_mapping"` // older name of Scopes.JWT.ScopeToPolicy
	JWTScopeClaimName          string            `json:"jwt_scope_claim_name"`        // likewise
	Scopes                     Scopes            `json:"scopes,omitempty"`
	IDPClientIDMappingDisabled bool              `json:"idp_client_id_mapping_disabled"`

	ClientCertificates           []string          `json:"client_certificates"`
	UpstreamCertificates         map[string]string `json:"upstream_certificates"`
	UpstreamCertificatesDisabled bool              `json:"upstream_certificates_disabled,omitempty"`
	PinnedPublicKeys             map[string]string `json:"pinned_public_keys"`
	CertificatePinningDisabled   bool              `json:"certificate_pinning_disabled,omitempty"`
	EnableIpWhiteListing         bool              `json:"enable_ip_whitelisting"` //nolint:revive // likewise
	AllowedIPs                   []string          `json:"allowed_ips"`
	EnableIpBlacklisting         bool              `json:"enable_ip_blacklisting"` //nolint:revive // likewise
	BlacklistedIPs               []string          `json:"blacklisted_ips"`
	IPAccessControlDisabled      bool              `json:"ip_access_control_disabled"`

	VersionName       string            `json:"-"`
	VersionDefinition VersionDefinition `json:"definition"`
	VersionData       VersionData       `json:"version_data"`

	DisableRateLimit                     bool            `json:"disable_rate_limit"`
	DisableQuota                         bool            `json:"disable_quota"`
	GlobalRateLimit                      GlobalRateLimit `json:"global_rate_limit"`
	DontSetQuotasOnCreate                bool            `json:"dont_set_quota_on_create"`
	SessionLifetime                      int64           `json:"session_lifetime"` // seconds
	SessionLifetimeRespectsKeyExpiration bool            `json:"session_lifetime_respects_key_expiration,omitempty"`

	CustomMiddleware               MiddlewareSection      `json:"custom_middleware"`
	CustomMiddlewareBundle         string                 `json:"custom_middleware_bundle"`
	CustomMiddlewareBundleDisabled bool                   `json:"custom_middleware_bundle_disabled"`
	ConfigData                     map[string]interface{} `json:"config_data"`
	ConfigDataDisabled             bool                   `json:"config_data_disabled"`
	EventHandlers                  EventHandlerMetaConfig `json:"event_handlers"`
	ResponseProcessors             []ResponseProcessor    `json:"response_processors"`
	EnableBatchRequestSupport      bool                   `json:"enable_batch_request_support"`
	EnableContextVars              bool                   `json:"enable_context_vars"`
	TagHeaders                     []string               `json:"tag_headers"`
	DoNotTrack                     bool                   `json:"do_not_track"`
	EnableDetailedRecording        bool                   `json:"enable_detailed_recording"`
	DetailedTracing                bool                   `json:"detailed_tracing"`
	ExpireAnalyticsAfter           int64                  `json:"expire_analytics_after"` // seconds
	AnalyticsPlugin                AnalyticsPluginConfig  `json:"analytics_plugin,omitempty"`

	rest loose.Rest
}

// UnmarshalJSON reads a definition of any version of the gateway.
func (a *APIDefinition) UnmarshalJSON(data []byte) (err error) {
	type fields APIDefinition
	a.rest, err = loose.Decode(data, (*fields)(a))
	return err
}

// MarshalJSON writes the definition, with the keys that it came with.
func (a APIDefinition) MarshalJSON() ([]byte, error) {
	type fields APIDefinition
	return loose.Encode(fields(a), a.rest)
}

// GetAPIDomain gives the domain that the API is served under, "" for any.
func (a *APIDefinition) GetAPIDomain() string {
	if a.DomainDisabled {
		return ""
	}
	return a.Domain
}

// IsMCP tells whether the API speaks the Model Context Protocol.
func (a *APIDefinition) IsMCP() bool { return a.ApplicationProtocol == AppProtocolMCP }

// Application protocols.
const AppProtocolMCP = "mcp"

// ObjectID is the hexadecimal digits of an id in the dashboard's database.
type ObjectID string

// Hex gives the digits.
func (id ObjectID) Hex() string { return string(id) }

// UnmarshalJSON takes a text, and {"$oid": text} as MongoDB exports it.
func (id *ObjectID) UnmarshalJSON(data []byte) error {
	var exported struct {
		ID string `json:"$oid"`
	}
	if json.Unmarshal(data, &exported) == nil {
		*id = ObjectID(exported.ID)
		return nil
	}
	return json.Unmarshal(data, (*string)(id))
}

// ReadableDuration is a time, in JSON as Go writes it ("1m30s"); a number counts nanoseconds.
type ReadableDuration time.Duration

// Seconds gives it in seconds.
func (d ReadableDuration) Seconds() float64 { return time.Duration(d).Seconds() }

// String gives it as JSON has it.
func (d ReadableDuration) String() string { return time.Duration(d).String() }

// MarshalJSON writes it as text.
func (d ReadableDuration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads it.
func (d *ReadableDuration) UnmarshalJSON(data []byte) error {
	if data[0] != '"' {
		return json.Unmarshal(data, (*int64)(d))
	}
	var text string
	if err := json.Unmarshal(data, &text); err != nil || text == "" {
		return err
	}
	parsed, err := time.ParseDuration(text)
	*d = ReadableDuration(parsed)
	return err
}
