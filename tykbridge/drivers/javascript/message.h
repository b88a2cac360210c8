/* What the two halves of a message's way share: from the message (message.c), and back to it (collect.c). */
#ifndef TYKB_JS_MESSAGE_H
#define TYKB_JS_MESSAGE_H

#include "state.h"

#define COUNT(rows) (sizeof(rows) / sizeof *(rows))

/* It lays these out anew each time. */
/* clang-format off */
#define OBJECT_ROWS(X) X(request) X(session) X(response) X(spec)
#define REQUEST_ROWS(X)                                                                                                \
  X(headers) X(set_headers) X(delete_headers) X(raw_body) X(body) X(url) X(params) X(add_params) X(extended_params)    \
  X(delete_params) X(return_overrides) X(method) X(request_uri) X(scheme)
#define OVERRIDES_ROWS(X) X(response_code) X(response_error) X(response_body) X(headers) X(override_error)
#define RESPONSE_ROWS(X) X(status_code) X(raw_body) X(body) X(headers) X(multivalue_headers)
/* clang-format on */

/* Of the messages' tables; all that come to the module are of one table. Written once, under Python's lock. */
#define TYKB_JS_MEMBER(name) const struct tykb_field *name;
extern struct tykb_js_rows {
  struct {
    OBJECT_ROWS(TYKB_JS_MEMBER)
  } object;
  struct {
    REQUEST_ROWS(TYKB_JS_MEMBER)
  } request;
  struct {
    OVERRIDES_ROWS(TYKB_JS_MEMBER)
  } overrides;
  struct {
    RESPONSE_ROWS(TYKB_JS_MEMBER)
  } response;
  struct {
    TYKB_JS_MEMBER(key) TYKB_JS_MEMBER(values)
  } header;
  const struct tykb_field *session_metadata;
} tykb_js_rows;
#undef TYKB_JS_MEMBER

/* A field's name in the JSON of a session, which is what plugins know. */
const char *tykb_js_json_name(const char *name);

static inline bool tykb_js_is_same(JSValueConst a, JSValueConst b) {
  return JS_IsObject(a) && JS_IsObject(b) && JS_VALUE_GET_PTR(a) == JS_VALUE_GET_PTR(b);
}

#endif
