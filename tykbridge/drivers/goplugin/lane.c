#define _GNU_SOURCE /* ppoll */
#include "lane.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum {
  ROOM = 16 * 1024,
  KEPT = 256 * 1024 /* a buffer that is larger is given back after use */
};

#define SECOND INT64_C(1000000000)

int64_t tykb_lane_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * SECOND + now.tv_nsec;
}

void tykb_lane_open(struct tykb_lane *lane, int fd) {
  memset(lane, 0, sizeof *lane);
  lane->fd = fd;
}

void tykb_lane_close(struct tykb_lane *lane) {
  if (lane->fd >= 0) close(lane->fd);
  lane->fd = -1;
  free(lane->buffer);
  lane->buffer = NULL;
  lane->room = 0;
}

static int failed(void) { return errno == ENOMEM || errno == ENOBUFS ? TYKB_LANE_MEMORY : TYKB_LANE_GONE; }

int tykb_lane_send(struct tykb_lane *lane, const struct tykb_frame *frame, const void *data, const void *more) {
  struct iovec parts[] = {{(void *)frame, sizeof *frame}, {(void *)data, frame->size}, {(void *)more, frame->more}};
  struct msghdr message = {.msg_iov = parts, .msg_iovlen = 3};
  while (message.msg_iovlen) {
    ssize_t sent = sendmsg(lane->fd, &message, MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) continue;
      return failed();
    }
    while (message.msg_iovlen && (size_t)sent >= message.msg_iov->iov_len) {
      sent -= (ssize_t)message.msg_iov->iov_len;
      message.msg_iov++;
      message.msg_iovlen--;
    }
    if (message.msg_iovlen) {
      message.msg_iov->iov_base = (char *)message.msg_iov->iov_base + sent;
      message.msg_iov->iov_len -= (size_t)sent;
    }
  }
  return TYKB_LANE_OK;
}

int tykb_lane_wait(struct tykb_lane *lane, int64_t until) {
  struct pollfd readable = {.fd = lane->fd, .events = POLLIN};
  for (;;) {
    int64_t left = until ? until - tykb_lane_now() : 0;
    if (until && left <= 0) return TYKB_LANE_LATE;
    struct timespec time = {left / SECOND, left % SECOND};
    int ready = ppoll(&readable, 1, until ? &time : NULL, NULL);
    if (ready > 0) return TYKB_LANE_OK;
    if (ready < 0 && errno != EINTR) return failed();
  }
}

/* Has reads give up before the time is over. A socket keeps what it was told, and most times are much the same. */
static int limit(struct tykb_lane *lane, int64_t left) {
  if (left ? lane->slice && lane->slice <= left && lane->slice >= left / 2 : !lane->slice) return 0;
  lane->slice = left - left / 8;
  struct timeval time = {lane->slice / SECOND, lane->slice % SECOND / 1000};
  if (left && !time.tv_sec && !time.tv_usec) time.tv_usec = 1;
  return setsockopt(lane->fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
}

static int grow(struct tykb_lane *lane, size_t room) {
  uint8_t *buffer = realloc(lane->buffer, room);
  if (!buffer) return TYKB_LANE_MEMORY;
  lane->buffer = buffer;
  lane->room = room;
  return TYKB_LANE_OK;
}

int tykb_lane_receive(struct tykb_lane *lane, int64_t until) {
  size_t have = 0, want = sizeof(struct tykb_frame);
  if (lane->room > KEPT) {
    free(lane->buffer);
    lane->buffer = NULL;
    lane->room = 0;
  }
  if (!lane->room && grow(lane, ROOM) < 0) return TYKB_LANE_MEMORY;
  while (have < want) {
    int64_t left = until ? until - tykb_lane_now() : 0;
    if (until && left <= 0) return TYKB_LANE_LATE;
    if (limit(lane, left) < 0) return failed();
    ssize_t got = recv(lane->fd, lane->buffer + have, lane->room - have, 0);
    if (got < 0) {
      if (errno == EINTR || errno == EAGAIN) continue;
      return errno == ECONNRESET ? TYKB_LANE_UNREAD : failed();
    }
    if (got == 0) return TYKB_LANE_GONE;
    have += (size_t)got;
    if (have >= sizeof(struct tykb_frame)) {
      const struct tykb_frame *frame = tykb_lane_frame(lane);
      if (frame->size > TYKB_LANE_LIMIT || frame->more > TYKB_LANE_LIMIT - frame->size) return TYKB_LANE_BROKEN;
      want = sizeof *frame + frame->size + frame->more;
      if (have > want) return TYKB_LANE_BROKEN;
      if (want > lane->room && grow(lane, want) < 0) return TYKB_LANE_MEMORY;
    }
  }
  return TYKB_LANE_OK;
}
