/* A host that is linked to the library and exports functions of its own: linked SCENARIO ROOT.
 *
 * One scenario per process. Its end without a word is its success. */
#include "check.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/wait.h>

static struct library lib;
static char *root;

/* What the host's own functions were called with. */
static char last_event[256], last_payload[256], last_log[4096], last_level[32];
static atomic_int events, logs, errors;
static sem_t inside;

void TykTriggerEvent(char *event_name, char *payload) {
  snprintf(last_event, sizeof last_event, "%s", event_name);
  snprintf(last_payload, sizeof last_payload, "%s", payload);
  atomic_fetch_add(&events, 1);
  if (strcmp(event_name, "inside") == 0) sem_post(&inside);
  if (strcmp(event_name, "again") == 0) CHECK(run(&lib, payload, "nested") == TYKB_OK);
}

void CoProcessLog(char *msg, char *level) {
  snprintf(last_log, sizeof last_log, "%s", msg);
  snprintf(last_level, sizeof last_level, "%s", level);
  atomic_fetch_add(&logs, 1);
  if (strcmp(level, "error") == 0) atomic_fetch_add(&errors, 1);
}

static void spawn(pthread_t *thread, void *(*function)(void *), void *argument) {
  CHECK(pthread_create(thread, NULL, function, argument) == 0);
}

/* ---- Start ---- */

static void never(void *context, int status, struct CoProcessMessage *out) {
  CHECK(!"called, though nothing began" && !context && !status && !out);
}

static void before_start(void) {
  struct CoProcessMessage in = request(&lib, "Run", ""), out = {(void *)"x", 1};
  CHECK(tykb_dispatch(&in, TYKB_REPLY_FULL, &out) == TYKB_E_NOT_STARTED);
  CHECK(out.length > 0 && strlen(out.p_data) == (size_t)out.length && strstr(out.p_data, "Python_Init"));
  tykb_message_clear(&out);
  CHECK(out.p_data == NULL && out.length == 0);

  out = (struct CoProcessMessage){(void *)"x", 1};
  CHECK(Python_DispatchHook(&in, &out) == TYKB_E_NOT_STARTED);
  CHECK(out.p_data == NULL && out.length == 0);
  CHECK(errors == 1 && strstr(last_log, "Python_Init") && strcmp(last_level, "error") == 0);
  CHECK(Python_LoadDispatcher() == TYKB_E_NOT_STARTED && errors == 2);
  CHECK(Python_NewDispatcher(root) == TYKB_E_NOT_STARTED && errors == 3);
  Python_ReloadDispatcher();
  CHECK(errors == 4);
  Python_DispatchEvent((char *)"{}");
  CHECK(errors == 5);
  TykStoreData((char *)"key", (char *)"value", 0);
  CHECK(errors == 6);
  char *value = TykGetData((char *)"key");
  CHECK(errors == 7 && strcmp(value, "") == 0);
  free(value);
  CHECK(tykb_load_bundle(root, "x", &out) == TYKB_E_NOT_STARTED && strstr(out.p_data, "Python_Init"));
  tykb_message_clear(&out);
  struct tykb_configuration configuration = {.size = sizeof configuration, .source = root};
  CHECK(tykb_load_configuration(&configuration, &out) == TYKB_E_NOT_STARTED && strstr(out.p_data, "Python_Init"));
  tykb_message_clear(&out);
  CHECK(tykb_run_request(&in, &out) == TYKB_E_NOT_STARTED && strstr(out.p_data, "Python_Init"));
  tykb_message_clear(&out);
  CHECK(tykb_run_response(&in, &out) == TYKB_E_NOT_STARTED && strstr(out.p_data, "Python_Init"));
  tykb_message_clear(&out);
  CHECK(tykb_start_request(&in, never, NULL, &out) == TYKB_E_NOT_STARTED && strstr(out.p_data, "Python_Init"));
  tykb_message_clear(&out);
  CHECK(tykb_start_response(&in, never, NULL, NULL) == TYKB_E_NOT_STARTED);
  CHECK(tykb_reload(&out) == TYKB_E_NOT_STARTED && strstr(out.p_data, "Python_Init"));
  tykb_message_clear(&out);
  CHECK(tykb_reload(NULL) == TYKB_E_NOT_STARTED);

  CHECK(Python_Init() == TYKB_OK);
  CHECK(tykb_dispatch(&in, TYKB_REPLY_FULL, NULL) == TYKB_E_ARGUMENT);
  CHECK(tykb_dispatch(&in, TYKB_REPLY_FULL, &out) == TYKB_E_NOT_STARTED);
  tykb_message_clear(&out);
  CHECK(Python_LoadDispatcher() == TYKB_OK);
  CHECK(Python_NewDispatcher(root) == TYKB_OK);
  CHECK(run(&lib, "result = 'started'", "started") == TYKB_OK);
  CHECK(errors == 7);
  tykb_message_clear(&in);
}

