/* tykbridge: Tyk's rich plugins for any host.
 *
 *     struct CoProcessMessage in = {bytes, length}, out;
 *     if (Python_Init() == 0 && Python_LoadDispatcher() == 0 && Python_NewDispatcher("/srv/bundles") == 0 &&
 *         Python_DispatchHook(&in, &out) == 0) {
 *         ... out holds the object as the hook left it ...
 *         free(out.p_data);
 *     }
 *
 * `in` and `out` are serialised coprocess.Object messages (proto/coprocess_object.proto). A host without a protobuf
 * library writes and reads them with the builder and the reader at the end of this page.
 *
 * The rules, once, for every function below that does not say otherwise:
 *
 * Memory   Arguments are borrowed for the call. Reply bytes are the caller's, who ends them with free() or
 *          tykb_message_clear(). Out-parameters are emptied first, so a failed call leaves nothing to free unless
 *          it says so.
 * Threads  Any function may be called from any thread, at any time: also before start-up, from several threads at
 *          once, from inside a hook, after the interpreter is gone and in a forked child. What cannot be done then
 *          answers a status. A thread that calls keeps one Python thread state until it ends.
 * Signals  None is installed, none is changed. Nothing here ends the process. A native host that serves sockets
 *          ignores or handles SIGPIPE itself: plugins write to sockets too, and Python's own code relies on SIG_IGN,
 *          which the python3 program sets and this library leaves to its host.
 * Errors   0 is success, a negative number one of enum tykb_status. There is no "last error" (a goroutine changes
 *          threads between two calls): a tykb_ call that fails puts its words, UTF-8 text without a NUL, into `out`;
 *          a classic call sends them to CoProcessLog.
 * Python   The process's own interpreter if it has one, otherwise the one that TYKBRIDGE_PYTHON names (an interpreter
 *          or a virtual environment), otherwise the one this library is installed in, otherwise python3 on PATH. In a
 *          set-user-id process the environment and PATH are not asked. It is started once and never ended.
 *
 * This header needs nothing but a C99 or C++ compiler, and may be included as often as you like.
 */
#ifndef TYK_COPROCESS_API
#define TYK_COPROCESS_API

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- The classic interface: names and signatures of Tyk's own api.h -------------------------------------------- */

/* A length-counted block of bytes. cgo and Tyk's hosts rely on the layout. */
struct CoProcessMessage {
  void *p_data;
  int length;
};

/* Starts (or joins) the interpreter. A second call is a success that does nothing. */
int Python_Init(void);

/* Puts `path`, one folder or several with ':' between them, before the interpreter's module search path. */
void Python_SetEnv(char *path);

/* Loads the dispatcher: the tykbridge package into the interpreter. TYKB_E_NOT_STARTED before Python_Init. */
int Python_LoadDispatcher(void);

/* Loads every sub-folder of `root` as a bundle whose hash is the folder's name, in place of an earlier root's.
 * 0 when `root` could be read: a bundle that is broken is logged, and fails its own dispatches only. */
int Python_NewDispatcher(char *root);

/* Reads the root again: built aside, swapped in one step. Calls in flight finish on what they started with; when
 * the root cannot be read, or a bundle in it is now broken, what ran goes on running, and a log line says why. */
void Python_ReloadDispatcher(void);

/* Runs the hook that `in` names, in the bundle that its spec["bundle_hash"] names, and replies with the whole object as
 * the hook left it. Failure: {NULL, 0} in `out`. */
int Python_DispatchHook(struct CoProcessMessage *in, struct CoProcessMessage *out);

/* Hands an event, as JSON {"message": {...}, "handler_name": "...", "spec": {...}}, to its @Event function. */
void Python_DispatchEvent(char *json);

/* What plugins call. A host that exports functions of these names gets the calls; so does one that gave a table to
 * tykb_set_host, where it exports none. Without both, data goes to a store inside the library, and events and log
 * lines to standard error. `char *` rather than `const char *`, because cgo declares an //export like that. */
extern void TykStoreData(char *key, char *value, int ttl); /* ttl in seconds; 0 or less: for good */
extern char *TykGetData(char *key);                        /* never NULL, "" when missing; the caller frees it */
extern void TykTriggerEvent(char *event_name, char *payload);
extern void CoProcessLog(char *msg, char *level); /* level: debug, info, warning, error */

