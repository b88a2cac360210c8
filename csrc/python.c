/* Finds the interpreter's functions, joins or starts it, and lets calls in. See python.h.
 *
 * There is no Python.h and no link to libpython here: what is needed is looked up at run time, so that one library
 * serves every Python from 3.11 on. */
#include "python.h"

#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <time.h>
#include <unistd.h>

#include "host.h"
#include "locate.h"
#include "mem.h"
#include "status.h"

/* ---- The interpreter's functions --------------------------------------------------------------------------------- */

typedef struct object object; /* PyObject */
typedef struct state state;   /* PyThreadState */

/* PyStatus, the same since 3.8. */
struct py_status {
  int type;
  const char *function;
  const char *message;
  int exit_code;
};

/* PyPreConfig: integers, of which we name one; the rest is room for later releases. The same since 3.8. */
enum { PRECONFIG_UTF8_MODE = 7 };
struct py_preconfig {
  int member[64];
};

/* PyConfig differs by version, so no member of it is named. It takes less than 500 bytes. */
struct py_config {
  _Alignas(16) unsigned char bytes[16384];
};

#define PY_FUNCTIONS(X)                                                                                                \
  X(int, Py_IsInitialized, (void))                                                                                     \
  X(const char *, Py_GetVersion, (void))                                                                               \
  X(void, PyPreConfig_InitIsolatedConfig, (struct py_preconfig *))                                                     \
  X(struct py_status, Py_PreInitialize, (const struct py_preconfig *))                                                 \
  X(void, PyConfig_InitIsolatedConfig, (struct py_config *))                                                           \
  X(struct py_status, PyConfig_SetBytesArgv, (struct py_config *, ptrdiff_t, char *const *))                           \
  X(struct py_status, Py_InitializeFromConfig, (const struct py_config *))                                             \
  X(void, PyConfig_Clear, (struct py_config *))                                                                        \
  X(int, PyGILState_Ensure, (void))                                                                                    \
  X(void, PyGILState_Release, (int))                                                                                   \
  X(int, PyGILState_Check, (void))                                                                                     \
  X(state *, PyGILState_GetThisThreadState, (void))                                                                    \
  X(state *, PyEval_SaveThread, (void))                                                                                \
  X(void, PyEval_RestoreThread, (state *))                                                                             \
  X(void, PyThreadState_Clear, (state *))                                                                              \
  X(void, PyThreadState_DeleteCurrent, (void))                                                                         \
  X(object *, Py_CompileString, (const char *, const char *, int))                                                     \
  X(object *, PyEval_EvalCode, (object *, object *, object *))                                                         \
  X(object *, PyDict_New, (void))                                                                                      \
  X(object *, PyImport_ImportModule, (const char *))                                                                   \
  X(void *, PyCapsule_Import, (const char *, int))                                                                     \
  X(object *, PySys_GetObject, (const char *))                                                                         \
  X(int, PyList_Insert, (object *, ptrdiff_t, object *))                                                               \
  X(object *, PyUnicode_DecodeFSDefaultAndSize, (const char *, ptrdiff_t))                                             \
  X(object *, PyObject_GetAttrString, (object *, const char *))                                                        \
  X(object *, PyObject_Str, (object *))                                                                                \
  X(const char *, PyUnicode_AsUTF8AndSize, (object *, ptrdiff_t *))                                                    \
  X(void, PyErr_Fetch, (object **, object **, object **))                                                              \
  X(void, PyErr_NormalizeException, (object **, object **, object **))                                                 \
  X(void, PyErr_Clear, (void))                                                                                         \
  X(void, Py_DecRef, (object *))

static struct functions {
#define MEMBER(result, name, arguments) result(*name) arguments;
  PY_FUNCTIONS(MEMBER)
#undef MEMBER
  int (*is_finalizing)(void); /* Py_IsFinalizing from 3.13 on, _Py_IsFinalizing before; may be missing */
} py;

/* ---- State --------------------------------------------------------------------------------------------------------- */

