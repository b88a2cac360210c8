package request_test

import (
	"net/http/httptest"
	"testing"

	"github.com/TykTechnologies/tyk/internal/fakehost"
	"github.com/TykTechnologies/tyk/request"
)

func TestRealIP(t *testing.T) {
	for _, one := range []struct{ conf, realIP, forwarded, remote, want string }{
		{"", "1.2.3.4", "5.6.7.8", "9.9.9.9:1", "1.2.3.4"},
		{"", "", "5.6.7.8, 10.0.0.1", "9.9.9.9:1", "5.6.7.8"},
		{"", "no address", "neither", "9.9.9.9:1", "9.9.9.9"},
		{"", "", "", "[::1]:80", "::1"},
		{"", "", "", "pipe", ""},
		{`{"http_server_options": {"xff_depth": 1}}`, "", "5.6.7.8, 10.0.0.1", "9.9.9.9:1", "10.0.0.1"},
		{`{"http_server_options": {"xff_depth": 2}}`, "", "5.6.7.8, 10.0.0.1", "9.9.9.9:1", "5.6.7.8"},
		{`{"http_server_options": {"xff_depth": 3}}`, "", "5.6.7.8, 10.0.0.1", "9.9.9.9:1", ""},
		{`{"http_server_options": {"xff_depth": -1}}`, "", "5.6.7.8", "9.9.9.9:1", ""},
	} {
		fakehost.Connect(one.conf)
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = one.remote
		r.Header.Set("X-Real-IP", one.realIP)
		r.Header.Set("X-Forwarded-For", one.forwarded)
		if got := request.RealIP(r); got != one.want {
			t.Errorf("%+v: %q", one, got)
		}
	}
}
