/* A thread pool that Python loads, as an application's C extension is: its threads dispatch until they are refused. At
 * the process's exit, after Python's own end, it looks whether each of them is still its own. */
#include "check.h"

#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <time.h>

enum { THREADS = 4 };

static struct library lib;
static pthread_t threads[THREADS];
static int answers[THREADS];
static sem_t inside;

static void on_event(void *context, const char *name, const char *payload) {
  (void)context, (void)name, (void)payload;
  sem_post(&inside);
}

static void *run_until_refused(void *answer_) {
  int answer;
  do answer = run(&lib, "tyk.trigger_event('inside', ''); sum(range(100000)); result = 'back'", NULL);
  while (answer == TYKB_OK);
  *(int *)answer_ = answer;
  return NULL;
}

static void at_exit(void) {
  struct timespec limit;
  clock_gettime(CLOCK_REALTIME, &limit);
  limit.tv_sec += 60;
  for (int i = 0; i < THREADS; i++) {
    CHECK(pthread_timedjoin_np(threads[i], NULL, &limit) == 0);
    CHECK(answers[i] == TYKB_E_GONE);
  }
  CHECK(run(&lib, "result = ''", NULL) == TYKB_E_GONE);
}

/* Returns when every thread is busy with hooks. */
void pool_start(const char *library, const char *root) {
  struct tykb_host host = {.size = sizeof host, .trigger_event = on_event};
  void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL), *address;
  CHECK(handle);
#define FILL(name)                                                                                                     \
  CHECK((address = dlsym(handle, #name)));                                                                             \
  memcpy(&lib.name, &address, sizeof address);
  FUNCTIONS(FILL)
#undef FILL
  sem_init(&inside, 0, 0);
  CHECK(lib.tykb_set_host(&host) == TYKB_OK);
  start(&lib, root);
  for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, run_until_refused, &answers[i]) == 0);
  for (int i = 0; i < 10 * THREADS; i++) CHECK(sem_wait(&inside) == 0);
  CHECK(atexit(at_exit) == 0);
}
