package tykbridge

// Replies that the library does not give, or not yet.

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unsafe"
)

// replied makes a reply of bytes. A test cannot use cgo: they are put in the place of a message's that is longer.
func replied(t *testing.T, bytes string) *reply {
	t.Helper()
	m := newMessage()
	m.bytes(3|14<<8, make([]byte, len(bytes)+1))
	r := new(reply)
	if err := m.finish(&r.out); err != nil {
		t.Fatal(err)
	}
	copy(unsafe.Slice((*byte)(r.out.p_data), len(bytes)), bytes)
	set(&r.out.length, len(bytes))
	return r
}

// set sets a number whose type only cgo has a name for.
func set[T ~int32](number *T, value int) { *number = T(value) }

// field writes a field of a message, of less than 128 bytes.
func field(number int, value string) string {
	key := number<<3 | 2
	tag := string([]byte{byte(key)})
	if key > 0x7f {
		tag = string([]byte{byte(key&0x7f | 0x80), byte(key >> 7)})
	}
	return tag + string([]byte{byte(len(value))}) + value
}

// A change that is not made may be the one that a hook made for safety's sake: the request must not go on.
func TestAChangeThatIsNotKnownStopsTheRequest(t *testing.T) {
	pair := field(1, "a") + field(2, "b")
	spec := field(6, field(1, "APIID")+field(2, "api"))
	for name, bytes := range map[string]string{
		"headers":             field(3, field(1, pair)),
		"params":              field(3, field(6, pair)),
		"add_params":          field(3, field(7, pair)),
		"delete_params":       field(3, field(9, "a")),
		"an empty override":   field(3, field(10, "")),
		"response_error":      field(3, field(10, field(2, "no"))),
		"scheme":              field(3, field(13, "https")),
		"after a known one":   spec + field(3, field(11, "PUT")+field(13, "https")) + field(4, ""),
		"a field to empty":    field(1000, "request.url"),
		"not a message":       spec + field(3, "\xff"),
		"a url of no request": field(3, field(5, "nowhere")),
	} {
		r := replied(t, bytes)
		err := r.change(httptest.NewRequest("GET", "/", nil), new(exchange))
		r.clear()
		if err == nil {
			t.Errorf("%s: the request went on", name)
			continue
		}
		expect(t, name, requestStatus(err), http.StatusInternalServerError)
	}
}

// What else a reply says, now or later, changes no request.
func TestWhatIsNoChangePasses(t *testing.T) {
	session := field(4, field(17, "oauth")+field(23, field(1, "a")+field(2, "b")))
	rest := field(5, field(1, "a")+field(2, "b")) + field(7, field(2, "x")) + field(100, "x")
	for name, bytes := range map[string]string{
		"no byte":          "",
		"an empty request": field(3, ""),
		"a body as text":   field(3, field(4, "text")),
		"the rest":         session + field(6, field(1, "APIID")+field(2, "api")) + rest,
	} {
		r := replied(t, bytes)
		request, sent := httptest.NewRequest("GET", "/x?y", nil), new(exchange)
		err := r.change(request, sent)
		r.clear()
		expect(t, name, fmt.Sprint(request.Method, " ", request.URL, " ", err), "GET /x?y <nil>")
		expect(t, name, sent.url, "/x?y")
		if name == "the rest" {
			expect(t, "for the response", string(sent.origin), session+field(6, field(1, "APIID")+field(2, "api")))
		}
	}
}

// What is kept for a response is Go's to free: no response may ever come.
func TestMemoryOfRequestsWithoutAResponseStaysFlat(t *testing.T) {
	id := strings.Repeat("x", 50<<10)
	flat(t, func() {
		m := newMessage()
		m.pair(6, "APIID", id)
		r := new(reply)
		if err := m.finish(&r.out); err != nil {
			t.Fatal(err)
		}
		sent := new(exchange)
		if err := r.change(httptest.NewRequest("GET", "/", nil), sent); err != nil {
			t.Fatal(err)
		}
		r.clear()
		expect(t, "what is kept", strings.Contains(string(sent.origin), id), true)
	})
}
