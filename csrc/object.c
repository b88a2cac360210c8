/* The tree of messages: reads and writes fields. Memory: context.c; maps and lists: container.c; replies: write.c. */
#include <limits.h>

#include "tree.h"

/* ---- Fields on the wire ---- */

static bool is_text(const struct tykb_field *field) {
  return field->kind == TYKB_KIND_STRING || field->kind == TYKB_KIND_BYTES;
}

static inline bool fits(const struct tykb_field *field, uint32_t wire_type) {
  bool length = field->kind >= TYKB_KIND_STRING; /* the kinds stand in that order; a map has no others */
  if (wire_type == TYKB_WIRE_LEN) return length || field->shape == TYKB_REPEATED;
  if (length) return false;
  return wire_type == (field->kind == TYKB_KIND_DOUBLE ? TYKB_WIRE_I64 : TYKB_WIRE_VARINT);
}

bool tykb_field_fits(const struct tykb_field *field, uint32_t wire_type) { return fits(field, wire_type); }

union tykb_value tykb_field_value(const struct tykb_field *field, const struct tykb_wire_field *wire) {
  union tykb_value value;
  memset(&value, 0, sizeof value);
  switch (field->kind) {
    case TYKB_KIND_BOOL:
      value.number = wire->varint != 0;
      break;
    case TYKB_KIND_INT32:
    case TYKB_KIND_ENUM:
      value.number = (int32_t)(uint32_t)wire->varint;
      break;
    case TYKB_KIND_INT64:
      value.number = (int64_t)wire->varint;
      break;
    case TYKB_KIND_DOUBLE:
      memcpy(&value.real, &wire->varint, sizeof value.real);
      break;
    default:
      value.text = wire->len;
  }
  return value;
}

int tykb_entry_parse(struct tykb_span payload, struct tykb_span *key, struct tykb_span *value) {
  const uint8_t *p = payload.data, *end = p + payload.size;
  struct tykb_wire_field field;
  *key = *value = (struct tykb_span){NULL, 0};
  while (p < end) {
    p = tykb_wire_next(p, end, &field);
    if (!p) return TYKB_E_MALFORMED;
    if (field.type != TYKB_WIRE_LEN) continue;
    if (field.number == 1) *key = field.len;
    if (field.number == 2) *value = field.len;
  }
  return TYKB_OK;
}

int tykb_entry_message(struct tykb_context *context, struct tykb_span payload, struct tykb_span *value) {
  const uint8_t *p = payload.data, *end = tykb_span_end(payload);
  struct tykb_wire_field field;
  struct tykb_span joined = {NULL, 0};
  uint8_t *to = NULL;
  int pieces = 0;
  while (p < end) {
    p = tykb_wire_next(p, end, &field);
    if (!p) return TYKB_E_MALFORMED;
    if (field.type != TYKB_WIRE_LEN || field.number != 2) continue;
    if (++pieces == 1) {
      joined = field.len;
      continue;
    }
    if (pieces == 2) { /* all of them fit into the payload */
      uint8_t *data = to = tykb_context_alloc(context, payload.size);
      if (!data) return TYKB_E_NO_MEMORY;
      to = tykb_wire_put_bytes(to, joined.data, joined.size);
      joined.data = data;
    }
    to = tykb_wire_put_bytes(to, field.len.data, field.len.size);
    joined.size += field.len.size;
  }
  *value = joined;
  return TYKB_OK;
}

/* What follows the entry of a map at `p` < `end`, behind a tag of one byte, if it is plain: as every serialiser writes it, a
 * key of less than 128 bytes, a value and nothing else. NULL if not. Here: the entry, too, has less than 128 bytes. The
 * key's size is p[3] then, the value stands at p + 6 + p[3]. */
static inline const uint8_t *short_entry(const uint8_t *p, const uint8_t *end) {
  size_t left = (size_t)(end - p), size, key_size, rest;
  if (left < 6 || (size = p[1]) >= 0x80 || left - 2 < size || p[2] != 0x0a) return NULL;
  key_size = p[3];
  rest = size - 4 - key_size; /* the value's size, or huge where the key does not fit */
  if (rest >= 0x80 || p[4 + key_size] != 0x12 || p[5 + key_size] != rest) return NULL;
  return p + 2 + size;
}

