package shim

// #include "shim.h"
import "C"

import (
	"encoding/json"
	"fmt"
	"time"
	"unsafe"
)

var levels = map[string]C.int{"debug": 0, "info": 1, "warning": 2, "error": 3}

// cHost is the host's table, which table.c keeps.
type cHost struct{ settings json.RawMessage }

func chars(text string) (*C.char, C.size_t) {
	return (*C.char)(unsafe.Pointer(unsafe.StringData(text))), C.size_t(len(text))
}

func octets(data []byte) (*C.uint8_t, C.size_t) {
	return (*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(data))), C.size_t(len(data))
}

func refused(what string, status C.int64_t) error {
	switch status {
	case C.TYKB_PLUGIN_E_HOST:
		return fmt.Errorf("tykbridge: %s: the gateway could not do it; its log says why", what)
	case C.TYKB_SHIM_E_ABSENT:
		return fmt.Errorf("tykbridge: %s: this gateway does not offer it to plugins", what)
	}
	return fmt.Errorf("tykbridge: %s: the gateway refused it (status %d)", what, int64(status))
}

func (cHost) Log(level, message string) {
	number, known := levels[level]
	if !known {
		number = levels["info"]
	}
	text, size := chars(message)
	C.tykb_shim_log(number, text, size)
}

func (cHost) TriggerEvent(name, payload string) error {
	text, size := chars(name)
	data, dataSize := chars(payload)
	if status := C.tykb_shim_trigger_event(text, size, data, dataSize); status < 0 {
		return refused("trigger an event", C.int64_t(status))
	}
	return nil
}

func (cHost) Get(key string) ([]byte, bool, error) {
	text, size := chars(key)
	for value := make([]byte, 512); ; {
		data, capacity := octets(value)
		n := C.tykb_shim_store_get(text, size, data, capacity)
		switch {
		case n == C.TYKB_PLUGIN_E_NOT_FOUND:
			return nil, false, nil
		case n < 0:
			return nil, false, refused("read from the store", n)
		case int64(n) <= int64(len(value)):
			return value[:n], true, nil
		}
		value = make([]byte, n)
	}
}

func (cHost) Set(key string, value []byte, ttl time.Duration, ifAbsent bool) (bool, error) {
	var flags C.uint32_t
	if ifAbsent {
		flags = C.TYKB_PLUGIN_IF_ABSENT
	}
	text, size := chars(key)
	data, dataSize := octets(value)
	status := C.tykb_shim_store_set(text, size, data, dataSize, milliseconds(ttl), flags)
	if status < 0 {
		return false, refused("write to the store", C.int64_t(status))
	}
	return status == 1, nil
}

func (cHost) Delete(key string) (bool, error) {
	text, size := chars(key)
	status := C.tykb_shim_store_delete(text, size)
	if status < 0 {
		return false, refused("delete from the store", C.int64_t(status))
	}
	return status == 1, nil
}

func (cHost) Increment(key string, by int64, ttl time.Duration) (int64, error) {
	var sum C.int64_t
	text, size := chars(key)
	status := C.tykb_shim_store_increment(text, size, C.int64_t(by), milliseconds(ttl), &sum)
	if status < 0 {
		return 0, refused("count in the store", C.int64_t(status))
	}
	return int64(sum), nil
}

func (cHost) TTL(key string) (time.Duration, bool, error) {
	text, size := chars(key)
	switch left := C.tykb_shim_store_ttl(text, size); {
	case left == C.TYKB_PLUGIN_E_NOT_FOUND:
		return 0, false, nil
	case left < 0:
		return 0, false, refused("ask the store", left)
	case left == 0:
		return -1, true, nil
	default:
		return time.Duration(left) * time.Millisecond, true, nil
	}
}

func (h cHost) Settings() json.RawMessage { return h.settings }

// milliseconds rounds up: 0 would be for good.
func milliseconds(ttl time.Duration) C.int64_t {
	return C.int64_t((ttl + time.Millisecond - 1) / time.Millisecond)
}
