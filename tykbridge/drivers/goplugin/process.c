#define _GNU_SOURCE /* pipe2, pthread_condattr_setclock */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"

extern char **environ;

#define SECOND INT64_C(1000000000)
#define ENOUGH (5 * SECOND) /* for what takes no time where the other side does its part */

enum {
  MOST_LANES = 1024, /* calls at one time; each is a thread there */
  LOWEST = 10,       /* descriptors from here on are in the way of none that the program is started with */
  TAIL = 16 * 1024,  /* bytes of what it printed that are kept */
  CRASH = 4 * 1024
};

struct lane {
  struct tykb_lane io;         /* the first member: what callers have */
  int is_heard;                /* the call in it has asked something */
  struct lane *next;           /* in the list of idle ones, under the process's lock */
  struct lane *after, *before; /* in the list of all, under `forking` */
  /* What waits for it, and until when; under the process's lock. NULL: nothing. */
  void *waiting;
  int64_t until;
  size_t at; /* its place among what is polled; the keeper's */
  struct lane *next_waiting;
};

struct tykb_process {
  struct tykb_plugin_host host;
  struct tykb_process_owner owner;
  struct tykb_process *after, *before; /* in the list of all, under `forking` */
  struct lane *all;                    /* under `forking` */

  pthread_mutex_t lock; /* of all that follows; held for a few steps that wait for nobody */
  pthread_cond_t over;  /* `has_ended` was set */
  int references;
  int is_kept; /* the keeper has one */
  int has_ended, is_forked;
  int is_retired, is_late;
  int64_t limit; /* of a retired one: when it is killed; 0: when its calls are back */
  unsigned calls, lanes;
  struct lane *idle, *waiting;

  /* Written before the keeper starts; closed by who frees it, or in a forked child. */
  pid_t pid;
  int pidfd; /* -1: the system has none */
  int control, printed, wake;
  struct tykb_lane side; /* the keeper's alone */

  /* Written by the keeper, until `has_ended`. */
  int status, is_known;
  char tail[TAIL];
  size_t size;
  char crash[CRASH]; /* from where a crash begins; what follows may be longer than the tail */
  size_t crash_size;
};

/* Held while a list of everything is changed, and across a fork: the child closes what it inherited. */
static pthread_mutex_t forking = PTHREAD_MUTEX_INITIALIZER;
static struct tykb_process *processes;

/* ---- Fork */

static void before_fork(void) { pthread_mutex_lock(&forking); }
static void after_fork(void) { pthread_mutex_unlock(&forking); }

static void shut(int *fd) {
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

/* In the child, which has one thread: a descriptor that stayed open would hide the host's end from the process. */
static void in_child(void) {
  for (struct tykb_process *process = processes; process; process = process->after) {
    pthread_mutex_init(&process->lock, NULL);
    process->has_ended = process->is_forked = 1;
    process->idle = process->waiting = NULL;
    for (struct lane *lane = process->all; lane; lane = lane->after) shut(&lane->io.fd);
    shut(&process->pidfd);
    shut(&process->control);
    shut(&process->printed);
    shut(&process->wake);
    shut(&process->side.fd);
    process->references -= process->is_kept;
    process->is_kept = 0;
  }
  pthread_mutex_unlock(&forking);
}

static void prepare(void) { pthread_atfork(before_fork, after_fork, in_child); }

/* ---- Lanes */

/* A descriptor that none of the program's own can collide with; the one given is closed. */
static int high(int fd) {
  if (fd < 0 || fd >= LOWEST) return fd;
  int moved = fcntl(fd, F_DUPFD_CLOEXEC, LOWEST);
  int error = errno;
  close(fd);
  errno = error;
  return moved;
}

/* Two ends of a socket. */
static int pair(int ends[2]) {
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
    ends[0] = ends[1] = -1;
    return -1;
  }
  ends[0] = high(ends[0]);
  ends[1] = high(ends[1]);
  return ends[0] < 0 || ends[1] < 0 ? -1 : 0;
}

/* Waits for nobody: the process may read no more. */
static int hand_over(int control, int fd) {
  char byte = 0;
  union {
    struct cmsghdr head;
    char room[CMSG_SPACE(sizeof(int))];
  } rights;
  struct iovec part = {&byte, 1};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = rights.room, .msg_controllen = sizeof rights.room};
  memset(&rights, 0, sizeof rights);
  struct cmsghdr *head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(head), &fd, sizeof fd);
  ssize_t sent;
  do sent = sendmsg(control, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  while (sent < 0 && errno == EINTR);
  return sent == 1 ? 0 : -1;
}

