/* What the parts of the engine share: the state, and a hook's call. */
#ifndef TYKB_JS_STATE_H
#define TYKB_JS_STATE_H

#include "engine.h"
#include "quickjs.h"

/* A value that a hook made, out of JavaScript's reach: collected first, applied when nothing can fail any more. */
enum tykb_js_shape { TYKB_JS_ABSENT, TYKB_JS_SCALAR, TYKB_JS_LIST, TYKB_JS_MAP };

struct tykb_js_value {
  int shape; /* enum tykb_js_shape */
  struct tykb_js_word word;
  struct tykb_js_value *items; /* of a list or a map */
  struct tykb_span *keys;      /* of a map */
  size_t count;
};

struct tykb_js_block {
  struct tykb_js_block *next;
  size_t used, size;
};

/* Texts that the engine knows as atoms. */
/* It lays these out anew each time. */
/* clang-format off */
#define TYKB_JS_NAMES(X)                                                                                               \
  X(Headers) X(SetHeaders) X(DeleteHeaders) X(Body) X(URL) X(Params) X(AddParams) X(ExtendedParams) X(DeleteParams)    \
  X(ReturnOverrides) X(IgnoreBody) X(Method) X(RequestURI) X(Scheme) X(ResponseCode) X(ResponseError) X(ResponseBody)  \
  X(ResponseHeaders) X(OverrideError) X(StatusCode) X(Request) X(Response) X(Session) X(SessionMeta) X(OrgID)          \
  X(APIID) X(config_data) X(ProcessRequest) X(ProcessResponse) X(stack) X(AuthValue)
/* clang-format on */

enum {
#define TYKB_JS_ENUM(name) NAME_##name,
  TYKB_JS_NAMES(TYKB_JS_ENUM)
#undef TYKB_JS_ENUM
      NAMES
};

#define SESSION_FIELDS 40 /* more than SessionState has */

/* One call of a hook. */
struct tykb_js_run {
  struct tykb_node *root, *request, *response, *session;
  JSValue request_object, response_object, session_object, config_object;
  JSValue fields[NAMES];          /* what the hook got, by name; uninitialized: not read, or not to be compared */
  JSValue before[SESSION_FIELDS]; /* of the session, by the field's index */
  bool is_response, is_whole_session;
};

struct tykb_js {
  const struct tykb_js_host *host;
  void *owner;
  JSRuntime *runtime;
  JSContext *context;
  JSValue own; /* what the driver's own code gave */
  JSValue *hooks;
  uint32_t hook_count;
  JSAtom names[NAMES];
  JSAtom session_names[SESSION_FIELDS];
  JSValue getters[NAMES], setters[NAMES]; /* of the fields that are fetched when they are read */
  JSValue blank_session;                  /* the prototype of a session that is not there */

  void *unlocked;                   /* NULL: Python's lock is held */
  int64_t began, deadline, lets_go; /* `deadline`: INT64_MAX where no call runs */
  double allowed;                   /* seconds */
  bool was_slow;
  bool held; /* Python's lock is needed: nobody lets it go */
  bool late, full;
  int until_look; /* allocations */

  struct tykb_js_run *run; /* NULL: no hook runs */

  size_t used, limit, memory;       /* `memory`: what the limit will be */
  struct tykb_js_header *allocated; /* every block of the runtime */

  struct tykb_js_block *blocks; /* what a call collects */
  size_t collected;
  char words[2048];
  size_t words_size;
  char *stack;
  size_t stack_size;
};

int64_t tykb_js_now(void);
/* Between them JavaScript may run. `leave` gives what it was given. */
int tykb_js_enter(struct tykb_js *js, double seconds);
int tykb_js_leave(struct tykb_js *js, int status);
/* Puts the pending exception into the state's error. -1. */
int tykb_js_take_error(struct tykb_js *js);
/* Says in the driver's own words why the call fails. -1. */
int tykb_js_fail(struct tykb_js *js, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Takes Python's lock where it was let go; gives what tykb_js_unlock wants. */
bool tykb_js_lock(struct tykb_js *js);
void tykb_js_unlock(struct tykb_js *js, bool was_free);
/* Memory that lives as long as a call; NULL with the error set where that would be more than a state may hold. */
void *tykb_js_alloc(struct tykb_js *js, size_t size);
/* Copies the text of a string; what is no Unicode in it becomes U+FFFD. */
int tykb_js_copy_text(struct tykb_js *js, JSValueConst value, struct tykb_span *text);

/* message.c */
int tykb_js_message_prepare(struct tykb_js *js);
void tykb_js_message_free(struct tykb_js *js);
int tykb_js_run_open(struct tykb_js *js, struct tykb_js_run *run, struct tykb_node *root, bool can_request,
                     bool can_response);
void tykb_js_run_close(struct tykb_js *js, struct tykb_js_run *run);
/* collect.c: collects what became different of what a hook returned, then applies it. */
int tykb_js_run_finish(struct tykb_js *js, struct tykb_js_run *run, JSValueConst result);

#endif
