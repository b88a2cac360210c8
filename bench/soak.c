/* Holds the library to its promises over a long time: memory that stays flat, replies that stay apart.
 *
 *     soak memory  DISPATCHES ROOT   one thread, mixed hooks, one dispatch in ten failing; resident memory must be flat
 *     soak mixed   DISPATCHES ROOT   the same, but memory may be what it likes: for valgrind
 *     soak threads SECONDS    ROOT   eight threads that dispatch, reload and fire events; every reply is checked
 *     soak reload  RELOADS    ROOT   another version every 100 ms, while four threads send requests: none may fail, every
 *                                    answer is of one version, memory must be flat
 *
 * ROOT is a folder with the bundle `soak` in it, and the bundle `other` beside it (copies of bench/soak_bundle and
 * bench/soak_other: the first is rewritten); for `reload`, one with a copy of bench/soak_release as `template` in it.
 * Prints what it measured and ends with 0, or with 1 and what was wrong. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <tykbridge/api.h>

/* Over the second half of the dispatches resident memory may peak this much above the first half's peak. */
#define MEMORY_BOUND_KB 1024
/* The same where bundles are loaded again and again, and threads come and go. */
#define THREADS_BOUND_KB 8192
enum { THREADS = 8, SAMPLES = 20 };

static _Noreturn void die(const char *what, const char *words) {
  fprintf(stderr, "soak: %s: %s\n", what, words ? words : "no words");
  _exit(1);
}

/* ---- The host: log lines and events are counted, plugin data stays with the library ---- */

static atomic_long error_lines, other_lines, events_seen, event_sum;

static void host_log(void *context, const char *message, const char *level) {
  (void)context;
  atomic_fetch_add(strcmp(level, "error") ? &other_lines : &error_lines, 1);
  if (getenv("SOAK_VERBOSE")) fprintf(stderr, "%s: %s\n", level, message);
}

static void host_event(void *context, const char *name, const char *payload) {
  (void)context;
  if (strcmp(name, "seen")) die("an event of another name", name);
  atomic_fetch_add(&events_seen, 1);
  atomic_fetch_add(&event_sum, atol(payload));
}

static void start(const char *root) {
  struct CoProcessMessage words = {NULL, 0};
  struct tykb_host host = {.size = sizeof host, .log = host_log, .trigger_event = host_event};
  if (tykb_set_host(&host)) die("tykb_set_host", NULL);
  if (tykb_init(&words)) die("tykb_init", words.p_data);
  if (Python_NewDispatcher((char *)root)) die("Python_NewDispatcher", root);
}

/* ---- Messages and replies ---- */

static void text(tykb_builder *b, uint32_t path, const char *value) {
  tykb_builder_text(b, path, value, strlen(value));
}

static void pair(tykb_builder *b, uint32_t path, const char *key, const char *value) {
  tykb_builder_pair(b, path, key, strlen(key), value, strlen(value));
}

/* The message of one request, told apart by `id`, which is in a header, in the body and in a session's alias. */
static void build(tykb_builder *b, const char *hook, const char *bundle, const char *id, size_t body_size,
                  struct CoProcessMessage *out) {
  static const char filler[1024] = {'~'};
  tykb_builder_number(b, TYKB_HOOK_TYPE, 2);
  text(b, TYKB_HOOK_NAME, hook);
  pair(b, TYKB_REQUEST_HEADERS, "Host", "api.example.org");
  pair(b, TYKB_REQUEST_HEADERS, "User-Agent", "soak/1.0 (a host of many threads)");
  pair(b, TYKB_REQUEST_HEADERS, "Accept", "application/json");
  pair(b, TYKB_REQUEST_HEADERS, "X-Id", id);
  pair(b, TYKB_REQUEST_PARAMS, "page", "2");
  text(b, TYKB_REQUEST_URL, "/orders");
  text(b, TYKB_REQUEST_METHOD, "POST");
  tykb_builder_text(b, TYKB_REQUEST_RAW_BODY, filler, body_size);
  pair(b, TYKB_SESSION_METADATA, "plan", "gold");
  text(b, TYKB_PATH(4, 25, 0), id);
  pair(b, TYKB_SPEC, "OrgID", "53ac07777cbb8c2d53000002");
  if (bundle) pair(b, TYKB_SPEC, "bundle_hash", bundle);
  tykb_builder_number(b, TYKB_RESPONSE_STATUS_CODE, 200);
  int status = tykb_builder_finish(b, out);
  if (status) die("tykb_builder_finish", out->p_data);
}

