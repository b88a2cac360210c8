/* The program that runs a native plugin in a process of its own: it opens the library, and serves lanes (lane.h).
 *
 * One thread waits at the control socket for further lanes, and ends the process when the host closes it or is gone: no
 * hook can keep it from that. Each lane has a thread, on which its calls run. What the plugin asks of the host during a call,
 * on the call's own thread, travels on that lane, so that the host answers on the thread that waits for the call. What other
 * threads of the plugin's ask travels on a lane of their own, one at a time. */
#define _GNU_SOURCE /* dlopen's RTLD_*, close_range */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "child.h"
#include "lane.h"
#include "plugin.h"

enum { ROOM = 64 * 1024 /* bytes of a reply that need no second call */ };

/* One lane's thread. */
struct server {
  struct tykb_lane calls;   /* its buffer has the call's data until the call is over */
  struct tykb_lane answers; /* the same socket */
  uint8_t reply[ROOM];
};

static pthread_once_t opened = PTHREAD_ONCE_INIT;
static const struct tykb_plugin *plugin; /* written once it is opened; NULL: `refusal` says why */
static char refusal[1024];
static char *settings;                    /* for good: the host table has it */
static _Thread_local struct server *here; /* whose call runs on this thread */

/* ---- Plugin to host */

static pthread_mutex_t side_lock = PTHREAD_MUTEX_INITIALIZER; /* held for a question and its answer */
static struct tykb_lane side;

/* Asks the host; the answer's value goes to `value` where it takes it. */
static int64_t ask(struct tykb_frame *frame, const void *data, const void *more, uint8_t *value, size_t capacity,
                   int64_t *other) {
  struct tykb_lane *lane = here ? &here->answers : &side;
  int64_t result = TYKB_PLUGIN_E_HOST;
  if (!here) pthread_mutex_lock(&side_lock);
  /* It fails where the host gave the call up, which did not come back in time. */
  if (tykb_lane_send(lane, frame, data, more, 0) == TYKB_LANE_OK && tykb_lane_receive(lane, 0) == TYKB_LANE_OK) {
    const struct tykb_frame *answer = tykb_lane_frame(lane);
    result = answer->number;
    if (other) *other = answer->other;
    if (value && answer->size && answer->size <= capacity) memcpy(value, tykb_lane_data(lane), answer->size);
  }
  if (!here) pthread_mutex_unlock(&side_lock);
  return result;
}

static void on_log(void *context, const char *level, const char *message, size_t size) {
  (void)context;
  if (!level) level = "info";
  struct tykb_frame frame = {.kind = TYKB_FRAME_LOG, .size = strlen(level), .more = size};
  ask(&frame, level, message, NULL, 0, NULL);
}

static int on_event(void *context, const char *name, size_t name_size, const char *payload, size_t size) {
  (void)context;
  struct tykb_frame frame = {.kind = TYKB_FRAME_EVENT, .size = name_size, .more = size};
  return (int)ask(&frame, name, payload, NULL, 0, NULL);
}

static int64_t on_get(void *context, const char *key, size_t key_size, uint8_t *value, size_t capacity) {
  (void)context;
  struct tykb_frame frame = {.kind = TYKB_FRAME_GET, .size = key_size, .number = (int64_t)capacity};
  return ask(&frame, key, NULL, value, capacity, NULL);
}

static int on_set(void *context, const char *key, size_t key_size, const uint8_t *value, size_t size, int64_t ttl_ms,
                  uint32_t flags) {
  (void)context;
  struct tykb_frame frame = {.kind = TYKB_FRAME_SET, .size = key_size, .more = size, .time = ttl_ms, .flags = flags};
  return (int)ask(&frame, key, value, NULL, 0, NULL);
}

static int on_delete(void *context, const char *key, size_t key_size) {
  (void)context;
  struct tykb_frame frame = {.kind = TYKB_FRAME_DELETE, .size = key_size};
  return (int)ask(&frame, key, NULL, NULL, 0, NULL);
}

static int on_increment(void *context, const char *key, size_t key_size, int64_t by, int64_t ttl_ms, int64_t *sum) {
  (void)context;
  struct tykb_frame frame = {.kind = TYKB_FRAME_INCREMENT, .size = key_size, .number = by, .time = ttl_ms};
  int64_t other = 0;
  int status = (int)ask(&frame, key, NULL, NULL, 0, &other);
  if (status >= 0) *sum = other;
  return status;
}

