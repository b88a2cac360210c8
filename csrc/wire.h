/* Protobuf's wire format: reads a tag, a varint, a field; writes them. No state, no allocation.
 *
 * Bytes are hostile: every length is checked against what is left before it is used, a varint ends after ten bytes, and
 * groups (which only unknown fields can be) nest at most TYKB_WIRE_DEPTH deep. */
#ifndef TYKB_WIRE_H
#define TYKB_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define TYKB_WIRE_DEPTH 100

enum tykb_wire_type {
  TYKB_WIRE_VARINT = 0,
  TYKB_WIRE_I64 = 1,
  TYKB_WIRE_LEN = 2,
  TYKB_WIRE_SGROUP = 3,
  TYKB_WIRE_EGROUP = 4,
  TYKB_WIRE_I32 = 5
};

/* Bytes that somebody else owns. */
struct tykb_span {
  const uint8_t *data;
  size_t size;
};

/* What follows the last byte. NULL + 0, which an empty span would give, is undefined in C. */
static inline const uint8_t *tykb_span_end(struct tykb_span span) {
  return span.size ? span.data + span.size : span.data;
}

/* One field of a message: its number and type, its value, and where it stands. */
struct tykb_wire_field {
  uint32_t number;
  uint32_t type;        /* enum tykb_wire_type */
  uint64_t varint;      /* TYKB_WIRE_VARINT, I64, I32 */
  struct tykb_span len; /* TYKB_WIRE_LEN: the payload. A group: everything between its two tags. */
};

/* The slow half of tykb_wire_varint: more than one byte. NULL when it does not end within `end` or ten bytes. */
const uint8_t *tykb_wire_varint_long(const uint8_t *p, const uint8_t *end, uint64_t *value);

/* Reads a varint at `p` < `end`; returns what follows it, or NULL. */
static inline const uint8_t *tykb_wire_varint(const uint8_t *p, const uint8_t *end, uint64_t *value) {
  if (p < end && *p < 0x80) {
    *value = *p;
    return p + 1;
  }
  return tykb_wire_varint_long(p, end, value);
}

/* The slow half of tykb_wire_next: everything but what nearly all fields are. */
const uint8_t *tykb_wire_next_long(const uint8_t *p, const uint8_t *end, struct tykb_wire_field *field);

/* Reads the field at `p` < `end`; returns what follows it, or NULL where the bytes are no field. Here: a tag of one byte
 * with a length of one or two, or with a number of one. */
static inline const uint8_t *tykb_wire_next(const uint8_t *p, const uint8_t *end, struct tykb_wire_field *field) {
  if (end - p >= 3 && p[0] >= 8 && p[0] < 0x80) {
    uint32_t type = p[0] & 7;
    field->number = p[0] >> 3;
    field->type = type;
    if (type == TYKB_WIRE_LEN && (p[1] & p[2]) < 0x80) {
      bool two = p[1] >= 0x80;
      size_t size = two ? (size_t)(p[1] & 0x7f) | (size_t)p[2] << 7 : p[1];
      const uint8_t *data = p + 2 + two;
      if ((size_t)(end - data) >= size) {
        field->len.data = data;
        field->len.size = size;
        return data + size;
      }
    }
    if (type == TYKB_WIRE_VARINT && p[1] < 0x80) {
      field->varint = p[1];
      return p + 2;
    }
  }
  return tykb_wire_next_long(p, end, field);
}

/* How many bytes a varint takes. */
static inline size_t tykb_wire_varint_size(uint64_t value) {
  size_t size = 1;
  while (value >= 0x80) {
    value >>= 7;
    size++;
  }
  return size;
}

/* Writes a varint; returns what follows it. */
static inline uint8_t *tykb_wire_put_varint(uint8_t *p, uint64_t value) {
  while (value >= 0x80) {
    *p++ = (uint8_t)(value | 0x80);
    value >>= 7;
  }
  *p++ = (uint8_t)value;
  return p;
}

static inline uint8_t *tykb_wire_put_fixed64(uint8_t *p, uint64_t value) {
  for (int i = 0; i < 8; i++) *p++ = (uint8_t)(value >> (8 * i));
  return p;
}

static inline uint8_t *tykb_wire_put_bytes(uint8_t *p, const void *data, size_t size) {
  if (size) memcpy(p, data, size);
  return p + size;
}

static inline uint32_t tykb_wire_tag(uint32_t number, uint32_t type) { return number << 3 | type; }

/* Whether the bytes are UTF-8 as protobuf means it: no surrogates, nothing overlong, at most U+10FFFF. */
bool tykb_wire_is_utf8(const uint8_t *data, size_t size);

#endif
