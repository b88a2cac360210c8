/* Finds the Python to start. See locate.h. */
#include "locate.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "mem.h"
#include "status.h"

/* What the interpreter is asked. It answers with fields between NULs; the first one lets us know the answer from what a
 * site's start-up files may print. A path is looked for where the build put its library, where a moved installation
 * has it, and in Debian's folder. */
#define MARK "tykbridge-python"
static const char question[] =
    "import os, sys, sysconfig\n"
    "var = sysconfig.get_config_var\n"
    "version = '%d.%d' % sys.version_info[:2]\n"
    "names = [n for n in (var('INSTSONAME'), 'libpython%s%s.so.1.0' % (version, sys.abiflags)) if n and '.so' in n]\n"
    "home = os.path.join(sys.base_prefix, 'lib')\n"
    "folders = [f for f in (var('LIBDIR'), home, var('LIBDIR') and var('MULTIARCH') and\n"
    "                       os.path.join(var('LIBDIR'), var('MULTIARCH'))) if f]\n"
    "paths = [p for f in folders for p in [os.path.join(f, n) for n in names] if os.path.isfile(p)]\n"
    "fields = ['" MARK "', sys.implementation.name, version, str(int(sys.version_info >= (3, 11))),\n"
    "          sys.executable or '', paths[0] if paths else '', names[-1], ', '.join(dict.fromkeys(folders))]\n"
    "sys.stdout.flush()\n"
    "sys.stdout.buffer.write(b'\\0'.join([b''] + [os.fsencode(f) for f in fields] + [b'']))\n";

enum { IMPLEMENTATION, VERSION, SUPPORTED, EXECUTABLE, LIBRARY, LIBRARY_NAME, FOLDERS, FIELDS };

enum { ANSWER_MAX = 65536, ANSWER_SECONDS = 30 };

extern char **environ;

