// Says of which version it is and whose request it has.
package main

import "net/http"

// Written over in what was built, so that each version takes no build.
const version = "@000000@"

// Before puts it on the request.
func Before(rw http.ResponseWriter, r *http.Request) {
	r.Header.Set("X-Go", version[1:7]+" "+r.Header.Get("X-Id"))
}

// Answer puts it on the response.
func Answer(rw http.ResponseWriter, res *http.Response, r *http.Request) {
	res.Header.Set("X-Answer", version[1:7]+" "+r.Header.Get("X-Id"))
}

func main() {}
