// Package config gives plugins the gateway's settings (tyk.conf).
package config

import (
	"encoding/json"
	"sync/atomic"

	"github.com/TykTechnologies/tyk/tykbridge"
)

// Config is the settings that plugins ask for. Its JSON is tyk.conf's; Other has all of it.
type Config struct {
	HostName       string `json:"hostname"`
	ListenAddress  string `json:"listen_address"`
	ListenPort     int    `json:"listen_port"`
	Secret         string `json:"secret"`
	NodeSecret     string `json:"node_secret"`
	TemplatePath   string `json:"template_path"`
	AppPath        string `json:"app_path"`
	MiddlewarePath string `json:"middleware_path"`
	TykJSPath      string `json:"tyk_js_path"`
	PublicKeyPath  string `json:"public_key_path"`
	LogLevel       string `json:"log_level"`
	LogFormat      string `json:"log_format"`

	HashKeys                 bool     `json:"hash_keys"`
	HashKeyFunction          string   `json:"hash_key_function"`
	BasicAuthHashKeyFunction string   `json:"basic_auth_hash_key_function"`
	HashKeyFunctionFallback  []string `json:"hash_key_function_fallback"`
	EnableHashedKeysListing  bool     `json:"enable_hashed_keys_listing"`
	MinTokenLength           int      `json:"min_token_length"`
	AllowMasterKeys          bool     `json:"allow_master_keys"`

	Storage                      StorageOptionsConf `json:"storage"`
	EnableSeperateCacheStore     bool               `json:"enable_separate_cache_store"`
	CacheStorage                 StorageOptionsConf `json:"cache_storage"`
	EnableSeperateAnalyticsStore bool               `json:"enable_separate_analytics_store"`
	AnalyticsStorage             StorageOptionsConf `json:"analytics_storage"`

	EnableBundleDownloader   bool            `json:"enable_bundle_downloader"`
	BundleBaseURL            string          `json:"bundle_base_url"`
	BundleInsecureSkipVerify bool            `json:"bundle_insecure_skip_verify"`
	CoProcessOptions         CoProcessConfig `json:"coprocess_options"`
	EnableJSVM               bool            `json:"enable_jsvm"`
	JSVMTimeout              int             `json:"jsvm_timeout"` // seconds

	HttpServerOptions HttpServerOptionsConfig `json:"http_server_options"` //nolint:revive // its name is the interface's
	EnableAnalytics   bool                    `json:"enable_analytics"`
	AnalyticsConfig   AnalyticsConfigConfig   `json:"analytics_config"`
	UseDBAppConfigs   bool                    `json:"use_db_app_configs"`
	DBAppConfOptions  DBAppConfOptionsConfig  `json:"db_app_conf_options"`
	Policies          PoliciesConfig          `json:"policies"`
	SlaveOptions      SlaveOptionsConfig      `json:"slave_options"`

	ProxyDefaultTimeout                  float64           `json:"proxy_default_timeout"` // seconds
	ProxySSLInsecureSkipVerify           bool              `json:"proxy_ssl_insecure_skip_verify"`
	CloseConnections                     bool              `json:"close_connections"`
	EnableCustomDomains                  bool              `json:"enable_custom_domains"`
	GlobalSessionLifetime                int64             `json:"global_session_lifetime"` // seconds
	ForceGlobalSessionLifetime           bool              `json:"force_global_session_lifetime"`
	SessionLifetimeRespectsKeyExpiration bool              `json:"session_lifetime_respects_key_expiration"`
	Secrets                              map[string]string `json:"secrets"`

	// Other is the settings as the gateway has them, for what has no field here.
	Other json.RawMessage `json:"-"`
}

// StorageOptionsConf is how the gateway reaches Redis. Plugins need none of it: package storage uses the gateway's own
// connection.
type StorageOptionsConf struct {
	Type                  string            `json:"type"`
	Host                  string            `json:"host"`
	Port                  int               `json:"port"`
	Hosts                 map[string]string `json:"hosts"`
	Addrs                 []string          `json:"addrs"`
	MasterName            string            `json:"master_name"`
	SentinelPassword      string            `json:"sentinel_password"`
	Username              string            `json:"username"`
	Password              string            `json:"password"`
	Database              int               `json:"database"`
	MaxIdle               int               `json:"optimisation_max_idle"`
	MaxActive             int               `json:"optimisation_max_active"`
	Timeout               int               `json:"timeout"` // seconds
	EnableCluster         bool              `json:"enable_cluster"`
	UseSSL                bool              `json:"use_ssl"`
	SSLInsecureSkipVerify bool              `json:"ssl_insecure_skip_verify"`
	CAFile                string            `json:"ca_file"`
	CertFile              string            `json:"cert_file"`
	KeyFile               string            `json:"key_file"`
}

