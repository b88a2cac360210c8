// Package fakehost is a gateway for the tests of this module.
package fakehost

import (
	"encoding/json"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/TykTechnologies/tyk/tykbridge"
)

// ErrDown is what the store answers while it is down.
var ErrDown = errors.New("the store is down")

// Line is a line of the log.
type Line struct{ Level, Message string }

type item struct {
	value []byte
	ttl   time.Duration // 0: for good
}

// Host keeps what plugins gave it.
type Host struct {
	lock  sync.Mutex
	lines []Line
	items map[string]item

	Down bool            // the store is; set before use
	Conf json.RawMessage // tyk.conf; likewise
}

var _ tykbridge.Host = (*Host)(nil)

// Connect makes a host the module's.
func Connect(conf string) *Host {
	host := &Host{items: map[string]item{}}
	if conf != "" {
		host.Conf = json.RawMessage(conf)
	}
	tykbridge.Connect(host)
	return host
}

// Lines gives the lines of the log since it was asked last.
func (h *Host) Lines() []Line {
	h.lock.Lock()
	defer h.lock.Unlock()
	lines := h.lines
	h.lines = nil
	return lines
}

// Log keeps a line.
func (h *Host) Log(level, message string) {
	h.lock.Lock()
	defer h.lock.Unlock()
	h.lines = append(h.lines, Line{level, message})
}

// TriggerEvent does nothing.
func (h *Host) TriggerEvent(string, string) error { return nil }

// Get gives a value.
func (h *Host) Get(key string) ([]byte, bool, error) {
	h.lock.Lock()
	defer h.lock.Unlock()
	if h.Down {
		return nil, false, ErrDown
	}
	found, is := h.items[key]
	return found.value, is, nil
}

// Set keeps a value.
func (h *Host) Set(key string, value []byte, ttl time.Duration, ifAbsent bool) (bool, error) {
	h.lock.Lock()
	defer h.lock.Unlock()
	if h.Down {
		return false, ErrDown
	}
	if _, is := h.items[key]; is && ifAbsent {
		return false, nil
	}
	h.items[key] = item{value, ttl}
	return true, nil
}

// Delete removes a value.
func (h *Host) Delete(key string) (bool, error) {
	h.lock.Lock()
	defer h.lock.Unlock()
	if h.Down {
		return false, ErrDown
	}
	_, is := h.items[key]
	delete(h.items, key)
	return is, nil
}

// Increment counts.
func (h *Host) Increment(key string, by int64, ttl time.Duration) (int64, error) {
	h.lock.Lock()
	defer h.lock.Unlock()
	if h.Down {
		return 0, ErrDown
	}
	found, is := h.items[key]
	if !is {
		found.ttl = ttl
	}
	count, _ := strconv.ParseInt(string(found.value), 10, 64)
	count += by
	found.value = []byte(strconv.FormatInt(count, 10))
	h.items[key] = found
	return count, nil
}

// TTL gives the time that a value was kept for.
func (h *Host) TTL(key string) (time.Duration, bool, error) {
	h.lock.Lock()
	defer h.lock.Unlock()
	found, is := h.items[key]
	switch {
	case h.Down:
		return 0, false, ErrDown
	case is && found.ttl == 0:
		return -1, true, nil
	}
	return found.ttl, is, nil
}

// Settings gives Conf.
func (h *Host) Settings() json.RawMessage { return h.Conf }