static bool is_program(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

static bool is_folder(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Joins three parts into `path`; false when they do not fit. */
static bool join(char path[PATH_MAX], const char *a, const char *b, const char *c) {
  int length = snprintf(path, PATH_MAX, "%s%s%s", a, b, c);
  return length > 0 && length < PATH_MAX;
}

/* The program `name` on PATH. An empty entry, which means the current folder, is passed over. */
static bool find_on_path(const char *name, char path[PATH_MAX]) {
  const char *entry = getenv("PATH");
  while (entry && *entry) {
    size_t size = strcspn(entry, ":");
    if (size && size < PATH_MAX) {
      char folder[PATH_MAX];
      memcpy(folder, entry, size);
      folder[size] = 0;
      if (join(path, folder, "/", name) && is_program(path)) return true;
    }
    entry += size + (entry[size] == ':');
  }
  return false;
}

/* The interpreter of a virtual environment, or of any installation's folder. */
static bool find_in_folder(const char *folder, char path[PATH_MAX]) {
  return (join(path, folder, "/bin/", "python3") && is_program(path)) ||
         (join(path, folder, "/bin/", "python") && is_program(path));
}

/* The interpreter of the environment in which this library is installed:
 * <prefix>/lib/python3.x/site-packages/tykbridge/libtykbridge.so.1 belongs to <prefix>/bin/python3.x. */
static bool find_own(const char *own_file, char path[PATH_MAX]) {
  char file[PATH_MAX];
  if (!own_file || !realpath(own_file, file)) return false;
  char *packages = NULL, *python = NULL;
  for (int up = 0; up < 5; up++) {
    char *slash = strrchr(file, '/');
    if (!slash) return false;
    *slash = 0;
    if (up == 2) packages = slash + 1;
    if (up == 3) python = slash + 1;
  }
  if (strcmp(packages, "site-packages") != 0 && strcmp(packages, "dist-packages") != 0) return false;
  return (join(path, file, "/bin/", python) && is_program(path)) || find_in_folder(file, path);
}

/* Which interpreter to ask, and in words how it was come by. */
static int choose(bool secure, const char *own_file, char path[PATH_MAX], const char **origin,
                  struct CoProcessMessage *out) {
  const char *named = secure ? NULL : getenv("TYKBRIDGE_PYTHON");
  if (named && *named) {
    *origin = "named by TYKBRIDGE_PYTHON";
    if (is_folder(named)) {
      if (find_in_folder(named, path)) return TYKB_OK;
      return tykb_fail(out, TYKB_E_NO_PYTHON,
                       "TYKBRIDGE_PYTHON is \"%s\", a folder without bin/python3: name a virtual environment or a "
                       "Python interpreter",
                       named);
    }
    if (!strchr(named, '/') ? find_on_path(named, path) : join(path, named, "", "") && is_program(path)) return TYKB_OK;
    return tykb_fail(out, TYKB_E_NO_PYTHON,
                     "TYKBRIDGE_PYTHON is \"%s\", which is not a program%s: name a Python interpreter or a virtual "
                     "environment",
                     named, strchr(named, '/') ? "" : " on PATH");
  }
  *origin = "of the environment that libtykbridge is installed in";
  if (find_own(own_file, path)) return TYKB_OK;
  if (secure)
    return tykb_fail(out, TYKB_E_NO_PYTHON,
                     "found no Python: in a set-user-id process only the one that libtykbridge is installed in is "
                     "used, and %s is in none",
                     own_file ? own_file : "the library");
  *origin = "python3 on PATH";
  if (find_on_path("python3", path)) return TYKB_OK;
  return tykb_fail(out, TYKB_E_NO_PYTHON,
                   "found no Python: there is no python3 on PATH; set TYKBRIDGE_PYTHON to a Python interpreter or a "
                   "virtual environment that has tykbridge");
}

/* Starts `path` with the question; its standard output is `*pipe_end`. Returns an errno. The signal mask of our thread
 * (all blocked) and actions that the host may have set to "ignore" are not for the child. */
static int spawn(const char *path, bool secure, pid_t *child, int *pipe_end) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return errno;
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  int error = posix_spawn_file_actions_init(&actions);
  if (error) goto close_pipe;
  error = posix_spawnattr_init(&attributes);
  if (error) goto destroy_actions;

  sigset_t none, defaults;
  sigemptyset(&none);
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  sigaddset(&defaults, SIGCHLD);
  sigaddset(&defaults, SIGINT);
  char *const arguments[] = {(char *)(uintptr_t)path, "-I", "-c", (char *)(uintptr_t)question, NULL};
  char *const nothing[] = {NULL};
  if ((error = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF)) == 0 &&
      (error = posix_spawnattr_setsigmask(&attributes, &none)) == 0 &&
      (error = posix_spawnattr_setsigdefault(&attributes, &defaults)) == 0 &&
      (error = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)) == 0 &&
      (error = posix_spawn_file_actions_adddup2(&actions, ends[1], 1)) == 0 &&
      (error = posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)) == 0)
    error = posix_spawn(child, path, &actions, &attributes, arguments, secure ? nothing : environ);

  posix_spawnattr_destroy(&attributes);
destroy_actions:
  posix_spawn_file_actions_destroy(&actions);
close_pipe:
  close(ends[1]);
  if (error)
    close(ends[0]);
  else
    *pipe_end = ends[0];
  return error;
}

static int64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Reads until the child closes its end: true. False when it says too much or takes too long. */
static bool listen_to(int end, char *answer, size_t room, size_t *length) {
  size_t size = 0;
  bool ended = false;
  int64_t deadline = now_ms() + ANSWER_SECONDS * 1000;
  while (size < room) {
    int64_t left = deadline - now_ms();
    struct pollfd wait = {.fd = end, .events = POLLIN};
    if (left <= 0) break;
    int ready = poll(&wait, 1, (int)left);
    if (ready < 0 && errno != EINTR) break;
    if (ready <= 0) continue;
    ssize_t got = read(end, answer + size, room - size);
    if (got < 0 && errno == EINTR) continue;
    ended = got == 0;
    if (got <= 0) break;
    size += (size_t)got;
  }
  *length = size;
  return ended;
}

