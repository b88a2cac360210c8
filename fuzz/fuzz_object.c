/* Fuzzes the tree, the reader and the builder: the input is a message and a script of what a hook does to it.
 *
 * The first byte chooses the type, the next two the length of the message; the rest is the script, an operation a byte
 * and its arguments after it. README.md lists what is asserted. */
#include <stdio.h>
#include <stdlib.h>

#include "headers.h"
#include "mem.h"
#include "tree.h"

#define POOL 12
#define ASSERT(condition)                                                                                              \
  do {                                                                                                                 \
    if (!(condition)) {                                                                                                \
      fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);                                   \
      abort();                                                                                                         \
    }                                                                                                                  \
  } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- The script ---- */

struct script {
  const uint8_t *p, *end;
};

static uint8_t take(struct script *script) { return script->p < script->end ? *script->p++ : 0; }

static struct tykb_span take_bytes(struct script *script) {
  size_t size = take(script), left = (size_t)(script->end - script->p);
  struct tykb_span bytes = {script->p, size < left ? size : left};

  script->p += bytes.size;
  return bytes;
}

/* What the run knows of the tree. */
struct run {
  struct script script;
  struct tykb_context *context;
  struct tykb_span original;         /* the message, as the script gives it */
  uint8_t *input;                    /* the bytes that the tree borrows; NULL: no longer */
  struct tykb_node *nodes[1 + POOL]; /* the root first */
  struct tykb_map *maps[POOL];
  struct tykb_list *lists[POOL];
  size_t node_count, map_count, list_count; /* the root not counted */
  bool sound;  /* the message was well-formed, memory never lacked, nothing was lost: what is written can be compared */
  bool scarce; /* allocations may fail now */
  uint8_t letters[256];
  struct tykb_headers headers[2]; /* what moved: of the root, and of one other request */
  struct tykb_node *mover[2];
};

static void note(struct run *run, int status) {
  ASSERT(status == TYKB_OK || status == TYKB_E_MALFORMED || status == TYKB_E_NO_MEMORY);
  if (status == TYKB_E_NO_MEMORY) ASSERT(run->scarce);
  if (status != TYKB_OK) {
    ASSERT(!run->sound || run->scarce);
    run->sound = false;
  }
}

static uint64_t seen; /* so that reading is not optimised away */

static void look(struct tykb_span span) {
  for (size_t i = 0; i < span.size; i++) seen += span.data[i];
}

#define KEEP(pool, count, thing) (pool)[count < POOL ? count++ : (size_t)take(&run->script) % POOL] = thing

/* Text for a field: of a string only what is UTF-8. */
static struct tykb_span take_text(struct run *run, const struct tykb_field *field) {
  struct tykb_span bytes = take_bytes(&run->script);

  if (field->kind == TYKB_KIND_BYTES && field->shape != TYKB_MAP) return bytes;
  for (size_t i = 0; i < bytes.size; i++) run->letters[i] = bytes.data[i] & 0x7f;
  return (struct tykb_span){run->letters, bytes.size};
}

static union tykb_value take_value(struct run *run, const struct tykb_field *field) {
  union tykb_value value;
  uint64_t bits = 0;

  memset(&value, 0, sizeof value);
  if (field->kind == TYKB_KIND_STRING || field->kind == TYKB_KIND_BYTES) {
    value.text = take_text(run, field);
    return value;
  }
  for (int i = 0; i < 8; i++) bits = bits << 8 | (i < 6 && field->kind != TYKB_KIND_DOUBLE ? 0 : take(&run->script));
  value.number = (int64_t)bits;
  if (field->kind == TYKB_KIND_BOOL) value.number = bits & 1;
  if (field->kind == TYKB_KIND_INT32 || field->kind == TYKB_KIND_ENUM) value.number = (int16_t)bits;
  return value;
}

/* ---- The canonical form: what a message says, whatever its bytes ---- */

struct text {
  uint8_t *data;
  size_t size, room;
};

static void put(struct text *text, const void *data, size_t size) {
  if (text->room - text->size < size) {
    text->room = 2 * (text->size + size);
    text->data = realloc(text->data, text->room);
    ASSERT(text->data);
  }
  if (size) memcpy(text->data + text->size, data, size);
  text->size += size;
}

static void put_number(struct text *text, uint64_t number) { put(text, &number, sizeof number); }

