package ctx

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/TykTechnologies/tyk/apidef"
	"github.com/TykTechnologies/tyk/internal/clone"
	"github.com/TykTechnologies/tyk/log"
	"github.com/TykTechnologies/tyk/storage"
	"github.com/TykTechnologies/tyk/tykbridge"
	"github.com/TykTechnologies/tyk/user"
)

func init() {
	tykbridge.Value, tykbridge.Settle, tykbridge.Leave = value, settle, leave
}

// document gives the OpenAPI document of a call's API; set by oas.go, where that is compiled.
var document = func(*tykbridge.Call) any { return nil }

// value gives what a call has for a key. Of a key that is none of this package's it must not look at the call: who asks may
// be a goroutine that runs beside the hook.
func value(call *tykbridge.Call, key any) (found any, own bool) {
	named, is := key.(Key)
	if !is {
		return nil, false
	}
	if call.Earlier != nil {
		if put, is := call.Earlier.Values[named]; is {
			return put, true
		}
	}
	switch named {
	case SessionData:
		if session := sessionOf(call); session != nil {
			return session, true
		}
	case AuthToken:
		if call.Token != "" {
			return call.Token, true
		}
	case HashedAuthToken:
		if call.Token != "" {
			return storage.HashKey(call.Token), true
		}
	case Definition:
		if definition := definitionOf(call); definition != nil {
			return definition, true
		}
	case OASDefinition:
		return document(call), true
	default:
		return nil, false
	}
	return nil, true
}

// leave passes on what the hook put into the context. What a session, or a token, is to the next hook the host says.
func leave(call *tykbridge.Call, ctx context.Context) *tykbridge.Left {
	left := &tykbridge.Left{Context: ctx, Values: map[any]any{}}
	for _, key := range []Key{Definition, OASDefinition} {
		known, _ := value(call, key)
		if now := ctx.Value(key); now != known {
			left.Values[key] = now
		} else if call.Earlier != nil && call.Earlier.Values[key] != nil {
			left.Values[key] = now
		}
	}
	return left
}

// settle takes over what the hook put into the context by hand, and a session that it changed in place.
func settle(call *tykbridge.Call, ctx context.Context) {
	call.SessionJSON = nil // nobody is to read it any more, merely to find out that nothing was done
	if session, is := ctx.Value(SessionData).(*user.SessionState); is && session != nil {
		call.SetSession = call.SetSession || session != call.Session || session.IsModified()
		call.Session = session
	}
	now := ctx.Value(UrlRewriteTarget)
	if call.Earlier != nil && now == call.Earlier.Context.Value(UrlRewriteTarget) {
		return // the hook before wrote it, and it was followed then
	}
	switch target := now.(type) {
	case *url.URL:
		if target != nil {
			call.Rewrite = target.String()
		}
	case string:
		call.Rewrite = target
	}
}

// ---- Session and token

// GetSession gives the session of the request, nil where there is none. What is changed in it counts once Touch was called.
func GetSession(r *http.Request) *user.SessionState {
	session, _ := r.Context().Value(SessionData).(*user.SessionState)
	return session
}

// sessionOf reads the call's session when it is asked for first.
func sessionOf(call *tykbridge.Call) *user.SessionState {
	if call.Session == nil && call.SessionJSON != nil {
		session := user.NewSessionState()
		if err := json.Unmarshal(call.SessionJSON, session); err != nil {
			panic(fmt.Errorf("ctx.GetSession: the gateway's session cannot be read: %w", err))
		}
		session.KeyID = call.Token
		session.SetKeyHash(storage.HashKey(call.Token))
		call.Session = session
	}
	session, _ := call.Session.(*user.SessionState)
	return session
}

