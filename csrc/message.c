/* The builder and the reader of api.h: messages for hosts that have no protobuf library. */
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "api.h"
#include "mem.h"
#include "object.h"
#include "status.h"

#define LEVELS 3            /* numbers in a path */
#define NUMBER_CLEARED 1000 /* proto/tykbridge_delta.proto */
#define WORDS_SIZE 256
#define NAME_SIZE 96

/* ---- Paths ---- */

static const struct tykb_field *field_by_number(const struct tykb_type *type, uint32_t number) {
  int8_t row = number <= type->max_number ? type->by_number[number] : -1;

  return row < 0 ? NULL : &type->fields[row];
}

static const struct tykb_field *field_by_name(const struct tykb_type *type, const char *name, size_t size) {
  for (uint32_t i = 0; i < type->count; i++)
    if (strlen(type->fields[i].name) == size && !memcmp(type->fields[i].name, name, size)) return &type->fields[i];
  return NULL;
}

/* The type in which the next number of a path is looked up, NULL where a path cannot go on. */
static const struct tykb_type *type_below(const struct tykb_field *field) {
  return field->kind == TYKB_KIND_MESSAGE && field->shape == TYKB_SINGULAR ? field->child : NULL;
}

/* The fields along a path; returns how many, 0 where it leads nowhere. */
static size_t path_fields(uint32_t path, const struct tykb_field *fields[LEVELS]) {
  const struct tykb_type *type = &tykb_type_Object;
  size_t count = 0;

  for (; path; path >>= 8) {
    if (count == LEVELS || !type) return 0;
    fields[count] = field_by_number(type, path & 0xff);
    if (!fields[count]) return 0;
    type = type_below(fields[count++]);
  }
  return count;
}

/* The path of a name such as "session.metadata", 0 where there is none. */
static uint32_t path_of_name(struct tykb_span name) {
  const struct tykb_type *type = &tykb_type_Object;
  const char *p = (const char *)name.data;
  const char *end = p + name.size;
  uint32_t path = 0;

  for (unsigned shift = 0;; shift += 8) {
    const struct tykb_field *field;
    const char *dot = p;

    while (dot < end && *dot != '.') dot++;
    if (shift == 8 * LEVELS || !type) return 0;
    field = field_by_name(type, p, (size_t)(dot - p));
    if (!field || field->number > 0xff) return 0;
    path |= field->number << shift;
    if (dot == end) return path;
    type = type_below(field);
    p = dot + 1;
  }
}

/* ---- Builder ---- */

struct tykb_builder {
  struct tykb_context *context;
  struct tykb_node *root; /* NULL: nothing was added yet */
  struct tykb_map *keys;  /* multivalue headers by key: the value is the bytes of a node's address; never written out */
  int status;             /* of the first fault, TYKB_OK: none */
  char words[WORDS_SIZE]; /* of the first fault: no allocation could fail to report one */
};

/* Keeps the fault, the first: builder_find lets nothing happen after one. "request.method: the text is not UTF-8". */
static void builder_fault(struct tykb_builder *builder, int status, uint32_t path, const char *format, ...) {
  const struct tykb_field *fields[LEVELS];
  size_t count = path_fields(path, fields);
  char name[NAME_SIZE];
  int length = 0;
  va_list arguments;

  builder->status = status;
  if (status == TYKB_E_NO_MEMORY) format = "no memory";
  for (size_t i = 0; i < count && length >= 0 && length < NAME_SIZE; i++)
    length += snprintf(name + length, (size_t)(NAME_SIZE - length), "%s%s", i ? "." : "", fields[i]->name);
  if (!count)
    snprintf(name, sizeof name, "path %u.%u.%u", (unsigned)(path & 0xff), (unsigned)(path >> 8 & 0xff),
             (unsigned)(path >> 16));
  length = snprintf(builder->words, sizeof builder->words, "%s: ", name);
  va_start(arguments, format);
  vsnprintf(builder->words + length, sizeof builder->words - (size_t)length, format, arguments);
  va_end(arguments);
}