static void put_span(struct text *text, struct tykb_span span) {
  put_number(text, span.size);
  put(text, span.data, span.size);
}

static int by_key(const void *a, const void *b) {
  const struct tykb_entry *x = *(const struct tykb_entry *const *)a, *y = *(const struct tykb_entry *const *)b;
  size_t size = x->key.size < y->key.size ? x->key.size : y->key.size;
  int order = size ? memcmp(x->key.data, y->key.data, size) : 0;

  return order ? order : (x->key.size > y->key.size) - (x->key.size < y->key.size);
}

static int canonical(struct text *text, struct tykb_node *node);

static int canonical_map(struct text *text, struct tykb_map *map) {
  const struct tykb_entry **sorted;
  struct tykb_entry *entries;
  size_t slots, count, live = 0;
  int status = tykb_map_entries(map, &entries, &slots, &count);

  if (status) return status;
  sorted = malloc((slots + 1) * sizeof *sorted);
  ASSERT(sorted);
  for (size_t i = 0; i < slots; i++)
    if (entries[i].live) sorted[live++] = &entries[i];
  ASSERT(live == count);
  qsort(sorted, live, sizeof *sorted, by_key);
  put_number(text, live);
  for (size_t i = 0; i < live && !status; i++) {
    struct tykb_node *node;

    put_span(text, sorted[i]->key);
    if (map->field->kind == TYKB_KIND_MESSAGE) {
      status = tykb_map_entry_node(map, (size_t)(sorted[i] - entries), &node);
      if (!status) status = canonical(text, node);
    } else {
      put_span(text, sorted[i]->value);
    }
  }
  free(sorted);
  return status;
}

static int canonical_list(struct text *text, struct tykb_list *list) {
  uint8_t kind = list->field->kind;
  struct tykb_element *elements;
  size_t count;
  int status = tykb_list_elements(list, &elements, &count);

  if (status) return status;
  put_number(text, count);
  for (size_t i = 0; i < count && !status; i++) {
    struct tykb_node *node;

    if (kind == TYKB_KIND_MESSAGE) {
      status = tykb_list_node(list, i, &node);
      if (!status) status = canonical(text, node);
    } else if (kind == TYKB_KIND_STRING || kind == TYKB_KIND_BYTES) {
      put_span(text, elements[i].value.text);
    } else {
      put_number(text, (uint64_t)elements[i].value.number);
    }
  }
  return status;
}

static int canonical_field(struct text *text, struct tykb_node *node, const struct tykb_field *field) {
  union tykb_value value;
  struct tykb_node *child;
  struct tykb_list *list;
  struct tykb_map *map;
  int status;

  if (field->shape == TYKB_MAP) {
    status = tykb_node_map(node, field, &map);
    return status ? status : canonical_map(text, map);
  }
  if (field->shape == TYKB_REPEATED) {
    status = tykb_node_list(node, field, &list);
    return status ? status : canonical_list(text, list);
  }
  if (field->kind == TYKB_KIND_MESSAGE) {
    status = tykb_node_has(node, field);
    if (status < 0) return status;
    put_number(text, (uint64_t)status);
    if (!status) return TYKB_OK;
    status = tykb_node_child(node, field, &child);
    return status ? status : canonical(text, child);
  }
  status = tykb_node_get(node, field, &value);
  if (status) return status;
  if (field->kind == TYKB_KIND_STRING || field->kind == TYKB_KIND_BYTES)
    put_span(text, value.text);
  else
    put_number(text, (uint64_t)value.number);
  return TYKB_OK;
}

static int canonical(struct text *text, struct tykb_node *node) {
  const struct tykb_type *type = tykb_node_type(node);
  int status = TYKB_OK;

  for (uint32_t i = 0; i < type->count && !status; i++) status = canonical_field(text, node, &type->fields[i]);
  return status;
}

/* The canonical form of bytes, read by a tree of their own. */
static struct text canonical_bytes(const struct tykb_type *type, struct tykb_span bytes) {
  struct tykb_context *context = tykb_context_new();
  struct text text = {NULL, 0, 0};

  ASSERT(context);
  ASSERT(canonical(&text, tykb_context_root(context, type, bytes)) == TYKB_OK);
  tykb_context_free(context);
  return text;
}

static void assert_same(struct text *a, struct text *b) {
  ASSERT(a->size == b->size);
  ASSERT(!a->size || !memcmp(a->data, b->data, a->size));
}

