/* Times dispatches and whole chains through libtykbridge beside the least a call could cost, and dispatches beside the
 * classic way.
 *
 *     native replies FOLDER  BUNDLE MESSAGES SCENARIO...   writes every contender's reply to FOLDER
 *     native time    ROUNDS  BUNDLE MESSAGES SCENARIO...   prints "scenario contender nanoseconds", the minimum per call
 *     native count   CALLS   BUNDLE MESSAGES SCENARIO...   for valgrind --tool=callgrind: one dump for each contender
 *
 * The contenders take turns, a few milliseconds each, so that whatever else the machine does hits all of them alike.
 * The interpreter is the one that libtykbridge starts; what floor and classic need of it is looked up at run time, as
 * the library itself does, so one binary serves every Python. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <tykbridge/api.h>
#include <tykbridge/plugin.h>

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#else
#define CALLGRIND_START_INSTRUMENTATION
#define CALLGRIND_STOP_INSTRUMENTATION
#define CALLGRIND_ZERO_STATS
#define CALLGRIND_DUMP_STATS_AT(name)
#endif

typedef struct object PyObject;

static struct {
  int (*gil_ensure)(void);
  void (*gil_release)(int);
  void *(*save_thread)(void);
  PyObject *(*import)(const char *);
  PyObject *(*getattr)(PyObject *, const char *);
  PyObject *(*vectorcall)(PyObject *, PyObject *const *, size_t, PyObject *);
  PyObject *(*bytes)(const char *, ptrdiff_t);
  int (*bytes_get)(PyObject *, char **, ptrdiff_t *);
  const char *(*text_get)(PyObject *);
  void (*decref)(PyObject *);
  void (*print_error)(void);
} py;

static PyObject *classic_dispatch, *classic_empty;

static _Noreturn void die(const char *what, const char *words) {
  fprintf(stderr, "bench/native: %s: %s\n", what, words);
  exit(1);
}

static _Noreturn void die_python(const char *what) {
  py.print_error();
  die(what, "Python raised the exception above");
}

/* ---- The contenders: each takes a message and leaves a reply from malloc ---- */

typedef int contender_call(const struct CoProcessMessage *in, struct CoProcessMessage *out);

static int copy_call(const struct CoProcessMessage *in, struct CoProcessMessage *out) {
  out->p_data = malloc((size_t)in->length);
  if (!out->p_data) return -1;
  memcpy(out->p_data, in->p_data, (size_t)in->length);
  out->length = in->length;
  return 0;
}

static int floor_call(const struct CoProcessMessage *in, struct CoProcessMessage *out) {
  int state = py.gil_ensure();
  PyObject *result = py.vectorcall(classic_empty, NULL, 0, NULL);
  int status = result ? copy_call(in, out) : -1;
  if (result) py.decref(result);
  py.gil_release(state);
  return status;
}

static int classic_call(const struct CoProcessMessage *in, struct CoProcessMessage *out) {
  int status = -1;
  int state = py.gil_ensure();
  char *data;
  ptrdiff_t size;
  PyObject *argument = py.bytes(in->p_data, in->length);
  PyObject *result = argument ? py.vectorcall(classic_dispatch, &argument, 1, NULL) : NULL;
  if (result && py.bytes_get(result, &data, &size) == 0) {
    struct CoProcessMessage reply = {data, (int)size};
    status = copy_call(&reply, out);
  } else {
    py.print_error();
  }
  if (result) py.decref(result);
  if (argument) py.decref(argument);
  py.gil_release(state);
  return status;
}

static int full_call(const struct CoProcessMessage *in, struct CoProcessMessage *out) {
  return tykb_dispatch(in, TYKB_REPLY_FULL, out);
}

static int delta_call(const struct CoProcessMessage *in, struct CoProcessMessage *out) {
  return tykb_dispatch(in, TYKB_REPLY_DELTA, out);
}

static int request_call(const struct CoProcessMessage *in, struct CoProcessMessage *out) {
  return tykb_run_request(in, out); /* TYKB_CONTINUE is 0 */
}

/* ---- A native plugin's hook, called as plugin.h says and without a bridge. The message is items. ---- */

static struct {
  const struct tykb_plugin *table;
  int64_t hook;
} plugin;

static void open_plugin(const char *path, const char *hook) {
  static const struct tykb_plugin_host host = {.abi = TYKB_PLUGIN_ABI, .size = sizeof host};
  struct tykb_plugin_reply reply = {NULL, 0, 0, 0};
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) die(path, dlerror());
  plugin.table = dlsym(library, "tykb_plugin");
  if (!plugin.table || plugin.table->abi != TYKB_PLUGIN_ABI) die(path, "is no plugin, or another version's");
  if (plugin.table->start(&host, &reply)) die(path, "does not start");
  plugin.hook = plugin.table->lookup(hook, strlen(hook), TYKB_PLUGIN_REQUEST);
  if (plugin.hook <= 0) die(path, "has no such hook");
}