/* The message, begun when something is added first. NULL: no memory. */
static struct tykb_node *builder_root(struct tykb_builder *builder) {
  if (!builder->root)
    builder->root = tykb_context_root(builder->context, &tykb_type_Object, (struct tykb_span){NULL, 0});
  return builder->root;
}

/* The field that `path` names, and in *node the message that holds it. NULL: a fault, now or before. */
static const struct tykb_field *builder_find(struct tykb_builder *builder, uint32_t path, struct tykb_node **node) {
  const struct tykb_field *fields[LEVELS];
  size_t count;
  int status;

  if (!builder || builder->status != TYKB_OK) return NULL;
  count = path_fields(path, fields);
  if (!count) {
    builder_fault(builder, TYKB_E_ARGUMENT, path,
                  "no such field; take a name of enum tykb_path, or TYKB_PATH(4, number, 0) for the session's");
    return NULL;
  }
  *node = builder_root(builder);
  status = *node ? TYKB_OK : TYKB_E_NO_MEMORY;
  for (size_t i = 0; i + 1 < count && status == TYKB_OK; i++) status = tykb_node_child(*node, fields[i], node);
  if (status == TYKB_OK) return fields[count - 1];
  builder_fault(builder, status, path, "cannot be reached");
  return NULL;
}

static struct tykb_span span_of(const char *data, size_t size) {
  return (struct tykb_span){(const uint8_t *)data, size};
}

static bool builder_accepts(struct tykb_builder *builder, uint32_t path, const char *what, const char *data,
                            size_t size, bool must_be_utf8) {
  if (!data && size)
    builder_fault(builder, TYKB_E_ARGUMENT, path, "the %s is NULL, its size %zu", what, size);
  else if (must_be_utf8 && !tykb_wire_is_utf8((const uint8_t *)data, size))
    builder_fault(builder, TYKB_E_ARGUMENT, path, "the %s is not UTF-8; only raw_body fields take any bytes", what);
  return builder->status == TYKB_OK;
}

/* What a field takes, for the words of a call that does not fit. */
static const char *call_for(const struct tykb_field *field) {
  if (field->shape == TYKB_MAP) return "a map, which takes tykb_builder_pair";
  switch (field->kind) {
    case TYKB_KIND_STRING:
    case TYKB_KIND_BYTES:
      return "text, which takes tykb_builder_text";
    case TYKB_KIND_MESSAGE:
      return "a message, which takes serialised bytes through tykb_builder_text";
    case TYKB_KIND_DOUBLE:
      return "a double, which takes tykb_builder_real";
    default:
      return "a number, which takes tykb_builder_number";
  }
}

static void builder_misfit(struct tykb_builder *builder, uint32_t path, const struct tykb_field *field) {
  builder_fault(builder, TYKB_E_ARGUMENT, path, "%s", call_for(field));
}

/* Sets a singular scalar, adds to a repeated one. */
static void builder_put(struct tykb_builder *builder, uint32_t path, struct tykb_node *node,
                        const struct tykb_field *field, union tykb_value value) {
  struct tykb_list *list;
  int status;

  if (field->shape == TYKB_REPEATED) {
    status = tykb_node_list(node, field, &list);
    if (status == TYKB_OK) status = tykb_list_append(list, value);
  } else {
    status = tykb_node_set(node, field, value);
  }
  if (status != TYKB_OK) builder_fault(builder, status, path, "cannot be set");
}

/* Merges bytes in; also without any, the message is there afterwards. */
static void builder_merge(struct tykb_builder *builder, uint32_t path, const struct tykb_field *field,
                          struct tykb_node *node, struct tykb_span bytes) {
  int status = tykb_node_merge(node, bytes);

  if (status != TYKB_OK) builder_fault(builder, status, path, "the bytes are no serialised %s", field->child->name);
}

tykb_builder *tykb_builder_new(void) {
  struct tykb_builder *builder = tykb_mem_alloc(sizeof *builder);

  if (!builder) return NULL;
  *builder = (struct tykb_builder){.context = tykb_context_new()};
  if (builder->context) return builder;
  tykb_mem_free(builder);
  return NULL;
}

