package main

import "net/http"

// AddFooBarHeader adds a header to the request that goes to the upstream.
func AddFooBarHeader(rw http.ResponseWriter, r *http.Request) {
	r.Header.Add("Foo", "Bar")
}

func main() {}