/* Whether bytes hold the field of a delta that names what to empty. Replies to those cannot be compared. */
static bool is_delta(struct tykb_span bytes) {
  const uint8_t *p = bytes.data, *end = tykb_span_end(bytes);
  struct tykb_wire_field field;

  while (p && p < end) {
    p = tykb_wire_next(p, end, &field);
    if (p && field.number == 1000) return true;
  }
  return false;
}

/* ---- The reader and the builder on whatever bytes ---- */

static bool inside(struct tykb_slice slice, struct tykb_span bytes) {
  const uint8_t *data = (const uint8_t *)slice.data;

  if (!slice.size) return data != NULL;
  return data >= bytes.data && slice.size <= (size_t)(bytes.data + bytes.size - data);
}

/* Walks a message item by item and builds it again; returns what the reader ended with. */
static int walk(struct tykb_span bytes) {
  struct CoProcessMessage message = {(void *)(uintptr_t)bytes.data, (int)bytes.size}, out;
  tykb_builder *builder = tykb_builder_new();
  tykb_reader reader;
  struct tykb_item item;
  bool cleared = true;
  int status;

  tykb_reader_init(&reader, &message);
  while ((status = tykb_reader_next(&reader, &item)) == 1) {
    ASSERT(inside(item.key, bytes) && inside(item.value, bytes));
    ASSERT(item.path != TYKB_CLEARED || cleared); /* those come first */
    cleared = item.path == TYKB_CLEARED;
    if (cleared) continue;
    look((struct tykb_span){(const uint8_t *)item.key.data, item.key.size});
    look((struct tykb_span){(const uint8_t *)item.value.data, item.value.size});
    if (item.key.size)
      tykb_builder_pair(builder, item.path, item.key.data, item.key.size, item.value.data, item.value.size);
    else if (item.real != 0)
      tykb_builder_real(builder, item.path, item.real);
    else if (item.number)
      tykb_builder_number(builder, item.path, item.number);
    else if (item.value.size)
      tykb_builder_text(builder, item.path, item.value.data, item.value.size);
  }
  ASSERT(status == 0 || status == TYKB_E_MALFORMED);
  ASSERT(tykb_reader_next(&reader, &item) == status);
  tykb_builder_finish(builder, &out);
  ASSERT(out.p_data && out.length >= 0); /* a message, or words */
  free(out.p_data);
  tykb_builder_free(builder);
  return status;
}

/* ---- Replies ---- */

/* The original, with the fields emptied that the delta names, and the delta behind it. */
static struct text merged(struct run *run, struct tykb_span delta) {
  struct tykb_context *context = tykb_context_new();
  struct tykb_node *root = tykb_context_root(context, &tykb_type_Object, run->original);
  struct CoProcessMessage message = {(void *)(uintptr_t)delta.data, (int)delta.size};
  struct text both = {NULL, 0, 0}, result;
  tykb_reader reader;
  struct tykb_item item;
  void *block;
  size_t size;

  tykb_reader_init(&reader, &message);
  while (tykb_reader_next(&reader, &item) == 1 && item.path == TYKB_CLEARED) {
    const struct tykb_field *field = NULL;
    struct tykb_node *node = root;
    bool there = true;

    for (int64_t path = item.number; path && there; path >>= 8) {
      if (field) {
        there = tykb_node_has(node, field) == 1;
        ASSERT(tykb_node_child(node, field, &node) == TYKB_OK);
      }
      field = &tykb_node_type(node)->fields[tykb_node_type(node)->by_number[path & 0xff]];
    }
    if (there) ASSERT(tykb_node_clear_field(node, field) == TYKB_OK);
  }
  ASSERT(tykb_node_write(root, TYKB_REPLY_FULL, tykb_reply_alloc, &block, &size) == TYKB_OK);
  put(&both, block, size);
  put(&both, delta.data, delta.size);
  result = canonical_bytes(&tykb_type_Object, (struct tykb_span){both.data, both.size});
  free(both.data);
  free(block);
  tykb_context_free(context);
  return result;
}

