// Package main has the forms of gateway 4: a controller for the store, whether the key is hashed, records of analytics.
package main

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/TykTechnologies/tyk/analytics"
	"github.com/TykTechnologies/tyk/config"
	"github.com/TykTechnologies/tyk/ctx"
	tyklog "github.com/TykTechnologies/tyk/log"
	"github.com/TykTechnologies/tyk/storage"
	"github.com/TykTechnologies/tyk/user"
)

var (
	conf  config.Config
	rc    *storage.RedisController
	store storage.RedisCluster
)

func establish() {
	conf = config.Global()
	rc = storage.NewRedisController(context.Background())
	go rc.ConnectToRedis(context.Background(), nil, &conf)
	for i := 0; i < 5 && !rc.Connected(); i++ {
		time.Sleep(10 * time.Millisecond)
	}
	store = storage.RedisCluster{KeyPrefix: "apikey-", HashKeys: conf.HashKeys, RedisController: rc}
}

// Check is an auth_check.
func Check(_ http.ResponseWriter, r *http.Request) {
	establish()
	text, err := store.GetKey(r.Header.Get("Authorization"))
	if err == storage.ErrKeyNotFound {
		tyklog.Get().WithError(err).Warn(storage.HashKey("k", true))
	}
	session := user.NewSessionState()
	_ = json.Unmarshal([]byte(text), session)
	session.SetPolicies("p1", "p2")
	ctx.SetSession(r, session, false, true)
	_ = store.SetKey("k", "v", 60)
	_ = store.DeleteKey("k")
}

// Mask is an analytics hook.
func Mask(record *analytics.AnalyticsRecord) {
	record.RawRequest, record.Tags = "", append(record.Tags, record.APIID)
}

func main() {}
