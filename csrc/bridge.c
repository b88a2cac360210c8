/* The entry points: check the arguments, call, map the status. */
#include <stdlib.h>

#include "mem.h"
#include "python.h"
#include "status.h"

/* Empties an out-parameter, which may be NULL where only words go into it. */
static void empty(struct CoProcessMessage *out) {
  if (out) *out = (struct CoProcessMessage){0};
}

void tykb_message_clear(struct CoProcessMessage *message) {
  if (!message) return;
  free(message->p_data);
  empty(message);
}

/* ---- Starting ------------------------------------------------------------------------------------------------------ */

int tykb_init(struct CoProcessMessage *out) {
  empty(out);
  int status = tykb_python_init(out);
  return status == TYKB_OK ? tykb_python_load(out) : status;
}

int Python_Init(void) {
  struct CoProcessMessage words = {0};
  return tykb_report(tykb_python_init(&words), &words);
}

int Python_LoadDispatcher(void) {
  struct CoProcessMessage words = {0};
  return tykb_report(tykb_python_load(&words), &words);
}

void Python_SetEnv(char *path) {
  struct CoProcessMessage words = {0};
  int status = path ? tykb_python_set_env(path, &words) : tykb_fail(&words, TYKB_E_ARGUMENT, "Python_SetEnv: no path");
  tykb_report(status, &words);
}

/* ---- Loading ------------------------------------------------------------------------------------------------------- */

int Python_NewDispatcher(char *root) {
  const struct tykb_table *table;
  struct CoProcessMessage words = {0};
  int lock, status;
  if (!root) {
    status = tykb_fail(&words, TYKB_E_ARGUMENT, "Python_NewDispatcher: no root");
  } else if ((status = tykb_python_enter(&table, &lock, &words)) == TYKB_OK) {
    status = table->new_dispatcher(root, &words);
    tykb_python_leave(lock);
  }
  return tykb_report(status, &words);
}

void Python_ReloadDispatcher(void) {
  const struct tykb_table *table;
  struct CoProcessMessage words = {0};
  int lock, status = tykb_python_enter(&table, &lock, &words);
  if (status == TYKB_OK) {
    status = table->reload(&words);
    tykb_python_leave(lock);
  }
  tykb_report(status, &words);
}

int tykb_load_bundle(const char *path, const char *name, struct CoProcessMessage *out) {
  const struct tykb_table *table;
  int lock;
  empty(out);
  if (!path || !name) return tykb_fail(out, TYKB_E_ARGUMENT, "tykb_load_bundle: no %s", path ? "name" : "path");
  int status = tykb_python_enter(&table, &lock, out);
  if (status == TYKB_OK) {
    status = table->load_bundle(path, name, out);
    tykb_python_leave(lock);
  }
  return status;
}

int tykb_load_configuration(const struct tykb_configuration *configuration, struct CoProcessMessage *out) {
  /* The members that every release has had. */
  static const size_t least = offsetof(struct tykb_configuration, policies) + sizeof configuration->policies;
  const struct tykb_table *table;
  struct tykb_configuration known;
  int lock;
  empty(out);
  const char *fault = !configuration                ? "no configuration"
                      : configuration->size < least ? "the configuration's size is too small"
                      : !tykb_mem_adopt(&known, sizeof known, configuration, configuration->size)
                          ? "the configuration has members that this release does not know"
                      : known.flags & ~(TYKB_STRICT | TYKB_WATCH) ? "unknown flags"
                      : !known.source                             ? "no source"
                                                                  : NULL;
  if (fault) return tykb_fail(out, TYKB_E_ARGUMENT, "tykb_load_configuration: %s", fault);
  known.size = sizeof known;
  int status = tykb_python_enter(&table, &lock, out);
  if (status == TYKB_OK) {
    status = table->load_configuration(&known, out);
    tykb_python_leave(lock);
  }
  return status;
}

int tykb_reload(struct CoProcessMessage *out) {
  const struct tykb_table *table;
  int lock;
  empty(out);
  int status = tykb_python_enter(&table, &lock, out);
  if (status == TYKB_OK) {
    status = table->reload_all(out);
    tykb_python_leave(lock);
  }
  return status;
}

/* ---- Dispatching --------------------------------------------------------------------------------------------------- */