/* Gates: TYKB_OK lets a call through, any other status is the answer to it. Both only ever go from TYKB_E_NOT_STARTED to
 * TYKB_OK to TYKB_E_FORKED or TYKB_E_GONE, which are for good. */
static atomic_int interpreter_gate = TYKB_E_NOT_STARTED; /* set by init and tykb_register */
static atomic_int dispatcher_gate = TYKB_E_NOT_STARTED;  /* set when there is a table */

static _Atomic(const struct tykb_table *) the_table;
static atomic_int refusal; /* TYKB_E_ABI when tykb_register turned a module away */

/* Calls between enter and leave, or on their way in: tykb_shutdown waits for them. */
static atomic_long in_flight;

/* What this thread has to do with it. */
static _Thread_local struct {
  int in_flight; /* its share of the count above, which is all that is left of it in a forked child */
  bool kept;     /* it has a thread state of ours, freed when it ends */
} self;

static pthread_mutex_t resolve_lock = PTHREAD_MUTEX_INITIALIZER; /* guards the next, and `py` until it is true */
static bool resolved;

/* Guards what follows. Held while the interpreter starts, but never by a thread that waits for Python's lock. */
static pthread_mutex_t start_lock = PTHREAD_MUTEX_INITIALIZER;
static bool ours;          /* we started the interpreter, or are about to */
static char broken[512];   /* why CPython did not start: it cannot be tried again in this process */
static char *pending_path; /* Python_SetEnv before Python_Init */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t state_key; /* holds the thread state that this thread keeps */
static bool has_state_key;

static int gate_words(int gate, struct CoProcessMessage *out) {
  switch (gate) {
    case TYKB_E_NOT_STARTED:
      return tykb_fail(out, gate,
                       "the dispatcher is not there yet: call tykb_init, or Python_Init and Python_LoadDispatcher, "
                       "first");
    case TYKB_E_FORKED:
      return tykb_fail(out, gate,
                       "this process is a fork of the one that started the interpreter, which does not live on in it: "
                       "start the interpreter after forking");
    default:
      return tykb_fail(out, gate, "the Python interpreter has ended");
  }
}

static void close_gates(int status) {
  atomic_store(&dispatcher_gate, status);
  atomic_store(&interpreter_gate, status);
}

/* Only the forking thread lives on in a child. If it held Python's lock, this was os.fork, and Python puts itself in
 * order. If not, any thread may have held that lock, or Python's main thread, which is ours, is missing. */
static void after_fork_in_child(void) {
  atomic_store(&in_flight, self.in_flight);
  pthread_mutex_init(&resolve_lock, NULL);
  pthread_mutex_init(&start_lock, NULL);
  if (ours && atomic_load(&interpreter_gate) != TYKB_E_GONE &&
      (atomic_load(&interpreter_gate) != TYKB_OK || !py.PyGILState_Check()))
    close_gates(TYKB_E_FORKED);
}

static bool alive(void) { return py.Py_IsInitialized() && !(py.is_finalizing && py.is_finalizing()); }

/* ---- Calls in and out ---------------------------------------------------------------------------------------------- */

/* The count is raised before the gate is looked at, and tykb_shutdown closes the gate before it looks at the count: one
 * of the two sees the other. */
static inline int pass(const atomic_int *gate) {
  self.in_flight++;
  atomic_fetch_add(&in_flight, 1);
  return atomic_load(gate);
}

static inline void unpass(void) {
  atomic_fetch_sub(&in_flight, 1);
  self.in_flight--;
}

/* A thread's end. PyGILState_Ensure would abort here: the C library has emptied Python's own slot already. */
static void free_state(void *kept) {
  if (pass(&interpreter_gate) == TYKB_OK && alive()) {
    py.PyEval_RestoreThread(kept);
    py.PyThreadState_Clear(kept);
    py.PyThreadState_DeleteCurrent();
  }
  self.kept = false;
  unpass();
}

/* Takes Python's lock on a thread that has no state of ours. One that has no state at all gets one, which it keeps until
 * it ends: making and freeing it in each call takes 7 microseconds. (Whether Ensure returns UNLOCKED does not tell: a
 * state of Python's own is UNLOCKED too, and must not be kept.) */