/* Writes the root both ways and compares what they say with each other and with the tree itself. */
static void write_replies(struct run *run) {
  struct tykb_node *root = run->nodes[0];
  const struct tykb_type *type = tykb_node_type(root);
  bool is_object = type == &tykb_type_Object;
  struct text of_tree = {NULL, 0, 0}, of_full, of_delta;
  void *full = NULL, *delta = NULL;
  size_t full_size, delta_size;
  int status;

  status = tykb_node_write(root, TYKB_REPLY_FULL, tykb_reply_alloc, &full, &full_size);
  ASSERT(!full == (status != TYKB_OK));
  note(run, status);
  status = tykb_node_write(root, TYKB_REPLY_DELTA, tykb_reply_alloc, &delta, &delta_size);
  ASSERT(!delta == (status != TYKB_OK));
  note(run, status);
  if (is_object && !run->scarce) {
    if (full) walk((struct tykb_span){full, full_size});
    if (delta) walk((struct tykb_span){delta, delta_size});
  }
  if (run->sound && !run->scarce) {
    of_full = canonical_bytes(type, (struct tykb_span){full, full_size});
    ASSERT(canonical(&of_tree, root) == TYKB_OK);
    assert_same(&of_tree, &of_full);
    if (is_object) {
      of_delta = merged(run, (struct tykb_span){delta, delta_size});
      assert_same(&of_delta, &of_full);
      free(of_delta.data);
    }
    free(of_full.data);
    free(of_tree.data);
  }
  free(full);
  free(delta);
}

/* What a dispatch asks first, against the usual ways of asking. */
static void identify(struct run *run) {
  struct tykb_span hook, bundle, key = {(const uint8_t *)"bundle_hash", 11}, found = {NULL, 0};
  struct tykb_context *context = tykb_context_new();
  struct tykb_node *root = tykb_context_root(context, &tykb_type_Object, run->original);
  struct tykb_map *spec;
  union tykb_value name;
  int status = tykb_object_identify(run->nodes[0], &hook, &bundle);

  ASSERT(status == TYKB_OK || (status == TYKB_E_MALFORMED && !run->sound));
  if (run->sound) {
    ASSERT(tykb_node_get(root, &tykb_type_Object.fields[1], &name) == TYKB_OK);
    ASSERT(hook.size == name.text.size && (!hook.size || !memcmp(hook.data, name.text.data, hook.size)));
    ASSERT(tykb_node_map(root, &tykb_type_Object.fields[5], &spec) == TYKB_OK);
    status = tykb_map_text(spec, key, &found);
    ASSERT(status == TYKB_OK || status == TYKB_E_NOT_FOUND);
    ASSERT(bundle.size == found.size && (!bundle.size || !memcmp(bundle.data, found.data, bundle.size)));
  }
  tykb_context_free(context);
}

/* ---- Operations ---- */

static void use_map(struct run *run, struct tykb_map *map) {
  const struct tykb_field *field = map->field;
  struct tykb_entry *entries, *entry;
  struct tykb_node *node;
  size_t slots, count;
  uint8_t operation = take(&run->script) % 5;
  uint8_t copied[256];
  struct tykb_span key = take_text(run, field), value;
  int status = TYKB_OK;
  bool found;

  memcpy(copied, key.data, key.size);
  key.data = copied;
  switch (operation) {
    case 0:
      status = field->kind == TYKB_KIND_MESSAGE ? TYKB_E_NOT_FOUND : tykb_map_text(map, key, &value);
      found = status == TYKB_OK;
      if (found || status == TYKB_E_NOT_FOUND) status = tykb_map_find(map, key, &entry);
      if (status || field->kind == TYKB_KIND_MESSAGE) break;
      ASSERT(found == (entry != NULL)); /* both ways of looking find the same */
      if (found)
        ASSERT(value.size == entry->value.size && (!value.size || !memcmp(value.data, entry->value.data, value.size)));
      break;
    case 1:
      if (field->kind != TYKB_KIND_MESSAGE) {
        status = tykb_map_put(map, key, take_text(run, field));
      } else {
        status = tykb_map_node(map, key, &node);
        if (!status) KEEP(run->nodes + 1, run->node_count, node);
      }
      break;
    case 2:
      status = tykb_map_remove(map, key);
      if (status == TYKB_E_NOT_FOUND) status = TYKB_OK;
      break;
    case 3:
      status = tykb_map_clear(map);
      break;
    default:
      status = tykb_map_entries(map, &entries, &slots, &count);
      for (size_t i = 0; i < slots && !status; i++) {
        if (!entries[i].live) continue;
        count--;
        look(entries[i].key);
        look(entries[i].value);
        if (field->kind != TYKB_KIND_MESSAGE) continue;
        status = tykb_map_entry_node(map, i, &node);
        if (!status) KEEP(run->nodes + 1, run->node_count, node);
      }
      ASSERT(status || !count);
  }
  note(run, status);
}

