#include <string.h>

#include "message.h"

#define PLAIN (JS_PROP_CONFIGURABLE | JS_PROP_WRITABLE | JS_PROP_ENUMERABLE)

/* ---- Rows of the messages' tables ---- */

struct tykb_js_rows tykb_js_rows;

static const struct tykb_field *row_of(const struct tykb_type *type, const char *name) {
  uint32_t i = 0;
  while (strcmp(type->fields[i].name, name) != 0) i++;
  return &type->fields[i];
}

/* Under Python's lock, like everything that has a node. */
static void find_rows(const struct tykb_type *type) {
#define FIND(name) tykb_js_rows.object.name = row_of(type, #name);
  OBJECT_ROWS(FIND)
#undef FIND
#define FIND(name) tykb_js_rows.request.name = row_of(tykb_js_rows.object.request->child, #name);
  REQUEST_ROWS(FIND)
#undef FIND
#define FIND(name) tykb_js_rows.overrides.name = row_of(tykb_js_rows.request.return_overrides->child, #name);
  OVERRIDES_ROWS(FIND)
#undef FIND
#define FIND(name) tykb_js_rows.response.name = row_of(tykb_js_rows.object.response->child, #name);
  RESPONSE_ROWS(FIND)
#undef FIND
  tykb_js_rows.header.key = row_of(tykb_js_rows.response.multivalue_headers->child, "key");
  tykb_js_rows.header.values = row_of(tykb_js_rows.response.multivalue_headers->child, "values");
  tykb_js_rows.session_metadata = row_of(tykb_js_rows.object.session->child, "metadata");
}

const char *tykb_js_json_name(const char *name) {
  static const char *const others[][2] = {
      {"metadata", "meta_data"}, {"hmac_secret", "hmac_string"}, {"hash", "hash_type"}};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    if (strcmp(name, others[i][0]) == 0) return others[i][1];
  }
  return name;
}

/* ---- From messages to JavaScript ---- */

static int define(struct tykb_js *js, JSValueConst place, JSAtom name, JSValue value) {
  if (JS_IsException(value)) return -1;
  return JS_DefinePropertyValue(js->context, place, name, value, PLAIN) < 0 ? -1 : 0;
}

static JSValue text_to_js(struct tykb_js *js, struct tykb_span text) {
  return JS_NewStringLen(js->context, (const char *)text.data, text.size);
}

static JSValue no_memory(struct tykb_js *js, int status) {
  return JS_ThrowInternalError(js->context, "the message cannot be read: %s",
                               status == TYKB_E_NO_MEMORY ? "there is no memory" : "its bytes are damaged");
}

static JSValue scalar_to_js(struct tykb_js *js, const struct tykb_field *row, union tykb_value value) {
  switch (row->kind) {
    case TYKB_KIND_STRING:
    case TYKB_KIND_BYTES:
      return text_to_js(js, value.text);
    case TYKB_KIND_DOUBLE:
      return JS_NewNumber(js->context, value.real);
    case TYKB_KIND_BOOL:
      return JS_NewBool(js->context, value.number != 0);
    default:
      return JS_NewInt64(js->context, value.number);
  }
}

static JSValue node_to_js(struct tykb_js *js, struct tykb_node *node);

/* `wrapped`: each text as an array of one. */
static JSValue map_to_js(struct tykb_js *js, struct tykb_node *node, const struct tykb_field *row, bool wrapped) {
  struct tykb_map *map;
  struct tykb_entry *entries;
  size_t slots, count;
  int status = tykb_node_has(node, row);
  JSValue made = JS_NewObject(js->context);
  if (status == 0 || JS_IsException(made)) return made;
  if (status > 0) status = tykb_node_map(node, row, &map);
  if (status == 0) status = tykb_map_entries(map, &entries, &slots, &count);
  for (size_t i = 0; status == 0 && i < slots; i++) {
    struct tykb_node *child;
    JSValue value;
    if (!entries[i].live) continue;
    if (row->kind == TYKB_KIND_MESSAGE) {
      if ((status = tykb_map_entry_node(map, i, &child)) != 0) break;
      value = node_to_js(js, child);
    } else {
      value = text_to_js(js, entries[i].value);
      if (wrapped && !JS_IsException(value)) value = JS_NewArrayFrom(js->context, 1, &value);
    }
    JSAtom name = JS_NewAtomLen(js->context, (const char *)entries[i].key.data, entries[i].key.size);
    int defined = name ? define(js, made, name, value) : -1;
    if (!name) JS_FreeValue(js->context, value);
    JS_FreeAtom(js->context, name);
    if (defined < 0) {
      JS_FreeValue(js->context, made);
      return JS_EXCEPTION;
    }
  }
  if (status == 0) return made;
  JS_FreeValue(js->context, made);
  return no_memory(js, status);
}

