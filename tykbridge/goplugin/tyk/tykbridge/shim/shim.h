/* The host's table, as table.c keeps it for the Go code of this folder. */
#ifndef TYKB_SHIM_H
#define TYKB_SHIM_H

#include <tykbridge/plugin.h>

/* The host's table lacks the function. */
#define TYKB_SHIM_E_ABSENT (-100)

void tykb_shim_log(int level, const char *message, size_t size);
int tykb_shim_trigger_event(const char *name, size_t name_size, const char *payload, size_t size);
int64_t tykb_shim_store_get(const char *key, size_t key_size, uint8_t *value, size_t capacity);
int tykb_shim_store_set(const char *key, size_t key_size, const uint8_t *value, size_t size, int64_t ttl_ms,
                        uint32_t flags);
int tykb_shim_store_delete(const char *key, size_t key_size);
int tykb_shim_store_increment(const char *key, size_t key_size, int64_t by, int64_t ttl_ms, int64_t *sum);
int64_t tykb_shim_store_ttl(const char *key, size_t key_size);

#endif