static void list(struct tykb_process *process, struct lane *lane) {
  pthread_mutex_lock(&forking);
  lane->after = process->all;
  if (lane->after) lane->after->before = lane;
  process->all = lane;
  pthread_mutex_unlock(&forking);
}

static void drop(struct tykb_process *process, struct lane *lane) {
  pthread_mutex_lock(&forking);
  if (lane->after) lane->after->before = lane->before;
  if (lane->before) {
    lane->before->after = lane->after;
  } else {
    process->all = lane->after;
  }
  tykb_lane_close(&lane->io);
  pthread_mutex_unlock(&forking);
  free(lane);
}

static struct lane *make_lane(struct tykb_process *process, int *error) {
  struct lane *lane = calloc(1, sizeof *lane);
  int ends[2] = {-1, -1};
  *error = ENOMEM;
  if (!lane) return NULL;
  lane->io.fd = -1;
  list(process, lane); /* before there is anything to close in a forked child */
  pthread_mutex_lock(&forking);
  if (!process->is_forked && pair(ends) == 0 && hand_over(process->control, ends[1]) == 0) {
    lane->io.fd = ends[0];
    ends[0] = -1;
    *error = 0;
  } else {
    *error = errno == EPIPE || errno == ECONNRESET || errno == EBADF ? 0 : errno; /* 0: it has ended */
  }
  shut(&ends[0]);
  shut(&ends[1]);
  pthread_mutex_unlock(&forking);
  if (lane->io.fd >= 0) return lane;
  drop(process, lane);
  return NULL;
}

/* Under the lock, which is held, too, while its number is given back to the system. */
static void end_it(struct tykb_process *process) {
  if (process->has_ended) return;
#ifdef SYS_pidfd_send_signal
  if (process->pidfd >= 0) {
    syscall(SYS_pidfd_send_signal, process->pidfd, SIGKILL, NULL, 0);
    return;
  }
#endif
  kill(process->pid, SIGKILL);
}

/* Under the lock. */
static void end_unused(struct tykb_process *process) {
  if (process->is_retired && !process->calls) end_it(process);
}

struct tykb_lane *tykb_process_enter(struct tykb_process *process, int *error) {
  struct lane *lane = NULL;
  int makes = 0;
  *error = 0;
  pthread_mutex_lock(&process->lock);
  if (!process->has_ended && !process->is_retired) {
    lane = process->idle;
    if (lane) {
      process->idle = lane->next;
    } else if (process->lanes == MOST_LANES) {
      *error = EBUSY;
    } else {
      process->lanes++;
      makes = 1;
    }
    process->calls += lane || makes;
  }
  pthread_mutex_unlock(&process->lock);
  if (makes && !(lane = make_lane(process, error))) {
    pthread_mutex_lock(&process->lock);
    process->lanes--;
    process->calls--;
    end_unused(process);
    pthread_mutex_unlock(&process->lock);
  }
  if (!lane) return NULL;
  lane->is_heard = 0;
  return &lane->io;
}

static void wake(struct tykb_process *process) {
  uint64_t one = 1;
  if (process->wake >= 0 && write(process->wake, &one, sizeof one) < 0) {
    /* It is full, and the keeper awake. */
  }
}

static void forget_waiting(struct tykb_process *process, struct lane *lane) {
  struct lane **at = &process->waiting;
  while (*at && *at != lane) at = &(*at)->next_waiting;
  if (*at) *at = lane->next_waiting;
  lane->waiting = NULL;
}

void tykb_process_leave(struct tykb_process *process, struct tykb_lane *given, int is_done) {
  struct lane *lane = (struct lane *)(void *)given;
  pthread_mutex_lock(&process->lock);
  int stays = is_done && !process->has_ended && lane->io.fd >= 0;
  if (lane->waiting) forget_waiting(process, lane);
  if (stays) {
    lane->next = process->idle;
    process->idle = lane;
  } else {
    process->lanes--;
  }
  process->calls--;
  end_unused(process);
  pthread_mutex_unlock(&process->lock);
  if (!stays) drop(process, lane);
}

/* ---- What the plugin asks */

/* Zero-ended, as `log` takes the level. */
static const char *level_of(const uint8_t *data, size_t size) {
  static const char *const levels[] = {"debug", "info", "warning", "error"};
  for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
    if (strlen(levels[i]) == size && memcmp(levels[i], data, size) == 0) return levels[i];
  }
  return "info";
}

