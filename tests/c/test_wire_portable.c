/* The same unit tests, of csrc/wire.c as a machine without SSE2 compiles it. */
#undef __SSE2__
#define tykb_wire_is_utf8 portable_is_utf8
#define tykb_wire_next_long portable_next_long
#define tykb_wire_varint_long portable_varint_long
#include "../../csrc/wire.c"
#include "test_wire.c"
