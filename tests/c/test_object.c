/* Unit tests of the tree: csrc/object.c, container.c, write.c. A vector is a line: what goes in, what comes out. */
#include "tree_check.h"

#include <limits.h>

/* ---- Reading ---- */

static void test_an_untouched_message_is_written_as_it_came(void) {
  struct tree t = object(BYTES(UNKNOWN HOOK_NAME S1("a") HOOK_NAME S1("b") HOOK_TYPE "\x80\x00"));

  CHECK(FULL(t.root, UNKNOWN HOOK_NAME S1("a") HOOK_NAME S1("b") HOOK_TYPE "\x80\x00"));
  CHECK(DELTA(t.root, ""));
  CHECK(!tykb_node_changed(t.root));
  tree_close(&t);
}

static void test_the_last_scalar_wins_and_a_missing_one_is_its_default(void) {
  struct tree t = object(BYTES(HOOK_NAME S1("a") HOOK_TYPE "\x03" HOOK_NAME S1("b")));

  CHECK(has_text(t.root, "hook_name", "b"));
  CHECK(has_number(t.root, "hook_type", 3));
  CHECK(has_text(child(t.root, "request"), "url", ""));
  CHECK(tykb_node_has(t.root, field(t.root, "hook_name")) == 1);
  CHECK(tykb_node_has(t.root, field(t.root, "request")) == 0); /* reading it did not make it present */
  CHECK(DELTA(t.root, ""));
  tree_close(&t);
}

static void test_numbers_are_cut_to_their_kind(void) {
  struct tree t =
      object(BYTES(HOOK_TYPE "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" SESSION "\x03" HMAC_ENABLED "\x05"));

  CHECK(has_number(t.root, "hook_type", -1));
  CHECK(has_number(child(t.root, "session"), "hmac_enabled", 1));
  tree_close(&t);
}

static void test_a_field_of_the_wrong_wire_type_is_an_unknown_one(void) {
  struct tree t = object(BYTES("\x10\x07"
                               "\x0a\x01"
                               "x"
                               "\x1b\x1c")); /* hook_name a varint, hook_type text, request a group */

  CHECK(has_text(t.root, "hook_name", ""));
  CHECK(has_number(t.root, "hook_type", 0));
  CHECK(tykb_node_has(t.root, field(t.root, "request")) == 0);
  CHECK(put_text(t.root, "hook_name", "n") == TYKB_OK);
  CHECK(FULL(t.root, "\x10\x07"
                     "\x0a\x01"
                     "x"
                     "\x1b\x1c" HOOK_NAME S1("n")));
  tree_close(&t);
}

static void test_pieces_of_a_message_are_one(void) {
  struct tree t =
      object(BYTES(REQUEST "\x03" URL S1("/") HOOK_NAME S1("h") REQUEST "\x00" REQUEST "\x05" METHOD S3("GET")));
  struct tykb_node *request = child(t.root, "request");

  CHECK(has_text(request, "url", "/"));
  CHECK(has_text(request, "method", "GET"));
  CHECK(put_text(request, "url", "/b") == TYKB_OK);
  CHECK(DELTA(t.root, REQUEST "\x04" URL S2("/b")));
  tree_close(&t);
}

static void test_entries_read_as_protobuf_reads_them(void) {
  struct tree t =
      object(BYTES(METADATA PAIR("k", "1")                   /* whole */
                   METADATA "\x06" VALUE S1("2") KEY S1("l") /* the other way round */
                   METADATA "\x03" KEY S1("m")               /* no value */
                   METADATA "\x03" VALUE S1("4")             /* no key */
                   METADATA "\x09" KEY S1("n") VALUE S1("5") VALUE S1("6") METADATA PAIR("k", "7") /* again */
                   METADATA "\x00"));
  struct tykb_map *map = map_of(t.root, "metadata");

  CHECK(has_pair(map, "k", "7"));
  CHECK(has_pair(map, "l", "2"));
  CHECK(has_pair(map, "m", ""));
  CHECK(has_pair(map, "n", "6"));
  CHECK(has_pair(map, "", ""));
  CHECK(has_pair(map, "x", NULL));
  CHECK(count_of(map) == 5);
  tree_close(&t);
}

static void test_doubles_are_read_packed_and_one_by_one(void) {
  struct tree t = object(BYTES(SESSION "\x1e" MONITOR "\x1b" LIMITS "\x10" ONE TWO LIMIT ONE));
  struct tykb_list *list = list_of(child(child(t.root, "session"), "monitor"), "trigger_limits");
  struct tykb_element *elements;
  size_t count;

  CHECK(tykb_list_elements(list, &elements, &count) == TYKB_OK && count == 3);
  CHECK(elements[0].value.real == 1 && elements[1].value.real == 2 && elements[2].value.real == 1);
  tree_close(&t);
}

static void test_what_is_no_message_is_malformed_when_it_is_read(void) {
  struct tree t = object(BYTES(HOOK_TYPE "\x01" REQUEST "\x02" URL "\x05"));
  union tykb_value value;
  struct tykb_node *request = child(t.root, "request");

  CHECK(has_number(t.root, "hook_type", 1));
  CHECK(tykb_node_get(request, field(request, "url"), &value) == TYKB_E_MALFORMED);
  CHECK(tykb_node_has(request, field(request, "headers")) == TYKB_E_MALFORMED);
  CHECK(tykb_node_clear_field(request, field(request, "headers")) == TYKB_E_MALFORMED);
  CHECK(tykb_map_remove(map_of(request, "headers"), text("k")) == TYKB_E_MALFORMED);
  CHECK(tykb_type_check(&tykb_type_Object, t.input) == TYKB_E_MALFORMED);
  tree_close(&t);
  t = object(BYTES(SESSION "\x09" MONITOR "\x06" LIMITS S4("abcd"))); /* half a double */
  CHECK(tykb_type_check(&tykb_type_Object, t.input) == TYKB_E_MALFORMED);
  tree_close(&t);
  t = object(BYTES(METADATA "\x02" KEY "\x05"));
  CHECK(tykb_type_check(&tykb_type_Object, t.input) == TYKB_E_MALFORMED);
  CHECK(tykb_node_has(t.root, field(t.root, "metadata")) == TYKB_E_MALFORMED);
  tree_close(&t);
  t = object(BYTES(HOOK_NAME S1("\xff"))); /* no UTF-8 */
  CHECK(tykb_type_check(&tykb_type_Object, t.input) == TYKB_E_MALFORMED);
  tree_close(&t);
}

