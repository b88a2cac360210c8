// Package header names the headers that the gateway and its plugins speak of.
package header

// Of HTTP.
const (
	Accept                  = "Accept"
	AcceptEncoding          = "Accept-Encoding"
	Authorization           = "Authorization"
	CacheControl            = "Cache-Control"
	Connection              = "Connection"
	ContentEncoding         = "Content-Encoding"
	ContentLength           = "Content-Length"
	ContentType             = "Content-Type"
	Cookie                  = "Cookie"
	Expires                 = "Expires"
	Host                    = "Host"
	Pragma                  = "Pragma"
	SecWebSocketKey         = "Sec-WebSocket-Key"
	SecWebSocketProtocol    = "Sec-WebSocket-Protocol"
	SecWebSocketVersion     = "Sec-WebSocket-Version"
	SetCookie               = "Set-Cookie"
	StrictTransportSecurity = "Strict-Transport-Security"
	TransferEncoding        = "Transfer-Encoding"
	Upgrade                 = "Upgrade"
	UserAgent               = "User-Agent"
	WWWAuthenticate         = "WWW-Authenticate"
)

// Of custom, and of the gateway.
const (
	XAuthResult           = "X-Auth-Result"
	XContentTypeOptions   = "X-Content-Type-Options"
	XForwardFor           = "X-Forwarded-For"
	XForwardProto         = "X-Forwarded-Proto"
	XFrameOptions         = "X-Frame-Options"
	XGenerator            = "X-Generator"
	XInitialURI           = "X-Initial-URI"
	XRateLimitLimit       = "X-RateLimit-Limit"
	XRateLimitRemaining   = "X-RateLimit-Remaining"
	XRateLimitReset       = "X-RateLimit-Reset"
	XRealIP               = "X-Real-IP"
	XSessionAlias         = "X-Session-Alias"
	XTykAcceptExampleCode = "X-Tyk-Accept-Example-Code"
	XTykAcceptExampleName = "X-Tyk-Accept-Example-Name"
	XTykAuthorization     = "X-Tyk-Authorization"
	XTykHostname          = "x-tyk-hostname"
	XTykNodeID            = "x-tyk-nodeid"
	XTykNonce             = "x-tyk-nonce"
	XTykSessionID         = "x-tyk-session-id"
	XXSSProtection        = "X-XSS-Protection"
)

// Values of Content-Type and User-Agent.
const (
	ApplicationFormURLEncoded = "application/x-www-form-urlencoded"
	ApplicationJSON           = "application/json"
	ApplicationSoapXML        = "application/soap+xml"
	ApplicationXML            = "application/xml"
	TextXML                   = "text/xml"
	TykHookshot               = "Tyk-Hookshot"
)
