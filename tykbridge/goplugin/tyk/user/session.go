// Package user holds the session of a key: who calls, and what is granted.
package user

import (
	"sync"
	"time"

	"github.com/TykTechnologies/tyk/apidef"
	"github.com/TykTechnologies/tyk/internal/clone"
)

// SessionState is the session of a key. Its JSON is the gateway's.
type SessionState struct {
	LastCheck          int64     `json:"last_check,omitzero"`
	Allowance          float64   `json:"allowance,omitzero"`
	Rate               float64   `json:"rate,omitzero"` // requests in Per seconds
	Per                float64   `json:"per,omitzero"`
	ThrottleInterval   float64   `json:"throttle_interval,omitzero"` // seconds
	ThrottleRetryLimit int       `json:"throttle_retry_limit,omitzero"`
	MaxQueryDepth      int       `json:"max_query_depth,omitzero"`
	DateCreated        time.Time `json:"date_created,omitzero"`
	Expires            int64     `json:"expires,omitzero"` // Unix seconds
	QuotaMax           int64     `json:"quota_max,omitzero"`
	QuotaRenews        int64     `json:"quota_renews,omitzero"` // Unix seconds
	QuotaRemaining     int64     `json:"quota_remaining,omitzero"`
	QuotaRenewalRate   int64     `json:"quota_renewal_rate,omitzero"` // seconds

	AccessRights  map[string]AccessDefinition `json:"access_rights,omitempty"` // by API ID
	OrgID         string                      `json:"org_id,omitzero"`
	ApplyPolicyID string                      `json:"apply_policy_id,omitzero"` // older form of ApplyPolicies
	ApplyPolicies []string                    `json:"apply_policies,omitempty"`

	OauthClientID                 string            `json:"oauth_client_id,omitzero"`
	OauthKeys                     map[string]string `json:"oauth_keys,omitempty"`
	Certificate                   string            `json:"certificate,omitzero"`
	MtlsStaticCertificateBindings []string          `json:"mtls_static_certificate_bindings,omitempty"`
	BasicAuthData                 BasicAuthData     `json:"basic_auth_data,omitzero"`
	JWTData                       JWTData           `json:"jwt_data,omitzero"`
	HMACEnabled                   bool              `json:"hmac_enabled,omitzero"`
	EnableHTTPSignatureValidation bool              `json:"enable_http_signature_validation,omitzero"`
	HmacSecret                    string            `json:"hmac_string,omitzero"`
	RSACertificateId              string            `json:"rsa_certificate_id,omitzero"` //nolint:revive // its name is the interface's

	IsInactive              bool                       `json:"is_inactive,omitzero"`
	DataExpires             int64                      `json:"data_expires,omitzero"` // seconds
	Monitor                 Monitor                    `json:"monitor,omitzero"`
	EnableDetailRecording   bool                       `json:"enable_detail_recording,omitzero"` // older name of EnableDetailedRecording
	EnableDetailedRecording bool                       `json:"enable_detailed_recording,omitzero"`
	MetaData                map[string]interface{}     `json:"meta_data,omitempty"`
	Tags                    []string                   `json:"tags,omitempty"`
	Alias                   string                     `json:"alias,omitzero"`
	LastUpdated             string                     `json:"last_updated,omitzero"`
	IdExtractorDeadline     int64                      `json:"id_extractor_deadline,omitzero"` //nolint:revive // likewise; Unix seconds
	SessionLifetime         int64                      `json:"session_lifetime,omitzero"`      // seconds
	PostExpiryAction        PostExpiryAction           `json:"post_expiry_action,omitzero"`
	PostExpiryGracePeriod   int64                      `json:"post_expiry_grace_period,omitzero"` // seconds
	Smoothing               *apidef.RateLimitSmoothing `json:"smoothing,omitzero"`

	Mutex *sync.RWMutex `json:"-"` // gateway 2.9 had one; nothing here locks it
	KeyID string        `json:"-"` // the key or token that this is the session of

	keyHash  string
	modified bool
	restored bool
}

// PostExpiryAction is what becomes of a session that expired.
type PostExpiryAction string

// What becomes of a session that expired.
const (
	PostExpiryActionRetain PostExpiryAction = "retain"
	PostExpiryActionDelete PostExpiryAction = "delete"
)

