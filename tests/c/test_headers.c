/* Headers that hooks set, on their way to the next hook and the host: csrc/headers.c. */
#include "headers.h"
#include "tree_check.h"

#define SET_HEADERS "\x12"

struct chain {
  struct tree tree;
  struct tykb_headers set;
  uint32_t before;
};

static struct chain chain_open(struct tykb_span request) {
  struct chain chain = {tree_open(&tykb_type_MiniRequestObject, request), {NULL}, 0};
  return chain;
}

static void call(struct chain *chain) { chain->before = tykb_node_writes(chain->tree.root); }

static int set(struct chain *chain, const char *name, const char *value) {
  return put_pair(map_of(chain->tree.root, "set_headers"), name, value);
}

static int taken(struct chain *chain) { return tykb_headers_take(chain->tree.root, chain->before, &chain->set); }

/* Whether the headers noted are these, "name: value," each. */
static int noted(const struct chain *chain, const char *expected) {
  char words[1024] = "";
  size_t at = 0;
  for (const struct tykb_header *header = chain->set.first; header; header = header->next)
    at += (size_t)snprintf(words + at, sizeof words - at, "%.*s: %.*s,", (int)header->name.size, header->name.data,
                           (int)header->value.size, header->value.data);
  return check_same(text(words), text(expected));
}

static int found(struct chain *chain, const char *name, const char *expected) {
  struct tykb_span value;
  int status = tykb_headers_find(chain->tree.root, text(name), &value);
  return expected ? status == TYKB_OK && check_same(value, text(expected)) : status == TYKB_E_NOT_FOUND;
}

static void test_what_each_hook_sets_moves_to_the_headers(void) {
  struct chain c = chain_open(BYTES(HEADERS PAIR("a", "1")));

  call(&c);
  CHECK(set(&c, "X", "1") == TYKB_OK && set(&c, "Y", "2") == TYKB_OK);
  CHECK(taken(&c) == 1);
  CHECK(noted(&c, "X: 1,Y: 2,"));
  CHECK(found(&c, "X", "1") && found(&c, "y", "2") && found(&c, "A", "1") && found(&c, "z", NULL));
  call(&c);
  CHECK(taken(&c) == 0); /* nothing was written */
  call(&c);
  CHECK(set(&c, "X", "3") == TYKB_OK && set(&c, "a", "") == TYKB_OK);
  CHECK(taken(&c) == 1);
  CHECK(noted(&c, "X: 3,Y: 2,a: ,"));
  CHECK(has_pair(map_of(c.tree.root, "headers"), "X", "3"));
  CHECK(has_pair(map_of(c.tree.root, "headers"), "a", ""));
  CHECK(count_of(map_of(c.tree.root, "headers")) == 3);
  CHECK(count_of(map_of(c.tree.root, "set_headers")) == 0);
  tree_close(&c.tree);
}

static void test_headers_that_somebody_read_are_headers_too(void) {
  struct chain c = chain_open(BYTES(HEADERS PAIR("a", "1")));

  CHECK(count_of(map_of(c.tree.root, "headers")) == 1); /* which decodes them */
  call(&c);
  CHECK(set(&c, "X", "1") == TYKB_OK && set(&c, "a", "2") == TYKB_OK);
  CHECK(taken(&c) == 1);
  CHECK(found(&c, "x", "1") && found(&c, "A", "2"));
  CHECK(count_of(map_of(c.tree.root, "headers")) == 2);
  tree_close(&c.tree);
}

static void test_framing_is_the_hosts(void) {
  struct chain c = chain_open(BYTES(""));

  call(&c);
  CHECK(set(&c, "content-LENGTH", "1") == TYKB_OK && set(&c, "Transfer-Encoding", "chunked") == TYKB_OK);
  CHECK(set(&c, "Content-Type", "x") == TYKB_OK);
  CHECK(taken(&c) == 1);
  CHECK(noted(&c, "Content-Type: x,"));
  CHECK(count_of(map_of(c.tree.root, "headers")) == 1);
  tree_close(&c.tree);
}

/* What was put stays where it is, for a closer look. */
static int left(struct chain *chain, const char *name, const char *value) {
  return taken(chain) == 0 && !chain->set.first && has_pair(map_of(chain->tree.root, "set_headers"), name, value);
}

static void test_what_needs_a_closer_look_stays(void) {
  static const char *const pairs[][2] = {{"A", "another spelling of what is there"},
                                         {"", "no name"},
                                         {"a b", "no token"},
                                         {"\xc3\xa4", "no ASCII"},
                                         {"x", "a\rb"},
                                         {"x", "a\nb"},
                                         {"x:", ""}};
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
    struct chain c = chain_open(BYTES(HEADERS PAIR("a", "1")));

    call(&c);
    CHECK(set(&c, pairs[i][0], pairs[i][1]) == TYKB_OK);
    CHECK(left(&c, pairs[i][0], pairs[i][1]));
    tree_close(&c.tree);
  }
  struct chain c = chain_open(BYTES(""));

  call(&c);
  CHECK(tykb_map_put(map_of(c.tree.root, "set_headers"), text("x"), BYTES("a\0b")) == TYKB_OK);
  CHECK(taken(&c) == 0);
  tree_close(&c.tree);
}

