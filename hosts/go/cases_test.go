package tykbridge

// The table of cases, as tests/cases writes it: once through the calls alone, once through a proxy between real
// servers.

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

type testCase struct {
	Name, Mode string
	Definition struct {
		ID string `json:"api_id"`
	}
	Exchanges []struct {
		Request  wire
		Upstream *wire
		Response *wire
		Client   *wire
		Events   *[]string
		Log      string
	}
}

// A wire is a request or a response, or what is different in one.
type wire struct {
	Method, URL *string
	Status      *int
	Headers     *[][2]string
	Body        json.RawMessage // a text, or {"error": text} for the error template
	Base64      *string         `json:"body_base64"`
}

func (w wire) patched(by *wire) wire {
	for _, field := range []int{0, 1, 2, 3} {
		if value := reflect.ValueOf(*by).Field(field); !value.IsNil() {
			reflect.ValueOf(&w).Elem().Field(field).Set(value)
		}
	}
	if by.Body != nil || by.Base64 != nil {
		w.Body, w.Base64 = by.Body, by.Base64
	}
	return w
}

func (w wire) isTemplate() bool { return bytes.HasPrefix(w.Body, []byte("{")) }

func (w wire) body(t *testing.T) []byte {
	if w.Base64 != nil {
		body, err := base64.StdEncoding.DecodeString(*w.Base64)
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	if w.isTemplate() {
		return w.Body
	}
	var text string
	if err := json.Unmarshal(w.Body, &text); err != nil {
		t.Fatal(err)
	}
	return []byte(text)
}

// spelled makes headers under the spelling that came first, as hooks see them through the calls alone; host is apart.
func (w wire) spelled() (header http.Header, host string) {
	header = http.Header{}
	first := map[string]string{}
	for _, pair := range *w.Headers {
		key := textproto.CanonicalMIMEHeaderKey(pair[0])
		if key == "Host" {
			host = pair[1]
			continue
		}
		if first[key] == "" {
			first[key] = pair[0]
		}
		header[first[key]] = append(header[first[key]], pair[1])
	}
	return header, host
}

// compared are the headers that two sides must agree on. net/http may spell names as it likes, and trims values.
func compared(header http.Header, without ...string) http.Header {
	same := http.Header{}
	for name, values := range header {
		for _, value := range values {
			same.Add(name, textproto.TrimString(value))
		}
	}
	for _, name := range append(without, "Content-Length") {
		same.Del(name)
	}
	return same
}

func (w wire) request(t *testing.T, server string) *http.Request {
	target, err := url.ParseRequestURI(server + *w.URL)
	if err != nil {
		t.Fatal(err)
	}
	body := w.body(t)
	header, host := w.spelled()
	return &http.Request{
		Method: *w.Method, URL: target, Host: host, Header: header,
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Proto: "HTTP/1.1",
	}
}

// An outcome is what became of an exchange: what the upstream got, if it got anything, and what the client got.
type outcome struct {
	method, url, host string
	header            http.Header
	body              []byte
	response          *http.Response
	client            []byte
}

// A runner sends a request through an API; the upstream answers with response, or with anything when that is nil.
type runner func(t *testing.T, api string, request, response *wire) outcome

// throughCalls crosses no network.
func throughCalls(t *testing.T, api string, request, response *wire) (got outcome) {
	middleware := Middleware{API: api}
	r := request.request(t, "")
	r.RequestURI = *request.URL
	upstream, answer, err := middleware.RunRequest(r)
	if err != nil {
		t.Fatal(err)
	}
	if upstream != nil {
		got.method, got.url, got.host = upstream.Method, upstream.URL.RequestURI(), upstream.Host
		got.header, got.body = upstream.Header, drain(t, upstream.Body)
		if int(upstream.ContentLength) != len(got.body) {
			t.Errorf("ContentLength is %d", upstream.ContentLength)
		}
		if response != nil {
			header, _ := response.spelled()
			answer = &http.Response{
				StatusCode: *response.Status, Header: header, Request: upstream,
				Body: io.NopCloser(bytes.NewReader(response.body(t))),
			}
			if err := middleware.RunResponse(answer); err != nil {
				t.Fatal(err)
			}
		}
	}
	if answer != nil {
		got.response, got.client = answer, drain(t, answer.Body)
	}
	return got
}

// throughProxy goes through servers and clients of net/http on both sides.
func throughProxy(t *testing.T, api string, request, response *wire) (got outcome) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got.method, got.url, got.host = r.Method, r.RequestURI, r.Host
		got.header, got.body = r.Header, drain(t, r.Body)
		if response != nil {
			header, _ := response.spelled()
			w.Header()["Content-Type"] = nil
			for name, values := range header {
				w.Header()[name] = values
			}
			w.WriteHeader(*response.Status)
			w.Write(response.body(t))
		}
	}))
	defer upstream.Close()
	target, _ := url.Parse(upstream.URL)
	proxy := httptest.NewServer((&Middleware{API: api}).Proxy(target))
	defer proxy.Close()
	r := request.request(t, proxy.URL)
	r.Header["User-Agent"] = nil
	transport := &http.Transport{DisableCompression: true, DisableKeepAlives: true}
	answer, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	got.response, got.client = answer, drain(t, answer.Body)
	return got
}

