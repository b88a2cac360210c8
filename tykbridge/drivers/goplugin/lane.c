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

/* Waits until it can be read or written. */
static int wait_for(int fd, short what, int64_t until) {
  struct pollfd one = {.fd = fd, .events = what};
  for (;;) {
    int64_t left = until ? until - tykb_lane_now() : 0;
    if (left < 0) left = 0;
    struct timespec time = {left / SECOND, left % SECOND};
    int ready = ppoll(&one, 1, until ? &time : NULL, NULL);
    if (ready > 0) return TYKB_LANE_OK;
    if (ready < 0 && errno != EINTR) return failed();
    if (ready == 0) return TYKB_LANE_LATE;
  }
}

int tykb_lane_send(struct tykb_lane *lane, const struct tykb_frame *frame, const void *data, const void *more,
                   int64_t until) {
  struct iovec parts[] = {{(void *)frame, sizeof *frame}, {(void *)data, frame->size}, {(void *)more, frame->more}};
  struct msghdr message = {.msg_iov = parts, .msg_iovlen = 3};
  while (message.msg_iovlen) {
    ssize_t sent = sendmsg(lane->fd, &message, MSG_NOSIGNAL | (until ? MSG_DONTWAIT : 0));
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN) return failed();
      /* A little room at a time may be made for ever. */
      int status = until && until <= tykb_lane_now() ? TYKB_LANE_LATE : wait_for(lane->fd, POLLOUT, until);
      if (status != TYKB_LANE_OK) return status;
      continue;
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

/* Goes on with a frame that an earlier one did not see the end of. */
static int receive(struct tykb_lane *lane, int64_t until, int polls) {
  size_t want = sizeof(struct tykb_frame);
  if (!lane->have && lane->room > KEPT) {
    free(lane->buffer);
    lane->buffer = NULL;
    lane->room = 0;
  }
  if (!lane->room && grow(lane, ROOM) < 0) return TYKB_LANE_MEMORY;
  for (;;) {
    if (lane->have >= sizeof(struct tykb_frame)) {
      const struct tykb_frame *frame = tykb_lane_frame(lane);
      if (frame->size > TYKB_LANE_LIMIT || frame->more > TYKB_LANE_LIMIT - frame->size) return TYKB_LANE_BROKEN;
      want = sizeof *frame + frame->size + frame->more;
      if (lane->have > want) return TYKB_LANE_BROKEN;
      if (lane->have == want) break;
      if (want > lane->room && grow(lane, want) < 0) return TYKB_LANE_MEMORY;
    }
    if (polls) {
      int status = wait_for(lane->fd, POLLIN, until);
      if (status != TYKB_LANE_OK) return status;
    } else {
      int64_t left = until ? until - tykb_lane_now() : 0;
      if (until && left <= 0) return TYKB_LANE_LATE;
      if (limit(lane, left) < 0) return failed();
    }
    ssize_t got = recv(lane->fd, lane->buffer + lane->have, lane->room - lane->have, polls ? MSG_DONTWAIT : 0);
    if (got < 0) {
      if (errno == EINTR || errno == EAGAIN) continue;
      return errno == ECONNRESET ? TYKB_LANE_UNREAD : failed();
    }
    if (got == 0) return TYKB_LANE_GONE;
    lane->have += (size_t)got;
    if (polls && lane->have < want && until && until <= tykb_lane_now()) return TYKB_LANE_LATE; /* it drips */
  }
  lane->have = 0;
  return TYKB_LANE_OK;
}

int tykb_lane_receive(struct tykb_lane *lane, int64_t until) { return receive(lane, until, 0); }

int tykb_lane_poll(struct tykb_lane *lane, int64_t until) { return receive(lane, until, 1); }
