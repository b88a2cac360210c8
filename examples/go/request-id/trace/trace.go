// Package trace makes the ids of requests.
package trace

import "github.com/google/uuid"

// Header carries a request's id.
const Header = "X-Request-Id"

// New gives an id that nobody had before.
func New() string { return uuid.NewString() }