/* Takes `in` over, since `in` and `out` may be the same, and empties `out`. */
static int take(const struct CoProcessMessage *in, struct CoProcessMessage *message, struct CoProcessMessage *out,
                const char *call) {
  *message = in ? *in : (struct CoProcessMessage){0};
  empty(out);
  const char *fault = !in                                       ? "no message"
                      : message->length < 0                     ? "the message's length is negative"
                      : message->length > 0 && !message->p_data ? "the message has a length and no data"
                                                                : NULL;
  if (fault) return tykb_fail(out, TYKB_E_ARGUMENT, "%s: %s", call, fault);
  if (!message->p_data) message->p_data = "";
  return TYKB_OK;
}

int tykb_dispatch(const struct CoProcessMessage *in, uint32_t flags, struct CoProcessMessage *out) {
  const struct tykb_table *table;
  struct CoProcessMessage message;
  int lock;
  if (!out) return TYKB_E_ARGUMENT;
  int status = take(in, &message, out, "dispatch");
  if (status == TYKB_OK && flags > TYKB_REPLY_DELTA)
    status = tykb_fail(out, TYKB_E_ARGUMENT, "dispatch: unknown flags");
  if (status == TYKB_OK) status = tykb_python_enter(&table, &lock, out);
  if (status == TYKB_OK) {
    status = table->dispatch(message.p_data, (size_t)message.length, flags, out);
    tykb_python_leave(lock);
  }
  return status;
}

int tykb_run_request(const struct CoProcessMessage *in, struct CoProcessMessage *out) {
  const struct tykb_table *table;
  struct CoProcessMessage message;
  int lock;
  if (!out) return TYKB_E_ARGUMENT;
  int status = take(in, &message, out, "tykb_run_request");
  if (status == TYKB_OK) status = tykb_python_enter(&table, &lock, out);
  if (status == TYKB_OK) {
    status = table->run_request(message.p_data, (size_t)message.length, out);
    tykb_python_leave(lock);
  }
  return status;
}

int tykb_run_response(const struct CoProcessMessage *in, struct CoProcessMessage *out) {
  const struct tykb_table *table;
  struct CoProcessMessage message;
  int lock;
  if (!out) return TYKB_E_ARGUMENT;
  int status = take(in, &message, out, "tykb_run_response");
  if (status == TYKB_OK) status = tykb_python_enter(&table, &lock, out);
  if (status == TYKB_OK) {
    status = table->run_response(message.p_data, (size_t)message.length, out);
    tykb_python_leave(lock);
  }
  return status;
}

int tykb_start_request(const struct CoProcessMessage *in, tykb_done done, void *context, struct CoProcessMessage *out) {
  const struct tykb_table *table;
  struct CoProcessMessage message;
  int lock, status = take(in, &message, out, "tykb_start_request");
  if (status == TYKB_OK && !done) status = tykb_fail(out, TYKB_E_ARGUMENT, "tykb_start_request: no function to call");
  if (status == TYKB_OK) status = tykb_python_enter(&table, &lock, out);
  if (status == TYKB_OK) {
    status = table->start_request(message.p_data, (size_t)message.length, done, context, out);
    tykb_python_leave(lock);
  }
  return status;
}

int tykb_start_response(const struct CoProcessMessage *in, tykb_done done, void *context,
                        struct CoProcessMessage *out) {
  const struct tykb_table *table;
  struct CoProcessMessage message;
  int lock, status = take(in, &message, out, "tykb_start_response");
  if (status == TYKB_OK && !done) status = tykb_fail(out, TYKB_E_ARGUMENT, "tykb_start_response: no function to call");
  if (status == TYKB_OK) status = tykb_python_enter(&table, &lock, out);
  if (status == TYKB_OK) {
    status = table->start_response(message.p_data, (size_t)message.length, done, context, out);
    tykb_python_leave(lock);
  }
  return status;
}

int Python_DispatchHook(struct CoProcessMessage *in, struct CoProcessMessage *out) {
  int status;
  if (out) {
    status = tykb_dispatch(in, TYKB_REPLY_FULL, out);
    if (status != TYKB_OK) tykb_report(status, out);
  } else {
    struct CoProcessMessage words;
    status = tykb_report(tykb_fail(&words, TYKB_E_ARGUMENT, "Python_DispatchHook: no message for the reply"), &words);
  }
  return status;
}

void Python_DispatchEvent(char *json) {
  const struct tykb_table *table;
  struct CoProcessMessage words = {0};
  int lock, status;
  if (!json) {
    status = tykb_fail(&words, TYKB_E_ARGUMENT, "Python_DispatchEvent: no event");
  } else if ((status = tykb_python_enter(&table, &lock, &words)) == TYKB_OK) {
    status = table->dispatch_event(json, &words);
    tykb_python_leave(lock);
  }
  tykb_report(status, &words);
}