static void test_identify_finds_what_a_dispatch_asks_first(void) {
  struct tree t = object(BYTES(SPEC "\x10" KEY S11("bundle_hash") VALUE S1("b") HOOK_NAME S1("g") SPEC PAIR("k", "v")
                                   UNKNOWN HOOK_NAME S1("h") REQUEST "\x03" URL S1("/") HOOK_TYPE "\x02"));
  struct tykb_span hook, bundle;

  CHECK(tykb_type_Object.count == 7); /* tykb_object_identify indexes these and no other */
  CHECK(tykb_object_identify(t.root, &hook, &bundle) == TYKB_OK);
  CHECK(check_same(hook, text("h")) && check_same(bundle, text("b")));
  CHECK(has_text(t.root, "hook_name", "h") && has_number(t.root, "hook_type", 2));
  CHECK(has_text(child(t.root, "request"), "url", "/") && count_of(map_of(t.root, "spec")) == 2);
  CHECK(tykb_node_has(t.root, field(t.root, "session")) == 0 && tykb_node_has(t.root, field(t.root, "response")) == 0);
  tree_close(&t);
  t = object(BYTES(HOOK_NAME "\x05wxyz"));
  CHECK(tykb_object_identify(t.root, &hook, &bundle) == TYKB_E_MALFORMED);
  tree_close(&t);
  t = object(BYTES(""));
  CHECK(tykb_object_identify(t.root, &hook, &bundle) == TYKB_OK && !hook.size && !bundle.size);
  tree_close(&t);
}

static void test_short_ways_to_a_key_find_what_the_long_one_finds(void) {
  struct tree t = object(BYTES(METADATA PAIR("k", "1") METADATA "\x06" VALUE S1("2") KEY S1("l") METADATA
                               "\x03" KEY S1("m") METADATA PAIR("k", "3") METADATA "\x05" KEY "\x00" VALUE S1("4")));
  struct tykb_span value;
  const struct {
    const char *key, *value;
  } pairs[] = {{"k", "3"}, {"l", "2"}, {"m", ""}, {"", "4"}, {"n", NULL}};

  for (int round = 0; round < 8; round++) /* the way changes with the number of questions */
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
      int status = tykb_node_find(t.root, field(t.root, "metadata"), text(pairs[i].key), &value);

      CHECK(status == (pairs[i].value ? TYKB_OK : TYKB_E_NOT_FOUND));
      CHECK(!pairs[i].value || check_same(value, text(pairs[i].value)));
    }
  tree_close(&t);
}

/* ---- Writing ---- */

static void test_a_scalar_is_appended(void) {
  struct tree t = object(BYTES(HOOK_NAME S1("a")));

  CHECK(put_text(t.root, "hook_name", "bc") == TYKB_OK);
  CHECK(put_number(t.root, "hook_type", -1) == TYKB_OK);
  CHECK(has_text(t.root, "hook_name", "bc"));
  CHECK(FULL(t.root, HOOK_NAME S1("a") HOOK_NAME S2("bc") HOOK_TYPE "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"));
  CHECK(DELTA(t.root, HOOK_NAME S2("bc") HOOK_TYPE "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"));
  tree_close(&t);
}

static void test_a_default_is_written_where_it_hides_a_value(void) {
  struct tree t = object(BYTES(HOOK_NAME S1("a") SESSION "\x09" RATE ONE));

  CHECK(tykb_node_clear_field(t.root, field(t.root, "hook_name")) == TYKB_OK);
  CHECK(tykb_node_clear_field(child(t.root, "session"), field(child(t.root, "session"), "rate")) == TYKB_OK);
  CHECK(has_text(t.root, "hook_name", ""));
  CHECK(DELTA(t.root, HOOK_NAME "\x00" SESSION "\x09" RATE ZERO));
  tree_close(&t);
}

static void test_a_touched_message_is_present(void) {
  struct tree t = object(BYTES(""));

  CHECK(tykb_node_touch(child(child(t.root, "request"), "return_overrides")) == TYKB_OK);
  CHECK(tykb_node_has(t.root, field(t.root, "request")) == 1);
  CHECK(FULL(t.root, REQUEST "\x02" OVERRIDES "\x00"));
  tree_close(&t);
}

static void test_a_map_takes_entries_undecoded(void) {
  struct tree t = object(BYTES(METADATA PAIR("k", "1")));
  struct tykb_map *map = map_of(t.root, "metadata");

  CHECK(put_pair(map, "k", "2") == TYKB_OK && put_pair(map, "l", "3") == TYKB_OK && put_pair(map, "l", "4") == TYKB_OK);
  CHECK(DELTA(t.root, METADATA PAIR("k", "2") METADATA PAIR("l", "4")));
  CHECK(has_pair(map, "k", "2") && has_pair(map, "l", "4") && count_of(map) == 2);
  tree_close(&t);
}

