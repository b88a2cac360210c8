/* The test runner of the C unit tests: RUN(test) runs it, CHECK(condition) fails it. One program per module. */
#ifndef TYKB_TESTS_CHECK_H
#define TYKB_TESTS_CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire.h"

/* A string behind its length, which the name says. */
#define S1(string) "\x01" string
#define S2(string) "\x02" string
#define S3(string) "\x03" string
#define S4(string) "\x04" string
#define S7(string) "\x07" string
#define S8(string) "\x08" string
#define S11(string) "\x0b" string
#define S15(string) "\x0f" string
#define S16(string) "\x10" string
#define S21(string) "\x15" string
#define S22(string) "\x16" string
#define S27(string) "\x1b" string

static int check_passed, check_failed, check_fault;

/* Bytes of a literal, zeros within it included. */
#define BYTES(literal) ((struct tykb_span){(const uint8_t *)(literal), sizeof(literal) - 1})

#define CHECK(condition)                                                                                               \
  do {                                                                                                                 \
    if (!(condition)) {                                                                                                \
      fprintf(stderr, "%s:%d: %s: not so: %s\n", __FILE__, __LINE__, __func__, #condition);                            \
      check_fault = 1;                                                                                                 \
    }                                                                                                                  \
  } while (0)

#define RUN(test)                                                                                                      \
  do {                                                                                                                 \
    check_fault = 0;                                                                                                   \
    test();                                                                                                            \
    if (check_fault)                                                                                                   \
      check_failed++;                                                                                                  \
    else                                                                                                               \
      check_passed++;                                                                                                  \
  } while (0)

static inline int check_report(void) {
  printf("%d passed, %d failed\n", check_passed, check_failed);
  return check_failed != 0;
}

/* The bytes on the heap and nowhere else, so that a sanitizer sees a read past their end. */
static inline struct tykb_span check_heap(struct tykb_span bytes) {
  uint8_t *copy = calloc(bytes.size ? bytes.size : 1, 1);
  if (!copy) abort();
  if (bytes.size) memcpy(copy, bytes.data, bytes.size);
  return (struct tykb_span){copy, bytes.size};
}

static inline int check_same(struct tykb_span a, struct tykb_span b) {
  return a.size == b.size && (!a.size || !memcmp(a.data, b.data, a.size));
}

#endif