static int is(struct tykb_slice slice, const char *value) {
  return slice.size == strlen(value) && !memcmp(slice.data, value, slice.size);
}

/* What a reply says that a request can be known by. */
struct reply {
  char echo[64], id[64], alias[64], size[64], version[64], stored[64];
  size_t body_size;
};

static void note(char to[64], struct tykb_slice from) {
  size_t size = from.size < 63 ? from.size : 63;
  memcpy(to, from.data, size);
  to[size] = 0;
}

static void read_reply(const struct CoProcessMessage *message, struct reply *reply) {
  tykb_reader reader;
  struct tykb_item item;
  int status;
  memset(reply, 0, sizeof *reply);
  tykb_reader_init(&reader, message);
  while ((status = tykb_reader_next(&reader, &item)) > 0) {
    if (item.path == TYKB_REQUEST_HEADERS && is(item.key, "X-Id")) note(reply->id, item.value);
    if (item.path == TYKB_REQUEST_SET_HEADERS && is(item.key, "X-Echo")) note(reply->echo, item.value);
    if (item.path == TYKB_RESPONSE_HEADERS && is(item.key, "X-Echo")) note(reply->echo, item.value);
    if (item.path == TYKB_REQUEST_SET_HEADERS && is(item.key, "X-Size")) note(reply->size, item.value);
    if (item.path == TYKB_REQUEST_SET_HEADERS && is(item.key, "X-Version")) note(reply->version, item.value);
    if (item.path == TYKB_SESSION_METADATA && is(item.key, "echo")) note(reply->stored, item.value);
    if (item.path == TYKB_PATH(4, 25, 0)) note(reply->alias, item.value);
    if (item.path == TYKB_REQUEST_RAW_BODY) reply->body_size = item.value.size;
  }
  if (status) die("a reply cannot be read", tykb_status_name(status));
}

/* ---- Memory ---- */