/* ---- Statuses and versions --------------------------------------------------------------------------------------- */

enum tykb_status {
  TYKB_OK = 0,
  TYKB_E_ARGUMENT = -1,    /* a NULL or out-of-range argument */
  TYKB_E_NOT_STARTED = -2, /* Python_Init, or Python_LoadDispatcher, has not succeeded yet */
  TYKB_E_NO_PYTHON = -3,   /* no usable Python found, or it did not start, or tykbridge is not installed in it */
  TYKB_E_NO_MEMORY = -4,
  TYKB_E_MALFORMED = -5,  /* the bytes are no coprocess.Object */
  TYKB_E_NOT_FOUND = -6,  /* no such bundle, or no such hook in it, or a path that is not there */
  TYKB_E_AMBIGUOUS = -7,  /* no bundle is named, and several define the hook */
  TYKB_E_HOOK = -8,       /* the hook raised, or returned what no hook may return */
  TYKB_E_LOAD = -9,       /* the bundle could not be loaded */
  TYKB_E_TOO_LARGE = -10, /* more bytes than an int counts */
  TYKB_E_FORKED = -11,    /* the interpreter was started in the parent of this process */
  TYKB_E_GONE = -12,      /* the interpreter has ended */
  TYKB_E_ABI = -13,       /* library and Python package are of different releases */
  TYKB_E_INTERNAL = -14   /* a fault of tykbridge's own: please report it */
};

/* "TYKB_E_HOOK" for -8, "TYKB_E_UNKNOWN" for a number that is none. Static. */
const char *tykb_status_name(int status);

/* The release, such as "0.1.0". Static. */
const char *tykb_version(void);

/* The number that changes when something in this header stops being compatible. */
#define TYKB_ABI 1u
uint32_t tykb_abi(void);

/* ---- Starting, loading, dispatching -------------------------------------------------------------------------------- */

/* Python_Init and Python_LoadDispatcher in one, with words for a failure. */
int tykb_init(struct CoProcessMessage *out);

/* What a host does for plugins, when it cannot or would rather not export the four classic names (a plugin of nginx or
 * Envoy cannot). `size` is sizeof(struct tykb_host): later releases add members at the end. A NULL member means the
 * library's own behaviour. `context` is passed through. Strings are borrowed for the call. The functions are called
 * from whatever thread a plugin runs on, without Python's lock. */
struct tykb_host {
  uint32_t size;
  void *context;
  void (*log)(void *context, const char *message, const char *level);
  void (*trigger_event)(void *context, const char *name, const char *payload);
  void (*store_data)(void *context, const char *key, const char *value, int ttl);
  char *(*get_data)(void *context, const char *key); /* malloc'd, the library frees it; NULL reads as "" */
};

/* Copies the table and uses it from now on, for the process; NULL takes it back. Calls in flight may still use the
 * table before: its functions and context stay valid for good. */
int tykb_set_host(const struct tykb_host *host);

/* Loads the folder or zip archive `path` as the bundle `name`, beside what is loaded, in place of an earlier one of that
 * name, which stays when the new one does not load. An archive is checked and unpacked into a folder of its own, which goes
 * with it. `out` holds the words of a failure. */
int tykb_load_bundle(const char *path, const char *name, struct CoProcessMessage *out);

/* Runs a hook, as Python_DispatchHook does, with the words of a failure in `out`. */
#define TYKB_REPLY_FULL 0u  /* the whole object */
#define TYKB_REPLY_DELTA 1u /* what the hook changed: see "Deltas" below */
int tykb_dispatch(const struct CoProcessMessage *in, uint32_t flags, struct CoProcessMessage *out);

/* Frees what a call put into `message` and empties it. Harmless on an empty one. */
void tykb_message_clear(struct CoProcessMessage *message);

/* ---- APIs: all the hooks of one, in one call ------------------------------------------------------------------------ */

/* What tykb_load_configuration loads. `size` is sizeof(struct tykb_configuration): later releases add members at the
 * end, take the struct of an earlier one as it is, and refuse what a later one has set that they do not know. Zero the
 * rest. Strings are borrowed for the call. */
