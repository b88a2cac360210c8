/* Unit tests of csrc/wire.c. A vector is a line: the bytes, and what they are. */
#include "check.h"

/* The field at the front of `bytes`: its size on the wire, 0 where it is malformed. Checks that no shorter prefix reads
 * past its end. */
static size_t next(struct tykb_span bytes, struct tykb_wire_field *field) {
  struct tykb_wire_field ignored;
  struct tykb_span heap;
  const uint8_t *p;
  size_t used;

  for (size_t size = 1; size < bytes.size; size++) {
    heap = check_heap((struct tykb_span){bytes.data, size});
    p = tykb_wire_next(heap.data, heap.data + size, &ignored);
    CHECK(!p || (p > heap.data && p <= heap.data + size));
    free((void *)heap.data);
  }
  heap = check_heap(bytes);
  p = tykb_wire_next(heap.data, heap.data + heap.size, field);
  used = p ? (size_t)(p - heap.data) : 0;
  if (p && (field->type == TYKB_WIRE_LEN || field->type == TYKB_WIRE_SGROUP))
    field->len.data = bytes.data + (field->len.data - heap.data);
  free((void *)heap.data);
  return used;
}

#define IS(literal, number_, type_)                                                                                    \
  (next(BYTES(literal), &field) == sizeof(literal) - 1 && field.number == (number_) && field.type == (type_))
#define IS_VARINT(literal, number_, value) (IS(literal, number_, TYKB_WIRE_VARINT) && field.varint == (value))
#define IS_LEN(literal, number_, content) (IS(literal, number_, TYKB_WIRE_LEN) && check_same(field.len, BYTES(content)))
#define IS_MALFORMED(literal) (next(BYTES(literal), &field) == 0)

