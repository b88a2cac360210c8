// The hook of chain_go: it adds a header, as those of the other chains do.
package main

import "net/http"

// AddHeader adds a header to the request that goes to the upstream.
func AddHeader(rw http.ResponseWriter, r *http.Request) {
	r.Header.Set("X-Added", "by the hook")
}

func main() {}
