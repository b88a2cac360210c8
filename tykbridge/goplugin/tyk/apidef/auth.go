package apidef

// AuthTypeEnum is a kind of authentication.
type AuthTypeEnum string

// Kinds of authentication.
const (
	AuthTypeNone  AuthTypeEnum = ""
	UnsetAuth     AuthTypeEnum = ""
	AuthToken     AuthTypeEnum = "auth_token"
	CustomAuth    AuthTypeEnum = "custom_auth"
	HMACKey       AuthTypeEnum = "hmac_key"
	BasicAuthUser AuthTypeEnum = "basic_auth_user"
	JWTClaim      AuthTypeEnum = "jwt_claim"
	OIDCUser      AuthTypeEnum = "oidc_user"
	OAuthKey      AuthTypeEnum = "oauth_key"
)

// Keys of APIDefinition.AuthConfigs.
const (
	AuthTokenType = "authToken"
	JWTType       = "jwt"
	HMACType      = "hmac"
	BasicType     = "basic"
	CoprocessType = "coprocess"
	OAuthType     = "oauth"
	OIDCType      = "oidc"
)

// AuthConfig is where a key is looked for.
type AuthConfig struct {
	Name              string          `json:"name"`
	UseParam          bool            `json:"use_param"`
	ParamName         string          `json:"param_name"`
	UseCookie         bool            `json:"use_cookie"`
	CookieName        string          `json:"cookie_name"`
	DisableHeader     bool            `json:"disable_header"`
	AuthHeaderName    string          `json:"auth_header_name"`
	UseCertificate    bool            `json:"use_certificate"`
	ValidateSignature bool            `json:"validate_signature"`
	Signature         SignatureConfig `json:"signature,omitempty"`
}

// SignatureConfig is how a request's signature is checked.
type SignatureConfig struct {
	Algorithm        string `json:"algorithm"`
	Header           string `json:"header"`
	UseParam         bool   `json:"use_param"`
	ParamName        string `json:"param_name"`
	Secret           string `json:"secret"`
	AllowedClockSkew int64  `json:"allowed_clock_skew"`
	ErrorCode        int    `json:"error_code"`
	ErrorMessage     string `json:"error_message"`
}

// BasicAuthMeta is where name and password are looked for.
type BasicAuthMeta struct {
	DisableCaching     bool   `json:"disable_caching"`
	CacheTTL           int    `json:"cache_ttl"` // seconds
	ExtractFromBody    bool   `json:"extract_from_body"`
	BodyUserRegexp     string `json:"body_user_regexp"`
	BodyPasswordRegexp string `json:"body_password_regexp"`
}

// Oauth2Meta is what the gateway's own OAuth server grants.
type Oauth2Meta struct {
	AllowedAccessTypes     []string `json:"allowed_access_types"`
	AllowedAuthorizeTypes  []string `json:"allowed_authorize_types"`
	AuthorizeLoginRedirect string   `json:"auth_login_redirect"`
}

// NotificationsManager tells of OAuth keys that change.
type NotificationsManager struct {
	SharedSecret      string `json:"shared_secret"`
	OAuthKeyChangeURL string `json:"oauth_on_keychange_url"`
}

// OpenIDOptions is which issuers are trusted.
type OpenIDOptions struct {
	Providers         []OIDProviderConfig `json:"providers"`
	SegregateByClient bool                `json:"segregate_by_client"`
}

// OIDProviderConfig is one issuer, and the policies of its clients.
type OIDProviderConfig struct {
	Issuer    string            `json:"issuer"`
	ClientIDs map[string]string `json:"client_ids"`
}

// Scopes maps scopes of tokens to policies.
type Scopes struct {
	JWT  ScopeClaim `json:"jwt,omitempty"`
	OIDC ScopeClaim `json:"oidc,omitempty"`
}

// ScopeClaim is the claim that holds the scopes.
type ScopeClaim struct {
	ScopeClaimName string            `json:"scope_claim_name,omitempty"`
	ScopeToPolicy  map[string]string `json:"scope_to_policy,omitempty"`
}

// JWK is where keys are fetched.
type JWK struct {
	URL          string           `json:"url"`
	CacheTimeout ReadableDuration `json:"cache_timeout"`
}

// RequestSigningMeta is how requests to the target are signed.
type RequestSigningMeta struct {
	IsEnabled       bool     `json:"is_enabled"`
	Secret          string   `json:"secret"`
	KeyId           string   `json:"key_id"` //nolint:revive // its name is the interface's
	Algorithm       string   `json:"algorithm"`
	HeaderList      []string `json:"header_list"`
	CertificateId   string   `json:"certificate_id"` //nolint:revive // likewise
	SignatureHeader string   `json:"signature_header"`
}

// ProviderMeta is where keys or sessions are kept.
type ProviderMeta struct {
	Name          string                 `json:"name"`
	StorageEngine string                 `json:"storage_engine"`
	Meta          map[string]interface{} `json:"meta"`
}