void tykb_builder_free(tykb_builder *builder) {
  if (!builder) return;
  tykb_context_free(builder->context);
  tykb_mem_free(builder);
}

void tykb_builder_text(tykb_builder *builder, uint32_t path, const char *data, size_t size) {
  struct tykb_node *node;
  const struct tykb_field *field = builder_find(builder, path, &node);
  struct tykb_list *list;
  int status;

  if (!field) return;
  if (field->shape == TYKB_MAP ||
      (field->kind != TYKB_KIND_STRING && field->kind != TYKB_KIND_BYTES && field->kind != TYKB_KIND_MESSAGE)) {
    builder_misfit(builder, path, field);
    return;
  }
  if (!builder_accepts(builder, path, "text", data, size, field->kind == TYKB_KIND_STRING)) return;
  if (field->kind != TYKB_KIND_MESSAGE) {
    builder_put(builder, path, node, field, (union tykb_value){.text = span_of(data, size)});
    return;
  }
  if (field->shape == TYKB_REPEATED) {
    status = tykb_node_list(node, field, &list);
    if (status == TYKB_OK) status = tykb_list_add(list, &node);
  } else {
    status = tykb_node_child(node, field, &node);
  }
  if (status == TYKB_OK)
    builder_merge(builder, path, field, node, span_of(data, size));
  else
    builder_fault(builder, status, path, "cannot be set");
}

/* Each piece is merged in with its tag, as a field of the object: so it is right for messages, maps and lists alike. */
void tykb_builder_copy(tykb_builder *builder, uint32_t path, const struct CoProcessMessage *message) {
  struct tykb_node *root;
  const struct tykb_field *field = builder_find(builder, path, &root);
  struct tykb_wire_field wire;

  if (!field) return;
  if (path > 0xff) {
    builder_fault(builder, TYKB_E_ARGUMENT, path, "only a field of the object itself can be copied");
    return;
  }
  if (!message || message->length < 0 || (message->length && !message->p_data)) {
    builder_fault(builder, TYKB_E_ARGUMENT, path, "there is no message to copy it from");
    return;
  }
  const uint8_t *p = message->p_data, *end = message->length ? p + message->length : p;
  while (p < end) {
    const uint8_t *start = p;
    p = tykb_wire_next(p, end, &wire);
    int status = !p                             ? TYKB_E_MALFORMED
                 : wire.number != field->number ? TYKB_OK
                                                : tykb_node_merge(root, (struct tykb_span){start, (size_t)(p - start)});
    if (status == TYKB_OK) continue;
    builder_fault(builder, status, path, "the message to copy it from is no serialised coprocess.Object");
    return;
  }
}

void tykb_builder_number(tykb_builder *builder, uint32_t path, int64_t value) {
  struct tykb_node *node;
  const struct tykb_field *field = builder_find(builder, path, &node);
  int64_t low = INT32_MIN, high = INT32_MAX;

  if (!field) return;
  if (field->shape == TYKB_MAP || field->kind >= TYKB_KIND_DOUBLE) {
    builder_misfit(builder, path, field);
    return;
  }
  if (field->kind == TYKB_KIND_BOOL) low = 0, high = 1;
  if (field->kind == TYKB_KIND_INT64) low = INT64_MIN, high = INT64_MAX;
  if (value < low || value > high)
    builder_fault(builder, TYKB_E_ARGUMENT, path, "%" PRId64 " is not from %" PRId64 " to %" PRId64, value, low, high);
  else
    builder_put(builder, path, node, field, (union tykb_value){.number = value});
}

void tykb_builder_real(tykb_builder *builder, uint32_t path, double value) {
  struct tykb_node *node;
  const struct tykb_field *field = builder_find(builder, path, &node);

  if (!field) return;
  if (field->shape == TYKB_MAP || field->kind != TYKB_KIND_DOUBLE)
    builder_misfit(builder, path, field);
  else
    builder_put(builder, path, node, field, (union tykb_value){.real = value});
}

/* The header of that key, a new one where there is none yet. Found through a map, not by walking the list: a host may
 * forward as many headers as an upstream likes to send. */