// CoProcessConfig is how rich plugins are reached.
type CoProcessConfig struct {
	EnableCoProcess     bool   `json:"enable_coprocess"`
	CoProcessGRPCServer string `json:"coprocess_grpc_server"`
	GRPCRecvMaxSize     int    `json:"grpc_recv_max_size"` // bytes
	GRPCSendMaxSize     int    `json:"grpc_send_max_size"` // bytes
	GRPCAuthority       string `json:"grpc_authority"`
	PythonPathPrefix    string `json:"python_path_prefix"`
	PythonVersion       string `json:"python_version"`
}

// HttpServerOptionsConfig is how the gateway listens.
type HttpServerOptionsConfig struct { //nolint:revive // likewise
	ReadTimeout           int      `json:"read_timeout"`  // seconds
	WriteTimeout          int      `json:"write_timeout"` // seconds
	UseSSL                bool     `json:"use_ssl"`
	SSLInsecureSkipVerify bool     `json:"ssl_insecure_skip_verify"`
	EnableWebSockets      bool     `json:"enable_websockets"`
	ServerName            string   `json:"server_name"`
	MinVersion            uint16   `json:"min_version"`
	MaxVersion            uint16   `json:"max_version"`
	FlushInterval         int      `json:"flush_interval"` // milliseconds
	SkipURLCleaning       bool     `json:"skip_url_cleaning"`
	Ciphers               []string `json:"ssl_ciphers"`
	MaxRequestBodySize    int64    `json:"max_request_body_size"` // bytes
	XFFDepth              int      `json:"xff_depth"`
}

// AnalyticsConfigConfig is what is noted of requests.
type AnalyticsConfigConfig struct {
	Type                    string   `json:"type"`
	IgnoredIPs              []string `json:"ignored_ips"`
	EnableDetailedRecording bool     `json:"enable_detailed_recording"`
	EnableGeoIP             bool     `json:"enable_geo_ip"`
	GeoIPDBLocation         string   `json:"geo_ip_db_path"`
	PoolSize                int      `json:"pool_size"`
	RecordsBufferSize       uint64   `json:"records_buffer_size"`
	StorageExpirationTime   int      `json:"storage_expiration_time"` // seconds
	PurgeInterval           float32  `json:"purge_interval"`          // seconds
}

// DBAppConfOptionsConfig is how APIs are fetched from a dashboard.
type DBAppConfOptionsConfig struct {
	ConnectionString string   `json:"connection_string"`
	NodeIsSegmented  bool     `json:"node_is_segmented"`
	Tags             []string `json:"tags"`
}

// PoliciesConfig is where policies come from.
type PoliciesConfig struct {
	PolicySource           string `json:"policy_source"`
	PolicyConnectionString string `json:"policy_connection_string"`
	PolicyRecordName       string `json:"policy_record_name"`
	AllowExplicitPolicyID  bool   `json:"allow_explicit_policy_id"`
	PolicyPath             string `json:"policy_path"`
}

// SlaveOptionsConfig is how the gateway hangs on another data centre.
type SlaveOptionsConfig struct {
	UseRPC           bool   `json:"use_rpc"`
	ConnectionString string `json:"connection_string"`
	RPCKey           string `json:"rpc_key"`
	APIKey           string `json:"api_key"`
	GroupID          string `json:"group_id"`
}

// Global gives the gateway's settings; all zero where the host has none. Maps and lists in it are shared: read them only.
// It is a variable, as in the gateway since 3.2, so that a plugin's tests can replace it.
var Global = func() Config {
	settings := tykbridge.Settings()
	if last := read.Load(); last != nil && same(last.Other, settings) {
		return *last
	}
	conf := &Config{}
	// What does not fit a field leaves it at zero; the gateway has checked its settings.
	_ = json.Unmarshal(settings, conf)
	conf.Other = settings
	read.Store(conf)
	return *conf
}

var read atomic.Pointer[Config] // what was made of Other last

// same tells whether two settings are one object in memory, or equally empty.
func same(a, b json.RawMessage) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || string(a) == string(b))
}
