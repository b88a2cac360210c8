package tykbridge

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
)

// proxied starts an upstream and a proxy to it, and gives the proxy's address. Its log is empty at the end, unless the
// test takes it.
func proxied(t *testing.T, m *Middleware, upstream http.HandlerFunc) (string, *lockedBuffer) {
	t.Helper()
	words := new(lockedBuffer)
	m.ErrorLog = log.New(words, "", 0)
	behind := httptest.NewServer(upstream)
	t.Cleanup(behind.Close)
	target, _ := url.Parse(behind.URL)
	front := httptest.NewServer(m.Proxy(target))
	t.Cleanup(func() {
		front.Close()
		if words.String() != "" {
			t.Errorf("in the log: %s", words)
		}
	})
	return front.URL, words
}

type lockedBuffer struct {
	sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.Lock()
	defer b.Unlock()
	return b.Buffer.Write(p)
}

// take gives what was written, and forgets it.
func (b *lockedBuffer) take() string {
	b.Lock()
	defer b.Unlock()
	defer b.Reset()
	return b.Buffer.String()
}

// raw sends bytes as they are and reads one response.
func raw(t *testing.T, address, request string) *http.Response {
	t.Helper()
	connection, err := net.Dial("tcp", strings.TrimPrefix(address, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	if _, err := io.WriteString(connection, request); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

func expect(t *testing.T, what string, got, expected any) {
	t.Helper()
	if !reflect.DeepEqual(got, expected) {
		t.Errorf("%s: got %#v, expected %#v", what, got, expected)
	}
}

func TestWhatNoHookChangesPassesAsItCame(t *testing.T) {
	load(t, map[string]map[string]string{"api": {"pre": "nothing", "response": "size"}})
	address, _ := proxied(t, new(Middleware), func(w http.ResponseWriter, r *http.Request) {
		expect(t, "target", r.RequestURI, "/api/%7e//x?b=2&a=%7e&b=1&&c")
		expect(t, "repeated header", r.Header["X-Many"], []string{"b", "a", "b"})
		expect(t, "header that is not UTF-8", r.Header.Get("X-Latin"), "caf\xe9")
		expect(t, "Host", r.Host, "client.test")
		expect(t, "body", string(drain(t, r.Body)), "\xff\x00body")
		expect(t, "user agent", r.Header["User-Agent"], []string(nil))
		expect(t, "encodings", r.Header["Accept-Encoding"], []string(nil))
		w.Header()["Set-Cookie"] = []string{"b=1", "a=2"}
		w.Header().Set("X-Latin", "caf\xe9")
		w.Write([]byte("\xff\x00answer"))
	})
	response := raw(t, address, "POST /api/%7e//x?b=2&a=%7e&b=1&&c HTTP/1.1\r\nHost: client.test\r\nX-Many: b\r\n"+
		"X-Many: a\r\nX-Latin: caf\xe9\r\nX-Many: b\r\nContent-Length: 6\r\n\r\n\xff\x00body")
	expect(t, "cookies", response.Header["Set-Cookie"], []string{"b=1", "a=2"})
	expect(t, "header that is not UTF-8", response.Header.Get("X-Latin"), "caf\xe9")
	expect(t, "what the hook saw", response.Header.Get("X-Size"), "8")
	expect(t, "body", string(drain(t, response.Body)), "\xff\x00answer")
}

func TestHooksSeeWhatTheUpstreamWillSee(t *testing.T) {
	load(t, map[string]map[string]string{"api": {"pre": "report"}})
	address, _ := proxied(t, new(Middleware), func(w http.ResponseWriter, r *http.Request) {
		expect(t, "url", r.Header.Get("X-Url"), "/api/?a=1%23&b=%E9&c")
		expect(t, "parameters", r.Header.Get("X-Params"), "a=1# b=\ufffd c=")
		expect(t, "a header that is not UTF-8", r.Header.Get("X-Latin"), "caf?")
		expect(t, "size", r.Header.Get("X-Size"), "11")
		expect(t, "body", string(drain(t, r.Body)), "hello world")
	})
	response := raw(t, address, "POST /api/?a=1#&b=\xe9&c HTTP/1.1\r\nHost: h\r\nX-Name: caf\xe9\r\n"+
		"Transfer-Encoding: chunked\r\n\r\n6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n")
	expect(t, "status", response.StatusCode, 200)
}

// "Connection: X-User" asks a proxy to remove X-User. It must not remove the one that a hook has set.
func TestAClientCannotRemoveWhatAHookSets(t *testing.T) {
	load(t, map[string]map[string]string{"api": {"pre": "user"}})
	address, _ := proxied(t, new(Middleware), func(w http.ResponseWriter, r *http.Request) {
		expect(t, "X-User", r.Header["X-User"], []string{"alice"})
		expect(t, "X-Hop", r.Header["X-Hop"], []string(nil))
	})
	response := raw(t, address, "GET /api/ HTTP/1.1\r\nHost: h\r\nConnection: x-user, X-Hop\r\nX-User: mallory\r\n"+
		"X-Hop: 1\r\n\r\n")
	expect(t, "status", response.StatusCode, 200)
}

func TestLargeBodies(t *testing.T) {
	load(t, map[string]map[string]string{"api": {"pre": "nothing", "response": "shout"}})
	large := bytes.Repeat([]byte("0123456789abcdef"), 4<<20/16)
	address, words := proxied(t, &Middleware{BodyLimit: 4 << 20}, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(w, r.Body)
		io.WriteString(w, r.URL.RawQuery)
	})
	response, err := http.Post(address+"/api/", "", bytes.NewReader(large))
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "as large as the limit", bytes.Equal(drain(t, response.Body), bytes.ToUpper(large)), true)

	response, err = http.Post(address+"/api/?x", "", bytes.NewReader(large))
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "a larger response", response.StatusCode, http.StatusBadGateway)
	expect(t, "body", string(drain(t, response.Body)), `{"error":"Bad Gateway"}`)
	expect(t, "in the log", strings.Contains(words.take(), "the response's body is larger"), true)

	response, err = http.Post(address+"/api/", "", io.MultiReader(bytes.NewReader(large), strings.NewReader("x")))
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "a larger request", response.StatusCode, http.StatusRequestEntityTooLarge)
	expect(t, "in the log", strings.Contains(words.take(), "413"), true)
}

