package shim

/*
#cgo LDFLAGS: -lpthread
#include <tykbridge/plugin.h>
*/
import "C"

import (
	"log"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/TykTechnologies/tyk/tykbridge"
)

// A call leaves a few KB of garbage, and the collector's own pace (a collection for each 4 MB) would cost more than the
// hooks. The limit keeps what waits to be collected from growing with a plugin that holds much. GOGC and GOMEMLIMIT of the
// environment win.
const (
	garbagePercent = 400
	memoryLimit    = 1 << 30
)

// kept holds what the host is to ask for, or to forget, by its number: replies that did not fit into its buffer, and what
// hooks leave to the next of the same request.
var kept = struct {
	sync.Mutex
	last    uint64
	replies map[uint64][]byte
	left    map[uint64]*tykbridge.Left
}{replies: map[uint64][]byte{}, left: map[uint64]*tykbridge.Left{}}

func keep(one *tykbridge.Left) uint64 {
	kept.Lock()
	defer kept.Unlock()
	kept.last++
	kept.left[kept.last] = one
	return kept.last
}

func left(number uint64) *tykbridge.Left {
	kept.Lock()
	defer kept.Unlock()
	return kept.left[number]
}

var describeOnce = sync.OnceValue(func() *C.char { return C.CString(describe()) })

//export tykbShimManifest
func tykbShimManifest() *C.char { return describeOnce() }

//export tykbShimStart
func tykbShimStart(settings *C.char) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	// Without this, Go ends the process when a plugin prints to a standard output that nobody reads any more. Nobody
	// listens to the channel: the write fails, as others do. What the host's own threads get goes to the host, as before.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	made := cHost{}
	if settings != nil {
		made.settings = []byte(C.GoString(settings))
	}
	tykbridge.Connect(made)
	if log.Writer() == os.Stderr { // the plugin's init() chose nothing else
		log.SetOutput(lines{})
		log.SetFlags(log.Flags() &^ (log.Ldate | log.Ltime | log.Lmicroseconds | log.LUTC)) // the gateway's log has them
	}
}

// lines is where Go's own package log writes to: the gateway's log.
type lines struct{}

func (lines) Write(line []byte) (int, error) {
	tykbridge.Log("info", strings.TrimSuffix(string(line), "\n"))
	return len(line), nil
}

//export tykbShimDefine
func tykbShimDefine(json *C.char, size C.size_t, reply *C.struct_tykb_plugin_reply) C.int64_t {
	number, err := define(bytesOf(unsafe.Pointer(json), size))
	if err != nil {
		give(reply, failure(buffer(reply), err.Error(), ""))
	}
	return C.int64_t(number)
}

//export tykbShimRelease
func tykbShimRelease(number C.int64_t) { release(int64(number)) }

//export tykbShimLookup
func tykbShimLookup(name *C.char, size C.size_t, kind C.uint32_t) C.int64_t {
	return C.int64_t(lookup(string(bytesOf(unsafe.Pointer(name), size)), uint32(kind)))
}

//export tykbShimInvoke
func tykbShimInvoke(call *C.struct_tykb_plugin_call, reply *C.struct_tykb_plugin_reply) C.int {
	items := string(bytesOf(unsafe.Pointer(call.data), call.data_size)) // the one copy
	outcome, out := invoke(int64(call.hook), int64(call.definition), uint32(call.phase), time.Duration(call.timeout_ns),
		items, buffer(reply))
	give(reply, out)
	return C.int(outcome)
}

//export tykbShimFetch
func tykbShimFetch(number C.uint64_t, reply *C.struct_tykb_plugin_reply) C.int {
	kept.Lock()
	defer kept.Unlock()
	if reply == nil && kept.left[uint64(number)] != nil {
		delete(kept.left, uint64(number))
		return 0
	}
	found, known := kept.replies[uint64(number)]
	if !known {
		return errorNotFound
	}
	if reply != nil {
		reply.size = C.size_t(len(found))
		if int(reply.capacity) < len(found) {
			reply.kept = number
			return errorTooLarge
		}
		copy(buffer(reply)[:len(found)], found)
	}
	delete(kept.replies, uint64(number))
	return 0
}

func bytesOf(data unsafe.Pointer, size C.size_t) []byte {
	return unsafe.Slice((*byte)(data), int(size))
}

// buffer gives the host's buffer, empty: what is appended goes there as long as it fits.
func buffer(reply *C.struct_tykb_plugin_reply) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(reply.data)), int(reply.capacity))[:0]
}

// give leaves a reply where it was written, which is the host's buffer, or keeps it for fetch.
func give(reply *C.struct_tykb_plugin_reply, out []byte) {
	reply.size = C.size_t(len(out))
	if len(out) == 0 || unsafe.Pointer(unsafe.SliceData(out)) == unsafe.Pointer(reply.data) {
		return
	}
	kept.Lock()
	defer kept.Unlock()
	kept.last++
	kept.replies[kept.last] = out
	reply.kept = C.uint64_t(kept.last)
}