/* The same where lengths of entry and value take one byte or two. */
static TYKB_ASIDE const uint8_t *plain_entry(const uint8_t *p, const uint8_t *end) {
  struct tykb_span entry, value;
  const uint8_t *next = tykb_wire_short(p, end, &entry);
  if (!next || entry.size < 4 || entry.data[0] != 0x0a) return NULL;
  size_t key_size = entry.data[1];
  if (key_size >= 0x80 || key_size > entry.size - 4) return NULL;
  p = entry.data + 2 + key_size;
  return p[0] == 0x12 && tykb_wire_short(p, next, &value) == next ? next : NULL;
}

/* Looks for a key among plain entries, without a look at what is not the key. The last one counts. */
static int find_plain(const uint8_t *p, const uint8_t *stop, struct tykb_span key, struct tykb_span *value) {
  int found = TYKB_E_NOT_FOUND;
  while (p < stop) {
    size_t size = p[1];
    const uint8_t *entry = p + 2;
    if (size >= 0x80) size = (size & 0x7f) | (size_t)*entry++ << 7;
    p = entry + size;
    if (entry[1] != key.size || !tykb_wire_same(entry + 2, key.data, key.size)) continue;
    value->data = entry + 2 + key.size;
    value->data += value->data[1] < 0x80 ? 2 : 3;
    value->size = (size_t)(p - value->data);
    found = TYKB_OK;
  }
  return found;
}

/* What follows the plain entries of a map that stand behind each other from `p` < `end` on: `p` itself where the first is
 * none. *last: where the last of them starts. */
static inline const uint8_t *skip_entries(const uint8_t *p, const uint8_t *end, const uint8_t **last) {
  uint8_t tag = *p;
  while (p < end && *p == tag) {
    const uint8_t *next = short_entry(p, end);
    if (!next && !(next = plain_entry(p, end))) break;
    *last = p;
    p = next;
  }
  return p;
}

static const struct tykb_field *field_of(const struct tykb_type *type, const struct tykb_wire_field *wire) {
  if (wire->number > type->max_number || type->by_number[wire->number] < 0) return NULL;
  const struct tykb_field *field = &type->fields[type->by_number[wire->number]];
  return fits(field, wire->type) ? field : NULL;
}

/* ---- Nodes ---- */

static inline struct tykb_node *new_node(struct tykb_context *context, const struct tykb_type *type,
                                         struct tykb_span bytes) {
  struct tykb_node *node = tykb_alloc(context, sizeof *node);
  if (!node) return NULL;
  node->context = context;
  node->type = type;
  node->bytes = bytes;
  node->next = context->nodes;
  node->last_slot = &node->slots;
  node->parent = NULL;
  node->field = NULL;
  tykb_zero(&node->map, offsetof(struct tykb_node, size) - offsetof(struct tykb_node, map));
  context->nodes = node;
  return node;
}

struct tykb_node *tykb_node_new(struct tykb_context *context, const struct tykb_type *type, struct tykb_span bytes) {
  return new_node(context, type, bytes);
}

const struct tykb_type *tykb_node_type(const struct tykb_node *node) { return node->type; }

void **tykb_node_view(struct tykb_node *node) { return &node->view; }

bool tykb_node_changed(const struct tykb_node *node) { return node->changed; }

uint32_t tykb_node_writes(const struct tykb_node *node) { return node->context->writes; }

static inline uint64_t bit(uint32_t row) { return UINT64_C(1) << row; }

