/* The memory of a tree: an arena, and the input that it borrows or owns. */
#include "mem.h"
#include "tree.h"

#ifdef TYKB_TEST_ALLOC
/* Each piece of memory is a block of its own: a test makes it fail, and a sanitizer sees a step past its end. */
enum { FIRST_BLOCK = 0, LATER_BLOCK = 0 };
#else
enum { FIRST_BLOCK = 4096 - 64, LATER_BLOCK = 16384 };
#endif

struct tykb_context *tykb_context_new(void) {
  struct tykb_context *context = tykb_mem_alloc(sizeof *context + sizeof(struct tykb_block) + FIRST_BLOCK);
  if (!context) return NULL;
  memset(context, 0, sizeof *context);
  context->block = (struct tykb_block *)(context + 1);
  context->block->next = NULL;
  context->block->size = FIRST_BLOCK;
  context->block->used = 0;
  return context;
}

void tykb_context_reset(struct tykb_context *context) {
  while (context->block->next) {
    struct tykb_block *block = context->block;
    context->block = block->next;
    tykb_mem_free(block);
  }
  context->block->used = 0;
  context->input = (struct tykb_span){NULL, 0};
  context->owned = false;
  context->clock = 0;
  context->writes = 0;
  context->nodes = NULL;
  context->maps = NULL;
  context->lists = NULL;
}

void tykb_context_free(struct tykb_context *context) {
  if (!context) return;
  tykb_context_reset(context);
  tykb_mem_free(context);
}

void *tykb_alloc_block(struct tykb_context *context, size_t size) {
  size_t room = size > LATER_BLOCK / 4 ? size : LATER_BLOCK;
  struct tykb_block *block;
  if (room > SIZE_MAX - sizeof *block) return NULL;
  block = tykb_mem_alloc(sizeof *block + room);
  if (!block) return NULL;
  block->size = room;
  block->used = size;
  block->next = context->block;
  context->block = block;
  return block + 1;
}

void *tykb_context_alloc(struct tykb_context *context, size_t size) { return tykb_alloc(context, size); }

struct tykb_span tykb_context_copy(struct tykb_context *context, struct tykb_span text, int *status) {
  struct tykb_span copy = {NULL, 0};
  *status = TYKB_OK;
  if (text.size == 0) return copy;
  uint8_t *data = tykb_alloc(context, text.size);
  if (!data) {
    *status = TYKB_E_NO_MEMORY;
    return copy;
  }
  memcpy(data, text.data, text.size);
  copy.data = data;
  copy.size = text.size;
  return copy;
}

struct tykb_node *tykb_context_root(struct tykb_context *context, const struct tykb_type *type,
                                    struct tykb_span input) {
  struct tykb_node *root = tykb_node_new(context, type, input);
  context->input = input;
  context->owned = false;
  if (root) root->present = true;
  return root;
}

/* Integers, for the pointers need not belong to one block: a span may be of the arena already, and stand right behind
 * the input there. */
static void move_span(struct tykb_span *span, struct tykb_span from, const uint8_t *to) {
  uintptr_t at = (uintptr_t)span->data, start = (uintptr_t)from.data;
  if (!span->data || at < start || at - start > from.size || span->size > from.size - (at - start)) return;
  span->data = to ? to + (at - start) : NULL;
  if (!to) span->size = 0;
}

/* Makes all that points into the input point into `to`, or nowhere. */
static void move_input(struct tykb_context *context, const uint8_t *to) {
  struct tykb_span from = context->input;
  for (struct tykb_node *node = context->nodes; node; node = node->next) {
    move_span(&node->bytes, from, to);
    if (!to && !node->bytes.data) node->index = NULL; /* its offsets are past the end now */
  }
  for (struct tykb_map *map = context->maps; map; map = map->next) {
    for (size_t i = 0; i < map->slots; i++) {
      move_span(&map->entries[i].key, from, to);
      move_span(&map->entries[i].value, from, to);
    }
  }
  for (struct tykb_list *list = context->lists; list; list = list->next) {
    bool numbers = list->field->kind < TYKB_KIND_STRING;
    for (size_t i = 0; !numbers && i < list->count; i++) move_span(&list->elements[i].value.text, from, to);
  }
  context->input = (struct tykb_span){to, to ? from.size : 0};
  context->owned = true;
}

int tykb_context_own_input(struct tykb_context *context) {
  int status;
  if (context->owned || context->input.size == 0) return TYKB_OK;
  struct tykb_span copy = tykb_context_copy(context, context->input, &status);
  if (!status) move_input(context, copy.data);
  return status;
}

void tykb_context_lose_input(struct tykb_context *context) {
  if (!context->owned) move_input(context, NULL);
}
