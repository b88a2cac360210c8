/* A plugin for tests, which does what the message's body says.
 *
 * Mirror and MirrorBack (for responses) reply with the body: its first byte is the outcome ('0', '1', or 'E' for a failed
 * hook), the rest are the items. Show and ShowBack answer with what they got, in hexadecimal digits behind the phase and the
 * definition. Version says which build this is, Ask what the host does. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <tykbridge/plugin.h>

#ifndef VERSION
#define VERSION "1"
#endif

enum { MIRROR = 1, MIRROR_BACK, SHOW, SHOW_BACK, SAY_VERSION, ASK };

static const struct {
  const char *name;
  uint32_t kind;
  int64_t number;
} hooks[] = {{"Mirror", 1, MIRROR},      {"MirrorBack", 2, MIRROR_BACK}, {"Show", 1, SHOW},
             {"ShowBack", 2, SHOW_BACK}, {"Version", 1, SAY_VERSION},    {"Ask", 1, ASK}};

static struct tykb_plugin_host host;
static int64_t definitions;
static char defined[1 << 16];

static const char *manifest(void) {
  return "{\"hooks\": [{\"name\": \"Mirror\", \"kind\": \"request\", \"file\": \"mirror.c\", \"line\": 7},"
         "{\"name\": \"MirrorBack\", \"kind\": \"response\"}, {\"name\": \"Show\", \"kind\": \"request\"},"
         "{\"name\": \"ShowBack\", \"kind\": \"response\"}, {\"name\": \"Version\", \"kind\": \"request\"},"
         "{\"name\": \"Ask\", \"kind\": \"request\"}, {\"name\": \"Count\", \"kind\": \"analytics\"},"
         "{\"name\": \"Lost\", \"kind\": \"request\"}]}";
}

static int start(const struct tykb_plugin_host *table, struct tykb_plugin_reply *reply) {
  (void)reply;
  host = *table;
  host.log(host.context, "info", "begun " VERSION, strlen("begun " VERSION));
  if (host.settings) host.log(host.context, "debug", host.settings, strlen(host.settings));
  return 0;
}

static int64_t define(const char *json, size_t size, struct tykb_plugin_reply *reply) {
  reply->size = 0;
  reply->kept = 0;
  snprintf(defined, sizeof defined, "%.*s", (int)size, json);
  return ++definitions;
}

static void release(int64_t definition) {
  char words[64];
  long process = (long)getpid();
  int size = snprintf(words, sizeof words, "released %lld of %s in %ld", (long long)definition, VERSION, process);
  host.log(host.context, "info", words, (size_t)size);
}

static int64_t lookup(const char *name, size_t size, uint32_t kind) {
  for (size_t i = 0; i < sizeof hooks / sizeof *hooks; i++) {
    if (strlen(hooks[i].name) == size && memcmp(hooks[i].name, name, size) == 0 && hooks[i].kind == kind) {
      return hooks[i].number;
    }
  }
  return TYKB_PLUGIN_E_NOT_FOUND;
}

struct kept {
  size_t size;
  uint8_t bytes[];
};

static void give(const void *bytes, size_t size, struct tykb_plugin_reply *reply) {
  reply->size = size;
  reply->kept = 0;
  if (size <= reply->capacity) {
    if (size) memcpy(reply->data, bytes, size);
    return;
  }
  struct kept *kept = malloc(sizeof *kept + size);
  if (!kept) abort();
  kept->size = size;
  memcpy(kept->bytes, bytes, size);
  reply->kept = (uint64_t)(uintptr_t)kept;
}

static int fetch(uint64_t number, struct tykb_plugin_reply *reply) {
  if (number < 4096) { /* no address: what a hook was told to keep */
    char words[64];
    int size = snprintf(words, sizeof words, "forgot %u", (unsigned)number);
    host.log(host.context, "info", words, (size_t)size);
    return 0;
  }
  struct kept *kept = (struct kept *)(uintptr_t)number;
  if (reply) {
    reply->kept = 0;
    reply->size = kept->size;
    if (reply->capacity < kept->size) abort();
    memcpy(reply->data, kept->bytes, kept->size);
  }
  free(kept);
  return 0;
}