static void use_list(struct run *run, struct tykb_list *list) {
  const struct tykb_field *field = list->field;
  bool numbers = field->kind < TYKB_KIND_STRING, messages = field->kind == TYKB_KIND_MESSAGE;
  struct tykb_element *elements;
  struct tykb_node *node;
  size_t count, keep, *order;
  uint8_t operation = take(&run->script) % 5;
  int status = TYKB_OK;

  if (operation == 0) {
    status = messages ? tykb_list_add(list, &node) : tykb_list_append(list, take_value(run, field));
    if (messages && !status) KEEP(run->nodes + 1, run->node_count, node);
    note(run, status);
    return;
  }
  status = tykb_list_elements(list, &elements, &count);
  if (!status && operation == 1) {
    for (size_t i = 0; i < count && !numbers; i++) look(elements[i].value.text);
    if (messages && count) status = tykb_list_node(list, take(&run->script) % count, &node);
    if (messages && count && !status) KEEP(run->nodes + 1, run->node_count, node);
  } else if (!status && operation == 2) {
    if (!messages && count) status = tykb_list_set(list, take(&run->script) % count, take_value(run, field));
  } else if (!status && operation == 3) {
    order = malloc((count + 1) * sizeof *order);
    ASSERT(order);
    for (size_t i = 0; i < count; i++) order[i] = i;
    for (size_t i = 0; i < count; i++) {
      size_t other = take(&run->script) % count, kept = order[i];

      order[i] = order[other];
      order[other] = kept;
    }
    keep = count ? take(&run->script) % (count + 1) : 0;
    status = tykb_list_reorder(list, order, keep);
    free(order);
  } else if (!status) {
    status = tykb_list_reorder(list, NULL, 0);
  }
  note(run, status);
}

static void use_field(struct run *run, struct tykb_node *node, uint8_t operation) {
  const struct tykb_type *type = tykb_node_type(node);
  const struct tykb_field *field;
  struct tykb_node *child;
  struct tykb_list *list;
  struct tykb_map *map;
  union tykb_value value;
  int status = TYKB_OK;
  bool singular, message;

  if (!type->count) return;
  field = &type->fields[take(&run->script) % type->count];
  singular = field->shape == TYKB_SINGULAR;
  message = singular && field->kind == TYKB_KIND_MESSAGE;
  if (operation == 0 && singular && !message) {
    status = tykb_node_get(node, field, &value);
    if (!status && field->kind >= TYKB_KIND_STRING) look(value.text);
  } else if (operation == 1 && singular && !message) {
    status = tykb_node_set(node, field, take_value(run, field));
  } else if (operation == 2) {
    status = tykb_node_has(node, field);
    if (status > 0) status = TYKB_OK;
  } else if (operation == 3) {
    status = tykb_node_clear_field(node, field);
  } else if (operation == 4 && message) {
    struct tykb_span bytes = take_bytes(&run->script);

    if (!run->scarce && tykb_type_check(field->child, bytes) == TYKB_OK) status = tykb_node_replace(node, field, bytes);
  } else if (message) {
    status = tykb_node_child(node, field, &child);
    ASSERT(!child == (status != TYKB_OK));
    if (!status) KEEP(run->nodes + 1, run->node_count, child);
  } else if (field->shape == TYKB_MAP && operation == 0 && field->kind != TYKB_KIND_MESSAGE) {
    status = tykb_node_find(node, field, take_text(run, field), &value.text);
    if (!status) look(value.text);
    if (status == TYKB_E_NOT_FOUND) status = TYKB_OK;
  } else if (field->shape == TYKB_MAP) {
    status = tykb_node_map(node, field, &map);
    if (!status) KEEP(run->maps, run->map_count, map);
  } else if (field->shape == TYKB_REPEATED) {
    status = tykb_node_list(node, field, &list);
    if (!status) KEEP(run->lists, run->list_count, list);
  }
  note(run, status);
}

/* What the chain does after a hook: headers that were set move to where the next hook reads them. `which` says how many
 * writes were the hook's. */