/* What is wrong with a call is answered whether or not anything was started. */
static void refuse_arguments(void) {
  struct CoProcessMessage out;
  struct CoProcessMessage negative = {(void *)"x", -1}, empty = {NULL, 1}, none = {NULL, 0};
  CHECK(tykb_dispatch(NULL, 0, &out) == TYKB_E_ARGUMENT && out.length > 0);
  tykb_message_clear(&out);
  CHECK(tykb_dispatch(&negative, 0, &out) == TYKB_E_ARGUMENT && strstr(out.p_data, "negative"));
  tykb_message_clear(&out);
  CHECK(tykb_dispatch(&empty, 0, &out) == TYKB_E_ARGUMENT && out.length > 0);
  tykb_message_clear(&out);
  CHECK(tykb_dispatch(&none, 2, &out) == TYKB_E_ARGUMENT && strstr(out.p_data, "flags"));
  tykb_message_clear(&out);
  CHECK(tykb_dispatch(&none, 0, NULL) == TYKB_E_ARGUMENT);
  CHECK(tykb_load_bundle(NULL, "x", &out) == TYKB_E_ARGUMENT && strstr(out.p_data, "path"));
  tykb_message_clear(&out);
  CHECK(tykb_load_bundle("x", NULL, NULL) == TYKB_E_ARGUMENT);
  struct tykb_configuration configuration = {.size = sizeof configuration};
  CHECK(tykb_load_configuration(NULL, NULL) == TYKB_E_ARGUMENT);
  CHECK(tykb_load_configuration(&configuration, &out) == TYKB_E_ARGUMENT && strstr(out.p_data, "source"));
  tykb_message_clear(&out);
  configuration.source = "{}";
  configuration.flags = 4;
  CHECK(tykb_load_configuration(&configuration, &out) == TYKB_E_ARGUMENT && strstr(out.p_data, "flags"));
  tykb_message_clear(&out);
  configuration.size = 8;
  CHECK(tykb_load_configuration(&configuration, &out) == TYKB_E_ARGUMENT && strstr(out.p_data, "size"));
  tykb_message_clear(&out);
  struct {
    struct tykb_configuration known;
    const char *later;
  } longer = {{.size = sizeof longer, .source = "{}"}, "set"};
  CHECK(tykb_load_configuration(&longer.known, &out) == TYKB_E_ARGUMENT && strstr(out.p_data, "does not know"));
  tykb_message_clear(&out);
  CHECK(tykb_run_request(&negative, &out) == TYKB_E_ARGUMENT && strstr(out.p_data, "negative"));
  tykb_message_clear(&out);
  CHECK(tykb_run_response(NULL, &out) == TYKB_E_ARGUMENT && out.length > 0);
  tykb_message_clear(&out);
  CHECK(tykb_run_request(&none, NULL) == TYKB_E_ARGUMENT && tykb_run_response(&none, NULL) == TYKB_E_ARGUMENT);
  CHECK(tykb_start_request(&none, NULL, NULL, &out) == TYKB_E_ARGUMENT && strstr(out.p_data, "no function"));
  tykb_message_clear(&out);
  CHECK(tykb_start_request(&negative, never, NULL, &out) == TYKB_E_ARGUMENT && strstr(out.p_data, "negative"));
  tykb_message_clear(&out);
  CHECK(tykb_start_response(NULL, never, NULL, NULL) == TYKB_E_ARGUMENT);
  tykb_message_clear(NULL);
  int before = errors;
  CHECK(Python_DispatchHook(&negative, &out) == TYKB_E_ARGUMENT && out.p_data == NULL && out.length == 0);
  CHECK(Python_DispatchHook(&none, NULL) == TYKB_E_ARGUMENT);
  CHECK(Python_NewDispatcher(NULL) == TYKB_E_ARGUMENT);
  Python_SetEnv(NULL);
  Python_DispatchEvent(NULL);
  TykStoreData(NULL, (char *)"value", 0);
  TykStoreData((char *)"key", NULL, 0);
  char *value = TykGetData(NULL);
  CHECK(value && !*value);
  free(value);
  CHECK(errors == before + 8);
}