int tykb_node_scan(struct tykb_node *node) {
  if (node->index) return TYKB_OK;
  if (node->bytes.size > INT_MAX) return TYKB_E_MALFORMED; /* protobuf's limit; offsets are 32 bits wide */
  const struct tykb_type *type = node->type;
  const struct tykb_field *fields = type->fields, *field;
  const int8_t *by_number = type->by_number;
  const uint8_t *start = node->bytes.data, *p = start, *end = tykb_span_end(node->bytes);
  size_t size = (type->count ? type->count : 1) * 2 * sizeof(uint32_t);
  uint32_t *index = tykb_alloc(node->context, size), max_number = type->max_number;
  uint64_t plain = 0, seen = 0;
  if (!index) return TYKB_E_NO_MEMORY;
  memset(index, 0, size);
  while (p < end) {
    const uint8_t *first = p, *last = p, *next = p;
    uint32_t number = *p >> 3;
    /* What is usual: a field that has a length, behind a tag of one byte. */
    if ((*p & 0x87) == TYKB_WIRE_LEN && number <= max_number && by_number[number] >= 0) {
      struct tykb_span payload;
      field = &fields[by_number[number]];
      if (field->shape == TYKB_MAP) {
        next = skip_entries(p, end, &last);
        if (next != p) plain |= bit(field->index);
      } else if (fits(field, TYKB_WIRE_LEN)) {
        next = tykb_wire_short(p, end, &payload);
      }
    }
    if (next && next != p) {
      p = next;
    } else {
      struct tykb_wire_field wire;
      p = tykb_wire_next(p, end, &wire);
      if (!p) return TYKB_E_MALFORMED;
      field = field_of(type, &wire);
      if (!field) continue;
    }
    uint32_t *entry = index + 2 * field->index;
    entry[1] = (uint32_t)(last - start) + 1;
    if (!(seen & bit(field->index)))
      entry[0] = (uint32_t)(first - start) + 1;
    else
      plain &= ~bit(field->index);
    seen |= bit(field->index);
  }
  node->index = index;
  node->plain = plain;
  return TYKB_OK;
}

struct tykb_slot *tykb_node_slot(const struct tykb_node *node, const struct tykb_field *field) {
  struct tykb_slot *slot = node->slots;
  while (slot && slot->field != field) slot = slot->next;
  return slot;
}

static inline struct tykb_slot *add_slot(struct tykb_node *node, const struct tykb_field *field) {
  struct tykb_slot *slot = tykb_alloc(node->context, sizeof *slot);
  if (!slot) return NULL;
  *slot = (struct tykb_slot){.field = field};
  *node->last_slot = slot;
  node->last_slot = &slot->next;
  return slot;
}

void tykb_node_mark(struct tykb_node *node) {
  if (node) node->context->writes++;
  while (node && !(node->changed && node->present)) {
    node->changed = node->present = true;
    if (node->map) {
      node->map->entries[node->element].changed = true;
      node = node->map->owner;
    } else if (node->list) {
      struct tykb_list *list = node->list;
      /* An element that came with the bytes cannot be changed by appending: the whole list is written anew. */
      if (!node->own && list->owner && list->base) {
        list->slot->drop = true;
        tykb_node_mark_splice(list->owner);
      }
      node = list->owner;
    } else {
      node = node->parent;
    }
  }
}

void tykb_node_mark_splice(struct tykb_node *node) {
  tykb_node_mark(node);
  /* Elements of maps and lists are always written whole, so what is above them need not know. */
  for (; node && !node->splice; node = node->parent) node->splice = true;
}

void tykb_node_detach(struct tykb_node *node) {
  node->parent = NULL;
  node->map = NULL;
  node->list = NULL;
}

int tykb_node_get(struct tykb_node *node, const struct tykb_field *field, union tykb_value *value) {
  struct tykb_slot *slot = tykb_node_slot(node, field);
  memset(value, 0, sizeof *value);
  if (slot && slot->set) {
    *value = slot->value;
    return TYKB_OK;
  }
  int status = tykb_node_scan(node);
  if (status) return status;
  uint32_t at = node->index[2 * field->index + 1];
  if (at) {
    struct tykb_wire_field wire;
    /* Scanned before, so it cannot fail here. */
    tykb_wire_next(node->bytes.data + at - 1, node->bytes.data + node->bytes.size, &wire);
    *value = tykb_field_value(field, &wire);
  }
  return TYKB_OK;
}

static int set_owned(struct tykb_node *node, const struct tykb_field *field, union tykb_value value) {
  struct tykb_slot *slot = tykb_node_slot(node, field);
  if (!slot) slot = add_slot(node, field);
  if (!slot) return TYKB_E_NO_MEMORY;
  slot->value = value;
  slot->set = true;
  slot->order = ++node->context->clock;
  tykb_node_mark(node);
  return TYKB_OK;
}

int tykb_node_set(struct tykb_node *node, const struct tykb_field *field, union tykb_value value) {
  int status = TYKB_OK;
  if (is_text(field)) value.text = tykb_context_copy(node->context, value.text, &status);
  return status ? status : set_owned(node, field, value);
}