static void test_a_removed_entry_is_cut_out(void) {
  struct tree t = object(BYTES(METADATA PAIR("k", "1") HOOK_NAME S1("h") METADATA PAIR("l", "2") UNKNOWN));
  struct tykb_map *map = map_of(t.root, "metadata");

  CHECK(tykb_map_remove(map, text("k")) == TYKB_OK);
  CHECK(tykb_map_remove(map, text("k")) == TYKB_E_NOT_FOUND);
  CHECK(count_of(map) == 1 && has_pair(map, "k", NULL));
  CHECK(FULL(t.root, HOOK_NAME S1("h") UNKNOWN METADATA PAIR("l", "2")));
  CHECK(DELTA(t.root, CLEARED S8("metadata") METADATA PAIR("l", "2")));
  CHECK(put_pair(map, "k", "3") == TYKB_OK); /* comes back */
  CHECK(has_pair(map, "k", "3") && count_of(map) == 2);
  tree_close(&t);
}

static void test_a_cleared_map_deep_inside(void) {
  struct tree t = object(BYTES(SESSION "\x0b" SESSION_METADATA PAIR("k", "1") ORG_ID "\x00"));
  struct tykb_map *map = map_of(child(t.root, "session"), "metadata");

  CHECK(tykb_map_clear(map) == TYKB_OK && count_of(map) == 0);
  CHECK(FULL(t.root, SESSION "\x02" ORG_ID "\x00"));
  CHECK(DELTA(t.root, CLEARED S16("session.metadata") SESSION "\x00"));
  tree_close(&t);
}

static void test_what_was_added_and_removed_leaves_no_trace(void) {
  struct tree t = object(BYTES(HOOK_NAME S1("h")));
  struct tykb_map *map = map_of(t.root, "metadata");

  CHECK(put_pair(map, "k", "1") == TYKB_OK && tykb_map_remove(map, text("k")) == TYKB_OK);
  CHECK(FULL(t.root, HOOK_NAME S1("h")));
  CHECK(DELTA(t.root, ""));
  tree_close(&t);
}

static void test_many_keys(void) {
  struct tree t = object(BYTES(METADATA PAIR("7", "x")));
  struct tykb_map *map = map_of(t.root, "metadata");
  char key[16];

  for (int i = 0; i < 3000; i++) {
    snprintf(key, sizeof key, "%d", i);
    CHECK(put_pair(map, key, key) == TYKB_OK);
  }
  for (int i = 0; i < 3000; i += 2) {
    snprintf(key, sizeof key, "%d", i);
    CHECK(tykb_map_remove(map, text(key)) == TYKB_OK);
  }
  for (int i = 0; i < 3000; i++) {
    snprintf(key, sizeof key, "%d", i);
    CHECK(has_pair(map, key, i % 2 ? key : NULL));
  }
  CHECK(count_of(map) == 1500);
  tree_close(&t);
}

static void test_a_list_takes_elements_undecoded(void) {
  struct tree t = object(BYTES(REQUEST "\x03" DELETE_HEADERS S1("a")));
  struct tykb_list *list = list_of(child(t.root, "request"), "delete_headers");

  CHECK(append_text(list, "b") == TYKB_OK);
  CHECK(DELTA(t.root, REQUEST "\x03" DELETE_HEADERS S1("b")));
  CHECK(has_texts(list, "a,b,"));
  CHECK(append_text(list, "c") == TYKB_OK && has_texts(list, "a,b,c,"));
  CHECK(DELTA(t.root, REQUEST "\x06" DELETE_HEADERS S1("b") DELETE_HEADERS S1("c")));
  tree_close(&t);
}

static void test_a_list_that_is_changed_inside_is_written_anew(void) {
  struct tree t = object(BYTES(REQUEST "\x09" DELETE_HEADERS S1("a") URL S1("/") DELETE_HEADERS S1("b")));
  struct tykb_list *list = list_of(child(t.root, "request"), "delete_headers");
  size_t order[] = {2, 0};

  CHECK(append_text(list, "c") == TYKB_OK);
  CHECK(tykb_list_set(list, 1, (union tykb_value){.text = text("B")}) == TYKB_OK && has_texts(list, "a,B,c,"));
  CHECK(tykb_list_set(list, 3, (union tykb_value){.text = text("d")}) == TYKB_E_ARGUMENT);
  CHECK(tykb_list_reorder(list, order, 2) == TYKB_OK && has_texts(list, "c,a,"));
  CHECK(DELTA(t.root,
              CLEARED S22("request.delete_headers") REQUEST "\x06" DELETE_HEADERS S1("c") DELETE_HEADERS S1("a")));
  CHECK(FULL(t.root, REQUEST "\x09" URL S1("/") DELETE_HEADERS S1("c") DELETE_HEADERS S1("a")));
  CHECK(tykb_list_reorder(list, NULL, 0) == TYKB_OK && has_texts(list, ""));
  CHECK(append_text(list, "z") == TYKB_OK);
  CHECK(FULL(t.root, REQUEST "\x06" URL S1("/") DELETE_HEADERS S1("z")));
  order[0] = 1;
  CHECK(tykb_list_reorder(list, order, 1) == TYKB_E_ARGUMENT && has_texts(list, "z,"));
  CHECK(tykb_list_reorder(list, order, 2) == TYKB_E_ARGUMENT && has_texts(list, "z,"));
  tree_close(&t);
}

