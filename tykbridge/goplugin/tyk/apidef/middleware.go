package apidef

// MiddlewareDriver runs plugins of one language.
type MiddlewareDriver string

// Drivers.
const (
	OttoDriver       MiddlewareDriver = "otto"
	JavaScriptDriver MiddlewareDriver = "javascript"
	PythonDriver     MiddlewareDriver = "python"
	LuaDriver        MiddlewareDriver = "lua"
	GrpcDriver       MiddlewareDriver = "grpc"
	GoPluginDriver   MiddlewareDriver = "goplugin"
)

// IdExtractorSource is where an id extractor looks.
type IdExtractorSource string //nolint:revive // its name is the interface's

// Sources of id extractors.
const (
	BodySource        IdExtractorSource = "body"
	HeaderSource      IdExtractorSource = "header"
	QuerystringSource IdExtractorSource = "querystring"
	FormSource        IdExtractorSource = "form"
)

// IdExtractorType is how an id extractor takes an id out of what it finds.
type IdExtractorType string //nolint:revive // likewise

// Types of id extractors.
const (
	ValueExtractor IdExtractorType = "value"
	XPathExtractor IdExtractorType = "xpath"
	RegexExtractor IdExtractorType = "regex"
)

// MiddlewareSection is the plugins of an API.
type MiddlewareSection struct {
	Pre         []MiddlewareDefinition `json:"pre"`
	Post        []MiddlewareDefinition `json:"post"`
	PostKeyAuth []MiddlewareDefinition `json:"post_key_auth"`
	AuthCheck   MiddlewareDefinition   `json:"auth_check"`
	TrafficLogs MiddlewareDefinition   `json:"traffic_logs"`
	Response    []MiddlewareDefinition `json:"response"`
	Driver      MiddlewareDriver       `json:"driver"`
	IdExtractor MiddlewareIdExtractor  `json:"id_extractor"` //nolint:revive // likewise
}

// MiddlewareDefinition is one plugin.
type MiddlewareDefinition struct {
	Disabled       bool   `json:"disabled"`
	Name           string `json:"name"`
	Path           string `json:"path"`
	Code           string `json:"code,omitempty"`
	RequireSession bool   `json:"require_session"`
	RawBodyOnly    bool   `json:"raw_body_only"`
}

// MiddlewareIdExtractor is the id extractor of an API.
type MiddlewareIdExtractor struct { //nolint:revive // likewise
	Disabled        bool                   `json:"disabled"`
	ExtractFrom     IdExtractorSource      `json:"extract_from"`
	ExtractWith     IdExtractorType        `json:"extract_with"`
	ExtractorConfig map[string]interface{} `json:"extractor_config"`
}

// BundleManifest is the manifest.json of a bundle.
type BundleManifest struct {
	FileList         []string          `json:"file_list"`
	CustomMiddleware MiddlewareSection `json:"custom_middleware"`
	Checksum         string            `json:"checksum"`
	Signature        string            `json:"signature"`
}

// AnalyticsPluginConfig is the plugin that records go through.
type AnalyticsPluginConfig struct {
	Enabled    bool   `json:"enable,omitempty"`
	PluginPath string `json:"plugin_path,omitempty"`
	FuncName   string `json:"func_name,omitempty"`
}

// ResponseProcessor is a step that responses go through.
type ResponseProcessor struct {
	Name    string      `json:"name"`
	Options interface{} `json:"options"`
}

// TykEvent is the name of an event.
type TykEvent string

// TykEventHandlerName is the name of a kind of event handler.
type TykEventHandlerName string

// EventHandlerMetaConfig is the event handlers of an API.
type EventHandlerMetaConfig struct {
	Events map[TykEvent][]EventHandlerTriggerConfig `json:"events"`
}

// EventHandlerTriggerConfig is one event handler.
type EventHandlerTriggerConfig struct {
	Handler     TykEventHandlerName    `json:"handler_name"`
	HandlerMeta map[string]interface{} `json:"handler_meta"`
}
