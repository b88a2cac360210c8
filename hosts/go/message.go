package tykbridge

// #include <tykbridge/api.h>
//
// // Go passes a string as it is; what it holds is copied by the builder.
// static void tykgo_text(tykb_builder *b, uint32_t path, _GoString_ value) {
//   tykb_builder_text(b, path, _GoStringPtr(value), _GoStringLen(value));
// }
//
// static void tykgo_pair(tykb_builder *b, uint32_t path, _GoString_ key, _GoString_ value) {
//   tykb_builder_pair(b, path, _GoStringPtr(key), _GoStringLen(key), _GoStringPtr(value), _GoStringLen(value));
// }
//
// // The message is made here, as Go's memory must not be in a struct of Go's that C gets.
// static void tykgo_copy(tykb_builder *b, uint32_t path, void *data, int length) {
//   struct CoProcessMessage from = {data, length};
//   tykb_builder_copy(b, path, &from);
// }
import "C"

import (
	"context"
	"unicode/utf8"
	"unsafe"
)

// A message is a coprocess.Object in the making. It ends with finish, runRequest or runResponse. Faults wait till then.
type message struct{ builder *C.tykb_builder }

func newMessage() message { return message{C.tykb_builder_new()} }

func (m message) text(path C.uint32_t, value string)      { C.tykgo_text(m.builder, path, value) }
func (m message) pair(path C.uint32_t, key, value string) { C.tykgo_pair(m.builder, path, key, value) }
func (m message) number(path C.uint32_t, value int64) {
	C.tykb_builder_number(m.builder, path, C.int64_t(value))
}

// bytes adds a body; an empty one is left out.
func (m message) bytes(path C.uint32_t, value []byte) {
	if len(value) > 0 {
		C.tykb_builder_text(m.builder, path, (*C.char)(unsafe.Pointer(&value[0])), C.size_t(len(value)))
	}
}

// origin adds who sent a request and which API it was, from a message that says it.
func (m message) origin(from []byte) {
	var data unsafe.Pointer
	if len(from) > 0 {
		data = unsafe.Pointer(&from[0])
	}
	C.tykgo_copy(m.builder, C.TYKB_SESSION, data, C.int(len(from)))
	C.tykgo_copy(m.builder, C.TYKB_SPEC, data, C.int(len(from)))
}

// finish ends the message and gives its bytes in C memory, to be cleared. With an error there are none.
func (m message) finish(out *C.struct_CoProcessMessage) error {
	status := C.tykb_builder_finish(m.builder, out)
	C.tykb_builder_free(m.builder)
	if status < 0 {
		defer C.tykb_message_clear(out)
		return failure(status, out)
	}
	return nil
}

// DefaultMaxCalls is how many requests are inside the library at a time, where SetMaxCalls does not say otherwise.
const DefaultMaxCalls = 64

var calls = make(chan struct{}, DefaultMaxCalls)

// SetMaxCalls says how many requests are inside the library at a time; others wait for their turn. Each of them holds
// a thread, and Go ends a process that has 10,000. To be called before the first request.
func SetMaxCalls(n int) { calls = make(chan struct{}, n) }

// runRequest and runResponse run the message and end it. A reply must be cleared; with an error there is none.
func (m message) runRequest(ctx context.Context) (*reply, error) {
	return m.run(ctx, func(in, out *C.struct_CoProcessMessage) C.int { return C.tykb_run_request(in, out) })
}

func (m message) runResponse(ctx context.Context) (*reply, error) {
	return m.run(ctx, func(in, out *C.struct_CoProcessMessage) C.int { return C.tykb_run_response(in, out) })
}

func (m message) run(ctx context.Context, call func(in, out *C.struct_CoProcessMessage) C.int) (*reply, error) {
	var in C.struct_CoProcessMessage
	if err := m.finish(&in); err != nil {
		return nil, err
	}
	defer C.tykb_message_clear(&in)
	select {
	case calls <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-calls }()
	r := new(reply)
	status := call(&in, &r.out)
	if status < 0 {
		defer r.clear()
		return nil, failure(status, &r.out)
	}
	r.result = status
	return r, nil
}

// A reply is what the library answered, in C memory until clear.
type reply struct {
	result C.int
	out    C.struct_CoProcessMessage
}

func (r *reply) clear() { C.tykb_message_clear(&r.out) }

// An item is one thing that a reply says. It points into the reply.
type item struct{ c C.struct_tykb_item }

func (i *item) key() string  { return C.GoStringN(i.c.key.data, C.int(i.c.key.size)) }
func (i *item) text() string { return C.GoStringN(i.c.value.data, C.int(i.c.value.size)) }
func (i *item) bytes() []byte {
	return C.GoBytes(unsafe.Pointer(i.c.value.data), C.int(i.c.value.size))
}
func (i *item) number() int { return int(i.c.number) }

// each calls f with every item, in order, until one is an error.
func (r *reply) each(f func(path C.uint32_t, i *item) error) error {
	var reader C.tykb_reader
	var i item
	C.tykb_reader_init(&reader, &r.out)
	for {
		if status := C.tykb_reader_next(&reader, &i.c); status < 0 {
			return &Error{Status: Status(status), Words: "the library's reply cannot be read"}
		} else if status == 0 {
			return nil
		}
		if err := f(i.c.path, &i); err != nil {
			return err
		}
	}
}

// origin gives who sent a request and which API it was, for the response's call. It is a message of its own, in Go's
// memory: of a request that gets no response nothing is left to be cleared.
func (r *reply) origin() ([]byte, error) {
	m := newMessage()
	m.origin(unsafe.Slice((*byte)(r.out.p_data), int(r.out.length)))
	var out C.struct_CoProcessMessage
	if err := m.finish(&out); err != nil {
		return nil, err
	}
	defer C.tykb_message_clear(&out)
	return C.GoBytes(out.p_data, out.length), nil
}

// clean puts "?" in place of each byte that is not UTF-8, which a message's text must be.
func clean(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	b := []byte(s)
	for i := 0; i < len(b); {
		r, size := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && size == 1 {
			b[i] = '?'
		}
		i += size
	}
	return string(b)
}
