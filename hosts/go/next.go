package tykbridge

// The library's own CoProcessLog and its sisters, which those that host.go exports hide from everybody: the next ones
// of their names, behind this program's.

// #cgo LDFLAGS: -ldl
// #define _GNU_SOURCE
// #include <dlfcn.h>
// #include <stdlib.h>
//
// static void tykgo_log(char *message, char *level) {
//   void (*next)(char *, char *) = dlsym(RTLD_NEXT, "CoProcessLog");
//   if (next) next(message, level);
// }
//
// static void tykgo_trigger_event(char *name, char *payload) {
//   void (*next)(char *, char *) = dlsym(RTLD_NEXT, "TykTriggerEvent");
//   if (next) next(name, payload);
// }
//
// static void tykgo_store_data(char *key, char *value, int ttl) {
//   void (*next)(char *, char *, int) = dlsym(RTLD_NEXT, "TykStoreData");
//   if (next) next(key, value, ttl);
// }
//
// static char *tykgo_get_data(char *key) {
//   char *(*next)(char *) = dlsym(RTLD_NEXT, "TykGetData");
//   return next ? next(key) : calloc(1, 1);
// }
import "C"

import "unsafe"

// C's types are one in all files of a package, so host.go can hand its own through.

func nextLog(message, level *C.char)              { C.tykgo_log(message, level) }
func nextTriggerEvent(name, payload *C.char)      { C.tykgo_trigger_event(name, payload) }
func nextStoreData(key, value *C.char, ttl C.int) { C.tykgo_store_data(key, value, ttl) }
func nextGetData(key *C.char) *C.char             { return C.tykgo_get_data(key) }

// logLine writes a line to the library's own log.
func logLine(level, message string) {
	m, l := C.CString(message), C.CString(level)
	defer C.free(unsafe.Pointer(m))
	defer C.free(unsafe.Pointer(l))
	C.tykgo_log(m, l)
}
