package ctx_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/TykTechnologies/tyk/apidef"
	"github.com/TykTechnologies/tyk/ctx"
	"github.com/TykTechnologies/tyk/internal/fakehost"
	"github.com/TykTechnologies/tyk/tykbridge"
	"github.com/TykTechnologies/tyk/user"
)

// request is one that a hook gets in a call.
func request(call *tykbridge.Call) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/a", nil)
	return r.WithContext(tykbridge.With(r.Context(), call))
}

// settled tells what the host is sent.
func settled(t *testing.T, call *tykbridge.Call, r *http.Request) string {
	t.Helper()
	tykbridge.Settle(call, r.Context())
	if !call.SetSession {
		return ""
	}
	data, err := json.Marshal(call.Session)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestThereMayBeNoSession(t *testing.T) {
	call := &tykbridge.Call{}
	r := request(call)
	if ctx.GetSession(r) != nil || ctx.GetAuthToken(r) != "" || ctx.GetDefinition(r) != nil || r.Context().Value(ctx.OASDefinition) != nil {
		t.Fatal("there is something of nothing")
	}
	if settled(t, call, r) != "" {
		t.Fatal("a session out of nothing")
	}
}

func TestTheGatewaysSession(t *testing.T) {
	fakehost.Connect(`{"hash_keys": true}`)
	call := &tykbridge.Call{Token: "hello", SessionJSON: []byte(`{"alias": "ada", "rate": 5, "meta_data": {"a": "b"}}`)}
	r := request(call)
	session := ctx.GetSession(r)
	if session.Alias != "ada" || session.Rate != 5 || session.MetaData["a"] != "b" || session.KeyID != "hello" {
		t.Fatalf("%+v", session)
	}
	if session != ctx.GetSession(r) {
		t.Fatal("two sessions of one request")
	}
	if session.KeyHash() != "248bfa47" || r.Context().Value(ctx.HashedAuthToken) != "248bfa47" {
		t.Fatal(session.KeyHash())
	}
	session.Alias = "eve"
	if sent := settled(t, call, r); sent != "" {
		t.Fatalf("sent without Touch: %s", sent)
	}
	session.Touch()
	if sent := settled(t, call, r); !strings.Contains(sent, `"alias":"eve"`) {
		t.Fatal(sent)
	}
}

func TestASessionThatNobodyAskedForIsNotRead(t *testing.T) {
	call := &tykbridge.Call{SessionJSON: []byte(`{broken`)}
	if settled(t, call, request(call)) != "" {
		t.Fatal("sent")
	}
}

func TestEveryFormOfSetSession(t *testing.T) {
	for _, one := range []struct {
		form    []interface{}
		token   string
		touched bool
	}{
		{[]interface{}{true}, "came", true},
		{[]interface{}{false}, "came", false},
		{[]interface{}{true, true}, "came", true},
		{[]interface{}{"mine", true}, "mine", true},
		{[]interface{}{"", false}, "came", false},
		{[]interface{}{"mine", false, true}, "mine", false},
	} {
		call := &tykbridge.Call{Token: "came"}
		r, session := request(call), &user.SessionState{Alias: "ada"}
		ctx.SetSession(r, session, one.form...)
		if ctx.GetSession(r) != session || ctx.GetAuthToken(r) != one.token || session.KeyID != one.token ||
			session.IsModified() != one.touched || call.SetToken != (one.token == "mine") || session.KeyHashEmpty() {
			t.Fatalf("%v: %+v, %+v", one.form, call, session)
		}
		if sent := settled(t, call, r); sent != `{"alias":"ada"}` {
			t.Fatal(sent)
		}
	}
}

func TestOtherFormsOfSetSessionSayWhatIsWrong(t *testing.T) {
	for _, form := range [][]interface{}{{}, {"token"}, {1}, {true, "token"}, {true, true, true}} {
		func() {
			defer func() {
				if said, _ := recover().(string); !strings.HasPrefix(said, "ctx.SetSession: ") {
					t.Fatalf("%v: %q", form, said)
				}
			}()
			ctx.SetSession(request(&tykbridge.Call{}), &user.SessionState{}, form...)
		}()
	}
	defer func() {
		if recover() == nil {
			t.Fatal("a nil session was set")
		}
	}()
	ctx.SetSession(request(&tykbridge.Call{}), nil, true)
}

func TestPluginsCanBeTestedWithoutAGateway(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	session := &user.SessionState{KeyID: "k"}
	ctx.SetSession(r, session, true)
	ctx.SetDefinition(r, &apidef.APIDefinition{Name: "a"})
	if ctx.GetSession(r) != session || ctx.GetAuthToken(r) != "k" || ctx.GetDefinition(r).Name != "a" {
		t.Fatal("not what was set")
	}
}

func TestWhatIsPutIntoTheContextByHand(t *testing.T) {
	call := &tykbridge.Call{SessionJSON: []byte(`{}`)}
	r := request(call)
	first := ctx.GetSession(r)
	target, _ := url.Parse("https://elsewhere/b?c=d")
	by := context.WithValue(r.Context(), ctx.SessionData, &user.SessionState{Alias: "mine"})
	*r = *r.WithContext(context.WithValue(by, ctx.UrlRewriteTarget, target))
	if ctx.GetSession(r) == first || ctx.GetSession(r).Alias != "mine" {
		t.Fatal("the session is not the one of the context")
	}
	if sent := settled(t, call, r); sent != `{"alias":"mine"}` || call.Rewrite != "https://elsewhere/b?c=d" {
		t.Fatal(sent, call.Rewrite)
	}
	ctx.SetSession(r, &user.SessionState{Alias: "last"}, true)
	if sent := settled(t, call, r); sent != `{"alias":"last"}` {
		t.Fatal(sent)
	}
}

const classic = `{"name": "A", "api_id": "a1", "org_id": "o1", "proxy": {"listen_path": "/a/", "target_list": ["h1", "h2"]},
	"config_data": {"k": {"n": [1, 2]}}, "new_in_gateway_9": {"x": 1}}`

func TestDefinitionsAreCopies(t *testing.T) {
	call := &tykbridge.Call{Definition: &tykbridge.Definition{Classic: json.RawMessage(classic)}}
	r := request(call)
	definition := ctx.GetDefinition(r)
	if definition.Name != "A" || definition.APIID != "a1" || definition.OrgID != "o1" || definition.Proxy.ListenPath != "/a/" ||
		definition.Proxy.StructuredTargetList.Len() != 2 {
		t.Fatalf("%+v", definition)
	}
	var running sync.WaitGroup // with -race: nobody writes to what others read
	for i := 0; i < 4; i++ {
		running.Add(1)
		go func() {
			defer running.Done()
			own := ctx.GetDefinition(request(call))
			own.ConfigData["k"].(map[string]interface{})["n"].([]interface{})[0] = "changed"
			own.ConfigData["new"] = true
			own.Proxy.Targets[0] = "changed"
		}()
	}
	running.Wait()
	again, _ := json.Marshal(ctx.GetDefinition(r))
	if strings.Contains(string(again), "changed") || !strings.Contains(string(again), `"new_in_gateway_9":{"x":1}`) {
		t.Fatalf("%s", again)
	}
	if r.Context().Value(ctx.Definition) != r.Context().Value(ctx.Definition) {
		t.Fatal("the shared one is read twice")
	}
}

func TestAHostThatKnowsOnlyTheSpec(t *testing.T) {
	r := request(&tykbridge.Call{Definition: &tykbridge.Definition{
		Spec: map[string]string{"APIID": "a1", "OrgID": "o1", "config_data": `{"k": "v"}`}}})
	if d := ctx.GetDefinition(r); d.APIID != "a1" || d.OrgID != "o1" || d.ConfigData["k"] != "v" {
		t.Fatalf("%+v", d)
	}
}

func TestDefinitionsThatCannotBeReadAreNoneAndALine(t *testing.T) {
	host := fakehost.Connect("")
	r := request(&tykbridge.Call{Definition: &tykbridge.Definition{Classic: json.RawMessage(`[`)}})
	if ctx.GetDefinition(r) != nil || len(host.Lines()) != 1 {
		t.Fatal("nothing was said")
	}
}