static long resident_kb(void) {
  long pages = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (!file || fscanf(file, "%*d %ld", &pages) != 1) die("/proc/self/statm", "cannot be read");
  fclose(file);
  return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* Fails when the later half of a series of samples peaks more than `bound` KB above the half before it. The first
 * sample is left out: Python is still warming up. */
static void check_flat(const long *series, int count, long bound) {
  long before = 0, after = 0;
  printf("resident memory, KB:");
  for (int i = 0; i < count; i++) {
    long *half = i < count / 2 ? &before : &after;
    printf(" %ld", series[i]);
    if (i > 0 && series[i] > *half) *half = series[i];
  }
  printf("\ngrowth: %ld KB (bound: %ld KB)\n", after - before, bound);
  if (after - before > bound) die("memory", "resident memory grows");
}

static const char *const mixed[] = {"echo",     "nothing", "add_header", "iterate", "metadata", "override",
                                    "big_body", "remove",  "keep",       "auth",    "response"};
static const struct {
  const char *hook, *bundle;
  int status;
} failing[] = {
    {"fail_value", "soak", TYKB_E_HOOK},   {"fail_chained", "soak", TYKB_E_HOOK},
    {"fail_exit", "soak", TYKB_E_HOOK},    {"fail_interrupt", "soak", TYKB_E_HOOK},
    {"fail_return", "soak", TYKB_E_HOOK},  {"fail_type", "soak", TYKB_E_HOOK},
    {"no_such", "soak", TYKB_E_NOT_FOUND}, {"echo", "no such bundle", TYKB_E_NOT_FOUND},
    {"nothing", "soak", TYKB_E_MALFORMED}, {"fail_recursion", "soak", TYKB_E_HOOK},
};
#define COUNT(array) (sizeof array / sizeof array[0])

/* Sends one dispatch and checks its answer. Failing ones count in *failed. */
static void dispatch_mixed(tykb_builder *b, long i, long *failed) {
  struct CoProcessMessage in, out;
  char id[32];
  snprintf(id, sizeof id, "m-%ld", i);
  uint32_t flags = i / 11 % 2 ? TYKB_REPLY_DELTA : TYKB_REPLY_FULL;
  if (i % 10 == 9) {
    /* A hook that exhausts the stack takes a thousand frames; one failure in two hundred is enough. */
    size_t k = (size_t)(i / 10) % 200 == 199 ? 9 : (size_t)(i / 10) % 9;
    build(b, failing[k].hook, failing[k].bundle, id, (size_t)i % 64, &in);
    if (failing[k].status == TYKB_E_MALFORMED) in.length -= 3;
    int status = tykb_dispatch(&in, flags, &out);
    if (status != failing[k].status) die(failing[k].hook, tykb_status_name(status));
    if (!out.p_data || !out.length) die(failing[k].hook, "failed without words");
    ++*failed;
  } else {
    const char *hook = i % 500 == 0 ? "to_json" : mixed[(size_t)i % COUNT(mixed)];
    struct reply reply;
    build(b, hook, "soak", id, (size_t)i % 1000, &in);
    int status = tykb_dispatch(&in, flags, &out);
    if (status) die(hook, out.p_data);
    read_reply(&out, &reply);
    if (strcmp(hook, "nothing") && strcmp(reply.echo, id)) die(hook, "the reply belongs to another request");
    if (flags == TYKB_REPLY_FULL && strcmp(reply.id, id)) die(hook, "the full reply lacks the request");
  }
  tykb_message_clear(&in);
  tykb_message_clear(&out);
}

static void soak_memory(long dispatches, int flat) {
  long series[SAMPLES], failed = 0, events = 0;
  tykb_builder *b = tykb_builder_new();
  for (int sample = 0; sample < SAMPLES; sample++) {
    for (long i = dispatches / SAMPLES * sample; i < dispatches / SAMPLES * (sample + 1); i++) {
      dispatch_mixed(b, i, &failed);
      if (i % 100 == 50) {
        Python_DispatchEvent("{\"message\": {\"Type\": \"Soak\", \"Meta\": {\"Message\": \"1\"}},"
                             " \"handler_name\": \"on_event\", \"spec\": {\"APIID\": \"a\", \"OrgID\": \"o\"}}");
        events++;
      }
    }
    series[sample] = resident_kb();
  }
  tykb_builder_free(b);
  printf("%ld dispatches, %ld of them failing, %ld events, %ld log lines\n", dispatches / SAMPLES * SAMPLES, failed,
         events, atomic_load(&error_lines) + atomic_load(&other_lines));
  if (atomic_load(&events_seen) != events) die("events", "some were lost");
  if (flat) check_flat(series, SAMPLES, MEMORY_BOUND_KB);
}

/* ---- Threads ---- */

static atomic_long dispatched, failures, events_sent, sent_sum, reloads, loads, lives, live_version;
static const char *soak_root;
static double deadline;

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Writes the bundle with another VERSION of the same length, and reloads. What is dispatched after that must answer
 * with that version or a later one. One thread does this; another one reloads beside it and changes nothing. */
static void reload(long version) {
  static char source[65536];
  static size_t size;
  char path[4096], fresh[4096 + 8];
  snprintf(path, sizeof path, "%s/soak/middleware.py", soak_root);
  snprintf(fresh, sizeof fresh, "%s.new", path);
  if (!size) {
    FILE *file = fopen(path, "rb");
    if (!file) die(path, "cannot be read");
    size = fread(source, 1, sizeof source - 1, file);
    fclose(file);
  }
  char *place = strstr(source, "VERSION = \"");
  if (!place) die(path, "has no VERSION");
  char *digit = place + strlen("VERSION = \"") + 6;
  for (long rest = version, i = 0; i < 6; i++, rest /= 10) *--digit = (char)('0' + rest % 10);
  FILE *file = fopen(fresh, "wb");
  if (!file || fwrite(source, 1, size, file) != size || fclose(file) || rename(fresh, path)) die(path, "not written");
  Python_ReloadDispatcher();
  atomic_store(&live_version, version);
  atomic_fetch_add(&reloads, 1);
}

static void dispatch_echo(tykb_builder *b, const char *bundle, const char *id, size_t body_size, uint32_t flags) {
  struct CoProcessMessage in, out;
  struct reply reply;
  char size[32];
  long version = atomic_load(&live_version);
  build(b, "echo", bundle, id, body_size, &in);
  int status = tykb_dispatch(&in, flags, &out);
  if (status) die("echo", out.p_data);
  read_reply(&out, &reply);
  snprintf(size, sizeof size, "%zu", body_size);
  if (strcmp(reply.echo, id) || strcmp(reply.size, size) || strcmp(reply.stored, id)) die(id, "a mixed reply");
  if (flags == TYKB_REPLY_FULL && (strcmp(reply.id, id) || strcmp(reply.alias, id) || reply.body_size != body_size))
    die(id, "a full reply that is not of this request");
  if (!strcmp(bundle, "soak") && atol(reply.version) < version) die(reply.version, "a version before the last reload");
  tykb_message_clear(&in);
  tykb_message_clear(&out);
  atomic_fetch_add(&dispatched, 1);
}

static void dispatch_failing(tykb_builder *b, const char *id) {
  struct CoProcessMessage in, out;
  build(b, "fail_value", "soak", id, 5, &in);
  int status = tykb_dispatch(&in, TYKB_REPLY_FULL, &out);
  if (status != TYKB_E_HOOK) die("fail_value", tykb_status_name(status));
  if (!memmem(out.p_data, (size_t)out.length, id, strlen(id))) die(id, "a failure that is not of this request");
  tykb_message_clear(&in);
  tykb_message_clear(&out);
  atomic_fetch_add(&dispatched, 1);
  atomic_fetch_add(&failures, 1);
}

static void fire(long number) {
  char json[256];
  snprintf(json, sizeof json,
           "{\"message\": {\"Type\": \"Soak\", \"Meta\": {\"Message\": \"%ld\", \"OriginatingRequest\": \"\"}},"
           " \"handler_name\": \"on_event\", \"spec\": {\"APIID\": \"a\", \"OrgID\": \"o\"}}",
           number);
  atomic_fetch_add(&events_sent, 1);
  atomic_fetch_add(&sent_sum, number);
  Python_DispatchEvent(json);
}

/* One life of one of the eight threads: until the deadline, or for `limit` rounds. */
struct life {
  int thread;
  long first, limit;
};

static void *live(void *argument) {
  struct life *life = argument;
  tykb_builder *b = tykb_builder_new();
  long i = life->first;
  double next = now();
  for (; now() < deadline && i < life->first + life->limit; i++) {
    char id[32];
    snprintf(id, sizeof id, "t%d-%ld", life->thread, i);
    dispatch_echo(b, life->thread == 3 && i % 2 ? "other" : "soak", id, (size_t)i * 37 % 1000,
                  i % 3 ? TYKB_REPLY_FULL : TYKB_REPLY_DELTA);
    if (i % 10 == 5) dispatch_failing(b, id);
    if (i % 50 == 7) fire(i);
    if (now() < next) continue;
    if (life->thread == 0) reload(atomic_load(&live_version) + 1);
    if (life->thread == 1) Python_ReloadDispatcher(), atomic_fetch_add(&reloads, 1);
    if (life->thread == 2) {
      struct CoProcessMessage words;
      char path[4096];
      snprintf(path, sizeof path, "%s/../other", soak_root);
      if (tykb_load_bundle(path, "other", &words)) die("tykb_load_bundle", words.p_data);
      atomic_fetch_add(&loads, 1);
    }
    next = now() + 0.02;
  }
  life->first = i;
  tykb_builder_free(b);
  atomic_fetch_add(&lives, 1);
  return NULL;
}

/* The last of the threads dies and is born again every hundred rounds: its Python state has to go with it. */
static void *live_again(void *argument) {
  struct life *life = argument;
  while (now() < deadline) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, live, life)) die("pthread_create", "failed");
    pthread_join(thread, NULL);
  }
  return NULL;
}

