/* Moves the headers that a hook set to where the next hook and the host find them. */
#include "headers.h"
#include "tree.h"

static const struct tykb_field *row(uint32_t number) {
  const struct tykb_type *type = &tykb_type_MiniRequestObject;
  return &type->fields[type->by_number[number]];
}

#define HEADERS row(1)
#define SET_HEADERS row(2)

/* ---- Names and values ---- */

static uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c; }

static bool same(struct tykb_span a, struct tykb_span b) {
  return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* Without regard to case. */
static bool alike(struct tykb_span a, struct tykb_span b) {
  if (a.size != b.size) return false;
  for (size_t i = 0; i < a.size; i++)
    if (a.data[i] != b.data[i] && lower(a.data[i]) != lower(b.data[i])) return false;
  return true;
}

/* A token: RFC 9110, section 5.6.2. */
static bool is_name(struct tykb_span name) {
  static const uint8_t token[256] = {
      ['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1, ['&'] = 1, ['\''] = 1, ['*'] = 1, ['+'] = 1, ['-'] = 1,
      ['.'] = 1, ['^'] = 1, ['_'] = 1, ['`'] = 1, ['|'] = 1, ['~'] = 1,  ['0'] = 1, ['1'] = 1, ['2'] = 1,
      ['3'] = 1, ['4'] = 1, ['5'] = 1, ['6'] = 1, ['7'] = 1, ['8'] = 1,  ['9'] = 1, ['a'] = 1, ['b'] = 1,
      ['c'] = 1, ['d'] = 1, ['e'] = 1, ['f'] = 1, ['g'] = 1, ['h'] = 1,  ['i'] = 1, ['j'] = 1, ['k'] = 1,
      ['l'] = 1, ['m'] = 1, ['n'] = 1, ['o'] = 1, ['p'] = 1, ['q'] = 1,  ['r'] = 1, ['s'] = 1, ['t'] = 1,
      ['u'] = 1, ['v'] = 1, ['w'] = 1, ['x'] = 1, ['y'] = 1, ['z'] = 1};
  for (size_t i = 0; i < name.size; i++)
    if (!token[lower(name.data[i])]) return false;
  return name.size > 0;
}

static bool is_value(struct tykb_span value) {
  for (size_t i = 0; i < value.size; i++)
    if (value.data[i] <= '\r' && (value.data[i] == '\r' || value.data[i] == '\n' || value.data[i] == 0)) return false;
  return true;
}

/* A header that follows from the body and is the host's. */
static bool is_framing(struct tykb_span name) {
  static const char length[] = "content-length", coding[] = "transfer-encoding";
  return alike(name, (struct tykb_span){(const uint8_t *)length, sizeof length - 1}) ||
         alike(name, (struct tykb_span){(const uint8_t *)coding, sizeof coding - 1});
}

/* ---- Finding ---- */

/* What a walk along the headers came to. */
struct found {
  bool any, other;               /* the name is there in any spelling; in another than what is wanted */
  struct tykb_span first, value; /* the first spelling, and the value that counts for it: the last */
};

static inline void compare(struct found *found, struct tykb_span wanted, struct tykb_span name,
                           struct tykb_span value) {
  if (name.size != wanted.size || !alike(name, wanted)) return;
  if (!same(name, wanted)) found->other = true;
  if (!found->any) found->first = name;
  if (!found->any || same(name, found->first)) found->value = value;
  found->any = true;
}

/* Entries of `headers`, maybe among other fields. */
static int walk(const uint8_t *p, const uint8_t *stop, const uint8_t *end, struct tykb_span wanted,
                struct found *found) {
  struct tykb_wire_field wire;
  struct tykb_span name, value;
  while (p < stop) {
    p = tykb_wire_next(p, end, &wire);
    if (!p) return TYKB_E_MALFORMED;
    if (wire.number != HEADERS->number || wire.type != TYKB_WIRE_LEN) continue;
    int status = tykb_entry_parse(wire.len, &name, &value);
    if (status) return status;
    compare(found, wanted, name, value);
  }
  return TYKB_OK;
}

/* The same where they are plain (tree.h), as they nearly always are. */
static void walk_plain(const uint8_t *p, const uint8_t *stop, struct tykb_span wanted, struct found *found) {
  struct tykb_span name, value;
  while (p < stop) {
    p = tykb_plain_entry(p, &name, &value);
    compare(found, wanted, name, value);
  }
}

/* The entry of a map's tail at `p`, and what follows it. The tail is of our own making: nothing in it needs a check. */
static const uint8_t *tail_entry(const uint8_t *p, struct tykb_span *name, struct tykb_span *value) {
  uint64_t size;
  p = tykb_wire_varint(p + 1, p + 11, &size); /* past the tag, which is of one byte for both fields */
  p = tykb_wire_varint(p + 1, p + 11, &size);
  *name = (struct tykb_span){p, (size_t)size};
  p = tykb_wire_varint(p + size + 1, p + size + 11, &size);
  *value = (struct tykb_span){p, (size_t)size};
  return p + size;
}

static int find(struct tykb_node *request, struct tykb_span wanted, struct found *found) {
  struct tykb_slot *slot = tykb_node_slot(request, HEADERS);
  const struct tykb_map *map = slot ? slot->map : NULL;
  struct tykb_span name, value;
  memset(found, 0, sizeof *found);
  if (map && (map->loaded || map->slots)) {
    struct tykb_entry *entries;
    size_t slots, count;
    int status = tykb_map_entries(slot->map, &entries, &slots, &count);
    for (size_t i = 0; i < slots; i++)
      if (entries[i].live) compare(found, wanted, entries[i].key, entries[i].value);
    return status;
  }
  if (!(slot && slot->drop)) {
    int status = tykb_node_scan(request);
    if (status) return status;
    uint32_t first = request->index[2 * HEADERS->index], last = request->index[2 * HEADERS->index + 1];
    const uint8_t *start = request->bytes.data;
    if (first && request->plain >> HEADERS->index & 1)
      walk_plain(start + first - 1, start + last, wanted, found);
    else if (first)
      status = walk(start + first - 1, start + last, start + request->bytes.size, wanted, found);
    if (status) return status;
  }
  struct tykb_span tail = {map ? map->tail : NULL, map ? map->tail_size : 0};
  for (const uint8_t *p = tail.data, *end = tykb_span_end(tail); p < end;) {
    p = tail_entry(p, &name, &value);
    compare(found, wanted, name, value);
  }
  return TYKB_OK;
}

int tykb_headers_find(struct tykb_node *request, struct tykb_span name, struct tykb_span *value) {
  struct found found;
  int status = find(request, name, &found);
  if (status) return status;
  *value = found.value;
  return found.any ? TYKB_OK : TYKB_E_NOT_FOUND;
}

/* ---- Taking ---- */

/* Whether all that was put can be moved as it stands: 1 or 0, or a status. */
static int is_plain(struct tykb_node *request, const struct tykb_map *map) {
  const uint8_t *p = map->tail, *end = p + map->tail_size;
  struct tykb_span name, value, other;
  while (p < end) {
    struct found found;
    p = tail_entry(p, &name, &value);
    if (!is_name(name) || !is_value(value)) return 0;
    int status = find(request, name, &found);
    if (status) return status;
    if (found.other) return 0;
    /* A name that is put twice, in two spellings: which one counts is not for here to say. */
    for (const uint8_t *q = p; q < end;) {
      q = tail_entry(q, &other, &value);
      if (alike(other, name)) return 0;
    }
  }
  return 1;
}

static int note(struct tykb_context *context, struct tykb_headers *set, struct tykb_span name, struct tykb_span value) {
  struct tykb_header **place = &set->first;
  while (*place && !alike((*place)->name, name)) place = &(*place)->next;
  if (!*place) {
    *place = tykb_alloc(context, sizeof **place);
    if (!*place) return TYKB_E_NO_MEMORY;
    (*place)->next = NULL;
  }
  (*place)->name = name;
  (*place)->value = value;
  return TYKB_OK;
}

int tykb_headers_take(struct tykb_node *request, uint32_t before, struct tykb_headers *set) {
  struct tykb_slot *slot = tykb_node_slot(request, SET_HEADERS);
  struct tykb_map *map = slot ? slot->map : NULL, *headers;
  /* Each entry of the tail was one write; one more write was to something else. */
  if (!map || map->loaded || map->slots || !map->tail_size || tykb_node_writes(request) - before != map->tail_count)
    return 0;
  int status = is_plain(request, map);
  if (status <= 0) return status;
  const uint8_t *p = map->tail, *end = p + map->tail_size;
  status = tykb_node_map(request, HEADERS, &headers);
  while (p < end && !status) {
    struct tykb_span name, value;
    p = tail_entry(p, &name, &value);
    if (is_framing(name)) continue;
    status = note(request->context, set, name, value);
    if (!status) status = tykb_map_put(headers, name, value);
  }
  /* The bytes stay, since `set` points to them: what the next hook puts goes elsewhere. */
  map->tail = NULL;
  map->tail_size = map->tail_room = map->tail_count = 0;
  return status ? status : 1;
}
