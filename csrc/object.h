/* A coprocess.Object as a tree that is decoded only where it is touched.
 *
 * A message starts as nothing but the span of its bytes. Reading a field scans the message once and notes where each
 * field stands; a field never touched is never decoded. Writing keeps the new value beside the bytes. The reply is the
 * original bytes with the changes appended (concatenating protobuf messages merges them); only where something was
 * removed is a message written anew without it.
 *
 * Memory   Everything belongs to one struct tykb_context: an arena that is freed, or reset, as a whole. A removed node stays
 *          valid (detached) until then. The input is borrowed until tykb_context_own_input copies it.
 * Threads  One at a time; the Cython module holds Python's lock, the builder is its caller's.
 * Errors   int results are enum tykb_status; functions that return a pointer return NULL for lack of memory.
 * Hostile  Lengths are checked before use (wire.h); nesting is bounded by the schema, which has no recursion; maps are
 *          hashed, so that many keys cost no more than many bytes. */
#ifndef TYKB_OBJECT_H
#define TYKB_OBJECT_H

#include "api.h"
#include "wire.h"

enum tykb_kind {
  TYKB_KIND_BOOL,
  TYKB_KIND_INT32,
  TYKB_KIND_INT64,
  TYKB_KIND_ENUM,
  TYKB_KIND_DOUBLE,
  TYKB_KIND_STRING,
  TYKB_KIND_BYTES,
  TYKB_KIND_MESSAGE
};

enum tykb_shape { TYKB_SINGULAR, TYKB_REPEATED, TYKB_MAP };

/* One row of the table that tools/gen_fields.py writes from proto/. For a map (keys are strings throughout), `kind` and
 * `child` tell of its values. */
struct tykb_field {
  const char *name;
  uint32_t number;
  uint8_t index; /* the row's place in its type */
  uint8_t kind;  /* enum tykb_kind */
  uint8_t shape; /* enum tykb_shape */
  const struct tykb_type *child;
};

struct tykb_type {
  const char *name; /* "MiniRequestObject" */
  const struct tykb_field *fields;
  uint32_t count;
  uint32_t max_number;
  const int8_t *by_number; /* [0 .. max_number]: a row's index, or -1 */
  int8_t body, raw_body;   /* rows of the pair of which the one written last wins (contract), or -1 */
};

extern const struct tykb_type *const tykb_types[]; /* all types, ended by NULL */
extern const struct tykb_type tykb_type_Object, tykb_type_MiniRequestObject, tykb_type_SessionState,
    tykb_type_ResponseObject;

struct tykb_context;
struct tykb_node;
struct tykb_map;
struct tykb_list;

/* A scalar. Integers, enums and bools in `number`; text and bytes in `text`. */
union tykb_value {
  int64_t number;
  double real;
  struct tykb_span text;
};

/* ---- Context ---- */

struct tykb_context *tykb_context_new(void);
void tykb_context_free(struct tykb_context *context);
/* Forgets every node and keeps the first block of memory for the next message. */
void tykb_context_reset(struct tykb_context *context);
/* The message that `input` spells, as the root of a tree. Borrows the bytes. NULL: no memory. */
struct tykb_node *tykb_context_root(struct tykb_context *context, const struct tykb_type *type, struct tykb_span input);
/* Copies what was borrowed, so that the tree outlives the input. */
int tykb_context_own_input(struct tykb_context *context);
/* For when that copy cannot be had: whatever still points into the input reads as empty from now on. */
void tykb_context_lose_input(struct tykb_context *context);
/* Memory that lives as long as the context. */
void *tykb_context_alloc(struct tykb_context *context, size_t size);

/* ---- Messages ---- */

const struct tykb_type *tykb_node_type(const struct tykb_node *node);
/* A place for whoever shows the node to keep what shows it; likewise tykb_map_view and tykb_list_view. NULL at first. */
void **tykb_node_view(struct tykb_node *node);
/* A singular scalar's value, the default when it is not set. Text is handed out unchecked: whoever shows it to a
 * plugin checks the UTF-8. */
int tykb_node_get(struct tykb_node *node, const struct tykb_field *field, union tykb_value *value);
/* Copies text. */
int tykb_node_set(struct tykb_node *node, const struct tykb_field *field, union tykb_value value);
/* 1 or 0 (a message: present; a scalar: not the default; a map or list: not empty), or a negative status. */
int tykb_node_has(struct tykb_node *node, const struct tykb_field *field);
/* The child of a singular message field; reading it does not make it present. *child is NULL on failure. */
int tykb_node_child(struct tykb_node *node, const struct tykb_field *field, struct tykb_node **child);
int tykb_node_map(struct tykb_node *node, const struct tykb_field *field, struct tykb_map **map);
int tykb_node_list(struct tykb_node *node, const struct tykb_field *field, struct tykb_list **list);
/* tykb_map_text of a field, at first without even making the map. */
int tykb_node_find(struct tykb_node *node, const struct tykb_field *field, struct tykb_span key,
                   struct tykb_span *value);
/* What a dispatch must know of an Object first: the hook's name and the spec's bundle_hash, in one pass that is the scan
 * as well. An empty span where there is none. */
