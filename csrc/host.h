/* The host table, where a second copy of the library has one too. */
#ifndef TYKB_HOST_H
#define TYKB_HOST_H

#include "table.h"

/* From now on the host table goes to the library copy behind `table` as well: plugins call that one's functions.
 * Python's lock is held. */
int tykb_host_forward(const struct tykb_table *table);

#endif
