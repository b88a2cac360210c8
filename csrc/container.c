/* Maps and lists of the tree. */
#include <time.h>

#include "mem.h"
#include "tree.h"

enum { HASHED = 8 }; /* up to so many entries, comparing them all is faster than a hash */

/* ---- Maps ---- */

/* Keyed, so that nobody can send many keys of one hash: the key is unknown outside the process. */
static uint64_t hash_key(void) {
  static uint64_t key; /* any thread may set it; once, because maps made before keep to the first */
  uint64_t have = __atomic_load_n(&key, __ATOMIC_RELAXED);
  if (!have) {
    struct timespec now;
    uint64_t fresh = (uint64_t)(uintptr_t)&now, none = 0;
    timespec_get(&now, TIME_UTC);
    fresh = (fresh ^ ((uint64_t)now.tv_nsec << 32) ^ (uint64_t)now.tv_sec ^ (uint64_t)(uintptr_t)&key) *
                0x9e3779b97f4a7c15u |
            1;
    if (__atomic_compare_exchange_n(&key, &none, fresh, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) return fresh;
    have = none;
  }
  return have;
}

static uint64_t mix(uint64_t a, uint64_t b) {
  __extension__ unsigned __int128 product = (unsigned __int128)a * b;
  return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint32_t hash(struct tykb_span key) {
  uint64_t secret = hash_key(), state = secret ^ key.size, word;
  const uint8_t *p = key.data;
  size_t left = key.size;
  for (; left >= 8; left -= 8, p += 8) {
    memcpy(&word, p, 8);
    state = mix(state ^ word, secret ^ 0xa0761d6478bd642fu);
  }
  word = 0;
  if (left) memcpy(&word, p, left);
  state = mix(state ^ word ^ (uint64_t)left << 56, secret ^ 0xe7037ed1a0b428dbu);
  return (uint32_t)(state ^ state >> 32);
}

static bool same(struct tykb_span a, struct tykb_span b) {
  return a.size == b.size && tykb_wire_same(a.data, b.data, a.size);
}

void **tykb_map_view(struct tykb_map *map) { return &map->view; }

uint32_t tykb_map_version(const struct tykb_map *map) { return map->version; }

static void table_add(struct tykb_map *map, size_t slot) {
  size_t at = map->entries[slot].hash & (map->table_size - 1);
  while (map->table[at]) at = (at + 1) & (map->table_size - 1);
  map->table[at] = (uint32_t)slot + 1;
}

static int table_grow(struct tykb_map *map) {
  size_t size = map->table_size ? map->table_size * 2 : (size_t)HASHED * 8;
  uint32_t *table = tykb_alloc(map->context, size * sizeof *table);
  if (!table) return TYKB_E_NO_MEMORY;
  memset(table, 0, size * sizeof *table);
  bool first = !map->table;
  map->table = table;
  map->table_size = size;
  for (size_t i = 0; i < map->slots; i++) {
    if (first) map->entries[i].hash = hash(map->entries[i].key);
    table_add(map, i);
  }
  return TYKB_OK;
}

/* The entry of a key, removed ones included: a key stands once. */
static struct tykb_entry *lookup(const struct tykb_map *map, struct tykb_span key) {
  if (!map->table) {
    for (size_t i = 0; i < map->slots; i++)
      if (same(map->entries[i].key, key)) return &map->entries[i];
    return NULL;
  }
  uint32_t code = hash(key);
  for (size_t at = code & (map->table_size - 1); map->table[at]; at = (at + 1) & (map->table_size - 1)) {
    struct tykb_entry *entry = &map->entries[map->table[at] - 1];
    if (entry->hash == code && same(entry->key, key)) return entry;
  }
  return NULL;
}

/* The entry of a key, made if missing. Key bytes are kept as they are. */
static int place(struct tykb_map *map, struct tykb_span key, struct tykb_entry **entry) {
  *entry = lookup(map, key);
  if (*entry) return TYKB_OK;
  if (map->slots == map->room) {
    size_t room = map->room ? map->room * 2 : 4;
    struct tykb_entry *entries = tykb_alloc(map->context, room * sizeof *entries);
    if (!entries) return TYKB_E_NO_MEMORY;
    if (map->slots) memcpy(entries, map->entries, map->slots * sizeof *entries);
    map->entries = entries;
    map->room = room;
  }
  if (map->slots >= HASHED && map->slots * 2 >= map->table_size) {
    int status = table_grow(map);
    if (status) return status;
  }
  struct tykb_entry *made = &map->entries[map->slots];
  memset(made, 0, sizeof *made);
  made->key = key;
  map->slots++;
  if (map->table) {
    made->hash = hash(key);
    table_add(map, map->slots - 1);
  }
  *entry = made;
  return TYKB_OK;
}

static void take_value(struct tykb_entry *entry, struct tykb_span value) {
  if (entry->node) tykb_node_detach(entry->node);
  entry->node = NULL;
  entry->value = value;
}

/* Turns the tail into entries. */
static int unfold(struct tykb_map *map) {
  struct tykb_span tail = {map->tail, map->tail_size};
  const uint8_t *p = tail.data, *end = tykb_span_end(tail);
  struct tykb_wire_field wire;
  struct tykb_span key, value;
  while (p < end) {
    struct tykb_entry *entry;
    p = tykb_wire_next(p, end, &wire);
    tykb_entry_parse(wire.len, &key, &value);
    int status = place(map, key, &entry);
    if (status) return status;
    map->count += !entry->live;
    entry->live = entry->changed = true;
    entry->value = value;
  }
  map->tail_size = 0;
  return TYKB_OK;
}

enum { TAIL = 16 };

/* Whether the tail has a key already, and its value. */
static bool in_tail(const struct tykb_map *map, struct tykb_span key, struct tykb_span *value) {
  struct tykb_span tail = {map->tail, map->tail_size};
  const uint8_t *p = tail.data, *end = tykb_span_end(tail);
  struct tykb_wire_field wire;
  struct tykb_span name;
  while (p < end) {
    p = tykb_wire_next(p, end, &wire);
    tykb_entry_parse(wire.len, &name, value);
    if (same(name, key)) return true;
  }
  return false;
}

/* Adds to the tail: tag, length, key, value. */
static int put_tail(struct tykb_map *map, struct tykb_span key, struct tykb_span value) {
  uint32_t number = map->field->number;
  size_t inner = 2 + tykb_wire_varint_size(key.size) + key.size + tykb_wire_varint_size(value.size) + value.size;
  size_t size = tykb_wire_varint_size(number << 3) + tykb_wire_varint_size(inner) + inner;
  if (map->tail_room - map->tail_size < size) {
    size_t room = (map->tail_size + size) * 2;
    uint8_t *tail = tykb_alloc(map->context, room);
    if (!tail) return TYKB_E_NO_MEMORY;
    tykb_wire_put_bytes(tail, map->tail, map->tail_size);
    map->tail = tail;
    map->tail_room = room;
  }
  uint8_t *p = tykb_wire_put_varint(map->tail + map->tail_size, tykb_wire_tag(number, TYKB_WIRE_LEN));
  p = tykb_wire_put_varint(p, inner);
  *p++ = 0x0a;
  p = tykb_wire_put_bytes(tykb_wire_put_varint(p, key.size), key.data, key.size);
  *p++ = 0x12;
  tykb_wire_put_bytes(tykb_wire_put_varint(p, value.size), value.data, value.size);
  map->tail_size += size;
  map->tail_count++;
  return TYKB_OK;
}

/* Reads what the owner's bytes hold. What was put before stays on top. */
static int load(struct tykb_map *map) {
  if (map->loaded) return TYKB_OK;
  if (map->tail_size) {
    int status = unfold(map);
    if (status) return status;
  }
  struct tykb_node *owner = map->owner;
  int status = tykb_node_scan(owner);
  if (status) return status;
  uint32_t first = owner->index[2 * map->field->index], last = owner->index[2 * map->field->index + 1];
  if (first) {
    const uint8_t *data = owner->bytes.data, *end = data + owner->bytes.size, *p = data + first - 1;
    struct tykb_wire_field wire;
    while (p <= data + last - 1) {
      struct tykb_span key, value;
      struct tykb_entry *entry;
      p = tykb_wire_next(p, end, &wire);
      if (wire.number != map->field->number || wire.type != TYKB_WIRE_LEN) continue;
      status = tykb_entry_parse(wire.len, &key, &value);
      if (!status && map->field->kind == TYKB_KIND_MESSAGE) status = tykb_entry_message(map->context, wire.len, &value);
      if (!status) status = place(map, key, &entry);
      if (status) return status;
      entry->base = true;
      if (entry->changed) continue;
      map->count += !entry->live;
      entry->live = true;
      entry->value = value;
    }
  }
  map->loaded = true;
  return TYKB_OK;
}

int tykb_map_find(struct tykb_map *map, struct tykb_span key, struct tykb_entry **entry) {
  *entry = NULL;
  int status = load(map);
  if (status) return status;
  struct tykb_entry *found = lookup(map, key);
  if (found && found->live) *entry = found;
  return TYKB_OK;
}

int tykb_map_text(struct tykb_map *map, struct tykb_span key, struct tykb_span *value) {
  struct tykb_entry *entry;
  if (!map->loaded && !map->slots && map->owner->finds < TYKB_FINDS) {
    if (map->tail_size && in_tail(map, key, value)) return TYKB_OK;
    return tykb_node_find_bytes(map->owner, map->field, key, value);
  }
  int status = tykb_map_find(map, key, &entry);
  if (status) return status;
  if (!entry) return TYKB_E_NOT_FOUND;
  *value = entry->value;
  return TYKB_OK;
}

static void mark(struct tykb_map *map) {
  if (map->owner) tykb_node_mark(map->owner);
}

static void mark_drop(struct tykb_map *map) {
  if (!map->owner) return;
  map->slot->drop = true;
  tykb_node_mark_splice(map->owner);
}

int tykb_map_put_owned(struct tykb_map *map, struct tykb_span key, struct tykb_span value) {
  struct tykb_entry *entry;
  int status = map->tail_size ? unfold(map) : TYKB_OK;
  if (!status) status = place(map, key, &entry);
  if (status) return status;
  if (!entry->live) {
    map->count++;
    map->version++;
  }
  entry->live = entry->changed = true;
  take_value(entry, value);
  mark(map);
  return TYKB_OK;
}

int tykb_map_put(struct tykb_map *map, struct tykb_span key, struct tykb_span value) {
  struct tykb_span old;
  int status;
  if (!map->loaded && !map->slots && map->tail_count < TAIL && !(map->tail_size && in_tail(map, key, &old))) {
    status = put_tail(map, key, value);
    if (!status) mark(map);
    return status;
  }
  if (map->tail_size && (status = unfold(map)) != TYKB_OK) return status;
  struct tykb_entry *entry = lookup(map, key);
  if (entry)
    key = entry->key; /* saves the copy, too */
  else
    key = tykb_context_copy(map->context, key, &status);
  if (!entry && status) return status;
  value = tykb_context_copy(map->context, value, &status);
  return status ? status : tykb_map_put_owned(map, key, value);
}

int tykb_map_entry_node(struct tykb_map *map, size_t slot, struct tykb_node **node) {
  struct tykb_entry *entry = &map->entries[slot];
  if (!entry->node) {
    entry->node = tykb_node_new(map->context, map->field->child, entry->value);
    if (!entry->node) return TYKB_E_NO_MEMORY;
    entry->node->map = map;
    entry->node->element = slot;
    entry->node->present = true;
  }
  *node = entry->node;
  return TYKB_OK;
}

int tykb_map_node(struct tykb_map *map, struct tykb_span key, struct tykb_node **node) {
  struct tykb_entry *entry;
  *node = NULL;
  int status = load(map);
  if (status) return status;
  entry = lookup(map, key);
  if (!entry || !entry->live) {
    struct tykb_span none = {NULL, 0};
    if (!entry) key = tykb_context_copy(map->context, key, &status);
    if (!status) status = tykb_map_put_owned(map, entry ? entry->key : key, none);
    if (status) return status;
    entry = lookup(map, key);
  }
  return tykb_map_entry_node(map, (size_t)(entry - map->entries), node);
}

int tykb_map_remove(struct tykb_map *map, struct tykb_span key) {
  struct tykb_entry *entry;
  int status = tykb_map_find(map, key, &entry);
  if (status) return status;
  if (!entry) return TYKB_E_NOT_FOUND;
  take_value(entry, (struct tykb_span){NULL, 0});
  entry->live = false;
  entry->changed = true;
  map->count--;
  map->version++;
  if (entry->base) mark_drop(map);
  mark(map);
  return TYKB_OK;
}

int tykb_map_clear(struct tykb_map *map) {
  int status = load(map);
  if (status) return status;
  for (size_t i = 0; i < map->slots; i++) {
    struct tykb_entry *entry = &map->entries[i];
    if (entry->live && entry->base) mark_drop(map);
    take_value(entry, (struct tykb_span){NULL, 0});
    entry->live = false;
    entry->changed = true;
  }
  map->count = 0;
  map->version++;
  mark(map);
  return TYKB_OK;
}

int tykb_map_touch(struct tykb_map *map) {
  mark(map);
  return TYKB_OK;
}

int tykb_map_entries(struct tykb_map *map, struct tykb_entry **entries, size_t *slots, size_t *count) {
  *entries = NULL;
  *slots = *count = 0;
  int status = load(map);
  if (status) return status;
  *entries = map->entries;
  *slots = map->slots;
  *count = map->count;
  return TYKB_OK;
}

int tykb_map_detach(struct tykb_map *map) {
  int status = load(map);
  if (status == TYKB_E_MALFORMED) {
    map->loaded = true; /* nothing more can be read of it */
    status = TYKB_OK;
  }
  if (!status) map->owner = NULL;
  return status;
}

/* ---- Lists ---- */

void **tykb_list_view(struct tykb_list *list) { return &list->view; }

static int reserve(struct tykb_list *list, size_t more) {
  if (list->room - list->count >= more) return TYKB_OK;
  size_t room = list->room ? list->room * 2 : 4;
  while (room - list->count < more) room *= 2;
  struct tykb_element *elements = tykb_alloc(list->context, room * sizeof *elements);
  if (!elements) return TYKB_E_NO_MEMORY;
  if (list->count) memcpy(elements, list->elements, list->count * sizeof *elements);
  list->elements = elements;
  list->room = room;
  return TYKB_OK;
}

static int push(struct tykb_list *list, union tykb_value value) {
  int status = reserve(list, 1);
  if (status) return status;
  list->elements[list->count].value = value;
  list->elements[list->count].node = NULL;
  list->count++;
  return TYKB_OK;
}

/* One occurrence of the field in the owner's bytes: an element, or several packed ones. */
static int push_wire(struct tykb_list *list, const struct tykb_wire_field *wire) {
  const struct tykb_field *field = list->field;
  if (wire->type != TYKB_WIRE_LEN || field->kind != TYKB_KIND_DOUBLE) return push(list, tykb_field_value(field, wire));
  if (wire->len.size % 8) return TYKB_E_MALFORMED;
  int status = TYKB_OK;
  for (size_t at = 0; at < wire->len.size && !status; at += 8) {
    uint64_t bits = 0;
    union tykb_value value;
    memset(&value, 0, sizeof value);
    for (int i = 0; i < 8; i++) bits |= (uint64_t)wire->len.data[at + (size_t)i] << (8 * i);
    memcpy(&value.real, &bits, sizeof bits);
    status = push(list, value);
  }
  return status;
}

/* Reads what the owner's bytes hold, and puts it before what was appended. */
static int load_list(struct tykb_list *list) {
  if (list->loaded) return TYKB_OK;
  struct tykb_node *owner = list->owner;
  int status = tykb_node_scan(owner);
  if (status) return status;
  uint32_t first = owner->index[2 * list->field->index], last = owner->index[2 * list->field->index + 1];
  struct tykb_list tail = *list;
  list->elements = NULL;
  list->count = list->room = 0;
  if (first) {
    const uint8_t *data = owner->bytes.data, *end = data + owner->bytes.size, *p = data + first - 1;
    struct tykb_wire_field wire;
    while (p <= data + last - 1 && !status) {
      p = tykb_wire_next(p, end, &wire);
      if (wire.number == list->field->number && tykb_field_fits(list->field, wire.type))
        status = push_wire(list, &wire);
    }
  }
  size_t base = list->count;
  if (!status) status = reserve(list, tail.count);
  if (status) {
    list->elements = tail.elements;
    list->count = tail.count;
    list->room = tail.room;
    return status;
  }
  if (tail.count) memcpy(list->elements + base, tail.elements, tail.count * sizeof *tail.elements);
  list->count += tail.count;
  list->base = base;
  list->loaded = true;
  return TYKB_OK;
}

static void mark_list(struct tykb_list *list) {
  if (list->owner) tykb_node_mark(list->owner);
}

/* Elements of the bytes were moved, changed or removed. */
static void mark_list_drop(struct tykb_list *list) {
  mark_list(list);
  if (!list->owner || !list->base) return;
  list->slot->drop = true;
  tykb_node_mark_splice(list->owner);
}

int tykb_list_elements(struct tykb_list *list, struct tykb_element **elements, size_t *count) {
  *elements = NULL;
  *count = 0;
  int status = load_list(list);
  if (status) return status;
  *elements = list->elements;
  *count = list->count;
  return TYKB_OK;
}

int tykb_list_node(struct tykb_list *list, size_t at, struct tykb_node **node) {
  struct tykb_element *element = &list->elements[at];
  if (!element->node) {
    element->node = tykb_node_new(list->context, list->field->child, element->value.text);
    if (!element->node) return TYKB_E_NO_MEMORY;
    element->node->list = list;
    element->node->present = true;
    element->node->own = list->loaded ? at >= list->base : true;
  }
  *node = element->node;
  return TYKB_OK;
}

int tykb_list_append_owned(struct tykb_list *list, union tykb_value value) {
  int status = push(list, value);
  if (!status) mark_list(list);
  return status;
}

static bool is_text(const struct tykb_list *list) {
  return list->field->kind == TYKB_KIND_STRING || list->field->kind == TYKB_KIND_BYTES;
}

int tykb_list_append(struct tykb_list *list, union tykb_value value) {
  int status = TYKB_OK;
  if (is_text(list)) value.text = tykb_context_copy(list->context, value.text, &status);
  return status ? status : tykb_list_append_owned(list, value);
}

int tykb_list_add(struct tykb_list *list, struct tykb_node **node) {
  union tykb_value none;
  memset(&none, 0, sizeof none);
  *node = NULL;
  int status = tykb_list_append_owned(list, none);
  return status ? status : tykb_list_node(list, list->count - 1, node);
}

int tykb_list_set(struct tykb_list *list, size_t at, union tykb_value value) {
  int status = load_list(list);
  if (!status && is_text(list)) value.text = tykb_context_copy(list->context, value.text, &status);
  if (status) return status;
  if (at >= list->count) return TYKB_E_ARGUMENT;
  list->elements[at].value = value;
  if (at < list->base)
    mark_list_drop(list);
  else
    mark_list(list);
  return TYKB_OK;
}

int tykb_list_reorder(struct tykb_list *list, const size_t *order, size_t count) {
  int status = load_list(list);
  if (status) return status;
  struct tykb_element *old = list->elements;
  size_t had = list->count;
  if (count > had) return TYKB_E_ARGUMENT;
  /* Not of the context's memory, which would keep a copy for each of many moves. */
  struct tykb_element *moved = tykb_mem_alloc(count * sizeof *moved);
  if (!moved) return TYKB_E_NO_MEMORY;
  for (size_t i = 0; i < count; i++) {
    if (order[i] >= had) {
      status = TYKB_E_ARGUMENT;
      goto done;
    }
    moved[i] = old[order[i]];
  }
  /* Who is not taken over loses its list, who is gets it back. */
  for (size_t i = 0; i < had; i++)
    if (old[i].node) old[i].node->list = NULL;
  for (size_t i = 0; i < count; i++)
    if (moved[i].node) moved[i].node->list = list;
  mark_list_drop(list);
  if (count) memcpy(list->elements, moved, count * sizeof *moved);
  list->count = count;
done:
  tykb_mem_free(moved);
  return status;
}

int tykb_list_remove(struct tykb_list *list, size_t at) {
  int status = load_list(list);
  if (status) return status;
  if (at >= list->count) return TYKB_E_ARGUMENT;
  struct tykb_element *gone = &list->elements[at];
  if (gone->node) gone->node->list = NULL;
  if (at < list->base)
    mark_list_drop(list);
  else
    mark_list(list);
  list->count--;
  memmove(gone, gone + 1, (list->count - at) * sizeof *gone);
  return TYKB_OK;
}

int tykb_list_touch(struct tykb_list *list) {
  mark_list(list);
  return TYKB_OK;
}

int tykb_list_detach(struct tykb_list *list) {
  int status = load_list(list);
  if (status == TYKB_E_MALFORMED) {
    list->loaded = true;
    status = TYKB_OK;
  }
  if (!status) list->owner = NULL;
  return status;
}
