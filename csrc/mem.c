/* Allocates. See mem.h. */
#include "mem.h"

#include <stdlib.h>
#include <string.h>

#ifdef TYKB_TEST_ALLOC
#include <stdatomic.h>

/* How many allocations until one fails: 0 none ever does, 1 the next one and all after it. */
static atomic_long countdown;

void tykb_mem_fail_after(long n) { atomic_store(&countdown, n); }

static bool must_fail(void) {
  long left = atomic_load(&countdown);
  while (left > 1)
    if (atomic_compare_exchange_weak(&countdown, &left, left - 1)) return false;
  return left == 1;
}

/* Not zero, so that a member that nobody set shows. */
static void *fresh(size_t size) {
  void *block = must_fail() ? NULL : malloc(size ? size : 1);
  if (block) memset(block, 0xa5, size);
  return block;
}
#else
#define must_fail() 0
#define fresh(size) malloc((size) ? (size) : 1)
#endif

/* An allocation of nothing is one byte, so that NULL always means that memory is lacking. */
void *tykb_mem_alloc(size_t size) { return fresh(size); }

void *tykb_mem_realloc(void *block, size_t size) { return must_fail() ? NULL : realloc(block, size ? size : 1); }

void tykb_mem_free(void *block) { free(block); }

void *tykb_reply_alloc(size_t size) { return fresh(size); }

bool tykb_mem_adopt(void *to, size_t to_size, const void *from, size_t from_size) {
  size_t shared = from_size < to_size ? from_size : to_size;
  const unsigned char *bytes = from;
  memcpy(to, from, shared);
  memset((char *)to + shared, 0, to_size - shared);
  while (shared < from_size && !bytes[shared]) shared++;
  return shared == from_size;
}
