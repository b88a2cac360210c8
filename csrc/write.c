/* Replies: the bytes of a tree, or what was changed in it. Two passes over the changes, one to count and one to write. */
#include <limits.h>

#include "mem.h"
#include "tree.h"

enum { CLEARED = 1000 }; /* tykbridge.Delta.cleared, proto/tykbridge_delta.proto */

static bool is_text(const struct tykb_field *field) {
  return field->kind == TYKB_KIND_STRING || field->kind == TYKB_KIND_BYTES;
}

static bool is_child(const struct tykb_field *field) {
  return field->shape == TYKB_SINGULAR && field->kind == TYKB_KIND_MESSAGE;
}

static size_t len_size(uint32_t number, size_t payload) {
  return tykb_wire_varint_size(number << 3) + tykb_wire_varint_size(payload) + payload;
}

static uint8_t *put_head(uint8_t *p, uint32_t number, size_t payload) {
  p = tykb_wire_put_varint(p, tykb_wire_tag(number, TYKB_WIRE_LEN));
  return tykb_wire_put_varint(p, payload);
}

static uint8_t *put_span(uint8_t *p, uint32_t number, struct tykb_span text) {
  return tykb_wire_put_bytes(put_head(p, number, text.size), text.data, text.size);
}

/* ---- The bytes that stay ---- */

/* Whether a child is written with its bytes: its parent's hold them no longer, or not all of them are to stay. */
static bool is_whole(const struct tykb_slot *slot, bool delta) {
  return slot->drop || slot->node->own || (!delta && slot->node->splice);
}

/* One bit per row of the type whose occurrences are left out. */
static uint64_t dropped(const struct tykb_node *node) {
  uint64_t mask = 0;
  if (!node->splice) return 0;
  for (const struct tykb_slot *slot = node->slots; slot; slot = slot->next) {
    bool child = is_child(slot->field) && slot->node;
    if (slot->drop || slot->skip || (child && is_whole(slot, false))) mask |= UINT64_C(1) << slot->field->index;
  }
  return mask;
}

/* Copies `bytes` without the fields of `mask`, run by run; with to == NULL only counts. */
static size_t filter(const struct tykb_node *node, uint64_t mask, uint8_t *to) {
  const uint8_t *p = node->bytes.data, *end = tykb_span_end(node->bytes), *run = p;
  const struct tykb_type *type = node->type;
  struct tykb_wire_field wire;
  size_t size = 0;
  while (p < end) {
    const uint8_t *start = p;
    p = tykb_wire_next(p, end, &wire);
    if (!p) p = end; /* not reached: what is spliced was scanned */
    int row = wire.number <= type->max_number ? type->by_number[wire.number] : -1;
    if (row < 0 || !(mask >> row & 1) || !tykb_field_fits(&type->fields[row], wire.type)) continue;
    if (to) tykb_wire_put_bytes(to + size, run, (size_t)(start - run));
    size += (size_t)(start - run);
    run = p;
  }
  if (to) tykb_wire_put_bytes(to + size, run, (size_t)(end - run));
  return size + (size_t)(end - run);
}

/* ---- Counting ---- */

static size_t plan(struct tykb_node *node, bool whole, bool delta);

static size_t scalar_size(const struct tykb_field *field, union tykb_value value) {
  size_t tag = tykb_wire_varint_size(field->number << 3);
  if (is_text(field)) return len_size(field->number, value.text.size);
  return tag + (field->kind == TYKB_KIND_DOUBLE ? 8 : tykb_wire_varint_size((uint64_t)value.number));
}

static bool is_default(const struct tykb_field *field, union tykb_value value) {
  return is_text(field) ? value.text.size == 0 : value.number == 0;
}

/* A default is written all the same where the bytes may hold another value. */
static bool is_silent(const struct tykb_node *node, const struct tykb_slot *slot) {
  return !slot->set || (node->bytes.size == 0 && is_default(slot->field, slot->value));
}

static size_t value_size(const struct tykb_entry *entry) { return entry->node ? entry->node->size : entry->value.size; }

static size_t entry_size(const struct tykb_entry *entry) {
  return len_size(1, entry->key.size) + len_size(2, value_size(entry));
}

static size_t plan_map(const struct tykb_slot *slot) {
  const struct tykb_map *map = slot->map;
  if (!map) return 0;
  size_t size = map->tail_size;
  for (size_t i = 0; i < map->slots; i++) {
    struct tykb_entry *entry = &map->entries[i];
    if (!entry->live || !(slot->drop || entry->changed)) continue;
    if (entry->node) plan(entry->node, true, false);
    size += len_size(map->field->number, entry_size(entry));
  }
  return size;
}