static int lock_first_time(void) {
  bool fresh = !py.PyGILState_GetThisThreadState();
  int lock = py.PyGILState_Ensure();
  if (!fresh || !has_state_key) return lock;
  state *kept = py.PyGILState_GetThisThreadState();
  if (pthread_setspecific(state_key, kept) != 0) return lock;
  self.kept = true;
  py.PyEval_SaveThread();
  return py.PyGILState_Ensure();
}

static inline int lock_python(void) { return self.kept ? py.PyGILState_Ensure() : lock_first_time(); }

int tykb_python_enter(const struct tykb_table **table, int *lock, struct CoProcessMessage *out) {
  int gate = pass(&dispatcher_gate);
  if (gate != TYKB_OK) {
    unpass();
    return gate_words(gate, out);
  }
  *lock = lock_python();
  *table = atomic_load_explicit(&the_table, memory_order_relaxed);
  return TYKB_OK;
}

void tykb_python_leave(int lock) {
  py.PyGILState_Release(lock);
  unpass();
}

/* As tykb_python_enter, for calls that need no table. Without one nothing tells us that the interpreter ends. */
static int enter_interpreter(int *lock, struct CoProcessMessage *out) {
  int gate = pass(&interpreter_gate);
  if (gate == TYKB_OK && !alive()) gate = TYKB_E_GONE;
  if (gate != TYKB_OK) {
    unpass();
    return gate_words(gate, out);
  }
  *lock = lock_python();
  return TYKB_OK;
}

void tykb_shutdown(void) {
  if (atomic_load(&interpreter_gate) != TYKB_E_FORKED) close_gates(TYKB_E_GONE);
  /* Once in a process's life, and mostly not even once: waking up now and then is simpler than being woken. */
  const struct timespec pause = {.tv_nsec = 1000000};
  for (int left = 5000; left > 0 && atomic_load(&in_flight) > self.in_flight; left--) nanosleep(&pause, NULL);
}

/* ---- Finding the functions ----------------------------------------------------------------------------------------- */

struct search {
  int skip; /* how many hits to pass over */
  char path[PATH_MAX];
};

/* libpython3.so, without a minor version, has no code of its own. */
static int look_at_object(struct dl_phdr_info *info, size_t size, void *search_) {
  struct search *search = search_;
  (void)size;
  const char *slash = strrchr(info->dlpi_name, '/');
  const char *name = slash ? slash + 1 : info->dlpi_name;
  if (strncmp(name, "libpython3.", 11) != 0 || name[11] < '0' || name[11] > '9') return 0;
  if (strlen(info->dlpi_name) >= sizeof search->path || search->skip-- > 0) return 0;
  strcpy(search->path, info->dlpi_name);
  return 1;
}

/* Whether the process has a Python, and the handle to ask for its functions (RTLD_DEFAULT is NULL). A libpython that the
 * host opened privately becomes visible to all, or extension modules would miss its functions: `import ssl` fails. */
static bool find_loaded(void **handle) {
  *handle = RTLD_DEFAULT;
  if (dlsym(RTLD_DEFAULT, "Py_IsInitialized")) return true;
  struct search search;
  char path[PATH_MAX] = "";
  for (int nth = 0; search.skip = nth, dl_iterate_phdr(look_at_object, &search); nth++) {
    int (*is_initialized)(void) = NULL;
    void *candidate = dlopen(search.path, RTLD_NOLOAD | RTLD_LAZY);
    void *address = candidate ? dlsym(candidate, "Py_IsInitialized") : NULL;
    memcpy(&is_initialized, &address, sizeof address);
    bool runs = is_initialized && is_initialized();
    if (runs || (is_initialized && !*path)) strcpy(path, search.path);
    if (candidate) dlclose(candidate);
    if (runs) break;
  }
  if (!*path) return false;
  *handle = dlopen(path, RTLD_NOLOAD | RTLD_GLOBAL | RTLD_LAZY);
  return *handle;
}

