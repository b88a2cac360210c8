/* A JavaScript engine with limits: one QuickJS runtime, what it may call, and the hooks of a bundle in it.
 *
 * Memory   A state frees everything that it ever allocated, also what QuickJS lost track of when memory ran out.
 * Threads  One at a time, any. Python's lock is held at every entry. It is let go while JavaScript runs for long: a
 *          call starts with it, because most end before another thread could have made use of it, and the first look
 *          at the clock past LETS_GO_NS lets it go; so does the start of a call after one that took long. Whatever
 *          touches a message or Python takes it back first.
 * Errors   Functions return 0, or -1 with `tykb_js_error` telling why; then nothing of the message was changed. */
#ifndef TYKB_JS_ENGINE_H
#define TYKB_JS_ENGINE_H

#include "object.h"

struct tykb_js;

/* A value that crosses between JavaScript and the host. */
enum tykb_js_kind { TYKB_JS_NOTHING, TYKB_JS_BOOL, TYKB_JS_NUMBER, TYKB_JS_TEXT };

struct tykb_js_word {
  int kind; /* enum tykb_js_kind */
  double number;
  struct tykb_span text; /* UTF-8 */
};

/* What the host does for a state. All of it but `lock` is called with Python's lock. */
struct tykb_js_host {
  void *(*unlock)(void);
  void (*lock)(void *unlocked);
  /* Answers function `number`; the answer's text lives until the next call. -1: the answer is the error's words. */
  int (*ask)(void *owner, int number, const struct tykb_js_word *arguments, int count, struct tykb_js_word *answer);
};

/* Why something failed; the texts live until the state's next call. */
struct tykb_js_error {
  struct tykb_span words, stack;
  bool late, full; /* which limit it was; then nothing may run in the state any more */
};

/* NULL: no memory. `memory`: bytes that the state may hold, from tykb_js_prepare on. */
struct tykb_js *tykb_js_new(const struct tykb_js_host *host, void *owner, size_t memory);
void tykb_js_free(struct tykb_js *js);
void tykb_js_last_error(struct tykb_js *js, struct tykb_js_error *error);
/* Whether a limit was exceeded, be it that the code went on. */
bool tykb_js_exceeded(const struct tykb_js *js);
size_t tykb_js_used(const struct tykb_js *js);
/* Seconds that are left of the call in progress. */
double tykb_js_left(const struct tykb_js *js);
/* Frees what only cycles keep. */
void tykb_js_collect(struct tykb_js *js);

/* Makes a global function of the host's function `number`. */
int tykb_js_add_function(struct tykb_js *js, const char *name, int number);
/* Runs a file. `source` is ended by a NUL. Times are in seconds. */
int tykb_js_run(struct tykb_js *js, const char *name, const char *source, size_t size, double seconds);
/* Runs the driver's own part of the code, which gives an object of functions, before anything else. */
int tykb_js_prepare(struct tykb_js *js, const char *source, size_t size);
/* Calls one of these with texts. */
int tykb_js_ask(struct tykb_js *js, const char *name, const struct tykb_span *arguments, int count, double seconds,
                struct tykb_js_word *answer);
/* Binds the `number`-th hook, counted from 0, to the middleware of a name. */
int tykb_js_bind(struct tykb_js *js, const char *name, double seconds);
/* Runs a hook on an Object, and applies what it changed. */
int tykb_js_call(struct tykb_js *js, uint32_t number, struct tykb_node *root, double seconds);

#endif
