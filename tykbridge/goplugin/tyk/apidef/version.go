package apidef

import "time"

// VersionDefinition is how a request names the version that it wants.
type VersionDefinition struct {
	Enabled              bool              `json:"enabled"`
	Name                 string            `json:"name"`
	Default              string            `json:"default"`
	Location             string            `json:"location"`
	Key                  string            `json:"key"`
	StripPath            bool              `json:"strip_path"`
	StripVersioningData  bool              `json:"strip_versioning_data"`
	UrlVersioningPattern string            `json:"url_versioning_pattern"` //nolint:revive // its name is the interface's
	FallbackToDefault    bool              `json:"fallback_to_default"`
	Versions             map[string]string `json:"versions"`
	BaseID               string            `json:"-"`
}

// VersionData is the versions of an API.
type VersionData struct {
	NotVersioned   bool                   `json:"not_versioned"`
	DefaultVersion string                 `json:"default_version"`
	Versions       map[string]VersionInfo `json:"versions"`
}

// VersionInfo is one version.
type VersionInfo struct {
	Name      string    `json:"name"`
	Expires   string    `json:"expires"` // "2006-01-02 15:04"; "" and "-1": never
	ExpiresTs time.Time `json:"-"`
	Paths     struct {
		Ignored   []string `json:"ignored"`
		WhiteList []string `json:"white_list"`
		BlackList []string `json:"black_list"`
	} `json:"paths"`
	UseExtendedPaths              bool              `json:"use_extended_paths"`
	ExtendedPaths                 ExtendedPathsSet  `json:"extended_paths"`
	GlobalHeaders                 map[string]string `json:"global_headers"`
	GlobalHeadersRemove           []string          `json:"global_headers_remove"`
	GlobalHeadersDisabled         bool              `json:"global_headers_disabled"`
	GlobalResponseHeaders         map[string]string `json:"global_response_headers"`
	GlobalResponseHeadersRemove   []string          `json:"global_response_headers_remove"`
	GlobalResponseHeadersDisabled bool              `json:"global_response_headers_disabled"`
	IgnoreEndpointCase            bool              `json:"ignore_endpoint_case"`
	GlobalSizeLimit               int64             `json:"global_size_limit"` // bytes
	GlobalSizeLimitDisabled       bool              `json:"global_size_limit_disabled"`
	GlobalEnforceTimeout          ReadableDuration  `json:"global_enforce_timeout"`
	GlobalEnforceTimeoutDisabled  bool              `json:"global_enforce_timeout_disabled"`
	OverrideTarget                string            `json:"override_target"`
}

// ExtendedPathsSet is what holds for single paths.
type ExtendedPathsSet struct {
	Ignored                 []EndPointMeta        `json:"ignored,omitempty"`
	WhiteList               []EndPointMeta        `json:"white_list,omitempty"`
	BlackList               []EndPointMeta        `json:"black_list,omitempty"`
	MockResponse            []MockResponseMeta    `json:"mock_response,omitempty"`
	Cached                  []string              `json:"cache,omitempty"`
	AdvanceCacheConfig      []CacheMeta           `json:"advance_cache_config,omitempty"`
	Transform               []TemplateMeta        `json:"transform,omitempty"`
	TransformResponse       []TemplateMeta        `json:"transform_response,omitempty"`
	TransformJQ             []TransformJQMeta     `json:"transform_jq,omitempty"`
	TransformJQResponse     []TransformJQMeta     `json:"transform_jq_response,omitempty"`
	TransformHeader         []HeaderInjectionMeta `json:"transform_headers,omitempty"`
	TransformResponseHeader []HeaderInjectionMeta `json:"transform_response_headers,omitempty"`
	HardTimeouts            []HardTimeoutMeta     `json:"hard_timeouts,omitempty"`
	CircuitBreaker          []CircuitBreakerMeta  `json:"circuit_breakers,omitempty"`
	URLRewrite              []URLRewriteMeta      `json:"url_rewrites,omitempty"`
	Virtual                 []VirtualMeta         `json:"virtual,omitempty"`
	SizeLimit               []RequestSizeMeta     `json:"size_limits,omitempty"`
	MethodTransforms        []MethodTransformMeta `json:"method_transforms,omitempty"`
	TrackEndpoints          []TrackEndpointMeta   `json:"track_endpoints,omitempty"`
	DoNotTrackEndpoints     []TrackEndpointMeta   `json:"do_not_track_endpoints,omitempty"`
	ValidateJSON            []ValidatePathMeta    `json:"validate_json,omitempty"`
	ValidateRequest         []ValidateRequestMeta `json:"validate_request,omitempty"`
	Internal                []InternalMeta        `json:"internal,omitempty"`
	GoPlugin                []GoPluginMeta        `json:"go_plugin,omitempty"`
	PersistGraphQL          []PersistGraphQLMeta  `json:"persist_graphql"`
	RateLimit               []RateLimitMeta       `json:"rate_limit"`
}

