/* The inside of object.h's tree, for context.c, object.c, container.c, write.c and the fuzzer alone. */
#ifndef TYKB_TREE_H
#define TYKB_TREE_H

#include "object.h"

/* A field of a node that was touched: what it holds now. Few fields are touched, so the slots are a list. */
struct tykb_slot {
  struct tykb_slot *next;
  const struct tykb_field *field;
  uint32_t order; /* scalars: the context's clock at the last write */
  bool set;       /* scalars: `value` counts, not the bytes */
  bool drop;      /* what the node's bytes hold of the field is gone */
  bool skip;      /* scalars: not gone but overwritten by so much that a full reply leaves the old value out */
  union {
    union tykb_value value;
    struct tykb_node *node; /* NULL: cleared */
    struct tykb_map *map;
    struct tykb_list *list;
  };
};

/* One message. */
struct tykb_node {
  struct tykb_context *context;
  const struct tykb_type *type;
  struct tykb_span bytes; /* what it was read from; the parent's bytes hold them too, unless `own` */
  struct tykb_node *next; /* all nodes of the context */
  struct tykb_slot **last_slot;
  /* Whose part it is: a field of `parent`, or an element of `map` (at `element`) or `list`. All NULL: the root, or detached. */
  struct tykb_node *parent;
  const struct tykb_field *field;
  /* From here on a new node is zeros. */
  struct tykb_map *map;
  struct tykb_list *list;
  size_t element;
  uint32_t *index; /* per row: offset + 1 of its first and of its last occurrence, 0: none; NULL: not scanned */
  uint64_t plain;  /* of what is scanned, a bit per row: a map, its entries plain (object.c), one behind the other */
  struct tykb_slot *slots;
  struct tykb_span unknown; /* unknown fields that were merged in */
  size_t unknown_room;
  void *view;
  bool present;
  bool changed;  /* something at or below was written: so it is in all above */
  bool splice;   /* something at or below is gone: bytes cannot be copied whole. So it is in all above */
  bool own;      /* the parent's bytes do not hold `bytes` */
  bool whole;    /* between the two passes of a write: bytes and changes, not changes alone */
  uint8_t finds; /* how often its bytes were walked for a key */
  size_t size;   /* not zeroed. Between the two passes of a write: how long it will be */
};

struct tykb_map {
  struct tykb_node *owner; /* NULL: detached */
  struct tykb_slot *slot;
  const struct tykb_field *field;
  struct tykb_context *context;
  struct tykb_map *next; /* all maps of the context */
  void *view;
  /* From here on a new map is zeros. Until the map is read, what is put into a map of text is kept as the reply will have
   * it: entries behind each other. Few of them, since a key is looked for by walking. */
  uint8_t *tail;
  size_t tail_size, tail_room;
  struct tykb_entry *entries;
  size_t slots, room, count;
  uint32_t *table; /* hash table of slot + 1, once there are many; 0: free */
  size_t table_size;
  uint32_t version;
  uint32_t tail_count;
  bool loaded; /* the entries of the owner's bytes are among `entries` */
};

struct tykb_list {
  struct tykb_node *owner; /* NULL: detached */
  struct tykb_slot *slot;
  const struct tykb_field *field;
  struct tykb_context *context;
  struct tykb_list *next; /* all lists of the context */
  void *view;
  struct tykb_element *elements;
  size_t count, room;
  size_t base; /* how many at the front are from the owner's bytes */
  bool loaded;
};

/* What is allocated starts at a multiple of sixteen, and so does what of it is zeroed: then no store of sixteen bytes is on
 * two lines of the cache, behind which a load waits. */
enum { TYKB_ALIGN = 16 };

struct tykb_block {
  _Alignas(TYKB_ALIGN) struct tykb_block *next;
  size_t size, used;
};

struct tykb_context {
  _Alignas(TYKB_ALIGN) struct tykb_span input;
  bool owned; /* the input is in the arena */
  uint32_t clock;
  uint32_t writes; /* calls of tykb_node_mark: each write makes one or more, a put into a map's tail exactly one */
  struct tykb_node *nodes;
  struct tykb_map *maps;
  struct tykb_list *lists;
  struct tykb_block *block; /* the newest; the oldest is part of the context's own allocation */
};

