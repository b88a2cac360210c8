/* A plugin in C: two hooks behind the ABI of plugin.h.
 *
 *     cc -std=c11 -O2 -shared -fPIC $(tykbridge --cflags) -o plugin.so plugin.c
 *
 * Gate is for requests: without the header X-Key it answers 401, and otherwise counts the key's requests in the gateway's
 * store and sends the number to the upstream. Stamp is for responses. Both have no state of their own, so that threads
 * need no thought. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <tykbridge/plugin.h>

enum { GATE = 1, STAMP = 2 };

static const char description[] =
    "{\"abi\": 1, \"name\": \"plugin\", \"build_id\": \"\", \"language\": \"c\", \"version\": \"1\", \"hooks\": ["
    "{\"name\": \"Gate\", \"kind\": \"request\"},"
    "{\"name\": \"Stamp\", \"kind\": \"response\"}]}";

/* Written in start, before the host calls anything else. */
static struct tykb_plugin_host host;

/* ---- Items */

static uint32_t number_at(const uint8_t *bytes) {
  return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

struct text {
  const uint8_t *bytes;
  size_t size;
};

/* Finds a header, by its name without regard to case. 1: found; 0: not there; -1: the bytes are no items. */
static int find_header(const struct tykb_plugin_call *call, const char *name, struct text *value) {
  const uint8_t *at = call->data, *end = at + call->data_size;
  while (at < end) {
    if (end - at < 8 || number_at(at + 4) > (size_t)(end - at - 8)) {
      return -1;
    }
    uint32_t tag = number_at(at), size = number_at(at + 4);
    const uint8_t *bytes = at + 8;
    at = bytes + size;
    if (tag != TYKB_PLUGIN_HEADER) {
      continue;
    }
    if (size < 4 || number_at(bytes) > size - 4) {
      return -1;
    }
    uint32_t name_size = number_at(bytes);
    if (name_size == strlen(name) && strncasecmp((const char *)bytes + 4, name, name_size) == 0) {
      *value = (struct text){bytes + 4 + name_size, size - 4 - name_size};
      return 1;
    }
  }
  return 0;
}

/* A reply in the making. What these two hooks say fits into a kilobyte, so that it is made on the stack. */
struct out {
  uint8_t bytes[1024];
  size_t size;
};

static void put_number(struct out *out, uint32_t number) {
  for (int i = 0; i < 4; i++) {
    out->bytes[out->size++] = (uint8_t)(number >> 8 * i);
  }
}

static void put(struct out *out, uint32_t tag, const char *text) {
  size_t size = strlen(text);
  put_number(out, tag);
  put_number(out, (uint32_t)size);
  memcpy(out->bytes + out->size, text, size);
  out->size += size;
}

static void put_pair(struct out *out, uint32_t tag, const char *name, const char *value) {
  size_t name_size = strlen(name), value_size = strlen(value);
  put_number(out, tag);
  put_number(out, (uint32_t)(4 + name_size + value_size));
  put_number(out, (uint32_t)name_size);
  memcpy(out->bytes + out->size, name, name_size);
  memcpy(out->bytes + out->size + name_size, value, value_size);
  out->size += name_size + value_size;
}

/* Hands a reply over. One that does not fit waits in memory of its own, whose address is its number. */
static int give(const struct out *out, int outcome, struct tykb_plugin_reply *reply) {
  reply->size = out->size;
  reply->kept = 0;
  if (out->size <= reply->capacity) {
    if (out->size) {
      memcpy(reply->data, out->bytes, out->size);
    }
    return outcome;
  }
  struct out *kept = malloc(sizeof *kept);
  if (!kept) {
    reply->size = 0;
    return TYKB_PLUGIN_E_NO_MEMORY;
  }
  *kept = *out;
  reply->kept = (uint64_t)(uintptr_t)kept;
  return outcome;
}

static int fail(int status, const char *words, struct tykb_plugin_reply *reply) {
  struct out out = {.size = 0};
  put(&out, TYKB_PLUGIN_ERROR, words);
  return give(&out, status, reply);
}

static int fetch(uint64_t number, struct tykb_plugin_reply *reply) {
  struct out *kept = (struct out *)(uintptr_t)number;
  if (reply && reply->capacity < kept->size) {
    reply->size = kept->size;
    reply->kept = number;
    return TYKB_PLUGIN_E_TOO_LARGE;
  }
  if (reply) {
    give(kept, TYKB_PLUGIN_CONTINUE, reply);
  }
  free(kept);
  return TYKB_PLUGIN_CONTINUE;
}

/* ---- Life */

static const char *manifest(void) { return description; }

static int start(const struct tykb_plugin_host *table, struct tykb_plugin_reply *reply) {
  reply->size = 0;
  reply->kept = 0;
  if (table->abi != TYKB_PLUGIN_ABI || table->size < sizeof host) {
    return fail(TYKB_PLUGIN_E_ABI, "this plugin needs a newer gateway", reply);
  }
  memcpy(&host, table, sizeof host);
  return 0;
}

/* These hooks do the same for every API. */
static int64_t define(const char *json, size_t size, struct tykb_plugin_reply *reply) {
  (void)json, (void)size;
  reply->size = 0;
  reply->kept = 0;
  return 1;
}

static void release(int64_t definition) { (void)definition; }

static int64_t lookup(const char *name, size_t size, uint32_t kind) {
  if (kind == TYKB_PLUGIN_REQUEST && size == 4 && memcmp(name, "Gate", 4) == 0) {
    return GATE;
  }
  if (kind == TYKB_PLUGIN_RESPONSE && size == 5 && memcmp(name, "Stamp", 5) == 0) {
    return STAMP;
  }
  return TYKB_PLUGIN_E_NOT_FOUND;
}

/* ---- Hooks */

static int gate(const struct tykb_plugin_call *call, struct tykb_plugin_reply *reply) {
  struct out out = {.size = 0};
  struct text key;
  int found = find_header(call, "X-Key", &key);
  if (found < 0) {
    return fail(TYKB_PLUGIN_E_MALFORMED, "the call's bytes are no items", reply);
  }
  if (!found) {
    const char *words = "a request without X-Key";
    host.log(host.context, "warning", words, strlen(words));
    put_number(&out, TYKB_PLUGIN_RESPONSE_STATUS);
    put_number(&out, 4);
    put_number(&out, 401);
    put_pair(&out, TYKB_PLUGIN_RESPONSE_HEADER, "Content-Type", "application/json");
    put(&out, TYKB_PLUGIN_RESPONSE_BODY, "{\"error\": \"X-Key is missing\"}");
    return give(&out, TYKB_PLUGIN_RESPOND, reply);
  }
  int64_t sum = 0;
  int status = host.store_increment(host.context, (const char *)key.bytes, key.size, 1, 0, &sum);
  if (status < 0) {
    return fail(TYKB_PLUGIN_E_HOOK, "Gate: the store does not count", reply);
  }
  char digits[24];
  snprintf(digits, sizeof digits, "%lld", (long long)sum);
  put(&out, TYKB_PLUGIN_DELETE_HEADER, "X-Key");
  put_pair(&out, TYKB_PLUGIN_HEADER, "X-Visit", digits);
  return give(&out, TYKB_PLUGIN_CONTINUE, reply);
}

static int stamp(struct tykb_plugin_reply *reply) {
  struct out out = {.size = 0};
  put_pair(&out, TYKB_PLUGIN_RESPONSE_HEADER, "X-Stamp", "native");
  return give(&out, TYKB_PLUGIN_CONTINUE, reply);
}

static int invoke(const struct tykb_plugin_call *call, struct tykb_plugin_reply *reply) {
  switch (call->hook) {
    case GATE:
      return gate(call, reply);
    case STAMP:
      return stamp(reply);
    default:
      return fail(TYKB_PLUGIN_E_NOT_FOUND, "there is no such hook", reply);
  }
}

const struct tykb_plugin tykb_plugin = {
    TYKB_PLUGIN_ABI, sizeof(struct tykb_plugin), manifest, start, define, release, lookup, invoke, fetch};
