#include <math.h>
#include <string.h>

#include "headers.h"
#include "message.h"

#define MOST_ITEMS 100000 /* of a list: its length may be anything */

/* ---- From JavaScript: what a hook left, taken out of its reach ---- */

static const char *kind_of(struct tykb_js *js, JSValueConst value) {
  if (JS_IsUndefined(value)) return "undefined";
  if (JS_IsNull(value)) return "null";
  if (JS_IsString(value)) return "a string";
  if (JS_IsNumber(value)) return "a number";
  if (JS_IsBool(value)) return "a boolean";
  if (JS_IsFunction(js->context, value)) return "a function";
  if (JS_IsArray(value)) return "an array";
  return JS_IsObject(value) ? "an object" : JS_IsSymbol(value) ? "a symbol" : "a value of another kind";
}

static int wrong(struct tykb_js *js, const char *where, const char *key, const char *wanted, JSValueConst value) {
  const char *kind = kind_of(js, value);
  if (key) return tykb_js_fail(js, "%s[\"%.200s\"] must be %s, not %s", where, key, wanted, kind);
  return tykb_js_fail(js, "%s must be %s, not %s", where, wanted, kind);
}

static int take_scalar(struct tykb_js *js, const char *where, const char *key, int kind, JSValueConst value,
                       struct tykb_js_value *out) {
  out->shape = TYKB_JS_SCALAR;
  if (kind == TYKB_KIND_STRING || kind == TYKB_KIND_BYTES) {
    out->word = (struct tykb_js_word){.kind = TYKB_JS_TEXT};
    if (JS_IsNull(value)) return 0; /* as Go reads JSON */
    if (JS_IsString(value) || JS_IsNumber(value) || JS_IsBool(value)) {
      return tykb_js_copy_text(js, value, &out->word.text);
    }
    return wrong(js, where, key, "a string", value);
  }
  if (kind == TYKB_KIND_BOOL) {
    if (!JS_IsBool(value)) return wrong(js, where, key, "true or false", value);
    out->word = (struct tykb_js_word){.kind = TYKB_JS_BOOL, .number = JS_VALUE_GET_BOOL(value)};
    return 0;
  }
  if (!JS_IsNumber(value)) return wrong(js, where, key, "a number", value);
  out->word.kind = TYKB_JS_NUMBER;
  JS_ToFloat64(js->context, &out->word.number, value);
  double most = kind == TYKB_KIND_INT64 ? 9223372036854774784.0 : 2147483647.0;
  double number = out->word.number;
  if (kind != TYKB_KIND_DOUBLE && !(number == floor(number) && number <= most && number >= -most)) {
    return tykb_js_fail(js, "%s must be a whole number%s, not %g", where, fabs(number) > most ? " that fits" : "",
                        number);
  }
  return 0;
}

/* A header's value: a text, or an array of texts. `several`: more than one may be there. */
static int take_values(struct tykb_js *js, const char *where, const char *key, bool several, JSValueConst value,
                       struct tykb_js_value *out) {
  JSContext *context = js->context;
  int64_t count;
  if (!JS_IsArray(value)) return take_scalar(js, where, key, TYKB_KIND_STRING, value, out);
  if (JS_GetLength(context, value, &count) < 0) return tykb_js_take_error(js);
  if (count > MOST_ITEMS || (!several && count > 1)) {
    return tykb_js_fail(js, "%s[\"%.200s\"] has %lld values: there can be one", where, key, (long long)count);
  }
  out->shape = TYKB_JS_LIST;
  out->count = 0;
  out->items = tykb_js_alloc(js, ((size_t)count + 1) * sizeof *out->items);
  if (!out->items) return -1;
  for (int64_t i = 0; i < count; i++) {
    JSValue item = JS_GetPropertyInt64(context, value, i);
    int status = JS_IsException(item) ? tykb_js_take_error(js)
                                      : take_scalar(js, where, key, TYKB_KIND_STRING, item, &out->items[out->count++]);
    JS_FreeValue(context, item);
    if (status < 0) return -1;
  }
  if (!several) {
    struct tykb_js_value only = count ? out->items[0] : (struct tykb_js_value){.shape = TYKB_JS_ABSENT};
    *out = only;
  }
  return 0;
}

static int take_field(struct tykb_js *js, const char *where, const struct tykb_field *row, JSValueConst value,
                      struct tykb_js_value *out);

enum item_kind { TEXT_ITEM, VALUES_ITEM, ONE_VALUE_ITEM, RECORD_ITEM };

