/* Unit tests of csrc/message.c: the reader and the builder of api.h. */
#include "tree_check.h"

#include <limits.h>
#include <stdarg.h>

/* ---- Reader ---- */

/* What a reader says, an item a word: "3.5=/a" is text, "3.1[k]=v" a pair, "1#-1" a number, "4.3~1.5" a double,
 * "!4.23" a path to empty; at the end "." or the name of a status. */
static const char *read_all(struct tykb_span bytes) {
  static char words[2000];
  struct tykb_span heap = check_heap(bytes);
  struct CoProcessMessage message = {(void *)(uintptr_t)heap.data, (int)heap.size};
  tykb_reader reader;
  struct tykb_item item;
  size_t at = 0;
  int status;

#define SAY(...) at += (size_t)snprintf(words + at, at < sizeof words ? sizeof words - at : 0, __VA_ARGS__)
  tykb_reader_init(&reader, &message);
  while ((status = tykb_reader_next(&reader, &item)) == 1) {
    uint32_t path = item.path;

    if (path == TYKB_CLEARED) {
      path = (uint32_t)item.number;
      item.number = 0;
      SAY("!");
    }
    CHECK(item.key.data && item.value.data); /* never NULL: memcpy and std::string take them as they are */
    SAY("%u", (unsigned)(path & 0xff));
    while ((path >>= 8) != 0) SAY(".%u", (unsigned)(path & 0xff));
    if (item.key.size) SAY("[%.*s]", (int)item.key.size, item.key.data);
    if (item.value.size) SAY("=%.*s", (int)item.value.size, item.value.data);
    if (item.number) SAY("#%lld", (long long)item.number);
    if (item.real != 0) SAY("~%g", item.real);
    SAY(" ");
  }
  SAY("%s", status ? tykb_status_name(status) : ".");
  CHECK(tykb_reader_next(&reader, &item) == status); /* and so it stays */
#undef SAY
  free((void *)(uintptr_t)heap.data);
  return words;
}

static int reads_as(struct tykb_span bytes, const char *expected) {
  const char *words = read_all(bytes);
  int same = !strcmp(words, expected);

  if (!same) fprintf(stderr, "read: %s\n", words);
  return same;
}

#define READS(literal, expected) reads_as(BYTES(literal), expected)

static void test_items_of_each_shape(void) {
  CHECK(READS("", "."));
  CHECK(READS(HOOK_TYPE "\x03", "1#3 ."));
  CHECK(READS(HOOK_NAME S1("h"), "2=h ."));
  CHECK(READS(METADATA PAIR("k", "v"), "5[k]=v ."));
  CHECK(READS(REQUEST "\x03" URL S1("/"), "3.5=/ ."));
  CHECK(READS(REQUEST "\x03" DELETE_HEADERS S1("a"), "3.3=a ."));
  CHECK(READS(REQUEST "\x08" HEADERS PAIR("k", "v"), "3.1[k]=v ."));
  CHECK(READS(REQUEST "\x05" OVERRIDES "\x03" RESPONSE_CODE "\xc8\x01", "3.10.1#200 ."));
  CHECK(READS(SESSION "\x09" RATE ONE, "4.3~1 ."));
  CHECK(READS(SESSION "\x03" HMAC_ENABLED "\x05", "4.16#1 ."));
  CHECK(READS(SESSION "\x0a" RIGHTS "\x08" KEY S1("a") VALUE "\x03" API_NAME S1("n"), "4.10[a]=\n\x01n ."));
}

