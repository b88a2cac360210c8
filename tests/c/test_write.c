/* Unit tests of csrc/write.c: a reply that needs no plan says what one with a plan says. */
#include "tree_check.h"

/* A put alone is written in a way of its own; whatever else was done must not be lost by it. */
static void test_a_put_is_written_beside_what_else_was_done(void) {
#define KEPT HOOK_NAME S1("h") REQUEST "\x08" HEADERS PAIR("a", "1")
#define BASE KEPT SPEC PAIR("s", "1")
#define PUT SET_HEADERS PAIR("k", "v")
#define BESIDE(deed, after, change)                                                                                    \
  do {                                                                                                                 \
    struct tree t = object(BYTES(BASE));                                                                               \
    struct tykb_node *root = t.root, *request = child(root, "request");                                                \
    CHECK(put_pair(map_of(request, "set_headers"), "k", "v") == TYKB_OK);                                              \
    CHECK(deed);                                                                                                       \
    CHECK(FULL(root, after));                                                                                          \
    CHECK(DELTA(root, change));                                                                                        \
    tree_close(&t);                                                                                                    \
  } while (0)
#define ADDS(deed, change) BESIDE(deed, BASE change, change)
  ADDS(1, REQUEST "\x08" PUT);
  ADDS(put_pair(map_of(request, "set_headers"), "l", "w") == TYKB_OK, REQUEST "\x10" PUT SET_HEADERS PAIR("l", "w"));
  ADDS(count_of(map_of(root, "spec")) == 1 && has_text(child(root, "session"), "alias", ""), REQUEST "\x08" PUT);
  ADDS(put_text(root, "hook_name", "i") == TYKB_OK, REQUEST "\x08" PUT HOOK_NAME S1("i"));
  ADDS(put_pair(map_of(root, "metadata"), "m", "2") == TYKB_OK, REQUEST "\x08" PUT METADATA PAIR("m", "2"));
  ADDS(put_pair(map_of(root, "spec"), "s", "2") == TYKB_OK, REQUEST "\x08" PUT SPEC PAIR("s", "2"));
  ADDS(put_text(child(root, "session"), "org_id", "o") == TYKB_OK, REQUEST "\x08" PUT SESSION "\x03" ORG_ID S1("o"));
  ADDS(tykb_node_touch(child(root, "session")) == TYKB_OK, REQUEST "\x08" PUT SESSION "\x00");
  ADDS(tykb_node_merge(root, BYTES(UNKNOWN)) == TYKB_OK, UNKNOWN REQUEST "\x08" PUT);
  ADDS(tykb_node_merge(request, BYTES(UNKNOWN)) == TYKB_OK, REQUEST "\x0b" UNKNOWN PUT);
  ADDS(put_text(request, "url", "/") == TYKB_OK, REQUEST "\x0b" PUT URL S1("/"));
  ADDS(put_pair(map_of(request, "headers"), "b", "2") == TYKB_OK, REQUEST "\x10" PUT HEADERS PAIR("b", "2"));
  ADDS(append_text(list_of(request, "delete_headers"), "c") == TYKB_OK, REQUEST "\x0b" PUT DELETE_HEADERS S1("c"));
  ADDS(put_number(child(request, "return_overrides"), "response_code", 7) == TYKB_OK,
       REQUEST "\x0c" PUT OVERRIDES "\x02" RESPONSE_CODE "\x07");
  ADDS(count_of(map_of(request, "headers")) == 1 && put_pair(map_of(request, "headers"), "b", "2") == TYKB_OK,
       REQUEST "\x10" PUT HEADERS PAIR("b", "2"));
  ADDS(count_of(map_of(request, "set_headers")) == 1, REQUEST "\x08" PUT);
  BESIDE(tykb_node_clear_field(root, field(root, "spec")) == TYKB_OK, KEPT REQUEST "\x08" PUT,
         CLEARED S4("spec") REQUEST "\x08" PUT);
  BESIDE(tykb_node_clear_field(request, field(request, "headers")) == TYKB_OK,
         HOOK_NAME S1("h") SPEC PAIR("s", "1") REQUEST "\x08" PUT, CLEARED S15("request.headers") REQUEST "\x08" PUT);
  BESIDE(tykb_map_remove(map_of(root, "spec"), text("s")) == TYKB_OK, KEPT REQUEST "\x08" PUT,
         CLEARED S4("spec") REQUEST "\x08" PUT);
  BESIDE(tykb_map_remove(map_of(request, "headers"), text("a")) == TYKB_OK,
         HOOK_NAME S1("h") SPEC PAIR("s", "1") REQUEST "\x08" PUT, CLEARED S15("request.headers") REQUEST "\x08" PUT);
}

static void test_a_put_into_a_new_message_travels_with_all_of_it(void) {
  struct tree t = object(BYTES(HOOK_NAME S1("h")));

  CHECK(tykb_node_replace(t.root, field(t.root, "response"), BYTES(STATUS_CODE "\x07")) == TYKB_OK);
  CHECK(put_pair(map_of(child(t.root, "response"), "headers"), "k", "v") == TYKB_OK);
  CHECK(FULL(t.root, HOOK_NAME S1("h") RESPONSE "\x0a" STATUS_CODE "\x07" RESPONSE_HEADERS PAIR("k", "v")));
  CHECK(DELTA(t.root, RESPONSE "\x0a" STATUS_CODE "\x07" RESPONSE_HEADERS PAIR("k", "v")));
  tree_close(&t);
}

int main(void) {
  RUN(test_a_put_is_written_beside_what_else_was_done);
  RUN(test_a_put_into_a_new_message_travels_with_all_of_it);
  return check_report();
}