static uint32_t number_at(const uint8_t *bytes) {
  return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static int mirror(const struct tykb_plugin_call *call, uint32_t wanted, struct tykb_plugin_reply *reply) {
  const uint8_t *at = call->data, *end = at + call->data_size;
  for (; at < end; at += 8 + number_at(at + 4)) {
    if (number_at(at) == wanted && number_at(at + 4) > 0) {
      give(at + 9, number_at(at + 4) - 1, reply);
      return at[8] == 'E' ? TYKB_PLUGIN_E_HOOK : at[8] - '0';
    }
  }
  reply->size = 0;
  reply->kept = 0;
  return 0;
}

static size_t put(uint8_t *out, uint32_t tag, const void *bytes, size_t size) {
  const uint32_t head[2] = {tag, (uint32_t)size};
  for (int i = 0; i < 8; i++) out[i] = (uint8_t)(head[i / 4] >> (i % 4 * 8));
  memcpy(out + 8, bytes, size);
  return 8 + size;
}

static int answer(const char *text, size_t size, struct tykb_plugin_reply *reply) {
  uint8_t *out = malloc(size + 32), status[4] = {200};
  if (!out) abort();
  size_t written = put(out, TYKB_PLUGIN_RESPONSE_STATUS, status, 4);
  written += put(out + written, TYKB_PLUGIN_RESPONSE_BODY, text, size);
  give(out, written, reply);
  free(out);
  return TYKB_PLUGIN_RESPOND;
}

static int show(const struct tykb_plugin_call *call, struct tykb_plugin_reply *reply) {
  size_t room = sizeof defined + 64 + 2 * call->data_size;
  char *text = malloc(room);
  if (!text) abort();
  size_t at = (size_t)snprintf(text, room, "%u\n%s\n", call->phase, call->definition ? defined : "");
  for (size_t i = 0; i < call->data_size; i++) at += (size_t)snprintf(text + at, room - at, "%02x", call->data[i]);
  int outcome = answer(text, at, reply);
  free(text);
  return outcome;
}

static int say_version(struct tykb_plugin_reply *reply) {
  static const char pair[] = "\t\0\0\0X-Version" VERSION;
  uint8_t out[64];
  give(out, put(out, TYKB_PLUGIN_HEADER, pair, sizeof pair - 1), reply);
  return 0;
}

static int ask(struct tykb_plugin_reply *reply) {
  uint8_t value[8] = {0};
  int64_t sum = 0;
  char text[512];
  void *c = host.context;
  long long absent = host.store_get(c, "key", 3, value, 8), none = host.store_ttl(c, "key", 3);
  int set = host.store_set(c, "key", 3, (const uint8_t *)"value", 5, 0, TYKB_PLUGIN_IF_ABSENT);
  int again = host.store_set(c, "key", 3, (const uint8_t *)"other", 5, 0, TYKB_PLUGIN_IF_ABSENT);
  long long small = host.store_get(c, "key", 3, value, 1), got = host.store_get(c, "key", 3, value, 8);
  long long good = host.store_ttl(c, "key", 3);
  int count = host.store_increment(c, "n", 1, 5, 60000, &sum);
  count |= host.store_increment(c, "n", 1, -2, 60000, &sum);
  long long ttl = host.store_ttl(c, "n", 1);
  int broken = host.store_increment(c, "key", 3, 1, 0, &sum);
  int gone = host.store_delete(c, "key", 3), twice = host.store_delete(c, "key", 3);
  host.store_delete(c, "n", 1);
  int event = host.trigger_event(c, "Odd", 3, "payload", 7);
  int size = snprintf(text, sizeof text, "%lld %lld %d %d %lld %lld %s %lld %d %lld %d %d %d %d %d", absent, none, set,
                      again, small, got, (char *)value, good, count, (long long)sum, ttl > 50000 && ttl <= 60000,
                      broken, gone, twice, event);
  host.log(c, "warning", "a line\0with NUL", 15);
  host.log(c, "loud", "another", 7);
  return answer(text, (size_t)size, reply);
}

static int invoke(const struct tykb_plugin_call *call, struct tykb_plugin_reply *reply) {
  switch (call->hook) {
    case MIRROR:
      return mirror(call, TYKB_PLUGIN_BODY, reply);
    case MIRROR_BACK:
      return mirror(call, TYKB_PLUGIN_RESPONSE_BODY, reply);
    case SAY_VERSION:
      return say_version(reply);
    case ASK:
      return ask(reply);
    default:
      return show(call, reply);
  }
}

const struct tykb_plugin tykb_plugin = {
    TYKB_PLUGIN_ABI, sizeof(struct tykb_plugin), manifest, start, define, release, lookup, invoke, fetch};