static void test_one_element_is_removed(void) {
  struct tree t = object(BYTES(REQUEST "\x06" DELETE_HEADERS S1("a") DELETE_HEADERS S1("b")));
  struct tykb_list *list = list_of(child(t.root, "request"), "delete_headers");

  CHECK(append_text(list, "c") == TYKB_OK && append_text(list, "d") == TYKB_OK);
  CHECK(tykb_list_remove(list, 4) == TYKB_E_ARGUMENT);
  CHECK(tykb_list_remove(list, 2) == TYKB_OK && has_texts(list, "a,b,d,"));
  CHECK(DELTA(t.root, REQUEST "\x03" DELETE_HEADERS S1("d")));
  CHECK(tykb_list_remove(list, 0) == TYKB_OK && has_texts(list, "b,d,"));
  CHECK(tykb_list_remove(list, 1) == TYKB_OK && has_texts(list, "b,"));
  CHECK(DELTA(t.root, CLEARED S22("request.delete_headers") REQUEST "\x03" DELETE_HEADERS S1("b")));
  CHECK(tykb_list_remove(list, 0) == TYKB_OK && tykb_list_remove(list, 0) == TYKB_E_ARGUMENT);
  CHECK(FULL(t.root, REQUEST "\x00"));
  tree_close(&t);
}

static void test_a_removed_message_belongs_to_nobody(void) {
  struct tree t = object(BYTES(RESPONSE "\x0a" MULTIVALUE S3(KEY S1("a")) MULTIVALUE S3(KEY S1("b"))));
  struct tykb_list *list = list_of(child(t.root, "response"), "multivalue_headers");
  struct tykb_element *elements;
  struct tykb_node *gone, *kept;
  size_t count;

  CHECK(tykb_list_elements(list, &elements, &count) == TYKB_OK && count == 2);
  CHECK(tykb_list_node(list, 0, &gone) == TYKB_OK && tykb_list_node(list, 1, &kept) == TYKB_OK);
  CHECK(tykb_list_remove(list, 0) == TYKB_OK);
  CHECK(put_text(gone, "key", "x") == TYKB_OK && put_text(kept, "key", "y") == TYKB_OK);
  CHECK(FULL(t.root, RESPONSE "\x08" MULTIVALUE "\x06" KEY S1("b") KEY S1("y")));
  tree_close(&t);
}

static void test_regression_each_move_in_a_list_kept_a_copy_of_it(void) {
  struct tree t = object(BYTES(""));
  struct tykb_list *list = list_of(child(t.root, "request"), "delete_headers");
  struct tykb_element *before, *after;
  size_t order[] = {1, 0}, count;

  CHECK(append_text(list, "a") == TYKB_OK && append_text(list, "b") == TYKB_OK);
  CHECK(tykb_list_elements(list, &before, &count) == TYKB_OK);
  CHECK(tykb_list_reorder(list, order, 2) == TYKB_OK && has_texts(list, "b,a,"));
  CHECK(tykb_list_remove(list, 0) == TYKB_OK && has_texts(list, "a,"));
  CHECK(tykb_list_elements(list, &after, &count) == TYKB_OK && before == after);
  tree_close(&t);
}

static void test_doubles_are_written_packed(void) {
  struct tree t = object(BYTES(SESSION "\x0c" MONITOR "\x09" LIMIT ONE));
  struct tykb_list *list = list_of(child(child(t.root, "session"), "monitor"), "trigger_limits");

  CHECK(tykb_list_append(list, (union tykb_value){.real = 2}) == TYKB_OK);
  CHECK(DELTA(t.root, SESSION "\x0d" MONITOR "\x0a" LIMITS "\x08" TWO));
  CHECK(tykb_list_set(list, 0, (union tykb_value){.real = 2}) == TYKB_OK);
  CHECK(FULL(t.root, SESSION "\x15" MONITOR "\x12" LIMITS "\x10" TWO TWO));
  tree_close(&t);
}

static void test_a_changed_value_of_a_message_map_travels_whole(void) {
  struct tree t = object(BYTES(SESSION "\x0b" RIGHTS "\x09" KEY S1("a") VALUE "\x04" API_NAME S2("ab")));
  struct tykb_map *map = map_of(child(t.root, "session"), "access_rights");
  struct tykb_node *node;

  CHECK(tykb_map_node(map, text("a"), &node) == TYKB_OK && has_text(node, "api_name", "ab"));
  CHECK(DELTA(t.root, "")); /* looked at, not changed */
  CHECK(append_text(list_of(node, "versions"), "v") == TYKB_OK);
  CHECK(DELTA(t.root, SESSION "\x0e" RIGHTS "\x0c" KEY S1("a") VALUE "\x07" API_NAME S2("ab") VERSIONS S1("v")));
  CHECK(tykb_map_node(map, text("b"), &node) == TYKB_OK && has_text(node, "api_name", "")); /* made when missing */
  CHECK(count_of(map) == 2 && tykb_map_remove(map, text("a")) == TYKB_OK);
  CHECK(DELTA(t.root, CLEARED S21("session.access_rights") SESSION "\x07" RIGHTS "\x05" KEY S1("b") VALUE "\x00"));
  tree_close(&t);
}

static void test_a_list_of_messages(void) {
  struct tree t = object(BYTES(RESPONSE "\x05" MULTIVALUE "\x03" KEY S1("a")));
  struct tykb_list *list = list_of(child(t.root, "response"), "multivalue_headers");
  struct tykb_element *elements;
  struct tykb_node *header;
  size_t count;

  CHECK(tykb_list_add(list, &header) == TYKB_OK && put_text(header, "key", "b") == TYKB_OK);
  CHECK(append_text(list_of(header, "values"), "1") == TYKB_OK);
  CHECK(DELTA(t.root, RESPONSE "\x08" MULTIVALUE PAIR("b", "1")));
  CHECK(tykb_list_elements(list, &elements, &count) == TYKB_OK && count == 2);
  CHECK(tykb_list_node(list, 1, &header) == TYKB_OK && has_text(header, "key", "b"));
  CHECK(tykb_list_node(list, 0, &header) == TYKB_OK && has_text(header, "key", "a"));
  CHECK(append_text(list_of(header, "values"), "2") == TYKB_OK);
  CHECK(DELTA(t.root, CLEARED S27("response.multivalue_headers") RESPONSE "\x10" MULTIVALUE PAIR("a", "2")
                          MULTIVALUE PAIR("b", "1")));
  CHECK(FULL(t.root, RESPONSE "\x10" MULTIVALUE PAIR("a", "2") MULTIVALUE PAIR("b", "1")));
  tree_close(&t);
}

