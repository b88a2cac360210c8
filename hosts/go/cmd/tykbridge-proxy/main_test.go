package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const hook = `
from tyk.decorators import Hook

@Hook
def Hello(request, session, spec):
    request.add_header("X-Greeting", "%s")
    return request, session
`

const definition = `{
  "name": "hello", "api_id": "hello", "org_id": "org", "active": true, "use_keyless": true,
  "proxy": {"listen_path": "/hello/", "target_url": "http://upstream.test/"},
  "custom_middleware": {"driver": "python", "pre": [{"name": "Hello", "path": "hello.py"}]}
}`

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// lines gives each line of a log; wait reads on to the one that ends with the words.
type lines struct{ *bufio.Scanner }

func (l lines) wait(t *testing.T, words string) string {
	t.Helper()
	for l.Scan() {
		if strings.Contains(l.Text(), words) {
			return l.Text()
		}
	}
	t.Fatalf("the log ended without %q", words)
	return ""
}

func TestServesLoadsAgainAndStops(t *testing.T) {
	folder := t.TempDir()
	write(t, filepath.Join(folder, "hello.py"), fmt.Sprintf(hook, "one"))
	write(t, filepath.Join(folder, "hello.json"), definition)
	write(t, filepath.Join(folder, "broken.json"), "{")
	reached, release := make(chan bool), make(chan bool)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/base/hello/slow" {
			reached <- true
			<-release
		}
		io.WriteString(w, r.Header.Get("X-Greeting"))
	}))
	defer upstream.Close()

	out, in := io.Pipe()
	log := lines{bufio.NewScanner(out)}
	ended := make(chan error)
	go func() {
		err := run(context.Background(), []string{
			"-listen", "127.0.0.1:0", "-apis", folder, "-middleware", folder, "-upstream", upstream.URL + "/base",
		}, in)
		in.Close()
		ended <- err
	}()
	log.wait(t, "not in use:")
	log.wait(t, "broken.json")
	address := "http://" + strings.Fields(log.wait(t, "listening on"))[4]
	get := func(path string) string {
		response, err := http.Get(address + path)
		if err != nil {
			return err.Error()
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		return fmt.Sprint(response.StatusCode, " ", string(body))
	}
	check := func(path, expected string) {
		t.Helper()
		if got := get(path); got != expected {
			t.Errorf("%s: got %q, expected %q", path, got, expected)
		}
	}
	check("/hello/x", "200 one")

	write(t, filepath.Join(folder, "hello.py"), fmt.Sprintf(hook, "two"))
	syscall.Kill(os.Getpid(), syscall.SIGHUP)
	log.wait(t, "was loaded again")
	check("/hello/x", "200 two")

	write(t, filepath.Join(folder, "hello.py"), "not = Python")
	syscall.Kill(os.Getpid(), syscall.SIGHUP)
	log.wait(t, "not in use or as before:")
	log.wait(t, "hello.py:1")
	check("/hello/x", "200 two")

	slow := make(chan string)
	go func() { slow <- get("/hello/slow") }()
	<-reached
	syscall.Kill(os.Getpid(), syscall.SIGTERM)
	log.wait(t, "stopping")
	go io.Copy(io.Discard, out)
	release <- true
	if got := <-slow; got != "200 two" {
		t.Errorf("the request on its way: %q", got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestWatchesFiles(t *testing.T) {
	folder := t.TempDir()
	write(t, filepath.Join(folder, "hello.py"), fmt.Sprintf(hook, "one"))
	write(t, filepath.Join(folder, "hello.json"), definition)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Header.Get("X-Greeting"))
	}))
	defer upstream.Close()

	out, in := io.Pipe()
	log := lines{bufio.NewScanner(out)}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() {
		ended <- run(ctx, []string{
			"-listen", "127.0.0.1:0", "-apis", folder, "-middleware", folder, "-upstream", upstream.URL, "-watch",
		}, in)
	}()
	address := strings.Fields(log.wait(t, "listening on"))[4]
	go io.Copy(io.Discard, out)
	answer := func() string {
		response, err := http.Get("http://" + address + "/hello/")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		return string(body)
	}
	if got := answer(); got != "one" {
		t.Errorf("before a change: %q", got)
	}
	write(t, filepath.Join(folder, "hello.py"), fmt.Sprintf(hook, "two"))
	for limit := time.Now().Add(time.Minute); answer() != "two"; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("the change was not loaded")
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestWhatIsWrongIsTold(t *testing.T) {
	folder := t.TempDir()
	for words, args := range map[string][]string{
		"-upstream":     {"-upstream", "127.0.0.1:1"},
		"-max-calls":    {"-upstream", "http://h", "-max-calls", "0"},
		"no arguments":  {"-upstream", "http://h", "apis"},
		"nowhere":       {"-upstream", "http://h", "-apis", filepath.Join(folder, "nowhere")},
		"see the usage": {"-no-such-flag"},
		"listen":        {"-upstream", "http://h", "-apis", folder, "-listen", "no address"},
	} {
		if err := run(context.Background(), args, io.Discard); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%v: %v", args, err)
		}
	}
}
