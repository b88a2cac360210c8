package tykbridge

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
)

// A Middleware says how requests and their responses are run. Its zero value is ready to use, and safe to be used by
// many goroutines as long as nobody changes it.
type Middleware struct {
	// API is the id of the API that all requests are for. "": the API whose domain and listen path they match.
	API string

	// BodyLimit is the largest body of a request or of a response, in bytes. 0: DefaultBodyLimit. A larger request is
	// answered with 413, a larger response with 502.
	BodyLimit int64

	// SkipResponses says that there are no response hooks. Responses are then not read but streamed, whatever their
	// size; response hooks of a definition do not run.
	SkipResponses bool

	// ErrorLog gets what is told to no client. nil: log's standard logger.
	ErrorLog *log.Logger
}

// Handler puts the zero Middleware round a handler.
func Handler(next http.Handler) http.Handler { return new(Middleware).Handler(next) }

// Handler runs each request through its API before next gets it, and the response of next through the response hooks
// before the client gets it. It is for handlers of this program; what an upstream answers is Proxy's.
//
// The response is kept until next has returned: next can neither flush it nor take over the connection, except with
// SkipResponses.
func (m *Middleware) Handler(next http.Handler) http.Handler {
	if m.SkipResponses {
		return m.requests(next)
	}
	return m.requests(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		recorder := &recorder{header: http.Header{}, limit: m.bodyLimit()}
		next.ServeHTTP(recorder, r)
		response, err := recorder.response(r)
		if err == nil {
			err = m.RunResponse(response)
		}
		if err != nil {
			m.refuse(w, r, err, responseStatus(err))
			return
		}
		respond(w, response)
	}))
}

// Proxy is a reverse proxy to target: it runs each request through its API, sends it to target, and runs what target
// answers through the response hooks. It keeps the Host header, and puts target's path before the request's.
func (m *Middleware) Proxy(target *url.URL) http.Handler {
	// Its Director and not a Rewrite, which Go 1.19 does not have. What a Rewrite is safe from, dropHopByHop prevents.
	proxy := httputil.NewSingleHostReverseProxy(target)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression = true // or it would ask for what the client did not
	transport.MaxIdleConnsPerHost = transport.MaxIdleConns
	proxy.Transport = transport
	proxy.ErrorLog = m.ErrorLog
	proxy.ErrorHandler = func(w http.ResponseWriter, r *http.Request, err error) {
		m.refuse(w, r, err, responseStatus(err))
	}
	if !m.SkipResponses {
		proxy.ModifyResponse = m.RunResponse
	}
	return m.requests(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Type"] = nil // the upstream says it, or nobody: net/http does not guess
		proxy.ServeHTTP(w, r)
	}))
}

// requests runs requests only.
func (m *Middleware) requests(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		upstream, response, err := m.RunRequest(r)
		switch {
		case err != nil:
			m.refuse(w, r, err, requestStatus(err))
		case response != nil:
			respond(w, response)
		default:
			next.ServeHTTP(w, upstream)
		}
	})
}

func (m *Middleware) bodyLimit() int64 {
	if m.BodyLimit > 0 {
		return m.BodyLimit
	}
	return DefaultBodyLimit
}

// ---- Failures

// requestStatus is what a client is told when its request could not be run.
func requestStatus(err error) int {
	var tooLarge *http.MaxBytesError
	var failed *Error
	switch {
	case errors.As(err, &tooLarge), errors.Is(err, TooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, NotFound):
		return http.StatusNotFound
	case errors.As(err, &failed):
		return http.StatusInternalServerError
	case errors.Is(err, errBody):
		return http.StatusBadRequest
	default:
		return http.StatusInternalServerError
	}
}

// responseStatus is what a client is told when there is no response, or none that it may get.
func responseStatus(err error) int {
	var failed *Error
	if errors.As(err, &failed) || errors.Is(err, errNoExchange) {
		return http.StatusInternalServerError
	}
	return http.StatusBadGateway
}

// refuse answers a request that failed. The client is told the status alone, in the form of the chain's own errors; the
// words are for the log.
func (m *Middleware) refuse(w http.ResponseWriter, r *http.Request, err error, status int) {
	if !errors.Is(err, context.Canceled) { // the client has gone
		m.logf("tykbridge: %s %q: %d: %v", r.Method, r.URL.Path, status, err)
	}
	if status == http.StatusRequestEntityTooLarge {
		w.Header().Set("Connection", "close") // rather than read the rest
	}
	body, _ := json.Marshal(map[string]string{"error": http.StatusText(status)})
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body)
}

func (m *Middleware) logf(format string, values ...any) {
	if m.ErrorLog != nil {
		m.ErrorLog.Printf(format, values...)
	} else {
		log.Printf(format, values...)
	}
}

// ---- Responses of handlers

// respond sends a response that the library has made or changed.
func respond(w http.ResponseWriter, response *http.Response) {
	defer response.Body.Close()
	header := w.Header()
	for name, values := range response.Header {
		header[name] = values
	}
	if _, there := header["Content-Type"]; !there {
		header["Content-Type"] = nil // nobody guesses one from what a hook wrote
	}
	w.WriteHeader(response.StatusCode)
	io.Copy(w, response.Body)
}

// A recorder keeps the response of a handler.
type recorder struct {
	header http.Header
	sent   http.Header // as it was when the handler wrote first
	status int
	body   []byte
	limit  int64
	err    error
}

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && status >= 200 { // those before are not kept until hooks have seen the response
		r.status, r.sent = status, r.header.Clone()
	}
}

func (r *recorder) Write(p []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	if int64(len(r.body)+len(p)) > r.limit {
		r.err = errTooLarge
		return 0, r.err
	}
	r.body = append(r.body, p...)
	return len(p), nil
}

// response gives what was written, as net/http would have sent it.
func (r *recorder) response(request *http.Request) (*http.Response, error) {
	r.WriteHeader(http.StatusOK)
	response := &http.Response{
		StatusCode: r.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: r.sent, Request: request,
	}
	if _, there := r.sent["Content-Type"]; !there && len(r.body) > 0 && r.sent.Get("Content-Encoding") == "" {
		r.sent.Set("Content-Type", http.DetectContentType(r.body))
	}
	if request.Method == http.MethodHead {
		if len(r.body) > 0 && r.sent.Get("Content-Length") == "" {
			r.sent.Set("Content-Length", strconv.Itoa(len(r.body)))
		}
		r.body = nil
	}
	setResponseBody(response, r.body)
	return response, r.err
}