static JSValue list_to_js(struct tykb_js *js, struct tykb_node *node, const struct tykb_field *row) {
  struct tykb_list *list;
  struct tykb_element *elements;
  size_t count = 0;
  int status = tykb_node_has(node, row);
  JSValue made = JS_NewArray(js->context);
  if (status == 0 || JS_IsException(made)) return made;
  if (status > 0) status = tykb_node_list(node, row, &list);
  if (status == 0) status = tykb_list_elements(list, &elements, &count);
  for (size_t i = 0; status == 0 && i < count; i++) {
    struct tykb_node *child;
    JSValue value;
    if (row->kind == TYKB_KIND_MESSAGE) {
      if ((status = tykb_list_node(list, i, &child)) != 0) break;
      value = node_to_js(js, child);
    } else {
      value = scalar_to_js(js, row, elements[i].value);
    }
    if (JS_IsException(value) || JS_DefinePropertyValueUint32(js->context, made, (uint32_t)i, value, PLAIN) < 0) {
      JS_FreeValue(js->context, made);
      return JS_EXCEPTION;
    }
  }
  if (status == 0) return made;
  JS_FreeValue(js->context, made);
  return no_memory(js, status);
}

static JSValue field_to_js(struct tykb_js *js, struct tykb_node *node, const struct tykb_field *row) {
  if (row->shape == TYKB_MAP) return map_to_js(js, node, row, false);
  if (row->shape == TYKB_REPEATED) return list_to_js(js, node, row);
  if (row->kind == TYKB_KIND_MESSAGE) {
    struct tykb_node *child;
    int status = tykb_node_child(node, row, &child);
    return status == 0 ? node_to_js(js, child) : no_memory(js, status);
  }
  union tykb_value value;
  int status = tykb_node_get(node, row, &value);
  return status == 0 ? scalar_to_js(js, row, value) : no_memory(js, status);
}

static JSValue node_to_js(struct tykb_js *js, struct tykb_node *node) {
  const struct tykb_type *type = tykb_node_type(node);
  JSValue made = JS_NewObject(js->context);
  for (uint32_t i = 0; !JS_IsException(made) && i < type->count; i++) {
    JSValue value = field_to_js(js, node, &type->fields[i]);
    if (JS_IsException(value) ||
        JS_DefinePropertyValueStr(js->context, made, tykb_js_json_name(type->fields[i].name), value, PLAIN) < 0) {
      JS_FreeValue(js->context, made);
      made = JS_EXCEPTION;
    }
  }
  return made;
}

/* What a field is where there is no message; `frozen`, since all calls share it. */
static JSValue blank_to_js(struct tykb_js *js, const struct tykb_field *row) {
  JSContext *context = js->context;
  JSValue made;
  if (row->shape == TYKB_REPEATED) {
    made = JS_NewArray(context);
  } else if (row->shape == TYKB_MAP) {
    made = JS_NewObject(context);
  } else if (row->kind != TYKB_KIND_MESSAGE) {
    return scalar_to_js(js, row, (union tykb_value){.number = 0});
  } else {
    made = JS_NewObject(context);
    for (uint32_t i = 0; i < row->child->count; i++) {
      const struct tykb_field *inner = &row->child->fields[i];
      if (JS_IsException(made)) break;
      JS_DefinePropertyValueStr(context, made, tykb_js_json_name(inner->name), blank_to_js(js, inner), PLAIN);
    }
  }
  if (JS_IsObject(made)) JS_FreezeObject(context, made);
  return made;
}

/* ---- What is fetched when it is read ---- */

