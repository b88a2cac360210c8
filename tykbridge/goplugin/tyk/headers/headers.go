// Package headers is header under the name that it had before gateway 5.0.
package headers

import "github.com/TykTechnologies/tyk/header"

// As header has them.
const (
	Accept                    = header.Accept
	AcceptEncoding            = header.AcceptEncoding
	Authorization             = header.Authorization
	CacheControl              = header.CacheControl
	Connection                = header.Connection
	ContentEncoding           = header.ContentEncoding
	ContentLength             = header.ContentLength
	ContentType               = header.ContentType
	Cookie                    = header.Cookie
	Expires                   = header.Expires
	Host                      = header.Host
	Pragma                    = header.Pragma
	SecWebSocketKey           = header.SecWebSocketKey
	SecWebSocketProtocol      = header.SecWebSocketProtocol
	SecWebSocketVersion       = header.SecWebSocketVersion
	SetCookie                 = header.SetCookie
	StrictTransportSecurity   = header.StrictTransportSecurity
	TransferEncoding          = header.TransferEncoding
	Upgrade                   = header.Upgrade
	UserAgent                 = header.UserAgent
	WWWAuthenticate           = header.WWWAuthenticate
	XAuthResult               = header.XAuthResult
	XContentTypeOptions       = header.XContentTypeOptions
	XForwardFor               = header.XForwardFor
	XForwardProto             = header.XForwardProto
	XFrameOptions             = header.XFrameOptions
	XGenerator                = header.XGenerator
	XInitialURI               = header.XInitialURI
	XRateLimitLimit           = header.XRateLimitLimit
	XRateLimitRemaining       = header.XRateLimitRemaining
	XRateLimitReset           = header.XRateLimitReset
	XRealIP                   = header.XRealIP
	XSessionAlias             = header.XSessionAlias
	XTykAcceptExampleCode     = header.XTykAcceptExampleCode
	XTykAcceptExampleName     = header.XTykAcceptExampleName
	XTykAuthorization         = header.XTykAuthorization
	XTykHostname              = header.XTykHostname
	XTykNodeID                = header.XTykNodeID
	XTykNonce                 = header.XTykNonce
	XTykSessionID             = header.XTykSessionID
	XXSSProtection            = header.XXSSProtection
	ApplicationFormURLEncoded = header.ApplicationFormURLEncoded
	ApplicationJSON           = header.ApplicationJSON
	ApplicationSoapXML        = header.ApplicationSoapXML
	ApplicationXML            = header.ApplicationXML
	TextXML                   = header.TextXML
	TykHookshot               = header.TykHookshot
)
