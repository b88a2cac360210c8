// Package ctx is what a plugin knows of the request that it was called for: session, token and API definition.
package ctx

// Key is the key of a value of a request's context.
type Key uint

// Keys of a request's context. SessionData, AuthToken, HashedAuthToken, Definition and OASDefinition have values here, and
// UrlRewriteTarget may be set; the others are the gateway's own matter, and have none.
const (
	SessionData Key = iota
	UpdateSession
	AuthToken
	HashedAuthToken
	VersionData
	VersionName
	VersionDefault
	OrgSessionContext
	ContextData
	RetainHost
	TrackThisEndpoint
	DoNotTrackThisEndpoint
	UrlRewritePath //nolint:revive // its name is the interface's
	InternalRedirectTarget
	RequestMethod
	OrigRequestURL
	LoopLevel
	LoopLevelLimit
	ThrottleLevel
	ThrottleLevelLimit
	Trace
	CheckLoopLimits
	UrlRewriteTarget //nolint:revive // likewise
	TransformedRequestMethod
	Definition
	RequestStatus
	GraphQLRequest
	GraphQLIsWebSocketUpgrade
	OASOperation
	CacheOptions
	OASDefinition
	SelfLooping
	RequestStartTime
	ErrorClassification
	JsonRPCRouting //nolint:revive // likewise
	JSONRPCRequest
	JSONRPCRoutingState
	MCPRouting
	OriginalRequestPath
	MCPMethod
	MCPPrimitiveType
	MCPPrimitiveName
	JSONRPCErrorCode
)
