/* What the tests of the tree share: short names of tags for vectors, and a tree over bytes on the heap. */
#ifndef TYKB_TESTS_TREE_CHECK_H
#define TYKB_TESTS_TREE_CHECK_H

#include "check.h"
#include "mem.h"
#include "object.h"

/* Tags, so that a vector reads as it is meant: REQUEST "\x04" URL S2("/a") is an Object whose request.url is "/a". */
#define HOOK_TYPE "\x08"
#define HOOK_NAME "\x12"
#define REQUEST "\x1a"
#define SESSION "\x22"
#define METADATA "\x2a"
#define SPEC "\x32"
#define RESPONSE "\x3a"
#define HEADERS "\x0a" /* of the request */
#define SET_HEADERS "\x12"
#define DELETE_HEADERS "\x1a"
#define BODY "\x22"
#define URL "\x2a"
#define OVERRIDES "\x52"
#define METHOD "\x5a"
#define RAW_BODY "\x72"
#define RESPONSE_CODE "\x08" /* of the overrides */
#define RATE "\x19"          /* of the session */
#define RIGHTS "\x52"
#define ORG_ID "\x5a"
#define BASIC_AUTH "\x72"
#define HMAC_ENABLED "\x80\x01"
#define MONITOR "\xaa\x01"
#define SESSION_METADATA "\xba\x01"
#define TAGS "\xc2\x01"
#define LIMITS "\x0a"   /* of the monitor, packed */
#define LIMIT "\x09"    /* one of them, not packed */
#define API_NAME "\x0a" /* of an access definition */
#define VERSIONS "\x1a"
#define STATUS_CODE "\x08" /* of the response */
#define RESPONSE_HEADERS "\x22"
#define MULTIVALUE "\x2a"
#define KEY "\x0a" /* of a map's entry, and of a Header */
#define VALUE "\x12"
#define PAIR(key, value)                                                                                               \
  "\x06" KEY S1(key)                                                                                                   \
  VALUE S1(value)                      /* an entry of a letter and a letter */
#define UNKNOWN "\xa0\x06\x01"         /* field 100, a varint */
#define UNKNOWN_STRING "\xa2\x06\x01u" /* field 100 again */
#define CLEARED "\xc2\x3e"
#define ONE "\x00\x00\x00\x00\x00\x00\xf0\x3f" /* doubles */
#define TWO "\x00\x00\x00\x00\x00\x00\x00\x40"
#define ZERO "\x00\x00\x00\x00\x00\x00\x00\x00"

struct tree {
  struct tykb_context *context;
  struct tykb_node *root;
  struct tykb_span input; /* on the heap */
};

static inline struct tree tree_open(const struct tykb_type *type, struct tykb_span bytes) {
  struct tree tree = {tykb_context_new(), NULL, check_heap(bytes)};

  if (!tree.context) abort();
  tree.root = tykb_context_root(tree.context, type, tree.input);
  if (!tree.root) abort();
  return tree;
}

static inline struct tree object(struct tykb_span bytes) { return tree_open(&tykb_type_Object, bytes); }

static inline void tree_close(struct tree *tree) {
  tykb_context_free(tree->context);
  free((void *)tree->input.data);
}

static inline const struct tykb_field *field(const struct tykb_node *node, const char *name) {
  const struct tykb_type *type = tykb_node_type(node);

  for (uint32_t i = 0; i < type->count; i++)
    if (!strcmp(type->fields[i].name, name)) return &type->fields[i];
  printf("%s has no field %s\n", type->name, name);
  abort();
}

static inline struct tykb_span text(const char *words) {
  return (struct tykb_span){(const uint8_t *)words, strlen(words)};
}

static inline struct tykb_node *child(struct tykb_node *node, const char *name) {
  struct tykb_node *found;

  return tykb_node_child(node, field(node, name), &found) == TYKB_OK ? found : NULL;
}

static inline struct tykb_map *map_of(struct tykb_node *node, const char *name) {
  struct tykb_map *map;

  return tykb_node_map(node, field(node, name), &map) == TYKB_OK ? map : NULL;
}

static inline struct tykb_list *list_of(struct tykb_node *node, const char *name) {
  struct tykb_list *list;

  return tykb_node_list(node, field(node, name), &list) == TYKB_OK ? list : NULL;
}

static inline int put_text(struct tykb_node *node, const char *name, const char *words) {
  return tykb_node_set(node, field(node, name), (union tykb_value){.text = text(words)});
}

static inline int put_number(struct tykb_node *node, const char *name, int64_t number) {
  return tykb_node_set(node, field(node, name), (union tykb_value){.number = number});
}

static inline int put_pair(struct tykb_map *map, const char *key, const char *value) {
  return tykb_map_put(map, text(key), text(value));
}

static inline int append_text(struct tykb_list *list, const char *words) {
  return tykb_list_append(list, (union tykb_value){.text = text(words)});
}

static inline int has_text(struct tykb_node *node, const char *name, const char *words) {
  union tykb_value value;

  return tykb_node_get(node, field(node, name), &value) == TYKB_OK && check_same(value.text, text(words));
}

static inline int has_number(struct tykb_node *node, const char *name, int64_t number) {
  union tykb_value value;

  return tykb_node_get(node, field(node, name), &value) == TYKB_OK && value.number == number;
}

/* Whether the map holds `value` at `key`; with NULL: whether it holds nothing there. */
static inline int has_pair(struct tykb_map *map, const char *key, const char *value) {
  struct tykb_entry *entry;

  if (tykb_map_find(map, text(key), &entry) != TYKB_OK) return 0;
  return value ? entry && check_same(entry->value, text(value)) : !entry;
}

static inline size_t count_of(struct tykb_map *map) {
  struct tykb_entry *entries;
  size_t slots, count;

  return tykb_map_entries(map, &entries, &slots, &count) == TYKB_OK ? count : SIZE_MAX;
}

/* The texts of a list, with a comma after each. */
static inline int has_texts(struct tykb_list *list, const char *words) {
  struct tykb_element *elements;
  size_t count, at = 0;

  if (tykb_list_elements(list, &elements, &count) != TYKB_OK) return 0;
  for (size_t i = 0; i < count; i++) {
    struct tykb_span one = elements[i].value.text;

    if (strncmp(words + at, (const char *)one.data, one.size) || words[at + one.size] != ',') return 0;
    at += one.size + 1;
  }
  return words[at] == 0;
}

/* Whether the tree writes these bytes; shows what it wrote where it does not. */
static inline int writes(struct tykb_node *node, uint32_t flags, struct tykb_span expected) {
  void *data;
  size_t size;
  int same;

  if (tykb_node_write(node, flags, tykb_reply_alloc, &data, &size) != TYKB_OK) return 0;
  same = check_same((struct tykb_span){data, size}, expected);
  for (size_t i = 0; !same && i < size; i++)
    fprintf(stderr, "%02x%s", ((uint8_t *)data)[i], i + 1 < size ? " " : " was written\n");
  free(data);
  return same;
}

#define FULL(node, literal) writes(node, TYKB_REPLY_FULL, BYTES(literal))
#define DELTA(node, literal) writes(node, TYKB_REPLY_DELTA, BYTES(literal))

#endif
