/* Unit tests of csrc/locate.c, against interpreters that are shell scripts. */
#include "check.h"

#include <limits.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "locate.h"
#include "mem.h"

#define ANSWER(version, supported, library)                                                                            \
  "printf 'welcome\\n\\000tykbridge-python\\000cpython\\000" version "\\000" supported                                 \
  "\\000/env/bin/python\\000" library "\\000libpython3.11.so.1.0\\000/usr/lib, /lib\\000'"
#define GOOD ANSWER("3.11", "1", "/usr/lib/libpython3.11.so.1.0")

static char folder[] = "/tmp/tykbridge-locate-XXXXXX";

/* Writes the program `folder`/`name`, and the folders on the way. Returns its path, for a while. */
static const char *script(const char *name, const char *line) {
  static char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  for (char *slash = path + sizeof folder; (slash = strchr(slash, '/')); slash++) {
    *slash = 0;
    mkdir(path, 0755);
    *slash = '/';
  }
  FILE *file = fopen(path, "w");
  fprintf(file, "#!/bin/sh\n%s\n", line);
  fclose(file);
  chmod(path, 0755);
  return path;
}

static const char *at(const char *name) {
  static char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return path;
}

/* Whether tykb_locate fails with these words in its own. */
static bool fails(bool secure, const char *own_file, const char *words) {
  struct CoProcessMessage out;
  struct tykb_location place;
  int status = tykb_locate(secure, own_file, &place, &out);
  bool told = status == TYKB_E_NO_PYTHON && out.p_data && strstr(out.p_data, words);
  if (!told) fprintf(stderr, "%d %.*s\n", status, out.length, (char *)out.p_data);
  tykb_message_clear(&out);
  return told && !place.executable && !place.library && !place.version;
}

static bool finds(bool secure, const char *own_file, const char *version) {
  struct CoProcessMessage out = {0};
  struct tykb_location place;
  bool found = tykb_locate(secure, own_file, &place, &out) == TYKB_OK && strcmp(place.version, version) == 0 &&
               strcmp(place.executable, "/env/bin/python") == 0 && *place.library == '/';
  tykb_message_clear(&out);
  tykb_location_clear(&place);
  return found;
}

static void test_order(void) {
  char own[PATH_MAX], path[PATH_MAX];
  snprintf(own, sizeof own, "%s", script("env/lib/python3.13/site-packages/tykbridge/lib.so.1", ""));
  script("named/bin/python3", ANSWER("3.11", "1", "/a"));
  script("env/bin/python3.13", ANSWER("3.12", "1", "/b"));
  script("path/python3", ANSWER("3.13", "1", "/c"));
  snprintf(path, sizeof path, ":/nonexistent:%s", at("path"));
  setenv("PATH", path, 1);

  setenv("TYKBRIDGE_PYTHON", at("named"), 1);
  CHECK(finds(false, own, "3.11"));
  setenv("TYKBRIDGE_PYTHON", at("named/bin/python3"), 1);
  CHECK(finds(false, own, "3.11"));
  setenv("TYKBRIDGE_PYTHON", "python3", 1);
  CHECK(finds(false, own, "3.13"));
  setenv("TYKBRIDGE_PYTHON", "", 1);
  CHECK(finds(false, own, "3.12"));
  unsetenv("TYKBRIDGE_PYTHON");
  CHECK(finds(false, own, "3.12"));
  CHECK(finds(false, NULL, "3.13"));
  CHECK(finds(false, "/nonexistent/lib.so.1", "3.13"));
  CHECK(finds(false, at("path/python3"), "3.13")); /* not in an environment */
}

static void test_secure_process(void) {
  char own[PATH_MAX];
  snprintf(own, sizeof own, "%s", at("env/lib/python3.13/site-packages/tykbridge/lib.so.1"));
  setenv("TYKBRIDGE_PYTHON", at("named"), 1);
  CHECK(finds(true, own, "3.12"));
  CHECK(fails(true, NULL, "set-user-id"));
  CHECK(fails(true, at("path/python3"), "set-user-id"));
  script("env/bin/python3.13", "[ -z \"$TYKBRIDGE_PYTHON\" ] && " ANSWER("3.11", "1", "/a"));
  CHECK(finds(true, own, "3.11")); /* and its child sees nothing of the environment */
}

static void test_answers(void) {
  setenv("TYKBRIDGE_PYTHON", script("answers", GOOD), 1);
  CHECK(finds(false, NULL, "3.11"));
  script("answers", GOOD "; exit 3"); /* what it said counts */
  CHECK(finds(false, NULL, "3.11"));
  script("answers", ANSWER("3.10", "0", "/a"));
  CHECK(fails(false, NULL, "is cpython 3.10: tykbridge needs CPython 3.11 or later"));
  script("answers", ANSWER("3.11", "1", ""));
  CHECK(fails(false, NULL, "install the package libpython3.11"));
  script("answers", "exit 0");
  CHECK(fails(false, NULL, "is no usable Python"));
  script("answers", "printf 'welcome\\n\\000tykbridge-python\\000cpython\\0003.11'");
  CHECK(fails(false, NULL, "is no usable Python"));
  script("answers", "while :; do echo no; done");
  CHECK(fails(false, NULL, "is no usable Python"));
  setenv("TYKBRIDGE_PYTHON", at("no-such"), 1);
  CHECK(fails(false, NULL, "is not a program"));
  setenv("TYKBRIDGE_PYTHON", folder, 1);
  CHECK(fails(false, NULL, "without bin/python3"));
  unsetenv("TYKBRIDGE_PYTHON");
  setenv("PATH", "/nonexistent", 1);
  CHECK(fails(false, NULL, "no python3 on PATH"));
}

/* A host may have its children reaped by the system; its signals do not reach the child. */
static void test_signals(void) {
  sigset_t all, before;
  setenv("TYKBRIDGE_PYTHON", script("signals", "kill -USR1 $$; kill -PIPE $$; " GOOD), 1);
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, &before);
  CHECK(fails(false, NULL, "is no usable Python")); /* killed: the child has nothing blocked */
  sigprocmask(SIG_SETMASK, &before, NULL);
  script("signals", GOOD);
  signal(SIGCHLD, SIG_IGN);
  CHECK(finds(false, NULL, "3.11"));
  signal(SIGCHLD, SIG_DFL);
}

static void test_every_allocation_fails(void) {
  struct CoProcessMessage out;
  struct tykb_location place;
  int status;
  setenv("TYKBRIDGE_PYTHON", script("memory", GOOD), 1);
  for (long n = 1;; n++) {
    out = (struct CoProcessMessage){0};
    tykb_mem_fail_after(n);
    status = tykb_locate(false, NULL, &place, &out);
    tykb_mem_fail_after(0);
    if (status == TYKB_OK) break;
    CHECK(status == TYKB_E_NO_MEMORY && !place.executable && !place.library && !place.version);
    tykb_message_clear(&out);
    CHECK(n < 100);
  }
  tykb_location_clear(&place);
}

int main(void) {
  char command[PATH_MAX];
  if (!mkdtemp(folder)) return 1;
  setenv("PATH", "/usr/bin:/bin", 1);
  RUN(test_order);
  RUN(test_secure_process);
  RUN(test_answers);
  RUN(test_signals);
  RUN(test_every_allocation_fails);
  snprintf(command, sizeof command, "PATH=/usr/bin:/bin rm -r '%s'", folder);
  return check_report() | (system(command) != 0);
}
