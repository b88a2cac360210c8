// Package request tells what stands in requests.
package request

import (
	"net"
	"net/http"
	"strings"

	"github.com/TykTechnologies/tyk/config"
	"github.com/TykTechnologies/tyk/header"
)

// Global gives the settings that RealIP goes by.
var Global func() config.Config = config.Global

// RealIP gives the address of the client: X-Real-IP, else X-Forwarded-For, else where the connection comes from. The last
// alone cannot be made up by the client: trust the others behind a proxy that sets them. Of X-Forwarded-For it is the first
// address, or the one that http_server_options.xff_depth counts to from the end; "" where there are not so many.
func RealIP(r *http.Request) string {
	if address, set := r.Context().Value("remote_addr").(string); set {
		return address
	}
	if ip := net.ParseIP(r.Header.Get(header.XRealIP)); ip != nil {
		return ip.String()
	}
	if forwarded := r.Header.Get(header.XForwardFor); forwarded != "" {
		hops, depth, at := strings.Split(forwarded, ","), 0, 0
		if Global != nil {
			depth = Global().HttpServerOptions.XFFDepth
		}
		if depth != 0 {
			at = len(hops) - depth
		}
		if at < 0 || at >= len(hops) {
			return ""
		}
		if ip := net.ParseIP(strings.TrimSpace(hops[at])); ip != nil {
			return ip.String()
		}
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return host
}
