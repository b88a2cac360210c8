/* Names statuses and versions; puts a failure into words. */
#include "status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "mem.h"
#include "wire.h"

#ifndef TYKB_VERSION
#error "the build passes -DTYKB_VERSION=\"x.y.z\""
#endif

const char *tykb_version(void) { return TYKB_VERSION; }

uint32_t tykb_abi(void) { return TYKB_ABI; }

const char *tykb_status_name(int status) {
  switch (status) {
#define NAME(name)                                                                                                     \
  case name:                                                                                                           \
    return #name
    NAME(TYKB_OK);
    NAME(TYKB_E_ARGUMENT);
    NAME(TYKB_E_NOT_STARTED);
    NAME(TYKB_E_NO_PYTHON);
    NAME(TYKB_E_NO_MEMORY);
    NAME(TYKB_E_MALFORMED);
    NAME(TYKB_E_NOT_FOUND);
    NAME(TYKB_E_AMBIGUOUS);
    NAME(TYKB_E_HOOK);
    NAME(TYKB_E_LOAD);
    NAME(TYKB_E_TOO_LARGE);
    NAME(TYKB_E_FORKED);
    NAME(TYKB_E_GONE);
    NAME(TYKB_E_ABI);
    NAME(TYKB_E_INTERNAL);
#undef NAME
    default:
      return "TYKB_E_UNKNOWN";
  }
}

int tykb_fail(struct CoProcessMessage *out, int status, const char *format, ...) {
  if (!out) return status;
  out->p_data = NULL;
  out->length = 0;

  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(NULL, 0, format, arguments);
  va_end(arguments);
  if (length < 0) return status;

  char *words = tykb_reply_alloc((size_t)length + 1);
  if (!words) return status;
  va_start(arguments, format);
  vsnprintf(words, (size_t)length + 1, format, arguments);
  va_end(arguments);

  /* A path may be any bytes. Which of them are wrong does not matter to a reader. */
  if (!tykb_wire_is_utf8((const uint8_t *)words, (size_t)length))
    for (int i = 0; i < length; i++)
      if (words[i] & 0x80) words[i] = '?';
  out->p_data = words;
  out->length = length;
  return status;
}

int tykb_report(int status, struct CoProcessMessage *words) {
  if (status != TYKB_OK && status != TYKB_E_HOOK) {
    /* The module's words do not end in a NUL. */
    size_t size = words->p_data ? (size_t)words->length : 0;
    char *text = size ? tykb_mem_alloc(size + 1) : NULL;
    if (text) {
      memcpy(text, words->p_data, size);
      text[size] = 0;
    }
    CoProcessLog(text ? text : (char *)(uintptr_t)tykb_status_name(status), (char *)(uintptr_t)"error");
    tykb_mem_free(text);
  }
  tykb_message_clear(words);
  return status;
}