static void arguments(void) {
  refuse_arguments();
  start(&lib, root);
  refuse_arguments();
  struct CoProcessMessage none = {NULL, 0}, out;
  int status = tykb_dispatch(&none, 0, &out);
  CHECK(status != TYKB_OK && status != TYKB_E_ARGUMENT && out.length > 0); /* no message, but a good pointer */
  tykb_message_clear(&out);
  struct CoProcessMessage same = request(&lib, "Run", "result = 'same'"), copy = same;
  CHECK(tykb_dispatch(&same, 0, &same) == TYKB_OK && same.p_data != copy.p_data);
  tykb_message_clear(&same);
  tykb_message_clear(&copy);
}

static void *start_and_run(void *unused) {
  struct CoProcessMessage words;
  CHECK(tykb_init(&words) == TYKB_OK && words.p_data == NULL);
  CHECK(Python_NewDispatcher(root) == TYKB_OK);
  CHECK(run(&lib, "result = 'here'", "here") == TYKB_OK);
  return unused;
}

static void start_from_many_threads(void) {
  pthread_t threads[8];
  for (int i = 0; i < 8; i++) spawn(&threads[i], start_and_run, NULL);
  for (int i = 0; i < 8; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  CHECK(Python_Init() == TYKB_OK && Python_LoadDispatcher() == TYKB_OK);
  CHECK(run(&lib, "import sys; result = repr((sys.argv, sys.stdout.line_buffering, sys.flags.utf8_mode))",
            "([''], True, 1)") == TYKB_OK);
}

static void search_path(void) {
  Python_SetEnv((char *)"/third:/fourth");
  Python_SetEnv((char *)"/second");
  CHECK(Python_Init() == TYKB_OK);
  Python_SetEnv((char *)"/a 'quoted\" \\path");
  CHECK(Python_LoadDispatcher() == TYKB_OK);
  Python_SetEnv((char *)"/zeroth:/first");
  CHECK(Python_NewDispatcher(root) == TYKB_OK);
  CHECK(run(&lib,
            "import sys\n"
            "wanted = ['/zeroth', '/first', '/a \\'quoted\" \\\\path', '/second', '/third', '/fourth']\n"
            "result = repr([p for p in sys.path if p in wanted] == wanted)",
            "True") == TYKB_OK);
}

/* ---- Threads ---- */

static void *run_once(void *unused) {
  CHECK(run(&lib, "result = 'here'", "here") == TYKB_OK);
  return unused;
}

static long resident_pages(void) {
  long size, resident;
  FILE *statm = fopen("/proc/self/statm", "r");
  CHECK(statm && fscanf(statm, "%ld %ld", &size, &resident) == 2);
  fclose(statm);
  return resident;
}

static void many_threads(void) {
  /* Python's own main thread and this one. */
  static const char count[] =
      "import ctypes\n"
      "def pointer(function, *arguments):\n"
      "    function.restype = ctypes.c_void_p\n"
      "    return function(*map(ctypes.c_void_p, arguments))\n"
      "api, result = ctypes.pythonapi, 0\n"
      "state = pointer(api.PyInterpreterState_ThreadHead, pointer(api.PyInterpreterState_Main))\n"
      "while state: state, result = pointer(api.PyThreadState_Next, state), result + 1\n"
      "result = str(result)";
  pthread_t threads[4];
  start(&lib, root);
  CHECK(run(&lib, count, "2") == TYKB_OK);
  long before = 0;
  for (int round = 0; round < 2500; round++) {
    if (round == 250) before = resident_pages();
    for (int i = 0; i < 4; i++) spawn(&threads[i], run_once, NULL);
    for (int i = 0; i < 4; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  }
  CHECK(run(&lib, count, "2") == TYKB_OK);
  /* One thread state takes more than 16 KB: 9,000 lost ones would be 140 MB. */
  CHECK((resident_pages() - before) * sysconf(_SC_PAGESIZE) < 8 << 20);
}

/* ---- Fork ---- */

/* A child's verdict. It must come: a child that waits for a lock which nobody holds any more is killed. */
static int end_of(pid_t child) {
  int status;
  CHECK(waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void refuse_everything(int status, const char *word) {
  struct CoProcessMessage in = request(&lib, "Run", "result = ''"), out;
  CHECK(tykb_dispatch(&in, TYKB_REPLY_FULL, &out) == status);
  CHECK(out.length > 0 && strstr(out.p_data, word));
  tykb_message_clear(&out);
  CHECK(Python_DispatchHook(&in, &out) == status && out.p_data == NULL);
  CHECK(Python_Init() == status);
  CHECK(Python_LoadDispatcher() == status);
  CHECK(Python_NewDispatcher(root) == status);
  CHECK(tykb_load_bundle(root, "x", NULL) == status);
  CHECK(tykb_init(&out) == status && strstr(out.p_data, word));
  tykb_message_clear(&out);
  int before = errors;
  Python_ReloadDispatcher();
  Python_DispatchEvent((char *)"{}");
  Python_SetEnv((char *)"/x");
  TykStoreData((char *)"key", (char *)"value", 0);
  char *value = TykGetData((char *)"key");
  CHECK(!*value && errors == before + 5);
  free(value);
  tykb_message_clear(&in);
}

static void *run_until_told(void *stop) {
  while (!atomic_load((atomic_bool *)stop)) CHECK(run(&lib, "result = str(sum(range(1000)))", "499500") == TYKB_OK);
  return NULL;
}

static void *refuse_in_thread(void *unused) {
  refuse_everything(TYKB_E_FORKED, "fork");
  return unused;
}

static void fork_often(void) {
  pthread_t own;
  for (int i = 0; i < 20; i++) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      alarm(60);
      refuse_everything(TYKB_E_FORKED, "fork");
      spawn(&own, refuse_in_thread, NULL);
      CHECK(pthread_join(own, NULL) == 0);
      exit(0); /* with all that runs at an exit */
    }
    CHECK(end_of(child) == 0);
    CHECK(run(&lib, "result = 'parent'", "parent") == TYKB_OK);
  }
}

static void forked_by_the_host(void) {
  start(&lib, root);
  CHECK(run(&lib, "result = 'parent'", "parent") == TYKB_OK);
  fork_often();
}

static void forked_beside_a_busy_thread(void) {
  atomic_bool stop = false;
  pthread_t busy;
  start(&lib, root);
  spawn(&busy, run_until_told, &stop);
  fork_often();
  atomic_store(&stop, true);
  CHECK(pthread_join(busy, NULL) == 0);
}

static void forked_before_the_start(void) {
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) alarm(60);
  start(&lib, root);
  CHECK(run(&lib, "result = 'here'", "here") == TYKB_OK);
  if (child == 0) exit(0);
  CHECK(end_of(child) == 0);
}

static void forked_by_a_hook(void) {
  start(&lib, root);
  CHECK(run(&lib,
            "import os, sys\n"
            "child = os.fork()\n"
            "if child == 0:\n"
            "    try:\n"
            "        tyk.store_data('key', 'child', 0)\n" /* through the library, in the child */
            "        os._exit(7 if tyk.get_data('key') == b'child' else 8)\n"
            "    finally:\n"
            "        os._exit(9)\n"
            "result = str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))",
            "7") == TYKB_OK);
  CHECK(run(&lib,
            "import multiprocessing\n"
            "with multiprocessing.get_context('fork').Pool(2) as pool:\n"
            "    result = str(pool.apply(pow, (2, 5)))\n",
            "32") == TYKB_OK);
  CHECK(run(&lib,
            "import multiprocessing\n"
            "with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
            "    result = str(pool.apply(pow, (2, 6)))\n",
            "64") == TYKB_OK);
  CHECK(
      run(&lib,
          "import subprocess, sys\n"
          "result = subprocess.run([sys.executable, '-c', 'print(5)'], capture_output=True, text=True).stdout.strip()",
          "5") == TYKB_OK);
  CHECK(run(&lib, "result = tyk.get_data('key').decode()", "") == TYKB_OK);
}

/* ---- Exit ---- */

static void *run_forever(void *program) {
  run(&lib, program, NULL);
  return NULL;
}

static void exit_with_hooks_running(void) {
  static char *programs[] = {(char *)"tyk.trigger_event('inside', '')\nwhile True: pass",
                             (char *)"import threading\ntyk.trigger_event('inside', '')\nthreading.Event().wait()",
                             (char *)"import time\ntyk.trigger_event('inside', '')\ntime.sleep(1000000)"};
  pthread_t thread;
  sem_init(&inside, 0, 0);
  start(&lib, root);
  for (int i = 0; i < 6; i++) spawn(&thread, run_forever, programs[i % 3]);
  for (int i = 0; i < 6; i++) CHECK(sem_wait(&inside) == 0);
}

/* ---- Signals ---- */

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number) { interrupted = number; }