func drain(t *testing.T, body io.Reader) []byte {
	t.Helper()
	data, err := io.ReadAll(body)
	if err != nil {
		t.Error(err)
	}
	return data
}

func TestTableThroughCallsCompatible(t *testing.T) { runTable(t, "compatible", throughCalls, false) }
func TestTableThroughCallsStrict(t *testing.T)     { runTable(t, "strict", throughCalls, false) }
func TestTableThroughProxyCompatible(t *testing.T) { runTable(t, "compatible", throughProxy, true) }
func TestTableThroughProxyStrict(t *testing.T)     { runTable(t, "strict", throughProxy, true) }

func runTable(t *testing.T, mode string, run runner, network bool) {
	if !alone(t) {
		return
	}
	folder := filepath.Join(t.TempDir(), "table")
	python := os.Getenv("TYKBRIDGE_PYTHON")
	if info, err := os.Stat(python); err == nil && info.IsDir() {
		python = filepath.Join(python, "bin", "python3")
	}
	command := exec.Command(python, "-m", "tests.cases", folder)
	command.Dir = filepath.Join("..", "..")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("TYKBRIDGE_PYTHON=%s: %v\n%s", python, err, out)
	}
	text, err := os.ReadFile(filepath.Join(folder, "cases.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []testCase
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	problems, err := LoadConfiguration(Configuration{Source: filepath.Join(folder, "apis"), Strict: mode == "strict"})
	if problems != "" || err != nil {
		t.Fatal(problems, err)
	}
	ran := 0
	for _, c := range cases {
		if c.Mode == mode {
			t.Run(c.Name, func(t *testing.T) { c.check(t, run, network) })
			ran++
		}
	}
	if ran < 20 {
		t.Errorf("the table has %d cases", ran)
	}
}

func (c *testCase) check(t *testing.T, run runner, network bool) {
	for number := range c.Exchanges {
		exchange := &c.Exchanges[number]
		told.forget()
		got := run(t, c.Definition.ID, &exchange.Request, exchange.Response)
		if exchange.Upstream == nil && got.header != nil {
			t.Fatalf("%d: the request went on\n%s", number, told.log())
		}
		if exchange.Upstream != nil {
			if got.header == nil {
				t.Fatalf("%d: the request did not go on: %s\n%s", number, got.client, told.log())
			}
			c.checkUpstream(t, number, got, network)
		}
		if exchange.Client != nil {
			expected := *exchange.Client
			if exchange.Response != nil && !expected.isTemplate() {
				expected = exchange.Response.patched(&expected)
			}
			checkClient(t, number, got, expected)
		}
		if exchange.Events != nil {
			same(t, number, "events", told.names(), *exchange.Events)
		}
		if !strings.Contains(told.log(), exchange.Log) {
			t.Errorf("%d: %q is not in the log:\n%s", number, exchange.Log, told.log())
		}
	}
}

func (c *testCase) checkUpstream(t *testing.T, number int, got outcome, network bool) {
	request := c.Exchanges[number].Request
	expected := request.patched(c.Exchanges[number].Upstream)
	header, host := expected.spelled()
	ignored := []string{}
	if network {
		ignored = append(ignored, "X-Forwarded-For")
		sent, _ := request.spelled()
		for name := range sent {
			if name != textproto.CanonicalMIMEHeaderKey(name) && len(sent[name]) == 1 {
				ignored = append(ignored, "X-Report") // a hook asked for that spelling, and net/http has changed it
			}
		}
	}
	same(t, number, "method", got.method, *expected.Method)
	same(t, number, "url", got.url, *expected.URL)
	if host != "" || !network {
		same(t, number, "host", got.host, host)
	}
	same(t, number, "headers", compared(got.header, ignored...), compared(header, ignored...))
	same(t, number, "body", string(got.body), string(expected.body(t)))
}

func checkClient(t *testing.T, number int, got outcome, expected wire) {
	if got.response == nil {
		t.Fatalf("%d: the client got no response", number)
	}
	same(t, number, "status", got.response.StatusCode, *expected.Status)
	if length := got.response.Header.Get("Content-Length"); length != "" {
		same(t, number, "Content-Length", length, fmt.Sprint(len(got.client)))
	}
	if expected.Headers != nil {
		header, _ := expected.spelled()
		same(t, number, "headers", compared(got.response.Header, "Date"), compared(header))
	}
	switch {
	case expected.isTemplate():
		var said, wanted any
		if err := json.Unmarshal(got.client, &said); err != nil {
			t.Errorf("%d: the body is %q", number, got.client)
		}
		json.Unmarshal(expected.Body, &wanted)
		same(t, number, "body", said, wanted)
	case expected.Body != nil:
		same(t, number, "body", string(got.client), string(expected.body(t)))
	}
}

func same(t *testing.T, number int, what string, got, expected any) {
	t.Helper()
	if !reflect.DeepEqual(got, expected) {
		t.Errorf("%d: %s: got %#v, expected %#v", number, what, got, expected)
	}
}
