/* Puts a failure into words. */
#ifndef TYKB_STATUS_H
#define TYKB_STATUS_H

#include "api.h"

/* Fills `out` (unless it is NULL) with the words and returns `status`. The words end in a NUL that their length does not
 * count, and are UTF-8 whatever a path in them holds. Without memory `out` is left empty. */
int tykb_fail(struct CoProcessMessage *out, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* What a classic call does with a failure: sends the words to CoProcessLog and clears them. A hook's own failure was
 * logged already, with its traceback. Returns `status`. */
int tykb_report(int status, struct CoProcessMessage *words);

#endif
