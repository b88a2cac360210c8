/* Finds the Python to start: the interpreter's name, and the shared library that is its body. */
#ifndef TYKB_LOCATE_H
#define TYKB_LOCATE_H

#include <stdbool.h>

#include "api.h"

struct tykb_location {
  char *executable; /* sys.executable; in a virtual environment, the one inside it */
  char *library;    /* libpython3.x.so.1.0, with its folder */
  char *version;    /* "3.11" */
};

/* Asks, in this order: TYKBRIDGE_PYTHON, the environment that `own_file` (this library's path, or NULL) is installed in,
 * python3 on PATH. `secure`: neither TYKBRIDGE_PYTHON nor PATH. The first that is there must do: a Python that was named
 * and is not usable is an error, not a reason to take another one.
 * Runs that interpreter once, as a child process. TYKB_E_NO_PYTHON with words, or TYKB_E_NO_MEMORY. */
int tykb_locate(bool secure, const char *own_file, struct tykb_location *place, struct CoProcessMessage *out);

void tykb_location_clear(struct tykb_location *place);

#endif