/* `interrupt` is what the host does at a SIGINT: Python would take the signal where that is the default. */
static void check_signals(void (*interrupt)(int)) {
  struct sigaction before[65], now, mine = {.sa_handler = interrupt};
  sigset_t mask_before, mask, pending;
  sigaction(SIGINT, &mine, NULL);
  memset(before, 0, sizeof before);
  pthread_sigmask(SIG_SETMASK, NULL, &mask_before);
  for (int number = 1; number < 65; number++) sigaction(number, NULL, &before[number]);

  start(&lib, root);
  CHECK(run(&lib, "import ssl, asyncio, subprocess, signal; result = 'imported'", "imported") == TYKB_OK);
  CHECK(run(&lib,
            "import signal\n"
            "try:\n"
            "    signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
            "except ValueError:\n"
            "    result = 'refused'\n",
            "refused") == TYKB_OK);
  CHECK(run(&lib, "import threading; result = str(threading.current_thread() is threading.main_thread())", "False") ==
        TYKB_OK);

  for (int number = 1; number < 65; number++) {
    memset(&now, 0, sizeof now);
    sigaction(number, NULL, &now);
    CHECK(now.sa_handler == before[number].sa_handler && now.sa_flags == before[number].sa_flags);
  }
  pthread_sigmask(SIG_SETMASK, NULL, &mask);
  CHECK(memcmp(&mask, &mask_before, sizeof mask) == 0);

  /* A signal that only Python's own thread could take waits for the host. */
  sigaddset(&mask, SIGTERM);
  pthread_sigmask(SIG_SETMASK, &mask, NULL);
  kill(getpid(), SIGTERM);
  sigpending(&pending);
  CHECK(sigismember(&pending, SIGTERM));
  CHECK(run(&lib, "result = 'on'", "on") == TYKB_OK);
}