// EndPointMeta is a path of a list.
type EndPointMeta struct {
	Disabled      bool                          `json:"disabled"`
	Path          string                        `json:"path"`
	Method        string                        `json:"method"`
	IgnoreCase    bool                          `json:"ignore_case"`
	MethodActions map[string]EndpointMethodMeta `json:"method_actions,omitempty"`
}

// EndpointMethodAction is what is done with a request.
type EndpointMethodAction string

// Actions.
const (
	NoAction EndpointMethodAction = "no_action"
	Reply    EndpointMethodAction = "reply"
)

// EndpointMethodMeta is an action, and its answer.
type EndpointMethodMeta struct {
	Action  EndpointMethodAction `json:"action"`
	Code    int                  `json:"code"`
	Data    string               `json:"data"`
	Headers map[string]string    `json:"headers"`
}

// MockResponseMeta answers without a target.
type MockResponseMeta struct {
	Disabled   bool              `json:"disabled"`
	Path       string            `json:"path"`
	Method     string            `json:"method"`
	IgnoreCase bool              `json:"ignore_case"`
	Code       int               `json:"code"`
	Body       string            `json:"body"`
	Headers    map[string]string `json:"headers"`
}

// CacheMeta is the cache of a path.
type CacheMeta struct {
	Disabled               bool   `json:"disabled"`
	Method                 string `json:"method"`
	Path                   string `json:"path"`
	CacheKeyRegex          string `json:"cache_key_regex"`
	CacheOnlyResponseCodes []int  `json:"cache_response_codes"`
	Timeout                int64  `json:"timeout"` // seconds
}

// RequestInputType is what a template is fed with.
type RequestInputType string

// Inputs of templates.
const (
	RequestXML  RequestInputType = "xml"
	RequestJSON RequestInputType = "json"
)

// SourceMode is where a source is.
type SourceMode string

// Sources.
const (
	UseBlob SourceMode = "blob"
	UseFile SourceMode = "file"
)

// TemplateData is a template of a body.
type TemplateData struct {
	Input          RequestInputType `json:"input_type"`
	Mode           SourceMode       `json:"template_mode"`
	EnableSession  bool             `json:"enable_session"`
	TemplateSource string           `json:"template_source"`
}

// TemplateMeta makes a path's body.
type TemplateMeta struct {
	Disabled     bool         `json:"disabled"`
	TemplateData TemplateData `json:"template_data"`
	Path         string       `json:"path"`
	Method       string       `json:"method"`
}

// TransformJQMeta makes a path's body with jq.
type TransformJQMeta struct {
	Filter string `json:"filter"`
	Path   string `json:"path"`
	Method string `json:"method"`
}

// HeaderInjectionMeta changes a path's headers.
type HeaderInjectionMeta struct {
	Disabled      bool              `json:"disabled"`
	DeleteHeaders []string          `json:"delete_headers"`
	AddHeaders    map[string]string `json:"add_headers"`
	Path          string            `json:"path"`
	Method        string            `json:"method"`
	ActOnResponse bool              `json:"act_on"`
}

// HardTimeoutMeta is how long a path may take.
type HardTimeoutMeta struct {
	Disabled        bool             `json:"disabled"`
	Path            string           `json:"path"`
	Method          string           `json:"method"`
	TimeOut         int              `json:"timeout"` // seconds
	TimeoutDuration ReadableDuration `json:"duration,omitempty"`
}

// CircuitBreakerMeta spares a target that fails.
type CircuitBreakerMeta struct {
	Disabled             bool    `json:"disabled"`
	Path                 string  `json:"path"`
	Method               string  `json:"method"`
	ThresholdPercent     float64 `json:"threshold_percent"`
	Samples              int64   `json:"samples"`
	ReturnToServiceAfter int     `json:"return_to_service_after"` // seconds
	DisableHalfOpenState bool    `json:"disable_half_open_state"`
}

// URLRewriteMeta sends a path elsewhere.
type URLRewriteMeta struct {
	Disabled     bool             `json:"disabled"`
	Path         string           `json:"path"`
	Method       string           `json:"method"`
	MatchPattern string           `json:"match_pattern"`
	RewriteTo    string           `json:"rewrite_to"`
	Triggers     []RoutingTrigger `json:"triggers"`
}