static int take_record(struct tykb_js *js, const char *where, const struct tykb_type *type, JSValueConst value,
                       struct tykb_js_value *out) {
  if (!JS_IsObject(value)) return wrong(js, where, NULL, "an object", value);
  out->shape = TYKB_JS_MAP;
  out->keys = NULL;
  out->count = type->count;
  out->items = tykb_js_alloc(js, type->count * sizeof *out->items);
  if (!out->items) return -1;
  for (uint32_t i = 0; i < type->count; i++) {
    out->items[i].shape = TYKB_JS_ABSENT;
    JSValue inner = JS_GetPropertyStr(js->context, value, tykb_js_json_name(type->fields[i].name));
    int status = JS_IsException(inner) ? tykb_js_take_error(js) : 0;
    if (status == 0 && !JS_IsUndefined(inner)) {
      status = take_field(js, where, &type->fields[i], inner, &out->items[i]);
    }
    JS_FreeValue(js->context, inner);
    if (status < 0) return -1;
  }
  return 0;
}

static int take_item(struct tykb_js *js, const char *where, const char *key, enum item_kind kind,
                     const struct tykb_type *type, JSValueConst value, struct tykb_js_value *out) {
  if (kind == RECORD_ITEM) return take_record(js, where, type, value, out);
  if (kind == TEXT_ITEM) return take_scalar(js, where, key, TYKB_KIND_STRING, value, out);
  return take_values(js, where, key, kind == VALUES_ITEM, value, out);
}

static int take_map(struct tykb_js *js, const char *where, enum item_kind kind, const struct tykb_type *type,
                    JSValueConst value, struct tykb_js_value *out) {
  JSContext *context = js->context;
  JSPropertyEnum *names;
  uint32_t count;
  int status = 0;
  out->shape = TYKB_JS_MAP;
  out->count = 0;
  if (JS_IsNull(value)) return 0;
  if (!JS_IsObject(value)) return wrong(js, where, NULL, "an object", value);
  if (JS_GetOwnPropertyNames(context, &names, &count, value, JS_GPN_STRING_MASK | JS_GPN_ENUM_ONLY) < 0) {
    return tykb_js_take_error(js);
  }
  if (count) {
    out->items = tykb_js_alloc(js, count * sizeof *out->items);
    out->keys = out->items ? tykb_js_alloc(js, count * sizeof *out->keys) : NULL;
    if (!out->keys) status = -1;
  }
  for (uint32_t i = 0; status == 0 && i < count; i++) {
    JSValue item = JS_GetProperty(context, value, names[i].atom);
    JSValue name = JS_IsException(item) ? JS_EXCEPTION : JS_AtomToString(context, names[i].atom);
    status = JS_IsException(name) ? tykb_js_take_error(js) : tykb_js_copy_text(js, name, &out->keys[out->count]);
    /* What JSON has no word for was left out. */
    if (status == 0 && !JS_IsUndefined(item) && !JS_IsFunction(context, item)) {
      struct tykb_js_value *place = &out->items[out->count];
      status = take_item(js, where, (const char *)out->keys[out->count].data, kind, type, item, place);
      if (status == 0 && place->shape != TYKB_JS_ABSENT) out->count++;
    }
    JS_FreeValue(context, name);
    JS_FreeValue(context, item);
  }
  JS_FreePropertyEnum(context, names, count);
  return status;
}

static int take_list(struct tykb_js *js, const char *where, int kind, const struct tykb_type *type, JSValueConst value,
                     struct tykb_js_value *out) {
  JSContext *context = js->context;
  int64_t count;
  out->shape = TYKB_JS_LIST;
  out->count = 0;
  if (JS_IsNull(value)) return 0;
  if (!JS_IsObject(value)) return wrong(js, where, NULL, "an array", value);
  if (JS_GetLength(context, value, &count) < 0) return tykb_js_take_error(js);
  if (count > MOST_ITEMS)
    return tykb_js_fail(js, "%s has %lld items: there can be %d", where, (long long)count, MOST_ITEMS);
  if (count <= 0) return 0;
  out->items = tykb_js_alloc(js, (size_t)count * sizeof *out->items);
  if (!out->items) return -1;
  for (int64_t i = 0; i < count; i++) {
    JSValue item = JS_GetPropertyInt64(context, value, i);
    int status = JS_IsException(item) ? tykb_js_take_error(js) : 0;
    if (status == 0 && !JS_IsUndefined(item)) { /* a hole: DeleteHeaders[1] = ... alone */
      struct tykb_js_value *place = &out->items[out->count++];
      status = type ? take_record(js, where, type, item, place) : take_scalar(js, where, NULL, kind, item, place);
    }
    JS_FreeValue(context, item);
    if (status < 0) return -1;
  }
  return 0;
}

