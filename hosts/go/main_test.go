package tykbridge

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// What plugins said to the host.
type heard struct {
	sync.Mutex
	logs, events []string
	data         map[string]string
}

var told = &heard{data: map[string]string{}}

func (h *heard) host() Host {
	return Host{
		Log: func(level, message string) {
			h.Lock()
			defer h.Unlock()
			h.logs = append(h.logs, level+": "+message)
		},
		TriggerEvent: func(name, payload string) {
			h.Lock()
			defer h.Unlock()
			h.events = append(h.events, name+": "+payload)
		},
		StoreData: func(key, value string, ttl time.Duration) {
			h.Lock()
			defer h.Unlock()
			h.data[key] = fmt.Sprintf("%s for %s", value, ttl)
		},
		GetData: func(key string) string {
			h.Lock()
			defer h.Unlock()
			return h.data[key]
		},
	}
}

func (h *heard) forget() {
	h.Lock()
	defer h.Unlock()
	h.logs, h.events = nil, nil
}

// names are the events' names.
func (h *heard) names() []string {
	h.Lock()
	defer h.Unlock()
	names := []string{}
	for _, event := range h.events {
		name, _, _ := strings.Cut(event, ": ")
		names = append(names, name)
	}
	return names
}

func (h *heard) log() string {
	h.Lock()
	defer h.Unlock()
	return strings.Join(h.logs, "\n")
}

const notStarted = "TYKGO_NOT_STARTED"

func TestMain(m *testing.M) {
	if os.Getenv(notStarted) == "" {
		if err := Init(); err != nil {
			log.Fatal(err)
		}
		SetHost(told.host())
	}
	os.Exit(m.Run())
}

// again runs the test that calls it in a process of its own, and gives what that prints.
func again(t *testing.T, environment ...string) string {
	t.Helper()
	command := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
	command.Env = append(os.Environ(), environment...)
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// alone runs the test that calls it in a process of its own: sessions and counters of no other test are in the library
// then. It is false in the process that starts the other.
func alone(t *testing.T, environment ...string) bool {
	t.Helper()
	if os.Getenv("TYKGO_ALONE") != "" {
		return true
	}
	again(t, append(environment, "TYKGO_ALONE=1")...)
	return false
}

func isStatus(err error, status Status) bool { return errors.Is(err, status) }

// load loads definitions: a keyless API for each id, with the hooks named by phase, and a domain if it is named.
func load(t testing.TB, apis map[string]map[string]string) {
	t.Helper()
	folder := t.TempDir()
	middleware, err := filepath.Abs("testdata/middleware.py")
	if err != nil {
		t.Fatal(err)
	}
	for id, phases := range apis {
		section := map[string]any{"driver": "python"}
		for phase, hook := range phases {
			if phase == "domain" {
				continue
			}
			section[phase] = []any{map[string]any{"name": hook, "path": middleware}}
		}
		definition, err := json.Marshal(map[string]any{
			"name": id, "api_id": id, "org_id": "org", "active": true, "use_keyless": true,
			"proxy":             map[string]any{"listen_path": "/" + id + "/", "target_url": "http://upstream.test/"},
			"custom_middleware": section, "domain": phases["domain"],
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, id+".json"), definition, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	problems, err := LoadConfiguration(Configuration{Source: folder})
	if problems != "" || err != nil {
		t.Fatal(problems, err)
	}
	told.forget()
}

func TestVersionIsTheLibrarys(t *testing.T) {
	if !strings.HasPrefix(Version(), "0.") {
		t.Error(Version())
	}
}
