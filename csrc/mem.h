/* The one seam through which the library allocates, so that a test can make any allocation fail.
 *
 * Reply bytes come from tykb_reply_alloc, which is plain malloc behind the same seam: the host calls free(). */
#ifndef TYKB_MEM_H
#define TYKB_MEM_H

#include <stdbool.h>
#include <stddef.h>

void *tykb_mem_alloc(size_t size);
void *tykb_mem_realloc(void *block, size_t size);
void tykb_mem_free(void *block);
void *tykb_reply_alloc(size_t size);

/* Takes over a struct of a caller who may know an earlier or a later release of it: what is not there is zero. Returns
 * whether nothing was left behind, that is, whether the members which `to` does not have are zero. */
bool tykb_mem_adopt(void *to, size_t to_size, const void *from, size_t from_size);

#ifdef TYKB_TEST_ALLOC
/* The n-th allocation from now on fails (1 is the next), and every one after it; 0: none fails. */
void tykb_mem_fail_after(long n);
#endif

#endif