static void soak_threads(double seconds) {
  pthread_t threads[THREADS];
  struct life life[THREADS];
  long series[SAMPLES];
  struct CoProcessMessage words;
  char path[4096];
  snprintf(path, sizeof path, "%s/../other", soak_root);
  if (tykb_load_bundle(path, "other", &words)) die("tykb_load_bundle", words.p_data);
  deadline = now() + seconds;
  for (int t = 0; t < THREADS; t++) {
    int again = t == THREADS - 1;
    life[t] = (struct life){t, 0, again ? 100 : 1L << 60};
    if (pthread_create(&threads[t], NULL, again ? live_again : live, &life[t])) die("pthread_create", "failed");
  }
  for (int sample = 0; sample < SAMPLES; sample++) {
    struct timespec pause = {(time_t)(seconds / SAMPLES), (long)(seconds / SAMPLES * 1e9) % 1000000000};
    nanosleep(&pause, NULL);
    series[sample] = resident_kb();
  }
  for (int t = 0; t < THREADS; t++) pthread_join(threads[t], NULL);
  printf("%d threads, %ld lives: %ld dispatches (%ld failing), %ld events, %ld reloads, %ld loads of a bundle\n",
         THREADS, lives, dispatched, failures, events_sent, reloads, loads);
  if (events_seen != events_sent || event_sum != sent_sum) die("events", "some were lost or came twice");
  if (error_lines != failures) die("log", "not one error line for each failing dispatch");
  check_flat(series, SAMPLES, THREADS_BOUND_KB);
}

