// Package shim is the ABI of csrc/plugin.h for hooks in Go. What tykbridge plugin build generates imports it, and nobody
// else.
package shim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/TykTechnologies/tyk/tykbridge"
)

// The outcomes and kinds of csrc/plugin.h.
const (
	goOn           = 0
	respond        = 1
	errorArgument  = -1
	errorMalformed = -5
	errorNotFound  = -6
	errorHook      = -8
	errorTooLarge  = -10

	phaseAuthCheck = 4

	kindRequest   = 1
	kindResponse  = 2
	kindAnalytics = 3
)

var kinds = map[uint32]string{kindRequest: "request", kindResponse: "response", kindAnalytics: "analytics"}

// hook is a function of the plugin. run writes its changes, and tells whether the chain goes on.
type hook struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	File string `json:"file"`
	Line int    `json:"line"`
	kind uint32
	run  func(*run) (outcome int, err error)
}

// Written by the generated init(), before any call comes in; only read afterwards.
var (
	hooks []hook
	about manifest
)

type manifest struct {
	ABI       int    `json:"abi"`
	Name      string `json:"name"`
	BuildID   string `json:"build_id"`
	Language  string `json:"language"`
	Toolchain string `json:"toolchain"`
	Version   string `json:"version"`
	Hooks     []hook `json:"hooks"`
}

// Plugin says what was built: its name, what makes the build unique, and the release of what built it.
func Plugin(name, buildID, version string) {
	about.Name, about.BuildID, about.Version = name, buildID, version
}

// Request adds a hook on requests.
func Request(name, file string, line int, function func(http.ResponseWriter, *http.Request)) {
	add(kindRequest, name, file, line, func(r *run) (int, error) { return r.request(function) })
}

// Response adds a hook on responses.
func Response(name, file string, line int, function func(http.ResponseWriter, *http.Response, *http.Request)) {
	add(kindResponse, name, file, line, func(r *run) (int, error) { return r.response(function) })
}

// Analytics adds a hook on records of analytics.
func Analytics[Record any](name, file string, line int, function func(*Record)) {
	add(kindAnalytics, name, file, line, func(r *run) (int, error) {
		record := new(Record)
		if err := json.Unmarshal([]byte(r.in.record), record); err != nil {
			return errorMalformed, fmt.Errorf("the record is not what the hook takes: %w", err)
		}
		function(record)
		data, err := json.Marshal(record)
		if err == nil && string(data) != r.in.record {
			r.out.bytes(tagRecord, data)
		}
		return goOn, err
	})
}

func add(kind uint32, name, file string, line int, function func(*run) (int, error)) {
	hooks = append(hooks, hook{name, kinds[kind], file, line, kind, function})
}

func describe() string {
	about.ABI, about.Language, about.Toolchain, about.Hooks = 1, "go", runtime.Version(), hooks
	text, err := json.Marshal(about)
	if err != nil { // of strings and numbers alone
		panic(err)
	}
	return string(text)
}

// lookup gives the number of a hook.
func lookup(name string, kind uint32) int64 {
	for i, one := range hooks {
		if one.Name == name && one.kind == kind {
			return int64(i + 1)
		}
	}
	return errorNotFound
}

// ---- Definitions

var (
	defined     atomic.Pointer[map[int64]*tykbridge.Definition] // replaced, never changed
	defining    sync.Mutex
	definitions int64 // the number given last; under defining
)

func define(text []byte) (int64, error) {
	made := new(tykbridge.Definition)
	if err := json.Unmarshal(text, made); err != nil {
		return errorMalformed, fmt.Errorf("the definition: %w", err)
	}
	for _, document := range []*json.RawMessage{&made.Classic, &made.OAS} {
		if string(*document) == "null" {
			*document = nil
		}
	}
	defining.Lock()
	defer defining.Unlock()
	definitions++
	replaceDefinition(definitions, made)
	return definitions, nil
}

func release(number int64) {
	defining.Lock()
	defer defining.Unlock()
	replaceDefinition(number, nil)
}

func replaceDefinition(number int64, by *tykbridge.Definition) {
	next := map[int64]*tykbridge.Definition{}
	if now := defined.Load(); now != nil {
		for key, value := range *now {
			next[key] = value
		}
	}
	if delete(next, number); by != nil {
		next[number] = by
	}
	defined.Store(&next)
}

func definition(number int64) (*tykbridge.Definition, bool) {
	if number == 0 {
		return nil, true
	}
	now := defined.Load()
	if now == nil {
		return nil, false
	}
	found, known := (*now)[number]
	return found, known
}

// ---- One run of a hook

type run struct {
	in   message
	call tykbridge.Call
	ctx  context.Context // that the hook gets
	left context.Context // that it left
	out  reply
}