/* Whether a map or a list is empty, as far as that is seen without decoding it: 1 or 0, or a status. */
static int looks_empty(struct tykb_node *node, const struct tykb_field *field) {
  const struct tykb_slot *slot = tykb_node_slot(node, field);
  if (!(slot && slot->drop)) {
    int status = tykb_node_scan(node);
    if (status) return status;
    if (node->index[2 * field->index]) return 0;
  }
  if (!slot) return 1;
  if (field->shape == TYKB_MAP) return !slot->map || !(slot->map->tail_size || slot->map->count);
  return !slot->list || !slot->list->count;
}

int tykb_node_has(struct tykb_node *node, const struct tykb_field *field) {
  int status;
  if (field->shape != TYKB_SINGULAR && (status = looks_empty(node, field))) return status > 0 ? 0 : status;
  if (field->shape == TYKB_MAP) {
    struct tykb_map *map;
    struct tykb_entry *entries;
    size_t slots, count = 0;
    status = tykb_node_map(node, field, &map);
    if (!status) status = tykb_map_entries(map, &entries, &slots, &count);
    return status ? status : count > 0;
  }
  if (field->shape == TYKB_REPEATED) {
    struct tykb_list *list;
    struct tykb_element *elements;
    size_t count = 0;
    status = tykb_node_list(node, field, &list);
    if (!status) status = tykb_list_elements(list, &elements, &count);
    return status ? status : count > 0;
  }
  if (field->kind == TYKB_KIND_MESSAGE) {
    struct tykb_slot *slot = tykb_node_slot(node, field);
    if (slot) return slot->node && slot->node->present;
    status = tykb_node_scan(node);
    return status ? status : node->index[2 * field->index] != 0;
  }
  union tykb_value value;
  status = tykb_node_get(node, field, &value);
  if (status) return status;
  if (is_text(field)) return value.text.size > 0;
  return value.number != 0; /* a double's bits: -0.0 is not the default, as in protobuf */
}

/* The bytes of a singular message: where the input has several pieces, concatenating them merges them. */
static int gather(struct tykb_node *node, const struct tykb_field *field, struct tykb_span *bytes) {
  uint32_t first = node->index[2 * field->index], last = node->index[2 * field->index + 1];
  const uint8_t *data = node->bytes.data, *end = tykb_span_end(node->bytes);
  struct tykb_wire_field wire;
  *bytes = (struct tykb_span){NULL, 0};
  if (!first) return TYKB_OK;
  tykb_wire_next(data + first - 1, end, &wire);
  *bytes = wire.len;
  if (first == last) return TYKB_OK;
  size_t size = 0;
  for (const uint8_t *p = data + first - 1; p && p <= data + last - 1;) {
    p = tykb_wire_next(p, end, &wire);
    if (field_of(node->type, &wire) == field) size += wire.len.size;
  }
  uint8_t *joined = tykb_alloc(node->context, size), *to = joined;
  if (!joined) return TYKB_E_NO_MEMORY;
  for (const uint8_t *p = data + first - 1; p && p <= data + last - 1;) {
    p = tykb_wire_next(p, end, &wire);
    if (field_of(node->type, &wire) == field) to = tykb_wire_put_bytes(to, wire.len.data, wire.len.size);
  }
  *bytes = (struct tykb_span){joined, size};
  return TYKB_OK;
}

int tykb_node_child(struct tykb_node *node, const struct tykb_field *field, struct tykb_node **child) {
  struct tykb_slot *slot = tykb_node_slot(node, field);
  struct tykb_span bytes = {NULL, 0};
  bool present = false;
  *child = NULL;
  if (slot && slot->node) {
    *child = slot->node;
    return TYKB_OK;
  }
  if (!slot) {
    int status = tykb_node_scan(node);
    if (!status) status = gather(node, field, &bytes);
    if (status) return status;
    present = node->index[2 * field->index] != 0;
  }
  struct tykb_node *made = new_node(node->context, field->child, bytes);
  if (!made) return TYKB_E_NO_MEMORY;
  if (!slot) slot = add_slot(node, field);
  if (!slot) return TYKB_E_NO_MEMORY;
  made->parent = node;
  made->field = field;
  made->present = present;
  slot->node = made;
  *child = made;
  return TYKB_OK;
}

