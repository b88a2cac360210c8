/* tykbridge: hooks in a shared library, written in C or in whatever makes one.
 *
 *     const struct tykb_plugin tykb_plugin = {
 *         TYKB_PLUGIN_ABI, sizeof(struct tykb_plugin), manifest, start, define, release, lookup, invoke, fetch};
 *
 * A plugin exports this one constant, by the name `tykb_plugin`; examples/native/ is a whole one. A host opens the library
 * (RTLD_LOCAL), reads the constant, asks for `manifest`, calls `start`, `define` for each API, `lookup` for each hook, and then
 * `invoke` for each request. What `tykbridge plugin build` makes of Go code is such a library.
 *
 * The rules, once, for every function below that does not say otherwise:
 *
 * Memory   Arguments are borrowed for the call, in both directions. Nothing is freed by the other side: a reply goes into
 *          the caller's buffer, see struct tykb_plugin_reply.
 * Threads  After `start`, any function may be called from any thread, several at once, also while another one runs. A
 *          plugin may call the host from threads of its own, at any time after `start`.
 * Errors   0 or more is success, a negative number one of enum tykb_plugin_status, with the words in the reply where the
 *          function has one: an item TYKB_PLUGIN_ERROR, and TYKB_PLUGIN_STACK where there is a stack.
 * Time     A hook is told the time it has, and nothing here can stop one that takes longer: the thread is its own until it
 *          comes back. A host that must go on runs plugins in a process that it can kill.
 * Life     A library is never closed: languages with a runtime leave threads in it. It shares the process: what ends the
 *          process (exit, abort, a fault in memory) ends the host.
 * Fork     A plugin whose language does not survive fork answers TYKB_PLUGIN_E_FORKED in the child, from every function.
 *
 * This header needs nothing but a C99 or C++ compiler, and may be included as often as you like.
 */
#ifndef TYKB_PLUGIN_H
#define TYKB_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The number that changes when something in this header stops being compatible. Structs that begin with their size grow at
 * the end: whoever reads one looks at its size before a member that came later. */
#define TYKB_PLUGIN_ABI 1u

enum tykb_plugin_status {
  TYKB_PLUGIN_CONTINUE = 0, /* of invoke: go on, with the changes that the reply holds; of others: done */
  TYKB_PLUGIN_RESPOND = 1,  /* of invoke: the reply is the response for the client, and the chain ends */
  /* The numbers of enum tykb_status in api.h, as far as that has them. */
  TYKB_PLUGIN_E_ARGUMENT = -1,
  TYKB_PLUGIN_E_NOT_STARTED = -2,
  TYKB_PLUGIN_E_NO_MEMORY = -4,
  TYKB_PLUGIN_E_MALFORMED = -5,  /* bytes that are no items, or JSON that is none */
  TYKB_PLUGIN_E_NOT_FOUND = -6,  /* no such hook, definition, reply or key */
  TYKB_PLUGIN_E_HOOK = -8,       /* the hook failed; a hook that panicked, too */
  TYKB_PLUGIN_E_LOAD = -9,       /* the plugin cannot be used */
  TYKB_PLUGIN_E_TOO_LARGE = -10, /* more than the buffer of `fetch` takes, or than an item counts */
  TYKB_PLUGIN_E_FORKED = -11,
  TYKB_PLUGIN_E_ABI = -13,
  /* Of the host's functions: it could not do it (the store cannot be reached, say), and its log says why. */
  TYKB_PLUGIN_E_HOST = -20
};

/* ---- Items: the encoding of what goes in and comes out ---------------------------------------------------------------
 *
 * Messages are items one after the other, without a header, a padding or an end mark:
 *
 *     uint32 tag, uint32 size, then `size` bytes
 *
 * Integers are little-endian and unaligned. Text is bytes without a NUL; what HTTP takes, it takes. A pair's bytes are
 *
 *     uint32 size of the name, the name, the value
 *
 * Items come in any order; that of the headers among each other is the message's. Of an item that is no pair, the last one
 * counts. A plugin passes over tags that it does not know. A host does not: an item of a reply that it does not know
 * is a change that it cannot make, and the request fails. So it does with a reply of more than 4096 items. */