// RoutingTriggerOnType is how many conditions of a trigger must hold.
type RoutingTriggerOnType string

// How many conditions must hold.
const (
	All RoutingTriggerOnType = "all"
	Any RoutingTriggerOnType = "any"
)

// RoutingTrigger sends requests elsewhere under conditions.
type RoutingTrigger struct {
	On        RoutingTriggerOnType  `json:"on"`
	Options   RoutingTriggerOptions `json:"options"`
	RewriteTo string                `json:"rewrite_to"`
}

// RoutingTriggerOptions is the conditions of a trigger.
type RoutingTriggerOptions struct {
	HeaderMatches         map[string]StringRegexMap `json:"header_matches"`
	QueryValMatches       map[string]StringRegexMap `json:"query_val_matches"`
	PathPartMatches       map[string]StringRegexMap `json:"path_part_matches"`
	SessionMetaMatches    map[string]StringRegexMap `json:"session_meta_matches"`
	RequestContextMatches map[string]StringRegexMap `json:"request_context_matches"`
	PayloadMatches        StringRegexMap            `json:"payload_matches"`
}

// StringRegexMap is a pattern, and whether it must not match.
type StringRegexMap struct {
	MatchPattern string `json:"match_rx"`
	Reverse      bool   `json:"reverse"`
}

// VirtualMeta answers a path with JavaScript.
type VirtualMeta struct {
	Disabled             bool       `json:"disabled"`
	ResponseFunctionName string     `json:"response_function_name"`
	FunctionSourceType   SourceMode `json:"function_source_type"`
	FunctionSourceURI    string     `json:"function_source_uri"`
	Path                 string     `json:"path"`
	Method               string     `json:"method"`
	UseSession           bool       `json:"use_session"`
	ProxyOnError         bool       `json:"proxy_on_error"`
}

// RequestSizeMeta limits a path's bodies.
type RequestSizeMeta struct {
	Disabled  bool   `json:"disabled"`
	Path      string `json:"path"`
	Method    string `json:"method"`
	SizeLimit int64  `json:"size_limit"` // bytes
}

// MethodTransformMeta changes a path's method.
type MethodTransformMeta struct {
	Disabled bool   `json:"disabled"`
	Path     string `json:"path"`
	Method   string `json:"method"`
	ToMethod string `json:"to_method"`
}

// TrackEndpointMeta is a path that is recorded, or is not.
type TrackEndpointMeta struct {
	Disabled bool   `json:"disabled"`
	Path     string `json:"path"`
	Method   string `json:"method"`
}

// ValidatePathMeta checks a path's JSON against a schema.
type ValidatePathMeta struct {
	Disabled          bool                   `json:"disabled"`
	Path              string                 `json:"path"`
	Method            string                 `json:"method"`
	Schema            map[string]interface{} `json:"schema"`
	SchemaB64         string                 `json:"schema_b64,omitempty"`
	ErrorResponseCode int                    `json:"error_response_code"`
}

// ValidateRequestMeta checks a path's requests against the OpenAPI document.
type ValidateRequestMeta struct {
	Enabled           bool   `json:"enabled"`
	Path              string `json:"path"`
	Method            string `json:"method"`
	ErrorResponseCode int    `json:"error_response_code"`
}

// InternalMeta is a path that only other APIs of the gateway reach.
type InternalMeta struct {
	Disabled bool   `json:"disabled"`
	Path     string `json:"path"`
	Method   string `json:"method"`
}

// GoPluginMeta is the Go plugin of a path.
type GoPluginMeta struct {
	Disabled   bool   `json:"disabled"`
	Path       string `json:"path"`
	Method     string `json:"method"`
	PluginPath string `json:"plugin_path"`
	SymbolName string `json:"func_name"`
}

// PersistGraphQLMeta makes a GraphQL operation of a path.
type PersistGraphQLMeta struct {
	Path      string                 `json:"path"`
	Method    string                 `json:"method"`
	Operation string                 `json:"operation"`
	Variables map[string]interface{} `json:"variables"`
}

// RateLimitMeta limits a path: Rate requests in Per seconds.
type RateLimitMeta struct {
	Disabled bool    `json:"disabled"`
	Path     string  `json:"path"`
	Method   string  `json:"method"`
	Rate     float64 `json:"rate"`
	Per      float64 `json:"per"`
}
