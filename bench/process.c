/* A call of a plugin's hook in this process, and the same in one of its own: nanoseconds, in turns of the same run.
 *
 *     process LIBRARY HOOK PROGRAM ROUNDS
 *
 * Both get the same request with ten headers, and must leave the same. PROGRAM is tykbridge's for plugins. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "process.h"

enum { CALLS = 200, ROOM = 4096 };

static const char *const headers[][2] = {
    {"User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"},
    {"Accept", "application/json, text/plain;q=0.9"},
    {"Accept-Language", "en-GB,en;q=0.7"},
    {"Accept-Encoding", "gzip, deflate, br"},
    {"Authorization", "47a0c79c427728b3df4af62b9228c8ae"},
    {"Content-Type", "application/json"},
    {"Cookie", "theme=dark"},
    {"X-Request-Id", "7f3c1d1e-8a55-4f0b-9a3e-5d0c1b2a3f44"},
    {"X-Forwarded-For", "203.0.113.7, 198.51.100.23"},
};

static uint8_t items[ROOM], replies[2][ROOM];
static size_t size, sizes[2];

static const struct tykb_plugin *plugin;
static struct tykb_process *process;
static int64_t hooks[2];

static void die(const char *what) {
  fprintf(stderr, "process: %s\n", what);
  exit(1);
}

static void put(uint32_t tag, const char *name, const char *value) {
  uint32_t words[] = {tag, (uint32_t)(strlen(value) + (name ? 4 + strlen(name) : 0)),
                      name ? (uint32_t)strlen(name) : 0};
  memcpy(items + size, words, name ? 12 : 8);
  size += name ? 12 : 8;
  if (name) memcpy(items + size, name, strlen(name));
  size += name ? strlen(name) : 0;
  memcpy(items + size, value, strlen(value));
  size += strlen(value);
}

static void here(void) {
  struct tykb_plugin_call call = {.size = sizeof call, .hook = hooks[0], .data = items, .data_size = size};
  struct tykb_plugin_reply reply = {replies[0], ROOM, 0, 0};
  if (plugin->invoke(&call, &reply) || reply.kept) die("the hook failed");
  sizes[0] = reply.size;
}

static int64_t ask(struct tykb_frame frame, const void *data) {
  int error;
  struct tykb_lane *lane = tykb_process_enter(process, &error);
  if (!lane || tykb_lane_send(lane, &frame, data, NULL, 0) ||
      tykb_process_receive(process, lane, tykb_lane_now() + INT64_C(30000000000), 0))
    die("the process does not answer");
  int64_t number = tykb_lane_frame(lane)->number;
  sizes[1] = tykb_lane_frame(lane)->size;
  if (sizes[1] > ROOM) die("the reply is too long");
  memcpy(replies[1], tykb_lane_data(lane), sizes[1]);
  tykb_process_leave(process, lane, 1);
  return number;
}

static void there(void) {
  if (ask((struct tykb_frame){.kind = TYKB_FRAME_INVOKE, .number = hooks[1], .size = size}, items))
    die("it failed there");
}

static void nothing(void *context) { (void)context; }
static void resumed(void *context, void *waiting) { (void)context, (void)waiting; }
static void logged(void *context, const char *level, const char *message, size_t length) {
  (void)context, (void)level, (void)message, (void)length;
}

int main(int count, char **words) {
  static void (*const calls[])(void) = {here, there};
  static const char *const names[] = {"plugin", "process"};
  const struct tykb_plugin_host host = {.abi = TYKB_PLUGIN_ABI, .size = sizeof host, .log = logged};
  const struct tykb_process_owner owner = {NULL, resumed, nothing};
  struct tykb_plugin_reply reply = {NULL, 0, 0, 0};
  double best[2] = {0};
  if (count != 5) die("LIBRARY HOOK PROGRAM ROUNDS");
  put(TYKB_PLUGIN_METHOD, NULL, "GET");
  put(TYKB_PLUGIN_URL, NULL, "/get?page=2");
  put(TYKB_PLUGIN_SCHEME, NULL, "http");
  put(TYKB_PLUGIN_HOST, NULL, "api.example.org");
  for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) put(TYKB_PLUGIN_HEADER, headers[i][0], headers[i][1]);
  void *library = dlopen(words[1], RTLD_NOW | RTLD_LOCAL);
  plugin = library ? dlsym(library, "tykb_plugin") : NULL;
  if (!plugin || plugin->start(&host, &reply)) die("the library cannot be used");
  int file = open(words[1], O_RDONLY | O_CLOEXEC);
  if (tykb_process_start(words[3], words[2], file, &host, &owner, &process)) die("the process cannot be started");
  if (ask((struct tykb_frame){.kind = TYKB_FRAME_START}, NULL)) die("it does not start there");
  struct tykb_frame lookup = {.kind = TYKB_FRAME_LOOKUP, .flags = TYKB_PLUGIN_REQUEST, .size = strlen(words[2])};
  hooks[0] = plugin->lookup(words[2], strlen(words[2]), TYKB_PLUGIN_REQUEST);
  hooks[1] = ask(lookup, words[2]);
  for (int round = 0; round < atoi(words[4]); round++) {
    for (int i = 0; i < 2; i++) {
      int64_t start = tykb_lane_now();
      for (int n = 0; n < CALLS; n++) calls[i]();
      double each = (double)(tykb_lane_now() - start) / CALLS;
      if (!round || each < best[i]) best[i] = each;
    }
  }
  if (!sizes[0] || sizes[0] != sizes[1] || memcmp(replies[0], replies[1], sizes[0])) die("the two do not answer alike");
  for (int i = 0; i < 2; i++) printf("isolation %s %.1f\n", names[i], best[i]);
  tykb_process_retire(process, 0, 1);
  tykb_process_free(process);
  return 0;
}