enum tykb_plugin_tag {
  /* The request: in, and of CONTINUE the changes to make to it. */
  TYKB_PLUGIN_METHOD = 1,
  TYKB_PLUGIN_URL = 2,           /* path and query, as they stand in the request's first line */
  TYKB_PLUGIN_SCHEME = 3,        /* in only: "http" or "https" */
  TYKB_PLUGIN_HOST = 4,          /* never among the headers */
  TYKB_PLUGIN_HEADER = 5,        /* pair, one for each value; out: a value to add */
  TYKB_PLUGIN_DELETE_HEADER = 6, /* out only: a name whose values all go, before any value is added */
  TYKB_PLUGIN_BODY = 7,
  TYKB_PLUGIN_REMOTE = 8, /* in only: the client's "address:port" */

  /* The response: in to response hooks, and of CONTINUE the changes to make to it. Of RESPOND all of it: status,
   * headers and body. Of CONTINUE from a request hook: headers to add to the response, whoever makes it in the end. */
  TYKB_PLUGIN_RESPONSE_STATUS = 16, /* uint32 */
  TYKB_PLUGIN_RESPONSE_HEADER = 17, /* as TYKB_PLUGIN_HEADER */
  TYKB_PLUGIN_RESPONSE_DELETE_HEADER = 18,
  TYKB_PLUGIN_RESPONSE_BODY = 19,

  /* Who asks. */
  TYKB_PLUGIN_SESSION = 32,  /* in, out: the session, whole, in Tyk's JSON; an auth hook's, or one that it set */
  TYKB_PLUGIN_TOKEN = 33,    /* in, out: the key or token that the session goes by */
  TYKB_PLUGIN_METADATA = 34, /* pair; in: the session's metadata; out: an entry to set there */

  TYKB_PLUGIN_TARGET = 36, /* out only: the URL that the request is to go to, in place of the API's own target */

  /* What a plugin keeps of a request from one of its hooks to the next: a uint64 that is its own affair. In: the number that
   * the hook before left, 0 for none; without this item the host passes nothing on, and the plugin must not answer with
   * one. Out: a number that takes its place. The host forgets each, once: fetch(number, NULL). */
  TYKB_PLUGIN_KEPT = 40,

  TYKB_PLUGIN_RECORD = 48, /* in and out of analytics hooks: the record, whole, in Tyk's JSON */

  /* Of a negative status. */
  TYKB_PLUGIN_ERROR = 64, /* the words, with a place where there is one */
  TYKB_PLUGIN_STACK = 65  /* where it happened, in lines as the language prints them */
};

/* ---- Host to plugin ---------------------------------------------------------------------------------------------------- */

/* Where a reply goes. The caller sets `data` and `capacity` (NULL and 0 will do), the callee the other two, always.
 * kept = 0: `size` bytes of `data` are the reply. Otherwise it did not fit, `data` holds nothing of use, and the reply of
 * `size` bytes waits in the plugin: call `fetch` with this number, which runs no hook again. */
struct tykb_plugin_reply {
  uint8_t *data;
  size_t capacity;
  size_t size;
  uint64_t kept;
};

/* What a hook's function is. */
enum tykb_plugin_kind {
  TYKB_PLUGIN_REQUEST = 1,  /* "request": pre, auth_check, post_key_auth and post */
  TYKB_PLUGIN_RESPONSE = 2, /* "response" */
  TYKB_PLUGIN_ANALYTICS = 3 /* "analytics" */
};

/* One run of a hook. Zero the rest: `size` is sizeof(struct tykb_plugin_call). */
struct tykb_plugin_call {
  uint32_t size;
  uint32_t phase;      /* coprocess.HookType: 1 pre, 2 post, 3 post_key_auth, 4 auth_check, 5 response; else 0 */
  int64_t hook;        /* of lookup */
  int64_t definition;  /* of define; 0: none */
  int64_t timeout_ns;  /* the time that it has, from now; 0: as long as it likes */
  const uint8_t *data; /* items */
  size_t data_size;
};

/* ---- Plugin to host ---------------------------------------------------------------------------------------------------- */

#define TYKB_PLUGIN_IF_ABSENT 1u

