package tykbridge

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

// ErrNoHost is what the store and events answer before the plugin was started: in init(), say.
var ErrNoHost = errors.New("tykbridge: the gateway is not there yet: it can be used in hooks, not in init()")

// Host is what the gateway does for plugins. Safe to use from any goroutine.
type Host interface {
	Log(level, message string)
	TriggerEvent(name, payload string) error
	Get(key string) (value []byte, found bool, err error)
	Set(key string, value []byte, ttl time.Duration, ifAbsent bool) (set bool, err error)
	Delete(key string) (found bool, err error)
	Increment(key string, by int64, ttl time.Duration) (int64, error)
	TTL(key string) (ttl time.Duration, found bool, err error)
	Settings() json.RawMessage
}

var host atomic.Pointer[Host]

var onConnect []func() // appended to before main only

// OnConnect has a function called when the host is there. For init().
func OnConnect(function func()) { onConnect = append(onConnect, function) }

// Connect is called once, by the shim, or by a test.
func Connect(h Host) {
	host.Store(&h)
	for _, function := range onConnect {
		function()
	}
}

func connected() Host {
	if h := host.Load(); h != nil {
		return *h
	}
	return nobody{}
}

// Log writes a line of the gateway's log. Levels: debug, info, warning, error.
func Log(level, message string) { connected().Log(level, message) }

// TriggerEvent fires an event of the gateway.
func TriggerEvent(name, payload string) error { return connected().TriggerEvent(name, payload) }

// Get gives the value of a key.
func Get(key string) (value []byte, found bool, err error) { return connected().Get(key) }

// Set sets a key for a while, for good with a ttl of 0; with ifAbsent only where it is not there. Tells whether it did.
func Set(key string, value []byte, ttl time.Duration, ifAbsent bool) (set bool, err error) {
	return connected().Set(key, value, ttl, ifAbsent)
}

// Delete removes a key, and tells whether it was there.
func Delete(key string) (found bool, err error) { return connected().Delete(key) }

// Increment adds to a whole number, at once for all, and gives the sum. A missing one is 0, and gets the ttl.
func Increment(key string, by int64, ttl time.Duration) (int64, error) {
	return connected().Increment(key, by, ttl)
}

// TTL gives the time that a key has left, -1 for good.
func TTL(key string) (ttl time.Duration, found bool, err error) { return connected().TTL(key) }

// Settings gives the gateway's settings (tyk.conf), nil for none.
func Settings() json.RawMessage { return connected().Settings() }

// Exited is what Exit panics with.
type Exited struct{ Code int }

func (e Exited) Error() string {
	return fmt.Sprintf("the plugin called Fatal, which would have ended the gateway with status %d", e.Code)
}

// Exit is what a logger's Fatal is to call: it panics with Exited, which becomes the hook's error.
func Exit(code int) { panic(Exited{code}) }

type nobody struct{}

func (nobody) Log(level, message string) {
	fmt.Fprintf(os.Stderr, "tykbridge: %s: %s\n", level, message)
}
func (nobody) TriggerEvent(string, string) error { return ErrNoHost }
func (nobody) Get(string) ([]byte, bool, error)  { return nil, false, ErrNoHost }
func (nobody) Set(string, []byte, time.Duration, bool) (bool, error) {
	return false, ErrNoHost
}
func (nobody) Delete(string) (bool, error) { return false, ErrNoHost }
func (nobody) Increment(string, int64, time.Duration) (int64, error) {
	return 0, ErrNoHost
}
func (nobody) TTL(string) (time.Duration, bool, error) { return 0, false, ErrNoHost }
func (nobody) Settings() json.RawMessage               { return nil }