// AccessDefinition is what a session grants of one API.
type AccessDefinition struct {
	APIName              string                  `json:"api_name,omitzero"`
	APIID                string                  `json:"api_id,omitzero"`
	Versions             []string                `json:"versions,omitempty"`
	AllowedURLs          []AccessSpec            `json:"allowed_urls,omitempty"`
	RestrictedTypes      []GraphQLType           `json:"restricted_types,omitempty"`
	AllowedTypes         []GraphQLType           `json:"allowed_types,omitempty"`
	Limit                APILimit                `json:"limit,omitzero"`
	FieldAccessRights    []FieldAccessDefinition `json:"field_access_rights,omitempty"`
	DisableIntrospection bool                    `json:"disable_introspection,omitzero"`
	AllowanceScope       string                  `json:"allowance_scope,omitzero"`
	Endpoints            Endpoints               `json:"endpoints,omitempty"`
}

// AccessSpec is a URL, as a regular expression, and the methods that may be used on it.
type AccessSpec struct {
	URL     string   `json:"url"`
	Methods []string `json:"methods"`
}

// GraphQLType is a type of a GraphQL schema, and its fields.
type GraphQLType struct {
	Name   string   `json:"name"`
	Fields []string `json:"fields"`
}

// FieldAccessDefinition limits a field of a GraphQL schema.
type FieldAccessDefinition struct {
	TypeName  string      `json:"type_name,omitzero"`
	FieldName string      `json:"field_name,omitzero"`
	Limits    FieldLimits `json:"limits,omitzero"`
}

// FieldLimits is the limits of a field.
type FieldLimits struct {
	MaxQueryDepth int `json:"max_query_depth,omitzero"`
}

// RateLimit is Rate requests in Per seconds.
type RateLimit struct {
	Rate      float64                    `json:"rate,omitzero"`
	Per       float64                    `json:"per,omitzero"`
	Smoothing *apidef.RateLimitSmoothing `json:"smoothing,omitzero"`
}

// Duration gives the time from one request to the next; 0 without a limit.
func (r RateLimit) Duration() time.Duration {
	if r.Rate <= 0 || r.Per <= 0 {
		return 0
	}
	return time.Duration(r.Per / r.Rate * float64(time.Second))
}

// APILimit is the limits of one API.
type APILimit struct {
	RateLimit
	ThrottleInterval   float64 `json:"throttle_interval,omitzero"` // seconds
	ThrottleRetryLimit int     `json:"throttle_retry_limit,omitzero"`
	MaxQueryDepth      int     `json:"max_query_depth,omitzero"`
	QuotaMax           int64   `json:"quota_max,omitzero"`
	QuotaRenews        int64   `json:"quota_renews,omitzero"` // Unix seconds
	QuotaRemaining     int64   `json:"quota_remaining,omitzero"`
	QuotaRenewalRate   int64   `json:"quota_renewal_rate,omitzero"` // seconds
	SetBy              string  `json:"-"`
}

// IsEmpty tells whether nothing is limited.
func (l APILimit) IsEmpty() bool {
	l.Smoothing = nil // it changes a limit, and is none
	return l == APILimit{}
}

// IsZero is IsEmpty.
func (l APILimit) IsZero() bool { return l.IsEmpty() }

// Endpoints is the limits of single paths.
type Endpoints []Endpoint

// Endpoint is the limits of a path.
type Endpoint struct {
	Path    string          `json:"path,omitempty"`
	Methods EndpointMethods `json:"methods,omitempty"`
}

// EndpointMethods is the limits of a path's methods.
type EndpointMethods []EndpointMethod

// EndpointMethod is the limit of one method.
type EndpointMethod struct {
	Name  string    `json:"name,omitempty"`
	Limit RateLimit `json:"limit,omitempty"`
}

// HashType is how a password is hashed.
type HashType string

// How passwords are hashed.
const (
	HashPlainText HashType = ""
	HashBCrypt    HashType = "bcrypt"
	HashSha256    HashType = "sha256"
	HashMurmur32  HashType = "murmur32"
	HashMurmur64  HashType = "murmur64"
	HashMurmur128 HashType = "murmur128"
)

