// Package analytics is github.com/TykTechnologies/tyk/analytics, under the name by which analytics hooks import it.
package analytics

import "github.com/TykTechnologies/tyk/analytics"

// What github.com/TykTechnologies/tyk/analytics says of them.
type (
	AnalyticsRecord   = analytics.AnalyticsRecord
	City              = analytics.City
	Country           = analytics.Country
	GeoData           = analytics.GeoData
	GraphError        = analytics.GraphError
	GraphQLOperations = analytics.GraphQLOperations
	GraphQLStats      = analytics.GraphQLStats
	Latency           = analytics.Latency
	Location          = analytics.Location
	MCPStats          = analytics.MCPStats
	NetworkStats      = analytics.NetworkStats
)

// Kinds of GraphQL operations.
const (
	OperationUnknown      = analytics.OperationUnknown
	OperationQuery        = analytics.OperationQuery
	OperationMutation     = analytics.OperationMutation
	OperationSubscription = analytics.OperationSubscription
)
