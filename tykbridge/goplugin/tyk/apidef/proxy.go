package apidef

import (
	"errors"
	"sync"

	"github.com/TykTechnologies/tyk/internal/loose"
)

// ProxyConfig is where an API listens, and where its requests go.
type ProxyConfig struct {
	PreserveHostHeader          bool                          `json:"preserve_host_header"`
	ListenPath                  string                        `json:"listen_path"`
	TargetURL                   string                        `json:"target_url"`
	DisableStripSlash           bool                          `json:"disable_strip_slash"`
	StripListenPath             bool                          `json:"strip_listen_path"`
	EnableLoadBalancing         bool                          `json:"enable_load_balancing"`
	Targets                     []string                      `json:"target_list"`
	StructuredTargetList        *HostList                     `json:"-"`
	CheckHostAgainstUptimeTests bool                          `json:"check_host_against_uptime_tests"`
	ServiceDiscovery            ServiceDiscoveryConfiguration `json:"service_discovery"`
	Transport                   struct {
		SSLInsecureSkipVerify   bool     `json:"ssl_insecure_skip_verify"`
		SSLCipherSuites         []string `json:"ssl_ciphers"`
		SSLMinVersion           uint16   `json:"ssl_min_version"`
		SSLMaxVersion           uint16   `json:"ssl_max_version"`
		SSLForceCommonNameCheck bool     `json:"ssl_force_common_name_check"`
		ProxyURL                string   `json:"proxy_url"`
	} `json:"transport"`
}

// ServiceDiscoveryConfiguration is how targets are looked up.
type ServiceDiscoveryConfiguration struct {
	UseDiscoveryService bool   `json:"use_discovery_service"`
	QueryEndpoint       string `json:"query_endpoint"`
	UseNestedQuery      bool   `json:"use_nested_query"`
	ParentDataPath      string `json:"parent_data_path"`
	DataPath            string `json:"data_path"`
	PortDataPath        string `json:"port_data_path"`
	TargetPath          string `json:"target_path"`
	UseTargetList       bool   `json:"use_target_list"`
	CacheDisabled       bool   `json:"cache_disabled"`
	CacheTimeout        int64  `json:"cache_timeout"` // seconds
	EndpointReturnsList bool   `json:"endpoint_returns_list"`
}

// HostList is the targets of an API. Safe to use from any goroutine.
type HostList struct {
	lock  sync.RWMutex
	hosts []string
}

// NewHostList gives an empty list.
func NewHostList() *HostList { return &HostList{} }

// NewHostListFromList gives a list of these hosts.
func NewHostListFromList(hosts []string) *HostList {
	list := NewHostList()
	list.Set(hosts)
	return list
}

// Set replaces the hosts.
func (h *HostList) Set(hosts []string) {
	h.lock.Lock()
	defer h.lock.Unlock()
	h.hosts = append([]string(nil), hosts...)
}

// All gives the hosts.
func (h *HostList) All() []string {
	h.lock.RLock()
	defer h.lock.RUnlock()
	return append([]string(nil), h.hosts...)
}

// GetIndex gives one host, counted from 0.
func (h *HostList) GetIndex(i int) (string, error) {
	h.lock.RLock()
	defer h.lock.RUnlock()
	if i < 0 || i >= len(h.hosts) {
		return "", errors.New("apidef: the list has no host of this number")
	}
	return h.hosts[i], nil
}

// Len counts the hosts.
func (h *HostList) Len() int {
	h.lock.RLock()
	defer h.lock.RUnlock()
	return len(h.hosts)
}

// CORSConfig answers browsers about requests from other origins.
type CORSConfig struct {
	Enable             bool     `json:"enable"`
	AllowedOrigins     []string `json:"allowed_origins"`
	AllowedMethods     []string `json:"allowed_methods"`
	AllowedHeaders     []string `json:"allowed_headers"`
	ExposedHeaders     []string `json:"exposed_headers"`
	AllowCredentials   bool     `json:"allow_credentials"`
	MaxAge             int      `json:"max_age"` // seconds
	OptionsPassthrough bool     `json:"options_passthrough"`
	Debug              bool     `json:"debug"`
}

// CacheOptions is what responses are kept, and for how long.
type CacheOptions struct {
	CacheTimeout               int64    `json:"cache_timeout"` // seconds
	EnableCache                bool     `json:"enable_cache"`
	CacheAllSafeRequests       bool     `json:"cache_all_safe_requests"`
	CacheOnlyResponseCodes     []int    `json:"cache_response_codes"`
	EnableUpstreamCacheControl bool     `json:"enable_upstream_cache_control"`
	CacheControlTTLHeader      string   `json:"cache_control_ttl_header"`
	CacheByHeaders             []string `json:"cache_by_headers"`
}

// GlobalRateLimit limits an API over all its keys: Rate requests in Per seconds.
type GlobalRateLimit struct {
	Disabled bool    `json:"disabled"`
	Rate     float64 `json:"rate"`
	Per      float64 `json:"per"`
}

// RateLimitSmoothing steps a rate limit up and down.
type RateLimitSmoothing struct {
	Enabled   bool    `json:"enabled"`
	Threshold int64   `json:"threshold"`
	Trigger   float64 `json:"trigger"`
	Step      int64   `json:"step"`
	Delay     int64   `json:"delay"` // seconds
}

// UptimeTests asks targets whether they are up.
type UptimeTests struct {
	Disabled  bool              `json:"disabled"`
	CheckList []HostCheckObject `json:"check_list"`
	Config    UptimeTestsConfig `json:"config"`
}

// UptimeTestsConfig is how the tests are run.
type UptimeTestsConfig struct {
	ExpireUptimeAnalyticsAfter int64                         `json:"expire_utime_after"` // seconds
	ServiceDiscovery           ServiceDiscoveryConfiguration `json:"service_discovery"`
	RecheckWait                int                           `json:"recheck_wait"` // seconds
}

// HostCheckObject is one test.
type HostCheckObject struct {
	CheckURL            string            `json:"url"`
	Protocol            string            `json:"protocol"`
	Timeout             ReadableDuration  `json:"timeout"`
	EnableProxyProtocol bool              `json:"enable_proxy_protocol"`
	Commands            []CheckCommand    `json:"commands"`
	Method              string            `json:"method"`
	Headers             map[string]string `json:"headers"`
	Body                string            `json:"body"`
}

// CheckCommand is a step of a test over TCP.
type CheckCommand struct {
	Name    string `json:"name"`
	Message string `json:"message"`
}

// GraphQLConfig is the GraphQL of an API, so far as plugins ask for it; the rest of its JSON is kept.
type GraphQLConfig struct {
	Enabled       bool   `json:"enabled"`
	ExecutionMode string `json:"execution_mode"`
	Version       string `json:"version"`
	Schema        string `json:"schema"`

	rest loose.Rest
}

// UnmarshalJSON reads it.
func (g *GraphQLConfig) UnmarshalJSON(data []byte) (err error) {
	type fields GraphQLConfig
	g.rest, err = loose.Decode(data, (*fields)(g))
	return err
}

// MarshalJSON writes it as it came.
func (g GraphQLConfig) MarshalJSON() ([]byte, error) {
	type fields GraphQLConfig
	return loose.Encode(fields(g), g.rest)
}