/* What the host does for plugins. A NULL function is one that it does not do. Keys are as the plugin knows them: the host
 * keeps them apart from its own. Times to live are milliseconds, 0 for good. The functions answer 0 or more, or
 * TYKB_PLUGIN_E_NOT_FOUND, TYKB_PLUGIN_E_HOST or TYKB_PLUGIN_E_ARGUMENT. */
struct tykb_plugin_host {
  uint32_t abi;         /* TYKB_PLUGIN_ABI */
  uint32_t size;        /* sizeof(struct tykb_plugin_host) */
  void *context;        /* passed through; of this plugin, so that the host knows who calls */
  const char *settings; /* the gateway's settings (tyk.conf) as JSON, NULL for none; read in `start` */
  void (*log)(void *context, const char *level, const char *message, size_t size); /* debug, info, warning, error */
  int (*trigger_event)(void *context, const char *name, size_t name_size, const char *payload, size_t size);
  /* The value's size, which is written where `capacity` takes it. */
  int64_t (*store_get)(void *context, const char *key, size_t key_size, uint8_t *value, size_t capacity);
  /* 1: it is set; 0: it was there, with TYKB_PLUGIN_IF_ABSENT. */
  int (*store_set)(void *context, const char *key, size_t key_size, const uint8_t *value, size_t size, int64_t ttl_ms,
                   uint32_t flags);
  /* 1: it was there; 0: it was not. */
  int (*store_delete)(void *context, const char *key, size_t key_size);
  /* Adds to a whole number, at once for all; a missing one is 0, and gets this time to live. */
  int (*store_increment)(void *context, const char *key, size_t key_size, int64_t by, int64_t ttl_ms, int64_t *sum);
  /* The milliseconds that it has left; 0: for good. */
  int64_t (*store_ttl)(void *context, const char *key, size_t key_size);
};

/* ---- The plugin ----------------------------------------------------------------------------------------------------------- */

struct tykb_plugin {
  uint32_t abi;  /* TYKB_PLUGIN_ABI: a host reads nothing else where it is another's */
  uint32_t size; /* sizeof(struct tykb_plugin) */

  /* What is in it: JSON, valid for good. May be called before `start`. NULL: there is nothing to be had (after a fork).
   *
   *     {"abi": 1, "name": "plugin", "build_id": "", "language": "c", "version": "...",
   *      "hooks": [{"name": "AddFooBarHeader", "kind": "request", "file": "plugin.c", "line": 12}]}
   *
   * `hooks` must be there, with name and kind; file and line are for people. What else there is is for people, too. */
  const char *(*manifest)(void);

  /* Once, before all that follows. The plugin copies the table; its functions and its context are valid for good. */
  int (*start)(const struct tykb_plugin_host *host, struct tykb_plugin_reply *reply);

  /* Takes an API, which calls name by the number that comes back (above 0), until it is released:
   *
   *     {"definition": {Tyk's classic form}, "oas": {the OAS document},
   *      "spec": {"OrgID": "...", "APIID": "...", "bundle_hash": "...", "config_data": "JSON text"}}
   *
   * Each of the three may be missing. */
  int64_t (*define)(const char *json, size_t size, struct tykb_plugin_reply *reply);
  void (*release)(int64_t definition); /* calls in flight keep it to their end */

  /* The number (above 0, for good) of the hook of this name and enum tykb_plugin_kind, or TYKB_PLUGIN_E_NOT_FOUND. */
  int64_t (*lookup)(const char *name, size_t size, uint32_t kind);

  /* Runs a hook. TYKB_PLUGIN_CONTINUE, TYKB_PLUGIN_RESPOND, or negative. An empty reply to CONTINUE changes nothing. */
  int (*invoke)(const struct tykb_plugin_call *call, struct tykb_plugin_reply *reply);

  /* Gets a reply that was kept, once, and forgets it; TYKB_PLUGIN_E_TOO_LARGE: the buffer takes less than reply->size, and
   * the reply waits on. `reply` NULL: forgets it. A host fetches or forgets each one. */
  int (*fetch)(uint64_t kept, struct tykb_plugin_reply *reply);
};

#if defined(__GNUC__)
__attribute__((visibility("default")))
#endif
extern const struct tykb_plugin tykb_plugin;

#ifdef __cplusplus
}
#endif
#endif