static JSValue body_to_js(struct tykb_js *js, struct tykb_node *node, const struct tykb_field *raw,
                          const struct tykb_field *text) {
  union tykb_value value;
  int status = tykb_node_get(node, raw, &value);
  if (status == 0 && value.text.size == 0) status = tykb_node_get(node, text, &value);
  return status == 0 ? text_to_js(js, value.text) : no_memory(js, status);
}

static JSValue response_headers_to_js(struct tykb_js *js, struct tykb_node *node) {
  JSContext *context = js->context;
  struct tykb_list *list;
  struct tykb_element *elements;
  size_t count = 0;
  int status = tykb_node_has(node, tykb_js_rows.response.multivalue_headers);
  if (status == 0) return map_to_js(js, node, tykb_js_rows.response.headers, true);
  if (status > 0) status = tykb_node_list(node, tykb_js_rows.response.multivalue_headers, &list);
  if (status == 0) status = tykb_list_elements(list, &elements, &count);
  JSValue made = JS_NewObject(context);
  for (size_t i = 0; status == 0 && !JS_IsException(made) && i < count; i++) {
    struct tykb_node *child;
    union tykb_value key;
    status = tykb_list_node(list, i, &child);
    if (status == 0) status = tykb_node_get(child, tykb_js_rows.header.key, &key);
    if (status != 0) break;
    JSValue values = list_to_js(js, child, tykb_js_rows.header.values);
    JSAtom name = JS_NewAtomLen(context, (const char *)key.text.data, key.text.size);
    JSPropertyDescriptor before;
    int found = name && !JS_IsException(values) ? JS_GetOwnProperty(context, &before, made, name) : -1;
    if (found > 0) { /* several entries of one name add up */
      int64_t at = 0, more = 0;
      JS_GetLength(context, before.value, &at);
      JS_GetLength(context, values, &more);
      for (int64_t j = 0; found > 0 && j < more; j++) {
        JSValue item = JS_GetPropertyInt64(context, values, j);
        if (JS_DefinePropertyValueUint32(context, before.value, (uint32_t)(at + j), item, PLAIN) < 0) found = -1;
      }
      JS_FreeValue(context, before.value);
      JS_FreeValue(context, before.getter);
      JS_FreeValue(context, before.setter);
      JS_FreeValue(context, values);
    } else if (found == 0 && define(js, made, name, values) < 0) {
      found = -1;
    } else if (found < 0) {
      JS_FreeValue(context, values);
    }
    JS_FreeAtom(context, name);
    if (found < 0) {
      JS_FreeValue(context, made);
      made = JS_EXCEPTION;
    }
  }
  if (status == 0) return made;
  JS_FreeValue(context, made);
  return no_memory(js, status);
}

static struct tykb_span spec_text(struct tykb_js_run *run, const char *name) {
  struct tykb_span key = {(const uint8_t *)name, strlen(name)}, value = {NULL, 0};
  if (tykb_node_find(run->root, tykb_js_rows.object.spec, key, &value) != 0) value.size = 0;
  return value;
}

static JSValue config_data_to_js(struct tykb_js *js, struct tykb_js_run *run) {
  struct tykb_span text = spec_text(run, "config_data");
  if (text.size == 0) return JS_NewObject(js->context);
  char *copy = js_malloc(js->context, text.size + 1); /* it must end with a NUL */
  if (!copy) return JS_EXCEPTION;
  memcpy(copy, text.data, text.size);
  copy[text.size] = 0;
  JSValue made = JS_ParseJSON(js->context, copy, text.size, "config_data");
  js_free(js->context, copy);
  return made;
}

static JSValue fetch(struct tykb_js *js, struct tykb_js_run *run, JSValueConst this, int name) {
  if (tykb_js_is_same(this, run->config_object)) return config_data_to_js(js, run);
  if (tykb_js_is_same(this, run->response_object)) {
    if (name == NAME_Body)
      return body_to_js(js, run->response, tykb_js_rows.response.raw_body, tykb_js_rows.response.body);
    return response_headers_to_js(js, run->response);
  }
  if (name == NAME_Body) return body_to_js(js, run->request, tykb_js_rows.request.raw_body, tykb_js_rows.request.body);
  return map_to_js(js, run->request, name == NAME_Headers ? tykb_js_rows.request.headers : tykb_js_rows.request.params,
                   true);
}