static size_t plan_list(const struct tykb_slot *slot) {
  const struct tykb_list *list = slot->list;
  size_t size = 0;
  if (!list) return 0;
  size_t first = slot->drop ? 0 : list->base;
  if (list->field->kind == TYKB_KIND_DOUBLE)
    return list->count > first ? len_size(list->field->number, 8 * (list->count - first)) : 0;
  for (size_t i = first; i < list->count; i++) {
    struct tykb_element *element = &list->elements[i];
    if (list->field->kind == TYKB_KIND_MESSAGE)
      size +=
          len_size(list->field->number, element->node ? plan(element->node, true, false) : element->value.text.size);
    else
      size += scalar_size(list->field, element->value);
  }
  return size;
}

static size_t plan_slot(const struct tykb_node *node, const struct tykb_slot *slot, bool delta) {
  const struct tykb_field *field = slot->field;
  if (field->shape == TYKB_MAP) return plan_map(slot);
  if (field->shape == TYKB_REPEATED) return plan_list(slot);
  if (field->kind != TYKB_KIND_MESSAGE) return is_silent(node, slot) ? 0 : scalar_size(field, slot->value);
  struct tykb_node *child = slot->node;
  if (!child || !child->changed) return 0;
  bool whole = is_whole(slot, delta);
  return len_size(field->number, plan(child, whole, delta && !whole));
}

/* How long the node will be, with its bytes (`whole`) or as changes alone. */
static size_t plan(struct tykb_node *node, bool whole, bool delta) {
  size_t size = node->unknown.size;
  if (whole) {
    uint64_t mask = dropped(node);
    size += mask ? filter(node, mask, NULL) : node->bytes.size;
  }
  if (node->changed)
    for (const struct tykb_slot *slot = node->slots; slot; slot = slot->next) size += plan_slot(node, slot, delta);
  node->whole = whole;
  node->size = size;
  return size;
}

/* ---- Writing ---- */

static uint8_t *put(const struct tykb_node *node, uint8_t *p);

static uint8_t *put_scalar(uint8_t *p, const struct tykb_field *field, union tykb_value value) {
  uint64_t bits;
  if (is_text(field)) return put_span(p, field->number, value.text);
  if (field->kind == TYKB_KIND_DOUBLE) {
    memcpy(&bits, &value.real, sizeof bits);
    return tykb_wire_put_fixed64(tykb_wire_put_varint(p, tykb_wire_tag(field->number, TYKB_WIRE_I64)), bits);
  }
  p = tykb_wire_put_varint(p, tykb_wire_tag(field->number, TYKB_WIRE_VARINT));
  return tykb_wire_put_varint(p, (uint64_t)value.number);
}

static uint8_t *put_map(const struct tykb_slot *slot, uint8_t *p) {
  const struct tykb_map *map = slot->map;
  if (!map) return p;
  p = tykb_wire_put_bytes(p, map->tail, map->tail_size);
  for (size_t i = 0; i < map->slots; i++) {
    const struct tykb_entry *entry = &map->entries[i];
    if (!entry->live || !(slot->drop || entry->changed)) continue;
    p = put_head(p, map->field->number, entry_size(entry));
    p = put_span(p, 1, entry->key);
    p = put_head(p, 2, value_size(entry));
    p = entry->node ? put(entry->node, p) : tykb_wire_put_bytes(p, entry->value.data, entry->value.size);
  }
  return p;
}

static uint8_t *put_list(const struct tykb_slot *slot, uint8_t *p) {
  const struct tykb_list *list = slot->list;
  if (!list) return p;
  size_t first = slot->drop ? 0 : list->base;
  uint32_t number = list->field->number;
  bool packed = list->field->kind == TYKB_KIND_DOUBLE;
  if (packed && list->count > first) p = put_head(p, number, 8 * (list->count - first));
  for (size_t i = first; i < list->count; i++) {
    const struct tykb_element *element = &list->elements[i];
    if (packed) {
      uint64_t bits;
      memcpy(&bits, &element->value.real, sizeof bits);
      p = tykb_wire_put_fixed64(p, bits);
    } else if (list->field->kind != TYKB_KIND_MESSAGE) {
      p = put_scalar(p, list->field, element->value);
    } else if (element->node) {
      p = put(element->node, put_head(p, number, element->node->size));
    } else {
      p = put_span(p, number, element->value.text);
    }
  }
  return p;
}