// SetSession makes a session the request's: in auth_check it says that the request is let in. It has the forms of all
// gateways:
//
//	SetSession(r, session, scheduleUpdate)                 // since 3.0
//	SetSession(r, session, scheduleUpdate, hashKey)        // since 4.3
//	SetSession(r, session, token, scheduleUpdate)          // 2.9
//	SetSession(r, session, token, scheduleUpdate, hashKey) // 2.9
//
// token is the key that the session belongs to: without one it is the session's KeyID, else that of the request. With
// scheduleUpdate the session is touched. Panics without a session, and with another form.
func SetSession(r *http.Request, s *user.SessionState, form ...interface{}) {
	if s == nil {
		panic("ctx.SetSession: the session is nil")
	}
	flags := form
	if len(form) > 0 {
		if token, is := form[0].(string); is {
			flags = form[1:]
			s.KeyID = token
		}
	}
	var set [2]bool // scheduleUpdate, hashKey
	for i, one := range flags {
		flag, is := one.(bool)
		if !is || i >= len(set) {
			panic(fmt.Sprintf("ctx.SetSession: %T as argument %d: it is SetSession(r, session, scheduleUpdate), and "+
				"before gateway 3.0 SetSession(r, session, token, scheduleUpdate)", one, 3+len(form)-len(flags)+i))
		}
		set[i] = flag
	}
	if len(flags) == 0 {
		panic("ctx.SetSession: scheduleUpdate is missing: it is SetSession(r, session, scheduleUpdate)")
	}
	if s.KeyID == "" {
		s.KeyID = GetAuthToken(r)
	}
	if s.KeyHashEmpty() {
		if len(flags) == 2 {
			s.SetKeyHash(storage.HashKey(s.KeyID, set[1]))
		} else {
			s.SetKeyHash(storage.HashKey(s.KeyID))
		}
	}
	if set[0] {
		s.Touch()
	}
	call := tykbridge.Of(r.Context())
	if call == nil { // in a test of the plugin's own
		put(r, SessionData, s)
		put(r, AuthToken, s.KeyID)
		return
	}
	call.Session, call.SetSession = s, true
	if s.KeyID != call.Token {
		call.Token, call.SetToken = s.KeyID, true
	}
	if shadowed, _ := r.Context().Value(SessionData).(*user.SessionState); shadowed != s { // by the plugin's own WithValue
		put(r, SessionData, s)
	}
}

func put(r *http.Request, key Key, value interface{}) {
	*r = *r.WithContext(context.WithValue(r.Context(), key, value))
}

// GetAuthToken gives the key or token of the request, "" where there is none.
func GetAuthToken(r *http.Request) string {
	token, _ := r.Context().Value(AuthToken).(string)
	return token
}

// ---- API definitions

type classicKey struct{}

// definitionOf gives the definition that all calls of the API share.
func definitionOf(call *tykbridge.Call) *apidef.APIDefinition {
	if call.Definition == nil {
		return nil
	}
	return call.Definition.Keep(classicKey{}, func() any { return decode(call.Definition) }).(*apidef.APIDefinition)
}

func decode(given *tykbridge.Definition) *apidef.APIDefinition {
	definition := new(apidef.APIDefinition)
	switch {
	case given.Classic != nil:
		if err := json.Unmarshal(given.Classic, definition); err != nil {
			log.Get().WithError(err).Error("ctx.GetDefinition: the API definition cannot be read")
			return nil
		}
	case given.OAS != nil || given.Spec == nil:
		return nil // of an API in OpenAPI form there is none, as in the gateway
	default: // a host that knows no more of the API than this
		definition.APIID, definition.OrgID = given.Spec["APIID"], given.Spec["OrgID"]
		if data := given.Spec["config_data"]; data != "" {
			if err := json.Unmarshal([]byte(data), &definition.ConfigData); err != nil {
				log.Get().WithError(err).Error("ctx.GetDefinition: config_data cannot be read")
			}
		}
	}
	if definition.Proxy.StructuredTargetList == nil {
		definition.Proxy.StructuredTargetList = apidef.NewHostListFromList(definition.Proxy.Targets)
	}
	return definition
}

// GetDefinition gives the API's definition in its classic form, nil for an API in OpenAPI form. It is a copy: the plugin may
// change it, and nobody else sees that.
func GetDefinition(r *http.Request) *apidef.APIDefinition {
	definition, _ := r.Context().Value(Definition).(*apidef.APIDefinition)
	return clone.Of(definition)
}

// SetDefinition has GetDefinition give another definition from here on, in this hook. For tests of plugins.
func SetDefinition(r *http.Request, s *apidef.APIDefinition) { put(r, Definition, s) }
