package tykbridge

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// through sends a request through the API "talk", and gives the headers that went on.
func through(t *testing.T, api, name string) http.Header {
	t.Helper()
	r := httptest.NewRequest("GET", "/"+api+"/", nil)
	r.Header.Set("X-Name", name)
	upstream, response, err := new(Middleware).RunRequest(r)
	if err != nil || response != nil {
		t.Fatal(response, err)
	}
	return upstream.Header
}

func TestPluginsReachTheFunctionsThatGoExports(t *testing.T) {
	load(t, map[string]map[string]string{"talk": {"pre": "talk"}})
	header := through(t, "talk", "Ada")
	if header.Get("X-Data") != "value for 1m0s" {
		t.Errorf("X-Data is %q", header.Get("X-Data"))
	}
	if len(told.events) != 1 || told.events[0] != "Spoke: to Ada" {
		t.Errorf("events are %q", told.events)
	}
	if told.log() != "warning: a line" {
		t.Errorf("log is %q", told.log())
	}
}

func TestWithoutFunctionsTheLibraryKeepsData(t *testing.T) {
	load(t, map[string]map[string]string{"talk": {"pre": "talk"}})
	defer SetHost(told.host())
	SetHost(Host{Log: told.host().Log})
	if data := through(t, "talk", "Ada").Get("X-Data"); data != "value" {
		t.Errorf("X-Data is %q", data)
	}
	if len(told.events) != 0 {
		t.Errorf("events are %q", told.events)
	}
}

// What has no function goes to standard error, which only another process sees.
func TestWithoutFunctionsTheLibraryWritesToStandardError(t *testing.T) {
	if os.Getenv("TYKGO_QUIET") != "" {
		load(t, map[string]map[string]string{"talk": {"pre": "talk"}})
		SetHost(Host{})
		through(t, "talk", "Ada")
		return
	}
	out := again(t, "TYKGO_QUIET=1")
	for _, line := range []string{"tykbridge: warning: a line\n", "tykbridge: event Spoke to Ada\n"} {
		if !strings.Contains(out, line) {
			t.Errorf("%q is not in %q", line, out)
		}
	}
}

func TestAPanicOfTheHostStaysInIt(t *testing.T) {
	if os.Getenv("TYKGO_PANIC") != "" {
		load(t, map[string]map[string]string{"talk": {"pre": "talk"}})
		SetHost(Host{
			Log:          func(level, message string) { panic("in Log") },
			TriggerEvent: func(name, payload string) { panic("in TriggerEvent") },
			StoreData:    func(key, value string, ttl time.Duration) { panic("in StoreData") },
			GetData:      func(key string) string { panic("in GetData") },
		})
		for i := 0; i < 3; i++ { // the interpreter is as it was
			if data := through(t, "talk", "Ada").Get("X-Data"); data != "" {
				t.Errorf("X-Data is %q", data)
			}
		}
		return
	}
	out := again(t, "TYKGO_PANIC=1")
	for _, function := range []string{"Log", "TriggerEvent", "StoreData", "GetData"} {
		line := "tykbridge: error: the host's " + function + " panicked: in " + function + "\n"
		if strings.Count(out, line) != 3 {
			t.Errorf("%q is not three times in %q", line, out)
		}
	}
}

// A native host must not end with SIGPIPE when a plugin writes to a socket that was closed: Go's runtime sees to it.
func TestABrokenPipeIsAnErrorOfThePlugin(t *testing.T) {
	load(t, map[string]map[string]string{"pipe": {"pre": "broken_pipe"}})
	if pipe := through(t, "pipe", "").Get("X-Pipe"); pipe != "broken" {
		t.Errorf("X-Pipe is %q", pipe)
	}
}

func TestBeforeInitNothingGoesThrough(t *testing.T) {
	if !alone(t, notStarted+"=1") {
		return
	}
	reached := false
	handler := Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != http.StatusInternalServerError || reached {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if _, err := LoadConfiguration(Configuration{Source: "{}"}); !isStatus(err, NotStarted) {
		t.Error(err)
	}
}

func TestPythonThatIsNotThereIsAnError(t *testing.T) {
	if !alone(t, notStarted+"=1", "TYKBRIDGE_PYTHON=no-such-python") {
		return
	}
	if err := Init(); !isStatus(err, NoPython) || !strings.Contains(err.Error(), "no-such-python") {
		t.Error(err)
	}
}

func TestConfigurationThatIsNotThereChangesNothing(t *testing.T) {
	load(t, map[string]map[string]string{"talk": {"pre": "talk"}})
	_, err := LoadConfiguration(Configuration{Source: "nowhere"})
	if !isStatus(err, NotFound) || !strings.Contains(err.Error(), "nowhere") {
		t.Error(err)
	}
	if _, err := LoadConfiguration(Configuration{}); err == nil {
		t.Error("no source is no error")
	}
	through(t, "talk", "Ada")
}

func TestWhatIsNotInUseIsTold(t *testing.T) {
	problems, err := LoadConfiguration(Configuration{Source: `{"api_id": 1}`})
	if err != nil || !strings.Contains(problems, "api_id") {
		t.Error(problems, err)
	}
}