static JSValue on_fetch(JSContext *context, JSValueConst this, int name) {
  struct tykb_js *js = JS_GetContextOpaque(context);
  struct tykb_js_run *run = js->run;
  if (!run || !(tykb_js_is_same(this, run->request_object) || tykb_js_is_same(this, run->response_object) ||
                tykb_js_is_same(this, run->config_object))) {
    return JS_ThrowTypeError(context, "this is part of a message whose hook is over: take what you need out of it");
  }
  bool was_free = tykb_js_lock(js);
  JSValue value = fetch(js, run, this, name);
  tykb_js_unlock(js, was_free);
  if (JS_IsException(value) || define(js, this, js->names[name], JS_DupValue(context, value)) < 0) {
    JS_FreeValue(context, value);
    return JS_EXCEPTION;
  }
  if (tykb_js_is_same(this, run->is_response ? run->response_object : run->request_object)) {
    JS_FreeValue(context, run->fields[name]);
    run->fields[name] = JS_DupValue(context, value);
  }
  return value;
}

static JSValue on_store(JSContext *context, JSValueConst this, JSValueConst value, int name) {
  struct tykb_js *js = JS_GetContextOpaque(context);
  return define(js, this, js->names[name], JS_DupValue(context, value)) < 0 ? JS_EXCEPTION : JS_UNDEFINED;
}

static const int LAZY[] = {NAME_Headers, NAME_Body, NAME_Params, NAME_config_data};

static int define_lazy(struct tykb_js *js, JSValueConst place, int name) {
  return JS_DefinePropertyGetSet(js->context, place, js->names[name], JS_DupValue(js->context, js->getters[name]),
                                 JS_DupValue(js->context, js->setters[name]),
                                 JS_PROP_CONFIGURABLE | JS_PROP_ENUMERABLE) < 0
             ? -1
             : 0;
}

/* ---- The objects of a call ---- */

/* Keeps what a field is, to be compared with what it will be. */
static int show(struct tykb_js *js, struct tykb_js_run *run, JSValueConst place, int name, JSValue value) {
  if (!JS_IsException(value)) run->fields[name] = JS_DupValue(js->context, value);
  return define(js, place, js->names[name], value);
}

static JSValue request_to_js(struct tykb_js *js, struct tykb_js_run *run) {
  JSContext *context = js->context;
  struct tykb_node *node = run->request, *inner;
  JSValue made = JS_NewObject(context), answer;
  if (JS_IsException(made)) return made;
  if (define_lazy(js, made, NAME_Headers) < 0 ||
      show(js, run, made, NAME_SetHeaders, map_to_js(js, node, tykb_js_rows.request.set_headers, false)) < 0 ||
      show(js, run, made, NAME_DeleteHeaders, list_to_js(js, node, tykb_js_rows.request.delete_headers)) < 0 ||
      define_lazy(js, made, NAME_Body) < 0 ||
      show(js, run, made, NAME_URL, field_to_js(js, node, tykb_js_rows.request.url)) < 0 ||
      define_lazy(js, made, NAME_Params) < 0 ||
      show(js, run, made, NAME_AddParams, map_to_js(js, node, tykb_js_rows.request.add_params, false)) < 0 ||
      show(js, run, made, NAME_ExtendedParams, map_to_js(js, node, tykb_js_rows.request.extended_params, true)) < 0 ||
      show(js, run, made, NAME_DeleteParams, list_to_js(js, node, tykb_js_rows.request.delete_params)) < 0) {
    goto failed;
  }
  int status = tykb_node_child(node, tykb_js_rows.request.return_overrides, &inner);
  answer = status == 0 ? JS_NewObject(context) : no_memory(js, status);
  if (show(js, run, made, NAME_ReturnOverrides, answer) < 0 ||
      show(js, run, answer, NAME_ResponseCode, field_to_js(js, inner, tykb_js_rows.overrides.response_code)) < 0 ||
      show(js, run, answer, NAME_ResponseError, field_to_js(js, inner, tykb_js_rows.overrides.response_error)) < 0 ||
      show(js, run, answer, NAME_ResponseBody, field_to_js(js, inner, tykb_js_rows.overrides.response_body)) < 0 ||
      show(js, run, answer, NAME_ResponseHeaders, map_to_js(js, inner, tykb_js_rows.overrides.headers, false)) < 0 ||
      show(js, run, answer, NAME_OverrideError, field_to_js(js, inner, tykb_js_rows.overrides.override_error)) < 0 ||
      define(js, made, js->names[NAME_IgnoreBody], JS_FALSE) < 0 ||
      show(js, run, made, NAME_Method, field_to_js(js, node, tykb_js_rows.request.method)) < 0 ||
      show(js, run, made, NAME_RequestURI, field_to_js(js, node, tykb_js_rows.request.request_uri)) < 0 ||
      show(js, run, made, NAME_Scheme, field_to_js(js, node, tykb_js_rows.request.scheme)) < 0) {
    goto failed;
  }
  return made;
failed:
  JS_FreeValue(context, made);
  return JS_EXCEPTION;
}

