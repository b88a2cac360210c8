/* A plugin for tests that does what no plugin should, each hook one thing, and some that tell how it is doing. */
#define _GNU_SOURCE
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tykbridge/plugin.h>

#ifndef VERSION
#define VERSION "1"
#endif

static struct tykb_plugin_host host;

static int say(const char *text, struct tykb_plugin_reply *reply) {
  const uint32_t words[] = {TYKB_PLUGIN_RESPONSE_STATUS, 4, 200, TYKB_PLUGIN_RESPONSE_BODY, (uint32_t)strlen(text)};
  reply->size = 20 + strlen(text);
  if (reply->size > reply->capacity) abort();
  for (size_t i = 0; i < 20; i++) reply->data[i] = (uint8_t)(words[i / 4] >> (i % 4 * 8));
  memcpy(reply->data + 20, text, strlen(text));
  return TYKB_PLUGIN_RESPOND;
}

/* The process, the build, and how many calls came before: what is kept between calls is there. */
static int tell(struct tykb_plugin_reply *reply) {
  static int calls;
  char text[64];
  snprintf(text, sizeof text, "%d " VERSION " %d", (int)getpid(), __atomic_fetch_add(&calls, 1, __ATOMIC_SEQ_CST));
  return say(text, reply);
}

/* Comes back when there is something under the key "go" in the store. */
static int wait_for(struct tykb_plugin_reply *reply) {
  uint8_t value[8];
  int64_t sum;
  host.store_increment(host.context, "waiting", 7, 1, 0, &sum);
  while (host.store_get(host.context, "go", 2, value, sizeof value) < 0) usleep(1000);
  return tell(reply);
}

static void *ask_aside(void *argument) {
  int64_t sum;
  for (int i = 0; i < 100; i++) host.store_increment(host.context, "aside", 5, 1, 0, &sum);
  host.log(host.context, "warning", "aside", 5);
  return argument;
}

static void *fall(void *argument) {
  (void)argument;
  abort();
}

static int aside(void *(*work)(void *)) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, work, NULL) != 0) abort();
  pthread_detach(thread);
  return 0;
}

static int list_descriptors(struct tykb_plugin_reply *reply) {
  char text[2048] = "", path[300], name[256];
  DIR *folder = opendir("/proc/self/fd");
  for (struct dirent *entry; (entry = readdir(folder));) {
    snprintf(path, sizeof path, "/proc/self/fd/%s", entry->d_name);
    ssize_t size = readlink(path, name, sizeof name - 1);
    if (size < 0 || atoi(entry->d_name) == dirfd(folder)) continue;
    name[size] = 0;
    snprintf(text + strlen(text), sizeof text - strlen(text), "%s\n", name);
  }
  closedir(folder);
  return say(text, reply);
}

/* Talks nonsense to the host on every socket that there is. */
static int babble(void) {
  for (int fd = 3; fd < 64; fd++) {
    if (write(fd, "nonsense nonsense nonsense nonsense nonsense nonsense", 48) < 0) continue;
  }
  return 0;
}

static int print(void) {
  printf("to standard output\n");
  fprintf(stderr, "to standard error\n");
  _exit(4);
}

enum { TELL = 1, WAIT, ASIDE, EXIT, ABORT, FALL, LOOP, LIST, BABBLE, PRINT, HOOKS };

static const char *const names[HOOKS] = {"",     "Tell", "Wait", "Aside",  "Exit", "Abort",
                                         "Fall", "Loop", "List", "Babble", "Print"};

static const char *manifest(void) {
  static char text[1024];
  size_t at = (size_t)snprintf(text, sizeof text, "{\"hooks\": [");
  for (int i = 1; i < HOOKS; i++)
    at += (size_t)snprintf(text + at, sizeof text - at, "%s{\"name\": \"%s\", \"kind\": \"request\"}",
                           i > 1 ? ", " : "", names[i]);
  snprintf(text + at, sizeof text - at, "]}");
  return text;
}

static int start(const struct tykb_plugin_host *table, struct tykb_plugin_reply *reply) {
  (void)reply;
  host = *table;
  return getenv("HOSTILE_START") ? TYKB_PLUGIN_E_LOAD : 0;
}

static int64_t define(const char *json, size_t size, struct tykb_plugin_reply *reply) {
  (void)json;
  (void)size;
  (void)reply;
  return 1;
}

static void release(int64_t definition) { (void)definition; }

static int64_t lookup(const char *name, size_t size, uint32_t kind) {
  for (int i = 1; i < HOOKS; i++) {
    if (strlen(names[i]) == size && memcmp(names[i], name, size) == 0 && kind == TYKB_PLUGIN_REQUEST) return i;
  }
  return TYKB_PLUGIN_E_NOT_FOUND;
}

static int invoke(const struct tykb_plugin_call *call, struct tykb_plugin_reply *reply) {
  reply->size = 0;
  reply->kept = 0;
  switch (call->hook) {
    case TELL:
      return tell(reply);
    case WAIT:
      return wait_for(reply);
    case ASIDE:
      return aside(ask_aside);
    case EXIT:
      exit(3);
    case ABORT:
      abort();
    case FALL:
      aside(fall);
      for (;;) pause();
    case LOOP:
      for (volatile int forever = 1; forever;) {
      }
      return 0;
    case LIST:
      return list_descriptors(reply);
    case BABBLE:
      return babble();
    case PRINT:
      return print();
    default:
      return TYKB_PLUGIN_E_NOT_FOUND;
  }
}

static int fetch(uint64_t kept, struct tykb_plugin_reply *reply) {
  (void)kept;
  (void)reply;
  return TYKB_PLUGIN_E_NOT_FOUND;
}

const struct tykb_plugin tykb_plugin = {
    TYKB_PLUGIN_ABI, sizeof(struct tykb_plugin), manifest, start, define, release, lookup, invoke, fetch};