static int builder_header(struct tykb_builder *builder, struct tykb_node *response, const struct tykb_field *field,
                          struct tykb_span key, struct tykb_node **header) {
  const struct tykb_field *metadata = field_by_number(&tykb_type_Object, TYKB_METADATA);
  struct tykb_entry *entry;
  struct tykb_node *index;
  struct tykb_list *list;
  int status = TYKB_OK;

  if (!builder->keys) {
    index = tykb_context_root(builder->context, &tykb_type_Object, (struct tykb_span){NULL, 0});
    status = index ? tykb_node_map(index, metadata, &builder->keys) : TYKB_E_NO_MEMORY;
    if (status != TYKB_OK) goto done;
  }
  status = tykb_map_find(builder->keys, key, &entry);
  if (status != TYKB_OK) goto done;
  if (entry) {
    memcpy(header, entry->value.data, sizeof *header);
    goto done;
  }
  status = tykb_node_list(response, field, &list);
  if (status == TYKB_OK) status = tykb_list_add(list, header);
  if (status == TYKB_OK)
    status = tykb_node_set(*header, field_by_number(field->child, 1), (union tykb_value){.text = key});
  if (status == TYKB_OK)
    status = tykb_map_put(builder->keys, key, (struct tykb_span){(const uint8_t *)header, sizeof *header});
done:
  return status;
}

void tykb_builder_pair(tykb_builder *builder, uint32_t path, const char *key, size_t key_size, const char *value,
                       size_t value_size) {
  struct tykb_node *node;
  const struct tykb_field *field = builder_find(builder, path, &node);
  struct tykb_list *list;
  struct tykb_map *map;
  bool header = path == TYKB_RESPONSE_MULTIVALUE_HEADERS;
  int status;

  if (!field) return;
  if (field->shape != TYKB_MAP && !header) {
    builder_misfit(builder, path, field);
    return;
  }
  if (!builder_accepts(builder, path, "key", key, key_size, true) ||
      !builder_accepts(builder, path, "value", value, value_size, header || field->kind == TYKB_KIND_STRING))
    return;
  if (header) {
    status = builder_header(builder, node, field, span_of(key, key_size), &node);
    if (status == TYKB_OK) status = tykb_node_list(node, field_by_number(field->child, 2), &list);
    if (status == TYKB_OK) status = tykb_list_append(list, (union tykb_value){.text = span_of(value, value_size)});
  } else {
    status = tykb_node_map(node, field, &map);
    if (status == TYKB_OK && field->kind != TYKB_KIND_MESSAGE) {
      status = tykb_map_put(map, span_of(key, key_size), span_of(value, value_size));
    } else if (status == TYKB_OK) {
      status = tykb_map_node(map, span_of(key, key_size), &node);
      if (status == TYKB_OK) status = tykb_node_clear(node);
      if (status == TYKB_OK) builder_merge(builder, path, field, node, span_of(value, value_size));
    }
  }
  if (status != TYKB_OK) builder_fault(builder, status, path, "cannot be set");
}

int tykb_builder_finish(tykb_builder *builder, struct CoProcessMessage *out) {
  struct tykb_node *root;
  void *data = NULL;
  size_t size = 0;
  int status;

  if (!out) return TYKB_E_ARGUMENT;
  *out = (struct CoProcessMessage){NULL, 0};
  if (!builder) return TYKB_E_NO_MEMORY;
  status = builder->status;
  if (status == TYKB_OK) {
    root = builder_root(builder);
    status = root ? tykb_node_write(root, TYKB_REPLY_FULL, tykb_reply_alloc, &data, &size) : TYKB_E_NO_MEMORY;
    if (status == TYKB_E_TOO_LARGE)
      snprintf(builder->words, sizeof builder->words, "the message has more than %d bytes", INT_MAX);
    else
      snprintf(builder->words, sizeof builder->words, "no memory");
  }
  if (status == TYKB_OK)
    *out = (struct CoProcessMessage){data, (int)size};
  else
    tykb_fail(out, status, "%s", builder->words);
  tykb_context_reset(builder->context);
  *builder = (struct tykb_builder){.context = builder->context};
  return status;
}

/* ---- Reader ---- */

