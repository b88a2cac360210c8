/* Fuzzes tykb_dispatch: the input is a message to a hook that reads or writes all of it (bundle/middleware.py).
 *
 * The first byte chooses the hook and whether memory runs out on the way, the second when; the rest is the message,
 * behind which the hook's and the bundle's name are put. build.sh puts the package and the bundle beside the program: the
 * module there is without a library of its own, and finds it, instrumented, in this program.
 * README.md lists what is asserted. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "mem.h"
#include "object.h"

#define ASSERT(condition)                                                                                              \
  do {                                                                                                                 \
    if (!(condition)) {                                                                                                \
      fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);                                   \
      abort();                                                                                                         \
    }                                                                                                                  \
  } while (0)

#define HOOKS 8
#define SCARCE 0x40   /* in the first byte: memory runs out */
#define AS_IT_IS 0x80 /* nothing is put behind the message */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);
const char *__asan_default_options(void);

/* An interpreter leaves memory to the end of its process on purpose. */
const char *__asan_default_options(void) { return "detect_leaks=0"; }

static void ignore_log(void *context, const char *message, const char *level) {
  (void)context;
  ASSERT(message && level);
}

static void ignore_event(void *context, const char *name, const char *payload) {
  (void)context;
  ASSERT(name && payload);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  static const struct tykb_host host = {sizeof host, NULL, ignore_log, ignore_event, NULL, NULL};
  struct CoProcessMessage out;
  char folder[4096], path[4200];
  ssize_t size = readlink("/proc/self/exe", folder, sizeof folder - 1);
  char *slash;

  (void)argc, (void)argv;
  ASSERT(size > 0);
  folder[size] = 0;
  slash = strrchr(folder, '/');
  ASSERT(slash);
  *slash = 0;
  setenv("TYKBRIDGE_PYTHON", FUZZ_PYTHON, 0);
  snprintf(path, sizeof path, "%s/package", folder);
  ASSERT(Python_Init() == TYKB_OK);
  Python_SetEnv(path);
  ASSERT(Python_LoadDispatcher() == TYKB_OK);
  snprintf(path, sizeof path, "%s/package/bundle", folder);
  if (tykb_load_bundle(path, "b", &out) != TYKB_OK) {
    fprintf(stderr, "%.*s\n", out.length, (const char *)out.p_data);
    abort();
  }
  tykb_set_host(&host);
  return 0;
}

/* A reply is a message, and its parts lie in it; a failure's words are words. */
static void check_reply(int status, const struct CoProcessMessage *out, bool scarce) {
  const uint8_t *data = out->p_data, *p = data, *end;
  struct tykb_wire_field field;
  tykb_reader reader;
  struct tykb_item item;
  int walked;

  ASSERT(out->length >= 0 && (data || (status != TYKB_OK && scarce)));
  if (!data) return;
  end = data + out->length;
  if (status != TYKB_OK) {
    ASSERT(out->length && tykb_wire_is_utf8(data, (size_t)out->length) && !memchr(data, 0, (size_t)out->length));
    return;
  }
  while (p && p < end) p = tykb_wire_next(p, end, &field);
  ASSERT(p);
  tykb_reader_init(&reader, out);
  while ((walked = tykb_reader_next(&reader, &item)) == 1) {
    const uint8_t *value = (const uint8_t *)item.value.data;

    ASSERT(!item.value.size || (value >= data && value + item.value.size <= end));
  }
  ASSERT(walked == 0 || walked == TYKB_E_MALFORMED);
}

static bool expected(int status, bool scarce) {
  switch (status) {
    case TYKB_OK:
    case TYKB_E_MALFORMED:
    case TYKB_E_NOT_FOUND:
    case TYKB_E_HOOK:
      return true;
    default:
      return status == TYKB_E_NO_MEMORY && scarce;
  }
}

static int dispatch(const struct CoProcessMessage *in, uint32_t flags, long fail_after) {
  struct CoProcessMessage out;
  int status;

  tykb_mem_fail_after(fail_after);
  status = tykb_dispatch(in, flags, &out);
  tykb_mem_fail_after(0);
  ASSERT(expected(status, fail_after != 0));
  check_reply(status, &out, fail_after != 0);
  tykb_message_clear(&out);
  return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const hooks[HOOKS] = {"Nothing", "Read", "Write", "Remove", "Merge", "Keep", "Raise", "Wrong"};
  static const char bundle[] = "\x32\x10\x0a\x0b"
                               "bundle_hash"
                               "\x12\x01"
                               "b"; /* spec["bundle_hash"] = "b" */
  struct CoProcessMessage in;
  uint8_t *message, *p;
  uint8_t choice;
  const char *hook;
  long fail_after;
  int full, delta;

  if (size < 2) return 0;
  choice = data[0];
  fail_after = choice & SCARCE ? data[1] + 1 : 0;
  hook = hooks[choice % HOOKS];
  data += 2, size -= 2;
  message = malloc(size + 64); /* on the heap and as long as it is: see the realloc */
  ASSERT(message);
  p = tykb_wire_put_bytes(message, data, size);
  if (!(choice & AS_IT_IS)) {
    *p++ = 0x12; /* hook_name */
    *p++ = (uint8_t)strlen(hook);
    p = tykb_wire_put_bytes(p, hook, strlen(hook));
    p = tykb_wire_put_bytes(p, bundle, sizeof bundle - 1);
  }
  in.length = (int)(p - message);
  in.p_data = realloc(message, in.length ? (size_t)in.length : 1);
  ASSERT(in.p_data);
  full = dispatch(&in, TYKB_REPLY_FULL, fail_after);
  delta = dispatch(&in, TYKB_REPLY_DELTA, fail_after);
  /* What Keep kept may be of a message that was malformed: one of the two calls then fails over it. */
  if (!fail_after && strcmp(hook, "Keep")) ASSERT(full == delta);
  free(in.p_data);
  return 0;
}
