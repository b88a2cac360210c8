/* Carries calls between a host and the process that runs its plugin: frames on a socket, which is a lane.
 *
 * On a lane one side speaks at a time: the host sends a call, the process asks the host (TYKB_FRAME_LOG and after), which
 * answers, as often as it likes, and ends the call with its result. So no frame is read that nobody waits for, and calls at
 * one time need as many lanes. Both ends are of one build on one machine: frames are structs as they lie in memory.
 *
 * Memory   A lane owns its buffer. What was received lies there until the next `tykb_lane_receive`.
 * Threads  One at a time. */
#ifndef TYKB_GOPLUGIN_LANE_H
#define TYKB_GOPLUGIN_LANE_H

#include <stddef.h>
#include <stdint.h>

enum tykb_frame_kind {
  /* Host to process; each is answered by TYKB_FRAME_RESULT. */
  TYKB_FRAME_MANIFEST = 1, /* result: the manifest; TYKB_PLUGIN_E_LOAD and items where the library cannot be used */
  TYKB_FRAME_START,        /* flags: whether the host has settings; data: these */
  TYKB_FRAME_LOOKUP,       /* data: the name; flags: the kind */
  TYKB_FRAME_DEFINE,       /* data: JSON */
  TYKB_FRAME_RELEASE,      /* number: the definition */
  TYKB_FRAME_FORGET,       /* number: of what the plugin keeps of a request */
  TYKB_FRAME_INVOKE, /* number: the hook; other: the definition; time: timeout_ns; flags: the phase; data: items */

  TYKB_FRAME_RESULT, /* number: what the function returned; data: the reply */

  /* Process to host; each is answered by TYKB_FRAME_ANSWER. The arguments of the functions of struct tykb_plugin_host. */
  TYKB_FRAME_LOG,       /* data: level; more: words */
  TYKB_FRAME_EVENT,     /* data: name; more: payload */
  TYKB_FRAME_GET,       /* data: key; number: the capacity */
  TYKB_FRAME_SET,       /* data: key; more: value; time: ttl_ms; flags */
  TYKB_FRAME_DELETE,    /* data: key */
  TYKB_FRAME_INCREMENT, /* data: key; number: by; time: ttl_ms */
  TYKB_FRAME_TTL,       /* data: key */

  TYKB_FRAME_ANSWER /* number: what the function returned; other: the sum; data: the value */
};

struct tykb_frame {
  uint32_t kind; /* enum tykb_frame_kind */
  uint32_t flags;
  int64_t number, other, time;
  uint64_t size, more; /* bytes of data, and of what comes after it */
};

/* Bytes of a frame at most: whoever runs in the process might write anything. */
#define TYKB_LANE_LIMIT ((uint64_t)1 << 30)

struct tykb_lane {
  int fd;          /* -1: closed */
  int64_t slice;   /* nanoseconds after which the socket gives up a read; 0: never */
  uint8_t *buffer; /* the frame received last, and its bytes */
  size_t room;
  size_t have; /* bytes of a frame that is not there as a whole */
};

enum tykb_lane_status {
  TYKB_LANE_OK = 0,
  TYKB_LANE_GONE = -1,   /* there is nobody at the other end */
  TYKB_LANE_LATE = -2,   /* it was not there, or read, in time; after a send the lane cannot be used on */
  TYKB_LANE_BROKEN = -3, /* what came is no frame */
  TYKB_LANE_MEMORY = -4,
  TYKB_LANE_UNREAD = -5 /* it is gone, and has not read all of what was sent */
};

int64_t tykb_lane_now(void); /* nanoseconds of CLOCK_MONOTONIC */

void tykb_lane_open(struct tykb_lane *lane, int fd);
void tykb_lane_close(struct tykb_lane *lane);

/* Sends a frame, `frame->size` bytes of data and `frame->more` of more, until a time of tykb_lane_now, 0: for ever; enum
 * tykb_lane_status. */
int tykb_lane_send(struct tykb_lane *lane, const struct tykb_frame *frame, const void *data, const void *more,
                   int64_t until);

/* Waits for a frame until that time, 0: for ever. It may be some milliseconds late. */
int tykb_lane_receive(struct tykb_lane *lane, int64_t until);

/* The same, exactly to that time, for who has something else to do: it costs more. */
int tykb_lane_poll(struct tykb_lane *lane, int64_t until);

static inline const struct tykb_frame *tykb_lane_frame(const struct tykb_lane *lane) {
  return (const struct tykb_frame *)(const void *)lane->buffer;
}

static inline uint8_t *tykb_lane_data(const struct tykb_lane *lane) { return lane->buffer + sizeof(struct tykb_frame); }

#endif