static void test_a_cleared_message_is_named_and_may_be_written_again(void) {
  struct tree t = object(BYTES(SESSION "\x03" ORG_ID S1("o") HOOK_NAME S1("h")));

  CHECK(tykb_node_clear_field(t.root, field(t.root, "session")) == TYKB_OK);
  CHECK(tykb_node_has(t.root, field(t.root, "session")) == 0);
  CHECK(FULL(t.root, HOOK_NAME S1("h")));
  CHECK(DELTA(t.root, CLEARED S7("session")));
  CHECK(has_text(child(t.root, "session"), "org_id", ""));
  CHECK(put_text(child(t.root, "session"), "alias", "a") == TYKB_OK);
  CHECK(DELTA(t.root, CLEARED S7("session") SESSION "\x04"
                                                    "\xca\x01\x01"
                                                    "a"));
  tree_close(&t);
}

static void test_a_replaced_message(void) {
  struct tree t = object(BYTES(SESSION "\x03" ORG_ID S1("o") HOOK_NAME S1("h")));

  CHECK(tykb_node_replace(t.root, field(t.root, "session"), BYTES(ORG_ID S1("p"))) == TYKB_OK);
  CHECK(has_text(child(t.root, "session"), "org_id", "p"));
  CHECK(FULL(t.root, HOOK_NAME S1("h") SESSION "\x03" ORG_ID S1("p")));
  CHECK(DELTA(t.root, CLEARED S7("session") SESSION "\x03" ORG_ID S1("p")));
  CHECK(tykb_node_replace(t.root, field(t.root, "response"), BYTES("")) == TYKB_OK);
  CHECK(tykb_node_has(t.root, field(t.root, "response")) == 1);
  tree_close(&t);
}

static void test_what_was_cleared_away_stays_readable(void) {
  struct tree t =
      object(BYTES(REQUEST "\x0b" HEADERS PAIR("k", "1") DELETE_HEADERS S1("a") SESSION "\x03" ORG_ID S1("o")));
  struct tykb_node *request = child(t.root, "request"), *session = child(t.root, "session");
  struct tykb_map *headers = map_of(request, "headers");
  struct tykb_list *removed = list_of(request, "delete_headers");

  CHECK(tykb_node_clear(request) == TYKB_OK);
  CHECK(tykb_node_clear_field(t.root, field(t.root, "session")) == TYKB_OK);
  CHECK(has_pair(headers, "k", "1") && has_texts(removed, "a,") && has_text(session, "org_id", "o"));
  CHECK(put_pair(headers, "l", "2") == TYKB_OK && append_text(removed, "b") == TYKB_OK &&
        tykb_list_reorder(removed, NULL, 0) == TYKB_OK);
  CHECK(put_text(session, "org_id", "p") == TYKB_OK);
  CHECK(tykb_map_remove(headers, text("k")) == TYKB_OK && tykb_map_clear(headers) == TYKB_OK);
  CHECK(map_of(request, "headers") != headers && count_of(map_of(request, "headers")) == 0);
  CHECK(tykb_node_has(t.root, field(t.root, "session")) == 0);
  tree_close(&t);
}

/* ---- Merging ---- */

static void test_merge_adds_as_protobuf_does(void) {
  struct tree t = object(BYTES(METADATA PAIR("k", "1") REQUEST "\x06" DELETE_HEADERS S1("a") URL S1("/")));
  struct tykb_node *request;

  CHECK(tykb_node_merge(t.root, BYTES(METADATA PAIR("k", "2") REQUEST "\x03" DELETE_HEADERS S1("b") HOOK_TYPE
                                      "\x02" UNKNOWN)) == TYKB_OK);
  request = child(t.root, "request");
  CHECK(has_pair(map_of(t.root, "metadata"), "k", "2") && has_number(t.root, "hook_type", 2));
  CHECK(has_texts(list_of(request, "delete_headers"), "a,b,") && has_text(request, "url", "/"));
  CHECK(DELTA(t.root, UNKNOWN METADATA PAIR("k", "2") REQUEST "\x03" DELETE_HEADERS S1("b") HOOK_TYPE "\x02"));
  tree_close(&t);
}

static void test_merge_of_what_is_malformed_changes_nothing(void) {
  struct tree t = object(BYTES(HOOK_NAME S1("h")));

  CHECK(tykb_node_merge(t.root, BYTES(HOOK_NAME S1("i") REQUEST "\x02" URL "\x05")) == TYKB_E_MALFORMED);
  CHECK(tykb_node_merge(t.root, BYTES(HOOK_NAME S1("i") HOOK_NAME S1("\xff"))) == TYKB_E_MALFORMED);
  CHECK(tykb_node_merge(t.root, BYTES(HOOK_NAME S1("i") METADATA "\x03" KEY S1("\xff"))) == TYKB_E_MALFORMED);
  CHECK(tykb_node_merge(t.root, BYTES(HOOK_NAME S1("i") SESSION "\x09" MONITOR "\x06" LIMITS S4("abcd"))) ==
        TYKB_E_MALFORMED);
  CHECK(tykb_node_merge(t.root, BYTES(HOOK_NAME S1("i") SESSION "\x07" RIGHTS "\x05" VALUE
                                                                "\x03" API_NAME S1("\xff"))) == TYKB_E_MALFORMED);
  CHECK(has_text(t.root, "hook_name", "h") && !tykb_node_changed(t.root));
  CHECK(DELTA(t.root, ""));
  tree_close(&t);
}

