// Package tykbridge runs Tyk's rich plugins in a Go program: as middleware round any http.Handler, and as a reverse
// proxy.
//
//	if err := tykbridge.Init(); err != nil { ... }
//	problems, err := tykbridge.LoadConfiguration(tykbridge.Configuration{Source: "apis"})
//	http.ListenAndServe(":8080", tykbridge.Handler(mux))
//
// It is a thin layer over libtykbridge and its one header, tykbridge/api.h. The library holds one interpreter and one
// configuration for the process, so Init, LoadConfiguration and SetHost are functions of the package; how one handler
// treats its requests is a Middleware.
//
// Every function may be called from any goroutine. A program that uses this package is built as an executable or a
// c-archive, so that plugins reach the functions which it exports (TykTriggerEvent and its sisters).
package tykbridge

// #cgo pkg-config: tykbridge
// #include <stdlib.h>
// #include <tykbridge/api.h>
import "C"

import (
	"errors"
	"unsafe"
)

// A Status is a negative result of the library. It is an error, to be looked for with errors.Is.
type Status int

// The statuses that a program may want to tell apart; tykbridge/api.h lists them all.
const (
	NotStarted Status = C.TYKB_E_NOT_STARTED // Init has not succeeded yet
	NoPython   Status = C.TYKB_E_NO_PYTHON   // no usable Python found, or tykbridge is not installed in it
	NotFound   Status = C.TYKB_E_NOT_FOUND   // no such API, or a path that is not there
	TooLarge   Status = C.TYKB_E_TOO_LARGE   // a message of more than 2 GB
)

func (s Status) Error() string {
	return C.GoString(C.tykb_status_name(C.int(s)))
}

// An Error is a call of the library that failed.
type Error struct {
	Status Status
	Words  string // what happened, where, and what to do about it
}

func (e *Error) Error() string {
	if e.Words == "" {
		return e.Status.Error()
	}
	return e.Status.Error() + ": " + e.Words
}

// Unwrap gives the status, for errors.Is.
func (e *Error) Unwrap() error { return e.Status }

// failure makes an error of a negative status and the words in out.
func failure(status C.int, out *C.struct_CoProcessMessage) error {
	return &Error{Status(status), words(out)}
}

func words(out *C.struct_CoProcessMessage) string {
	return C.GoStringN((*C.char)(out.p_data), out.length)
}

// Init starts Python and loads tykbridge into it. TYKBRIDGE_PYTHON names the interpreter or virtual environment, where
// it is not the one that the library is installed in. A further call is a success that does nothing.
func Init() error {
	var out C.struct_CoProcessMessage
	defer C.tykb_message_clear(&out)
	if status := C.tykb_init(&out); status < 0 {
		return failure(status, &out)
	}
	return nil
}

// Version is the library's release, such as "0.1.0".
func Version() string { return C.GoString(C.tykb_version()) }

// A Configuration says which APIs to run.
type Configuration struct {
	Source         string // a folder of API definitions, one file, or JSON text
	MiddlewarePath string // where bundles and relative paths of hooks are looked for; "": as Settings say, else "middleware"
	Policies       string // a file of policies; "": that of Settings, or none
	Settings       string // a tyk.conf, or its text ("{}" for TYK_GW_* variables alone); "": none, all is kept in memory
	Strict         bool   // a session that a hook changed without the right to fails the request
	Watch          bool   // when files change, everything is loaded again, as Reload does; needs watchfiles (Python)
}

// LoadConfiguration loads a configuration in place of the one before, in one step; requests on their way finish on what
// they started with. Problems, one a line, are the definitions and policies that are not in use, "" when all are; an
// API whose new version is bad goes on as before. After an error nothing has changed.
func LoadConfiguration(c Configuration) (problems string, err error) {
	if c.Source == "" {
		return "", errors.New("tykbridge: the configuration has no source")
	}
	configuration := C.struct_tykb_configuration{
		size:            C.sizeof_struct_tykb_configuration,
		source:          C.CString(c.Source),
		middleware_path: optional(c.MiddlewarePath),
		policies:        optional(c.Policies),
		settings:        optional(c.Settings),
	}
	defer C.free(unsafe.Pointer(configuration.source))
	defer C.free(unsafe.Pointer(configuration.middleware_path))
	defer C.free(unsafe.Pointer(configuration.policies))
	defer C.free(unsafe.Pointer(configuration.settings))
	if c.Strict {
		configuration.flags |= C.TYKB_STRICT
	}
	if c.Watch {
		configuration.flags |= C.TYKB_WATCH
	}
	var out C.struct_CoProcessMessage
	defer C.tykb_message_clear(&out)
	if status := C.tykb_load_configuration(&configuration, &out); status < 0 {
		return "", failure(status, &out)
	}
	return words(&out), nil
}

// Reload reads again everything that was loaded: built aside, and put in place in one step; requests on their way finish
// on what they started with, and bundles whose content is the same are left alone. Problems, one a line, are what is not
// in use or goes on as before, "" when there is none. After an error nothing has changed.
func Reload() (problems string, err error) {
	var out C.struct_CoProcessMessage
	defer C.tykb_message_clear(&out)
	if status := C.tykb_reload(&out); status < 0 {
		return "", failure(status, &out)
	}
	return words(&out), nil
}

// optional makes a C string, NULL of "".
func optional(s string) *C.char {
	if s == "" {
		return nil
	}
	return C.CString(s)
}