/* ---- Reloads of a whole configuration: bench/reloads.py in C, through tykb_reload ---- */

enum { REQUESTERS = 4, KEPT = 20, PERIOD_MS = 100 };
#define BUNDLE "middleware/bundles/17bb7d3e595b3693b483aa97a8b44fbf"

static const char *const release_files[] = {"apis/api.json",     BUNDLE "/manifest.json", BUNDLE "/middleware.py",
                                            BUNDLE "/helper.py", BUNDLE "/first.py",      BUNDLE "/later.py",
                                            BUNDLE "/data.txt"};
static const char *const release_folders[] = {"", "apis", "middleware", "middleware/bundles", BUNDLE};

/* Writes one file of a version: the template with the version in place of each 000000. */
static void write_release(const char *file, const char *version) {
  char from[4096], to[4096], text[8192];
  snprintf(from, sizeof from, "%s/template/%s", soak_root, file);
  snprintf(to, sizeof to, "%s/%s/%s", soak_root, version, file);
  FILE *in = fopen(from, "rb");
  size_t size = in ? fread(text, 1, sizeof text - 1, in) : 0;
  if (!size || fclose(in)) die(from, "cannot be read");
  text[size] = 0;
  for (char *place = text; (place = strstr(place, "000000"));) memcpy(place, version, 6);
  FILE *out = fopen(to, "wb");
  if (!out || fwrite(text, 1, size, out) != size || fclose(out)) die(to, "not written");
}

/* Puts a version beside the others, and turns the link `current` to it. Of the versions before, the last ones stay: as long
 * as one is in use its files have to be there. */
static void deploy(long number) {
  char path[4096], fresh[4096], version[8];
  snprintf(version, sizeof version, "%06ld", number % 1000000);
  for (size_t i = 0; i < COUNT(release_folders); i++) {
    snprintf(path, sizeof path, "%s/%s/%s", soak_root, version, release_folders[i]);
    if (mkdir(path, 0755)) die(path, "cannot be made");
  }
  for (size_t i = 0; i < COUNT(release_files); i++) write_release(release_files[i], version);
  snprintf(fresh, sizeof fresh, "%s/next", soak_root);
  snprintf(path, sizeof path, "%s/current", soak_root);
  if (symlink(version, fresh) || rename(fresh, path)) die(path, "the link was not turned");
  if (number <= KEPT) return;
  for (size_t i = 0; i < COUNT(release_files); i++) {
    snprintf(path, sizeof path, "%s/%06ld/%s", soak_root, number - KEPT, release_files[i]);
    if (unlink(path)) die(path, "cannot be removed");
  }
  for (size_t i = COUNT(release_folders); i-- > 0;) {
    snprintf(path, sizeof path, "%s/%06ld/%s", soak_root, number - KEPT, release_folders[i]);
    if (rmdir(path)) die(path, "cannot be removed");
  }
}

/* Checks that a header's words are all one version, that of the headers before it. */
static void check_versions(struct tykb_slice value, long *version) {
  char words[256], *rest = words;
  snprintf(words, sizeof words, "%.*s", (int)value.size, value.data);
  for (char *word; (word = strsep(&rest, " "));) {
    long found = atol(word);
    if (*version && found != *version) die("an answer of two versions", value.data);
    *version = found;
  }
}

