// Package analytics holds the record of a request that analytics hooks get: a hook changes what is written of it.
package analytics

import "time"

// AnalyticsRecord is what the gateway notes of a request. Its JSON is the gateway's.
type AnalyticsRecord struct {
	Method        string       `json:"method"`
	Host          string       `json:"host"`
	Path          string       `json:"path"`
	RawPath       string       `json:"raw_path"`
	ContentLength int64        `json:"content_length"` // bytes; -1: unknown
	UserAgent     string       `json:"user_agent"`
	Day           int          `json:"day"`
	Month         time.Month   `json:"month"`
	Year          int          `json:"year"`
	Hour          int          `json:"hour"`
	ResponseCode  int          `json:"response_code"`
	APIKey        string       `json:"api_key"`
	TimeStamp     time.Time    `json:"timestamp"`
	APIVersion    string       `json:"api_version"`
	APIName       string       `json:"api_name"`
	APIID         string       `json:"api_id"`
	OrgID         string       `json:"org_id"`
	OauthID       string       `json:"oauth_id"`
	RequestTime   int64        `json:"request_time"` // milliseconds
	RawRequest    string       `json:"raw_request"`  // base64 of what was sent, where detailed recording is on
	RawResponse   string       `json:"raw_response"` // likewise
	IPAddress     string       `json:"ip_address"`
	Geo           GeoData      `json:"geo"`
	Network       NetworkStats `json:"network"`
	Latency       Latency      `json:"latency"`
	Tags          []string     `json:"tags"`
	Alias         string       `json:"alias"`
	TrackPath     bool         `json:"track_path"`
	ExpireAt      time.Time    `json:"expireAt"`
	ApiSchema     string       `json:"api_schema"` //nolint:revive // its name is the interface's
	OriginalPath  string       `json:"original_path"`
	ListenPath    string       `json:"listen_path"`
	GraphQLStats  GraphQLStats `json:"graphql_stats"`
	MCPStats      MCPStats     `json:"mcp_stats"`
}

// SetExpiry sets when the record may be dropped, seconds from now; in a hundred years with 0.
func (a *AnalyticsRecord) SetExpiry(expiresInSeconds int64) {
	if expiresInSeconds == 0 {
		a.ExpireAt = time.Now().AddDate(100, 0, 0)
		return
	}
	a.ExpireAt = time.Now().Add(time.Duration(expiresInSeconds) * time.Second)
}

// IsMCPRecord tells whether the request was one of the Model Context Protocol.
func (a *AnalyticsRecord) IsMCPRecord() bool { return a.MCPStats.IsMCP }

// NetworkStats counts connections and bytes.
type NetworkStats struct {
	OpenConnections  int64 `json:"open_connections"`
	ClosedConnection int64 `json:"closed_connections"`
	BytesIn          int64 `json:"bytes_in"`
	BytesOut         int64 `json:"bytes_out"`
}

// Latency is where a request's time went, in milliseconds.
type Latency struct {
	Total    int64 `json:"total"`
	Upstream int64 `json:"upstream"`
	Gateway  int64 `json:"gateway"`
}

// GeoData is where a client's address is.
type GeoData struct {
	Country  Country  `json:"country"`
	City     City     `json:"city"`
	Location Location `json:"location"`
}

// Country of a client.
type Country struct {
	ISOCode string `json:"iso_code"`
}

// City of a client.
type City struct {
	GeoNameID uint              `json:"geoname_id"`
	Names     map[string]string `json:"names"`
}

// Location of a client.
type Location struct {
	Latitude  float64 `json:"latitude"`
	Longitude float64 `json:"longitude"`
	TimeZone  string  `json:"time_zone"`
}

// GraphQLOperations is a kind of GraphQL operation.
type GraphQLOperations int

// Kinds of GraphQL operations.
const (
	OperationUnknown GraphQLOperations = iota
	OperationQuery
	OperationMutation
	OperationSubscription
)

// GraphQLStats is what a GraphQL request asked for.
type GraphQLStats struct {
	Variables     string
	RootFields    []string
	Types         map[string][]string
	Errors        []GraphError
	OperationType GraphQLOperations
	HasErrors     bool
	IsGraphQL     bool
}

// GraphError is an error of a GraphQL response.
type GraphError struct {
	Message string        `json:"message"`
	Path    []interface{} `json:"path"`
}

// MCPStats is what a request of the Model Context Protocol asked for.
type MCPStats struct {
	IsMCP         bool   `json:"is_mcp"`
	JSONRPCMethod string `json:"jsonrpc_method"`
	PrimitiveType string `json:"primitive_type"`
	PrimitiveName string `json:"primitive_name"`
}
