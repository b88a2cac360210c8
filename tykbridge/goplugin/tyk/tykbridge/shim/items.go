package shim

import (
	"encoding/binary"
	"errors"
)

// The tags of csrc/plugin.h.
const (
	tagMethod               = 1
	tagURL                  = 2
	tagScheme               = 3
	tagHost                 = 4
	tagHeader               = 5
	tagDeleteHeader         = 6
	tagBody                 = 7
	tagRemote               = 8
	tagResponseStatus       = 16
	tagResponseHeader       = 17
	tagResponseDeleteHeader = 18
	tagResponseBody         = 19
	tagSession              = 32
	tagToken                = 33
	tagMetadata             = 34
	tagTarget               = 36
	tagKept                 = 40
	tagRecord               = 48
	tagError                = 64
	tagStack                = 65
)

var errMalformed = errors.New("the call's bytes are no items (csrc/plugin.h)")

// message is what a call's items say. Its texts are parts of one string.
type message struct {
	method, url, scheme, host, remote string
	body, token, record               string
	session                           string
	hasSession                        bool
	kept                              uint64 // what the hook before left
	keeps                             bool   // the host passes on what this one leaves
	headers                           pairs
	status                            int
	response                          pairs
	responseBody                      string
	metadata                          map[string]string
}

// pairs are headers in the message's order, a name for each value.
type pairs struct {
	names, values []string
	repeated      bool // a name has several values
}

// add appends to slices that are made for all that may follow in rest: growing them costs more than the hook.
func (p *pairs) add(tag uint32, name, value, rest string) {
	if p.names == nil {
		n := 1
		for len(rest) >= 8 {
			if number(rest) == tag {
				n++
			}
			rest = rest[8+min(uint64(number(rest[4:])), uint64(len(rest)-8)):]
		}
		p.names, p.values = make([]string, 0, n), make([]string, 0, n)
	}
	p.names = append(p.names, name)
	p.values = append(p.values, value)
}

func number(text string) uint32 {
	return uint32(text[0]) | uint32(text[1])<<8 | uint32(text[2])<<16 | uint32(text[3])<<24
}

// read takes items apart; unknown ones are passed over.
func (m *message) read(items string) error {
	for len(items) > 0 {
		if len(items) < 8 {
			return errMalformed
		}
		tag, size := number(items), number(items[4:])
		if uint64(size) > uint64(len(items)-8) {
			return errMalformed
		}
		value := items[8 : 8+size]
		items = items[8+size:]
		switch tag {
		case tagMethod:
			m.method = value
		case tagURL:
			m.url = value
		case tagScheme:
			m.scheme = value
		case tagHost:
			m.host = value
		case tagRemote:
			m.remote = value
		case tagBody:
			m.body = value
		case tagToken:
			m.token = value
		case tagSession:
			m.session, m.hasSession = value, true
		case tagRecord:
			m.record = value
		case tagResponseBody:
			m.responseBody = value
		case tagResponseStatus:
			if size != 4 {
				return errMalformed
			}
			m.status = int(number(value))
		case tagKept:
			if size != 8 {
				return errMalformed
			}
			m.kept, m.keeps = uint64(number(value))|uint64(number(value[4:]))<<32, true
		case tagHeader, tagResponseHeader, tagMetadata:
			if size < 4 || uint64(number(value)) > uint64(size-4) {
				return errMalformed
			}
			end := 4 + number(value)
			switch name, value := value[4:end], value[end:]; tag {
			case tagHeader:
				m.headers.add(tag, name, value, items)
			case tagResponseHeader:
				m.response.add(tag, name, value, items)
			default:
				if m.metadata == nil {
					m.metadata = map[string]string{}
				}
				m.metadata[name] = value
			}
		}
	}
	return nil
}

// reply is a message in the making, in the host's buffer as long as it fits there. Past 4 GiB, which no size counts,
// it is malformed; `tooLarge` says so.
type reply struct {
	items    []byte
	tooLarge bool
}

func (r *reply) head(tag uint32, size int) {
	r.tooLarge = r.tooLarge || uint64(size) > 1<<32-1
	r.items = binary.LittleEndian.AppendUint32(r.items, tag)
	r.items = binary.LittleEndian.AppendUint32(r.items, uint32(size))
}

func (r *reply) text(tag uint32, text string) {
	r.head(tag, len(text))
	r.items = append(r.items, text...)
}

func (r *reply) bytes(tag uint32, data []byte) {
	r.head(tag, len(data))
	r.items = append(r.items, data...)
}

func (r *reply) number(tag uint32, value int) {
	r.head(tag, 4)
	r.items = binary.LittleEndian.AppendUint32(r.items, uint32(value))
}

func (r *reply) pair(tag uint32, name, value string) {
	r.head(tag, 4+len(name)+len(value))
	r.items = binary.LittleEndian.AppendUint32(r.items, uint32(len(name)))
	r.items = append(r.items, name...)
	r.items = append(r.items, value...)
}

func (r *reply) kept(number uint64) {
	r.head(tagKept, 8)
	r.items = binary.LittleEndian.AppendUint64(r.items, number)
}