// invoke runs a hook. The reply is begun in buffer, and is elsewhere when that is too small.
func invoke(
	number, definitionNumber int64, phase uint32, timeout time.Duration, items string, buffer []byte,
) (outcome int, out []byte) {
	r := &run{out: reply{items: buffer[:0]}}
	if number < 1 || number > int64(len(hooks)) {
		return errorNotFound, failure(buffer, "the plugin has no such hook", "")
	}
	api, known := definition(definitionNumber)
	if !known {
		return errorNotFound, failure(buffer, "the plugin was given no such definition, or it was released", "")
	}
	if err := r.in.read(items); err != nil {
		return errorMalformed, failure(buffer, err.Error(), "")
	}
	r.call = tykbridge.Call{Definition: api, Token: r.in.token, Metadata: r.in.metadata}
	if r.in.hasSession {
		r.call.SessionJSON = []byte(r.in.session)
	}
	if r.in.kept != 0 {
		if r.call.Earlier = left(r.in.kept); r.call.Earlier == nil {
			return errorNotFound, failure(buffer, "the plugin keeps nothing under this number", "")
		}
		// Nobody is let in by a session that an earlier hook set: auth_check is asked.
		if phase != phaseAuthCheck && r.call.Earlier.Session != nil && r.call.Earlier.Shown == r.in.session {
			r.call.Session = r.call.Earlier.Session
		}
	}
	r.ctx = tykbridge.With(context.Background(), &r.call)
	if timeout > 0 {
		limited, cancel := context.WithTimeout(r.ctx, timeout)
		defer cancel()
		r.ctx = limited
	}
	outcome, err, stack := r.guarded(hooks[number-1].run)
	if err == nil && outcome >= 0 {
		err = r.changes(outcome)
	}
	if err == nil && r.out.tooLarge {
		outcome, err = errorTooLarge, errors.New("the hook left more than 4 GiB")
	}
	if err != nil {
		if outcome >= 0 {
			outcome = errorHook
		}
		return outcome, failure(buffer, err.Error(), stack)
	}
	return outcome, r.out.items
}

func failure(buffer []byte, words, stack string) []byte {
	r := reply{items: buffer[:0]}
	r.text(tagError, words)
	if stack != "" {
		r.text(tagStack, stack)
	}
	return r.items
}

// guarded makes a panic an error.
func (r *run) guarded(function func(*run) (int, error)) (outcome int, err error, stack string) {
	defer func() {
		if thrown := recover(); thrown != nil {
			outcome, stack = errorHook, string(debug.Stack())
			if exited, ok := thrown.(tykbridge.Exited); ok {
				err = fmt.Errorf("%w%s", exited, place())
			} else {
				err = fmt.Errorf("panic: %v%s", thrown, place())
			}
		}
	}()
	outcome, err = function(r)
	return
}

// place gives where the author's own code was when it panicked, " (main.go:12)", "" where it was not. Called while a panic
// is recovered.
func place() string {
	own := "main."
	if info, ok := debug.ReadBuildInfo(); ok {
		own = info.Main.Path
	}
	counters := make([]uintptr, 64)
	frames := runtime.CallersFrames(counters[:runtime.Callers(3, counters)])
	for {
		frame, more := frames.Next()
		if strings.HasPrefix(frame.Function, "main.") || strings.HasPrefix(frame.Function, own+"/") {
			return fmt.Sprintf(" (%s:%d)", strings.TrimPrefix(frame.File, own+"/"), frame.Line)
		}
		if !more {
			return ""
		}
	}
}

func (r *run) request(function func(http.ResponseWriter, *http.Request)) (int, error) {
	q, err := r.in.request(r.ctx)
	if err != nil {
		return errorMalformed, err
	}
	w := new(writer)
	function(w, q.Request)
	r.left = q.Request.Context()
	tykbridge.Settle(&r.call, r.left)
	w.write(&r.out)
	if w.status != 0 {
		return respond, nil
	}
	return goOn, q.changes(&r.out, &r.in)
}

func (r *run) response(function func(http.ResponseWriter, *http.Response, *http.Request)) (int, error) {
	q, err := r.in.request(r.ctx)
	if err != nil {
		return errorMalformed, err
	}
	w, s := new(writer), r.in.upstream(q)
	function(w, &s.Response, q.Request)
	r.left = q.Request.Context()
	tykbridge.Settle(&r.call, r.left)
	w.write(&r.out)
	if w.status != 0 {
		return respond, nil
	}
	return goOn, s.changes(&r.out, &r.in)
}

// changes writes what the packages of this module noted in the call.
func (r *run) changes(outcome int) error {
	if r.call.SetSession {
		data, err := json.Marshal(r.call.Session)
		if err != nil {
			return fmt.Errorf("the session that the hook set: %w", err)
		}
		r.out.bytes(tagSession, data)
	}
	if r.call.SetToken {
		r.out.text(tagToken, r.call.Token)
	}
	if r.call.Rewrite != "" && outcome == goOn {
		r.out.text(tagTarget, r.call.Rewrite)
	}
	r.leave()
	return nil
}

// leave keeps what the request's next hook is to find, where there is something. The last that is done: a hook that fails
// leaves nothing.
func (r *run) leave() {
	if !r.in.keeps || r.left == nil || r.out.tooLarge || (r.left == r.ctx && !r.call.SetSession) {
		return
	}
	left := tykbridge.Leave(&r.call, r.left)
	switch session, is := r.call.Session.(interface{ Reset() }); {
	case r.call.SetSession && is:
		session.Reset() // the host has it; what the next hook does to it is another change
		left.Session, left.Shown = r.call.Session, r.in.session
	case r.call.Earlier != nil:
		left.Session, left.Shown = r.call.Earlier.Session, r.call.Earlier.Shown
	}
	r.out.kept(keep(left))
}