struct tykb_configuration {
  uint32_t size;
  uint32_t flags;     /* TYKB_STRICT and TYKB_WATCH, or 0 */
  const char *source; /* a folder of API definitions (*.json), one file, or JSON text; Tyk's classic form or OAS */
  const char *middleware_path; /* of bundles and relative paths of hooks; NULL: that of settings, else "middleware" */
  const char *policies;        /* a file of policies; NULL: that of settings, or none */
  /* A tyk.conf, or its text ("{}" for the environment alone): stores, how keys are hashed, where bundles come from and what
   * they must prove (docs/settings.md). TYK_GW_* variables win over it. NULL: none of both; what is kept is kept in memory. */
  const char *settings;
};

/* A session that a hook changed without the right to fails the request. Otherwise the change is dropped. */
#define TYKB_STRICT 1u
/* When files change, everything that is loaded is read again, as tykb_reload does, on a thread of the library's own; a log
 * line says what came of it. Until a configuration is loaded without this. Needs the Python package watchfiles. */
#define TYKB_WATCH 2u

/* Loads a configuration in place of the one before, in one step; calls in flight finish on what they started with.
 *
 * 0: everything in it is in use. A positive number: so many definitions and policies are not, and `out` says which and
 * why, one a line; the others are in use, and an API whose new version is bad goes on as before. A negative one: nothing
 * changed. */
int tykb_load_configuration(const struct tykb_configuration *configuration, struct CoProcessMessage *out);

/* Reads again everything that was loaded: the configuration, the root of Python_NewDispatcher, the folders of
 * tykb_load_bundle. A bundle whose folder holds what it held before is left alone, with all that its modules keep.
 *
 * Threads  Each part is built aside and swapped in one step; calls in flight finish on what they started with. Reloads at
 *          once come one after the other. A hook may call this, a bundle's module code may not, and a signal handler
 *          may not either: it wakes a thread that does (docs/reload.md).
 * Time     That of running what changed; nothing waits for it but other reloads.
 *
 * 0: everything is in use. A positive number: so many things are not in use or are kept at their earlier version, and `out`
 * says which and why, one a line. A negative one: nothing changed, and `out` has the words. */
int tykb_reload(struct CoProcessMessage *out);

/* Runs a request through its API: pre, authentication, post_key_auth, limits, post.
 *
 * `in` is a coprocess.Object with the request: url, method, scheme, request_uri, headers (the first value of each) and
 * raw_body; params too, or they are read from the url. The rest of it is not looked at, but for spec["APIID"], which
 * chooses the API; without one, the Host header and the url do.
 *
 * TYKB_CONTINUE: `out` holds the changes to make to the request, in `request`: url (path and query, whole), method,
 * raw_body (and body, the same as text), delete_headers (all values of a name), set_headers (one value instead of
 * all). What is not named stays as it is: a host keeps repeated headers and their order. Content-Length follows from the
 * body and is the host's. An item of `request` that a host does not know is a change that it cannot make: the request must
 * not go on. `session` and `spec` say who sent it and which API it was, for tykb_run_response: see tykb_builder_copy.
 * TYKB_RESPOND: `out` holds the response for the client, in `response`: status_code, multivalue_headers, raw_body.
 * Negative: there is no such API, or no chain was run at all. The request must not go on: `out` has the words. */
#define TYKB_CONTINUE 0
#define TYKB_RESPOND 1
int tykb_run_request(const struct CoProcessMessage *in, struct CoProcessMessage *out);

/* Runs the upstream's response through its API. `in` holds the request as the upstream got it, `session` and `spec` as
 * tykb_run_request gave them, and `response`: status_code, multivalue_headers (or headers), raw_body. TYKB_OK: `out`
 * holds the response for the client, as that of TYKB_RESPOND. Negative: `out` has the words. */
int tykb_run_response(const struct CoProcessMessage *in, struct CoProcessMessage *out);

/* Gets what tykb_run_request or tykb_run_response would have given: `status`, and in `out` a message that is the callee's,
 * as if it had made the call. TYKB_E_GONE where the interpreter ended first. */
typedef void (*tykb_done)(void *context, int status, struct CoProcessMessage *out);

