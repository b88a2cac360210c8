// Package regexp is Go's, under the name by which the gateway's own code imports it.
package regexp

import "regexp"

// Regexp is Go's.
type Regexp = regexp.Regexp

// Compile is Go's.
func Compile(expr string) (*Regexp, error) { return regexp.Compile(expr) }

// CompilePOSIX is Go's.
func CompilePOSIX(expr string) (*Regexp, error) { return regexp.CompilePOSIX(expr) }

// MustCompile is Go's.
func MustCompile(expr string) *Regexp { return regexp.MustCompile(expr) }

// MustCompilePOSIX is Go's.
func MustCompilePOSIX(expr string) *Regexp { return regexp.MustCompilePOSIX(expr) }

// MatchString is Go's.
func MatchString(pattern, s string) (bool, error) { return regexp.MatchString(pattern, s) }

// Match is Go's.
func Match(pattern string, b []byte) (bool, error) { return regexp.Match(pattern, b) }

// QuoteMeta is Go's.
func QuoteMeta(s string) string { return regexp.QuoteMeta(s) }
