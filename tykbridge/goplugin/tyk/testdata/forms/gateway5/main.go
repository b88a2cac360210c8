// Package main has the forms of gateway 5: the package header, a connection handler, touched sessions, response hooks.
package main

import (
	"context"
	"net/http"
	"net/url"

	"github.com/TykTechnologies/tyk/config"
	"github.com/TykTechnologies/tyk/ctx"
	"github.com/TykTechnologies/tyk/header"
	"github.com/TykTechnologies/tyk/log"
	"github.com/TykTechnologies/tyk/regexp"
	"github.com/TykTechnologies/tyk/storage"
	"github.com/TykTechnologies/tyk/user"
)

func open(ctx context.Context) *storage.RedisCluster {
	rc := storage.NewConnectionHandler(ctx)
	go rc.Connect(ctx, nil, &config.Config{})
	rc.WaitConnect(ctx)
	handler := &storage.RedisCluster{KeyPrefix: "mine:", ConnectionHandler: rc}
	handler.Connect()
	return handler
}

// Count is a post_key_auth.
func Count(_ http.ResponseWriter, r *http.Request) {
	session := ctx.GetSession(r)
	if session.IsModified() {
		return
	}
	limit := user.APILimit{RateLimit: user.RateLimit{Rate: 1, Per: 1}, QuotaMax: 5}
	session.AccessRights = map[string]user.AccessDefinition{"a": {Limit: limit}}
	session.Touch()
	if _, err := open(r.Context()).Lock("k", 0); err != nil {
		log.Get().Error(err)
	}
	if regexp.MustCompile("^/old").MatchString(r.URL.Path) {
		target, _ := url.Parse("http://elsewhere/new")
		*r = *r.WithContext(context.WithValue(r.Context(), ctx.UrlRewriteTarget, target))
	}
}

// Answer is a response hook.
func Answer(_ http.ResponseWriter, res *http.Response, req *http.Request) {
	res.Header.Set(header.XInitialURI, req.URL.RequestURI())
	if session, ok := req.Context().Value(ctx.SessionData).(*user.SessionState); ok {
		res.Header.Set(header.XSessionAlias, session.Alias)
	}
}

func main() {}