/* Finds the fields in what the interpreter wrote. They point into `answer`, which ends in a NUL. */
static bool read_answer(const char *answer, size_t size, const char *fields[FIELDS]) {
  const char *at = memmem(answer, size, "\0" MARK, sizeof MARK + 1);
  const char *end = answer + size;
  if (!at) return false;
  at += sizeof MARK + 1;
  for (int i = 0; i < FIELDS; i++) {
    const char *stop = memchr(at, 0, (size_t)(end - at));
    if (!stop) return false;
    fields[i] = at;
    at = stop + 1;
  }
  return true;
}

static char *copy(const char *text) {
  size_t size = strlen(text) + 1;
  char *block = tykb_mem_alloc(size);
  return block ? memcpy(block, text, size) : NULL;
}

/* Runs the interpreter and takes its answer, or says what is wrong with it. */
static int ask(const char *path, const char *origin, bool secure, struct tykb_location *place,
               struct CoProcessMessage *out) {
  int status, end = -1, error;
  pid_t child;
  const char *fields[FIELDS];
  char *answer = tykb_mem_alloc(ANSWER_MAX + 1);
  if (!answer) {
    status = tykb_fail(out, TYKB_E_NO_MEMORY, "no memory to ask %s what it is", path);
    goto done;
  }
  error = spawn(path, secure, &child, &end);
  if (error) {
    char words[128];
    status =
        tykb_fail(out, TYKB_E_NO_PYTHON, "cannot run %s, %s: %s", path, origin, strerror_r(error, words, sizeof words));
    goto done;
  }
  size_t size;
  if (!listen_to(end, answer, ANSWER_MAX, &size)) kill(child, SIGKILL);
  answer[size] = 0;
  close(end);
  /* A host may reap our child, or ignore SIGCHLD: what it wrote counts, not how it ended. */
  bool answered = read_answer(answer, size, fields);
  while (waitpid(child, NULL, 0) < 0 && errno == EINTR) continue;

  if (!answered)
    status =
        tykb_fail(out, TYKB_E_NO_PYTHON, "%s, %s, is no usable Python: it does not answer to %s -I -c \"import sys\"",
                  path, origin, path);
  else if (strcmp(fields[IMPLEMENTATION], "cpython") != 0 || *fields[SUPPORTED] != '1')
    status = tykb_fail(out, TYKB_E_NO_PYTHON, "%s, %s, is %s %s: tykbridge needs CPython 3.11 or later", path, origin,
                       fields[IMPLEMENTATION], fields[VERSION]);
  else if (!*fields[LIBRARY])
    status = tykb_fail(out, TYKB_E_NO_PYTHON,
                       "%s, %s, has no shared library %s (looked in %s): on Debian and Ubuntu install the package "
                       "libpython%s, elsewhere set TYKBRIDGE_PYTHON to a Python built with --enable-shared",
                       path, origin, fields[LIBRARY_NAME], fields[FOLDERS], fields[VERSION]);
  else {
    place->executable = copy(*fields[EXECUTABLE] ? fields[EXECUTABLE] : path);
    place->library = copy(fields[LIBRARY]);
    place->version = copy(fields[VERSION]);
    status = place->executable && place->library && place->version
                 ? TYKB_OK
                 : tykb_fail(out, TYKB_E_NO_MEMORY, "no memory for what %s answered", path);
  }
done:
  tykb_mem_free(answer);
  return status;
}

int tykb_locate(bool secure, const char *own_file, struct tykb_location *place, struct CoProcessMessage *out) {
  char path[PATH_MAX];
  const char *origin;
  *place = (struct tykb_location){0};
  int status = choose(secure, own_file, path, &origin, out);
  if (status == TYKB_OK) status = ask(path, origin, secure, place, out);
  if (status != TYKB_OK) tykb_location_clear(place);
  return status;
}

void tykb_location_clear(struct tykb_location *place) {
  tykb_mem_free(place->executable);
  tykb_mem_free(place->library);
  tykb_mem_free(place->version);
  *place = (struct tykb_location){0};
}