func TestFailuresAreClosed(t *testing.T) {
	load(t, map[string]map[string]string{"api": {"pre": "bad_escape"}})
	address, words := proxied(t, new(Middleware), func(w http.ResponseWriter, r *http.Request) {
		t.Error("the request went on")
	})
	for path, status := range map[string]int{"/nowhere/": http.StatusNotFound, "/api/": http.StatusInternalServerError} {
		response, err := http.Get(address + path)
		if err != nil {
			t.Fatal(err)
		}
		expect(t, path, response.StatusCode, status)
		expect(t, "type", response.Header.Get("Content-Type"), "application/json")
		expect(t, "body", string(drain(t, response.Body)), fmt.Sprintf(`{"error":"%s"}`, http.StatusText(status)))
		expect(t, "in the log", strings.Contains(words.take(), fmt.Sprintf(`GET "%s": %d: `, path, status)), true)
	}
}

func TestAnUpstreamThatIsNotThere(t *testing.T) {
	load(t, map[string]map[string]string{"api": {"response": "shout"}})
	closed := httptest.NewServer(nil)
	closed.Close()
	target, _ := url.Parse(closed.URL)
	words := new(lockedBuffer)
	w := httptest.NewRecorder()
	(&Middleware{ErrorLog: log.New(words, "", 0)}).Proxy(target).ServeHTTP(w, httptest.NewRequest("GET", "/api/", nil))
	expect(t, "status", w.Code, http.StatusBadGateway)
	expect(t, "body", w.Body.String(), `{"error":"Bad Gateway"}`)
	expect(t, "in the log", strings.Contains(words.String(), "refused"), true)
}

// The configuration is loaded again while a request is at the upstream, and its API is gone: its response may hold what
// a hook would have taken out.
func TestAResponseWithoutItsAPIDoesNotReachTheClient(t *testing.T) {
	load(t, map[string]map[string]string{"api": {"response": "shout"}})
	address, words := proxied(t, new(Middleware), func(w http.ResponseWriter, r *http.Request) {
		load(t, map[string]map[string]string{"other": {}})
		io.WriteString(w, "secret")
	})
	response, err := http.Get(address + "/api/")
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "status", response.StatusCode, http.StatusInternalServerError)
	expect(t, "body", string(drain(t, response.Body)), `{"error":"Internal Server Error"}`)
	expect(t, "in the log", strings.Contains(words.take(), "TYKB_E_NOT_FOUND"), true)
}