static JSValue response_to_js(struct tykb_js *js, struct tykb_js_run *run) {
  JSContext *context = js->context;
  JSValue made = JS_NewObject(context);
  /* The request's are not collected. */
  JS_FreeValue(context, run->fields[NAME_SetHeaders]);
  JS_FreeValue(context, run->fields[NAME_DeleteHeaders]);
  run->fields[NAME_SetHeaders] = run->fields[NAME_DeleteHeaders] = JS_UNINITIALIZED;
  if (JS_IsException(made)) return made;
  if (show(js, run, made, NAME_StatusCode, field_to_js(js, run->response, tykb_js_rows.response.status_code)) < 0 ||
      define_lazy(js, made, NAME_Body) < 0 || define_lazy(js, made, NAME_Headers) < 0 ||
      show(js, run, made, NAME_SetHeaders, JS_NewObject(context)) < 0 ||
      show(js, run, made, NAME_DeleteHeaders, JS_NewArray(context)) < 0) {
    JS_FreeValue(context, made);
    return JS_EXCEPTION;
  }
  return made;
}

static JSValue session_to_js(struct tykb_js *js, struct tykb_js_run *run) {
  JSContext *context = js->context;
  const struct tykb_type *type = tykb_node_type(run->session);
  if (!run->is_whole_session) {
    JSValue made = JS_NewObjectProto(context, js->blank_session);
    if (JS_IsException(made)) return made;
    if (define(js, made, js->session_names[tykb_js_rows.session_metadata->index], JS_NewObject(context)) == 0)
      return made;
    JS_FreeValue(context, made);
    return JS_EXCEPTION;
  }
  JSValue made = JS_NewObject(context);
  for (uint32_t i = 0; i < type->count; i++) run->before[i] = JS_UNINITIALIZED;
  for (uint32_t i = 0; !JS_IsException(made) && i < type->count; i++) {
    const struct tykb_field *row = &type->fields[i];
    JSValue value = field_to_js(js, run->session, row);
    if (!JS_IsException(value) && !JS_IsObject(value)) run->before[i] = JS_DupValue(context, value);
    if (define(js, made, js->session_names[i], value) < 0) {
      JS_FreeValue(context, made);
      made = JS_EXCEPTION;
    }
  }
  return made;
}

static JSValue config_to_js(struct tykb_js *js, struct tykb_js_run *run) {
  JSValue made = JS_NewObject(js->context);
  if (JS_IsException(made)) return made;
  if (define(js, made, js->names[NAME_OrgID], text_to_js(js, spec_text(run, "OrgID"))) < 0 ||
      define(js, made, js->names[NAME_APIID], text_to_js(js, spec_text(run, "APIID"))) < 0 ||
      define_lazy(js, made, NAME_config_data) < 0) {
    JS_FreeValue(js->context, made);
    return JS_EXCEPTION;
  }
  return made;
}