/* Fills in `py`. */
static int resolve(void *handle, struct CoProcessMessage *out) {
  static const struct {
    const char *name;
    size_t offset;
  } wanted[] = {
#define ROW(result, name, arguments) {#name, offsetof(struct functions, name)},
      PY_FUNCTIONS(ROW)
#undef ROW
  };
  int status = TYKB_OK, major = 0, minor = 0;
  pthread_mutex_lock(&resolve_lock);
  if (resolved) goto done;
  /* Objects and functions have the same size of pointer (POSIX), but C lets neither be cast to the other. */
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
    void *address = dlsym(handle, wanted[i].name);
    if (!address) {
      status = tykb_fail(out, TYKB_E_NO_PYTHON,
                         "this process's Python has no %s: tykbridge needs CPython 3.11 or later", wanted[i].name);
      goto done;
    }
    memcpy((char *)&py + wanted[i].offset, &address, sizeof address);
  }
  void *finalizing = dlsym(handle, "Py_IsFinalizing");
  if (!finalizing) finalizing = dlsym(handle, "_Py_IsFinalizing");
  memcpy(&py.is_finalizing, &finalizing, sizeof finalizing);
  if (sscanf(py.Py_GetVersion(), "%d.%d", &major, &minor) != 2 || major != 3 || minor < 11) {
    status = tykb_fail(out, TYKB_E_NO_PYTHON, "this process runs Python %d.%d: tykbridge needs CPython 3.11 or later",
                       major, minor);
    goto done;
  }
  resolved = true;
done:
  pthread_mutex_unlock(&resolve_lock);
  return status;
}

static void set_up_once(void) {
  has_state_key = pthread_key_create(&state_key, free_state) == 0;
  pthread_atfork(NULL, NULL, after_fork_in_child);
}

static void open_gate(atomic_int *gate) {
  int before = TYKB_E_NOT_STARTED;
  atomic_compare_exchange_strong(gate, &before, TYKB_OK);
}

/* ---- Python's errors and objects; the caller holds Python's lock -------------------------------------------------- */

static void drop(object *one) {
  if (one) py.Py_DecRef(one);
}

/* The text of a str, or "?"; borrowed from it. */
static const char *text_of(object *str) {
  const char *text = str ? py.PyUnicode_AsUTF8AndSize(str, NULL) : NULL;
  if (!text) py.PyErr_Clear();
  return text ? text : "?";
}

/* sys.executable, or "?". Borrowed. */
static const char *executable(void) { return text_of(py.PySys_GetObject("executable")); }

/* Takes the exception that was raised, and is never printed: PyErr_Print ends the process on a SystemExit. */
struct error {
  object *type, *value, *trace, *name, *words, *module;
};

static struct error take_error(void) {
  struct error e = {0};
  py.PyErr_Fetch(&e.type, &e.value, &e.trace);
  py.PyErr_NormalizeException(&e.type, &e.value, &e.trace);
  if (e.type) e.name = py.PyObject_GetAttrString(e.type, "__name__");
  if (e.value) e.words = py.PyObject_Str(e.value);
  if (e.value) e.module = py.PyObject_GetAttrString(e.value, "name"); /* of an ImportError */
  py.PyErr_Clear();
  return e;
}

static void drop_error(struct error *e) {
  drop(e->type), drop(e->value), drop(e->trace), drop(e->name), drop(e->words), drop(e->module);
}

/* The status and the words of the exception that was raised. */
static int python_failed(struct CoProcessMessage *out, int status, const char *doing) {
  struct error e = take_error();
  status = tykb_fail(out, status, "%s in %s failed: %s: %s", doing, executable(), text_of(e.name), text_of(e.words));
  drop_error(&e);
  return status;
}

/* Puts the folders of `path` before sys.path, in their order. */
static int extend_search_path(const char *path, struct CoProcessMessage *out) {
  object *list = py.PySys_GetObject("path");
  for (size_t end = strlen(path); list;) {
    size_t start = end;
    while (start > 0 && path[start - 1] != ':') start--;
    if (end > start) {
      object *folder = py.PyUnicode_DecodeFSDefaultAndSize(path + start, (ptrdiff_t)(end - start));
      int failed = !folder || py.PyList_Insert(list, 0, folder) != 0;
      drop(folder);
      if (failed) return python_failed(out, TYKB_E_INTERNAL, "extending sys.path");
    }
    if (start == 0) break;
    end = start - 1;
  }
  return TYKB_OK;
}

