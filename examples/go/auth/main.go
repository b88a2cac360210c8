// A plugin that decides who a client is: the hook of auth_check.
package main

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"

	"github.com/TykTechnologies/tyk/ctx"
	"github.com/TykTechnologies/tyk/log"
	"github.com/TykTechnologies/tyk/user"
)

var logger = log.Get()

// Whose key has which sum: a real plugin holds sums alone, and has them from config_data.
var clients = map[string][sha256.Size]byte{
	"ada": sha256.Sum256([]byte("let-me-in")),
}

// Authenticate lets in who has a key, with a session that allows 10 requests a minute.
func Authenticate(rw http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("X-Key")
	sum := sha256.Sum256([]byte(key))
	for name, known := range clients {
		if subtle.ConstantTimeCompare(sum[:], known[:]) == 1 {
			session := &user.SessionState{KeyID: key, Alias: name, Rate: 10, Per: 60, Tags: []string{"go"}}
			if definition := ctx.GetDefinition(r); definition != nil {
				session.OrgID = definition.OrgID
			}
			ctx.SetSession(r, session, true)
			return
		}
	}
	logger.WithField("path", r.URL.Path).Warning("a key that nobody has")
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(http.StatusForbidden)
	rw.Write([]byte(`{"error": "who are you?"}`))
}

func main() {}
