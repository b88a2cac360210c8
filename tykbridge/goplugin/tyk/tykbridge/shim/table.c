/* The table that the library exports, and what must be decided before Go code is entered. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "_cgo_export.h"
#include "shim.h"

/* Written once, in start, before the host calls anything else; read from every thread. */
static struct tykb_plugin_host host;
static int started;
/* Written in a forked child, while it has one thread. Go's threads are not there, and entering it would wait for ever. */
static int forked;

static void child(void) { forked = 1; }

/* ---- Plugin to host */

#define OFFERED(function)                                                                                              \
  (host.size >= offsetof(struct tykb_plugin_host, function) + sizeof host.function && host.function)

void tykb_shim_log(int level, const char *message, size_t size) {
  static const char *const levels[] = {"debug", "info", "warning", "error"};
  if (OFFERED(log)) {
    host.log(host.context, levels[level], message, size);
  } else {
    fprintf(stderr, "%s: %.*s\n", levels[level], (int)size, message);
  }
}

int tykb_shim_trigger_event(const char *name, size_t name_size, const char *payload, size_t size) {
  return OFFERED(trigger_event) ? host.trigger_event(host.context, name, name_size, payload, size) : TYKB_SHIM_E_ABSENT;
}

int64_t tykb_shim_store_get(const char *key, size_t key_size, uint8_t *value, size_t capacity) {
  return OFFERED(store_get) ? host.store_get(host.context, key, key_size, value, capacity) : TYKB_SHIM_E_ABSENT;
}

int tykb_shim_store_set(const char *key, size_t key_size, const uint8_t *value, size_t size, int64_t ttl_ms,
                        uint32_t flags) {
  return OFFERED(store_set) ? host.store_set(host.context, key, key_size, value, size, ttl_ms, flags)
                            : TYKB_SHIM_E_ABSENT;
}

int tykb_shim_store_delete(const char *key, size_t key_size) {
  return OFFERED(store_delete) ? host.store_delete(host.context, key, key_size) : TYKB_SHIM_E_ABSENT;
}

int tykb_shim_store_increment(const char *key, size_t key_size, int64_t by, int64_t ttl_ms, int64_t *sum) {
  return OFFERED(store_increment) ? host.store_increment(host.context, key, key_size, by, ttl_ms, sum)
                                  : TYKB_SHIM_E_ABSENT;
}

int64_t tykb_shim_store_ttl(const char *key, size_t key_size) {
  return OFFERED(store_ttl) ? host.store_ttl(host.context, key, key_size) : TYKB_SHIM_E_ABSENT;
}

/* ---- Host to plugin */

/* Words that Go cannot write. They are dropped where the buffer is too small: nothing could keep them. */
static int refuse(int status, const char *words, struct tykb_plugin_reply *reply) {
  size_t size = strlen(words);
  if (reply && reply->capacity >= size + 8) {
    const uint32_t head[2] = {TYKB_PLUGIN_ERROR, (uint32_t)size};
    for (int i = 0; i < 8; i++) {
      reply->data[i] = (uint8_t)(head[i / 4] >> (i % 4 * 8));
    }
    memcpy(reply->data + 8, words, size);
    reply->size = size + 8;
  }
  return status;
}

static int ready(struct tykb_plugin_reply *reply) {
  if (reply) {
    reply->size = 0;
    reply->kept = 0;
  }
  if (forked) {
    return refuse(TYKB_PLUGIN_E_FORKED,
                  "this process was forked after the Go plugin was loaded, and Go does not run in such a child: load "
                  "plugins after the fork, or start a new program (exec)",
                  reply);
  }
  return started ? 0 : refuse(TYKB_PLUGIN_E_NOT_STARTED, "the plugin's start was not called yet", reply);
}

static const char *manifest(void) { return forked ? NULL : tykbShimManifest(); }

static int start(const struct tykb_plugin_host *table, struct tykb_plugin_reply *reply) {
  int status = ready(reply);
  if (status == TYKB_PLUGIN_E_FORKED) {
    return status;
  }
  if (reply) {
    reply->size = 0;
  }
  if (!table || table->size < offsetof(struct tykb_plugin_host, log)) {
    return refuse(TYKB_PLUGIN_E_ARGUMENT, "start: no host table", reply);
  }
  if (table->abi != TYKB_PLUGIN_ABI) {
    return refuse(TYKB_PLUGIN_E_ABI, "this host speaks another version of csrc/plugin.h: build the plugin again",
                  reply);
  }
  if (started) {
    return refuse(TYKB_PLUGIN_E_ARGUMENT, "start: the plugin was started before", reply);
  }
  if (pthread_atfork(NULL, NULL, child) != 0) {
    return refuse(TYKB_PLUGIN_E_NO_MEMORY, "start: no memory", reply);
  }
  memcpy(&host, table, table->size < sizeof host ? table->size : sizeof host);
  tykbShimStart((char *)host.settings);
  host.settings = NULL; /* borrowed for this call */
  started = 1;
  return 0;
}

static int64_t define(const char *json, size_t size, struct tykb_plugin_reply *reply) {
  int status = ready(reply);
  return status ? status : !json || !reply ? TYKB_PLUGIN_E_ARGUMENT : tykbShimDefine((char *)json, size, reply);
}

static void release(int64_t definition) {
  if (ready(NULL) == 0) {
    tykbShimRelease(definition);
  }
}

static int64_t lookup(const char *name, size_t size, uint32_t kind) {
  int status = ready(NULL);
  return status ? status : !name ? TYKB_PLUGIN_E_ARGUMENT : tykbShimLookup((char *)name, size, kind);
}

static int invoke(const struct tykb_plugin_call *call, struct tykb_plugin_reply *reply) {
  int status = ready(reply);
  if (status) {
    return status;
  }
  if (!call || !reply || call->size < sizeof *call || (!call->data && call->data_size)) {
    return TYKB_PLUGIN_E_ARGUMENT;
  }
  return tykbShimInvoke((struct tykb_plugin_call *)call, reply);
}

static int fetch(uint64_t kept, struct tykb_plugin_reply *reply) {
  int status = ready(reply);
  return status ? status : tykbShimFetch(kept, reply);
}

const struct tykb_plugin tykb_plugin = {
    TYKB_PLUGIN_ABI, sizeof(struct tykb_plugin), manifest, start, define, release, lookup, invoke, fetch};