// BasicAuthData is a password.
type BasicAuthData struct {
	Password string   `json:"password,omitzero"`
	Hash     HashType `json:"hash_type,omitzero"`
}

// JWTData is the secret of a key's tokens.
type JWTData struct {
	Secret string `json:"secret,omitzero"`
}

// Monitor is the parts of a quota, in percent, that an event tells of.
type Monitor struct {
	TriggerLimits []float64 `json:"trigger_limits,omitempty"`
}

// IsZero tells whether nothing is monitored.
func (m Monitor) IsZero() bool { return len(m.TriggerLimits) == 0 }

// NewSessionState gives an empty session.
func NewSessionState() *SessionState { return &SessionState{} }

// Touch says that the session was changed: the gateway is to take it over.
func (s *SessionState) Touch() { s.modified = true }

// Reset says that it was not.
func (s *SessionState) Reset() { s.modified = false }

// IsModified tells whether it was.
func (s *SessionState) IsModified() bool { return s.modified }

// MarkAsRestored says that the session comes from the store.
func (s *SessionState) MarkAsRestored() { s.restored = true }

// MarkAsNew says that it does not.
func (s *SessionState) MarkAsNew() { s.restored = false }

// IsRestored tells whether it does.
func (s *SessionState) IsRestored() bool { return s.restored }

// KeyHash gives the hash of the session's key. Panics where nobody set it: ctx.GetSession and ctx.SetSession do.
func (s *SessionState) KeyHash() string {
	if s.keyHash == "" {
		panic("user.SessionState.KeyHash: no hash was set: this session came neither from ctx.GetSession nor through ctx.SetSession")
	}
	return s.keyHash
}

// SetKeyHash sets it.
func (s *SessionState) SetKeyHash(hash string) { s.keyHash = hash }

// KeyHashEmpty tells whether it was not set.
func (s *SessionState) KeyHashEmpty() bool { return s.keyHash == "" }

// PolicyIDs gives the policies that apply.
func (s *SessionState) PolicyIDs() []string {
	if len(s.ApplyPolicies) == 0 && s.ApplyPolicyID != "" {
		return []string{s.ApplyPolicyID}
	}
	return s.ApplyPolicies
}

// SetPolicies replaces the policies.
func (s *SessionState) SetPolicies(ids ...string) { s.ApplyPolicies, s.ApplyPolicyID = ids, "" }

// PoliciesEqualTo tells whether ApplyPolicies are these, in any order.
func (s *SessionState) PoliciesEqualTo(ids []string) bool {
	count := map[string]int{}
	for _, id := range ids {
		count[id]++
	}
	for _, id := range s.ApplyPolicies {
		if count[id]--; count[id] < 0 {
			return false
		}
	}
	return len(ids) == len(s.ApplyPolicies)
}

// APILimit gives the limits that hold over all APIs.
func (s *SessionState) APILimit() APILimit {
	return APILimit{
		RateLimit: RateLimit{Rate: s.Rate, Per: s.Per, Smoothing: s.Smoothing}, MaxQueryDepth: s.MaxQueryDepth,
		ThrottleInterval: s.ThrottleInterval, ThrottleRetryLimit: s.ThrottleRetryLimit,
		QuotaMax: s.QuotaMax, QuotaRenewalRate: s.QuotaRenewalRate, QuotaRenews: s.QuotaRenews,
	}
}

// GetQuotaLimitByAPIID gives the quota of an API: its own, else that over all APIs.
func (s *SessionState) GetQuotaLimitByAPIID(apiID string) (quotaMax, remaining, renewalRate, renews int64) {
	if own, found := s.AccessRights[apiID]; found && !own.Limit.IsEmpty() {
		return own.Limit.QuotaMax, own.Limit.QuotaRemaining, own.Limit.QuotaRenewalRate, own.Limit.QuotaRenews
	}
	return s.QuotaMax, s.QuotaRemaining, s.QuotaRenewalRate, s.QuotaRenews
}

// IsBasicAuth tells whether the key is a name and password.
func (s *SessionState) IsBasicAuth() bool { return s.BasicAuthData.Password != "" }

// Clone gives a copy with maps and lists of its own.
func (s SessionState) Clone() SessionState {
	return *clone.Of(&s)
}
