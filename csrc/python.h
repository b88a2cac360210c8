/* The interpreter's life, and the calls that go into it.
 *
 * A call goes in through tykb_python_enter and comes out through tykb_python_leave; between the two the calling thread
 * holds Python's lock. Each `out` may be NULL and gets the words of a failure. */
#ifndef TYKB_PYTHON_H
#define TYKB_PYTHON_H

#include "table.h"

/* Joins the process's interpreter, or finds, loads and starts one. */
int tykb_python_init(struct CoProcessMessage *out);

/* Imports the tykbridge package, which registers its table. */
int tykb_python_load(struct CoProcessMessage *out);

/* Puts `path` before the module search path: now, or when the interpreter starts. */
int tykb_python_set_env(const char *path, struct CoProcessMessage *out);

/* Takes Python's lock for a call of `*table`'s functions. `*lock` goes to tykb_python_leave. Nothing to leave when it
 * fails. About 40 ns together on a thread that has called before. */
int tykb_python_enter(const struct tykb_table **table, int *lock, struct CoProcessMessage *out);
void tykb_python_leave(int lock);

#endif