static void test_merge_of_a_message_into_itself(void) {
  struct tree t = object(BYTES(REQUEST "\x03" DELETE_HEADERS S1("a")));

  CHECK(tykb_node_merge(t.root, t.input) == TYKB_OK);
  CHECK(tykb_node_merge(t.root, t.input) == TYKB_OK);
  CHECK(has_texts(list_of(child(t.root, "request"), "delete_headers"), "a,a,a,"));
  tree_close(&t);
}

static void test_merge_of_packed_doubles(void) {
  struct tree t = tree_open(&tykb_type_SessionState, BYTES(""));

  CHECK(tykb_node_merge(t.root, BYTES(MONITOR "\x1b" LIMITS "\x10" ONE TWO LIMIT ONE)) == TYKB_OK);
  CHECK(FULL(t.root, MONITOR "\x1a" LIMITS "\x18" ONE TWO ONE));
  tree_close(&t);
}

static void test_unknown_fields_survive(void) {
  struct tree t = object(BYTES(UNKNOWN SESSION "\x0f" UNKNOWN SESSION_METADATA PAIR("k", "1") UNKNOWN METADATA "\x00"));

  CHECK(tykb_map_remove(map_of(child(t.root, "session"), "metadata"), text("k")) == TYKB_OK);
  CHECK(tykb_map_clear(map_of(t.root, "metadata")) == TYKB_OK);
  CHECK(FULL(t.root, UNKNOWN SESSION "\x06" UNKNOWN UNKNOWN) || FULL(t.root, UNKNOWN UNKNOWN SESSION "\x03" UNKNOWN));
  tree_close(&t);
}

/* ---- Bodies ---- */

static void test_the_body_written_last_wins(void) {
  struct tree t = object(BYTES(""));
  struct tykb_node *request = child(t.root, "request");

  CHECK(put_text(request, "raw_body", "r") == TYKB_OK && put_text(request, "body", "b") == TYKB_OK);
  CHECK(tykb_node_settle_body(request) == TYKB_OK);
  CHECK(has_text(request, "body", "b") && has_text(request, "raw_body", "b"));
  CHECK(put_text(request, "raw_body", "\xff") == TYKB_OK);
  CHECK(tykb_node_settle_body(request) == TYKB_OK);
  CHECK(has_text(request, "body", "") && has_text(request, "raw_body", "\xff"));
  tree_close(&t);
}

static void test_a_body_that_nobody_wrote_stays(void) {
  struct tree t = object(BYTES(REQUEST "\x06" BODY S1("b") RAW_BODY S1("r")));
  struct tykb_node *request = child(t.root, "request");

  CHECK(tykb_node_settle_body(request) == TYKB_OK && put_text(request, "url", "/") == TYKB_OK);
  CHECK(tykb_node_settle_body(request) == TYKB_OK);
  CHECK(DELTA(t.root, REQUEST "\x03" URL S1("/")));
  tree_close(&t);
}

static void test_a_large_body_that_was_replaced_does_not_travel(void) {
  struct tykb_span bytes = {NULL, 0};
  struct tree t = object(bytes);
  struct tykb_node *request;
  void *data;
  size_t size;
  char *large = calloc(1, 5001);

  if (!large) abort();
  memset(large, 'x', 5000);
  CHECK(put_text(child(t.root, "request"), "raw_body", large) == TYKB_OK);
  CHECK(tykb_node_write(t.root, TYKB_REPLY_FULL, tykb_reply_alloc, &data, &size) == TYKB_OK && size > 5000);
  tree_close(&t);
  t = object((struct tykb_span){data, size});
  request = child(t.root, "request");
  CHECK(put_text(request, "body", "y") == TYKB_OK && tykb_node_settle_body(request) == TYKB_OK);
  CHECK(FULL(t.root, REQUEST "\x06" BODY S1("y") RAW_BODY S1("y")));
  CHECK(DELTA(t.root, REQUEST "\x06" BODY S1("y") RAW_BODY S1("y")));
  tree_close(&t);
  free(data);
  free(large);
}

/* ---- Memory ---- */

/* Reads something of every shape, for a tree that `rights` (below) spells. */
static int rights_are_there(struct tree *t) {
  struct tykb_node *session = child(t->root, "session"), *node, *response = child(t->root, "response");
  struct tykb_element *elements;
  size_t count;

  return has_text(session, "org_id", "o") && has_texts(list_of(session, "tags"), "t,") &&
         has_pair(map_of(t->root, "metadata"), "k", "1") &&
         tykb_map_node(map_of(session, "access_rights"), text("a"), &node) == TYKB_OK &&
         has_text(node, "api_name", "n") &&
         tykb_list_elements(list_of(response, "multivalue_headers"), &elements, &count) == TYKB_OK && count == 1 &&
         tykb_list_node(list_of(response, "multivalue_headers"), 0, &node) == TYKB_OK && has_text(node, "key", "h");
}

#define OF_EACH_SHAPE                                                                                                  \
  METADATA PAIR("k", "1") SESSION "\x11" ORG_ID S1("o") TAGS S1("t") RIGHTS "\x08" KEY S1("a") VALUE                   \
      "\x03" API_NAME S1("n") RESPONSE "\x05" MULTIVALUE "\x03" KEY S1("h")

static void own_and_drop_the_input(struct tree *t) {
  CHECK(tykb_context_own_input(t->context) == TYKB_OK);
  CHECK(tykb_context_own_input(t->context) == TYKB_OK); /* a second time: nothing to do */
  free((void *)t->input.data);
  t->input.data = NULL;
}