int tykb_object_identify(struct tykb_node *root, struct tykb_span *hook, struct tykb_span *bundle);
/* Makes the message present in its parent, as SetInParent does. */
int tykb_node_touch(struct tykb_node *node);
int tykb_node_clear_field(struct tykb_node *node, const struct tykb_field *field);
/* Empties the message, unknown fields too. What was handed out of it keeps its content and belongs to nobody. A
 * delta has no word for an emptied root. */
int tykb_node_clear(struct tykb_node *node);
/* Merges serialised bytes in, as MergeFromString does; the bytes may be the message's own. On TYKB_E_MALFORMED nothing
 * was changed. Copies what it keeps. */
int tykb_node_merge(struct tykb_node *node, struct tykb_span bytes);
/* A singular message field gets `bytes` instead of what it held, undecoded. Copies them. */
int tykb_node_replace(struct tykb_node *node, const struct tykb_field *field, struct tykb_span bytes);
/* Whether anything at or below the message was written. */
bool tykb_node_changed(const struct tykb_node *node);
/* How often anything of the whole tree was written. Wraps. */
uint32_t tykb_node_writes(const struct tykb_node *node);
/* Writes the message into a fresh block. `flags`: TYKB_REPLY_FULL or TYKB_REPLY_DELTA (root only). `alloc` is
 * tykb_reply_alloc or tykb_mem_alloc. TYKB_E_TOO_LARGE past INT_MAX. An empty message: a block all the same, size 0. */
int tykb_node_write(struct tykb_node *node, uint32_t flags, void *(*alloc)(size_t), void **data, size_t *size);
/* Lets the body that was written last win in both fields of the pair (contract.md, section 13): for a request or a
 * response, before a reply is written. */
int tykb_node_settle_body(struct tykb_node *node);
/* Whether tykb_node_merge of these bytes into a message of the type would find them sound. */
int tykb_type_check(const struct tykb_type *type, struct tykb_span bytes);

/* ---- Maps: string keys, values of the field's kind (strings or messages here) ---- */

struct tykb_entry {
  struct tykb_span key;
  struct tykb_span value; /* text, or a message's bytes as they came */
  struct tykb_node *node; /* message maps: made at first need by tykb_map_entry_node */
  uint32_t hash;
  bool live;    /* false: removed */
  bool base;    /* the input has the key */
  bool changed; /* not in the input, or other than there */
};

void **tykb_map_view(struct tykb_map *map);
/* Rises with each change of the set of keys: an iteration that sees it move must stop. */
uint32_t tykb_map_version(const struct tykb_map *map);
/* Makes the message that the map belongs to present; tykb_list_touch does it for a list. */
int tykb_map_touch(struct tykb_map *map);
/* *entry is NULL when the key is missing. */
int tykb_map_find(struct tykb_map *map, struct tykb_span key, struct tykb_entry **entry);
/* Text maps: the value of a key, TYKB_E_NOT_FOUND when it is missing. Does not decode the rest for the few keys that
 * most hooks read. The value is borrowed until the next change. */
int tykb_map_text(struct tykb_map *map, struct tykb_span key, struct tykb_span *value);
/* Text maps. Copies both. Does not decode what the input holds. */
int tykb_map_put(struct tykb_map *map, struct tykb_span key, struct tykb_span value);
/* Message maps: the value of `key`, made empty when missing. */
int tykb_map_node(struct tykb_map *map, struct tykb_span key, struct tykb_node **node);
/* TYKB_E_NOT_FOUND when the key is missing. */
int tykb_map_remove(struct tykb_map *map, struct tykb_span key);
int tykb_map_clear(struct tykb_map *map);
/* Decodes, and hands out the entries, *slots of them of which *count are live. Valid until the next change. */
int tykb_map_entries(struct tykb_map *map, struct tykb_entry **entries, size_t *slots, size_t *count);
/* Message maps: the message of an entry. */
int tykb_map_entry_node(struct tykb_map *map, size_t slot, struct tykb_node **node);

/* ---- Lists ---- */

struct tykb_element {
  union tykb_value value; /* of a message: its bytes as they came */
  struct tykb_node *node; /* lists of messages: made at first need by tykb_list_node */
};

void **tykb_list_view(struct tykb_list *list);
/* Decodes, and hands out the elements. Valid until the next change. */
int tykb_list_elements(struct tykb_list *list, struct tykb_element **elements, size_t *count);
/* Lists of messages: the message of an element. */
int tykb_list_node(struct tykb_list *list, size_t at, struct tykb_node **node);
/* Adds at the end, without decoding what the input holds. Copies text. */
int tykb_list_append(struct tykb_list *list, union tykb_value value);
/* Lists of messages: a new empty one at the end. */
int tykb_list_add(struct tykb_list *list, struct tykb_node **node);
int tykb_list_set(struct tykb_list *list, size_t at, union tykb_value value);
/* Moves: element i becomes the one that stood at order[i]; `count` of them stay. No index twice. Removal, insertion of what
 * was appended, sorting and reversing are all this. */
int tykb_list_reorder(struct tykb_list *list, const size_t *order, size_t count);
int tykb_list_remove(struct tykb_list *list, size_t at);
int tykb_list_touch(struct tykb_list *list);

#endif