static int answer(struct tykb_process *process, struct tykb_lane *lane, int64_t until) {
  const struct tykb_frame *asked = tykb_lane_frame(lane);
  const struct tykb_plugin_host *host = &process->host;
  const uint8_t *data = tykb_lane_data(lane), *more = data + asked->size;
  const char *text = (const char *)data;
  struct tykb_frame said = {.kind = TYKB_FRAME_ANSWER};
  uint8_t small[4096], *value = small;
  size_t capacity = sizeof small;
  switch (asked->kind) {
    case TYKB_FRAME_LOG:
      host->log(host->context, level_of(data, asked->size), (const char *)more, asked->more);
      break;
    case TYKB_FRAME_EVENT:
      said.number = host->trigger_event(host->context, text, asked->size, (const char *)more, asked->more);
      break;
    case TYKB_FRAME_GET:
      if (asked->number > (int64_t)capacity && asked->number <= (int64_t)TYKB_LANE_LIMIT) {
        capacity = (size_t)asked->number;
        value = malloc(capacity);
        if (!value) return TYKB_LANE_MEMORY;
      }
      said.number = host->store_get(host->context, text, asked->size, value, capacity);
      if (said.number > 0 && said.number <= asked->number && (uint64_t)said.number <= capacity)
        said.size = (uint64_t)said.number;
      break;
    case TYKB_FRAME_SET:
      said.number = host->store_set(host->context, text, asked->size, more, asked->more, asked->time, asked->flags);
      break;
    case TYKB_FRAME_DELETE:
      said.number = host->store_delete(host->context, text, asked->size);
      break;
    case TYKB_FRAME_INCREMENT:
      said.number = host->store_increment(host->context, text, asked->size, asked->number, asked->time, &said.other);
      break;
    case TYKB_FRAME_TTL:
      said.number = host->store_ttl(host->context, text, asked->size);
      break;
    default:
      return TYKB_LANE_BROKEN;
  }
  int status = tykb_lane_send(lane, &said, value, NULL, until);
  if (value != small) free(value);
  return status;
}

int tykb_process_receive(struct tykb_process *process, struct tykb_lane *lane, int64_t until, int64_t brief) {
  struct lane *own = (struct lane *)(void *)lane;
  for (;;) {
    int status = brief ? tykb_lane_poll(lane, until && until < brief ? until : brief) : tykb_lane_receive(lane, until);
    if (status == TYKB_LANE_UNREAD && own->is_heard) return TYKB_LANE_GONE; /* it was our answer */
    if (status != TYKB_LANE_OK) return status;
    if (tykb_lane_frame(lane)->kind == TYKB_FRAME_RESULT) return TYKB_LANE_OK;
    own->is_heard = 1;
    if ((status = answer(process, lane, until)) != TYKB_LANE_OK) return status;
  }
}

void tykb_process_watch(struct tykb_process *process, struct tykb_lane *given, int64_t until, void *waiting) {
  struct lane *lane = (struct lane *)(void *)given;
  pthread_mutex_lock(&process->lock);
  int is_over = process->has_ended;
  if (!is_over) {
    lane->waiting = waiting;
    lane->until = until;
    lane->at = SIZE_MAX;
    lane->next_waiting = process->waiting;
    process->waiting = lane;
    wake(process);
  }
  pthread_mutex_unlock(&process->lock);
  if (is_over) process->owner.resume(process->owner.context, waiting);
}

/* ---- The keeper */

enum { WAKE, SIDE, PRINTED, CONTROL, END, FIXED };

struct polled {
  struct pollfd *items;
  size_t room;
};

/* Where a crash begins in text after a place, as Go and sanitizers write it at the start of a line; `size`: nowhere. */
static size_t find_crash(const char *text, size_t size, size_t at) {
  static const char *const starts[] = {"panic: ", "fatal error: ", "SIGSEGV: ", "====="};
  for (; at < size; at++) {
    if (at && text[at - 1] != '\n') continue;
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
      size_t length = strlen(starts[i]);
      if (size - at >= length && memcmp(text + at, starts[i], length) == 0) return at;
    }
  }
  return size;
}

static void keep_crash(struct tykb_process *process, const char *text, size_t size) {
  if (size > CRASH - process->crash_size) size = CRASH - process->crash_size;
  memcpy(process->crash + process->crash_size, text, size);
  process->crash_size += size;
}