static int move_headers(struct run *run, struct tykb_node *node, size_t which) {
  struct tykb_span value;
  struct tykb_headers *set = &run->headers[node == run->nodes[0] ? 0 : 1];
  if (tykb_node_type(node) != &tykb_type_MiniRequestObject) return TYKB_OK;
  if (run->mover[set - run->headers] && run->mover[set - run->headers] != node) return TYKB_OK;
  run->mover[set - run->headers] = node;
  int status = tykb_headers_take(node, tykb_node_writes(node) - (uint32_t)(which / 4), set);
  for (const struct tykb_header *header = status == 1 ? set->first : NULL; header; header = header->next) {
    int found = tykb_headers_find(node, header->name, &value);
    if (found == TYKB_OK) look(value);
    ASSERT(found != TYKB_E_NOT_FOUND || !run->sound);
  }
  return status == 1 ? TYKB_OK : status;
}

static void drop_input(struct run *run) {
  free(run->input);
  run->input = NULL;
}

static void step(struct run *run) {
  uint8_t operation = take(&run->script) % 19;
  size_t which = take(&run->script);
  struct tykb_node *node = run->nodes[which % (run->node_count + 1)];
  struct tykb_span bytes;
  int status = TYKB_OK;

  switch (operation) {
    case 6:
    case 7:
      if (run->map_count) use_map(run, run->maps[which % run->map_count]);
      break;
    case 8:
    case 9:
      if (run->list_count) use_list(run, run->lists[which % run->list_count]);
      break;
    case 10:
      bytes = take_bytes(&run->script);
      if (is_delta(bytes)) break;
      status = tykb_node_merge(node, bytes);
      if (status == TYKB_E_MALFORMED) status = TYKB_OK; /* and nothing was changed */
      break;
    case 11: /* its own bytes */
      if (run->input && tykb_node_type(node) == tykb_node_type(run->nodes[0]))
        status = tykb_node_merge(node, (struct tykb_span){run->input, run->original.size});
      break;
    case 12:
      status = which % 3 || node == run->nodes[0] ? tykb_node_touch(node) : tykb_node_clear(node);
      break;
    case 13:
      if (run->input && tykb_context_own_input(run->context) == TYKB_OK) drop_input(run);
      break;
    case 14:
      write_replies(run);
      break;
    case 15:
      if (which % 4 == 0) status = tykb_node_settle_body(node);
      break;
    case 16:
      run->scarce = which % 2;
      tykb_mem_fail_after(run->scarce ? (long)(which / 2 + 1) : 0);
      break;
    case 18:
      status = move_headers(run, node, which);
      break;
    case 17:
      if (which != 17 || !run->input) break; /* seldom, because little can be compared afterwards */
      tykb_context_lose_input(run->context);
      drop_input(run);
      run->sound = false;
      break;
    default:
      use_field(run, node, operation);
  }
  note(run, status);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct run run = {.script = {data, data + size}, .context = tykb_context_new()};
  const struct tykb_type *type = &tykb_type_Object;
  size_t choice = take(&run.script), types = 0;

  while (tykb_types[types]) types++;
  if (choice % 4 == 3) type = tykb_types[choice / 4 % types]; /* mostly the Object */
  run.original.size = (size_t)take(&run.script) << 8;
  run.original.size |= take(&run.script);
  run.original.data = run.script.p;
  if (run.original.size > (size_t)(run.script.end - run.script.p))
    run.original.size = (size_t)(run.script.end - run.script.p);
  run.script.p += run.original.size;
  run.input = malloc(run.original.size + 1);
  ASSERT(run.context && run.input);
  if (run.original.size) memcpy(run.input, run.original.data, run.original.size);
  run.input = realloc(run.input, run.original.size ? run.original.size : 1);
  run.nodes[0] = tykb_context_root(run.context, type, (struct tykb_span){run.input, run.original.size});
  ASSERT(run.nodes[0]);
  run.sound = tykb_type_check(type, run.original) == TYKB_OK && !is_delta(run.original);
  if (type == &tykb_type_Object) {
    int status = walk(run.original);

    if (run.sound) ASSERT(status == 0);
    if (choice & 0x40) identify(&run);
  }
  while (run.script.p < run.script.end) step(&run);
  run.scarce = false;
  tykb_mem_fail_after(0);
  write_replies(&run);
  tykb_context_free(run.context);
  drop_input(&run);
  return 0;
}