int tykb_node_map(struct tykb_node *node, const struct tykb_field *field, struct tykb_map **map) {
  struct tykb_slot *slot = tykb_node_slot(node, field);
  *map = NULL;
  if (!slot || !slot->map) {
    struct tykb_map *made = tykb_alloc(node->context, sizeof *made);
    bool loaded = slot && slot->drop;
    if (!slot) slot = add_slot(node, field);
    if (!made || !slot) return TYKB_E_NO_MEMORY;
    made->owner = node;
    made->slot = slot;
    made->field = field;
    made->context = node->context;
    made->next = node->context->maps;
    made->view = NULL;
    tykb_zero(&made->tail, sizeof *made - offsetof(struct tykb_map, tail));
    made->loaded = loaded;
    node->context->maps = made;
    slot->map = made;
  }
  *map = slot->map;
  return TYKB_OK;
}

int tykb_node_find(struct tykb_node *node, const struct tykb_field *field, struct tykb_span key,
                   struct tykb_span *value) {
  struct tykb_map *map;
  if (!tykb_node_slot(node, field) && node->finds < TYKB_FINDS) return tykb_node_find_bytes(node, field, key, value);
  int status = tykb_node_map(node, field, &map);
  return status ? status : tykb_map_text(map, key, value);
}

static TYKB_ASIDE int find_any(const uint8_t *p, const uint8_t *stop, const uint8_t *end, uint32_t number,
                               struct tykb_span key, struct tykb_span *value) {
  int found = TYKB_E_NOT_FOUND;
  struct tykb_wire_field wire;
  struct tykb_span name, text;
  while (p < stop) {
    p = tykb_wire_next(p, end, &wire);
    if (!p) return TYKB_E_MALFORMED;
    if (wire.number != number || wire.type != TYKB_WIRE_LEN) continue;
    int status = tykb_entry_parse(wire.len, &name, &text);
    if (status) return status;
    if (name.size != key.size || !tykb_wire_same(name.data, key.data, key.size)) continue;
    *value = text;
    found = TYKB_OK;
  }
  return found;
}

int tykb_node_find_bytes(struct tykb_node *node, const struct tykb_field *field, struct tykb_span key,
                         struct tykb_span *value) {
  int status = node->index ? TYKB_OK : tykb_node_scan(node);
  if (status) return status;
  node->finds++;
  uint32_t first = node->index[2 * field->index], last = node->index[2 * field->index + 1];
  if (!first) return TYKB_E_NOT_FOUND;
  const uint8_t *p = node->bytes.data + first - 1, *stop = node->bytes.data + last, *end = tykb_span_end(node->bytes);
  if (!(node->plain & bit(field->index))) {
    const uint8_t *at = NULL;
    if (*p < 0x80) skip_entries(p, end, &at);
    if (at != stop - 1) return find_any(p, stop, end, field->number, key, value);
    node->plain |= bit(field->index);
  }
  return find_plain(p, stop, key, value);
}

/* Object's fields by number, and by the byte that nearly always introduces them; 0: any other. Number n is row n - 1. */
enum { HOOK_TYPE = 1, HOOK_NAME = 2, SPEC = 6, OBJECT_FIELDS = 7 };
static const uint8_t usual[256] = {[0x12] = HOOK_NAME, [0x1a] = 3, [0x22] = 4, [0x2a] = 5, [0x32] = SPEC, [0x3a] = 7};

static const uint8_t bundle_hash[] = {'b', 'u', 'n', 'd', 'l', 'e', '_', 'h', 'a', 's', 'h'};
enum { HASH_SIZE = sizeof bundle_hash };