/* A message that the walk is inside of. */
struct frame {
  const uint8_t *p, *end;
  const struct tykb_type *type;
  uint32_t path;
  uint32_t shift; /* where in a path the numbers of its fields go */
};

enum phase { PHASE_END, PHASE_CLEARED, PHASE_ITEMS }; /* 0, so that a zeroed reader is at its end */

/* What tykb_reader.private_ holds. Copied in and out: bytes of one type may not be read as another. */
struct state {
  struct frame frames[LEVELS];
  /* A field of several items, and what is left of it: packed numbers, or a header, whose key goes with each value. */
  const struct tykb_field *several;
  const uint8_t *p, *end;
  struct tykb_slice key;
  uint32_t several_path;
  uint32_t depth; /* frames in use */
  int32_t phase;
  int32_t status; /* in PHASE_END: what to answer from now on */
};

_Static_assert(sizeof(struct state) <= sizeof(((tykb_reader *)0)->private_), "make tykb_reader longer");

static struct tykb_slice slice_of(struct tykb_span span) {
  return (struct tykb_slice){(const char *)span.data, span.size};
}

void tykb_reader_init(tykb_reader *reader, const struct CoProcessMessage *message) {
  struct state state = {.phase = PHASE_END};

  if (!reader) return;
  if (message && message->p_data && message->length > 0) {
    state.phase = PHASE_CLEARED;
    state.depth = 1;
    state.frames[0] =
        (struct frame){message->p_data, (const uint8_t *)message->p_data + message->length, &tykb_type_Object, 0, 0};
    state.p = state.frames[0].p;
    state.end = state.frames[0].end;
  } else if (!message || message->length) {
    state.status = TYKB_E_ARGUMENT;
  }
  memcpy(reader->private_, &state, sizeof state);
}

/* The first of the two walks: the paths to empty. Bytes that are no message end it without a word: the second says so
 * where it gets there. */
static int next_cleared(struct state *state, struct tykb_item *item) {
  struct tykb_wire_field wire;

  while (state->p && state->p < state->end) {
    state->p = tykb_wire_next(state->p, state->end, &wire);
    if (!state->p || wire.number != NUMBER_CLEARED || wire.type != TYKB_WIRE_LEN) continue;
    item->path = TYKB_CLEARED;
    item->number = path_of_name(wire.len);
    return item->number ? 1 : TYKB_E_MALFORMED; /* a removal that is not understood must not get lost */
  }
  return 0;
}

static void take_number(struct tykb_item *item, uint8_t kind, uint64_t bits) {
  if (kind == TYKB_KIND_DOUBLE)
    memcpy(&item->real, &bits, sizeof item->real);
  else if (kind == TYKB_KIND_BOOL)
    item->number = bits != 0;
  else
    item->number = kind == TYKB_KIND_INT64 ? (int64_t)bits : (int32_t)(uint32_t)bits;
}

/* The next item of state->several. */
static int next_of_several(struct state *state, struct tykb_item *item) {
  const struct tykb_field *field = state->several;
  struct tykb_wire_field wire;
  uint64_t bits = 0;

  item->path = state->several_path;
  if (field->kind == TYKB_KIND_MESSAGE) { /* a header, walked before: it is whole */
    while (state->p && state->p < state->end) {
      state->p = tykb_wire_next(state->p, state->end, &wire);
      if (!state->p || wire.number != 2 || wire.type != TYKB_WIRE_LEN) continue;
      item->key = state->key;
      item->value = slice_of(wire.len);
      return 1;
    }
    return 0;
  }
  if (state->p == state->end) return 0;
  if (field->kind == TYKB_KIND_DOUBLE) {
    if (state->end - state->p < 8) return TYKB_E_MALFORMED;
    for (unsigned i = 0; i < 8; i++) bits |= (uint64_t)*state->p++ << (8 * i);
  } else {
    state->p = tykb_wire_varint(state->p, state->end, &bits);
    if (!state->p) return TYKB_E_MALFORMED;
  }
  take_number(item, field->kind, bits);
  return 1;
}

