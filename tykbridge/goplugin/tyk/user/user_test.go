package user_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/TykTechnologies/tyk/user"
)

func TestASessionsJSONIsTheGateways(t *testing.T) {
	text := `{"rate":5,"per":60,"expires":1700000000,"quota_max":-1,"access_rights":{"a1":{"api_name":"A","api_id":"a1",` +
		`"versions":["Default"],"allowed_urls":[{"url":"/x","methods":["GET"]}],"limit":{"rate":1,"quota_max":7}}},` +
		`"org_id":"o1","apply_policies":["p1"],"basic_auth_data":{"password":"p","hash_type":"bcrypt"},` +
		`"jwt_data":{"secret":"s"},"hmac_string":"h","monitor":{"trigger_limits":[80]},` +
		`"meta_data":{"k":"v","n":1},"tags":["t"],"alias":"ada","id_extractor_deadline":9}`
	var session user.SessionState
	if err := json.Unmarshal([]byte(text), &session); err != nil {
		t.Fatal(err)
	}
	written, err := json.Marshal(session)
	if err != nil {
		t.Fatal(err)
	}
	var before, after map[string]interface{}
	_ = json.Unmarshal([]byte(text), &before)
	_ = json.Unmarshal(written, &after)
	for key, value := range before { // a toolchain before Go 1.24 writes zeros, too
		if key != "access_rights" && !reflect.DeepEqual(after[key], value) {
			t.Errorf("%s was %v and is %v", key, value, after[key])
		}
	}
	if right := session.AccessRights["a1"]; right.Limit.Rate != 1 || right.Limit.QuotaMax != 7 || right.AllowedURLs[0].Methods[0] != "GET" {
		t.Errorf("%+v", right)
	}
	if session.HmacSecret != "h" {
		t.Error("hmac_string is not HmacSecret")
	}
	if most, _, _, _ := session.GetQuotaLimitByAPIID("a1"); most != 7 {
		t.Error(most)
	}
	if most, _, _, _ := session.GetQuotaLimitByAPIID("a2"); most != -1 {
		t.Error(most)
	}
}

func TestTouching(t *testing.T) {
	session := user.NewSessionState()
	if session.IsModified() || session.IsRestored() || session.IsBasicAuth() {
		t.Fatal("a new session is not new")
	}
	session.Touch()
	session.MarkAsRestored()
	if !session.IsModified() || !session.IsRestored() {
		t.Fatal("not touched, or not restored")
	}
	session.Reset()
	session.MarkAsNew()
	if session.IsModified() || session.IsRestored() {
		t.Fatal("still touched, or restored")
	}
}

func TestPolicies(t *testing.T) {
	session := &user.SessionState{ApplyPolicyID: "old"}
	if !reflect.DeepEqual(session.PolicyIDs(), []string{"old"}) {
		t.Fatal(session.PolicyIDs())
	}
	session.SetPolicies("a", "b", "b")
	for _, one := range []struct {
		ids   []string
		equal bool
	}{{[]string{"b", "a", "b"}, true}, {[]string{"a", "b", "a"}, false}, {[]string{"a", "b"}, false}} {
		if session.PoliciesEqualTo(one.ids) != one.equal {
			t.Error(one.ids)
		}
	}
}

func TestAKeyHashThatNobodySetPanics(t *testing.T) {
	session := &user.SessionState{}
	defer func() {
		if recover() == nil {
			t.Fatal("there is one")
		}
	}()
	session.KeyHash()
}

func TestClonesShareNothing(t *testing.T) {
	session := user.SessionState{MetaData: map[string]interface{}{"k": "v"}, Tags: []string{"t"}}
	other := session.Clone()
	other.MetaData["k"], other.Tags[0] = "changed", "changed"
	if session.MetaData["k"] != "v" || session.Tags[0] != "t" {
		t.Fatalf("%+v", session)
	}
}

func TestLimits(t *testing.T) {
	if !(user.APILimit{}).IsEmpty() || (user.APILimit{QuotaMax: 1}).IsEmpty() || (user.APILimit{RateLimit: user.RateLimit{Rate: 1}}).IsEmpty() {
		t.Fatal("empty is not empty, or the other way round")
	}
	if (user.RateLimit{Rate: 2, Per: 1}).Duration().Milliseconds() != 500 {
		t.Fatal("two in a second are not half a second apart")
	}
}

func TestWhatSessionsHadInGateway2(t *testing.T) {
	session := &user.SessionState{}
	session.SetMetaDataKey("k", "v")
	session.SetAccessRight("a1", user.AccessDefinition{APIID: "a1"})
	value, found := session.GetMetaDataByKey("k")
	right, granted := session.GetAccessRightByAPIID("a1")
	if value != "v" || !found || right.APIID != "a1" || !granted || len(session.GetMetaData()) != 1 || len(session.GetAccessRights()) != 1 {
		t.Fatalf("%+v", session)
	}
	session.RemoveMetaData("k")
	if len(session.MetaData) != 0 {
		t.Fatal("not removed")
	}
}
