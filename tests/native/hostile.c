/* A plugin for tests that does what no plugin should, each hook one thing, and some that tell how it is doing. */
#define _GNU_SOURCE
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <tykbridge/plugin.h>

#include "lane.h"

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

/* Ends, and leaves a child that holds everything open; its number is in the store. */
static int leave_a_child(void) {
  char number[32];
  pid_t child = fork();
  while (child == 0) pause();
  int size = snprintf(number, sizeof number, "%d", (int)child);
  host.store_set(host.context, "child", 5, (const uint8_t *)number, (size_t)size, 0, 0);
  _exit(5);
}

static void *stop(void *argument) {
  usleep(20000);
  kill(getpid(), SIGSTOP);
  return argument;
}

static int is_lane(int fd) {
  int kind;
  socklen_t size = sizeof kind;
  return fd != 3 && fd != 5 && getsockopt(fd, SOL_SOCKET, SO_TYPE, &kind, &size) == 0;
}

static int close_lanes(void) {
  for (int fd = 3; fd < 256; fd++) {
    if (is_lane(fd)) close(fd);
  }
  return 0;
}

static void hang(void) {
  int64_t sum;
  host.store_increment(host.context, "waiting", 7, 1, 0, &sum);
  for (;;) pause();
}

/* Begins to write a frame on the lane of each call, that of others, too. */
static void *drip(void *argument) {
  static const char few[8] = {TYKB_FRAME_RESULT};
  for (int fd = 3; fd < 256; fd++) {
    if (is_lane(fd) && write(fd, few, sizeof few) < 0) abort();
  }
  host.store_set(host.context, "dripped", 7, (const uint8_t *)few, 1, 0, 0);
  return argument;
}

/* Asks the host what csrc/plugin.h does not let anybody ask, on the only lane that there is. */
static int lie(struct tykb_plugin_reply *reply) {
  static const uint8_t bytes[64] = {0xFF, 0, 0xFE};
  static const struct tykb_frame lies[] = {
      {.kind = TYKB_FRAME_GET, .number = INT64_MIN, .size = 3},
      {.kind = TYKB_FRAME_GET, .number = INT64_MAX, .size = 3},
      {.kind = TYKB_FRAME_GET, .number = -1},
      {.kind = TYKB_FRAME_SET, .number = -1, .size = 3, .more = 5, .time = INT64_MIN, .flags = ~0u},
      {.kind = TYKB_FRAME_SET, .size = 0, .more = 0, .time = INT64_MAX},
      {.kind = TYKB_FRAME_SET, .size = 3, .more = 61},
      {.kind = TYKB_FRAME_GET, .number = 60, .size = 3},
      {.kind = TYKB_FRAME_INCREMENT, .number = INT64_MIN, .size = 4, .time = INT64_MIN},
      {.kind = TYKB_FRAME_INCREMENT, .number = INT64_MIN, .size = 4, .time = INT64_MAX},
      {.kind = TYKB_FRAME_TTL, .size = 64},
      {.kind = TYKB_FRAME_DELETE, .size = 0, .more = 64},
      {.kind = TYKB_FRAME_LOG, .size = 64},
      {.kind = TYKB_FRAME_LOG, .more = 64},
      {.kind = TYKB_FRAME_EVENT, .size = 3, .more = 3},
  };
  struct tykb_lane lane = {.fd = -1};
  for (int fd = 3; fd < 256; fd++) {
    if (is_lane(fd)) lane.fd = fd;
  }
  uint8_t got[sizeof(struct tykb_frame)], value[4096];
  for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
    uint8_t sent[sizeof got + 128];
    memcpy(sent, &lies[i], sizeof got);
    memcpy(sent + sizeof got, bytes, lies[i].size);
    memcpy(sent + sizeof got + lies[i].size, bytes, lies[i].more);
    ssize_t size = (ssize_t)(sizeof got + lies[i].size + lies[i].more);
    if (write(lane.fd, sent, (size_t)size) != size) abort();
    if (recv(lane.fd, got, sizeof got, MSG_WAITALL) != sizeof got) abort();
    const struct tykb_frame *answer = (const struct tykb_frame *)(const void *)got;
    if (answer->kind != TYKB_FRAME_ANSWER || answer->size > sizeof value) abort();
    if (answer->size && recv(lane.fd, value, answer->size, MSG_WAITALL) != (ssize_t)answer->size) abort();
  }
  return tell(reply);
}