static void keep_tail(struct tykb_process *process, const char *text, size_t size) {
  size_t kept = process->size + size > TAIL ? TAIL - size : process->size;
  memmove(process->tail, process->tail + process->size - kept, kept);
  memcpy(process->tail + kept, text, size);
  process->size = kept + size;
  size_t at = find_crash(process->tail, process->size, kept > 16 ? kept - 16 : 0);
  if (at < process->size) {
    process->crash_size = 0; /* the last one counts */
    keep_crash(process, process->tail + at, process->size - at);
  } else if (process->crash_size) {
    keep_crash(process, text, size);
  }
}

/* Reads what it printed, and prints it as a plugin in this process would. 0: there is no more. */
static int pass_on(struct tykb_process *process) {
  char text[4096];
  ssize_t got = read(process->printed, text, sizeof text);
  if (got <= 0) return got < 0 && errno == EINTR;
  keep_tail(process, text, (size_t)got);
  for (ssize_t at = 0, done; at < got; at += done) {
    done = write(STDERR_FILENO, text + at, (size_t)(got - at));
    if (done <= 0) break; /* nobody reads it */
  }
  return 1;
}

/* Fills what is polled; gives how many, and in `*until` the next time that something is due (0: nothing is). */
static size_t polled(struct tykb_process *process, struct polled *polled, int64_t *until) {
  size_t count = FIXED;
  pthread_mutex_lock(&process->lock);
  *until = process->limit;
  for (struct lane *lane = process->waiting; lane; lane = lane->next_waiting) count++;
  if (count > polled->room) {
    struct pollfd *more = realloc(polled->items, 2 * count * sizeof *more);
    if (more) {
      polled->items = more;
      polled->room = 2 * count;
    }
  }
  int fixed[] = {process->wake, process->side.fd, process->printed, process->control, process->pidfd};
  for (size_t i = 0; i < FIXED; i++) polled->items[i] = (struct pollfd){.fd = fixed[i], .events = POLLIN};
  count = FIXED;
  /* Those that find no room because there is no memory are looked at later. */
  for (struct lane *lane = process->waiting; lane && count < polled->room; lane = lane->next_waiting) {
    lane->at = count;
    polled->items[count++] = (struct pollfd){.fd = lane->io.fd, .events = POLLIN};
    if (lane->until && (!*until || lane->until < *until)) *until = lane->until;
  }
  pthread_mutex_unlock(&process->lock);
  return count;
}

/* Wakes the calls whose lanes have something, or whose time is over; all of them at the process's end. */
static void resume(struct tykb_process *process, const struct polled *polled, size_t count, int is_end) {
  int64_t now = tykb_lane_now();
  for (;;) {
    void *waiting = NULL;
    pthread_mutex_lock(&process->lock);
    for (struct lane *lane = process->waiting; lane && !waiting; lane = lane->next_waiting) {
      int is_polled = lane->at < count && polled->items[lane->at].fd == lane->io.fd;
      if (is_end || (lane->until && lane->until <= now) || (is_polled && polled->items[lane->at].revents)) {
        waiting = lane->waiting;
        forget_waiting(process, lane);
      }
    }
    pthread_mutex_unlock(&process->lock);
    if (!waiting) return;
    process->owner.resume(process->owner.context, waiting);
  }
}

static void reap(struct tykb_process *process) {
  siginfo_t found;
  pthread_mutex_lock(&process->lock);
  end_it(process); /* it may have closed its control socket and live on */
  pthread_mutex_unlock(&process->lock);
  int status;
  do status = waitid(P_PID, (id_t)process->pid, &found, WEXITED | WNOWAIT);
  while (status < 0 && errno == EINTR);
  pthread_mutex_lock(&forking); /* a child of its own may hold the other ends: nobody waits for that */
  for (struct lane *lane = process->all; lane; lane = lane->after) {
    if (lane->io.fd >= 0) shutdown(lane->io.fd, SHUT_RDWR);
  }
  pthread_mutex_unlock(&forking);
  if (process->printed >= 0) {
    fcntl(process->printed, F_SETFL, O_NONBLOCK); /* programs that it started may hold the other end */
    while (pass_on(process)) {
    }
  }
  pthread_mutex_lock(&process->lock);
  process->is_known = waitpid(process->pid, &process->status, WNOHANG) == process->pid;
  process->has_ended = 1;
  pthread_cond_broadcast(&process->over);
  pthread_mutex_unlock(&process->lock);
}

