/* A host that opens the library at run time, privately, and exports nothing, as one that is a plugin itself does:
 * opened SCENARIO ROOT LIBRARY [OTHER].
 *
 * One scenario per process. Its end without a word is its success. */
#include "check.h"

#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>

static char *root, *path, *other_path;
static struct library lib;
static sem_t inside;

static void *symbol(void *handle, const char *name) {
  void *address = dlsym(handle, name);
  if (!address) fprintf(stderr, "%s\n", dlerror());
  CHECK(address);
  return address;
}

static struct library open_library(const char *file) {
  struct library library;
  void *handle = dlopen(file, RTLD_NOW | RTLD_LOCAL), *address;
  if (!handle) fprintf(stderr, "%s\n", dlerror());
  CHECK(handle);
#define FILL(name)                                                                                                     \
  address = symbol(handle, #name);                                                                                     \
  memcpy(&library.name, &address, sizeof address);
  FUNCTIONS(FILL)
#undef FILL
  return library;
}

/* ---- Start ---- */

/* Prints the status and the words. `other_path`, where given, is a libpython that the host has already opened. */
static void report_start(void) {
  struct CoProcessMessage out, again;
  if (other_path) CHECK(dlopen(other_path, RTLD_NOW | RTLD_LOCAL));
  lib = open_library(path);
  int status = lib.tykb_init(&out);
  printf("%d %.*s\n", status, out.length, (char *)out.p_data);
  fflush(stdout); /* before Python writes */
  if (status != TYKB_OK) {
    CHECK(lib.tykb_init(&again) == status && strcmp(out.p_data, again.p_data) == 0);
    lib.tykb_message_clear(&out);
    lib.tykb_message_clear(&again);
    lib.Python_Init();
    CHECK(lib.Python_LoadDispatcher() != TYKB_OK);
    return;
  }
  CHECK(lib.Python_NewDispatcher(root) == TYKB_OK);
  CHECK(run(&lib, "import sys; print(sys.executable)", "") == TYKB_OK);
}

/* Without a table and without functions of the host's own. The test reads what goes to standard error. */
static void alone(void) {
  lib = open_library(path);
  start(&lib, root);
  CHECK(run(&lib, "import ssl, ctypes, sqlite3, hashlib; result = 'imported'", "imported") == TYKB_OK);
  CHECK(run(&lib, "tyk.log('first\\nsecond', 'warning'); tyk.trigger_event('my\\tevent', 'my\\rpayload\\x1b[2J')",
            "") == TYKB_OK);
  CHECK(run(&lib, "tyk.store_data('key', 'value', 0); result = tyk.get_data('key').decode()", "value") == TYKB_OK);
  lib.TykStoreData((char *)"key", (char *)"from the host", 60);
  CHECK(run(&lib, "result = tyk.get_data('key').decode()", "from the host") == TYKB_OK);
  char *value = lib.TykGetData((char *)"key");
  CHECK(strcmp(value, "from the host") == 0);
  free(value);
  value = lib.TykGetData((char *)"missing");
  CHECK(strcmp(value, "") == 0);
  free(value);
  CHECK(run(&lib,
            "import threading\n"
            "def talk(): [tyk.log('x' * 200 + '\\n' + 'y' * 200, 'debug') for _ in range(50)]\n"
            "threads = [threading.Thread(target=talk) for _ in range(8)]\n"
            "[t.start() for t in threads], [t.join() for t in threads]",
            "") == TYKB_OK);
}

/* ---- The host table ---- */

struct counts {
  int logs, events, stores, gets;
  char last[256];
};

static void on_log(void *context, const char *message, const char *level) {
  struct counts *counts = context;
  counts->logs++;
  snprintf(counts->last, sizeof counts->last, "%s %s", level, message);
}

static void on_event(void *context, const char *name, const char *payload) {
  struct counts *counts = context;
  counts->events++;
  snprintf(counts->last, sizeof counts->last, "%s %s", name, payload);
}

static void on_store(void *context, const char *key, const char *value, int ttl) {
  struct counts *counts = context;
  counts->stores++;
  snprintf(counts->last, sizeof counts->last, "%s %s %d", key, value, ttl);
}

static char *on_get(void *context, const char *key) {
  struct counts *counts = context;
  counts->gets++;
  return strcmp(key, "none") == 0 ? NULL : strdup(key);
}

static void table(void) {
  struct counts counts = {0};
  struct {
    struct tykb_host host;
    char later[64]; /* a member that this release does not know */
  } newer = {{sizeof newer, &counts, on_log, on_event, on_store, on_get}, "later"};
  lib = open_library(path);
  CHECK(lib.tykb_set_host(&newer.host) == TYKB_OK);
  memset(&newer, 0xff, sizeof newer); /* it was copied */
  start(&lib, root);
  CHECK(run(&lib, "tyk.log('words', 'info')", "") == TYKB_OK);
  CHECK(counts.logs >= 1 && strcmp(counts.last, "info words") == 0);
  CHECK(run(&lib, "tyk.trigger_event('name', 'payload')", "") == TYKB_OK);
  CHECK(counts.events == 1 && strcmp(counts.last, "name payload") == 0);
  CHECK(run(&lib, "tyk.store_data('key', 'value', 5)", "") == TYKB_OK);
  CHECK(counts.stores == 1 && strcmp(counts.last, "key value 5") == 0);
  CHECK(run(&lib, "result = tyk.get_data('echo').decode()", "echo") == TYKB_OK);
  CHECK(run(&lib, "result = repr(tyk.get_data('none'))", "b''") == TYKB_OK);
  CHECK(counts.gets == 2);
  char *value = lib.TykGetData((char *)"none");
  CHECK(value && !*value);
  free(value);
  struct CoProcessMessage negative = {NULL, -1}, out;
  CHECK(lib.Python_DispatchHook(&negative, &out) == TYKB_E_ARGUMENT && strncmp(counts.last, "error ", 6) == 0);

  /* An older host knows fewer members, and a NULL is not called: both get the library's own behaviour. */
  struct counts older = {0};
  struct tykb_host host = {.size = offsetof(struct tykb_host, store_data), .context = &older};
  host.trigger_event = on_event;
  host.store_data = on_store;
  host.get_data = on_get;
  CHECK(lib.tykb_set_host(&host) == TYKB_OK);
  CHECK(run(&lib, "tyk.trigger_event('name', 'payload')", "") == TYKB_OK && older.events == 1);
  CHECK(run(&lib, "tyk.log('to standard error', 'info')", "") == TYKB_OK);
  CHECK(run(&lib, "tyk.store_data('key', 'kept', 5); result = tyk.get_data('key').decode()", "kept") == TYKB_OK);
  CHECK(older.stores == 0 && older.gets == 0);
  host.size = 3;
  CHECK(lib.tykb_set_host(&host) == TYKB_E_ARGUMENT);
  CHECK(lib.tykb_set_host(NULL) == TYKB_OK);
  CHECK(run(&lib, "tyk.trigger_event('name', 'payload')", "") == TYKB_OK);
  CHECK(older.events == 1 && counts.events == 1);
}

static void *swap_tables(void *stop) {
  static struct counts counts;
  struct tykb_host one = {.size = sizeof one, .context = &counts, .get_data = on_get, .trigger_event = on_event};
  while (!atomic_load((atomic_bool *)stop))
    CHECK(lib.tykb_set_host(&one) == TYKB_OK && lib.tykb_set_host(NULL) == TYKB_OK);
  return NULL;
}

/* A call sees one table or the other, never half of each. */
static void table_swapped_meanwhile(void) {
  atomic_bool stop = false;
  pthread_t thread;
  lib = open_library(path);
  start(&lib, root);
  CHECK(pthread_create(&thread, NULL, swap_tables, &stop) == 0);
  for (int i = 0; i < 300; i++)
    CHECK(run(&lib, "result = str({tyk.get_data('key') for _ in range(20)} <= {b'', b'key'})", "True") == TYKB_OK);
  atomic_store(&stop, true);
  CHECK(pthread_join(thread, NULL) == 0);
}

/* ---- Two copies of the library ---- */

/* The module is linked to the first; the second has the functions and no table, unless it takes the module's. */
static void second_copy(void) {
  struct counts before = {0}, after = {0};
  struct tykb_host host = {sizeof host, &before, on_log, on_event, on_store, on_get};
  struct CoProcessMessage in, out;
  struct library first = open_library(path);
  start(&first, root);

  lib = open_library(other_path);
  in = request(&lib, "Run", "result = ''");
  CHECK((void *)lib.tykb_dispatch != (void *)first.tykb_dispatch);
  CHECK(lib.tykb_dispatch(&in, 0, &out) == TYKB_E_NOT_STARTED);
  lib.tykb_message_clear(&in);
  lib.tykb_message_clear(&out);
  CHECK(lib.tykb_set_host(&host) == TYKB_OK);
  CHECK(run(&first, "tyk.store_data('key', 'stored', 0)", "") == TYKB_OK && before.stores == 0);
  CHECK(lib.tykb_init(&out) == TYKB_OK);
  CHECK(run(&lib, "tyk.trigger_event('name', 'payload')", "") == TYKB_OK && before.events == 1);
  CHECK(run(&first, "tyk.trigger_event('name', 'payload')", "") == TYKB_OK && before.events == 2);
  host.context = &after;
  CHECK(lib.tykb_set_host(&host) == TYKB_OK);
  CHECK(run(&lib, "tyk.trigger_event('name', 'payload')", "") == TYKB_OK && after.events == 1 && before.events == 2);
  CHECK(lib.tykb_set_host(NULL) == TYKB_OK);
  CHECK(run(&lib, "result = tyk.get_data('key').decode()", "stored") == TYKB_OK && after.gets == 0);
  char *value = lib.TykGetData((char *)"key"); /* one store for both */
  CHECK(strcmp(value, "stored") == 0);
  free(value);
}

/* ---- A host that starts and ends Python itself ---- */

/* `other_path` is a libpython, which this host opens privately. */
static void *open_python(void) {
  void *python = dlopen(other_path, RTLD_NOW | RTLD_LOCAL);
  if (!python) fprintf(stderr, "%s\n", dlerror());
  CHECK(python);
  return python;
}

static void call_python(void *python, const char *name) {
  void (*function)(void);
  void *address = symbol(python, name);
  memcpy(&function, &address, sizeof address);
  function();
}

static int finalize(void *python) {
  int (*function)(void);
  void *address = symbol(python, "Py_FinalizeEx");
  memcpy(&function, &address, sizeof address);
  return function();
}

static void refuse(int status, const char *word) {
  struct CoProcessMessage in = request(&lib, "Run", "result = ''"), out;
  CHECK(lib.tykb_dispatch(&in, 0, &out) == status && strstr(out.p_data, word));
  lib.tykb_message_clear(&out);
  CHECK(lib.tykb_init(&out) == status && strstr(out.p_data, word));
  lib.tykb_message_clear(&out);
  CHECK(lib.Python_DispatchHook(&in, &out) == status);
  CHECK(lib.Python_LoadDispatcher() == status);
  CHECK(lib.Python_NewDispatcher(root) == status);
  lib.Python_ReloadDispatcher();
  lib.Python_SetEnv((char *)"/x");
  lib.TykStoreData((char *)"key", (char *)"value", 0);
  char *value = lib.TykGetData((char *)"key");
  CHECK(!*value);
  free(value);
  lib.tykb_message_clear(&in);
}

static void on_inside(void *context, const char *name, const char *payload) {
  (void)context, (void)name, (void)payload;
  sem_post(&inside);
}

static void no_log(void *context, const char *message, const char *level) { (void)context, (void)message, (void)level; }

static void *run_until_refused(void *status) {
  int answer;
  do answer = run(&lib, "tyk.trigger_event('inside', ''); sum(range(1000)); result = 'back'", NULL);
  while (answer == TYKB_OK);
  *(int *)status = answer;
  return NULL;
}

/* Python's end finds threads inside hooks: it waits for them, and each next call is refused. CPython would end, or stop
 * for good, a thread that it finds there. */
static void python_ended_by_the_host(void) {
  struct tykb_host host = {.size = sizeof host, .trigger_event = on_inside, .log = no_log};
  pthread_t threads[4];
  int statuses[4] = {0};
  void *python = open_python();
  sem_init(&inside, 0, 0);
  call_python(python, "Py_Initialize");
  lib = open_library(path);
  CHECK(lib.tykb_set_host(&host) == TYKB_OK);
  start(&lib, root); /* with Python's lock held, as a host may */
  CHECK(run(&lib, "import ssl; result = 'imported'", "imported") == TYKB_OK);
  void *(*save)(void), (*restore)(void *);
  void *address = symbol(python, "PyEval_SaveThread");
  memcpy(&save, &address, sizeof address);
  address = symbol(python, "PyEval_RestoreThread");
  memcpy(&restore, &address, sizeof address);

  void *state = save();
  for (int i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, run_until_refused, &statuses[i]) == 0);
  for (int i = 0; i < 40; i++) CHECK(sem_wait(&inside) == 0);
  restore(state);
  CHECK(finalize(python) == 0);
  for (int i = 0; i < 4; i++) CHECK(pthread_join(threads[i], NULL) == 0 && statuses[i] == TYKB_E_GONE);
  refuse(TYKB_E_GONE, "ended");
}