static void test_numbers_as_protobuf_cuts_them(void) {
  CHECK(READS(HOOK_TYPE "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "1#-1 ."));
  CHECK(READS(HOOK_TYPE "\x80\x80\x80\x80\x10", "1 .")); /* 2^32 is 0 in 32 bits */
  CHECK(READS(SESSION "\x0b\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", "4.1#-9223372036854775808 ."));
}

static void test_doubles_packed_and_one_by_one(void) {
  CHECK(READS(SESSION "\x1e" MONITOR "\x1b" LIMITS "\x10" ONE TWO LIMIT TWO, "4.21.1~1 4.21.1~2 4.21.1~2 ."));
  CHECK(READS(SESSION "\x05" MONITOR "\x02" LIMITS "\x00", "."));
  CHECK(READS(SESSION "\x11" MONITOR "\x0e" LIMITS "\x0c" ONE "wxyz", "4.21.1~1 TYKB_E_MALFORMED"));
}

static void test_multivalue_headers(void) {
  CHECK(READS(RESPONSE "\x0b" MULTIVALUE "\x09" KEY S1("k") VALUE S1("1") VALUE S1("2"), "7.5[k]=1 7.5[k]=2 ."));
  CHECK(READS(RESPONSE "\x0b" MULTIVALUE "\x09" VALUE S1("1") VALUE S1("2") KEY S1("k"), "7.5[k]=1 7.5[k]=2 ."));
  CHECK(READS(RESPONSE "\x05" MULTIVALUE "\x03" KEY S1("k"), ".")); /* no value, no item */
  CHECK(READS(RESPONSE "\x07" MULTIVALUE "\x05" KEY S1("k") VALUE "\x00", "7.5[k] ."));
  CHECK(READS(RESPONSE "\x0a" MULTIVALUE PAIR("k", "1") STATUS_CODE "\x05", "7.5[k]=1 7.1#5 ."));
  CHECK(READS(RESPONSE "\x07" MULTIVALUE "\x05" VALUE S1("1") VALUE "\x05", "TYKB_E_MALFORMED"));
}

static void test_entries_that_lack_something(void) {
  CHECK(READS(METADATA "\x03" KEY S1("k"), "5[k] ."));
  CHECK(READS(METADATA "\x03" VALUE S1("v"), "5=v ."));
  CHECK(READS(METADATA "\x00", "5 ."));
  CHECK(READS(METADATA "\x06" VALUE S1("v") KEY S1("k"), "5[k]=v ."));
  CHECK(READS(METADATA "\x09" KEY S1("k") VALUE S1("1") VALUE S1("2"), "5[k]=2 ."));
  CHECK(READS(METADATA "\x05" VALUE S1("v") "\x08\x07", "5=v .")); /* a key that is a number is none */
  CHECK(READS(METADATA "\x09" UNKNOWN KEY S1("k") VALUE S1("v"), "5[k]=v ."));
}

static void test_an_empty_message_is_an_item_because_it_is_there(void) {
  CHECK(READS(SESSION "\x00", "4 ."));
  CHECK(READS(REQUEST "\x02" OVERRIDES "\x00", "3.10 ."));
}

static void test_pieces_come_in_the_order_of_the_bytes(void) {
  CHECK(READS(REQUEST "\x03" URL S1("1") HOOK_NAME S1("h") REQUEST "\x03" URL S1("2"), "3.5=1 2=h 3.5=2 ."));
}

static void test_what_is_unknown_is_passed_over(void) {
  CHECK(READS(UNKNOWN UNKNOWN_STRING HOOK_NAME S1("h") UNKNOWN, "2=h ."));
  CHECK(READS("\x09" ONE HOOK_NAME S1("h"), "2=h ."));
  CHECK(READS(SESSION "\x05\x18\x07" ORG_ID S1("o"), "4.11=o ."));
  CHECK(READS(REQUEST "\x06" UNKNOWN URL S1("/"), "3.5=/ ."));
  CHECK(READS("\x10\x07\x0a\x01x\x1b\x1c\x2dzzzz" HOOK_NAME S1("h"), "2=h .")); /* known numbers, other wire types */
}

static void test_cleared_paths_come_first_wherever_they_stand(void) {
  CHECK(READS(CLEARED S8("metadata") HOOK_NAME S1("h"), "!5 2=h ."));
  CHECK(READS(HOOK_NAME S1("h") CLEARED S8("metadata") CLEARED S16("session.metadata"), "!5 !4.23 2=h ."));
  CHECK(READS(CLEARED S7("session") SESSION "\x03" ORG_ID S1("o"), "!4 4.11=o ."));
  CHECK(READS(CLEARED "\x20request.return_overrides.headers", "!3.10.3 ."));
}

static void test_a_removal_that_is_not_understood_does_not_get_lost(void) {
  CHECK(READS(HOOK_NAME S1("h") CLEARED S7("sessiom"), "TYKB_E_MALFORMED"));
  CHECK(READS(CLEARED "\x00", "TYKB_E_MALFORMED"));
  CHECK(READS(CLEARED S1("."), "TYKB_E_MALFORMED"));
  CHECK(READS(CLEARED S8("session."), "TYKB_E_MALFORMED"));
  CHECK(READS(CLEARED S8(".session"), "TYKB_E_MALFORMED"));
  CHECK(READS(CLEARED "\x0ametadata.k", "TYKB_E_MALFORMED"));                             /* inside of a map */
  CHECK(READS(CLEARED "\x26request.return_overrides.headers.value", "TYKB_E_MALFORMED")); /* too deep */
  CHECK(READS(CLEARED "\x1esession.access_rights.api_name", "TYKB_E_MALFORMED"));         /* inside of a map, too */
}

static void test_what_came_before_a_fault_stands(void) {
  CHECK(READS(HOOK_NAME S1("h") REQUEST "\x05" URL S1("/") "\x0a\x05", "2=h 3.5=/ TYKB_E_MALFORMED"));
  CHECK(READS(HOOK_NAME S1("h") REQUEST "\x05" URL S1("/"), "2=h TYKB_E_MALFORMED"));
  CHECK(READS(METADATA "\x03" KEY "\x02k", "TYKB_E_MALFORMED"));
  CHECK(READS(CLEARED S8("metadata") HOOK_NAME S1("h") "\x00", "!5 2=h TYKB_E_MALFORMED"));
}

static void test_a_reader_of_nothing(void) {
  struct CoProcessMessage none = {NULL, 0}, wrong = {NULL, 5}, negative = {"x", -1};
  tykb_reader reader;
  struct tykb_item item;

  memset(&reader, 0, sizeof reader); /* never begun */
  CHECK(tykb_reader_next(&reader, &item) == 0);
  tykb_reader_init(&reader, &none);
  CHECK(tykb_reader_next(&reader, &item) == 0);
  tykb_reader_init(&reader, &wrong);
  CHECK(tykb_reader_next(&reader, &item) == TYKB_E_ARGUMENT);
  tykb_reader_init(&reader, &negative);
  CHECK(tykb_reader_next(&reader, &item) == TYKB_E_ARGUMENT);
  tykb_reader_init(&reader, NULL);
  CHECK(tykb_reader_next(&reader, &item) == TYKB_E_ARGUMENT);
  tykb_reader_init(NULL, &none);
  CHECK(tykb_reader_next(NULL, &item) == TYKB_E_ARGUMENT);
  CHECK(tykb_reader_next(&reader, NULL) == TYKB_E_ARGUMENT);
}

/* ---- Builder ---- */

#define TEXT(builder, path, literal) tykb_builder_text(builder, path, literal, sizeof(literal) - 1)
#define ADD_PAIR(builder, path, key, value)                                                                            \
  tykb_builder_pair(builder, path, key, sizeof(key) - 1, value, sizeof(value) - 1)

/* Finishes: whether the message is `expected`. */
static int builds(tykb_builder *builder, struct tykb_span expected) {
  struct CoProcessMessage out = {&out, 7};
  int status = tykb_builder_finish(builder, &out);
  struct tykb_span bytes = {out.p_data, (size_t)out.length};
  int same = status == TYKB_OK && check_same(bytes, expected);

  if (!same) fprintf(stderr, "%d: %s\n", status, read_all(bytes));
  free(out.p_data);
  return same;
}

#define BUILDS(builder, literal) builds(builder, BYTES(literal))

/* Finishes: whether it failed so, in these words. */
static int fails(tykb_builder *builder, int expected, const char *words) {
  struct CoProcessMessage out = {&out, 7};
  int status = tykb_builder_finish(builder, &out);
  int same = status == expected && check_same((struct tykb_span){out.p_data, (size_t)out.length}, text(words));

  if (!same) fprintf(stderr, "%d: %.*s\n", status, out.length, (const char *)out.p_data);
  free(out.p_data);
  return same;
}

static void test_a_message_is_built(void) {
  tykb_builder *b = tykb_builder_new();

  CHECK(BUILDS(b, ""));
  tykb_builder_number(b, TYKB_HOOK_TYPE, 1);
  TEXT(b, TYKB_HOOK_NAME, "h");
  TEXT(b, TYKB_REQUEST_RAW_BODY, "\xff");
  ADD_PAIR(b, TYKB_REQUEST_HEADERS, "a", "1");
  ADD_PAIR(b, TYKB_REQUEST_HEADERS, "b", "2");
  ADD_PAIR(b, TYKB_REQUEST_HEADERS, "a", "3"); /* replaces */
  tykb_builder_number(b, TYKB_OVERRIDES_RESPONSE_CODE, -1);
  CHECK(BUILDS(b,
               HOOK_TYPE "\x01" HOOK_NAME S1("h") REQUEST "\x20" RAW_BODY S1("\xff") HEADERS PAIR("a", "3")
                   HEADERS PAIR("b", "2") OVERRIDES "\x0b" RESPONSE_CODE "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"));
  TEXT(b, TYKB_HOOK_NAME, "i"); /* empty again, and of use again */
  CHECK(BUILDS(b, HOOK_NAME S1("i")));
  tykb_builder_free(b);
}

static void test_a_session_is_built(void) {
  tykb_builder *b = tykb_builder_new();

  tykb_builder_real(b, TYKB_PATH(4, 3, 0), 1);
  tykb_builder_number(b, TYKB_PATH(4, 16, 0), 1);
  TEXT(b, TYKB_PATH(4, 24, 0), "t");
  TEXT(b, TYKB_PATH(4, 24, 0), "u");
  tykb_builder_real(b, TYKB_PATH(4, 21, 1), 1);
  tykb_builder_real(b, TYKB_PATH(4, 21, 1), 2);
  CHECK(BUILDS(b, SESSION "\x29" RATE ONE HMAC_ENABLED "\x01" TAGS S1("t") TAGS S1("u") MONITOR "\x12" LIMITS
                                                                                                "\x10" ONE TWO));
  ADD_PAIR(b, TYKB_PATH(4, 10, 0), "a", API_NAME S1("n"));
  ADD_PAIR(b, TYKB_PATH(4, 10, 0), "a", VERSIONS S1("v")); /* replaces, does not merge */
  CHECK(BUILDS(b, SESSION "\x0a" RIGHTS "\x08" KEY S1("a") VALUE "\x03" VERSIONS S1("v")));
  tykb_builder_free(b);
}

static void test_serialised_messages_are_merged_in(void) {
  tykb_builder *b = tykb_builder_new();

  TEXT(b, TYKB_SESSION, ORG_ID S1("o") TAGS S1("t"));
  TEXT(b, TYKB_SESSION, TAGS S1("u"));
  TEXT(b, TYKB_RESPONSE, "");
  CHECK(BUILDS(b, SESSION "\x0b" ORG_ID S1("o") TAGS S1("t") TAGS S1("u") RESPONSE "\x00"));
  TEXT(b, TYKB_RESPONSE_MULTIVALUE_HEADERS, KEY S1("k") VALUE S1("v"));
  CHECK(BUILDS(b, RESPONSE "\x08" MULTIVALUE PAIR("k", "v")));
  tykb_builder_free(b);
}

static void test_a_header_again_gets_one_more_value(void) {
  tykb_builder *b = tykb_builder_new();

  ADD_PAIR(b, TYKB_RESPONSE_MULTIVALUE_HEADERS, "a", "1");
  ADD_PAIR(b, TYKB_RESPONSE_MULTIVALUE_HEADERS, "b", "2");
  ADD_PAIR(b, TYKB_RESPONSE_MULTIVALUE_HEADERS, "a", "3");
  CHECK(BUILDS(b, RESPONSE "\x13" MULTIVALUE "\x09" KEY S1("a") VALUE S1("1") VALUE S1("3") MULTIVALUE PAIR("b", "2")));
  ADD_PAIR(b, TYKB_RESPONSE_MULTIVALUE_HEADERS, "a", "4"); /* of the next message */
  CHECK(BUILDS(b, RESPONSE "\x08" MULTIVALUE PAIR("a", "4")));
  tykb_builder_free(b);
}

static void test_what_was_added_is_copied(void) {
  tykb_builder *b = tykb_builder_new();
  char words[] = "k";

  tykb_builder_text(b, TYKB_HOOK_NAME, words, 1);
  tykb_builder_pair(b, TYKB_METADATA, words, 1, words, 1);
  tykb_builder_pair(b, TYKB_RESPONSE_MULTIVALUE_HEADERS, words, 1, words, 1);
  words[0] = 'x';
  CHECK(BUILDS(b, HOOK_NAME S1("k") METADATA PAIR("k", "k") RESPONSE "\x08" MULTIVALUE PAIR("k", "k")));
  tykb_builder_free(b);
}

static void test_the_words_of_a_fault(void) {
  tykb_builder *b = tykb_builder_new();

  TEXT(b, TYKB_REQUEST_METHOD, "\xff");
  CHECK(fails(b, TYKB_E_ARGUMENT, "request.method: the text is not UTF-8; only raw_body fields take any bytes"));
  ADD_PAIR(b, TYKB_METADATA, "\xff", "v");
  CHECK(fails(b, TYKB_E_ARGUMENT, "metadata: the key is not UTF-8; only raw_body fields take any bytes"));
  ADD_PAIR(b, TYKB_OVERRIDES_HEADERS, "k", "\xff");
  CHECK(fails(b, TYKB_E_ARGUMENT,
              "request.return_overrides.headers: the value is not UTF-8; only raw_body fields take any bytes"));
  ADD_PAIR(b, TYKB_RESPONSE_MULTIVALUE_HEADERS, "k", "\xff");
  CHECK(fails(b, TYKB_E_ARGUMENT,
              "response.multivalue_headers: the value is not UTF-8; only raw_body fields take any bytes"));
  tykb_builder_text(b, TYKB_HOOK_NAME, NULL, 3);
  CHECK(fails(b, TYKB_E_ARGUMENT, "hook_name: the text is NULL, its size 3"));
  TEXT(b, TYKB_REQUEST_HEADERS, "v");
  CHECK(fails(b, TYKB_E_ARGUMENT, "request.headers: a map, which takes tykb_builder_pair"));
  tykb_builder_number(b, TYKB_REQUEST_URL, 1);
  CHECK(fails(b, TYKB_E_ARGUMENT, "request.url: text, which takes tykb_builder_text"));
  ADD_PAIR(b, TYKB_REQUEST_URL, "k", "v");
  CHECK(fails(b, TYKB_E_ARGUMENT, "request.url: text, which takes tykb_builder_text"));
  tykb_builder_number(b, TYKB_PATH(4, 3, 0), 1);
  CHECK(fails(b, TYKB_E_ARGUMENT, "session.rate: a double, which takes tykb_builder_real"));
  tykb_builder_real(b, TYKB_HOOK_TYPE, 1);
  CHECK(fails(b, TYKB_E_ARGUMENT, "hook_type: a number, which takes tykb_builder_number"));
  tykb_builder_real(b, TYKB_SESSION, 1);
  CHECK(fails(b, TYKB_E_ARGUMENT, "session: a message, which takes serialised bytes through tykb_builder_text"));
  tykb_builder_number(b, TYKB_OVERRIDES_RESPONSE_CODE, INT64_C(1) << 31);
  CHECK(fails(b, TYKB_E_ARGUMENT,
              "request.return_overrides.response_code: 2147483648 is not from -2147483648 to 2147483647"));
  tykb_builder_number(b, TYKB_OVERRIDES_OVERRIDE_ERROR, 2);
  CHECK(fails(b, TYKB_E_ARGUMENT, "request.return_overrides.override_error: 2 is not from 0 to 1"));
  TEXT(b, TYKB_SESSION, ORG_ID "\x05");
  CHECK(fails(b, TYKB_E_MALFORMED, "session: the bytes are no serialised SessionState"));
  ADD_PAIR(b, TYKB_PATH(4, 10, 0), "a", API_NAME "\x05");
  CHECK(fails(b, TYKB_E_MALFORMED, "session.access_rights: the bytes are no serialised AccessDefinition"));
  tykb_builder_free(b);
}

static struct CoProcessMessage message_of(struct tykb_span bytes) {
  return (struct CoProcessMessage){(void *)(uintptr_t)bytes.data, (int)bytes.size};
}

static void test_fields_are_copied_whole(void) {
  tykb_builder *b = tykb_builder_new();
  struct CoProcessMessage reply = message_of(BYTES(SESSION "\x03" ORG_ID S1("o") SPEC PAIR("a", "1") HOOK_NAME S1("h")
                                                       SESSION "\x04" TAGS S1("t") SPEC PAIR("b", "2")));
  struct CoProcessMessage none = {NULL, 0}, empty = message_of(BYTES(SESSION "\x00"));

  tykb_builder_copy(b, TYKB_SESSION, &reply);
  CHECK(BUILDS(b, SESSION "\x07" ORG_ID S1("o") TAGS S1("t")));
  ADD_PAIR(b, TYKB_SPEC, "a", "0");
  tykb_builder_copy(b, TYKB_SPEC, &reply);
  CHECK(BUILDS(b, SPEC PAIR("a", "1") SPEC PAIR("b", "2")));
  tykb_builder_copy(b, TYKB_HOOK_NAME, &reply);
  tykb_builder_copy(b, TYKB_RESPONSE, &reply); /* which it does not have */
  tykb_builder_copy(b, TYKB_SESSION, &none);
  CHECK(BUILDS(b, HOOK_NAME S1("h")));
  tykb_builder_copy(b, TYKB_SESSION, &empty);
  CHECK(BUILDS(b, SESSION "\x00"));
  tykb_builder_copy(NULL, TYKB_SESSION, &reply);
  tykb_builder_free(b);
}

static void test_what_cannot_be_copied(void) {
  tykb_builder *b = tykb_builder_new();
  struct CoProcessMessage reply = message_of(BYTES(SESSION "\x03" ORG_ID S1("o"))), wrong = reply;

  tykb_builder_copy(b, TYKB_SESSION_METADATA, &reply);
  CHECK(fails(b, TYKB_E_ARGUMENT, "session.metadata: only a field of the object itself can be copied"));
  tykb_builder_copy(b, TYKB_SESSION, NULL);
  CHECK(fails(b, TYKB_E_ARGUMENT, "session: there is no message to copy it from"));
  wrong.length = -1;
  tykb_builder_copy(b, TYKB_SESSION, &wrong);
  CHECK(fails(b, TYKB_E_ARGUMENT, "session: there is no message to copy it from"));
  wrong = (struct CoProcessMessage){NULL, 1};
  tykb_builder_copy(b, TYKB_SESSION, &wrong);
  CHECK(fails(b, TYKB_E_ARGUMENT, "session: there is no message to copy it from"));
  wrong = message_of(BYTES(SESSION "\x04" ORG_ID S1("o")));
  tykb_builder_copy(b, TYKB_SPEC, &wrong);
  CHECK(fails(b, TYKB_E_MALFORMED, "spec: the message to copy it from is no serialised coprocess.Object"));
  wrong = message_of(BYTES(SESSION "\x03" ORG_ID "\x09o"));
  tykb_builder_copy(b, TYKB_SESSION, &wrong);
  CHECK(fails(b, TYKB_E_MALFORMED, "session: the message to copy it from is no serialised coprocess.Object"));
  tykb_builder_free(b);
}

static void test_paths_that_lead_nowhere(void) {
  const uint32_t paths[] = {0,
                            TYKB_PATH(8, 0, 0),
                            TYKB_PATH(3, 99, 0),
                            TYKB_PATH(3, 0, 1),
                            TYKB_PATH(0, 3, 0),
                            TYKB_PATH(1, 1, 0),
                            TYKB_PATH(4, 10, 1),
                            TYKB_PATH(3, 10, 6),
                            TYKB_CLEARED,
                            1u << 24 | 1};
  const char *names[] = {"0.0.0", "8.0.0",  "3.99.0", "3.0.1",       "0.3.0",
                         "1.1.0", "4.10.1", "3.10.6", "255.255.255", "1.0.256"};
  tykb_builder *b = tykb_builder_new();
  char words[200];

  for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
    TEXT(b, paths[i], "x");
    snprintf(words, sizeof words,
             "path %s: no such field; take a name of enum tykb_path, or TYKB_PATH(4, number, 0) for the session's",
             names[i]);
    CHECK(fails(b, TYKB_E_ARGUMENT, words));
  }
  tykb_builder_free(b);
}

static void test_the_first_fault_is_kept(void) {
  tykb_builder *b = tykb_builder_new();

  tykb_builder_real(b, TYKB_HOOK_TYPE, 1);
  TEXT(b, TYKB_HOOK_NAME, "\xff");
  TEXT(b, TYKB_HOOK_NAME, "h");
  CHECK(fails(b, TYKB_E_ARGUMENT, "hook_type: a number, which takes tykb_builder_number"));
  TEXT(b, TYKB_HOOK_NAME, "h"); /* forgotten with the message */
  CHECK(BUILDS(b, HOOK_NAME S1("h")));
  tykb_builder_free(b);
}

static void test_a_builder_that_is_not_there(void) {
  struct CoProcessMessage out = {&out, 7};
  tykb_builder *b = tykb_builder_new();

  TEXT(NULL, TYKB_HOOK_NAME, "h");
  tykb_builder_number(NULL, TYKB_HOOK_TYPE, 1);
  tykb_builder_real(NULL, TYKB_HOOK_TYPE, 1);
  ADD_PAIR(NULL, TYKB_METADATA, "k", "v");
  CHECK(tykb_builder_finish(NULL, &out) == TYKB_E_NO_MEMORY && !out.p_data && !out.length);
  CHECK(tykb_builder_finish(b, NULL) == TYKB_E_ARGUMENT);
  tykb_builder_free(NULL);
  tykb_builder_free(b);
}

static void test_regression_many_headers_cost_their_square(void) {
  tykb_builder *b = tykb_builder_new();
  struct CoProcessMessage out;
  char key[16];

  for (int i = 0; i < 100000; i++) /* by the square: minutes */
    tykb_builder_pair(b, TYKB_RESPONSE_MULTIVALUE_HEADERS, key, (size_t)snprintf(key, sizeof key, "%d", i), "v", 1);
  CHECK(tykb_builder_finish(b, &out) == TYKB_OK);
  free(out.p_data);
  tykb_builder_free(b);
}

/* ---- Every allocation fails in turn ---- */

static int scenario(struct CoProcessMessage *out) {
  tykb_builder *b = tykb_builder_new();
  int status;

  TEXT(b, TYKB_HOOK_NAME, "hook");
  tykb_builder_number(b, TYKB_OVERRIDES_RESPONSE_CODE, 7);
  ADD_PAIR(b, TYKB_REQUEST_HEADERS, "k", "v");
  ADD_PAIR(b, TYKB_RESPONSE_MULTIVALUE_HEADERS, "k", "v");
  ADD_PAIR(b, TYKB_RESPONSE_MULTIVALUE_HEADERS, "k", "w");
  ADD_PAIR(b, TYKB_PATH(4, 10, 0), "k", API_NAME S1("n"));
  tykb_builder_real(b, TYKB_PATH(4, 21, 1), 1);
  TEXT(b, TYKB_SESSION, ORG_ID S1("o") TAGS S1("t") UNKNOWN);
  TEXT(b, TYKB_RESPONSE_MULTIVALUE_HEADERS, KEY S1("k"));
  status = tykb_builder_finish(b, out);
  tykb_builder_free(b);
  return status;
}

static void test_each_allocation_fails_in_turn(void) {
  int status = TYKB_E_NO_MEMORY;
  long failures = 0;

  while (status == TYKB_E_NO_MEMORY && failures < 1000) {
    struct CoProcessMessage out = {NULL, 0};

    tykb_mem_fail_after(++failures);
    status = scenario(&out);
    tykb_mem_fail_after(0);
    CHECK(status == TYKB_OK || (!out.p_data && !out.length)); /* no memory for words either */
    free(out.p_data);
  }
  CHECK(status == TYKB_OK);
  CHECK(failures > 30);
}

int main(void) {
  RUN(test_items_of_each_shape);
  RUN(test_numbers_as_protobuf_cuts_them);
  RUN(test_doubles_packed_and_one_by_one);
  RUN(test_multivalue_headers);
  RUN(test_entries_that_lack_something);
  RUN(test_an_empty_message_is_an_item_because_it_is_there);
  RUN(test_pieces_come_in_the_order_of_the_bytes);
  RUN(test_what_is_unknown_is_passed_over);
  RUN(test_cleared_paths_come_first_wherever_they_stand);
  RUN(test_a_removal_that_is_not_understood_does_not_get_lost);
  RUN(test_what_came_before_a_fault_stands);
  RUN(test_a_reader_of_nothing);
  RUN(test_a_message_is_built);
  RUN(test_a_session_is_built);
  RUN(test_fields_are_copied_whole);
  RUN(test_what_cannot_be_copied);
  RUN(test_serialised_messages_are_merged_in);
  RUN(test_a_header_again_gets_one_more_value);
  RUN(test_what_was_added_is_copied);
  RUN(test_the_words_of_a_fault);
  RUN(test_paths_that_lead_nowhere);
  RUN(test_the_first_fault_is_kept);
  RUN(test_a_builder_that_is_not_there);
  RUN(test_regression_many_headers_cost_their_square);
  RUN(test_each_allocation_fails_in_turn);
  return check_report();
}