static int plugin_call(const struct CoProcessMessage *in, struct CoProcessMessage *out) {
  uint8_t room[1024];
  struct tykb_plugin_call call = {
      .size = sizeof call, .hook = plugin.hook, .data = in->p_data, .data_size = (size_t)in->length};
  struct tykb_plugin_reply reply = {room, sizeof room, 0, 0};
  int status = plugin.table->invoke(&call, &reply);
  struct CoProcessMessage left = {room, (int)reply.size};
  return status || reply.kept ? -1 : copy_call(&left, out);
}

enum { DISPATCH = 1, CHAIN = 2, PLUGIN = 4 };

static const struct {
  const char *name;
  contender_call *call;
  int kinds; /* of scenario */
} contenders[] = {{"copy", copy_call, DISPATCH},       {"floor", floor_call, DISPATCH | CHAIN | PLUGIN},
                  {"classic", classic_call, DISPATCH}, {"full", full_call, DISPATCH},
                  {"delta", delta_call, DISPATCH},     {"request", request_call, CHAIN},
                  {"plugin", plugin_call, PLUGIN}};
enum { CONTENDERS = sizeof contenders / sizeof contenders[0] };

/* Scenarios of the chain are named as their APIs are. */
static int competes(int contender, const char *scenario) {
  int kind = !strncmp(scenario, "chain_", 6) ? CHAIN : !strncmp(scenario, "plugin_", 7) ? PLUGIN : DISPATCH;
  return contenders[contender].kinds & kind;
}

/* ---- Start-up ---- */

static void find(void *slot, const char *name) {
  void *symbol = dlsym(RTLD_DEFAULT, name);
  if (!symbol) die(name, "the interpreter does not export it");
  memcpy(slot, &symbol, sizeof symbol); /* ISO C has no cast from a pointer to data to one to a function */
}

static void start(const char *bundle) {
  struct CoProcessMessage words = {NULL, 0};
  if (tykb_init(&words)) die("tykb_init", words.p_data ? words.p_data : "no words");
  if (tykb_load_bundle(bundle, "bench", &words)) die("tykb_load_bundle", words.p_data ? words.p_data : "no words");
  struct tykb_configuration configuration = {.size = sizeof configuration, .source = getenv("BENCH_APIS")};
  if (tykb_load_configuration(&configuration, &words))
    die("tykb_load_configuration", words.p_data ? words.p_data : "no words");
  Python_SetEnv(getenv("BENCH_PATH")); /* where classic.py and the modules of protoc are */
  find(&py.gil_ensure, "PyGILState_Ensure");
  find(&py.gil_release, "PyGILState_Release");
  find(&py.save_thread, "PyEval_SaveThread");
  find(&py.import, "PyImport_ImportModule");
  find(&py.getattr, "PyObject_GetAttrString");
  find(&py.vectorcall, "PyObject_Vectorcall");
  find(&py.bytes, "PyBytes_FromStringAndSize");
  find(&py.bytes_get, "PyBytes_AsStringAndSize");
  find(&py.text_get, "PyUnicode_AsUTF8");
  find(&py.decref, "Py_DecRef");
  find(&py.print_error, "PyErr_Print");
  /* Never released: without a thread state of its own this thread would make one in every call of floor and classic. */
  py.gil_ensure();
  PyObject *module = py.import("classic");
  if (!module) die_python("import classic");
  PyObject *runtime = py.getattr(module, "RUNTIME");
  classic_dispatch = py.getattr(module, "dispatch");
  classic_empty = py.getattr(module, "empty");
  if (!runtime || !classic_dispatch || !classic_empty) die_python("classic");
  fprintf(stderr, "classic: google.protobuf runtime %s\n", py.text_get(runtime));
  if (strcmp(py.text_get(runtime), "upb")) die("classic", "the upb runtime is not in use; reinstall protobuf");
  py.save_thread();
}

static void read_message(const char *folder, const char *scenario, struct CoProcessMessage *message) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s.bin", folder, scenario);
  FILE *file = fopen(path, "rb");
  if (!file || fseek(file, 0, SEEK_END)) die(path, "cannot be read");
  message->length = (int)ftell(file);
  message->p_data = malloc((size_t)message->length);
  rewind(file);
  if (!message->p_data || fread(message->p_data, 1, (size_t)message->length, file) != (size_t)message->length)
    die(path, "cannot be read");
  fclose(file);
}

/* ---- What is done with them ---- */

