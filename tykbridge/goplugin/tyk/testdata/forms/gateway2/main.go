// Package main has the forms of gateway 2.9: a token for SetSession, the package headers, a store without a controller.
package main

import (
	"net/http"
	"sync"

	"github.com/TykTechnologies/tyk/ctx"
	"github.com/TykTechnologies/tyk/headers"
	"github.com/TykTechnologies/tyk/log"
	"github.com/TykTechnologies/tyk/storage"
	"github.com/TykTechnologies/tyk/user"
)

var (
	logger = log.Get()
	store  = storage.RedisCluster{KeyPrefix: "mine:"}
)

// Check is an auth_check.
func Check(rw http.ResponseWriter, r *http.Request) {
	key := r.Header.Get(headers.Authorization)
	if storage.TokenOrg(key) == "" {
		rw.Header().Set(headers.ContentType, headers.ApplicationJSON)
		rw.WriteHeader(http.StatusForbidden)
		return
	}
	session := &user.SessionState{Mutex: &sync.RWMutex{}, OrgID: "default", Alias: storage.HashKey(key)}
	session.SetMetaDataKey("k", "v")
	ctx.SetSession(r, session, key, true)
}

// Count is a post_key_auth.
func Count(_ http.ResponseWriter, r *http.Request) {
	session := ctx.GetSession(r)
	logger.WithField("policies", session.GetPolicyIDs()).Info(session.GetKeyHash(), " of ", storage.IsConnected())
	store.IncrememntWithExpire("mine:"+ctx.GetAuthToken(r), 60)
}

func main() {}