static void signals(void) {
  check_signals(on_interrupt);
  raise(SIGINT);
  CHECK(interrupted == SIGINT);
}

static void signals_at_their_defaults(void) { check_signals(SIG_DFL); }

/* ---- The host's own functions ---- */

static int table_calls;

static void table_event(void *context, const char *name, const char *payload) {
  (void)context, (void)name, (void)payload;
  table_calls++;
}

static void exported_functions_win(void) {
  struct tykb_host host = {.size = sizeof host, .trigger_event = table_event};
  start(&lib, root);
  CHECK(tykb_set_host(&host) == TYKB_OK);
  CHECK(run(&lib, "tyk.trigger_event('my event', 'my payload')", "") == TYKB_OK);
  CHECK(events == 1 && table_calls == 0);
  CHECK(strcmp(last_event, "my event") == 0 && strcmp(last_payload, "my payload") == 0);
  CHECK(run(&lib, "tyk.log('seen', 'warning')", "") == TYKB_OK);
  CHECK(strcmp(last_log, "seen") == 0 && strcmp(last_level, "warning") == 0);
}

/* A failed hook is told once: by the line with its traceback. */
static void failures_are_told_once(void) {
  struct CoProcessMessage in = request(&lib, "Run", "1 / 0"), out;
  start(&lib, root);
  CHECK(Python_DispatchHook(&in, &out) == TYKB_E_HOOK && out.p_data == NULL && out.length == 0);
  CHECK(errors == 1 && strstr(last_log, "ZeroDivisionError"));
  CHECK(tykb_dispatch(&in, 0, &out) == TYKB_E_HOOK && out.length > 0 && errors == 2);
  tykb_message_clear(&out);
  tykb_message_clear(&in);
  in = request(&lib, "Missing", "");
  CHECK(Python_DispatchHook(&in, &out) == TYKB_E_NOT_FOUND && out.p_data == NULL);
  CHECK(errors == 3 && strstr(last_log, "Missing"));
  CHECK(tykb_dispatch(&in, 0, &out) == TYKB_E_NOT_FOUND && memmem(out.p_data, (size_t)out.length, "Missing", 7));
  CHECK(errors == 3);
  tykb_message_clear(&out);
  tykb_message_clear(&in);
}

