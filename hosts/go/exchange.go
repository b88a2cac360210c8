package tykbridge

// #include <tykbridge/api.h>
import "C"

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
)

// DefaultBodyLimit is the largest body, in bytes, where a Middleware does not say otherwise.
const DefaultBodyLimit = 10 << 20

var (
	errNoExchange = errors.New("tykbridge: a response to a request that RunRequest has not seen")
	errBody       = errors.New("tykbridge: the request's body could not be read")
	errTooLarge   = errors.New("tykbridge: the response's body is larger than the limit")
)

// RunRequest runs a request through its API: pre, authentication, post_key_auth, limits, post. It has one of three
// outcomes: the request to go on with, a copy of r with the hooks' changes; or the response for the client, made by a
// hook or by what refused the request; or an error, after which the request must not go on.
//
// What no hook changed is as it came: repeated headers, the order and the spelling of the query, the body. The body is
// read whole, since any hook may ask for it.
func (m *Middleware) RunRequest(r *http.Request) (*http.Request, *http.Response, error) {
	body, err := readAll(http.MaxBytesReader(nil, orNone(r.Body), m.bodyLimit()), r.ContentLength)
	if tooLarge := (*http.MaxBytesError)(nil); err != nil && !errors.As(err, &tooLarge) {
		err = fmt.Errorf("%w: %v", errBody, err)
	}
	if err != nil {
		return nil, nil, err
	}
	sent := &exchange{url: ascii(r.URL.RequestURI()), body: body}
	r = r.Clone(context.WithValue(r.Context(), exchangeKey{}, sent))
	r.Form, r.PostForm, r.MultipartForm = nil, nil, nil // of the request before the hooks
	dropHopByHop(r.Header)
	setBody(r, body)

	message := sent.message(r)
	if m.API != "" {
		message.pair(C.TYKB_SPEC, "APIID", m.API)
	}
	reply, err := message.runRequest(r.Context())
	if err != nil {
		return nil, nil, err
	}
	defer reply.clear()
	switch reply.result {
	case C.TYKB_CONTINUE:
		if err := reply.change(r, sent); err != nil {
			return nil, nil, err
		}
		return r, nil, nil
	case C.TYKB_RESPOND:
		response := &http.Response{Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r}
		if err := reply.write(response); err != nil {
			return nil, nil, err
		}
		return nil, response, nil
	default:
		return nil, nil, fmt.Errorf("tykbridge: unknown result %d", reply.result)
	}
}

// RunResponse runs the response hooks on the response to a request that RunRequest gave, and changes it in place. It is
// a ReverseProxy's ModifyResponse. After an error the response must not go to the client.
func (m *Middleware) RunResponse(response *http.Response) error {
	if response.StatusCode == http.StatusSwitchingProtocols {
		return nil // what follows is no HTTP
	}
	sent, _ := response.Request.Context().Value(exchangeKey{}).(*exchange)
	if sent == nil {
		return errNoExchange
	}
	response.Body = orNone(response.Body)
	body, err := readAll(io.LimitReader(response.Body, m.bodyLimit()+1), response.ContentLength)
	if err != nil {
		return err
	}
	response.Body.Close()
	if int64(len(body)) > m.bodyLimit() {
		return errTooLarge
	}
	message := sent.message(response.Request)
	message.origin(sent.origin)
	message.number(C.TYKB_RESPONSE_STATUS_CODE, int64(response.StatusCode))
	unclean := http.Header{}
	for name, values := range response.Header {
		for _, value := range values {
			cleaned := clean(value)
			if cleaned != value {
				unclean[name] = values
			}
			message.pair(C.TYKB_RESPONSE_MULTIVALUE_HEADERS, name, cleaned)
		}
	}
	message.bytes(C.TYKB_RESPONSE_RAW_BODY, body)
	reply, err := message.runResponse(response.Request.Context())
	if err != nil {
		return err
	}
	defer reply.clear()
	if err := reply.write(response); err != nil {
		return err
	}
	for name, values := range unclean {
		restore(response.Header, name, values)
	}
	return nil
}

// ---- What is kept of a request until its response

type exchangeKey struct{}

// An exchange is what the response hooks need to know of their request besides what its http.Request says then: its
// body has been read, and a proxy has put its target's path before the request's.
type exchange struct {
	url    string
	body   []byte
	origin []byte // see reply.origin
}

func (e *exchange) message(r *http.Request) message {
	m := newMessage()
	m.text(C.TYKB_REQUEST_METHOD, r.Method)
	m.text(C.TYKB_REQUEST_URL, e.url)
	m.text(C.TYKB_REQUEST_REQUEST_URI, clean(r.RequestURI))
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	m.text(C.TYKB_REQUEST_SCHEME, scheme)
	if r.Host != "" {
		m.pair(C.TYKB_REQUEST_HEADERS, "Host", clean(r.Host))
	}
	for name, values := range r.Header {
		if len(values) > 0 {
			m.pair(C.TYKB_REQUEST_HEADERS, name, clean(values[0]))
		}
	}
	m.bytes(C.TYKB_REQUEST_RAW_BODY, e.body)
	return m
}

// ---- Requests

