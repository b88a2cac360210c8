// A plugin with a hook for everything that can go in and out.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	golog "log"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/TykTechnologies/tyk/analytics"
	"github.com/TykTechnologies/tyk/apidef"
	"github.com/TykTechnologies/tyk/config"
	"github.com/TykTechnologies/tyk/ctx"
	"github.com/TykTechnologies/tyk/log"
	"github.com/TykTechnologies/tyk/tykbridge"
	"github.com/TykTechnologies/tyk/user"

	"example.org/every/rules"
)

// Nothing changes nothing.
func Nothing(http.ResponseWriter, *http.Request) {}

// Show answers with what it sees.
func Show(rw http.ResponseWriter, r *http.Request) {
	first, _ := io.ReadAll(r.Body)
	second, _ := io.ReadAll(r.Body)
	r.Body.Read(make([]byte, 2))
	r.Body.Close()
	third, _ := io.ReadAll(r.Body)
	_, limited := r.Context().Deadline()
	seen := map[string]any{
		"method": r.Method, "uri": r.RequestURI, "path": r.URL.Path, "query": r.URL.Query(), "host": r.Host,
		"header": r.Header, "body": string(first), "again": string(second), "closed": string(third), "length": r.ContentLength,
		"remote": r.RemoteAddr, "tls": r.TLS != nil, "limited": limited, "token": ctx.GetAuthToken(r),
	}
	if session := ctx.GetSession(r); session != nil {
		seen["alias"] = session.Alias
	}
	if api := ctx.GetDefinition(r); api != nil {
		seen["api"], seen["data"] = api.APIID, api.ConfigData
	}
	rw.Header().Set("Content-Type", "application/json")
	json.NewEncoder(rw).Encode(seen)
}

// Change changes all that a request hook can.
func Change(rw http.ResponseWriter, r *http.Request) {
	r.Method = http.MethodPut
	query := r.URL.Query()
	query.Set("added", "a b")
	r.URL.Path, r.URL.RawQuery = "/other path", query.Encode()
	r.Host = "other.example"
	r.Header.Del("Gone")
	r.Header.Add("Multi", "three")
	r.Header.Set("Set", "new")
	r.Header["New"] = []string{"1", "2"}
	r.Body = io.NopCloser(strings.NewReader("other"))
}

// Empty takes the body away.
func Empty(rw http.ResponseWriter, r *http.Request) { r.Body = http.NoBody }

// BadBody leaves a body that cannot be read.
func BadBody(rw http.ResponseWriter, r *http.Request) { r.Body = io.NopCloser(broken{}) }

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("the reader is broken") }

// Deny answers.
func Deny(rw http.ResponseWriter, r *http.Request) {
	r.Header.Set("Not", "sent")
	rw.Header().Add("Set-Cookie", "a=1")
	rw.Header().Add("Set-Cookie", "b=2")
	rw.WriteHeader(http.StatusTeapot)
	rw.Header().Set("Too", "late")
	rw.WriteHeader(http.StatusOK)
	fmt.Fprint(rw, "no ")
	io.WriteString(rw, "way")
}

// Later has a header for the response that somebody else makes.
func Later(rw http.ResponseWriter, r *http.Request) { rw.Header().Set("X-Later", "1") }

// Large answers with as many bytes as it is asked for.
func Large(rw http.ResponseWriter, r *http.Request) {
	size, _ := strconv.Atoi(r.URL.Query().Get("size"))
	rw.Write(make([]byte, size))
}

// Breaks panics, in a package of its own.
func Breaks(rw http.ResponseWriter, r *http.Request) { rules.Third(nil) }

// Fatal would end the gateway.
func Fatal(rw http.ResponseWriter, r *http.Request) { log.Get().Fatal("there is no way on") }

// Wait waits for the end of its time.
func Wait(rw http.ResponseWriter, r *http.Request) {
	<-r.Context().Done()
	fmt.Fprint(rw, r.Context().Err())
}

// Session sets one.
func Session(rw http.ResponseWriter, r *http.Request) {
	ctx.SetSession(r, &user.SessionState{KeyID: "a key", Alias: "Ada"}, true)
}

