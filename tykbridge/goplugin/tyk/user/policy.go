package user

import "github.com/TykTechnologies/tyk/apidef"

// Policy is limits and rights that sessions take over. Its JSON is the gateway's.
type Policy struct {
	MID                           apidef.ObjectID             `json:"_id"`
	ID                            string                      `json:"id"`
	Name                          string                      `json:"name"`
	OrgID                         string                      `json:"org_id"`
	Rate                          float64                     `json:"rate"` // requests in Per seconds
	Per                           float64                     `json:"per"`
	QuotaMax                      int64                       `json:"quota_max"`
	QuotaRenewalRate              int64                       `json:"quota_renewal_rate"` // seconds
	ThrottleInterval              float64                     `json:"throttle_interval"`  // seconds
	ThrottleRetryLimit            int                         `json:"throttle_retry_limit"`
	MaxQueryDepth                 int                         `json:"max_query_depth"`
	AccessRights                  map[string]AccessDefinition `json:"access_rights"`
	HMACEnabled                   bool                        `json:"hmac_enabled"`
	EnableHTTPSignatureValidation bool                        `json:"enable_http_signature_validation"`
	Active                        bool                        `json:"active"`
	IsInactive                    bool                        `json:"is_inactive"`
	Tags                          []string                    `json:"tags"`
	KeyExpiresIn                  int64                       `json:"key_expires_in"` // seconds
	PostExpiryAction              PostExpiryAction            `json:"post_expiry_action,omitzero"`
	PostExpiryGracePeriod         int64                       `json:"post_expiry_grace_period"` // seconds
	Partitions                    PolicyPartitions            `json:"partitions"`
	LastUpdated                   string                      `json:"last_updated"`
	MetaData                      map[string]interface{}      `json:"meta_data"`
	Smoothing                     *apidef.RateLimitSmoothing  `json:"smoothing"`
}

// PolicyPartitions is which parts of a policy count.
type PolicyPartitions struct {
	Quota      bool `json:"quota"`
	RateLimit  bool `json:"rate_limit"`
	Complexity bool `json:"complexity"`
	Acl        bool `json:"acl"` //nolint:revive // its name is the interface's
	PerAPI     bool `json:"per_api"`
}