static void test_two_spellings_stay(void) {
  struct chain c = chain_open(BYTES(""));

  call(&c);
  CHECK(set(&c, "X-A", "1") == TYKB_OK && set(&c, "other", "1") == TYKB_OK && set(&c, "x-a", "2") == TYKB_OK);
  CHECK(left(&c, "X-A", "1"));
  tree_close(&c.tree);
}

static void write_url(struct chain *c) { CHECK(put_text(c->tree.root, "url", "/") == TYKB_OK); }
static void write_headers(struct chain *c) { CHECK(put_pair(map_of(c->tree.root, "headers"), "b", "1") == TYKB_OK); }
static void delete_header(struct chain *c) {
  CHECK(append_text(list_of(c->tree.root, "delete_headers"), "a") == TYKB_OK);
}
static void clear_headers(struct chain *c) {
  CHECK(tykb_node_clear_field(c->tree.root, field(c->tree.root, "headers")) == TYKB_OK);
}
static void override(struct chain *c) {
  CHECK(put_number(child(c->tree.root, "return_overrides"), "response_code", 200) == TYKB_OK);
}
static void set_again(struct chain *c) { CHECK(set(c, "X", "2") == TYKB_OK); }

static void test_other_writes_beside_them_keep_them_where_they_are(void) {
  static void (*const others[])(struct chain *) = {write_url,     write_headers, delete_header,
                                                   clear_headers, override,      set_again};
  for (size_t i = 0; i < 2 * sizeof others / sizeof *others; i++) {
    struct chain c = chain_open(BYTES(HEADERS PAIR("a", "1")));

    call(&c);
    if (i % 2) others[i / 2](&c);
    CHECK(set(&c, "X", "1") == TYKB_OK);
    if (i % 2 == 0) others[i / 2](&c);
    CHECK(taken(&c) == 0 && !c.set.first);
    CHECK(count_of(map_of(c.tree.root, "set_headers")) == 1);
    tree_close(&c.tree);
  }
}

static void test_headers_are_found_in_every_form(void) {
  struct chain c = chain_open(BYTES(HEADERS "\x06" VALUE S1("1") KEY S1("a"))); /* the value first */

  CHECK(found(&c, "a", "1") && found(&c, "b", NULL));
  tree_close(&c.tree);
  c = chain_open(BYTES(HEADERS "\x09" KEY S1("b") KEY S1("c") VALUE S1("2") HEADERS "\x03" KEY S1("d")));
  CHECK(found(&c, "b", NULL) && found(&c, "C", "2") && found(&c, "d", ""));
  tree_close(&c.tree);
  c = chain_open(BYTES(HEADERS PAIR("A", "1") HEADERS PAIR("a", "2") HEADERS PAIR("a", "3")));
  CHECK(found(&c, "a", "1") && found(&c, "A", "1"));
  tree_close(&c.tree);
  c = chain_open(BYTES(HEADERS PAIR("a", "1") HEADERS PAIR("A", "2") HEADERS PAIR("a", "3")));
  CHECK(found(&c, "a", "3") && found(&c, "A", "3"));
  tree_close(&c.tree);
  c = chain_open(BYTES(HEADERS PAIR("a", "1") HEADERS "\x7f"));
  struct tykb_span value;
  CHECK(tykb_headers_find(c.tree.root, text("a"), &value) == TYKB_E_MALFORMED);
  tree_close(&c.tree);
}

static int scenario(struct tykb_span input) {
  struct tykb_context *context = tykb_context_new();
  struct tykb_node *root = context ? tykb_context_root(context, &tykb_type_MiniRequestObject, input) : NULL;
  struct tykb_headers set = {NULL};
  int status = root ? TYKB_OK : TYKB_E_NO_MEMORY;
  for (int hook = 0; hook < 2 && !status; hook++) {
    uint32_t before = tykb_node_writes(root);
    struct tykb_map *map = map_of(root, "set_headers");
    status = map ? put_pair(map, hook ? "X" : "Y", "1") : TYKB_E_NO_MEMORY;
    if (!status) status = put_pair(map, "Z", "2");
    if (!status) status = tykb_headers_take(root, before, &set);
    if (status == 1) status = TYKB_OK;
  }
  tykb_context_free(context);
  return status;
}

static void test_each_allocation_fails_in_turn(void) {
  struct tykb_span input = check_heap(BYTES(HEADERS PAIR("a", "1")));
  int status = TYKB_E_NO_MEMORY;
  long failures = 0;

  while (status == TYKB_E_NO_MEMORY && failures < 1000) {
    tykb_mem_fail_after(++failures);
    status = scenario(input);
    tykb_mem_fail_after(0);
  }
  CHECK(status == TYKB_OK);
  CHECK(failures > 8);
  free((void *)input.data);
}

int main(void) {
  RUN(test_what_each_hook_sets_moves_to_the_headers);
  RUN(test_headers_that_somebody_read_are_headers_too);
  RUN(test_framing_is_the_hosts);
  RUN(test_what_needs_a_closer_look_stays);
  RUN(test_two_spellings_stay);
  RUN(test_other_writes_beside_them_keep_them_where_they_are);
  RUN(test_headers_are_found_in_every_form);
  RUN(test_each_allocation_fails_in_turn);
  return check_report();
}