/* ---- Starting ------------------------------------------------------------------------------------------------------ */

/* signal and threading take this thread as Python's main thread for good, and the first import of signal takes SIGINT:
 * neither is left to whichever hook imports ssl first. Lines that plugins print are seen when they are printed: this
 * interpreter is never ended, which would flush them. */
static const char first_words[] = "import signal, sys, threading\n"
                                  "sys.argv = ['']\n"
                                  "if sys.stdout is not None:\n"
                                  "    sys.stdout.reconfigure(line_buffering=True)\n";

static int run_first_words(struct CoProcessMessage *out) {
  enum { FILE_INPUT = 257 };
  object *names = py.PyDict_New();
  object *code = names ? py.Py_CompileString(first_words, "<tykbridge>", FILE_INPUT) : NULL;
  object *result = code ? py.PyEval_EvalCode(code, names, names) : NULL;
  int status = result ? TYKB_OK : python_failed(out, TYKB_E_NO_PYTHON, "preparing the interpreter");
  drop(result), drop(code), drop(names);
  return status;
}

/* Isolated: the environment, the user's site folder and the current folder are not looked at. The prefix comes from the
 * name of the program, argv[0], as it does for that program itself: PYTHONHOME would not find a virtual environment. */
static int initialize(const char *program, struct CoProcessMessage *out) {
  struct py_preconfig before = {{0}};
  struct py_config config = {{0}};
  char *const arguments[] = {(char *)(uintptr_t)program, NULL};

  py.PyPreConfig_InitIsolatedConfig(&before);
  before.member[PRECONFIG_UTF8_MODE] = 1;
  struct py_status result = py.Py_PreInitialize(&before);
  if (result.type == 0) {
    py.PyConfig_InitIsolatedConfig(&config);
    result = py.PyConfig_SetBytesArgv(&config, 1, arguments);
    if (result.type == 0) result = py.Py_InitializeFromConfig(&config);
    py.PyConfig_Clear(&config);
  }
  if (result.type == 0) return TYKB_OK;
  return tykb_fail(out, TYKB_E_NO_PYTHON, "Python (%s) did not start: %s%s%s", program,
                   result.function ? result.function : "", result.function ? ": " : "",
                   result.message ? result.message : "no reason given");
}

struct start {
  const char *program;
  struct CoProcessMessage *out;
  int status;
  sem_t done;
};

/* Python's main thread. It has all signals blocked and runs no plugin; it lives as long as the process. */
static void *main_thread(void *start_) {
  struct start *start = start_;
  struct sigaction interrupt;
  sigaction(SIGINT, NULL, &interrupt);
  start->status = initialize(start->program, start->out);
  bool lives = start->status == TYKB_OK;
  if (lives) {
    start->status = run_first_words(start->out);
    lives = start->status == TYKB_OK;
    py.PyEval_SaveThread();
  }
  sigaction(SIGINT, &interrupt, NULL);
  sem_post(&start->done); /* `start` is gone from here on */
  while (lives) pause();
  return NULL;
}

static int start_main_thread(const char *program, struct CoProcessMessage *out) {
  struct start start = {.program = program, .out = out};
  sigset_t all, before;
  pthread_t thread;
  sem_init(&start.done, 0, 0);
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = pthread_create(&thread, NULL, main_thread, &start);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (error) {
    start.status = tykb_fail(out, TYKB_E_NO_MEMORY, "cannot start a thread for Python: error %d", error);
  } else {
    pthread_detach(thread);
    while (sem_wait(&start.done) != 0) continue;
  }
  sem_destroy(&start.done);
  return start.status;
}