static void test_a_tree_outlives_its_input(void) {
  struct tree t = object(BYTES(OF_EACH_SHAPE)); /* nothing read before */

  own_and_drop_the_input(&t);
  CHECK(rights_are_there(&t));
  CHECK(FULL(t.root, OF_EACH_SHAPE));
  tree_close(&t);
  t = object(BYTES(OF_EACH_SHAPE)); /* everything read before */
  CHECK(rights_are_there(&t));
  own_and_drop_the_input(&t);
  CHECK(rights_are_there(&t));
  CHECK(FULL(t.root, OF_EACH_SHAPE));
  tree_close(&t);
}

static void test_regression_own_input_moved_what_only_stands_behind_the_input(void) {
  struct tykb_context *context = tykb_context_new();
  uint8_t *shared = malloc(16); /* the input, and right behind it bytes that are not its */
  struct tykb_node *root;
  struct tykb_map *map;
  struct tykb_entry *entries;
  size_t slots, count;

  if (!context || !shared) abort();
  memcpy(shared, METADATA PAIR("k", "1") "behind!!", 16);
  root = tykb_context_root(context, &tykb_type_Object, (struct tykb_span){shared, 8});
  map = map_of(root, "metadata");
  CHECK(tykb_map_entries(map, &entries, &slots, &count) == TYKB_OK && slots == 1);
  entries[0].key = (struct tykb_span){shared + 8, 8};
  CHECK(tykb_context_own_input(context) == TYKB_OK);
  CHECK(entries[0].key.data == shared + 8);
  CHECK(entries[0].value.data != shared + 7);
  tykb_context_free(context);
  free(shared);
}

static void test_a_context_serves_one_message_after_the_other(void) {
  struct tree t = object(BYTES(OF_EACH_SHAPE));

  for (int i = 0; i < 3; i++) {
    CHECK(rights_are_there(&t));
    CHECK(put_text(t.root, "hook_name", "some words that need memory") == TYKB_OK);
    tykb_context_reset(t.context);
    t.root = tykb_context_root(t.context, &tykb_type_Object, t.input);
    CHECK(t.root && has_text(t.root, "hook_name", ""));
  }
  tree_close(&t);
}

static void test_a_reply_that_no_int_counts_is_too_large(void) {
  struct tree t = object(BYTES(""));
  struct tykb_span huge = {t.input.data, (size_t)INT_MAX}; /* never read: it is only counted */
  void *data = &t;
  size_t size = 1;

  t.root = tykb_context_root(t.context, &tykb_type_Object, huge);
  CHECK(put_number(t.root, "hook_type", 1) == TYKB_OK);
  CHECK(tykb_node_write(t.root, TYKB_REPLY_FULL, tykb_reply_alloc, &data, &size) == TYKB_E_TOO_LARGE);
  CHECK(!data && !size);
  CHECK(DELTA(t.root, HOOK_TYPE "\x01"));
  tree_close(&t);
}

static void test_regression_offsets_of_a_message_past_4_gb_wrapped(void) {
  struct tree t = object(BYTES(""));
  struct tykb_span huge = {t.input.data, (size_t)INT_MAX + 1}, hook, bundle;
  union tykb_value value;

  t.root = tykb_context_root(t.context, &tykb_type_Object, huge);
  CHECK(tykb_node_get(t.root, field(t.root, "hook_type"), &value) == TYKB_E_MALFORMED);
  CHECK(tykb_object_identify(t.root, &hook, &bundle) == TYKB_E_MALFORMED);
  tree_close(&t);
}

/* Field 183 begins with the byte that field 23 begins with, and its content looks like an entry. */
static void test_regression_an_unknown_field_was_taken_for_an_entry_of_a_map(void) {
  struct tree t = object(BYTES(SESSION "\x0d\xba\x0b" KEY "\x05token" VALUE S2("AB")));
  struct tykb_node *session = child(t.root, "session");
  struct tykb_span value;

  CHECK(tykb_node_find(session, field(session, "metadata"), text("token"), &value) == TYKB_E_NOT_FOUND);
  CHECK(tykb_map_text(map_of(session, "metadata"), text("token"), &value) == TYKB_E_NOT_FOUND);
  CHECK(count_of(map_of(session, "metadata")) == 0);
  tree_close(&t);
}

static void test_regression_unknown_fields_between_known_ones_cost_their_square(void) {
  const size_t pairs = 200000; /* by the square: 60 GB */
  uint8_t *bytes = malloc(pairs * 5), *p = bytes;
  struct tree t = object(BYTES(""));
  void *data;
  size_t size;

  if (!bytes) abort();
  for (size_t i = 0; i < pairs; i++) p = tykb_wire_put_bytes(p, UNKNOWN HOOK_TYPE "\x01", 5);
  CHECK(tykb_node_merge(t.root, (struct tykb_span){bytes, pairs * 5}) == TYKB_OK);
  CHECK(tykb_node_write(t.root, TYKB_REPLY_FULL, tykb_reply_alloc, &data, &size) == TYKB_OK);
  CHECK(size == pairs * 3 + 2);
  free(data);
  free(bytes);
  tree_close(&t);
}

/* ---- Every allocation fails in turn ---- */

#define TRY(call)                                                                                                      \
  do {                                                                                                                 \
    status = (call);                                                                                                   \
    if (status != TYKB_OK) goto done;                                                                                  \
  } while (0)

#define NEED(pointer, call)                                                                                            \
  do {                                                                                                                 \
    pointer = (call);                                                                                                  \
    status = pointer ? TYKB_OK : TYKB_E_NO_MEMORY;                                                                     \
    if (!pointer) goto done;                                                                                           \
  } while (0)

