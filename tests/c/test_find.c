/* Unit tests of the short ways to a key: whatever entries a map has, and wherever they stand, a look at the bytes finds
 * what the decoded map holds. */
#include "tree_check.h"

enum form {
  PLAIN,
  REVERSED,
  KEY_TWICE,
  VALUE_TWICE,
  MORE,    /* a third field */
  FOR_KEY, /* another field where the key would stand */
  FOR_VALUE,
  LONG_LENGTH,
  LONG_TAG,
  NO_KEY,
  NO_VALUE,
  OTHER, /* no entry */
  BROKEN
};

/* What a map is made of: entries of every form, with sizes at which lengths take another byte, and what is no entry of it. */
static const struct piece {
  enum form form;
  size_t key, value;
} pieces[] = {
    {PLAIN, 1, 1},     {PLAIN, 0, 1},     {PLAIN, 1, 0},        {PLAIN, 0, 0},       {PLAIN, 1, 122},
    {PLAIN, 1, 123},   {PLAIN, 1, 127},   {PLAIN, 1, 128},      {PLAIN, 1, 16377},   {PLAIN, 1, 16384},
    {PLAIN, 11, 32},   {PLAIN, 11, 200},  {PLAIN, 127, 1},      {PLAIN, 128, 1},     {PLAIN, 128, 17},
    {REVERSED, 11, 1}, {KEY_TWICE, 1, 1}, {KEY_TWICE, 11, 127}, {VALUE_TWICE, 1, 2}, {MORE, 1, 1},
    {FOR_KEY, 1, 1},   {FOR_VALUE, 1, 1}, {FOR_KEY, 1, 200},    {FOR_VALUE, 1, 200}, {LONG_LENGTH, 1, 1},
    {LONG_TAG, 1, 1},  {NO_KEY, 0, 1},    {NO_VALUE, 1, 0},     {OTHER, 0, 0},       {BROKEN, 0, 0},
};
enum { PIECES = sizeof pieces / sizeof *pieces };

struct bytes {
  uint8_t data[60000];
  size_t size;
};

static void put(struct bytes *to, struct tykb_span more) {
  memcpy(to->data + to->size, more.data, more.size);
  to->size += more.size;
}

static void put_number_of(struct bytes *to, uint64_t number) {
  to->size = (size_t)(tykb_wire_put_varint(to->data + to->size, number) - to->data);
}

static void put_field(struct bytes *to, uint32_t number, struct tykb_span content) {
  put_number_of(to, tykb_wire_tag(number, TYKB_WIRE_LEN));
  put_number_of(to, content.size);
  put(to, content);
}

/* The key of a size. The last byte of the long ones is the tag of a value. */
static struct tykb_span key_of(size_t size) {
  static char letters[128];

  memset(letters, 'k', sizeof letters);
  letters[127] = 0x12;
  return size == 11  ? text("bundle_hash")
         : size == 5 ? text("first") /* of an entry with two keys, where it does not count */
                     : (struct tykb_span){(const uint8_t *)letters, size};
}

static void put_piece(struct bytes *to, uint32_t number, const struct piece *piece, char letter) {
  static struct bytes inner;
  static char letters[16384];
  struct tykb_span value = {(const uint8_t *)letters, piece->value};

  memset(letters, letter, sizeof letters);
  inner.size = 0;
  switch (piece->form) {
    case OTHER:
      put_field(to, 900, text("x"));
      return;
    case BROKEN:
      put_field(to, number, BYTES(KEY "\x05"));
      return;
    case REVERSED:
      put_field(&inner, 2, value);
      put_field(&inner, 1, key_of(piece->key));
      break;
    default:
      if (piece->form == KEY_TWICE) put_field(&inner, 1, text("first"));
      if (piece->form != NO_KEY) put_field(&inner, piece->form == FOR_KEY ? 3 : 1, key_of(piece->key));
      if (piece->form == VALUE_TWICE) put_field(&inner, 2, text("first"));
      if (piece->form != NO_VALUE) put_field(&inner, piece->form == FOR_VALUE ? 3 : 2, value);
      if (piece->form == MORE) put_field(&inner, 3, text("x"));
  }
  if (piece->form == LONG_TAG) {
    uint32_t tag = tykb_wire_tag(number, TYKB_WIRE_LEN);
    uint8_t overlong[] = {(uint8_t)(tag | 0x80), (uint8_t)(tag >> 7 | 0x80), 0};

    put(to, (struct tykb_span){overlong, sizeof overlong});
    put_number_of(to, inner.size);
  } else if (piece->form == LONG_LENGTH) {
    uint8_t overlong[] = {(uint8_t)(inner.size | 0x80), 0};

    put_number_of(to, tykb_wire_tag(number, TYKB_WIRE_LEN));
    put(to, (struct tykb_span){overlong, sizeof overlong});
  } else {
    put_number_of(to, tykb_wire_tag(number, TYKB_WIRE_LEN));
    put_number_of(to, inner.size);
  }
  put(to, (struct tykb_span){inner.data, inner.size});
}

/* A message with one map, of three pieces. */
static struct tree tree_of(const struct tykb_type *type, uint32_t number, size_t which) {
  static struct bytes message;