static void send_request(tykb_builder *b, int late) {
  struct CoProcessMessage in, out, answer;
  struct tykb_item item;
  tykb_reader reader;
  long least = atomic_load(&live_version), version = 0, answered = 0;
  int headers = 0;
  pair(b, TYKB_SPEC, "APIID", "soak");
  text(b, TYKB_REQUEST_URL, "/soak/x");
  text(b, TYKB_REQUEST_METHOD, "GET");
  if (late) pair(b, TYKB_REQUEST_HEADERS, "X-Late", "1");
  if (tykb_builder_finish(b, &in)) die("tykb_builder_finish", in.p_data);
  if (tykb_run_request(&in, &out) != TYKB_CONTINUE) die("tykb_run_request", out.p_data);
  tykb_reader_init(&reader, &out);
  while (tykb_reader_next(&reader, &item) > 0)
    if (item.path == TYKB_REQUEST_SET_HEADERS) check_versions(item.value, &version), headers++;
  if (headers != 2 || version < least) die("a request of a version before the last reload", NULL);
  tykb_message_clear(&in);

  /* The response is a call of its own, and may be of a later version. */
  text(b, TYKB_REQUEST_URL, "/soak/x");
  tykb_builder_copy(b, TYKB_SPEC, &out);
  tykb_builder_number(b, TYKB_RESPONSE_STATUS_CODE, 200);
  if (tykb_builder_finish(b, &in)) die("tykb_builder_finish", in.p_data);
  if (tykb_run_response(&in, &answer)) die("tykb_run_response", answer.p_data);
  tykb_reader_init(&reader, &answer);
  while (tykb_reader_next(&reader, &item) > 0)
    if (item.path == TYKB_RESPONSE_MULTIVALUE_HEADERS && is(item.key, "X-Answer"))
      check_versions(item.value, &answered);
  if (answered < version) die("a response of a version before its request's", NULL);
  tykb_message_clear(&in);
  tykb_message_clear(&out);
  tykb_message_clear(&answer);
  atomic_fetch_add(&dispatched, 1);
}

static void *request_again(void *over) {
  tykb_builder *b = tykb_builder_new();
  for (long i = 0; !atomic_load((atomic_int *)over); i++) send_request(b, i % 20 == 0);
  tykb_builder_free(b);
  return NULL;
}

static void soak_reload(long count) {
  pthread_t threads[REQUESTERS];
  atomic_int over = 0;
  long series[SAMPLES];
  struct CoProcessMessage words = {NULL, 0};
  char source[4096], middleware[4096];
  snprintf(source, sizeof source, "%s/current/apis", soak_root);
  snprintf(middleware, sizeof middleware, "%s/current/middleware", soak_root);
  struct tykb_host host = {.size = sizeof host, .log = host_log};
  if (count < SAMPLES) die("RELOADS", "too few");
  if (tykb_set_host(&host) || tykb_init(&words)) die("tykb_init", words.p_data);
  deploy(1);
  struct tykb_configuration wanted = {.size = sizeof wanted, .source = source, .middleware_path = middleware};
  if (tykb_load_configuration(&wanted, &words)) die("tykb_load_configuration", words.p_data);
  for (int t = 0; t < REQUESTERS; t++)
    if (pthread_create(&threads[t], NULL, request_again, &over)) die("pthread_create", "failed");
  double began = now();
  for (long number = 2; number < count + 2; number++) {
    double wait = began + (double)(number - 1) * PERIOD_MS / 1000 - now();
    if (wait > 0) nanosleep(&(struct timespec){0, (long)(wait * 1e9)}, NULL);
    deploy(number);
    if (tykb_reload(&words)) die("tykb_reload", words.p_data);
    atomic_store(&live_version, number);
    series[(number - 2) * SAMPLES / count] = resident_kb();
  }
  atomic_store(&over, 1);
  for (int t = 0; t < REQUESTERS; t++) pthread_join(threads[t], NULL);
  printf("%ld reloads, %ld requests of native threads: none failed, each answer of one version\n", count, dispatched);
  if (error_lines) die("log", "error lines");
  check_flat(series, SAMPLES, THREADS_BOUND_KB);
}

int main(int argc, char **argv) {
  if (argc != 4)
    die("usage", "soak memory|mixed DISPATCHES ROOT, or soak threads SECONDS ROOT, or soak reload RELOADS ROOT");
  soak_root = argv[3];
  if (!strcmp(argv[1], "reload")) {
    soak_reload(atol(argv[2]));
    return 0;
  }
  start(soak_root);
  if (!strcmp(argv[1], "memory") || !strcmp(argv[1], "mixed"))
    soak_memory(atol(argv[2]), !strcmp(argv[1], "memory"));
  else
    soak_threads(atof(argv[2]));
  return 0;
}
