package shim

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
)

// body is what a client or an upstream sent. At its end it begins anew, as the gateway's bodies do: a hook that has read
// it need not put another one in its place.
type body struct {
	text string
	at   int
}

func newBody(text string) io.ReadCloser {
	if text == "" {
		return http.NoBody
	}
	return &body{text: text}
}

func (b *body) Read(into []byte) (int, error) {
	if b.at == len(b.text) {
		b.at = 0
		return 0, io.EOF
	}
	n := copy(into, b.text[b.at:])
	b.at += n
	return n, nil
}

func (b *body) Close() error {
	b.at = 0
	return nil
}

// written gives what a hook put in the place of a body, and whether it did.
func written(now, before io.ReadCloser) ([]byte, bool, error) {
	if now == before {
		return nil, false, nil
	}
	if now == nil {
		return nil, before != http.NoBody, nil
	}
	data, err := io.ReadAll(now)
	if err != nil {
		return nil, false, fmt.Errorf("the body that the hook left cannot be read: %w", err)
	}
	now.Close()
	return data, true, nil
}

// header makes Go's form of headers. The names become canonical, in place.
func (p *pairs) header() http.Header {
	header := make(http.Header, len(p.names)+2)
	for i, name := range p.names {
		name = textproto.CanonicalMIMEHeaderKey(name)
		p.names[i] = name
		if earlier, found := header[name]; found {
			header[name] = append(earlier, p.values[i])
			p.repeated = true
		} else {
			header[name] = p.values[i : i+1 : i+1]
		}
	}
	return header
}

// changes writes what became of headers: a name whose values are others is deleted and written anew.
func (p *pairs) changes(r *reply, header http.Header, deleteTag, addTag uint32) {
	added := len(header) // names that are new, as soon as those that came in are taken off
	for i, name := range p.names {
		if p.repeated && slices.Contains(p.names[:i], name) {
			continue
		}
		now, found := header[name]
		if found {
			added--
		}
		if p.same(i, now) {
			continue
		}
		r.text(deleteTag, name)
		for _, value := range now {
			r.pair(addTag, name, value)
		}
	}
	if added == 0 {
		return
	}
	names := make([]string, 0, added)
	for name := range header {
		if !slices.Contains(p.names, name) {
			if names = append(names, name); len(names) == added {
				break
			}
		}
	}
	slices.Sort(names)
	for _, name := range names {
		// Go takes the host from Request.Host, and looks at no header for it.
		if name != "Host" {
			for _, value := range header[name] {
				r.pair(addTag, name, value)
			}
		}
	}
}

// same tells whether these are the values of the name at i, which stands there first.
func (p *pairs) same(i int, now []string) bool {
	if !p.repeated {
		return len(now) == 1 && now[0] == p.values[i]
	}
	for at := i; at < len(p.names); at++ {
		if p.names[at] == p.names[i] {
			if len(now) == 0 || now[0] != p.values[at] {
				return false
			}
			now = now[1:]
		}
	}
	return len(now) == 0
}

// request is a call's request, and what it was.
type request struct {
	*http.Request
	url  url.URL
	body io.ReadCloser
}

func (m *message) request(ctx context.Context) (*request, error) {
	parsed, err := url.ParseRequestURI(m.url)
	if err != nil {
		return nil, fmt.Errorf("the request's URL: %w", err)
	}
	made := &request{url: *parsed, body: newBody(m.body)}
	plain := http.Request{
		Method: m.method, URL: parsed, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: m.headers.header(),
		Body: made.body, ContentLength: int64(len(m.body)), Host: m.host, RemoteAddr: m.remote, RequestURI: m.url,
	}
	if m.scheme == "https" {
		plain.TLS = &tls.ConnectionState{HandshakeComplete: true}
	}
	made.Request = plain.WithContext(ctx)
	return made, nil
}

// changes writes what a hook did to its request.
func (q *request) changes(r *reply, m *message) error {
	if q.Method != m.method {
		r.text(tagMethod, q.Method)
	}
	if q.URL != nil && *q.URL != q.url {
		if now := q.URL.RequestURI(); now != m.url {
			r.text(tagURL, now)
		}
	}
	if q.Host != m.host {
		r.text(tagHost, q.Host)
	}
	m.headers.changes(r, q.Header, tagDeleteHeader, tagHeader)
	data, found, err := written(q.Body, q.body)
	if found {
		r.bytes(tagBody, data)
	}
	return err
}

// response is a call's response, and what it was.
type response struct {
	http.Response
	body io.ReadCloser
}

func (m *message) upstream(q *request) *response {
	made := &response{body: newBody(m.responseBody)}
	made.Response = http.Response{
		StatusCode: m.status, Status: fmt.Sprintf("%d %s", m.status, http.StatusText(m.status)),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: m.response.header(),
		Body: made.body, ContentLength: int64(len(m.responseBody)), Request: q.Request,
	}
	return made
}

// changes writes what a hook did to the response.
func (s *response) changes(r *reply, m *message) error {
	if s.StatusCode != m.status {
		r.number(tagResponseStatus, s.StatusCode)
	}
	m.response.changes(r, s.Header, tagResponseDeleteHeader, tagResponseHeader)
	data, found, err := written(s.Body, s.body)
	if found {
		r.bytes(tagResponseBody, data)
	}
	return err
}

// writer is a hook's http.ResponseWriter: what is written to it is the response for the client.
type writer struct {
	header http.Header
	sent   http.Header // the header as it was when the status was written
	status int         // 0: nothing was written
	body   []byte
}

func (w *writer) Header() http.Header {
	if w.header == nil {
		w.header = http.Header{}
	}
	return w.header
}

func (w *writer) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("invalid WriteHeader code %v", status)) // net/http's own answer
	}
	if w.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.status, w.sent = status, w.header.Clone()
	}
}

func (w *writer) allowed() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.status == http.StatusNoContent || w.status == http.StatusNotModified || w.status < 200 {
		return http.ErrBodyNotAllowed
	}
	return nil
}

func (w *writer) Write(data []byte) (int, error) {
	if err := w.allowed(); err != nil {
		return 0, err
	}
	w.body = append(w.body, data...)
	return len(data), nil
}

func (w *writer) WriteString(text string) (int, error) {
	if err := w.allowed(); err != nil {
		return 0, err
	}
	w.body = append(w.body, text...)
	return len(text), nil
}

// Flush is there for hooks that ask for an http.Flusher. The response goes out when the hook is over.
func (w *writer) Flush() {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
}

// write writes the response, or, when there is none, the headers for the one that somebody else makes.
func (w *writer) write(r *reply) {
	header := w.header
	if w.status != 0 {
		header = w.sent
		r.number(tagResponseStatus, w.status)
		r.bytes(tagResponseBody, w.body)
		if len(w.body) > 0 && header.Get("Content-Type") == "" && header.Get("Content-Encoding") == "" {
			r.pair(tagResponseHeader, "Content-Type", http.DetectContentType(w.body))
		}
	}
	(&pairs{}).changes(r, header, tagResponseDeleteHeader, tagResponseHeader)
}