type note struct{}

// Leave leaves to the next hook what it is asked for.
func Leave(rw http.ResponseWriter, r *http.Request) {
	*r = *r.WithContext(context.WithValue(r.Context(), note{}, r.URL.Query().Get("note")))
	if r.URL.Query().Has("session") {
		ctx.SetSession(r, &user.SessionState{Alias: "left"}, true)
	}
	if r.URL.Query().Has("definition") {
		ctx.SetDefinition(r, &apidef.APIDefinition{APIID: "left"})
	}
	if r.URL.Query().Has("target") {
		*r = *r.WithContext(context.WithValue(r.Context(), ctx.UrlRewriteTarget, "/elsewhere"))
	}
}

// Find answers in the request's headers with what the hook before left.
func Find(rw http.ResponseWriter, r *http.Request) {
	found, _ := r.Context().Value(note{}).(string)
	r.Header.Set("Note", found)
	if session := ctx.GetSession(r); session != nil {
		r.Header.Set("Session", session.Alias)
	}
	if api := ctx.GetDefinition(r); api != nil {
		r.Header.Set("Definition", api.APIID)
	}
	r.Header.Set("Ended", fmt.Sprint(r.Context().Err()))
}

// Lines writes to Go's own log.
func Lines(rw http.ResponseWriter, r *http.Request) { golog.Println("a line of Go's own") }

// Settings answers with one of the gateway's.
func Settings(rw http.ResponseWriter, r *http.Request) {
	conf := config.Global()
	fmt.Fprint(rw, conf.Secret, " ", conf.ListenPort, " ", conf.HashKeys, " ", conf.Storage.Host, " ", len(conf.Other))
}

// Host uses all that the host offers.
func Host(rw http.ResponseWriter, r *http.Request) {
	log.Get().Warning("a line")
	said := []any{tykbridge.TriggerEvent("Happened", "payload")}
	say := func(values ...any) { said = append(said, values...) }
	say(tykbridge.Set("k", []byte(strings.Repeat("v", 2000)), time.Minute, false))
	say(tykbridge.Set("k", []byte("other"), 0, true))
	value, found, err := tykbridge.Get("k")
	say(len(value), found, err)
	say(tykbridge.TTL("k"))
	say(tykbridge.Increment("n", 2, time.Second))
	say(tykbridge.Increment("n", 3, 0))
	say(tykbridge.Delete("k"))
	say(tykbridge.Delete("k"))
	say(tykbridge.Get("k"))
	say(tykbridge.TTL("none"))
	say(string(tykbridge.Settings()))
	fmt.Fprintln(rw, said...)
}

// Limits tells those of the collector.
func Limits(rw http.ResponseWriter, r *http.Request) {
	percent := debug.SetGCPercent(100)
	debug.SetGCPercent(percent)
	fmt.Fprint(rw, percent, " ", debug.SetMemoryLimit(-1))
}

// Print prints to a standard output that nobody reads.
func Print(rw http.ResponseWriter, r *http.Request) {
	reader, writer, _ := os.Pipe()
	reader.Close()
	syscall.Dup3(int(writer.Fd()), 1, 0)
	_, err := fmt.Println("into the void")
	fmt.Fprint(rw, err)
}

// Response changes all that a response hook can.
func Response(rw http.ResponseWriter, res *http.Response, req *http.Request) {
	body, _ := io.ReadAll(res.Body)
	res.StatusCode = http.StatusAccepted
	res.Header.Add("Set-Cookie", "c=3")
	res.Header.Del("Gone")
	res.Header.Set("X-Saw", fmt.Sprint(res.Status, " ", string(body), " ", req.Method, " ", res.Request == req))
	res.Body = io.NopCloser(strings.NewReader("other"))
}

// Replace answers in the upstream's place.
func Replace(rw http.ResponseWriter, res *http.Response, req *http.Request) {
	http.Error(rw, "gone", http.StatusGone)
}

// Mask hides a record's path.
func Mask(record *analytics.AnalyticsRecord) { record.Path = "/..." }

// Other is none: it has a result.
func Other(rw http.ResponseWriter, r *http.Request) error { return nil }