static int64_t on_ttl(void *context, const char *key, size_t key_size) {
  (void)context;
  struct tykb_frame frame = {.kind = TYKB_FRAME_TTL, .size = key_size};
  return ask(&frame, key, NULL, NULL, 0, NULL);
}

static const struct tykb_plugin_host offered = {TYKB_PLUGIN_ABI,
                                                sizeof(struct tykb_plugin_host),
                                                NULL,
                                                NULL,
                                                on_log,
                                                on_event,
                                                on_get,
                                                on_set,
                                                on_delete,
                                                on_increment,
                                                on_ttl};

/* ---- Host to plugin */

static void refuse(const char *words) { snprintf(refusal, sizeof refusal, "%s", words); }

static void open_library(void) {
  char path[32];
  snprintf(path, sizeof path, "/proc/self/fd/%d", TYKB_CHILD_LIBRARY);
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char *words = dlerror();
    refuse(words ? words : "it cannot be opened");
    return;
  }
  close(TYKB_CHILD_LIBRARY);
  const struct tykb_plugin *found = dlsym(library, "tykb_plugin");
  if (!found) {
    refuse("it does not export \"tykb_plugin\", which csrc/plugin.h asks for");
  } else if (found->abi != TYKB_PLUGIN_ABI || found->size < sizeof *found) {
    snprintf(refusal, sizeof refusal, "it speaks version %u of csrc/plugin.h, and not %u: build it again", found->abi,
             TYKB_PLUGIN_ABI);
  } else {
    plugin = found;
  }
}

static int64_t start(const struct server *server, const struct tykb_frame *frame, struct tykb_plugin_reply *reply) {
  struct tykb_plugin_host host = offered;
  if (frame->flags) {
    settings = malloc(frame->size + 1);
    if (!settings) return TYKB_PLUGIN_E_NO_MEMORY;
    memcpy(settings, tykb_lane_data(&server->calls), frame->size);
    settings[frame->size] = 0;
    host.settings = settings;
  }
  return plugin->start(&host, reply);
}

static int64_t serve_call(struct server *server, const struct tykb_frame *frame, struct tykb_plugin_reply *reply) {
  const uint8_t *data = tykb_lane_data(&server->calls);
  const char *manifest;
  struct tykb_plugin_call call;
  switch (frame->kind) {
    case TYKB_FRAME_MANIFEST:
      manifest = plugin->manifest();
      if (!manifest) return TYKB_PLUGIN_E_LOAD;
      reply->data = (uint8_t *)manifest;
      reply->size = reply->capacity = strlen(manifest);
      return 0;
    case TYKB_FRAME_START:
      return start(server, frame, reply);
    case TYKB_FRAME_LOOKUP:
      return plugin->lookup((const char *)data, frame->size, frame->flags);
    case TYKB_FRAME_DEFINE:
      return plugin->define((const char *)data, frame->size, reply);
    case TYKB_FRAME_RELEASE:
      plugin->release(frame->number);
      return 0;
    case TYKB_FRAME_FORGET:
      return plugin->fetch((uint64_t)frame->number, NULL);
    case TYKB_FRAME_INVOKE:
      memset(&call, 0, sizeof call);
      call.size = sizeof call;
      call.phase = frame->flags;
      call.hook = frame->number;
      call.definition = frame->other;
      call.timeout_ns = frame->time;
      call.data = data;
      call.data_size = frame->size;
      return plugin->invoke(&call, reply);
    default:
      _exit(TYKB_CHILD_NO_HOST);
  }
}

/* Words of ours in the place of the plugin's, as an item. */
static void say(struct server *server, const char *words, struct tykb_plugin_reply *reply) {
  uint32_t head[2] = {TYKB_PLUGIN_ERROR, (uint32_t)strlen(words)};
  for (int i = 0; i < 8; i++) server->reply[i] = (uint8_t)(head[i / 4] >> (i % 4 * 8));
  memcpy(server->reply + 8, words, head[1]);
  reply->data = server->reply;
  reply->size = 8 + head[1];
}