static int take_field(struct tykb_js *js, const char *where, const struct tykb_field *row, JSValueConst value,
                      struct tykb_js_value *out) {
  char full[256];
  const struct tykb_type *type = row->kind == TYKB_KIND_MESSAGE ? row->child : NULL;
  snprintf(full, sizeof full, "%s.%s", where, tykb_js_json_name(row->name));
  if (row->shape == TYKB_MAP) return take_map(js, full, type ? RECORD_ITEM : TEXT_ITEM, type, value, out);
  if (row->shape == TYKB_REPEATED) return take_list(js, full, row->kind, type, value, out);
  if (!type) return take_scalar(js, full, NULL, row->kind, value, out);
  return JS_IsNull(value) ? 0 : take_record(js, full, type, value, out);
}

static int take_body(struct tykb_js *js, const char *where, JSValueConst value, struct tykb_js_value *out) {
  JSContext *context = js->context;
  if (!JS_IsObject(value)) return take_scalar(js, where, NULL, TYKB_KIND_BYTES, value, out);
  size_t offset = 0, size = 0, all = 0, each;
  JSValue buffer =
      JS_GetTypedArrayType(value) >= 0 ? JS_GetTypedArrayBuffer(context, value, &offset, &size, &each) : JS_UNDEFINED;
  const uint8_t *data = NULL;
  if (JS_IsObject(buffer)) {
    /* The engine's `size` is that of when it was made: its buffer may have been resized. Before the buffer is looked
     * at, since this may be a getter. */
    JSValue length = JS_GetPropertyStr(context, value, "byteLength");
    if (JS_IsNumber(length)) {
      int64_t now = 0;
      JS_ToInt64(context, &now, length);
      size = now < 0 ? 0 : (size_t)now;
    }
    JS_FreeValue(context, length);
    data = JS_GetArrayBuffer(context, &all, buffer);
  } else if (JS_IsArrayBuffer(value)) {
    data = JS_GetArrayBuffer(context, &all, value);
    size = all;
  }
  JS_FreeValue(context, JS_GetException(context));
  if (!data || offset > all || size > all - offset) {
    JS_FreeValue(context, buffer);
    return wrong(js, where, NULL, "a string, an ArrayBuffer or a typed array", value);
  }
  uint8_t *copy = tykb_js_alloc(js, size + 1);
  if (copy) memcpy(copy, data + offset, size);
  JS_FreeValue(context, buffer);
  out->shape = TYKB_JS_SCALAR;
  out->word = (struct tykb_js_word){.kind = TYKB_JS_TEXT, .text = {copy, size}};
  return copy ? 0 : -1;
}

/* What was collected of a call. */
struct taken {
  struct tykb_js_value fields[NAMES];
  struct tykb_js_value session[SESSION_FIELDS];
  struct tykb_js_value meta;
  struct tykb_js_value token; /* of an auth_check whose session may have none */
  bool has_session, says_who;
};

struct wanted {
  int name;
  const char *where;
  enum { A_TEXT, A_CODE, A_BOOL, A_MAP, A_VALUES, A_VALUE, A_LIST, A_BODY, OVERRIDES } kind;
};

static const struct wanted OF_REQUEST[] = {
    {NAME_SetHeaders, "request.SetHeaders", A_VALUE},
    {NAME_DeleteHeaders, "request.DeleteHeaders", A_LIST},
    {NAME_Body, "request.Body", A_BODY},
    {NAME_URL, "request.URL", A_TEXT},
    {NAME_AddParams, "request.AddParams", A_VALUE},
    {NAME_ExtendedParams, "request.ExtendedParams", A_VALUE},
    {NAME_DeleteParams, "request.DeleteParams", A_LIST},
    {NAME_ReturnOverrides, "request.ReturnOverrides", OVERRIDES},
    {NAME_Method, "request.Method", A_TEXT},
    {NAME_RequestURI, "request.RequestURI", A_TEXT},
    {NAME_Scheme, "request.Scheme", A_TEXT},
};
static const struct wanted OF_OVERRIDES[] = {
    {NAME_ResponseCode, "request.ReturnOverrides.ResponseCode", A_CODE},
    {NAME_ResponseError, "request.ReturnOverrides.ResponseError", A_TEXT},
    {NAME_ResponseBody, "request.ReturnOverrides.ResponseBody", A_TEXT},
    {NAME_ResponseHeaders, "request.ReturnOverrides.ResponseHeaders", A_VALUE},
    {NAME_OverrideError, "request.ReturnOverrides.OverrideError", A_BOOL},
};
static const struct wanted OF_RESPONSE[] = {
    {NAME_StatusCode, "response.StatusCode", A_CODE},
    {NAME_Body, "response.Body", A_BODY},
    {NAME_SetHeaders, "response.SetHeaders", A_VALUES},
    {NAME_DeleteHeaders, "response.DeleteHeaders", A_LIST},
};