/* A day in the life of a tree. */
static int scenario(struct tykb_span input, void **full, void **delta) {
  struct tykb_context *context;
  struct tykb_node *root, *request, *session, *response, *node;
  struct tykb_map *map;
  struct tykb_list *list;
  union tykb_value value;
  size_t size, order[] = {1, 0};
  int status;

  *full = *delta = NULL;
  NEED(context, tykb_context_new());
  NEED(root, tykb_context_root(context, &tykb_type_Object, input));
  TRY(tykb_node_get(root, field(root, "hook_type"), &value));
  NEED(request, child(root, "request"));
  TRY(put_text(request, "url", "/somewhere/else"));
  NEED(map, map_of(request, "set_headers"));
  for (int i = 0; i < 20; i++) {
    char key[2] = {(char)('a' + i), 0};

    TRY(put_pair(map, key, "value"));
  }
  TRY(tykb_map_remove(map, text("b")));
  NEED(list, list_of(request, "delete_headers"));
  TRY(append_text(list, "one"));
  TRY(append_text(list, "two"));
  TRY(tykb_list_reorder(list, order, 2));
  NEED(session, child(root, "session"));
  TRY(tykb_context_own_input(context));
  NEED(map, map_of(session, "access_rights"));
  TRY(tykb_map_node(map, text("a"), &node));
  NEED(list, list_of(node, "versions"));
  TRY(append_text(list, "v"));
  NEED(response, child(root, "response"));
  NEED(list, list_of(response, "multivalue_headers"));
  TRY(tykb_list_add(list, &node));
  TRY(put_text(node, "key", "Set-Cookie"));
  TRY(tykb_node_merge(root, BYTES(METADATA PAIR("z", "1") UNKNOWN SESSION "\x0c" MONITOR "\x09" LIMIT ONE)));
  NEED(map, map_of(root, "metadata"));
  TRY(tykb_map_remove(map, text("k")));
  TRY(put_text(request, "body", "text"));
  TRY(tykb_node_settle_body(request));
  TRY(tykb_node_replace(session, field(session, "basic_auth_data"), BYTES(KEY S1("p"))));
  TRY(tykb_node_clear_field(root, field(root, "spec")));
  TRY(tykb_node_write(root, TYKB_REPLY_DELTA, tykb_reply_alloc, delta, &size));
  TRY(tykb_node_write(root, TYKB_REPLY_FULL, tykb_reply_alloc, full, &size));
  TRY(tykb_node_clear(session));
done:
  tykb_context_free(context);
  return status;
}

static void test_each_allocation_fails_in_turn(void) {
  struct tykb_span input = check_heap(BYTES(OF_EACH_SHAPE SPEC PAIR("s", "1")));
  int status = TYKB_E_NO_MEMORY;
  long failures = 0;

  while (status == TYKB_E_NO_MEMORY && failures < 1000) {
    void *full, *delta;

    tykb_mem_fail_after(++failures);
    status = scenario(input, &full, &delta);
    tykb_mem_fail_after(0);
    free(full);
    free(delta);
  }
  CHECK(status == TYKB_OK);
  CHECK(failures > 40);
  free((void *)input.data);
}

int main(void) {
  RUN(test_an_untouched_message_is_written_as_it_came);
  RUN(test_the_last_scalar_wins_and_a_missing_one_is_its_default);
  RUN(test_numbers_are_cut_to_their_kind);
  RUN(test_a_field_of_the_wrong_wire_type_is_an_unknown_one);
  RUN(test_pieces_of_a_message_are_one);
  RUN(test_entries_read_as_protobuf_reads_them);
  RUN(test_doubles_are_read_packed_and_one_by_one);
  RUN(test_what_is_no_message_is_malformed_when_it_is_read);
  RUN(test_identify_finds_what_a_dispatch_asks_first);
  RUN(test_short_ways_to_a_key_find_what_the_long_one_finds);
  RUN(test_a_scalar_is_appended);
  RUN(test_a_default_is_written_where_it_hides_a_value);
  RUN(test_a_touched_message_is_present);
  RUN(test_a_map_takes_entries_undecoded);
  RUN(test_a_removed_entry_is_cut_out);
  RUN(test_a_cleared_map_deep_inside);
  RUN(test_what_was_added_and_removed_leaves_no_trace);
  RUN(test_many_keys);
  RUN(test_a_list_takes_elements_undecoded);
  RUN(test_a_list_that_is_changed_inside_is_written_anew);
  RUN(test_one_element_is_removed);
  RUN(test_a_removed_message_belongs_to_nobody);
  RUN(test_regression_each_move_in_a_list_kept_a_copy_of_it);
  RUN(test_doubles_are_written_packed);
  RUN(test_a_changed_value_of_a_message_map_travels_whole);
  RUN(test_a_list_of_messages);
  RUN(test_a_cleared_message_is_named_and_may_be_written_again);
  RUN(test_a_replaced_message);
  RUN(test_what_was_cleared_away_stays_readable);
  RUN(test_merge_adds_as_protobuf_does);
  RUN(test_merge_of_what_is_malformed_changes_nothing);
  RUN(test_merge_of_a_message_into_itself);
  RUN(test_merge_of_packed_doubles);
  RUN(test_unknown_fields_survive);
  RUN(test_the_body_written_last_wins);
  RUN(test_a_body_that_nobody_wrote_stays);
  RUN(test_a_large_body_that_was_replaced_does_not_travel);
  RUN(test_a_tree_outlives_its_input);
  RUN(test_regression_own_input_moved_what_only_stands_behind_the_input);
  RUN(test_a_context_serves_one_message_after_the_other);
  RUN(test_a_reply_that_no_int_counts_is_too_large);
  RUN(test_regression_offsets_of_a_message_past_4_gb_wrapped);
  RUN(test_regression_an_unknown_field_was_taken_for_an_entry_of_a_map);
  RUN(test_regression_unknown_fields_between_known_ones_cost_their_square);
  RUN(test_each_allocation_fails_in_turn);
  return check_report();
}