static void answer(struct server *server) {
  struct tykb_plugin_reply reply = {server->reply, ROOM, 0, 0};
  struct tykb_frame result = {.kind = TYKB_FRAME_RESULT, .number = TYKB_PLUGIN_E_LOAD};
  uint8_t *fetched = NULL;
  pthread_once(&opened, open_library); /* here, not where lanes are waited for: what starts with it may take for ever */
  if (plugin) {
    result.number = serve_call(server, tykb_lane_frame(&server->calls), &reply);
  } else {
    say(server, refusal, &reply);
  }
  if (reply.kept) {
    uint64_t kept = reply.kept;
    fetched = malloc(reply.size ? reply.size : 1);
    reply.data = fetched;
    reply.capacity = reply.size;
    if (!fetched || reply.size > TYKB_LANE_LIMIT || plugin->fetch(kept, &reply) < 0) {
      plugin->fetch(kept, NULL);
      result.number = TYKB_PLUGIN_E_HOOK;
      say(server, "its reply cannot be had: it is too long, or the plugin does not give it", &reply);
    }
  } else if (reply.size > reply.capacity) {
    result.number = TYKB_PLUGIN_E_HOOK;
    say(server, "its reply is longer than the room for it", &reply);
  }
  result.size = reply.size;
  if (tykb_lane_send(&server->calls, &result, reply.data, NULL, 0) != TYKB_LANE_OK) {
    /* The host gave the call up, or is gone: the receive that follows tells. */
  }
  free(fetched);
}

static void *serve(void *argument) {
  struct server *server = argument;
  here = server;
  while (tykb_lane_receive(&server->calls, 0) == TYKB_LANE_OK) answer(server);
  here = NULL; /* what a language has to do at the end of its thread may log */
  server->answers.fd = -1;
  tykb_lane_close(&server->answers);
  tykb_lane_close(&server->calls);
  free(server);
  return NULL;
}

/* ---- The program */

static void close_others(void) {
  for (int fd = TYKB_CHILD_CONTROL; fd <= TYKB_CHILD_SIDE; fd++) fcntl(fd, F_SETFD, FD_CLOEXEC);
#ifdef SYS_close_range
  if (syscall(SYS_close_range, TYKB_CHILD_SIDE + 1, ~0u, 0) == 0) return;
#endif
  long most = sysconf(_SC_OPEN_MAX);
  for (long fd = TYKB_CHILD_SIDE + 1; fd < most; fd++) close((int)fd);
}

/* Waits for a lane. -1: the host has closed the socket, or is gone. */
static int next_lane(void) {
  char byte;
  union {
    struct cmsghdr head;
    char room[CMSG_SPACE(sizeof(int))];
  } control;
  struct iovec part = {&byte, 1};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room};
  ssize_t got;
  do got = recvmsg(TYKB_CHILD_CONTROL, &message, MSG_CMSG_CLOEXEC);
  while (got < 0 && errno == EINTR);
  struct cmsghdr *head = got == 1 ? CMSG_FIRSTHDR(&message) : NULL;
  int fd = -1;
  if (head && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS) memcpy(&fd, CMSG_DATA(head), sizeof fd);
  return fd;
}

int main(int count, char **words) {
  int fd;
  if (count < 2 || strcmp(words[1], TYKB_CHILD_MARK) != 0) {
    fputs("this program runs plugins for tykbridge, which starts it by itself\n", stderr);
    return 2;
  }
  close_others();
  tykb_lane_open(&side, TYKB_CHILD_SIDE);
  setvbuf(stdout, NULL, _IOLBF, 0); /* nothing is flushed at the end */
  while ((fd = next_lane()) >= 0) {
    pthread_t thread;
    pthread_attr_t attributes;
    struct server *server = malloc(sizeof *server);
    if (!server) _exit(TYKB_CHILD_NO_HOST);
    tykb_lane_open(&server->calls, fd);
    tykb_lane_open(&server->answers, fd);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &attributes, serve, server) != 0) {
      tykb_lane_close(&server->calls); /* the call that wanted it hears that it is gone */
      free(server);
    }
    pthread_attr_destroy(&attributes);
  }
  _exit(0); /* at once: hooks may run, and nobody waits for them */
}