func TestAResponseOfNoRequestIsRefused(t *testing.T) {
	response := &http.Response{StatusCode: 200, Body: http.NoBody, Request: httptest.NewRequest("GET", "/", nil)}
	if err := new(Middleware).RunResponse(response); err == nil {
		t.Error("the response went on")
	}
}

// The library finds an API by host and path. Hooks change them, here to those of another API: the response is of the
// one that ran the request all the same, and its hooks see the request as the upstream got it.
func TestARequestThatWasSentElsewhereHasItsResponseHooks(t *testing.T) {
	load(t, map[string]map[string]string{
		"api":   {"pre": "move", "response": "shout", "domain": "client.test"},
		"moved": {"response": "size", "domain": "moved.test"},
	})
	for _, id := range []string{"", "api"} {
		address, _ := proxied(t, &Middleware{API: id}, func(w http.ResponseWriter, r *http.Request) {
			expect(t, "target", r.RequestURI, "/moved/?q")
			expect(t, "Host", r.Host, "moved.test")
			io.WriteString(w, "body")
		})
		response := raw(t, address, "GET /api/x?q HTTP/1.1\r\nHost: client.test\r\n\r\n")
		expect(t, "body", string(drain(t, response.Body)), "BODY")
		expect(t, "what the hook saw", response.Header["X-Asked"], []string{"moved.test/moved/?q"})
		expect(t, "the other API's hook", response.Header["X-Size"], []string(nil))
	}
}

func TestAHooksAnswerGetsNoGuessedType(t *testing.T) {
	load(t, map[string]map[string]string{"api": {"pre": "markup"}})
	address, _ := proxied(t, new(Middleware), nil)
	response, err := http.Get(address + "/api/")
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "type", response.Header["Content-Type"], []string(nil))
	expect(t, "body", string(drain(t, response.Body)), "<html><script>1</script>")
}

func TestHeadAndEmptyResponses(t *testing.T) {
	load(t, map[string]map[string]string{"api": {"response": "size"}})
	address, _ := proxied(t, new(Middleware), func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "empty" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.Header().Set("Content-Length", "1234")
	})
	response, err := http.Head(address + "/api/")
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "length", response.ContentLength, int64(1234))
	expect(t, "what the hook saw", response.Header.Get("X-Size"), "0")
	response, err = http.Get(address + "/api/?empty")
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "status", response.StatusCode, http.StatusNoContent)
}

func TestTrailersPass(t *testing.T) {
	load(t, map[string]map[string]string{"api": {"pre": "nothing", "response": "shout"}})
	address, _ := proxied(t, new(Middleware), func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		body := drain(t, r.Body)
		expect(t, "request's trailer", r.Trailer.Get("X-Check"), "7")
		w.Write(body)
		w.Header().Set("X-Sum", "9")
	})
	response := raw(t, address, "POST /api/ HTTP/1.1\r\nHost: h\r\nTrailer: X-Check\r\nTransfer-Encoding: chunked\r\n\r\n"+
		"4\r\nbody\r\n0\r\nX-Check: 7\r\n\r\n")
	expect(t, "body", string(drain(t, response.Body)), "BODY")
	expect(t, "response's trailer", response.Trailer.Get("X-Sum"), "9")
}

func TestLengthsAreKnownUnlessTrailersFollow(t *testing.T) {
	load(t, map[string]map[string]string{"api": {"pre": "name", "response": "shout"}})
	for _, trailer := range []http.Header{nil, {"X-Sum": nil}} {
		expected := [2]int64{5, 4}
		if trailer != nil {
			expected = [2]int64{-1, -1}
		}
		r := httptest.NewRequest("POST", "/api/", io.MultiReader(strings.NewReader("body")))
		r.Header.Set("X-Number", "7")
		r.Trailer = trailer
		upstream, _, err := new(Middleware).RunRequest(r)
		if err != nil {
			t.Fatal(err)
		}
		response := &http.Response{
			StatusCode: 200, ContentLength: -1, Body: io.NopCloser(strings.NewReader("body")), Trailer: trailer,
			Request: upstream,
		}
		if err := new(Middleware).RunResponse(response); err != nil {
			t.Fatal(err)
		}
		expect(t, "lengths", [2]int64{upstream.ContentLength, response.ContentLength}, expected)
	}
}