static void call_often(contender_call *call, const struct CoProcessMessage *in, long calls) {
  struct CoProcessMessage out;
  for (long i = 0; i < calls; i++) {
    int status = call(in, &out);
    if (status) die(tykb_status_name(status), out.p_data ? out.p_data : "no words");
    free(out.p_data);
  }
}

/* Runs the contenders until Python has specialised what it runs, and fills malloc's cache for blocks of their replies'
 * sizes. Without that luck decides: where the heap's only hole for a reply is a little too large, each reply takes
 * malloc's long way, 20 ns more, for one contender and not for another. */
static void warm_up(const char *scenario, const struct CoProcessMessage *in) {
  for (int c = 0; c < CONTENDERS; c++) {
    struct CoProcessMessage out;
    void *volatile blocks[64];
    if (!competes(c, scenario)) continue;
    call_often(contenders[c].call, in, 500);
    if (contenders[c].call(in, &out)) die(contenders[c].name, "failed after it had not");
    if (out.length < 1024)
      for (int i = 0; i < 64; i++) blocks[i] = malloc((size_t)out.length);
    for (int i = 63; out.length < 1024 && i >= 0; i--) free(blocks[i]);
    free(out.p_data);
  }
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void time_scenario(const char *scenario, const struct CoProcessMessage *in, long rounds) {
  double best[CONTENDERS];
  long calls[CONTENDERS];
  warm_up(scenario, in);
  for (int c = 0; c < CONTENDERS; c++) {
    if (!competes(c, scenario)) continue;
    double begin = now();
    call_often(contenders[c].call, in, 500);
    best[c] = (now() - begin) / 500;
    calls[c] = 1 + (long)(2e6 / best[c]); /* two milliseconds: short enough to fit between interruptions */
  }
  for (long round = 0; round < rounds; round++) {
    for (int c = 0; c < CONTENDERS; c++) {
      if (!competes(c, scenario)) continue;
      double begin = now();
      call_often(contenders[c].call, in, calls[c]);
      double each = (now() - begin) / (double)calls[c];
      if (each < best[c]) best[c] = each;
    }
  }
  for (int c = 0; c < CONTENDERS; c++)
    if (competes(c, scenario)) printf("%s %s %.1f\n", scenario, contenders[c].name, best[c]);
  fflush(stdout);
}

static void count_scenario(const char *scenario, const struct CoProcessMessage *in, long calls) {
  warm_up(scenario, in);
  for (int c = 0; c < CONTENDERS; c++) {
    char name[128];
    if (!competes(c, scenario)) continue;
    snprintf(name, sizeof name, "%s %s", scenario, contenders[c].name);
    call_often(contenders[c].call, in, 10);
    CALLGRIND_START_INSTRUMENTATION;
    CALLGRIND_ZERO_STATS;
    call_often(contenders[c].call, in, calls);
    CALLGRIND_DUMP_STATS_AT(name);
    CALLGRIND_STOP_INSTRUMENTATION;
  }
}

static void write_replies(const char *scenario, const struct CoProcessMessage *in, const char *folder) {
  for (int c = 0; c < CONTENDERS; c++) {
    char path[4096];
    struct CoProcessMessage out;
    if (!competes(c, scenario)) continue;
    int status = contenders[c].call(in, &out);
    if (status) die(tykb_status_name(status), out.p_data ? out.p_data : "no words");
    snprintf(path, sizeof path, "%s/%s.%s", folder, scenario, contenders[c].name);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(out.p_data, 1, (size_t)out.length, file) != (size_t)out.length || fclose(file))
      die(path, "cannot be written");
    free(out.p_data);
  }
}

int main(int argc, char **argv) {
  if (argc < 6) die("usage", "native replies|time|count FOLDER|ROUNDS|CALLS BUNDLE MESSAGES SCENARIO...");
  /* glibc gives big blocks back to the system at once until it has seen one come and go; then 100 KB replies are
   * reused, in every contender alike. Volatile, or the compiler removes the pair. */
  void *volatile block = malloc(8u << 20);
  free(block);
  start(argv[3]);
  for (int i = 5; i < argc; i++) {
    struct CoProcessMessage in;
    read_message(argv[4], argv[i], &in);
    /* Not before: valgrind does not get along with a second Go runtime. */
    if (!plugin.table && !strncmp(argv[i], "plugin_", 7)) open_plugin(getenv("BENCH_PLUGIN"), "AddHeader");
    if (!strcmp(argv[1], "replies"))
      write_replies(argv[i], &in, argv[2]);
    else if (!strcmp(argv[1], "time"))
      time_scenario(argv[i], &in, atol(argv[2]));
    else
      count_scenario(argv[i], &in, atol(argv[2]));
    free(in.p_data);
  }
  return 0;
}