  message.size = 0;
  for (size_t i = 0; i < 3; i++, which /= PIECES) put_piece(&message, number, &pieces[which % PIECES], (char)('a' + i));
  return tree_open(type, (struct tykb_span){message.data, message.size});
}

/* Whether all keys read from the bytes as they do from the decoded map; twice, for the first look may leave a note. */
static int finds_all(struct tykb_node *node, struct tykb_node *other, const char *name) {
  static const size_t sizes[] = {0, 1, 2, 5, 11, 127, 128};
  struct tykb_map *map = map_of(other, name);
  int same = 1;

  for (size_t i = 0; i < 2 * sizeof sizes / sizeof *sizes; i++) {
    struct tykb_span key = key_of(sizes[i / 2]), value = {NULL, 0};
    struct tykb_entry *entry;
    int status = tykb_node_find(node, field(node, name), key, &value), expected = tykb_map_find(map, key, &entry);

    if (!expected && !entry) expected = TYKB_E_NOT_FOUND;
    same = same && status == expected && (status || check_same(value, entry->value));
  }
  return same;
}

static int finds_in(const struct tykb_type *type, const char *name, size_t which) {
  uint32_t number = 0;
  for (uint32_t i = 0; i < type->count; i++)
    if (!strcmp(type->fields[i].name, name)) number = type->fields[i].number;
  struct tree t = tree_of(type, number, which), decoded = tree_of(type, number, which);
  int same = finds_all(t.root, decoded.root, name);

  tree_close(&t);
  tree_close(&decoded);
  return same;
}

static void test_the_bytes_tell_what_the_map_tells(void) {
  size_t wrong = 0;

  for (size_t which = 0; which < (size_t)PIECES * PIECES * PIECES; which++) {
    wrong += !finds_in(&tykb_type_MiniRequestObject, "headers", which);
    wrong += !finds_in(&tykb_type_SessionState, "metadata", which); /* behind a tag of two bytes */
  }
  CHECK(wrong == 0);
}

static void test_identify_tells_what_the_map_tells(void) {
  size_t wrong = 0;

  for (size_t which = 0; which < (size_t)PIECES * PIECES * PIECES; which++) {
    struct tree t = tree_of(&tykb_type_Object, 6, which), decoded = tree_of(&tykb_type_Object, 6, which);
    struct tykb_span hook, bundle;
    struct tykb_entry *entry;
    int status = tykb_object_identify(t.root, &hook, &bundle);
    int expected = tykb_map_find(map_of(decoded.root, "spec"), text("bundle_hash"), &entry);

    wrong += status != expected;
    if (!status && !expected) {
      wrong += !check_same(bundle, entry ? entry->value : text(""));
      wrong += !finds_all(t.root, decoded.root, "spec"); /* with the notes that identify left */
    }
    tree_close(&t);
    tree_close(&decoded);
  }
  CHECK(wrong == 0);
}

static void test_identify_tells_maps_apart(void) {
  struct tree t =
      object(BYTES(SPEC PAIR("k", "v") METADATA "\x10" KEY S11("bundle_hash") VALUE S1("x") SPEC PAIR("l", "w")));
  struct tykb_span hook, bundle;

  CHECK(tykb_object_identify(t.root, &hook, &bundle) == TYKB_OK && !bundle.size);
  CHECK(count_of(map_of(t.root, "metadata")) == 1 && count_of(map_of(t.root, "spec")) == 2);
  tree_close(&t);
}

/* Values as long as they are look like entries: a step into one of them would find what is not there. */
static void test_a_value_is_not_taken_for_an_entry(void) {
  struct tree t =
      object(BYTES(METADATA "\x0d" KEY S1("a") VALUE S8("*\x06" KEY S1("b") VALUE S1("1")) METADATA PAIR("c", "2")));
  struct tykb_span value;

  CHECK(tykb_node_find(t.root, field(t.root, "metadata"), text("b"), &value) == TYKB_E_NOT_FOUND);
  CHECK(tykb_node_find(t.root, field(t.root, "metadata"), text("c"), &value) == TYKB_OK);
  CHECK(check_same(value, text("2")));
  tree_close(&t);
}

static void test_a_map_that_is_asked_often_is_decoded(void) {
  struct tree t = object(BYTES(METADATA PAIR("k", "1") METADATA PAIR("l", "2")));
  struct tykb_span value;

  for (int i = 0; i < 40; i++) {
    CHECK(tykb_node_find(t.root, field(t.root, "metadata"), text(i % 2 ? "k" : "l"), &value) == TYKB_OK);
    CHECK(check_same(value, text(i % 2 ? "1" : "2")));
  }
  CHECK(put_pair(map_of(t.root, "metadata"), "k", "3") == TYKB_OK);
  CHECK(tykb_node_find(t.root, field(t.root, "metadata"), text("k"), &value) == TYKB_OK);
  CHECK(check_same(value, text("3")));
  tree_close(&t);
}

int main(void) {
  RUN(test_the_bytes_tell_what_the_map_tells);
  RUN(test_identify_tells_what_the_map_tells);
  RUN(test_identify_tells_maps_apart);
  RUN(test_a_value_is_not_taken_for_an_entry);
  RUN(test_a_map_that_is_asked_often_is_decoded);
  return check_report();
}
