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

/* What is not nearly always needed is a function of its own, so that it does not make what is larger and slower. */
#define TYKB_ASIDE __attribute__((noinline))
/* What each dispatch does many times over is never one: left alone, compilers decide one way here and another there. */
#define TYKB_HOT static inline __attribute__((always_inline))

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

/* Eight bytes, and four, as the machine has them: to move and to compare. */
static inline uint64_t tykb_wire_load64(const uint8_t *p) {
  uint64_t word;
  memcpy(&word, p, sizeof word);
  return word;
}

static inline uint32_t tykb_wire_load32(const uint8_t *p) {
  uint32_t word;
  memcpy(&word, p, sizeof word);
  return word;
}

/* One field of a message: its number and type, its value, and where it stands. */
struct tykb_wire_field {
  uint32_t number;
  uint32_t type;        /* enum tykb_wire_type */
  uint64_t varint;      /* TYKB_WIRE_VARINT, I64, I32 */
  struct tykb_span len; /* TYKB_WIRE_LEN: the payload. A group: everything between its two tags. */
};

/* The slow half of tykb_wire_varint: more than one byte. NULL when it does not end within `end` or ten bytes. */
TYKB_ASIDE const uint8_t *tykb_wire_varint_long(const uint8_t *p, const uint8_t *end, uint64_t *value);

/* Reads a varint at `p` < `end`; returns what follows it, or NULL. */
static inline const uint8_t *tykb_wire_varint(const uint8_t *p, const uint8_t *end, uint64_t *value) {
  if (p < end && *p < 0x80) {
    *value = *p;
    return p + 1;
  }
  return tykb_wire_varint_long(p, end, value);
}

/* The payload of the length-delimited field at `p` < `end`, whose tag takes one byte, where its length takes one or two.
 * Returns what follows it; NULL where the length takes more, or the field may not be all there: tykb_wire_next tells. */
TYKB_HOT const uint8_t *tykb_wire_short(const uint8_t *p, const uint8_t *end, struct tykb_span *payload) {
  size_t left = (size_t)(end - p), size;
  if (left < 2) return NULL;
  if ((size = p[1]) < 0x80) {
    if (left - 2 < size) return NULL;
    p += 2;
  } else {
    if (left < 3 || p[2] >= 0x80) return NULL;
    size = (size & 0x7f) | (size_t)p[2] << 7;
    if (left - 3 < size) return NULL;
    p += 3;
  }
  payload->data = p;
  payload->size = size;
  return p + size;
}

/* The slow half of tykb_wire_next: everything but what nearly all fields are. */
TYKB_ASIDE const uint8_t *tykb_wire_next_long(const uint8_t *p, const uint8_t *end, struct tykb_wire_field *field);

/* Reads the field at `p` < `end`; returns what follows it, or NULL where the bytes are no field. Here: a tag of one byte
 * with a length of one or two, or with a number of one. */
TYKB_HOT const uint8_t *tykb_wire_next(const uint8_t *p, const uint8_t *end, struct tykb_wire_field *field) {
  uint32_t number = p[0] >> 3, type = p[0] & 7;
  struct tykb_span payload;
  const uint8_t *next;
  if (p[0] >= 8 && p[0] < 0x80) {
    if (type == TYKB_WIRE_LEN && (next = tykb_wire_short(p, end, &payload))) {
      field->number = number;
      field->type = type;
      field->len = payload;
      return next;
    }
    if (type == TYKB_WIRE_VARINT && end - p >= 2 && p[1] < 0x80) {
      field->number = number;
      field->type = type;
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

/* Names are short: up to 16 bytes are copied, and compared, without a call: from both ends, overlapping in the middle. */
TYKB_HOT uint8_t *tykb_wire_put_bytes(uint8_t *p, const void *data, size_t size) {
  const uint8_t *from = data;
  if (size > 16) {
    memcpy(p, from, size);
  } else if (size >= 8) {
    uint64_t head = tykb_wire_load64(from), tail = tykb_wire_load64(from + size - 8);
    memcpy(p, &head, 8);
    memcpy(p + size - 8, &tail, 8);
  } else if (size >= 4) {
    uint32_t head = tykb_wire_load32(from), tail = tykb_wire_load32(from + size - 4);
    memcpy(p, &head, 4);
    memcpy(p + size - 4, &tail, 4);
  } else if (size) {
    uint8_t head = from[0], middle = from[size / 2], tail = from[size - 1];
    p[0] = head;
    p[size / 2] = middle;
    p[size - 1] = tail;
  }
  return p + size;
}

/* Whether two texts of the same size are the same. */
static inline bool tykb_wire_same(const uint8_t *a, const uint8_t *b, size_t size) {
  if (size > 16) return memcmp(a, b, size) == 0;
  if (size >= 8)
    return ((tykb_wire_load64(a) ^ tykb_wire_load64(b)) |
            (tykb_wire_load64(a + size - 8) ^ tykb_wire_load64(b + size - 8))) == 0;
  if (size >= 4)
    return ((tykb_wire_load32(a) ^ tykb_wire_load32(b)) |
            (tykb_wire_load32(a + size - 4) ^ tykb_wire_load32(b + size - 4))) == 0;
  return !size || (a[0] == b[0] && a[size / 2] == b[size / 2] && a[size - 1] == b[size - 1]);
}

static inline uint32_t tykb_wire_tag(uint32_t number, uint32_t type) { return number << 3 | type; }

/* Whether the bytes are UTF-8 as protobuf means it: no surrogates, nothing overlong, at most U+10FFFF. */
bool tykb_wire_is_utf8(const uint8_t *data, size_t size);

#endif
