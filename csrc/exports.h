/* Decides what leaves the library: the functions that api.h and table.h declare, and nothing else.
 *
 * setup.py puts this file before every source of the library (-include) and hides everything else
 * (-fvisibility=hidden), so that api.h needs no macro before each of its functions. It defines _GNU_SOURCE because it
 * comes before any #define that a source could make. */
#ifndef TYKB_EXPORTS_H
#define TYKB_EXPORTS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#pragma GCC visibility push(default)
#include "api.h"
#include "table.h"
#pragma GCC visibility pop

#endif