static uint8_t *put_slot(const struct tykb_node *node, const struct tykb_slot *slot, uint8_t *p) {
  const struct tykb_field *field = slot->field;
  if (field->shape == TYKB_MAP) return put_map(slot, p);
  if (field->shape == TYKB_REPEATED) return put_list(slot, p);
  if (field->kind != TYKB_KIND_MESSAGE) return is_silent(node, slot) ? p : put_scalar(p, field, slot->value);
  if (!slot->node || !slot->node->changed) return p;
  return put(slot->node, put_head(p, field->number, slot->node->size));
}

static uint8_t *put(const struct tykb_node *node, uint8_t *p) {
  if (node->whole) {
    uint64_t mask = dropped(node);
    if (mask)
      p += filter(node, mask, p);
    else
      p = tykb_wire_put_bytes(p, node->bytes.data, node->bytes.size);
  }
  p = tykb_wire_put_bytes(p, node->unknown.data, node->unknown.size);
  if (node->changed)
    for (const struct tykb_slot *slot = node->slots; slot; slot = slot->next) p = put_slot(node, slot, p);
  return p;
}

/* ---- What a delta empties first ---- */

struct path {
  const struct path *above;
  const char *name;
};

static size_t path_size(const struct path *path) {
  return strlen(path->name) + (path->above ? 1 + path_size(path->above) : 0);
}

static uint8_t *put_path(const struct path *path, uint8_t *p) {
  if (path->above) {
    p = put_path(path->above, p);
    *p++ = '.';
  }
  return tykb_wire_put_bytes(p, path->name, strlen(path->name));
}

/* Counts, and with *p also writes, the paths of what is gone at or below `node`. */
static size_t cleared(const struct tykb_node *node, const struct path *above, uint8_t **p) {
  size_t size = 0;
  if (!node->splice) return 0;
  for (const struct tykb_slot *slot = node->slots; slot; slot = slot->next) {
    struct path path = {above, slot->field->name};
    if (slot->drop) {
      size_t length = path_size(&path);
      size += len_size(CLEARED, length);
      if (*p) *p = put_path(&path, put_head(*p, CLEARED, length));
    } else if (is_child(slot->field) && slot->node && !slot->node->own) {
      size += cleared(slot->node, &path, p);
    }
  }
  return size;
}

/* ---- The commonest replies ---- */

/* The slot that alone says something new of a node of which nothing is gone; else NULL. */
static const struct tykb_slot *only_change(const struct tykb_node *node) {
  const struct tykb_slot *only = NULL;
  if (node->splice || node->unknown.size) return NULL;
  for (const struct tykb_slot *slot = node->slots; slot; slot = slot->next) {
    if (slot->field->shape == TYKB_MAP) {
      if (!slot->map || (!slot->map->tail_size && !slot->map->slots)) continue;
    } else if (is_child(slot->field)) {
      if (!slot->node || !slot->node->changed) continue;
    }
    if (only) return NULL;
    only = slot;
  }
  return only;
}

/* The child of the root in which texts were put into one map, `map`, if that is all that was changed; else NULL. What is
 * written then stands ready in the map. */
static const struct tykb_node *only_put(const struct tykb_node *root, const struct tykb_map **map) {
  const struct tykb_slot *slot = only_change(root);
  if (!slot || !is_child(slot->field) || slot->node->own) return NULL;
  const struct tykb_node *child = slot->node;
  slot = only_change(child);
  if (!slot || slot->field->shape != TYKB_MAP || slot->map->slots) return NULL;
  *map = slot->map;
  return child;
}

int tykb_node_write(struct tykb_node *node, uint32_t flags, void *(*alloc)(size_t), void **data, size_t *size) {
  bool delta = flags & TYKB_REPLY_DELTA, changed = delta || node->changed;
  struct tykb_span stays = delta ? (struct tykb_span){NULL, 0} : node->bytes;
  const struct tykb_map *map = NULL;
  const struct tykb_node *child = changed ? only_put(node, &map) : NULL;
  size_t front = 0, total = stays.size;
  uint8_t *none = NULL, *p;
  *data = NULL;
  *size = 0;
  if (child) {
    total += len_size(child->field->number, map->tail_size);
  } else if (changed) {
    front = delta ? cleared(node, NULL, &none) : 0;
    total = front + plan(node, !delta, delta);
  }
  if (total > INT_MAX) return TYKB_E_TOO_LARGE;
  *data = p = alloc(total ? total : 1);
  if (!p) return TYKB_E_NO_MEMORY;
  *size = total;
  if (changed && !child) {
    if (front) cleared(node, NULL, &p);
    put(node, p);
    return TYKB_OK;
  }
  p = tykb_wire_put_bytes(p, stays.data, stays.size);
  if (child) put_span(p, child->field->number, (struct tykb_span){map->tail, map->tail_size});
  return TYKB_OK;
}