// A form that was parsed before the hooks is not the one that the next handler gets.
func TestTheNextHandlerParsesTheFormThatHooksLeft(t *testing.T) {
	load(t, map[string]map[string]string{"api": {"pre": "ask"}})
	r := httptest.NewRequest("GET", "https://h/api/?a=1", nil)
	expect(t, "before", r.FormValue("asked"), "")
	upstream, _, err := new(Middleware).RunRequest(r)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "after", upstream.FormValue("asked"), "over https")
	expect(t, "the request before", r.URL.RawQuery, "a=1")
}

// After the handshake, which the hooks see, bytes pass both ways untouched.
func TestUpgrade(t *testing.T) {
	load(t, map[string]map[string]string{"api": {"pre": "user", "response": "shout"}})
	address, _ := proxied(t, new(Middleware), func(w http.ResponseWriter, r *http.Request) {
		expect(t, "X-User", r.Header.Get("X-User"), "alice")
		connection, stream, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer connection.Close()
		io.WriteString(connection, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+
			r.Header.Get("Upgrade")+"\r\n\r\n")
		line, _ := stream.ReadString('\n')
		io.WriteString(connection, "you said "+line)
	})
	connection, err := net.Dial("tcp", strings.TrimPrefix(address, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	io.WriteString(connection, "GET /api/ HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n")
	stream := bufio.NewReader(connection)
	response, err := http.ReadResponse(stream, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(response, err)
	}
	io.WriteString(connection, "hello\n")
	line, err := stream.ReadString('\n')
	expect(t, "line", line, "you said hello\n")
	if err != nil {
		t.Error(err)
	}
}

// With SkipResponses the client reads an event before the upstream has sent the next one.
func TestStreams(t *testing.T) {
	load(t, map[string]map[string]string{"api": {"pre": "nothing"}})
	read := make(chan struct{})
	stream := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: 1\n")
		w.(http.Flusher).Flush()
		<-read
		io.WriteString(w, "data: 2\n")
	}
	m := &Middleware{SkipResponses: true, BodyLimit: 4}
	address, _ := proxied(t, m, stream)
	direct := httptest.NewServer(m.Handler(http.HandlerFunc(stream)))
	defer direct.Close()
	for _, address := range []string{address, direct.URL} {
		response, err := http.Get(address + "/api/")
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(response.Body)
		line, _ := lines.ReadString('\n')
		expect(t, "first line", line, "data: 1\n")
		read <- struct{}{}
		expect(t, "the rest", string(drain(t, lines)), "data: 2\n")
	}
}

func TestHandler(t *testing.T) {
	load(t, map[string]map[string]string{"api": {"pre": "name", "response": "shout"}})
	handler := Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("large") != "" {
			w.Write(make([]byte, DefaultBodyLimit))
			if _, err := w.Write([]byte("x")); err == nil {
				t.Error("more than the limit was written")
			}
			return
		}
		w.Header().Set("X-Kept", "1")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusTeapot)
		w.Header().Set("X-Late", "1")
		io.WriteString(w, "<html>"+r.Header.Get("X-Seen")+string(drain(t, r.Body)))
	}))
	ask := func(method, target string) *http.Response {
		r := httptest.NewRequest(method, target, strings.NewReader("body"))
		r.Header.Set("X-Number", "7")
		w := httptest.NewRecorder()
		w.Header().Set("X-Outer", "1")
		handler.ServeHTTP(w, r)
		return w.Result()
	}
	response := ask("POST", "/api/")
	expect(t, "status", response.StatusCode, http.StatusTeapot)
	expect(t, "headers", response.Header, http.Header{
		"Content-Length": {"12"}, "Content-Type": {"text/html; charset=utf-8"}, "X-Asked": {"example.com/api/"},
		"X-Kept": {"1"}, "X-Outer": {"1"},
	})
	expect(t, "body", string(drain(t, response.Body)), "<HTML>7BODY7")

	response = ask("HEAD", "/api/")
	expect(t, "length", response.Header.Get("Content-Length"), "12")
	expect(t, "body", string(drain(t, response.Body)), "")

	defer log.SetOutput(log.Writer())
	log.SetOutput(io.Discard)
	expect(t, "a larger response", ask("GET", "/api/?large=1").StatusCode, http.StatusBadGateway)
}

