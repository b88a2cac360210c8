/* What hooks of a chain set among a request's headers: moved to where the next hook finds it, without a message made anew.
 *
 * Memory and threads as in object.h. */
#ifndef TYKB_HEADERS_H
#define TYKB_HEADERS_H

#include "object.h"

/* A header that was set. Its text belongs to the context. */
struct tykb_header {
  struct tykb_header *next;
  struct tykb_span name; /* as it was spelled last */
  struct tykb_span value;
};

/* What all hooks so far set, in the order of the first time; each name once, whatever its case. */
struct tykb_headers {
  struct tykb_header *first;
};

/* Takes what a hook put into `set_headers` of a MiniRequestObject out of there, puts it into its `headers`, and notes it in
 * `set`. `before` is what tykb_node_writes said when the hook was called.
 *
 * 1: done. 0: nothing was done, because the hook wrote something else besides, or a header that needs a closer look (it is
 * there in another spelling, or is none that HTTP allows). Negative: a status; the tree is no longer of use. */
int tykb_headers_take(struct tykb_node *request, uint32_t before, struct tykb_headers *set);

/* The value of a header in `headers` of a MiniRequestObject, of its first spelling should there be several. TYKB_OK,
 * TYKB_E_NOT_FOUND, or what reading failed with. Borrowed until the next change. */
int tykb_headers_find(struct tykb_node *request, struct tykb_span name, struct tykb_span *value);

#endif
