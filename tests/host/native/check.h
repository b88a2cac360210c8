/* What the native hosts share: a check that says where it failed, and a hook that runs any Python program. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tykbridge/api.h>

/* _exit, because threads may be inside hooks, and because a forked child must not run its parent's atexit functions. */
#define CHECK(claim)                                                                                                   \
  do {                                                                                                                 \
    if (!(claim)) {                                                                                                    \
      fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #claim);                                              \
      _exit(1);                                                                                                        \
    }                                                                                                                  \
  } while (0)

/* The library, linked or opened. */
#define FUNCTIONS(X)                                                                                                   \
  X(Python_Init)                                                                                                       \
  X(Python_SetEnv)                                                                                                     \
  X(Python_LoadDispatcher)                                                                                             \
  X(Python_NewDispatcher)                                                                                              \
  X(Python_ReloadDispatcher)                                                                                           \
  X(Python_DispatchHook)                                                                                               \
  X(Python_DispatchEvent)                                                                                              \
  X(TykStoreData)                                                                                                      \
  X(TykGetData)                                                                                                        \
  X(tykb_init)                                                                                                         \
  X(tykb_set_host)                                                                                                     \
  X(tykb_load_bundle)                                                                                                  \
  X(tykb_load_configuration)                                                                                           \
  X(tykb_reload)                                                                                                       \
  X(tykb_run_request)                                                                                                  \
  X(tykb_run_response)                                                                                                 \
  X(tykb_start_request)                                                                                                \
  X(tykb_start_response)                                                                                               \
  X(tykb_dispatch)                                                                                                     \
  X(tykb_message_clear)                                                                                                \
  X(tykb_builder_new)                                                                                                  \
  X(tykb_builder_number)                                                                                               \
  X(tykb_builder_text)                                                                                                 \
  X(tykb_builder_pair)                                                                                                 \
  X(tykb_builder_finish)                                                                                               \
  X(tykb_builder_free)                                                                                                 \
  X(tykb_reader_init)                                                                                                  \
  X(tykb_reader_next)

#define MEMBER(name) __typeof__(name) *name;
struct library {
  FUNCTIONS(MEMBER)
};
#undef MEMBER

/* A request for the hook `hook`, with `body`. */
static inline struct CoProcessMessage request(const struct library *lib, const char *hook, const char *body) {
  struct CoProcessMessage message;
  tykb_builder *builder = lib->tykb_builder_new();
  lib->tykb_builder_number(builder, TYKB_HOOK_TYPE, 1);
  lib->tykb_builder_text(builder, TYKB_HOOK_NAME, hook, strlen(hook));
  lib->tykb_builder_text(builder, TYKB_REQUEST_RAW_BODY, body, strlen(body));
  lib->tykb_builder_text(builder, TYKB_REQUEST_BODY, body, strlen(body));
  lib->tykb_builder_pair(builder, TYKB_SPEC, "bundle_hash", 11, "native", 6);
  CHECK(lib->tykb_builder_finish(builder, &message) == TYKB_OK);
  lib->tykb_builder_free(builder);
  return message;
}

/* Runs a program in the hook Run of the bundle (tests/test_embedding.py) and compares what it leaves in `result`. With
 * `expected` NULL only the status counts. */
static inline int run(const struct library *lib, const char *program, const char *expected) {
  struct CoProcessMessage in = request(lib, "Run", program), out;
  int status = lib->tykb_dispatch(&in, TYKB_REPLY_FULL, &out);
  if (status != TYKB_OK && expected)
    fprintf(stderr, "%s -> %d %.*s\n", program, status, out.length, (char *)out.p_data);
  if (status == TYKB_OK && expected) {
    tykb_reader reader;
    struct tykb_item item;
    struct tykb_slice result = {"", 0};
    lib->tykb_reader_init(&reader, &out);
    while (lib->tykb_reader_next(&reader, &item) > 0)
      if (item.path == TYKB_REQUEST_SET_HEADERS && item.key.size == 6) result = item.value;
    if (result.size != strlen(expected) || memcmp(result.data, expected, result.size) != 0) {
      fprintf(stderr, "%s -> \"%.*s\" instead of \"%s\"\n", program, (int)result.size, result.data, expected);
      status = TYKB_E_INTERNAL;
    }
  }
  lib->tykb_message_clear(&in);
  lib->tykb_message_clear(&out);
  return status;
}

/* Starts everything, or ends the process with the words. */
static inline void start(const struct library *lib, const char *root) {
  struct CoProcessMessage words;
  int status = lib->tykb_init(&words);
  if (status != TYKB_OK) fprintf(stderr, "tykb_init: %d %.*s\n", status, words.length, (char *)words.p_data);
  CHECK(status == TYKB_OK);
  CHECK(lib->Python_NewDispatcher((char *)root) == TYKB_OK);
}

#endif
