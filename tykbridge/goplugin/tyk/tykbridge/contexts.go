package tykbridge

import "context"

// Package ctx sets these before main: it knows what the keys of a request's context stand for. Only read afterwards.
var (
	// Value gives what the call has for a key of a context, and whether nobody else has anything to say of that key. It is
	// asked from any goroutine that has the context, an HTTP client's, say: only ctx's own keys may look into the call.
	Value = func(call *Call, key any) (value any, own bool) { return nil, false }

	// Settle notes in the call what the hook did to the request's context, and to the session, by hand. Called when the hook
	// has returned, with the context that the request has then.
	Settle = func(call *Call, ctx context.Context) {}

	// Leave gives what the next hook of the request is to find of a context that the hook put values into. Called after
	// Settle.
	Leave = func(call *Call, ctx context.Context) *Left { return &Left{Context: ctx} }
)

type callKey struct{}

type callContext struct {
	context.Context
	call *Call
}

// Value makes a call's session, definition ... values of the context, as the gateway has them there.
func (c callContext) Value(key any) any {
	if key == (callKey{}) {
		return c.call
	}
	if value, own := Value(c.call, key); own {
		return value
	}
	if c.call.Earlier != nil {
		if value := c.call.Earlier.Context.Value(key); value != nil {
			return value
		}
	}
	return c.Context.Value(key)
}

// With gives a context that carries a call, and all that is derived from it.
func With(parent context.Context, call *Call) context.Context { return callContext{parent, call} }

// Of gives the call of a request's context, nil when it is none of a hook's.
func Of(ctx context.Context) *Call {
	call, _ := ctx.Value(callKey{}).(*Call)
	return call
}