/* As tykb_node_scan; but every dispatch comes through here, and of an Object it is known what is usual. */
int tykb_object_identify(struct tykb_node *root, struct tykb_span *hook, struct tykb_span *bundle) {
  const uint8_t *start = root->bytes.data, *p = start, *end = tykb_span_end(root->bytes), *next;
  uint32_t *index = tykb_alloc(root->context, sizeof(uint32_t[2 * OBJECT_FIELDS]));
  *hook = (struct tykb_span){NULL, 0};
  *bundle = (struct tykb_span){NULL, 0};
  if (root->bytes.size > INT_MAX) return TYKB_E_MALFORMED; /* as in tykb_node_scan */
  if (!index) return TYKB_E_NO_MEMORY;
  memset(index, 0, sizeof(uint32_t[2 * OBJECT_FIELDS]));
  while (p < end) {
    const uint8_t *first = p, *last = p;
    uint32_t number = usual[*p];
    struct tykb_span payload;
    if (number == SPEC && (next = short_entry(p, end))) {
      do {
        if (p[3] == HASH_SIZE && tykb_wire_same(p + 4, bundle_hash, HASH_SIZE))
          *bundle = (struct tykb_span){p + 6 + HASH_SIZE, p[5 + HASH_SIZE]};
        last = p;
        p = next;
      } while (p < end && usual[*p] == SPEC && (next = short_entry(p, end)));
    } else if (number && number != SPEC && (next = tykb_wire_short(p, end, &payload))) {
      if (number == HOOK_NAME) *hook = payload;
      p = next;
    } else {
      struct tykb_wire_field wire;
      p = tykb_wire_next(p, end, &wire);
      if (!p) return TYKB_E_MALFORMED;
      number = wire.number;
      if (number > OBJECT_FIELDS || wire.type != (number == HOOK_TYPE ? TYKB_WIRE_VARINT : TYKB_WIRE_LEN)) continue;
      if (number == HOOK_NAME) *hook = wire.len;
      if (number == SPEC) {
        int status = find_any(first, p, end, SPEC, (struct tykb_span){bundle_hash, HASH_SIZE}, bundle);
        if (status == TYKB_E_MALFORMED) return status;
      }
    }
    uint32_t *entry = index + 2 * (number - 1);
    if (!entry[0]) entry[0] = (uint32_t)(first - start) + 1;
    entry[1] = (uint32_t)(last - start) + 1;
  }
  root->index = index;
  return TYKB_OK;
}

int tykb_node_list(struct tykb_node *node, const struct tykb_field *field, struct tykb_list **list) {
  struct tykb_slot *slot = tykb_node_slot(node, field);
  *list = NULL;
  if (!slot || !slot->list) {
    struct tykb_list *made = tykb_alloc(node->context, sizeof *made);
    if (!slot) slot = add_slot(node, field);
    if (!made || !slot) return TYKB_E_NO_MEMORY;
    memset(made, 0, sizeof *made);
    made->owner = node;
    made->slot = slot;
    made->field = field;
    made->context = node->context;
    made->loaded = slot->drop;
    made->next = node->context->lists;
    node->context->lists = made;
    slot->list = made;
  }
  *list = slot->list;
  return TYKB_OK;
}

int tykb_node_touch(struct tykb_node *node) {
  tykb_node_mark(node);
  return TYKB_OK;
}

/* Cuts off what a slot shows, so that whoever holds it keeps it as it was. */
static int release(struct tykb_slot *slot) {
  const struct tykb_field *field = slot->field;
  int status = TYKB_OK;
  if (field->shape == TYKB_MAP) {
    if (slot->map) status = tykb_map_detach(slot->map);
    if (!status) slot->map = NULL;
  } else if (field->shape == TYKB_REPEATED) {
    if (slot->list) status = tykb_list_detach(slot->list);
    if (!status) slot->list = NULL;
  } else if (field->kind == TYKB_KIND_MESSAGE) {
    if (slot->node) tykb_node_detach(slot->node);
    slot->node = NULL;
  }
  return status;
}

int tykb_node_clear_field(struct tykb_node *node, const struct tykb_field *field) {
  if (field->shape == TYKB_SINGULAR && field->kind != TYKB_KIND_MESSAGE) {
    union tykb_value none;
    memset(&none, 0, sizeof none);
    return set_owned(node, field, none);
  }
  struct tykb_slot *slot = tykb_node_slot(node, field);
  int status = tykb_node_scan(node);
  if (status) return status;
  if (!slot) slot = add_slot(node, field);
  if (!slot) return TYKB_E_NO_MEMORY;
  status = release(slot);
  if (status) return status;
  if (node->index[2 * field->index]) {
    slot->drop = true;
    tykb_node_mark_splice(node);
  }
  tykb_node_mark(node);
  return TYKB_OK;
}

int tykb_node_clear(struct tykb_node *node) {
  for (struct tykb_slot *slot = node->slots; slot; slot = slot->next) {
    int status = release(slot);
    if (status) return status;
  }
  tykb_node_mark(node);
  struct tykb_node *parent = node->parent;
  if (parent && parent->index && parent->index[2 * node->field->index]) {
    tykb_node_slot(parent, node->field)->drop = true;
    tykb_node_mark_splice(parent);
  }
  node->own = node->own || parent;
  node->bytes = node->unknown = (struct tykb_span){NULL, 0};
  node->unknown_room = 0;
  node->index = NULL;
  node->slots = NULL;
  node->last_slot = &node->slots;
  node->splice = false;
  return TYKB_OK;
}

