/* What plugins say to their host: the host table, and the exported functions that use it.
 *
 * The four classic functions are defaults. An executable that exports its own is found first by the linker, also for the
 * calls inside this library (which is why none of those is in this file, and why nothing is linked with -Bsymbolic). */
#include "host.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "python.h"
#include "status.h"

/* A host table and the one before it, which calls in flight may still use: none is ever freed. */
struct node {
  struct tykb_host host;
  struct node *before;
};

static _Atomic(struct node *) current;
static _Atomic(const struct tykb_table *) other_copy; /* set once */

static const struct tykb_host no_host;

static const struct tykb_host *host_now(void) {
  const struct node *node = atomic_load(&current);
  return node ? &node->host : &no_host;
}

int tykb_host_forward(const struct tykb_table *table) {
  const struct node *node = atomic_load(&current);
  atomic_store(&other_copy, table);
  return node ? table->set_host(&node->host) : TYKB_OK;
}

int tykb_set_host(const struct tykb_host *host) {
  struct tykb_host copy = {0};
  if (host) {
    if (host->size < offsetof(struct tykb_host, log)) return TYKB_E_ARGUMENT;
    /* What this release does not know is ignored: nothing would call it. */
    tykb_mem_adopt(&copy, sizeof copy, host, host->size);
    copy.size = sizeof copy;
  }
  struct node *node = tykb_mem_alloc(sizeof *node);
  if (!node) return TYKB_E_NO_MEMORY;
  node->host = copy;
  node->before = atomic_load(&current);
  while (!atomic_compare_exchange_weak(&current, &node->before, node)) continue;

  const struct tykb_table *table;
  int lock, status = TYKB_OK;
  if (atomic_load(&other_copy) && tykb_python_enter(&table, &lock, NULL) == TYKB_OK) {
    status = table->set_host(host ? &node->host : NULL);
    tykb_python_leave(lock);
  }
  return status;
}

/* ---- Standard error ------------------------------------------------------------------------------------------------ */

/* What makes a terminal go back over a line, or do as a client says, does not get there. */
static char shown(char c) { return ((unsigned char)c < 0x20 && c != '\n' && c != '\t') || c == 0x7f ? '?' : c; }

/* Writes the parts as one line with one call, so that threads do not mix theirs. Further lines of a message are
 * indented: a line that starts at the margin starts a message. */
static void write_line(const char *const parts[], size_t count) {
  size_t size = 1;
  for (size_t i = 0; i < count; i++)
    for (const char *p = parts[i]; *p; p++) size += *p == '\n' ? 5 : 1;
  char spare[512];
  char *line = tykb_mem_alloc(size + 5);
  char *end = line ? line + size + 5 : spare + sizeof spare, *at = line ? line : spare;
  for (size_t i = 0; i < count; i++) {
    for (const char *p = parts[i]; *p && end - at > 5; p++) {
      if (*p == '\n' && !p[1] && i + 1 == count) break;
      *at++ = shown(*p);
      if (*p == '\n') at = memcpy(at, "    ", 4), at += 4;
    }
  }
  *at++ = '\n';
  char *start = line ? line : spare;
  fwrite(start, 1, (size_t)(at - start), stderr);
  tykb_mem_free(line);
}

/* ---- The classic functions ----------------------------------------------------------------------------------------- */

void CoProcessLog(char *msg, char *level) {
  const struct tykb_host *host = host_now();
  if (!msg) msg = "";
  if (!level || !*level) level = "info";
  if (host->log)
    host->log(host->context, msg, level);
  else
    write_line((const char *const[]){"tykbridge: ", level, ": ", msg}, 4);
}

void TykTriggerEvent(char *event_name, char *payload) {
  const struct tykb_host *host = host_now();
  if (!event_name) event_name = "";
  if (!payload) payload = "";
  if (host->trigger_event)
    host->trigger_event(host->context, event_name, payload);
  else
    write_line((const char *const[]){"tykbridge: event ", event_name, " ", payload}, 4);
}

void TykStoreData(char *key, char *value, int ttl) {
  const struct tykb_host *host = host_now();
  const struct tykb_table *table;
  struct CoProcessMessage words = {0};
  int lock, status;
  if (!key || !value) {
    status = tykb_fail(&words, TYKB_E_ARGUMENT, "TykStoreData: the %s is NULL", key ? "value" : "key");
  } else if (host->store_data) {
    host->store_data(host->context, key, value, ttl);
    return;
  } else {
    status = tykb_python_enter(&table, &lock, &words);
    if (status == TYKB_OK) {
      status = table->store_data(key, value, ttl);
      tykb_python_leave(lock);
      if (status != TYKB_OK) tykb_fail(&words, status, "TykStoreData: \"%s\" was not stored", key);
    }
  }
  tykb_report(status, &words);
}

char *TykGetData(char *key) {
  const struct tykb_host *host = host_now();
  const struct tykb_table *table;
  struct CoProcessMessage words = {0};
  char *value = NULL;
  int lock, status = TYKB_OK;
  if (!key) {
    status = tykb_fail(&words, TYKB_E_ARGUMENT, "TykGetData: the key is NULL");
  } else if (host->get_data) {
    value = host->get_data(host->context, key);
  } else {
    status = tykb_python_enter(&table, &lock, &words);
    if (status == TYKB_OK) {
      value = table->get_data(key);
      tykb_python_leave(lock);
      if (!value) status = tykb_fail(&words, TYKB_E_NO_MEMORY, "TykGetData: no memory for \"%s\"", key);
    }
  }
  if (status != TYKB_OK) tykb_report(status, &words);
  if (!value) {
    value = tykb_reply_alloc(1);
    if (value) *value = 0;
  }
  return value;
}