func TestABodyThatDoesNotArrive(t *testing.T) {
	load(t, map[string]map[string]string{"api": {"pre": "nothing"}})
	r := httptest.NewRequest("POST", "/api/", io.MultiReader(strings.NewReader("x"), broken{}))
	_, _, err := new(Middleware).RunRequest(r)
	expect(t, "status", requestStatus(err), http.StatusBadRequest)
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("broken") }

// A request whose client has gone waits for no turn.
func TestTurnsAreLimited(t *testing.T) {
	load(t, map[string]map[string]string{"api": {"pre": "nothing"}})
	before := calls
	defer func() { calls = before }()
	SetMaxCalls(1)
	calls <- struct{}{}
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	_, _, err := new(Middleware).RunRequest(httptest.NewRequest("GET", "/api/", nil).WithContext(gone))
	expect(t, "error", errors.Is(err, context.Canceled), true)
	<-calls
	through(t, "api", "")
}

// Each goroutine gets the answers to its own requests, whatever thread they ran on; each call of the host is theirs.
func TestManyAtOnce(t *testing.T) {
	load(t, map[string]map[string]string{"api": {"pre": "name", "response": "shout"}})
	address, _ := proxied(t, new(Middleware), func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s", r.Header.Get("X-Seen"), drain(t, r.Body))
	})
	const clients, requests = 32, 25
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	var done sync.WaitGroup
	for c := 0; c < clients; c++ {
		done.Add(1)
		go func(c int) {
			defer done.Done()
			for n := 0; n < requests; n++ {
				number := fmt.Sprint(c*requests + n)
				r, _ := http.NewRequest("POST", address+"/api/", strings.NewReader("body "))
				r.Header.Set("X-Number", number)
				response, err := client.Do(r)
				if err != nil {
					t.Error(err)
					return
				}
				expect(t, "body", string(drain(t, response.Body)), number+" BODY "+number)
			}
		}(c)
	}
	done.Wait()
	numbers := map[string]bool{}
	for _, event := range told.events {
		numbers[event] = true
	}
	expect(t, "events", []int{len(told.events), len(numbers)}, []int{clients * requests, clients * requests})
}

// What crosses is freed: a body that is lost with each request would be 200 MB in the end.
func TestMemoryStaysFlat(t *testing.T) {
	load(t, map[string]map[string]string{"api": {"pre": "name", "response": "shout"}, "broken": {"pre": "bad_escape"}})
	body := strings.Repeat("x", 50<<10)
	flat(t, func() {
		for _, target := range []string{"/api/", "/api/?unanswered", "/broken/", "/nowhere/"} {
			r := httptest.NewRequest("POST", target, strings.NewReader(body))
			r.Header.Set("X-Number", "7")
			upstream, _, err := new(Middleware).RunRequest(r)
			if (err == nil) != strings.HasPrefix(target, "/api/") {
				t.Fatal(target, err)
			}
			if target == "/api/" {
				response := &http.Response{StatusCode: 200, Body: upstream.Body, Request: upstream}
				if err := new(Middleware).RunResponse(response); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// flat runs what must not grow the process.
func flat(t *testing.T, run func()) {
	t.Helper()
	times := func(n int) {
		for ; n > 0; n-- {
			run()
		}
	}
	times(300)
	before := resident(t)
	times(4000)
	if grown := resident(t) - before; grown > 64<<20 {
		t.Errorf("grew by %d MB", grown>>20)
	}
}

// resident is how much memory the process has, in bytes.
func resident(t *testing.T) (size int) {
	t.Helper()
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(strings.Fields(string(statm))[1], &size); err != nil {
		t.Fatal(err)
	}
	return size * os.Getpagesize()
}
