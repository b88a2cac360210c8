/* What the library and the Cython module hand each other. The only names beside api.h's that leave the library.
 *
 * The library has no Python.h; the module is the only part that knows Python objects. At import the module registers a
 * table of functions, each called with Python's lock held by the calling thread. `out` may be NULL where a caller wants
 * no words; otherwise it is filled as api.h says. */
#ifndef TYKB_TABLE_H
#define TYKB_TABLE_H

#include "api.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Changes when a member changes its meaning; a new member at the end only makes `size` larger. */
#define TYKB_TABLE_ABI 1u
/* The capsule under which the module publishes its table, for a second copy of the library in one process. */
#define TYKB_TABLE_CAPSULE "tykbridge._bridge._table"

struct tykb_table {
  uint32_t abi;
  uint32_t size;
  const char *version; /* the package's release; static */
  int (*dispatch)(const void *data, size_t size, uint32_t flags, struct CoProcessMessage *out);
  int (*new_dispatcher)(const char *root, struct CoProcessMessage *out);
  int (*reload)(struct CoProcessMessage *out);
  int (*load_bundle)(const char *path, const char *name, struct CoProcessMessage *out);
  int (*dispatch_event)(const char *json, struct CoProcessMessage *out);
  int (*set_env)(const char *path, struct CoProcessMessage *out);
  int (*store_data)(const char *key, const char *value, int ttl);
  char *(*get_data)(const char *key); /* malloc'd; NULL only without memory */
  /* Forwards a host table to the library that the module is linked to (a second copy has its own). */
  int (*set_host)(const struct tykb_host *host);
  /* Tells the module of one more library copy, whose shutdown the interpreter's exit must call too. */
  int (*add_library)(void (*shutdown)(void));
  int (*load_configuration)(const struct tykb_configuration *configuration, struct CoProcessMessage *out);
  int (*run_request)(const void *data, size_t size, struct CoProcessMessage *out);
  int (*run_response)(const void *data, size_t size, struct CoProcessMessage *out);
  int (*reload_all)(struct CoProcessMessage *out);
  /* Take a copy of `data`. */
  int (*start_request)(const void *data, size_t size, tykb_done done, void *context, struct CoProcessMessage *out);
  int (*start_response)(const void *data, size_t size, tykb_done done, void *context, struct CoProcessMessage *out);
};

/* Takes over the module's table. TYKB_E_ABI, with both versions in `out`, when the two do not fit. */
int tykb_register(const struct tykb_table *table, struct CoProcessMessage *out);

/* Refuses every later call and waits, at most some seconds, until those in flight are back. Called without Python's lock
 * when the interpreter is about to end. */
void tykb_shutdown(void);

#ifdef __cplusplus
}
#endif
#endif