static void unlist(struct tykb_process *process) {
  pthread_mutex_lock(&forking);
  if (process->after) process->after->before = process->before;
  if (process->before) {
    process->before->after = process->after;
  } else if (processes == process) {
    processes = process->after;
  }
  shut(&process->pidfd);
  shut(&process->control);
  shut(&process->printed);
  shut(&process->wake);
  tykb_lane_close(&process->side);
  pthread_mutex_unlock(&forking);
}

static void release(struct tykb_process *process) {
  pthread_mutex_lock(&process->lock);
  int is_last = --process->references == 0;
  pthread_mutex_unlock(&process->lock);
  if (!is_last) return;
  while (process->all) drop(process, process->all);
  unlist(process);
  pthread_mutex_destroy(&process->lock);
  pthread_cond_destroy(&process->over);
  free(process);
}

static void *keep(void *argument) {
  struct tykb_process *process = argument;
  struct pollfd first[FIXED];
  struct polled all = {NULL, 0};
  all.items = malloc(2 * FIXED * sizeof *all.items);
  all.room = all.items ? 2 * FIXED : FIXED;
  if (!all.items) all.items = first;
  for (int is_there = 1; is_there;) {
    int64_t until;
    size_t count = polled(process, &all, &until);
    int64_t left = until ? until - tykb_lane_now() : 0;
    struct timespec time = {left > 0 ? left / SECOND : 0, left > 0 ? left % SECOND : 0};
    if (ppoll(all.items, count, until ? &time : NULL, NULL) < 0) {
      if (errno == EINTR) continue;
      break;
    }
    uint64_t number;
    if (all.items[WAKE].revents && read(process->wake, &number, sizeof number) < 0) {
      /* Somebody else's wake is still to come. */
    }
    if (all.items[PRINTED].revents && !pass_on(process)) {
      pthread_mutex_lock(&forking);
      shut(&process->printed);
      pthread_mutex_unlock(&forking);
    }
    if (all.items[SIDE].revents) {
      int64_t now = tykb_lane_now();
      int status = tykb_lane_poll(&process->side, now);
      if (status == TYKB_LANE_OK)
        status = answer(process, &process->side, now + ENOUGH);
      else if (status == TYKB_LANE_LATE)
        status = TYKB_LANE_OK; /* the rest of it is to come */
      if (status != TYKB_LANE_OK) is_there = 0;
    }
    /* Nothing is ever sent on the one; a child of its own may hold that open, the other tells of its end. */
    if (all.items[CONTROL].revents || all.items[END].revents) is_there = 0;
    resume(process, &all, count, 0);
    pthread_mutex_lock(&process->lock);
    if (process->limit && process->limit <= tykb_lane_now()) {
      process->limit = 0;
      end_it(process);
    }
    pthread_mutex_unlock(&process->lock);
  }
  reap(process);
  resume(process, &all, 0, 1);
  if (all.items != first) free(all.items);
  process->owner.ended(process->owner.context);
  pthread_mutex_lock(&process->lock);
  process->is_kept = 0;
  pthread_mutex_unlock(&process->lock);
  release(process);
  return NULL;
}

/* ---- Its life */

static int spawn(const char *program, const char *label, int control, int library, int side, int printed, pid_t *pid) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  sigset_t none, all;
  char *words[] = {(char *)program, (char *)TYKB_CHILD_MARK, (char *)label, NULL};
  sigemptyset(&none);
  sigfillset(&all);
  int error = posix_spawn_file_actions_init(&actions);
  if (error) return error;
  if ((error = posix_spawnattr_init(&attributes))) {
    posix_spawn_file_actions_destroy(&actions);
    return error;
  }
  /* A terminal's Ctrl-C is the host's business: it lets its calls finish. */
  if ((error = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)) == 0 &&
      (error = posix_spawn_file_actions_adddup2(&actions, printed, 1)) == 0 &&
      (error = posix_spawn_file_actions_adddup2(&actions, printed, 2)) == 0 &&
      (error = posix_spawn_file_actions_adddup2(&actions, control, TYKB_CHILD_CONTROL)) == 0 &&
      (error = posix_spawn_file_actions_adddup2(&actions, library, TYKB_CHILD_LIBRARY)) == 0 &&
      (error = posix_spawn_file_actions_adddup2(&actions, side, TYKB_CHILD_SIDE)) == 0 &&
      (error = posix_spawnattr_setflags(&attributes,
                                        POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP)) == 0 &&
      (error = posix_spawnattr_setsigdefault(&attributes, &all)) == 0 &&
      (error = posix_spawnattr_setsigmask(&attributes, &none)) == 0)
    error = posix_spawn(pid, program, &actions, &attributes, words, environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  return error;
}