/* A hook whose callback into the host dispatches again, on the same thread. */
static void nested_calls(void) {
  start(&lib, root);
  CHECK(run(&lib, "tyk.trigger_event('again', \"result = 'nested'\"); result = 'outer'", "outer") == TYKB_OK);
  CHECK(events == 1);
}

/* The example of the classic documentation, in Cython; the test builds it. */
static void classic_cython_module(void) {
  Python_SetEnv(getenv("MODULE_FOLDER"));
  start(&lib, root);
  CHECK(run(&lib, "import classic; classic.call()", "") == TYKB_OK);
  CHECK(events == 1 && strcmp(last_event, "my event") == 0 && strcmp(last_payload, "my payload") == 0);
}

static const struct {
  const char *name;
  void (*run)(void);
} scenarios[] = {
    {"before_start", before_start},
    {"arguments", arguments},
    {"start_from_many_threads", start_from_many_threads},
    {"search_path", search_path},
    {"many_threads", many_threads},
    {"forked_by_the_host", forked_by_the_host},
    {"forked_beside_a_busy_thread", forked_beside_a_busy_thread},
    {"forked_before_the_start", forked_before_the_start},
    {"forked_by_a_hook", forked_by_a_hook},
    {"exit_with_hooks_running", exit_with_hooks_running},
    {"signals", signals},
    {"signals_at_their_defaults", signals_at_their_defaults},
    {"exported_functions_win", exported_functions_win},
    {"failures_are_told_once", failures_are_told_once},
    {"nested_calls", nested_calls},
    {"classic_cython_module", classic_cython_module},
};

int main(int argc, char **argv) {
#define LINK(name) lib.name = name;
  FUNCTIONS(LINK)
  CHECK(argc == 3);
  root = argv[2];
  for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++)
    if (strcmp(argv[1], scenarios[i].name) == 0) {
      scenarios[i].run();
      return 0;
    }
  fprintf(stderr, "no scenario \"%s\"\n", argv[1]);
  return 2;
}