/* Begin a request or a response, as the two calls above, and come back: `done` is called once, with `context`, when it is
 * over. For hosts that have an event loop, and for many requests at once: a hook that waits for a gRPC server occupies no
 * thread (docs/waiting.md).
 *
 * Memory   `in` is copied.
 * Threads  Hooks run on a few threads of the library's own. `done` is called on one of them, without Python's lock, and may
 *          come before this returns. It must not wait: it hands the message to its own loop. It may start further calls.
 * Time     That of a copy; nothing of it waits for a hook.
 *
 * 0: it has begun. Negative: it has not, `done` will not be called, and `out`, which may be NULL, has the words. */
int tykb_start_request(const struct CoProcessMessage *in, tykb_done done, void *context, struct CoProcessMessage *out);
int tykb_start_response(const struct CoProcessMessage *in, tykb_done done, void *context, struct CoProcessMessage *out);

/* ---- Messages without a protobuf library --------------------------------------------------------------------------- */

/* A field is named by its path: up to three protobuf field numbers, the outermost first. */
#define TYKB_PATH(a, b, c) ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16)

enum tykb_path {
  TYKB_HOOK_TYPE = TYKB_PATH(1, 0, 0),
  TYKB_HOOK_NAME = TYKB_PATH(2, 0, 0),
  TYKB_REQUEST = TYKB_PATH(3, 0, 0),
  TYKB_REQUEST_HEADERS = TYKB_PATH(3, 1, 0),
  TYKB_REQUEST_SET_HEADERS = TYKB_PATH(3, 2, 0),
  TYKB_REQUEST_DELETE_HEADERS = TYKB_PATH(3, 3, 0),
  TYKB_REQUEST_BODY = TYKB_PATH(3, 4, 0),
  TYKB_REQUEST_URL = TYKB_PATH(3, 5, 0),
  TYKB_REQUEST_PARAMS = TYKB_PATH(3, 6, 0),
  TYKB_REQUEST_ADD_PARAMS = TYKB_PATH(3, 7, 0),
  TYKB_REQUEST_EXTENDED_PARAMS = TYKB_PATH(3, 8, 0),
  TYKB_REQUEST_DELETE_PARAMS = TYKB_PATH(3, 9, 0),
  TYKB_REQUEST_RETURN_OVERRIDES = TYKB_PATH(3, 10, 0),
  TYKB_OVERRIDES_RESPONSE_CODE = TYKB_PATH(3, 10, 1),
  TYKB_OVERRIDES_RESPONSE_ERROR = TYKB_PATH(3, 10, 2),
  TYKB_OVERRIDES_HEADERS = TYKB_PATH(3, 10, 3),
  TYKB_OVERRIDES_OVERRIDE_ERROR = TYKB_PATH(3, 10, 4),
  TYKB_OVERRIDES_RESPONSE_BODY = TYKB_PATH(3, 10, 5),
  TYKB_REQUEST_METHOD = TYKB_PATH(3, 11, 0),
  TYKB_REQUEST_REQUEST_URI = TYKB_PATH(3, 12, 0),
  TYKB_REQUEST_SCHEME = TYKB_PATH(3, 13, 0),
  TYKB_REQUEST_RAW_BODY = TYKB_PATH(3, 14, 0),
  TYKB_SESSION = TYKB_PATH(4, 0, 0), /* its fields: TYKB_PATH(4, number, 0), numbers of coprocess.SessionState */
  TYKB_SESSION_METADATA = TYKB_PATH(4, 23, 0),
  TYKB_METADATA = TYKB_PATH(5, 0, 0),
  TYKB_SPEC = TYKB_PATH(6, 0, 0),
  TYKB_RESPONSE = TYKB_PATH(7, 0, 0),
  TYKB_RESPONSE_STATUS_CODE = TYKB_PATH(7, 1, 0),
  TYKB_RESPONSE_RAW_BODY = TYKB_PATH(7, 2, 0),
  TYKB_RESPONSE_BODY = TYKB_PATH(7, 3, 0),
  TYKB_RESPONSE_HEADERS = TYKB_PATH(7, 4, 0),
  TYKB_RESPONSE_MULTIVALUE_HEADERS = TYKB_PATH(7, 5, 0),
  TYKB_CLEARED = 0xffffff /* the reader's word for "empty this field": see "Deltas" */
};

/* Bytes by pointer and length; no NUL at the end. */
struct tykb_slice {
  const char *data;
  size_t size;
};