/* Takes key (field 1) and value (field 2) out of a map's entry or a header. The last one of each counts. */
static int take_pair(struct tykb_span bytes, struct tykb_slice *key, struct tykb_slice *value) {
  const uint8_t *p = bytes.data, *end = bytes.data + bytes.size;
  struct tykb_wire_field wire;

  while (p < end) {
    p = tykb_wire_next(p, end, &wire);
    if (!p) return TYKB_E_MALFORMED;
    if (wire.type == TYKB_WIRE_LEN && wire.number == 1) *key = slice_of(wire.len);
    if (wire.type == TYKB_WIRE_LEN && wire.number == 2) *value = slice_of(wire.len);
  }
  return 1;
}

/* Starts on a field of several items. */
static void begin_several(struct state *state, const struct tykb_field *field, uint32_t path, struct tykb_span bytes) {
  state->several = field;
  state->several_path = path;
  state->p = bytes.data;
  state->end = bytes.data + bytes.size;
}

static int take_bytes(struct state *state, const struct tykb_field *field, struct tykb_span bytes,
                      struct tykb_item *item) {
  struct tykb_slice value;
  int status;

  if (field->shape == TYKB_MAP) return take_pair(bytes, &item->key, &item->value);
  if (field->kind < TYKB_KIND_STRING) {
    if (field->shape == TYKB_REPEATED) begin_several(state, field, item->path, bytes);
    return 0;
  }
  if (item->path == TYKB_RESPONSE_MULTIVALUE_HEADERS) {
    state->key = (struct tykb_slice){"", 0};
    status = take_pair(bytes, &state->key, &value);
    if (status < 0) return status;
    begin_several(state, field, item->path, bytes);
    return 0;
  }
  if (type_below(field) && bytes.size && state->depth < LEVELS) {
    state->frames[state->depth] =
        (struct frame){bytes.data, bytes.data + bytes.size, field->child, item->path, 8 * state->depth};
    state->depth++;
    return 0;
  }
  item->value = slice_of(bytes);
  return 1;
}

/* Reads one field of the innermost message: 1 when that is an item, 0 to go on. */
static int next_field(struct state *state, struct frame *frame, struct tykb_item *item) {
  const struct tykb_field *field;
  struct tykb_wire_field wire;

  frame->p = tykb_wire_next(frame->p, frame->end, &wire);
  if (!frame->p) return TYKB_E_MALFORMED;
  field = wire.number <= 0xff ? field_by_number(frame->type, wire.number) : NULL;
  if (!field) return 0;
  item->path = frame->path | wire.number << frame->shift;
  if (wire.type == TYKB_WIRE_LEN) return take_bytes(state, field, wire.len, item);
  if (field->shape == TYKB_MAP || field->kind >= TYKB_KIND_STRING) return 0;
  if (wire.type != (field->kind == TYKB_KIND_DOUBLE ? TYKB_WIRE_I64 : TYKB_WIRE_VARINT)) return 0;
  take_number(item, field->kind, wire.varint);
  return 1;
}

static int next_item(struct state *state, struct tykb_item *item) {
  struct frame *frame;
  int status;

  if (state->phase == PHASE_END) return state->status;
  if (state->phase == PHASE_CLEARED) {
    status = next_cleared(state, item);
    if (status) return status;
    state->phase = PHASE_ITEMS;
  }
  while (state->depth) {
    frame = &state->frames[state->depth - 1];
    status = 0;
    if (state->several) {
      status = next_of_several(state, item);
      if (!status) state->several = NULL;
    } else if (frame->p == frame->end) {
      state->depth--;
    } else {
      status = next_field(state, frame, item);
    }
    if (status) return status;
  }
  return 0;
}

int tykb_reader_next(tykb_reader *reader, struct tykb_item *item) {
  struct state state;
  int status;

  if (!reader || !item) return TYKB_E_ARGUMENT;
  *item = (struct tykb_item){.key = {"", 0}, .value = {"", 0}};
  memcpy(&state, reader->private_, sizeof state);
  status = next_item(&state, item);
  if (status <= 0) {
    state.phase = PHASE_END;
    state.status = status;
  }
  memcpy(reader->private_, &state, sizeof state);
  return status;
}