static int take_all(struct tykb_js *js, struct tykb_js_run *run, JSValueConst place, const struct wanted *rows,
                    size_t count, bool skips_body, struct taken *taken);

static int take_one(struct tykb_js *js, struct tykb_js_run *run, const struct wanted *row, JSValueConst value,
                    struct taken *taken) {
  struct tykb_js_value *out = &taken->fields[row->name];
  JSValueConst before = run->fields[row->name];
  switch (row->kind) {
    case A_MAP:
      return take_map(js, row->where, TEXT_ITEM, NULL, value, out);
    case A_VALUES:
      return take_map(js, row->where, VALUES_ITEM, NULL, value, out);
    case A_VALUE:
      return take_map(js, row->where, ONE_VALUE_ITEM, NULL, value, out);
    case A_LIST:
      return take_list(js, row->where, TYKB_KIND_STRING, NULL, value, out);
    case OVERRIDES:
      if (JS_IsNull(value)) return 0;
      if (!JS_IsObject(value)) return wrong(js, row->where, NULL, "an object", value);
      return take_all(js, run, value, OF_OVERRIDES, COUNT(OF_OVERRIDES), false, taken);
    default:
      if (JS_VALUE_GET_TAG(before) != JS_TAG_UNINITIALIZED && JS_IsStrictEqual(js->context, value, before)) return 0;
      if (row->kind == A_BODY) return JS_IsNull(value) ? 0 : take_body(js, row->where, value, out);
      return take_scalar(js, row->where, NULL,
                         row->kind == A_CODE   ? TYKB_KIND_INT32
                         : row->kind == A_BOOL ? TYKB_KIND_BOOL
                                               : TYKB_KIND_STRING,
                         value, out);
  }
}

static int take_all(struct tykb_js *js, struct tykb_js_run *run, JSValueConst place, const struct wanted *rows,
                    size_t count, bool skips_body, struct taken *taken) {
  for (size_t i = 0; i < count; i++) {
    if (rows[i].kind == A_BODY && skips_body) continue;
    JSValue value = JS_GetProperty(js->context, place, js->names[rows[i].name]);
    int status = JS_IsException(value)   ? tykb_js_take_error(js)
                 : JS_IsUndefined(value) ? 0
                                         : take_one(js, run, &rows[i], value, taken);
    JS_FreeValue(js->context, value);
    if (status < 0) return -1;
  }
  return 0;
}

/* Also where the session is one that the hook made: its own fields count then. */
static int take_session(struct tykb_js *js, struct tykb_js_run *run, JSValueConst place, struct taken *taken) {
  const struct tykb_type *type = &tykb_type_SessionState;
  bool is_mine = run->is_whole_session && tykb_js_is_same(place, run->session_object);
  taken->has_session = true;
  for (uint32_t i = 0; i < type->count; i++) {
    taken->session[i].shape = TYKB_JS_ABSENT;
    JSValue value = JS_GetProperty(js->context, place, js->session_names[i]);
    int status = JS_IsException(value) ? tykb_js_take_error(js) : 0;
    bool is_as_before = is_mine && JS_VALUE_GET_TAG(run->before[i]) != JS_TAG_UNINITIALIZED &&
                        JS_IsStrictEqual(js->context, value, run->before[i]);
    if (status == 0 && !JS_IsUndefined(value) && !is_as_before) {
      status = take_field(js, "session", &type->fields[i], value, &taken->session[i]);
    }
    JS_FreeValue(js->context, value);
    if (status < 0) return -1;
  }
  return 0;
}

/* Whether a hook wrote into the session that is not there. */
static int is_touched(struct tykb_js *js, JSValueConst session) {
  JSContext *context = js->context;
  JSPropertyEnum *names;
  uint32_t count, inner = 0;
  if (JS_GetOwnPropertyNames(context, &names, &count, session, JS_GPN_STRING_MASK) < 0) return -1;
  JS_FreePropertyEnum(context, names, count);
  if (count != 1) return 1;
  JSValue meta = JS_GetProperty(context, session, js->session_names[tykb_js_rows.session_metadata->index]);
  int status = JS_IsObject(meta) ? JS_GetOwnPropertyNames(context, &names, &inner, meta, JS_GPN_STRING_MASK) : 0;
  if (status == 0 && JS_IsObject(meta)) JS_FreePropertyEnum(context, names, inner);
  bool failed = JS_IsException(meta) || status < 0;
  JS_FreeValue(context, meta);
  return failed ? -1 : inner != 0;
}