/* A message in the making. One thread at a time. Adding never fails by itself: the first fault is kept, and
 * tykb_builder_finish answers it, so a host checks once. Everything added is copied.
 *
 *     tykb_builder *b = tykb_builder_new();
 *     tykb_builder_number(b, TYKB_HOOK_TYPE, 1);
 *     tykb_builder_text(b, TYKB_HOOK_NAME, "MyPreMiddleware", 15);
 *     tykb_builder_pair(b, TYKB_REQUEST_HEADERS, "Host", 4, "example.org", 11);
 *     status = tykb_builder_finish(b, &in);
 *     tykb_builder_free(b);
 */
typedef struct tykb_builder tykb_builder;

tykb_builder *tykb_builder_new(void); /* NULL: no memory; every function below accepts that NULL */
void tykb_builder_free(tykb_builder *builder);

/* A string or bytes field; of a repeated one, one more value; of a message (TYKB_SESSION, say), bytes that were
 * serialised before and are merged in. Text must be UTF-8 where the field is a string. */
void tykb_builder_text(tykb_builder *builder, uint32_t path, const char *data, size_t size);
/* An integer, enum or bool field. */
void tykb_builder_number(tykb_builder *builder, uint32_t path, int64_t value);
/* A double field. */
void tykb_builder_real(tykb_builder *builder, uint32_t path, double value);
/* An entry of a map; a key again replaces its value. For TYKB_RESPONSE_MULTIVALUE_HEADERS a key again adds a value.
 * For a map of messages (access_rights), the value is a serialised message. */
void tykb_builder_pair(tykb_builder *builder, uint32_t path, const char *key, size_t key_size, const char *value,
                       size_t value_size);
/* A field of another message as it stands there, whole: TYKB_SESSION and TYKB_SPEC, from the reply of tykb_run_request
 * into the message for tykb_run_response. Merged in; where `message` has no such field, nothing is added. */
void tykb_builder_copy(tykb_builder *builder, uint32_t path, const struct CoProcessMessage *message);
/* The message's bytes, or the first fault's words. The builder is empty afterwards and may be used again. */
int tykb_builder_finish(tykb_builder *builder, struct CoProcessMessage *out);

/* One thing that a message says. Which members count depends on the field: text and bytes: value; a number, enum or
 * bool: number; a double: real; an entry of a map, or one value of a multivalue header: key and value; one value of a
 * repeated field: value or real; an entry of access_rights: key, and as value the serialised message; a message that
 * is there and empty: none (one with fields is not an item, its fields are). A multivalue header without a value is
 * passed over. TYKB_CLEARED: number is the path of the field to empty. A member that does not count is 0 or empty, and no
 * slice's data is NULL. */
struct tykb_item {
  uint32_t path;
  struct tykb_slice key;
  struct tykb_slice value;
  int64_t number;
  double real;
};

/* A walk through a message: on the stack, allocates nothing, holds no lock. What it hands out points into the message.
 *
 *     tykb_reader r;
 *     tykb_reader_init(&r, &out);
 *     while ((status = tykb_reader_next(&r, &item)) > 0)
 *         switch (item.path) { case TYKB_REQUEST_SET_HEADERS: ... }
 *
 * Items come in the order of the bytes, and a later one wins over an earlier one of the same field (and key), as in
 * protobuf; unknown fields are passed over. Text is handed out as it is: the bridge writes only UTF-8. A reader may be
 * moved and copied.
 *
 * Deltas. The reply to TYKB_REPLY_DELTA is a message that, merged into the one the host sent, gives what the hook left:
 * set what is named, add to maps and lists. When the hook removed something, TYKB_CLEARED items come before all others,
 * each naming a field to empty first. (For hosts with protobuf: proto/tykbridge_delta.proto.) */
typedef struct tykb_reader {
  uint64_t private_[24];
} tykb_reader;

void tykb_reader_init(tykb_reader *reader, const struct CoProcessMessage *message);
/* 1: `item` is filled in. 0: the end. TYKB_E_MALFORMED: the bytes are no message; what came before stands.
 * TYKB_E_ARGUMENT: a NULL, or a message of no such size. After 0 or a fault the answer stays the same. */
int tykb_reader_next(tykb_reader *reader, struct tykb_item *item);

#ifdef __cplusplus
}
#endif
#endif