TYKB_ASIDE void *tykb_alloc_block(struct tykb_context *context, size_t size);

/* tykb_context_alloc, inline. */
TYKB_HOT void *tykb_alloc(struct tykb_context *context, size_t size) {
  struct tykb_block *block = context->block;
  if (size > SIZE_MAX - TYKB_ALIGN) return NULL;
  size = (size + TYKB_ALIGN - 1) & ~(size_t)(TYKB_ALIGN - 1);
  if (block->size - block->used < size) return tykb_alloc_block(context, size);
  void *data = (uint8_t *)(block + 1) + block->used;
  block->used += size;
  return data;
}

/* In steps: for a memset of more than 80 bytes gcc takes "rep stos", which costs more than all else here. */
static inline void tykb_zero(void *data, size_t size) {
  uint8_t *p = data;
  for (; size > 64; size -= 64, p += 64) memset(p, 0, 64);
  memset(p, 0, size);
}

/* Whether a field's value may come with this wire type (numbers of a list also packed). */
bool tykb_field_fits(const struct tykb_field *field, uint32_t wire_type);
/* A scalar as the wire has it. */
union tykb_value tykb_field_value(const struct tykb_field *field, const struct tykb_wire_field *wire);
/* The key and value of a map's entry. */
int tykb_entry_parse(struct tykb_span payload, struct tykb_span *key, struct tykb_span *value);
/* The value of a message map's entry: should there be several pieces, they make one message, as everywhere. */
int tykb_entry_message(struct tykb_context *context, struct tykb_span payload, struct tykb_span *value);

/* The entry at `p` of a map that is `plain`, and what follows it. */
static inline const uint8_t *tykb_plain_entry(const uint8_t *p, struct tykb_span *key, struct tykb_span *value) {
  size_t size = p[1];
  const uint8_t *entry = p + 2;
  if (size >= 0x80) size = (size & 0x7f) | (size_t)*entry++ << 7;
  key->data = entry + 2;
  key->size = entry[1];
  value->data = key->data + key->size;
  value->data += value->data[1] < 0x80 ? 2 : 3;
  value->size = (size_t)(entry + size - value->data);
  return entry + size;
}

struct tykb_span tykb_context_copy(struct tykb_context *context, struct tykb_span text, int *status);
/* A node that no one owns yet. */
struct tykb_node *tykb_node_new(struct tykb_context *context, const struct tykb_type *type, struct tykb_span bytes);
/* Fills in the index. */
int tykb_node_scan(struct tykb_node *node);
struct tykb_slot *tykb_node_slot(const struct tykb_node *node, const struct tykb_field *field);
/* A map that is read this often is worth loading; before, its entries in the node's bytes are walked each time. */
enum { TYKB_FINDS = 16 };
/* The value that the node's bytes hold for a key of a map. Walks them. */
int tykb_node_find_bytes(struct tykb_node *node, const struct tykb_field *field, struct tykb_span key,
                         struct tykb_span *value);
/* Something was written at `node`: all above hear of it. */
void tykb_node_mark(struct tykb_node *node);
/* Something that the bytes of `node` hold is gone. */
void tykb_node_mark_splice(struct tykb_node *node);
/* Takes the node out of whatever holds it. */
void tykb_node_detach(struct tykb_node *node);
/* tykb_node_merge of bytes that are checked and in the arena. */
int tykb_node_merge_checked(struct tykb_node *node, struct tykb_span bytes);

/* Puts a value whose bytes are in the arena. `value` of a message map: the message's bytes. */
int tykb_map_put_owned(struct tykb_map *map, struct tykb_span key, struct tykb_span value);
int tykb_list_append_owned(struct tykb_list *list, union tykb_value value);
/* Cuts the container off: it stays readable, and no longer belongs to its message. */
int tykb_map_detach(struct tykb_map *map);
int tykb_list_detach(struct tykb_list *list);

#endif