static int take_token(struct tykb_js *js, JSValueConst result, struct tykb_js_value *out) {
  JSValue value = JS_GetProperty(js->context, result, js->names[NAME_AuthValue]);
  int status = JS_IsException(value)   ? tykb_js_take_error(js)
               : JS_IsUndefined(value) ? 0
                                       : take_scalar(js, "AuthValue", NULL, TYKB_KIND_STRING, value, out);
  JS_FreeValue(js->context, value);
  return status;
}

/* Whether a field is still what fetches it: nobody has read it, nor put anything in its place. */
static bool is_unread(struct tykb_js *js, JSValueConst place, int name) {
  JSPropertyDescriptor found;
  if (JS_GetOwnProperty(js->context, &found, place, js->names[name]) <= 0) return false;
  bool is_unread = tykb_js_is_same(found.getter, js->getters[name]);
  JS_FreeValue(js->context, found.value);
  JS_FreeValue(js->context, found.getter);
  JS_FreeValue(js->context, found.setter);
  return is_unread;
}

static int collect(struct tykb_js *js, struct tykb_js_run *run, JSValueConst result, struct taken *taken) {
  JSContext *context = js->context;
  JSValue place = JS_UNDEFINED, session = JS_UNDEFINED, meta = JS_UNDEFINED;
  int status = 0;
  if (JS_IsObject(result)) {
    place = JS_GetProperty(context, result, js->names[run->is_response ? NAME_Response : NAME_Request]);
    session = JS_IsException(place) ? JS_EXCEPTION : JS_GetProperty(context, result, js->names[NAME_Session]);
    meta = JS_IsException(session) ? JS_EXCEPTION : JS_GetProperty(context, result, js->names[NAME_SessionMeta]);
    if (JS_IsException(meta)) status = tykb_js_take_error(js);
  }
  /* As in Python: what a hook on a response did to it in place is enough. */
  bool is_nothing = run->is_response && JS_IsUndefined(result);
  if (is_nothing) place = JS_DupValue(context, run->response_object);
  if (status == 0 && !JS_IsObject(place)) {
    status = tykb_js_fail(js, "returned %s; a hook on a %s returns the middleware's %s", kind_of(js, result),
                          run->is_response ? "response" : "request",
                          run->is_response ? "ReturnResponseData(response, meta)"
                                           : "ReturnData(request, meta) or ReturnAuthData(request, session)");
  }
  bool skips_body = tykb_js_is_same(place, run->is_response ? run->response_object : run->request_object) &&
                    is_unread(js, place, NAME_Body);
  if (status == 0 && !run->is_response) {
    JSValue ignored = JS_GetProperty(context, place, js->names[NAME_IgnoreBody]);
    if (JS_IsException(ignored)) status = tykb_js_take_error(js);
    if (JS_ToBool(context, ignored) > 0) skips_body = true;
    JS_FreeValue(context, ignored);
  }
  if (status == 0) {
    status = run->is_response ? take_all(js, run, place, OF_RESPONSE, COUNT(OF_RESPONSE), skips_body, taken)
                              : take_all(js, run, place, OF_REQUEST, COUNT(OF_REQUEST), skips_body, taken);
  }
  if (status == 0 && JS_IsObject(session)) { /* ReturnAuthData */
    status = take_session(js, run, session, taken);
    if (status == 0) status = take_token(js, result, &taken->token);
    taken->says_who = true;
  } else if (status == 0 && run->is_whole_session) {
    status = take_session(js, run, run->session_object, taken);
    if (status == 0 && JS_IsObject(meta)) status = take_map(js, "meta", TEXT_ITEM, NULL, meta, &taken->meta);
  } else if (status == 0) {
    int touched = is_touched(js, run->session_object);
    status = touched > 0 ? take_session(js, run, run->session_object, taken) : touched < 0 ? tykb_js_take_error(js) : 0;
  }
  JS_FreeValue(context, place);
  JS_FreeValue(context, session);
  JS_FreeValue(context, meta);
  return status;
}

/* ---- To the message: nothing of JavaScript runs any more, and nothing but memory can fail ---- */