/* Loads libpython, unless the process has it already (`loaded`), and starts it. */
static int start_interpreter(bool loaded, struct CoProcessMessage *out) {
  struct tykb_location place = {0};
  Dl_info own = {0};
  dladdr((void *)&the_table, &own);
  int status = tykb_locate(getauxval(AT_SECURE) != 0, own.dli_fname, &place, out);
  if (status != TYKB_OK) goto done;
  if (!loaded) {
    void *handle = dlopen(place.library, RTLD_NOW | RTLD_GLOBAL);
    if (!handle) {
      const char *words = dlerror();
      status = tykb_fail(out, TYKB_E_NO_PYTHON, "cannot load %s: %s", place.library, words ? words : "no reason given");
      goto done;
    }
    status = resolve(handle, out);
    if (status != TYKB_OK) goto done;
  }
  size_t digits = strlen(place.version);
  const char *version = py.Py_GetVersion();
  if (strncmp(version, place.version, digits) != 0 || version[digits] != '.') {
    status = tykb_fail(out, TYKB_E_NO_PYTHON,
                       "this process has loaded libpython %.*s, but %s is Python %s: set TYKBRIDGE_PYTHON to an "
                       "interpreter of the loaded version",
                       (int)strcspn(version, " "), version, place.executable, place.version);
    goto done;
  }
  ours = true;
  status = start_main_thread(place.executable, out);
  if (status != TYKB_OK) {
    ours = false;
    snprintf(broken, sizeof broken, "%s", out && out->p_data ? (char *)out->p_data : "Python did not start");
  }
done:
  tykb_location_clear(&place);
  return status;
}

static int join_or_start(struct CoProcessMessage *out) {
  void *handle;
  if (*broken) return tykb_fail(out, TYKB_E_NO_PYTHON, "%s", broken);
  bool loaded = find_loaded(&handle);
  int status = loaded ? resolve(handle, out) : TYKB_OK;
  if (status == TYKB_OK && !(loaded && py.Py_IsInitialized())) status = start_interpreter(loaded, out);
  if (status == TYKB_OK) open_gate(&interpreter_gate);
  return status;
}

int tykb_python_init(struct CoProcessMessage *out) {
  int status;
  char *path = NULL;
  pthread_once(&once, set_up_once);
  pthread_mutex_lock(&start_lock);
  status = atomic_load(&interpreter_gate);
  if (status == TYKB_E_NOT_STARTED)
    status = join_or_start(out);
  else if (status != TYKB_OK)
    gate_words(status, out);
  if (status == TYKB_OK) {
    path = pending_path;
    pending_path = NULL;
  }
  pthread_mutex_unlock(&start_lock);
  if (path) status = tykb_python_set_env(path, out);
  tykb_mem_free(path);
  return status;
}

/* ---- Search path and package --------------------------------------------------------------------------------------- */

/* Later folders stand before earlier ones, as they would in sys.path. */
static int remember_path(const char *path, struct CoProcessMessage *out) {
  size_t size = strlen(path), more = pending_path ? strlen(pending_path) + 1 : 0;
  char *joined = tykb_mem_alloc(size + more + 1);
  if (!joined) return tykb_fail(out, TYKB_E_NO_MEMORY, "no memory for a search path");
  memcpy(joined, path, size + 1);
  if (more) {
    joined[size] = ':';
    memcpy(joined + size + 1, pending_path, more);
  }
  tykb_mem_free(pending_path);
  pending_path = joined;
  return TYKB_OK;
}

int tykb_python_set_env(const char *path, struct CoProcessMessage *out) {
  const struct tykb_table *table;
  int lock, status;
  if (atomic_load(&interpreter_gate) == TYKB_E_NOT_STARTED) {
    pthread_mutex_lock(&start_lock);
    bool early = atomic_load(&interpreter_gate) == TYKB_E_NOT_STARTED;
    status = early ? remember_path(path, out) : TYKB_OK;
    pthread_mutex_unlock(&start_lock);
    if (early) return status;
  }
  if (atomic_load(&dispatcher_gate) == TYKB_E_NOT_STARTED) {
    status = enter_interpreter(&lock, out);
    if (status == TYKB_OK) {
      status = extend_search_path(path, out);
      tykb_python_leave(lock);
    }
  } else {
    status = tykb_python_enter(&table, &lock, out);
    if (status == TYKB_OK) {
      status = table->set_env(path, out);
      tykb_python_leave(lock);
    }
  }
  return status;
}

