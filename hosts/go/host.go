package tykbridge

// #include <tykbridge/api.h>
import "C"

import (
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// A Host is what the program does for plugins. A nil member means the library's own behaviour: data goes to its store,
// events and log lines to standard error. The functions are called from any thread that a plugin runs on, inside the
// request, so they must be quick, and must not run requests themselves. A panic in one is a log line.
type Host struct {
	Log          func(level, message string)                // level: debug, info, warning or error
	TriggerEvent func(name, payload string)                 // tyk.trigger_event, and what authentication and limits fire
	StoreData    func(key, value string, ttl time.Duration) // tyk.store_data; a ttl of 0: for good
	GetData      func(key string) (value string)            // tyk.get_data; "" when missing
}

var host atomic.Pointer[Host]

// SetHost uses h from now on, for the process.
func SetHost(h Host) { host.Store(&h) }

func hostNow() *Host {
	if h := host.Load(); h != nil {
		return h
	}
	return &Host{}
}

// contain keeps a panic of the host's own function from unwinding the interpreter's frames below it, which nothing
// could repair.
func contain(function string) {
	if fault := recover(); fault != nil {
		logLine("error", fmt.Sprintf("the host's %s panicked: %v\n%s", function, fault, debug.Stack()))
	}
}

// CoProcessLog is called by plugins, through C.
//
//export CoProcessLog
func CoProcessLog(message, level *C.char) {
	h := hostNow()
	if h.Log == nil {
		nextLog(message, level)
		return
	}
	defer contain("Log")
	h.Log(C.GoString(level), C.GoString(message))
}

// TykTriggerEvent is called by plugins, through C.
//
//export TykTriggerEvent
func TykTriggerEvent(name, payload *C.char) {
	h := hostNow()
	if h.TriggerEvent == nil {
		nextTriggerEvent(name, payload)
		return
	}
	defer contain("TriggerEvent")
	h.TriggerEvent(C.GoString(name), C.GoString(payload))
}

// TykStoreData is called by plugins, through C.
//
//export TykStoreData
func TykStoreData(key, value *C.char, ttl C.int) {
	h := hostNow()
	if h.StoreData == nil {
		nextStoreData(key, value, ttl)
		return
	}
	defer contain("StoreData")
	if ttl < 0 {
		ttl = 0
	}
	h.StoreData(C.GoString(key), C.GoString(value), time.Duration(ttl)*time.Second)
}

// TykGetData is called by plugins, through C. The caller frees what it gets.
//
//export TykGetData
func TykGetData(key *C.char) *C.char {
	h := hostNow()
	if h.GetData == nil {
		return nextGetData(key)
	}
	return C.CString(h.getData(C.GoString(key)))
}

func (h *Host) getData(key string) string {
	defer contain("GetData")
	return h.GetData(key)
}