static void test_varint_fields(void) {
  struct tykb_wire_field field;

  CHECK(IS_VARINT("\x08\x00", 1, 0));
  CHECK(IS_VARINT("\x08\x7f", 1, 127));
  CHECK(IS_VARINT("\x08\x80\x01", 1, 128));
  CHECK(IS_VARINT("\x08\xac\x02", 1, 300));
  CHECK(IS_VARINT("\x78\x01", 15, 1));
  CHECK(IS_VARINT("\x80\x01\x01", 16, 1));
  CHECK(IS_VARINT("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 1, UINT64_MAX));
  CHECK(IS_VARINT("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 1, UINT64_MAX)); /* bits past 64 are dropped */
  CHECK(IS_VARINT("\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 1, 0));          /* overlong */
  CHECK(IS_MALFORMED("\x08"));
  CHECK(IS_MALFORMED("\x08\x80"));
  CHECK(IS_MALFORMED("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")); /* eleven bytes */
}

static void test_tags(void) {
  struct tykb_wire_field field;

  CHECK(IS_VARINT("\xf8\xff\xff\xff\x0f\x01", (1u << 29) - 1, 1)); /* the largest number */
  CHECK(IS_VARINT("\x88\x80\x80\x80\x00\x01", 1, 1));              /* overlong, but five bytes */
  CHECK(IS_MALFORMED("\x88\x80\x80\x80\x80\x00\x01"));             /* six */
  CHECK(IS_MALFORMED("\x88\x80\x80\x80\x10\x01"));                 /* a number past 2^29 - 1 */
  CHECK(IS_MALFORMED("\x00\x01"));                                 /* number 0 */
  CHECK(IS_MALFORMED("\x02\x00"));                                 /* number 0, length-delimited: the inline path */
  CHECK(IS_MALFORMED("\x0e\x01"));                                 /* wire type 6 */
  CHECK(IS_MALFORMED("\x0f\x01"));                                 /* wire type 7 */
  CHECK(IS_MALFORMED("\x80"));
}

static void test_fixed_fields(void) {
  struct tykb_wire_field field;

  CHECK(IS("\x0d\x01\x02\x03\x04", 1, TYKB_WIRE_I32) && field.varint == 0x04030201);
  CHECK(IS("\x09\x01\x02\x03\x04\x05\x06\x07\x88", 1, TYKB_WIRE_I64) && field.varint == 0x8807060504030201);
  CHECK(IS_MALFORMED("\x0d\x01\x02\x03"));
  CHECK(IS_MALFORMED("\x09\x01\x02\x03\x04\x05\x06\x07"));
}

static void test_length_delimited_fields(void) {
  struct tykb_wire_field field;
  uint8_t large[203] = {0x0a, 0xc8, 0x01};

  CHECK(IS_LEN("\x0a\x00", 1, ""));
  CHECK(IS_LEN("\x0a\x03xyz", 1, "xyz"));
  CHECK(IS_LEN("\x82\x01\x01z", 16, "z"));
  CHECK(IS_LEN("\x0a\x81\x80\x80\x80\x00z", 1, "z")); /* an overlong length of five bytes */
  CHECK(next((struct tykb_span){large, 203}, &field) == 203 && field.len.size == 200);
  CHECK(next((struct tykb_span){large, 202}, &field) == 0);
  CHECK(IS_MALFORMED("\x0a"));
  CHECK(IS_MALFORMED("\x0a\x01"));
  CHECK(IS_MALFORMED("\x0a\x04xyz"));
  CHECK(IS_MALFORMED("\x0a\x81\x80\x80\x80\x80\x00z"));
  CHECK(IS_MALFORMED("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")); /* a length of 2^64 - 1 must not wrap */
  CHECK(IS_MALFORMED("\x0a\xff\xff\xff\xff\x07z"));                    /* 2 GB - 1 */
}

static void test_groups(void) {
  struct tykb_wire_field field;

  CHECK(IS("\x0b\x0c", 1, TYKB_WIRE_SGROUP) && field.len.size == 0);
  CHECK(IS("\x0b\x10\x05\x0c", 1, TYKB_WIRE_SGROUP) && check_same(field.len, BYTES("\x10\x05")));
  CHECK(IS("\x0b\x13\x14\x0c", 1, TYKB_WIRE_SGROUP) && check_same(field.len, BYTES("\x13\x14")));
  CHECK(next(BYTES("\x0b\x0c\x10\x05"), &field) == 2); /* it ends at its end */
  CHECK(IS_MALFORMED("\x0b"));
  CHECK(IS_MALFORMED("\x0b\x10\x05"));
  CHECK(IS_MALFORMED("\x0b\x14"));         /* closed by another number */
  CHECK(IS_MALFORMED("\x0b\x13\x0c\x14")); /* crossed */
  CHECK(IS_MALFORMED("\x0b\x0a\x05\x0c")); /* a string runs over the end */
  CHECK(IS_MALFORMED("\x0c"));             /* an end without a beginning */
}

static void test_groups_nest_as_deep_as_protobuf_lets_them(void) {
  struct tykb_wire_field field;
  uint8_t bytes[2 * (TYKB_WIRE_DEPTH + 1)];

  for (size_t depth = TYKB_WIRE_DEPTH - 1; depth <= TYKB_WIRE_DEPTH + 1; depth++) {
    struct tykb_span heap;
    const uint8_t *p;

    memset(bytes, 0x0b, depth);
    memset(bytes + depth, 0x0c, depth);
    heap = check_heap((struct tykb_span){bytes, 2 * depth});
    p = tykb_wire_next(heap.data, heap.data + heap.size, &field);
    CHECK(depth <= TYKB_WIRE_DEPTH ? p == heap.data + heap.size : !p);
    free((void *)heap.data);
  }
}

static void test_nothing_is_read_at_the_end(void) {
  struct tykb_wire_field field;
  uint64_t value;
  uint8_t none = 0;

  CHECK(!tykb_wire_next(&none, &none, &field));
  CHECK(!tykb_wire_varint(&none, &none, &value));
}

static void test_a_written_varint_reads_back(void) {
  for (unsigned bit = 0; bit <= 64; bit++)
    for (int offset = -1; offset <= 1; offset++) {
      uint64_t value = (bit < 64 ? UINT64_C(1) << bit : 0) + (uint64_t)(int64_t)offset, back;
      uint8_t bytes[10];
      size_t size = (size_t)(tykb_wire_put_varint(bytes, value) - bytes);

      CHECK(size == tykb_wire_varint_size(value));
      CHECK(tykb_wire_varint(bytes, bytes + size, &back) == bytes + size && back == value);
      CHECK(!tykb_wire_varint(bytes, bytes + size - 1, &back));
    }
}

/* ---- UTF-8 ---- */

/* The text alone, and at every place in ASCII of a length that uses each of the steps (64, 16, 8, 1 byte). */
static int is_utf8(struct tykb_span text) {
  int alone = tykb_wire_is_utf8(text.data, text.size);

  for (size_t size = text.size; size < text.size + 180; size += 7)
    for (size_t at = 0; at + text.size <= size; at += 5) {
      uint8_t *long_text = malloc(size ? size : 1);

      if (!long_text) abort();
      memset(long_text, 'a', size);
      memcpy(long_text + at, text.data, text.size);
      CHECK(tykb_wire_is_utf8(long_text, size) == alone);
      free(long_text);
    }
  return alone;
}

static void test_utf8(void) {
  CHECK(is_utf8(BYTES("")));
  CHECK(is_utf8(BYTES("\x00")));
  CHECK(is_utf8(BYTES("\x7f")));
  CHECK(is_utf8(BYTES("\xc2\x80")));         /* U+0080 */
  CHECK(is_utf8(BYTES("\xdf\xbf")));         /* U+07FF */
  CHECK(is_utf8(BYTES("\xe0\xa0\x80")));     /* U+0800 */
  CHECK(is_utf8(BYTES("\xed\x9f\xbf")));     /* U+D7FF */
  CHECK(is_utf8(BYTES("\xee\x80\x80")));     /* U+E000 */
  CHECK(is_utf8(BYTES("\xef\xbf\xbf")));     /* U+FFFF */
  CHECK(is_utf8(BYTES("\xf0\x90\x80\x80"))); /* U+10000 */
  CHECK(is_utf8(BYTES("\xf4\x8f\xbf\xbf"))); /* U+10FFFF */
  CHECK(is_utf8(BYTES("gr\xc3\xbc\xc3\x9f \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x90\x8d!")));
  CHECK(tykb_wire_is_utf8(NULL, 0));
}

static void test_not_utf8(void) {
  CHECK(!is_utf8(BYTES("\x80"))); /* a continuation alone */
  CHECK(!is_utf8(BYTES("\xff")));
  CHECK(!is_utf8(BYTES("\xc3"))); /* cut off */
  CHECK(!is_utf8(BYTES("\xe6\x97")));
  CHECK(!is_utf8(BYTES("\xf0\x9f\x90")));
  CHECK(!is_utf8(BYTES("\xc3\x28"))); /* no continuation */
  CHECK(!is_utf8(BYTES("\xe6\x97\x28")));
  CHECK(!is_utf8(BYTES("\xe6\x97\xc0")));
  CHECK(!is_utf8(BYTES("\xe6\x28\x97")));
  CHECK(!is_utf8(BYTES("\xf0\x9f\x90\x28")));
  CHECK(!is_utf8(BYTES("\xf0\x9f\x90\xff")));
  CHECK(!is_utf8(BYTES("\xc0\x80"))); /* overlong */
  CHECK(!is_utf8(BYTES("\xc1\xbf")));
  CHECK(!is_utf8(BYTES("\xe0\x9f\xbf")));
  CHECK(!is_utf8(BYTES("\xf0\x8f\xbf\xbf")));
  CHECK(!is_utf8(BYTES("\xed\xa0\x80"))); /* a surrogate */
  CHECK(!is_utf8(BYTES("\xed\xbf\xbf")));
  CHECK(!is_utf8(BYTES("\xf4\x90\x80\x80"))); /* past U+10FFFF */
  CHECK(!is_utf8(BYTES("\xf5\x80\x80\x80")));
}

/* All of Unicode, against the encoder's arithmetic; and all pairs of bytes, against it too. */
static void test_utf8_exhaustively(void) {
  size_t good = 0, pairs = 0;

  for (uint32_t c = 0; c <= 0x1fffff; c++) {
    uint8_t b[4] = {(uint8_t)c, 0, 0, 0};
    size_t size = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

    if (size > 1) {
      b[0] = (uint8_t)((0xf00 >> size) | c >> 6 * (size - 1));
      for (size_t i = 1; i < size; i++) b[i] = (uint8_t)(0x80 | (c >> 6 * (size - 1 - i) & 0x3f));
    }
    good += tykb_wire_is_utf8(b, size);
  }
  CHECK(good == 0x110000 - 0x800);
  for (uint32_t c = 0; c < 0x10000; c++) {
    uint8_t b[2] = {(uint8_t)(c >> 8), (uint8_t)c};

    pairs += tykb_wire_is_utf8(b, 2);
  }
  CHECK(pairs == 128 * 128 + 30 * 64); /* two of ASCII, or one of two bytes */
}

int main(void) {
  RUN(test_varint_fields);
  RUN(test_tags);
  RUN(test_fixed_fields);
  RUN(test_length_delimited_fields);
  RUN(test_groups);
  RUN(test_groups_nest_as_deep_as_protobuf_lets_them);
  RUN(test_nothing_is_read_at_the_end);
  RUN(test_a_written_varint_reads_back);
  RUN(test_utf8);
  RUN(test_not_utf8);
  RUN(test_utf8_exhaustively);
  return check_report();
}
