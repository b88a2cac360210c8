// A plugin that needs a module of somebody else's, and has packages of its own.
package main

import (
	"net/http"

	"example.org/request-id/trace"
)

// AddRequestID gives each request an id that can be told from all others.
func AddRequestID(rw http.ResponseWriter, r *http.Request) {
	if r.Header.Get(trace.Header) == "" {
		r.Header.Set(trace.Header, trace.New())
	}
}

func main() {}
