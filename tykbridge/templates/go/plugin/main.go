// Greets whoever calls: one header for the upstream, and one for the client.
package main

import (
	"fmt"
	"net/http"

	"github.com/TykTechnologies/tyk/ctx"
	"github.com/TykTechnologies/tyk/log"
)

var logger = log.Get()

// Greet tells the upstream who calls, in the words of the API's config_data.
func Greet(rw http.ResponseWriter, r *http.Request) {
	name := r.Header.Get("X-Name")
	if name == "" {
		name = "stranger"
	}
	greeting := "Hello"
	if definition := ctx.GetDefinition(r); definition != nil {
		if text, ok := definition.ConfigData["greeting"].(string); ok {
			greeting = text
		}
	}
	r.Header.Set("X-Greeting", fmt.Sprintf("%s, %s", greeting, name))
	logger.Info("greeted " + name)
}

// Sign tells the client whose answer this is.
func Sign(rw http.ResponseWriter, res *http.Response, r *http.Request) {
	res.Header.Set("X-Signed-By", "my-plugin")
}

func main() {}
