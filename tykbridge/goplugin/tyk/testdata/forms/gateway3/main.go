// Package main has the forms of gateway 3: SetSession without a token, settings from a function, ConnectToRedis.
package main

import (
	"context"
	"net/http"

	"github.com/TykTechnologies/tyk/apidef"
	"github.com/TykTechnologies/tyk/config"
	"github.com/TykTechnologies/tyk/ctx"
	"github.com/TykTechnologies/tyk/headers"
	"github.com/TykTechnologies/tyk/log"
	"github.com/TykTechnologies/tyk/request"
	"github.com/TykTechnologies/tyk/storage"
	"github.com/TykTechnologies/tyk/user"
)

var logger = log.Get()

func init() {
	go storage.ConnectToRedis(context.Background(), nil)
	logger.WithField("prefix", "mine").Debug(storage.Connected())
}

// Check is an auth_check.
func Check(_ http.ResponseWriter, r *http.Request) {
	session := user.SessionState{
		Rate: 5, Per: 60, QuotaMax: -1, MetaData: map[string]interface{}{"ip": request.RealIP(r)},
		AccessRights: map[string]user.AccessDefinition{"a": {APIName: "A", APIID: "a", Versions: []string{"Default"},
			AllowedURLs: []user.AccessSpec{{URL: "/x", Methods: []string{http.MethodGet}}}}},
	}
	copied := session.Clone()
	ctx.SetSession(r, &copied, true)
	var conf config.Config = config.Global()
	if conf.HashKeys {
		logger.Info(conf.HashKeyFunction, conf.Storage.Host)
	}
}

// Route is a post.
func Route(rw http.ResponseWriter, r *http.Request) {
	var definition *apidef.APIDefinition = ctx.GetDefinition(r)
	limit, _ := definition.ConfigData["limit"].(float64)
	logger.Infof("%s %s %s %f", definition.Name, definition.Proxy.TargetURL, definition.Proxy.ListenPath, limit)
	if len(definition.CustomMiddleware.Pre) == 0 && definition.CustomMiddleware.Driver == apidef.GoPluginDriver {
		http.Error(rw, headers.XTykAuthorization, http.StatusTeapot)
	}
}

func main() {}
