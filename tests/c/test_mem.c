/* tykb_mem_adopt: structs that grow at their end. */
#include "mem.h"

#include <stdint.h>
#include <string.h>

#include "check.h"

struct later {
  uint32_t size, flags;
  const char *first, *second;
};

static void test_an_earlier_struct_has_zero_for_what_came_later(void) {
  struct later given = {8, 3, "x", "y"}, known;
  memset(&known, 0xff, sizeof known);
  CHECK(tykb_mem_adopt(&known, sizeof known, &given, 16));
  CHECK(known.flags == 3 && !strcmp(known.first, "x") && known.second == NULL);
}

static void test_a_struct_of_this_release_is_taken_whole(void) {
  struct later given = {8, 3, "x", "y"}, known;
  CHECK(tykb_mem_adopt(&known, sizeof known, &given, sizeof given));
  CHECK(!memcmp(&given, &known, sizeof given));
}

static void test_what_a_later_struct_has_set_is_told(void) {
  struct later given = {8, 3, "x", NULL};
  unsigned char known[17];
  known[16] = 7;
  CHECK(tykb_mem_adopt(known, 16, &given, sizeof given));
  CHECK(!memcmp(known, &given, 16) && known[16] == 7);
  given.second = "y";
  CHECK(!tykb_mem_adopt(known, 16, &given, sizeof given));
}

int main(void) {
  RUN(test_an_earlier_struct_has_zero_for_what_came_later);
  RUN(test_a_struct_of_this_release_is_taken_whole);
  RUN(test_what_a_later_struct_has_set_is_told);
  return check_report();
}