/* Refuses a table that another release wrote. */
static int check_table(const struct tykb_table *table, struct CoProcessMessage *out) {
  if (!table) return tykb_fail(out, TYKB_E_ARGUMENT, "there is no table");
  if (table->abi == TYKB_TABLE_ABI && table->size >= sizeof *table) return TYKB_OK;
  atomic_store(&refusal, TYKB_E_ABI);
  return tykb_fail(out, TYKB_E_ABI,
                   "libtykbridge %s (ABI %u, %zu bytes) and the package tykbridge %s (ABI %u, %u bytes) do not fit: "
                   "install the same release of both",
                   tykb_version(), TYKB_TABLE_ABI, sizeof *table, table->version ? table->version : "?", table->abi,
                   table->size);
}

static int accept_table(const struct tykb_table *table, struct CoProcessMessage *out) {
  atomic_store(&the_table, table);
  open_gate(&interpreter_gate);
  open_gate(&dispatcher_gate);
  int gate = atomic_load(&dispatcher_gate);
  return gate == TYKB_OK ? TYKB_OK : gate_words(gate, out);
}

int tykb_register(const struct tykb_table *table, struct CoProcessMessage *out) {
  void *handle;
  if (out) *out = (struct CoProcessMessage){0};
  int status = check_table(table, out);
  if (status != TYKB_OK) return status;
  pthread_once(&once, set_up_once);
  if (!find_loaded(&handle))
    return tykb_fail(out, TYKB_E_NO_PYTHON, "this process's Python hides its functions (no libpython is to be found)");
  status = resolve(handle, out);
  return status == TYKB_OK ? accept_table(table, out) : status;
}

/* Says why `import tykbridge._bridge` failed, and what to do. */
static int import_failed(struct CoProcessMessage *out) {
  struct error e = take_error();
  const char *program = executable();
  int status = atomic_load(&refusal);
  if (status == TYKB_OK) status = TYKB_E_NO_PYTHON;
  if (strcmp(text_of(e.name), "ModuleNotFoundError") == 0 && strcmp(text_of(e.module), "tykbridge") == 0)
    /* A process that was Python before we came has no choice of interpreters. */
    tykb_fail(out, status, "tykbridge is not installed in %s: run %s -m pip install tykbridge%s", program, program,
              ours ? ", or set TYKBRIDGE_PYTHON to an environment that has it" : "");
  else
    tykb_fail(out, status,
              "importing tykbridge in %s failed: %s: %s (to install it anew: %s -m pip install --force-reinstall "
              "tykbridge)",
              program, text_of(e.name), text_of(e.words), program);
  drop_error(&e);
  return status;
}

/* The module is linked to another copy of this library, which has its table: we take it too. */
static int borrow_table(struct CoProcessMessage *out) {
  const struct tykb_table *table = py.PyCapsule_Import(TYKB_TABLE_CAPSULE, 0);
  if (!table) return python_failed(out, TYKB_E_ABI, "looking for " TYKB_TABLE_CAPSULE);
  int status = check_table(table, out);
  if (status != TYKB_OK) return status;
  if (table->add_library(tykb_shutdown) != 0)
    return tykb_fail(out, TYKB_E_NO_MEMORY, "no memory for a second copy of libtykbridge");
  status = tykb_host_forward(table);
  if (status != TYKB_OK) return tykb_fail(out, status, "the host table could not be handed to the other libtykbridge");
  return accept_table(table, out);
}

int tykb_python_load(struct CoProcessMessage *out) {
  int lock;
  if (atomic_load(&dispatcher_gate) == TYKB_OK) return TYKB_OK;
  int status = enter_interpreter(&lock, out);
  if (status != TYKB_OK) return status;
  object *module = py.PyImport_ImportModule("tykbridge._bridge");
  if (!module)
    status = import_failed(out);
  else if (!atomic_load(&the_table))
    status = borrow_table(out);
  drop(module);
  tykb_python_leave(lock);
  return status;
}