/* ---- Merging ---- */

static int check(const struct tykb_type *type, struct tykb_span bytes);

/* An entry of a map. Every piece counts, also of what is there twice. */
static int check_entry(const struct tykb_field *field, struct tykb_span payload) {
  const uint8_t *p = payload.data, *end = tykb_span_end(payload);
  struct tykb_wire_field wire;
  while (p < end) {
    p = tykb_wire_next(p, end, &wire);
    if (!p) return TYKB_E_MALFORMED;
    if (wire.type != TYKB_WIRE_LEN || wire.number < 1 || wire.number > 2) continue;
    if (wire.number == 2 && field->kind == TYKB_KIND_MESSAGE) {
      if (check(field->child, wire.len)) return TYKB_E_MALFORMED;
    } else if (!tykb_wire_is_utf8(wire.len.data, wire.len.size)) {
      return TYKB_E_MALFORMED;
    }
  }
  return TYKB_OK;
}

/* Checks bytes that are to be merged: the wire format and, as protobuf's parser does, the UTF-8 of strings. The depth is
 * that of the schema. */
static int check(const struct tykb_type *type, struct tykb_span bytes) {
  const uint8_t *p = bytes.data, *end = tykb_span_end(bytes);
  struct tykb_wire_field wire;
  while (p < end) {
    p = tykb_wire_next(p, end, &wire);
    if (!p) return TYKB_E_MALFORMED;
    const struct tykb_field *field = field_of(type, &wire);
    if (!field || wire.type != TYKB_WIRE_LEN) continue;
    struct tykb_span value = wire.len;
    if (field->shape == TYKB_MAP) {
      if (check_entry(field, value)) return TYKB_E_MALFORMED;
      continue;
    }
    if (field->kind == TYKB_KIND_STRING && !tykb_wire_is_utf8(value.data, value.size)) return TYKB_E_MALFORMED;
    if (field->kind == TYKB_KIND_MESSAGE && check(field->child, value)) return TYKB_E_MALFORMED;
    if (field->kind == TYKB_KIND_DOUBLE && value.size % 8) return TYKB_E_MALFORMED;
  }
  return TYKB_OK;
}

static int merge_field(struct tykb_node *node, const struct tykb_field *field, const struct tykb_wire_field *wire) {
  int status;
  if (field->shape == TYKB_MAP) {
    struct tykb_map *map;
    struct tykb_span key, value;
    status = tykb_node_map(node, field, &map);
    if (!status) status = tykb_entry_parse(wire->len, &key, &value);
    if (!status && field->kind == TYKB_KIND_MESSAGE) status = tykb_entry_message(node->context, wire->len, &value);
    return status ? status : tykb_map_put_owned(map, key, value);
  }
  if (field->shape == TYKB_REPEATED) {
    struct tykb_list *list;
    status = tykb_node_list(node, field, &list);
    if (status || field->kind != TYKB_KIND_DOUBLE || wire->type != TYKB_WIRE_LEN)
      return status ? status : tykb_list_append_owned(list, tykb_field_value(field, wire));
    for (size_t at = 0; at < wire->len.size && !status; at += 8) {
      struct tykb_wire_field one;
      /* Packed: no tags. A tag before it makes it a field. */
      uint8_t tagged[9] = {(uint8_t)tykb_wire_tag(1, TYKB_WIRE_I64)};
      memcpy(tagged + 1, wire->len.data + at, 8);
      tykb_wire_next(tagged, tagged + 9, &one);
      status = tykb_list_append_owned(list, tykb_field_value(field, &one));
    }
    return status;
  }
  if (field->kind == TYKB_KIND_MESSAGE) {
    struct tykb_node *child;
    status = tykb_node_child(node, field, &child);
    if (status) return status;
    tykb_node_mark(child);
    return tykb_node_merge_checked(child, wire->len);
  }
  return set_owned(node, field, tykb_field_value(field, wire));
}

/* Room grows by doubling, or pieces between known fields would cost their square. */
static int keep_unknown(struct tykb_node *node, struct tykb_span more) {
  size_t size = node->unknown.size + more.size;
  uint8_t *kept = (uint8_t *)(uintptr_t)node->unknown.data;
  if (size > node->unknown_room) {
    kept = tykb_alloc(node->context, 2 * size);
    if (!kept) return TYKB_E_NO_MEMORY;
    tykb_wire_put_bytes(kept, node->unknown.data, node->unknown.size);
    node->unknown_room = 2 * size;
  }
  tykb_wire_put_bytes(kept + node->unknown.size, more.data, more.size);
  node->unknown = (struct tykb_span){kept, size};
  return TYKB_OK;
}