int tykb_js_run_open(struct tykb_js *js, struct tykb_js_run *run, struct tykb_node *root, bool can_request,
                     bool can_response) {
  run->root = root;
  run->request_object = run->response_object = run->session_object = run->config_object = JS_UNDEFINED;
  for (int i = 0; i < NAMES; i++) run->fields[i] = JS_UNINITIALIZED;
  run->is_whole_session = run->is_response = false;
  if (!tykb_js_rows.object.request) find_rows(tykb_node_type(root));
  if (tykb_node_child(root, tykb_js_rows.object.request, &run->request) != 0 ||
      tykb_node_child(root, tykb_js_rows.object.response, &run->response) != 0 ||
      tykb_node_child(root, tykb_js_rows.object.session, &run->session) != 0) {
    return tykb_js_fail(js, "the message cannot be read: its bytes are damaged, or there is no memory");
  }
  /* Not by its hook_type, which a chain's message need not have. */
  run->is_response = can_response && (!can_request || tykb_node_has(root, tykb_js_rows.object.response) > 0);
  if (!run->is_response && !can_request) return tykb_js_fail(js, "it has no function any more");
  run->is_whole_session = tykb_node_has(root, tykb_js_rows.object.session) > 0;
  run->request_object = request_to_js(js, run);
  if (!JS_IsException(run->request_object) && run->is_response) run->response_object = response_to_js(js, run);
  if (!JS_IsException(run->request_object) && !JS_IsException(run->response_object)) {
    run->session_object = session_to_js(js, run);
    if (!JS_IsException(run->session_object)) run->config_object = config_to_js(js, run);
  }
  if (JS_HasException(js->context)) return tykb_js_take_error(js);
  return 0;
}

void tykb_js_run_close(struct tykb_js *js, struct tykb_js_run *run) {
  JSContext *context = js->context;
  for (int i = 0; i < NAMES; i++) JS_FreeValue(context, run->fields[i]);
  if (run->is_whole_session && JS_IsObject(run->session_object)) {
    for (uint32_t i = 0; i < tykb_type_SessionState.count; i++) JS_FreeValue(context, run->before[i]);
  }
  JS_FreeValue(context, run->request_object);
  JS_FreeValue(context, run->response_object);
  JS_FreeValue(context, run->session_object);
  JS_FreeValue(context, run->config_object);
}

/* ---- Life ---- */

int tykb_js_message_prepare(struct tykb_js *js) {
  static const char *const names[] = {
#define TEXT(name) #name,
      TYKB_JS_NAMES(TEXT)
#undef TEXT
  };
  JSContext *context = js->context;
  const struct tykb_type *type = &tykb_type_SessionState;
  for (int i = 0; i < NAMES; i++) {
    js->getters[i] = js->setters[i] = JS_UNDEFINED;
    js->names[i] = JS_NewAtom(context, names[i]);
  }
  for (uint32_t i = 0; i < type->count; i++)
    js->session_names[i] = JS_NewAtom(context, tykb_js_json_name(type->fields[i].name));
  for (size_t i = 0; i < COUNT(LAZY); i++) {
    JSCFunctionType get = {.getter_magic = on_fetch}, set = {.setter_magic = on_store};
    int name = LAZY[i];
    js->getters[name] = JS_NewCFunction2(context, get.generic, names[name], 0, JS_CFUNC_getter_magic, name);
    js->setters[name] = JS_NewCFunction2(context, set.generic, names[name], 1, JS_CFUNC_setter_magic, name);
  }
  js->blank_session = JS_NewObject(context);
  for (uint32_t i = 0; i < type->count; i++) {
    if (strcmp(type->fields[i].name, "metadata") == 0) continue;
    if (define(js, js->blank_session, js->session_names[i], blank_to_js(js, &type->fields[i])) < 0) break;
  }
  return JS_HasException(context) ? -1 : 0;
}

void tykb_js_message_free(struct tykb_js *js) {
  JSContext *context = js->context;
  for (int i = 0; i < NAMES; i++) {
    JS_FreeAtom(context, js->names[i]);
    JS_FreeValue(context, js->getters[i]);
    JS_FreeValue(context, js->setters[i]);
  }
  for (uint32_t i = 0; i < tykb_type_SessionState.count; i++) JS_FreeAtom(context, js->session_names[i]);
  JS_FreeValue(context, js->blank_session);
}