/* Keeps a number of the request, and says which one it was told. */
static int keep(uint64_t number, struct tykb_plugin_reply *reply) {
  const uint32_t words[] = {TYKB_PLUGIN_KEPT, 8, (uint32_t)number, (uint32_t)(number >> 32)};
  reply->size = 16;
  for (size_t i = 0; i < 16; i++) reply->data[i] = (uint8_t)(words[i / 4] >> (i % 4 * 8));
  return TYKB_PLUGIN_CONTINUE;
}

static int tell_kept(const struct tykb_plugin_call *call, struct tykb_plugin_reply *reply) {
  char text[64] = "nothing";
  uint32_t head[2];
  uint64_t number;
  for (const uint8_t *at = call->data; at < call->data + call->data_size; at += 8 + head[1]) {
    memcpy(head, at, sizeof head);
    memcpy(&number, at + 8, head[0] == TYKB_PLUGIN_KEPT ? sizeof number : 0);
    if (head[0] == TYKB_PLUGIN_KEPT) snprintf(text, sizeof text, "%llu", (unsigned long long)number);
  }
  return say(text, reply);
}

/* Kills the process that called Mark, and waits until it is gone. */
static int mark(void) {
  char number[32];
  int size = snprintf(number, sizeof number, "%d", (int)getpid());
  host.store_set(host.context, "marked", 6, (const uint8_t *)number, (size_t)size, 0, 0);
  return 0;
}

static int kill_marked(void) {
  uint8_t number[32] = "";
  if (host.store_get(host.context, "marked", 6, number, sizeof number - 1) < 0) abort();
  pid_t other = atoi((const char *)number);
  kill(other, SIGKILL);
  while (kill(other, 0) == 0) usleep(1000);
  return 0;
}

static int print(void) {
  printf("to standard output\n");
  fprintf(stderr, "to standard error\n");
  _exit(4);
}

enum {
  TELL = 1,
  WAIT,
  ASIDE,
  EXIT,
  ABORT,
  FALL,
  LOOP,
  LIST,
  BABBLE,
  PRINT,
  FORK,
  STOP,
  CLOSE,
  HANG,
  DRIP,
  LIE,
  KEEP,
  KEEP_NONE,
  KEPT,
  MARK,
  KILL,
  HOOKS
};

static const char *const names[HOOKS] = {"",     "Tell",   "Wait",     "Aside", "Exit", "Abort", "Fall", "Loop",
                                         "List", "Babble", "Print",    "Fork",  "Stop", "Close", "Hang", "Drip",
                                         "Lie",  "Keep",   "KeepNone", "Kept",  "Mark", "Kill"};

static const char *manifest(void) {
  static char text[2048];
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
  if (getenv("HOSTILE_SLOW")) usleep(200000);
  return getenv("HOSTILE_START") ? TYKB_PLUGIN_E_LOAD : 0;
}

static void *ask_once(void *argument) {
  uint8_t value[8];
  host.log(host.context, "info", "asked", 5);
  *(int64_t *)argument = host.store_get(host.context, "key", 3, value, sizeof value);
  return NULL;
}

/* What a thread of the plugin's is answered while the thread that calls this waits for it. */
static int64_t ask_meanwhile(void) {
  pthread_t thread;
  int64_t answer = 0;
  if (pthread_create(&thread, NULL, ask_once, &answer) != 0 || pthread_join(thread, NULL) != 0) abort();
  return answer;
}

/* For "address", that of the function above. */
static int64_t define(const char *json, size_t size, struct tykb_plugin_reply *reply) {
  (void)reply;
  return size == 7 && memcmp(json, "address", 7) == 0 ? (int64_t)(intptr_t)ask_meanwhile : 1;
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
    case FORK:
      return leave_a_child();
    case STOP:
      return aside(stop);
    case CLOSE:
      return close_lanes();
    case HANG:
      hang();
      return 0;
    case DRIP:
      aside(drip);
      for (;;) pause();
    case LIE:
      return lie(reply);
    case KEEP:
      return keep(UINT64_MAX, reply);
    case KEEP_NONE:
      return keep(0, reply);
    case KEPT:
      return tell_kept(call, reply);
    case MARK:
      return mark();
    case KILL:
      return kill_marked();
    default:
      return TYKB_PLUGIN_E_NOT_FOUND;
  }
}

static int fetch(uint64_t kept, struct tykb_plugin_reply *reply) {
  char words[64];
  int size = snprintf(words, sizeof words, "forgot %llu", (unsigned long long)kept);
  if (reply) return TYKB_PLUGIN_E_NOT_FOUND;
  host.log(host.context, "info", words, (size_t)size);
  return 0;
}

const struct tykb_plugin tykb_plugin = {
    TYKB_PLUGIN_ABI, sizeof(struct tykb_plugin), manifest, start, define, release, lookup, invoke, fetch};
