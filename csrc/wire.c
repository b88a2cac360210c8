/* Protobuf's wire format: the slow halves of wire.h, and the UTF-8 check. */
#include "wire.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define MAX_NUMBER ((1u << 29) - 1)
#define MAX_SHORT 5 /* bytes of a varint that counts 32 bits: a tag, a length */

/* Bits past the 64th of a tenth byte are dropped, as protobuf's own parsers drop them. */
const uint8_t *tykb_wire_varint_long(const uint8_t *p, const uint8_t *end, uint64_t *value) {
  uint64_t sum = 0;

  for (unsigned shift = 0; shift < 70 && p < end; shift += 7) {
    uint8_t byte = *p++;

    sum |= (uint64_t)(byte & 0x7f) << shift;
    if (byte < 0x80) {
      *value = sum;
      return p;
    }
  }
  return NULL;
}

static uint64_t load_little(const uint8_t *p, unsigned size) {
  uint64_t value = 0;

  for (unsigned i = 0; i < size; i++) value |= (uint64_t)p[i] << (8 * i);
  return value;
}

/* A tag and, unless it opens a group, what follows it. An end tag is given out, for the caller to judge. */
static const uint8_t *read_flat(const uint8_t *p, const uint8_t *end, struct tykb_wire_field *field) {
  const uint8_t *start = p;
  uint64_t tag, size;

  p = tykb_wire_varint(p, end, &tag);
  if (!p || p - start > MAX_SHORT || tag >> 3 == 0 || tag >> 3 > MAX_NUMBER) return NULL;
  field->number = (uint32_t)(tag >> 3);
  field->type = (uint32_t)(tag & 7);
  switch (field->type) {
    case TYKB_WIRE_VARINT:
      return tykb_wire_varint(p, end, &field->varint);
    case TYKB_WIRE_I64:
    case TYKB_WIRE_I32:
      size = field->type == TYKB_WIRE_I64 ? 8 : 4;
      if ((size_t)(end - p) < size) return NULL;
      field->varint = load_little(p, (unsigned)size);
      return p + size;
    case TYKB_WIRE_LEN:
      start = p;
      p = tykb_wire_varint(p, end, &size);
      if (!p || p - start > MAX_SHORT || size > (size_t)(end - p)) return NULL;
      field->len.data = p;
      field->len.size = (size_t)size;
      return p + size;
    case TYKB_WIRE_SGROUP:
    case TYKB_WIRE_EGROUP:
      return p;
    default:
      return NULL;
  }
}

/* Finds the end of the group `field`, whose content starts at `p`. A stack of its own instead of recursion: the bytes
 * decide how deep it goes, and each of them is read once. */
static const uint8_t *read_group(const uint8_t *p, const uint8_t *end, struct tykb_wire_field *field) {
  uint32_t open[TYKB_WIRE_DEPTH];
  size_t depth = 0;
  const uint8_t *start = p;
  struct tykb_wire_field inner;

  open[depth++] = field->number;
  while (p < end) {
    const uint8_t *at = p;

    p = read_flat(p, end, &inner);
    if (!p) return NULL;
    if (inner.type == TYKB_WIRE_SGROUP) {
      if (depth == TYKB_WIRE_DEPTH) return NULL;
      open[depth++] = inner.number;
    } else if (inner.type == TYKB_WIRE_EGROUP) {
      if (inner.number != open[--depth]) return NULL;
      if (depth == 0) {
        field->len.data = start;
        field->len.size = (size_t)(at - start);
        return p;
      }
    }
  }
  return NULL;
}

const uint8_t *tykb_wire_next_long(const uint8_t *p, const uint8_t *end, struct tykb_wire_field *field) {
  if (p >= end) return NULL;
  p = read_flat(p, end, field);
  if (!p || field->type == TYKB_WIRE_EGROUP) return NULL;
  return field->type == TYKB_WIRE_SGROUP ? read_group(p, end, field) : p;
}

/* Passes over ASCII in big steps; stops somewhere at or before the first byte that is none, or near the end. */
static const uint8_t *skip_ascii(const uint8_t *p, const uint8_t *end) {
#if defined(__SSE2__)
  while (end - p >= 64) {
    const __m128i *block = (const __m128i *)(const void *)p;
    __m128i a = _mm_or_si128(_mm_loadu_si128(block), _mm_loadu_si128(block + 1));
    __m128i b = _mm_or_si128(_mm_loadu_si128(block + 2), _mm_loadu_si128(block + 3));

    if (_mm_movemask_epi8(_mm_or_si128(a, b))) break;
    p += 64;
  }
  while (end - p >= 16 && !_mm_movemask_epi8(_mm_loadu_si128((const __m128i *)(const void *)p))) p += 16;
#endif
  while (end - p >= 8) {
    uint64_t word;

    memcpy(&word, p, sizeof word);
    if (word & 0x8080808080808080u) break;
    p += 8;
  }
  return p;
}

/* The length of the sequence at `p`, 0 where it is none: table 3-7 of the Unicode standard. */
static size_t sequence_size(const uint8_t *p, size_t left) {
  uint8_t lead = p[0], low = 0x80, high = 0xbf;
  size_t size;

  if (lead < 0x80) return 1;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  size = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (left < size) return 0;
  if (lead == 0xe0) low = 0xa0;  /* below: overlong */
  if (lead == 0xed) high = 0x9f; /* above: surrogates */
  if (lead == 0xf0) low = 0x90;  /* below: overlong */
  if (lead == 0xf4) high = 0x8f; /* above: past U+10FFFF */
  if (p[1] < low || p[1] > high) return 0;
  for (size_t i = 2; i < size; i++)
    if ((p[i] & 0xc0) != 0x80) return 0;
  return size;
}

bool tykb_wire_is_utf8(const uint8_t *data, size_t size) {
  const uint8_t *p = data;
  const uint8_t *end;

  if (!size) return true; /* `data` may be NULL then */
  end = data + size;
  while (p < end) {
    size_t step;

    if (*p < 0x80) {
      p = skip_ascii(p, end);
      while (p < end && *p < 0x80) p++;
    }
    while (p < end && *p >= 0x80) {
      step = sequence_size(p, (size_t)(end - p));
      if (!step) return false;
      p += step;
    }
  }
  return true;
}