static bool same_text(struct tykb_span a, struct tykb_span b) {
  return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static union tykb_value scalar_of(const struct tykb_field *row, const struct tykb_js_word *word) {
  if (word->kind == TYKB_JS_TEXT) return (union tykb_value){.text = word->text};
  if (row->kind == TYKB_KIND_DOUBLE) return (union tykb_value){.real = word->number};
  return (union tykb_value){.number = (int64_t)word->number};
}

static bool same_scalar(const struct tykb_field *row, union tykb_value a, union tykb_value b) {
  if (row->kind == TYKB_KIND_STRING || row->kind == TYKB_KIND_BYTES) return same_text(a.text, b.text);
  if (row->kind == TYKB_KIND_DOUBLE) return a.real == b.real;
  return a.number == b.number;
}

/* 1: a field is what was taken; 0: it is not; negative: a status. */
static int same_field(struct tykb_node *node, const struct tykb_field *row, const struct tykb_js_value *value);

static int same_record(struct tykb_node *node, const struct tykb_js_value *record) {
  const struct tykb_type *type = tykb_node_type(node);
  for (uint32_t i = 0; i < type->count; i++) {
    int same = record->items[i].shape == TYKB_JS_ABSENT ? tykb_node_has(node, &type->fields[i]) == 0
                                                        : same_field(node, &type->fields[i], &record->items[i]);
    if (same <= 0) return same;
  }
  return 1;
}

static int same_field(struct tykb_node *node, const struct tykb_field *row, const struct tykb_js_value *value) {
  size_t slots, count;
  int status, same = 1;
  if (row->shape == TYKB_SINGULAR && row->kind != TYKB_KIND_MESSAGE) {
    union tykb_value now;
    status = tykb_node_get(node, row, &now);
    return status < 0 ? status : same_scalar(row, now, scalar_of(row, &value->word));
  }
  if (row->shape == TYKB_SINGULAR) {
    struct tykb_node *child;
    status = tykb_node_child(node, row, &child);
    return status < 0 ? status : same_record(child, value);
  }
  if (row->shape == TYKB_MAP) {
    struct tykb_map *map;
    struct tykb_entry *entries, *entry;
    status = tykb_node_map(node, row, &map);
    if (status == 0) status = tykb_map_entries(map, &entries, &slots, &count);
    if (status < 0) return status;
    if (count != value->count) return 0;
    for (size_t i = 0; same > 0 && i < count; i++) {
      struct tykb_node *child;
      if ((status = tykb_map_find(map, value->keys[i], &entry)) < 0) return status;
      if (!entry) return 0;
      if (row->kind != TYKB_KIND_MESSAGE) {
        same = same_text(entry->value, value->items[i].word.text);
      } else {
        if ((status = tykb_map_node(map, value->keys[i], &child)) < 0) return status;
        same = same_record(child, &value->items[i]);
      }
    }
    return same;
  }
  struct tykb_list *list;
  struct tykb_element *elements;
  status = tykb_node_list(node, row, &list);
  if (status == 0) status = tykb_list_elements(list, &elements, &count);
  if (status < 0) return status;
  if (count != value->count) return 0;
  for (size_t i = 0; same > 0 && i < count; i++) {
    struct tykb_node *child;
    if (row->kind != TYKB_KIND_MESSAGE) {
      same = same_scalar(row, elements[i].value, scalar_of(row, &value->items[i].word));
    } else {
      if ((status = tykb_list_node(list, i, &child)) < 0) return status;
      same = same_record(child, &value->items[i]);
    }
  }
  return same;
}

static int put_field(struct tykb_node *node, const struct tykb_field *row, const struct tykb_js_value *value);

static int put_record(struct tykb_node *node, const struct tykb_js_value *record) {
  const struct tykb_type *type = tykb_node_type(node);
  int status = 0;
  for (uint32_t i = 0; status == 0 && i < type->count; i++) {
    if (record->items[i].shape != TYKB_JS_ABSENT) status = put_field(node, &type->fields[i], &record->items[i]);
  }
  return status;
}

/* Puts what was taken in the place of what a field holds. */
static int put_field(struct tykb_node *node, const struct tykb_field *row, const struct tykb_js_value *value) {
  struct tykb_node *child;
  int status = 0;
  if (row->shape == TYKB_SINGULAR && row->kind != TYKB_KIND_MESSAGE) {
    return tykb_node_set(node, row, scalar_of(row, &value->word));
  }
  if (row->shape == TYKB_SINGULAR) {
    status = tykb_node_child(node, row, &child);
    return status == 0 ? put_record(child, value) : status;
  }
  if (tykb_node_has(node, row) > 0) status = tykb_node_clear_field(node, row);
  if (row->shape == TYKB_MAP) {
    struct tykb_map *map;
    if (status == 0) status = tykb_node_map(node, row, &map);
    for (size_t i = 0; status == 0 && i < value->count; i++) {
      if (row->kind != TYKB_KIND_MESSAGE) {
        status = tykb_map_put(map, value->keys[i], value->items[i].word.text);
      } else {
        status = tykb_map_node(map, value->keys[i], &child);
        if (status == 0) status = put_record(child, &value->items[i]);
      }
    }
    return status;
  }
  struct tykb_list *list;
  if (status == 0) status = tykb_node_list(node, row, &list);
  for (size_t i = 0; status == 0 && i < value->count; i++) {
    if (row->kind != TYKB_KIND_MESSAGE) {
      status = tykb_list_append(list, scalar_of(row, &value->items[i].word));
    } else {
      status = tykb_list_add(list, &child);
      if (status == 0) status = put_record(child, &value->items[i]);
    }
  }
  return status;
}

static int change_field(struct tykb_node *node, const struct tykb_field *row, const struct tykb_js_value *value) {
  if (value->shape == TYKB_JS_ABSENT) return 0;
  /* Where nothing is, nothing is looked at: a map that was only put to can be moved as it stands (headers.h). */
  if (row->shape != TYKB_SINGULAR && tykb_node_has(node, row) == 0) {
    return value->count ? put_field(node, row, value) : 0;
  }
  int same = same_field(node, row, value);
  return same > 0 ? 0 : same < 0 ? same : put_field(node, row, value);
}

static bool same_name(struct tykb_span a, struct tykb_span b) {
  if (a.size != b.size) return false;
  for (size_t i = 0; i < a.size; i++) {
    uint8_t x = a.data[i], y = b.data[i];
    if (x >= 'A' && x <= 'Z') x |= 0x20;
    if (y >= 'A' && y <= 'Z') y |= 0x20;
    if (x != y) return false;
  }
  return true;
}

/* Takes a name out of the entries with several values. */
static int drop_values(struct tykb_list *list, struct tykb_span name) {
  struct tykb_element *elements;
  struct tykb_node *child;
  union tykb_value key;
  size_t count;
  int status = tykb_list_elements(list, &elements, &count);
  while (status == 0 && count > 0) {
    status = tykb_list_node(list, --count, &child);
    if (status == 0) status = tykb_node_get(child, tykb_js_rows.header.key, &key);
    if (status == 0 && same_name(key.text, name)) status = tykb_list_remove(list, count);
  }
  return status;
}

static int change_response_headers(struct tykb_node *node, const struct tykb_js_value *set,
                                   const struct tykb_js_value *gone) {
  size_t set_count = set->shape == TYKB_JS_MAP ? set->count : 0;
  size_t gone_count = gone->shape == TYKB_JS_LIST ? gone->count : 0;
  struct tykb_map *map;
  struct tykb_list *list, *values;
  struct tykb_node *child;
  if (set_count + gone_count == 0) return 0;
  int status = tykb_node_map(node, tykb_js_rows.response.headers, &map);
  if (status == 0) status = tykb_node_list(node, tykb_js_rows.response.multivalue_headers, &list);
  for (size_t i = 0; status == 0 && i < gone_count; i++) {
    struct tykb_span name = gone->items[i].word.text;
    struct tykb_entry *entries;
    size_t slots, count;
    status = drop_values(list, name);
    if (status == 0) status = tykb_map_entries(map, &entries, &slots, &count);
    for (size_t j = 0; status == 0 && j < slots; j++) {
      if (!entries[j].live || !same_name(entries[j].key, name)) continue;
      status = tykb_map_remove(map, entries[j].key);
      j = (size_t)-1; /* the entries may have moved */
      if (status == 0) status = tykb_map_entries(map, &entries, &slots, &count);
    }
  }
  for (size_t i = 0; status == 0 && i < set_count; i++) {
    const struct tykb_js_value *value = &set->items[i];
    if (value->shape == TYKB_JS_SCALAR) {
      status = tykb_map_put(map, set->keys[i], value->word.text);
      continue;
    }
    status = drop_values(list, set->keys[i]);
    if (status == 0) status = tykb_list_add(list, &child);
    if (status == 0) status = tykb_node_set(child, tykb_js_rows.header.key, (union tykb_value){.text = set->keys[i]});
    if (status == 0) status = tykb_node_list(child, tykb_js_rows.header.values, &values);
    for (size_t j = 0; status == 0 && j < value->count; j++) {
      status = tykb_list_append(values, (union tykb_value){.text = value->items[j].word.text});
    }
  }
  return status;
}

static int change_body(struct tykb_node *node, const struct tykb_field *raw, const struct tykb_js_value *value) {
  return value->shape == TYKB_JS_ABSENT ? 0 : tykb_node_set(node, raw, scalar_of(raw, &value->word));
}

/* Under which key a session is kept: what the hook put into its metadata, else what it says beside it, else, as upstream
 * has it, the client's own Authorization. */
static int complete_token(struct tykb_js_run *run, const struct tykb_js_value *given) {
  struct tykb_span key = {(const uint8_t *)"token", 5}, authorization = {(const uint8_t *)"Authorization", 13}, token;
  struct tykb_map *map;
  int status = tykb_node_map(run->session, tykb_js_rows.session_metadata, &map);
  if (status != 0 || tykb_map_text(map, key, &token) == 0) return status;
  if (given->shape == TYKB_JS_SCALAR && given->word.text.size) return tykb_map_put(map, key, given->word.text);
  status = tykb_headers_find(run->request, authorization, &token);
  if (status == TYKB_E_NOT_FOUND) return 0;
  return status == 0 && token.size ? tykb_map_put(map, key, token) : status;
}

static int apply(struct tykb_js_run *run, const struct taken *taken) {
  const struct tykb_js_value *fields = taken->fields;
  struct tykb_node *node = run->request, *inner;
  int status;
  if (run->is_response) {
    status = change_response_headers(run->response, &fields[NAME_SetHeaders], &fields[NAME_DeleteHeaders]);
    if (status == 0) status = change_field(run->response, tykb_js_rows.response.status_code, &fields[NAME_StatusCode]);
    if (status == 0) status = change_body(run->response, tykb_js_rows.response.raw_body, &fields[NAME_Body]);
  } else {
    status = change_field(node, tykb_js_rows.request.set_headers, &fields[NAME_SetHeaders]);
    if (status == 0) status = change_field(node, tykb_js_rows.request.delete_headers, &fields[NAME_DeleteHeaders]);
    if (status == 0) status = change_body(node, tykb_js_rows.request.raw_body, &fields[NAME_Body]);
    if (status == 0) status = change_field(node, tykb_js_rows.request.url, &fields[NAME_URL]);
    if (status == 0) status = change_field(node, tykb_js_rows.request.add_params, &fields[NAME_AddParams]);
    if (status == 0) status = change_field(node, tykb_js_rows.request.extended_params, &fields[NAME_ExtendedParams]);
    if (status == 0) status = change_field(node, tykb_js_rows.request.delete_params, &fields[NAME_DeleteParams]);
    if (status == 0) status = change_field(node, tykb_js_rows.request.method, &fields[NAME_Method]);
    if (status == 0) status = change_field(node, tykb_js_rows.request.request_uri, &fields[NAME_RequestURI]);
    if (status == 0) status = change_field(node, tykb_js_rows.request.scheme, &fields[NAME_Scheme]);
    if (status == 0) status = tykb_node_child(node, tykb_js_rows.request.return_overrides, &inner);
    if (status == 0) status = change_field(inner, tykb_js_rows.overrides.response_code, &fields[NAME_ResponseCode]);
    if (status == 0) status = change_field(inner, tykb_js_rows.overrides.response_error, &fields[NAME_ResponseError]);
    if (status == 0) status = change_field(inner, tykb_js_rows.overrides.response_body, &fields[NAME_ResponseBody]);
    if (status == 0) status = change_field(inner, tykb_js_rows.overrides.headers, &fields[NAME_ResponseHeaders]);
    if (status == 0) status = change_field(inner, tykb_js_rows.overrides.override_error, &fields[NAME_OverrideError]);
  }
  if (taken->has_session) {
    const struct tykb_type *type = tykb_node_type(run->session);
    for (uint32_t i = 0; status == 0 && i < type->count; i++) {
      status = change_field(run->session, &type->fields[i], &taken->session[i]);
    }
  }
  if (status == 0 && taken->says_who) status = complete_token(run, &taken->token);
  if (status == 0 && taken->meta.shape == TYKB_JS_MAP && taken->meta.count > 0) {
    struct tykb_map *map;
    struct tykb_span now;
    status = tykb_node_map(run->session, tykb_js_rows.session_metadata, &map);
    for (size_t i = 0; status == 0 && i < taken->meta.count; i++) {
      struct tykb_span key = taken->meta.keys[i], value = taken->meta.items[i].word.text;
      int found = tykb_map_text(map, key, &now);
      if (found != 0 || !same_text(now, value)) status = tykb_map_put(map, key, value);
    }
  }
  return status;
}

int tykb_js_run_finish(struct tykb_js *js, struct tykb_js_run *run, JSValueConst result) {
  struct taken taken;
  for (int i = 0; i < NAMES; i++) taken.fields[i].shape = TYKB_JS_ABSENT;
  taken.meta.shape = taken.token.shape = TYKB_JS_ABSENT;
  taken.has_session = taken.says_who = false;
  if (collect(js, run, result, &taken) < 0) return -1;
  if (js->late) return tykb_js_take_error(js); /* what it was told of that, it may have caught */
  tykb_js_lock(js);                            /* for good: what follows is short */
  if (apply(run, &taken) != 0) return tykb_js_fail(js, "the message cannot be written: there is no memory");
  return 0;
}
