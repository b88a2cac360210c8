/* Unit tests of csrc/status.c and csrc/mem.c: names, words, and the seam through which memory comes. */
#include "check.h"

#include "mem.h"
#include "status.h"

static char last_log[64], last_level[16];
static int logs;

/* The program's own function comes before the library's. */
static void on_log(void *context, const char *message, const char *level) {
  (void)context;
  snprintf(last_log, sizeof last_log, "%s", message);
  snprintf(last_level, sizeof last_level, "%s", level);
  logs++;
}

static void test_names(void) {
  CHECK(strcmp(tykb_status_name(TYKB_OK), "TYKB_OK") == 0);
  CHECK(strcmp(tykb_status_name(TYKB_E_HOOK), "TYKB_E_HOOK") == 0);
  for (int status = TYKB_E_INTERNAL; status < 0; status++) CHECK(strncmp(tykb_status_name(status), "TYKB_E_", 7) == 0);
  for (int status = TYKB_E_INTERNAL; status <= 0; status++) CHECK(!strstr(tykb_status_name(status), "UNKNOWN"));
  CHECK(strcmp(tykb_status_name(1), "TYKB_E_UNKNOWN") == 0);
  CHECK(strcmp(tykb_status_name(TYKB_E_INTERNAL - 1), "TYKB_E_UNKNOWN") == 0);
  CHECK(tykb_abi() == TYKB_ABI && strcmp(tykb_version(), TYKB_VERSION) == 0);
}

static void test_words(void) {
  struct CoProcessMessage out = {0};
  CHECK(tykb_fail(NULL, TYKB_E_HOOK, "%s", "nobody listens") == TYKB_E_HOOK);
  CHECK(tykb_fail(&out, TYKB_E_LOAD, "%s: %d", "caf\xc3\xa9", 7) == TYKB_E_LOAD);
  CHECK(out.length == 8 && strcmp(out.p_data, "caf\xc3\xa9: 7") == 0);
  tykb_message_clear(&out);
  tykb_fail(&out, TYKB_E_LOAD, "caf\xe9 \xc3\xa9"); /* a path in another encoding */
  CHECK(strcmp(out.p_data, "caf? ??") == 0);
  tykb_message_clear(&out);
  CHECK(!out.p_data && out.length == 0);
  tykb_message_clear(&out);
  tykb_mem_fail_after(1);
  CHECK(tykb_fail(&out, TYKB_E_LOAD, "lost") == TYKB_E_LOAD && !out.p_data && out.length == 0);
  tykb_mem_fail_after(0);
}

static void test_report(void) {
  struct tykb_host host = {.size = sizeof host, .log = on_log};
  struct CoProcessMessage words = {0};
  tykb_set_host(&host);
  tykb_fail(&words, TYKB_E_LOAD, "broken");
  CHECK(tykb_report(TYKB_E_LOAD, &words) == TYKB_E_LOAD && !words.p_data);
  CHECK(logs == 1 && strcmp(last_log, "broken") == 0 && strcmp(last_level, "error") == 0);
  words.p_data = malloc(3); /* without a NUL behind it, as the module writes them */
  memcpy(words.p_data, "abc", 3);
  words.length = 3;
  tykb_report(TYKB_E_LOAD, &words);
  CHECK(logs == 2 && strcmp(last_log, "abc") == 0);
  tykb_report(TYKB_E_NO_MEMORY, &words); /* no words: the status's name */
  CHECK(logs == 3 && strcmp(last_log, "TYKB_E_NO_MEMORY") == 0);
  tykb_fail(&words, TYKB_E_HOOK, "logged with its traceback already");
  CHECK(tykb_report(TYKB_E_HOOK, &words) == TYKB_E_HOOK && !words.p_data && logs == 3);
  CHECK(tykb_report(TYKB_OK, &words) == TYKB_OK && logs == 3);
  tykb_set_host(NULL);
}

static void test_memory(void) {
  void *block = tykb_mem_alloc(0), *reply = tykb_reply_alloc(0);
  CHECK(block && reply);
  free(reply);
  block = tykb_mem_realloc(block, 0);
  CHECK(block);
  tykb_mem_fail_after(2);
  CHECK((reply = tykb_reply_alloc(1)));
  CHECK(!tykb_mem_alloc(1) && !tykb_mem_realloc(block, 9) && !tykb_reply_alloc(1));
  tykb_mem_fail_after(0);
  free(reply);
  tykb_mem_free(block);
  tykb_mem_free(NULL);
}

int main(void) {
  RUN(test_names);
  RUN(test_words);
  RUN(test_report);
  RUN(test_memory);
  return check_report();
}