static int start_keeper(struct tykb_process *process) {
  pthread_t thread;
  sigset_t all, before;
  sigfillset(&all); /* signals are the host's threads' */
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = pthread_create(&thread, NULL, keep, process);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (!error) pthread_detach(thread);
  return error;
}

int tykb_process_start(const char *program, const char *label, int library, const struct tykb_plugin_host *host,
                       const struct tykb_process_owner *owner, struct tykb_process **made) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_condattr_t monotonic;
  int control[2] = {-1, -1}, side[2] = {-1, -1}, printed[2] = {-1, -1}, error = 0;
  struct tykb_process *process = calloc(1, sizeof *process);
  *made = NULL;
  if (!process) return ENOMEM;
  pthread_once(&once, prepare);
  process->host = *host;
  process->owner = *owner;
  process->references = 2;
  pthread_mutex_init(&process->lock, NULL);
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&process->over, &monotonic);
  pthread_condattr_destroy(&monotonic);
  process->pidfd = process->control = process->printed = process->wake = process->side.fd = -1;
  library = fcntl(library, F_DUPFD_CLOEXEC, LOWEST);
  pthread_mutex_lock(&forking); /* so that no child of the host's inherits what it cannot close */
  if (library < 0 || pair(control) < 0 || pair(side) < 0 || pipe2(printed, O_CLOEXEC) < 0) {
    error = errno;
  } else if ((printed[0] = high(printed[0])) < 0 || (printed[1] = high(printed[1])) < 0 ||
             (process->wake = high(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))) < 0) {
    error = errno;
  } else {
    error = spawn(program, label, control[1], library, side[1], printed[1], &process->pid);
  }
  if (!error) {
#ifdef SYS_pidfd_open
    process->pidfd = (int)syscall(SYS_pidfd_open, process->pid, 0);
#endif
    process->control = control[0];
    process->printed = printed[0];
    tykb_lane_open(&process->side, side[0]);
    control[0] = printed[0] = side[0] = -1;
    process->after = processes;
    if (processes) processes->before = process;
    processes = process;
  }
  pthread_mutex_unlock(&forking);
  shut(&library);
  for (int i = 0; i < 2; i++) {
    shut(&control[i]);
    shut(&side[i]);
    shut(&printed[i]);
  }
  if (!error) {
    process->is_kept = 1;
    if ((error = start_keeper(process))) reap(process);
  }
  if (error) {
    process->references = 1;
    release(process);
  } else {
    *made = process;
  }
  return error;
}

void tykb_process_free(struct tykb_process *process) { release(process); }

int tykb_process_number(const struct tykb_process *process) { return (int)process->pid; }

int tykb_process_is_over(struct tykb_process *process) {
  pthread_mutex_lock(&process->lock);
  int is_over = process->has_ended || process->is_retired;
  pthread_mutex_unlock(&process->lock);
  return is_over;
}

void tykb_process_retire(struct tykb_process *process, int late, int64_t grace) {
  pthread_mutex_lock(&process->lock);
  if (!process->has_ended) {
    process->is_retired = 1;
    process->is_late |= late;
    if (grace && !process->limit) process->limit = tykb_lane_now() + grace;
    end_unused(process);
    wake(process);
  }
  pthread_mutex_unlock(&process->lock);
}

int tykb_process_ended(struct tykb_process *process, int64_t until, struct tykb_process_end *end) {
  struct timespec time = {until / SECOND, until % SECOND};
  pthread_mutex_lock(&process->lock);
  while (!process->has_ended && pthread_cond_timedwait(&process->over, &process->lock, &time) == 0) {
  }
  int has_ended = process->has_ended;
  if (has_ended) {
    end->is_known = process->is_known;
    end->is_forked = process->is_forked;
    end->status = process->status;
    end->is_late = process->is_late;
    end->is_wanted = process->is_retired && !process->is_late;
    end->printed = process->crash_size ? process->crash : process->tail;
    end->size = process->crash_size ? process->crash_size : process->size;
  }
  pthread_mutex_unlock(&process->lock);
  return has_ended;
}
