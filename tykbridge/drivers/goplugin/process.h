/* Runs a plugin in a process of its own, for the host: starts it, keeps its lanes, and knows how it ended.
 *
 * A process is one run of the program in child.c, and is never started again: who wants it replaced makes another one.
 * A thread of its own, the keeper, reads what it prints, answers what it asks outside of calls, and sees its end. It is
 * waited for by its number alone: a host's own children, its SIGCHLD and its wait() are not touched. A host that waits for
 * children that it does not know may be faster; how it ended is not known then.
 *
 * Memory   References are counted: the keeper has one, whoever made it the other. A lane lives until `leave`.
 * Threads  Any, several at once. No function calls Python, or waits for another call. The host's functions are called
 *          from the thread that waits for the call, or from the keeper.
 * Fork     A child of the host has none of the processes: its copies are closed, and behave as if they had ended. */
#ifndef TYKB_GOPLUGIN_PROCESS_H
#define TYKB_GOPLUGIN_PROCESS_H

#include "lane.h"
#include "plugin.h"

struct tykb_process;

/* Whoever hears of a process. Called by the keeper, with `context`. */
struct tykb_process_owner {
  void *context;
  void (*resume)(void *context, void *waiting); /* what a call waits for has come, or its time is over */
  void (*ended)(void *context);                 /* it has ended; the last call */
};

/* How it ended, and what it printed last: from where a crash begins, where it tells of one. */
struct tykb_process_end {
  int is_known;  /* 0: whoever else waits for children has taken its status */
  int status;    /* of waitpid */
  int is_wanted; /* it was retired, not to be killed */
  int is_late;   /* it was killed because a call took too long */
  int is_forked; /* this is a child of the host: it lives on, perhaps */
  const char *printed;
  size_t size;
};

/* Starts `program` with the library in a descriptor, which stays the caller's; `label` is shown in lists of processes. `host` and
 * `owner` are copied; their contexts must be valid until `ended` was called. 0, or an errno. */
int tykb_process_start(const char *program, const char *label, int library, const struct tykb_plugin_host *host,
                       const struct tykb_process_owner *owner, struct tykb_process **process);

/* Lets go of it. It must have been retired. */
void tykb_process_free(struct tykb_process *process);

int tykb_process_number(const struct tykb_process *process); /* its process id */
int tykb_process_is_over(struct tykb_process *process);      /* it ended, was retired, or the host forked */

/* Takes a lane for a call, or makes one. NULL: `*error` is an errno, 0 where the process is over, EBUSY where it has
 * all the calls that it takes. */
struct tykb_lane *tykb_process_enter(struct tykb_process *process, int *error);

/* Gives a lane back after its call; `is_done` = 0: the call did not come to its end, and nobody will listen to it. */
void tykb_process_leave(struct tykb_process *process, struct tykb_lane *lane, int is_done);

/* Waits for a call's result until a time (0: for ever), and answers what it asks meanwhile. With `brief`, an earlier time, it
 * may be TYKB_LANE_LATE then, without harm: call again. TYKB_LANE_UNREAD: it ended before it had the call. */
int tykb_process_receive(struct tykb_process *process, struct tykb_lane *lane, int64_t until, int64_t brief);

/* Has `owner.resume` be called with `waiting`, once, when there is something to receive on a lane, or at that time. */
void tykb_process_watch(struct tykb_process *process, struct tykb_lane *lane, int64_t until, void *waiting);

/* Takes no more calls. It is killed when the last one is back, or after `grace` nanoseconds, 0: never. `late`: a call was not
 * back in time. */
void tykb_process_retire(struct tykb_process *process, int late, int64_t grace);

/* Waits until it has ended, and tells how; 0: it had not by that time. */
int tykb_process_ended(struct tykb_process *process, int64_t until, struct tykb_process_end *end);

#endif