int tykb_node_merge_checked(struct tykb_node *node, struct tykb_span bytes) {
  const uint8_t *p = bytes.data, *end = tykb_span_end(bytes), *unknown = NULL;
  struct tykb_wire_field wire;
  int status = TYKB_OK;
  while (p < end && !status) {
    const uint8_t *start = p;
    p = tykb_wire_next(p, end, &wire);
    if (!p) return TYKB_E_MALFORMED;
    const struct tykb_field *field = field_of(node->type, &wire);
    if (!field && !unknown) unknown = start;
    if (unknown && (field || p == end)) {
      status = keep_unknown(node, (struct tykb_span){unknown, (size_t)((field ? start : p) - unknown)});
      unknown = NULL;
    }
    if (field && !status) status = merge_field(node, field, &wire);
  }
  if (!status) tykb_node_mark(node);
  return status;
}

int tykb_node_merge(struct tykb_node *node, struct tykb_span bytes) {
  int status = check(node->type, bytes);
  if (status) return status;
  struct tykb_span copy = tykb_context_copy(node->context, bytes, &status);
  return status ? status : tykb_node_merge_checked(node, copy);
}

int tykb_node_replace(struct tykb_node *node, const struct tykb_field *field, struct tykb_span bytes) {
  struct tykb_node *child;
  int status;
  struct tykb_span copy = tykb_context_copy(node->context, bytes, &status);
  if (!status) status = tykb_node_clear_field(node, field);
  if (!status) status = tykb_node_child(node, field, &child);
  if (status) return status;
  child->bytes = copy;
  child->own = true;
  node->context->clock++; /* its bodies are to be settled */
  tykb_node_mark(child);
  return TYKB_OK;
}

int tykb_type_check(const struct tykb_type *type, struct tykb_span bytes) { return check(type, bytes); }

/* ---- Bodies ---- */

/* A message that the hook put in place of its own says nothing of an order: the bytes count, or the text alone. */
static int settle_replaced(struct tykb_node *node, const struct tykb_field *text, const struct tykb_field *raw) {
  union tykb_value value;
  int status = tykb_node_get(node, raw, &value);
  const struct tykb_field *winner = raw;
  if (!status && value.text.size == 0) status = tykb_node_get(node, winner = text, &value);
  if (status || value.text.size == 0) return status;
  status = set_owned(node, winner, value);
  return status ? status : tykb_node_settle_body(node);
}

int tykb_node_settle_body(struct tykb_node *node) {
  if (!node->context->clock || node->type->body < 0) return TYKB_OK; /* no scalar of the tree was written */
  const struct tykb_field *text = &node->type->fields[node->type->body];
  const struct tykb_field *raw = &node->type->fields[node->type->raw_body];
  struct tykb_slot *text_slot = tykb_node_slot(node, text), *raw_slot = tykb_node_slot(node, raw);
  bool text_set = text_slot && text_slot->set, raw_set = raw_slot && raw_slot->set;
  if (!text_set && !raw_set && node->own) return settle_replaced(node, text, raw);
  if (!text_set && !raw_set) return TYKB_OK;
  bool text_wins = text_set && (!raw_set || text_slot->order > raw_slot->order);
  union tykb_value winner = text_wins ? text_slot->value : raw_slot->value, readable = winner;
  if (!text_wins && !tykb_wire_is_utf8(winner.text.data, winner.text.size)) readable.text.size = 0;
  int status = tykb_node_scan(node);
  if (!status && !raw_set) status = set_owned(node, raw, winner);
  if (!status && !text_set) status = set_owned(node, text, readable);
  if (status) return status;
  text_slot = tykb_node_slot(node, text);
  raw_slot = tykb_node_slot(node, raw);
  raw_slot->value = winner;
  text_slot->value = readable;
  /* Appending would do, but a large body would then travel three times. */
  if (node->bytes.size > 1024 && !node->own) {
    text_slot->skip = raw_slot->skip = true;
    tykb_node_mark_splice(node);
  }
  return TYKB_OK;
}