/* The interpreter was there at Python_Init and ended before the dispatcher was loaded. */
static void python_ended_before_loading(void) {
  struct tykb_host host = {.size = sizeof host, .log = no_log};
  struct CoProcessMessage out;
  void *python = open_python();
  call_python(python, "Py_Initialize");
  lib = open_library(path);
  lib.tykb_set_host(&host);
  CHECK(lib.Python_Init() == TYKB_OK);
  CHECK(finalize(python) == 0);
  CHECK(lib.Python_LoadDispatcher() == TYKB_E_GONE);
  CHECK(lib.tykb_init(&out) == TYKB_E_GONE && strstr(out.p_data, "ended"));
  lib.tykb_message_clear(&out);
  lib.Python_SetEnv((char *)"/x");
}

/* The host has libpython but did not start it: the library does, with the Python that is asked for. */
static void python_loaded_but_not_started(void) {
  open_python();
  lib = open_library(path);
  start(&lib, root);
  CHECK(run(&lib, "import ssl; result = 'imported'", "imported") == TYKB_OK);
}

static const struct {
  const char *name;
  void (*run)(void);
} scenarios[] = {
    {"report_start", report_start},
    {"alone", alone},
    {"table", table},
    {"table_swapped_meanwhile", table_swapped_meanwhile},
    {"second_copy", second_copy},
    {"python_ended_by_the_host", python_ended_by_the_host},
    {"python_ended_before_loading", python_ended_before_loading},
    {"python_loaded_but_not_started", python_loaded_but_not_started},
};

int main(int argc, char **argv) {
  CHECK(argc == 4 || argc == 5);
  root = argv[2];
  path = argv[3];
  other_path = argv[4];
  for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++)
    if (strcmp(argv[1], scenarios[i].name) == 0) {
      scenarios[i].run();
      return 0;
    }
  fprintf(stderr, "no scenario \"%s\"\n", argv[1]);
  return 2;
}
