/* The one seam through which the library allocates, so that a test can make any allocation fail.
 *
 * Reply bytes come from tykb_reply_alloc, which is plain malloc behind the same seam: the host calls free(). */
#ifndef TYKB_MEM_H
#define TYKB_MEM_H

#include <stddef.h>

void *tykb_mem_alloc(size_t size);
void *tykb_mem_realloc(void *block, size_t size);
void tykb_mem_free(void *block);
void *tykb_reply_alloc(size_t size);

#ifdef TYKB_TEST_ALLOC
/* The n-th allocation from now on fails (1 is the next), and every one after it; 0: none fails. */
void tykb_mem_fail_after(long n);
#endif

#endif
