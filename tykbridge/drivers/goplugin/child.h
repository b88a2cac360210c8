/* What a host and the program of child.c agree on: which descriptors it is started with, and how it ends. */
#ifndef TYKB_GOPLUGIN_CHILD_H
#define TYKB_GOPLUGIN_CHILD_H

enum {
  TYKB_CHILD_CONTROL = 3, /* a socket: bytes that bring a lane each; its end is the process's end */
  TYKB_CHILD_LIBRARY = 4, /* the library's bytes */
  TYKB_CHILD_SIDE = 5     /* the lane of questions that belong to no call */
};

enum { TYKB_CHILD_NO_HOST = 120 /* exit status: the host was gone, or spoke nonsense */ };

#define TYKB_CHILD_MARK                                                                                                \
  "tykbridge-plugin" /* its first argument; the second is for people, who look at a list of processes */

#endif