// change makes the changes of a TYKB_CONTINUE in a request, and notes what the response's call needs. After an error
// the request must not go on: a change is in it that cannot be made.
func (r *reply) change(request *http.Request, sent *exchange) error {
	err := r.each(func(path C.uint32_t, i *item) error {
		switch path {
		case C.TYKB_REQUEST_METHOD:
			request.Method = i.text()
		case C.TYKB_REQUEST_URL:
			return setURL(request.URL, i.text())
		case C.TYKB_REQUEST_DELETE_HEADERS:
			deleteHeader(request, i.text())
		case C.TYKB_REQUEST_SET_HEADERS:
			setHeader(request, i.key(), i.text())
		case C.TYKB_REQUEST_RAW_BODY:
			sent.body = i.bytes()
			setBody(request, sent.body)
		case C.TYKB_REQUEST, C.TYKB_REQUEST_BODY: // nothing, and TYKB_REQUEST_RAW_BODY as text
		default:
			if path&0xff == C.TYKB_REQUEST || path == C.TYKB_CLEARED {
				return fmt.Errorf("tykbridge: the request has a change that this package does not know: path %d.%d.%d",
					path&0xff, path>>8&0xff, path>>16)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	sent.url = ascii(request.URL.RequestURI())
	sent.origin, err = r.origin()
	return err
}

// setURL sets path and query. "//a/b" is a path here.
func setURL(u *url.URL, target string) error {
	parsed, err := url.ParseRequestURI(target)
	if err != nil {
		return fmt.Errorf("tykbridge: a hook set a url that cannot be sent: %w", err)
	}
	u.Path, u.RawPath, u.Opaque = parsed.Path, parsed.RawPath, ""
	u.RawQuery, u.ForceQuery = parsed.RawQuery, parsed.ForceQuery
	return nil
}

func setHeader(r *http.Request, name, value string) {
	deleteHeader(r, name)
	if strings.EqualFold(name, "Host") {
		r.Host = value
	} else {
		r.Header.Set(name, value)
	}
}

// deleteHeader deletes a header however its name is spelled: Go code may have put one in that is not canonical.
func deleteHeader(r *http.Request, name string) {
	if strings.EqualFold(name, "Host") {
		r.Host = ""
	}
	for key := range r.Header {
		if strings.EqualFold(key, name) {
			delete(r.Header, key)
		}
	}
}

func setBody(r *http.Request, body []byte) {
	open := func() (io.ReadCloser, error) {
		if len(body) == 0 {
			return http.NoBody, nil
		}
		return io.NopCloser(bytes.NewReader(body)), nil
	}
	r.Body, _ = open()
	r.GetBody = open
	r.ContentLength = int64(len(body))
	if len(r.Trailer) > 0 {
		r.ContentLength = -1 // trailers follow chunks only
		return
	}
	r.TransferEncoding = nil
	if _, there := r.Header["Content-Length"]; there {
		r.Header["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
}

// dropHopByHop removes what the client says is for this hop alone. Otherwise a ReverseProxy would remove it later,
// together with a header of that name that a hook has set: "Connection: X-User" must not undo authentication's work.
// What an upgrade and trailers need stays.
func dropHopByHop(h http.Header) {
	upgrade := false
	for _, line := range h["Connection"] {
		for _, name := range strings.Split(line, ",") {
			switch name = textproto.CanonicalMIMEHeaderKey(textproto.TrimString(name)); name {
			case "Upgrade":
				upgrade = true
			case "Te":
			default:
				h.Del(name)
			}
		}
	}
	h.Del("Connection")
	if upgrade {
		h.Set("Connection", "Upgrade")
	}
}

// ascii escapes what has no place in a request's target but is let in by net/http: bytes beyond ASCII, and "#", behind
// which hooks would not look.
func ascii(target string) string {
	var b strings.Builder
	from := 0
	for i := 0; i < len(target); i++ {
		if c := target[i]; c >= 0x7f || c == '#' {
			b.WriteString(target[from:i])
			fmt.Fprintf(&b, "%%%02X", c)
			from = i + 1
		}
	}
	if from == 0 {
		return target
	}
	return b.String() + target[from:]
}

// ---- Responses

// write puts the reply's response, which is whole, into a response.
func (r *reply) write(response *http.Response) error {
	var body []byte
	header := http.Header{}
	err := r.each(func(path C.uint32_t, i *item) error {
		switch path {
		case C.TYKB_RESPONSE_STATUS_CODE:
			response.StatusCode = i.number()
		case C.TYKB_RESPONSE_MULTIVALUE_HEADERS:
			header.Add(i.key(), i.text())
		case C.TYKB_RESPONSE_RAW_BODY:
			body = i.bytes()
		}
		return nil
	})
	if err != nil {
		return err
	}
	response.Status = strconv.Itoa(response.StatusCode) + " " + http.StatusText(response.StatusCode)
	response.Header = header
	response.TransferEncoding, response.Uncompressed = nil, false
	setResponseBody(response, body)
	switch {
	case len(response.Trailer) > 0: // trailers follow chunks only
		response.ContentLength = -1
		header.Del("Content-Length")
	case len(body) > 0:
		header.Set("Content-Length", strconv.Itoa(len(body)))
	}
	return nil
}

func setResponseBody(response *http.Response, body []byte) {
	response.Body, response.ContentLength = http.NoBody, int64(len(body))
	if len(body) > 0 {
		response.Body = io.NopCloser(bytes.NewReader(body))
	}
}

// restore puts back the bytes of a header that no hook changed, where the message could not hold them.
func restore(h http.Header, name string, values []string) {
	key := textproto.CanonicalMIMEHeaderKey(name)
	if len(h[key]) != len(values) {
		return
	}
	for i, value := range values {
		if h[key][i] != clean(value) {
			return
		}
	}
	h[key] = values
}

// ---- Bodies

// readAll reads to the end. `size` is what the sender says, -1 for nothing; it is believed up to a megabyte.
func readAll(r io.Reader, size int64) ([]byte, error) {
	var b bytes.Buffer
	if size > 1<<20 {
		size = 1 << 20
	}
	if size > 0 {
		b.Grow(int(size) + bytes.MinRead)
	}
	_, err := b.ReadFrom(r)
	return b.Bytes(), err
}

func orNone(body io.ReadCloser) io.ReadCloser {
	if body == nil {
		return http.NoBody
	}
	return body
}
