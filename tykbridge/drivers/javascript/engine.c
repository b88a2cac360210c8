#define _GNU_SOURCE /* pthread_getattr_np */
#include "state.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

#include "mem.h"

#define LETS_GO_NS 100000
#define MOST_STACK ((size_t)1 << 20)
#define LEAST_STACK ((size_t)16 << 10)
#define UNKNOWN_STACK ((size_t)256 << 10) /* of a thread that runs on a stack which is not its own */
#define BLOCK ((size_t)8 << 10)
#define LOOK 256          /* allocations from one look at the clock to the next */
#define GRACE_NS 50000000 /* for QuickJS to notice by itself that the time is over */
#define MOST_TRACE ((size_t)16 << 10)

/* ---- Memory ---- */

struct tykb_js_header {
  struct tykb_js_header *next, *previous;
  size_t size;
  size_t pad; /* what follows is aligned as malloc's */
};

/* Whether the time is over. Lets Python's lock go where it was held long enough, unless something needs it. */
static bool is_late(struct tykb_js *js, int64_t grace) {
  int64_t now = tykb_js_now();
  if (now >= js->lets_go && !js->unlocked && !js->held) {
    js->unlocked = js->host->unlock();
    js->was_slow = true;
  }
  if (js->deadline > INT64_MAX - grace || now < js->deadline + grace) return false;
  js->late = true;
  return true;
}

static void link_block(struct tykb_js *js, struct tykb_js_header *block, size_t size) {
  block->size = size;
  block->previous = NULL;
  block->next = js->allocated;
  if (js->allocated) js->allocated->previous = block;
  js->allocated = block;
  js->used += size;
}

static void unlink_block(struct tykb_js *js, struct tykb_js_header *block) {
  if (block->previous) {
    block->previous->next = block->next;
  } else {
    js->allocated = block->next;
  }
  if (block->next) block->next->previous = block->previous;
  js->used -= block->size;
}

static bool has_room(struct tykb_js *js, size_t size) {
  /* What QuickJS does in its own C it does not always interrupt: there, memory ends with the time. An interrupt is the
   * better end, and has the first chance. */
  if (--js->until_look <= 0) {
    js->until_look = LOOK;
    if (is_late(js, GRACE_NS)) return false;
  }
  if (size <= js->limit && js->used <= js->limit - size) return true;
  js->full = true;
  return false;
}

static void *js_take(void *opaque, size_t size) {
  struct tykb_js *js = opaque;
  struct tykb_js_header *block = has_room(js, size) ? tykb_mem_alloc(sizeof *block + size) : NULL;
  if (!block) return NULL;
  link_block(js, block, size);
  return block + 1;
}

static void *js_take_zeroed(void *opaque, size_t count, size_t size) {
  if (size && count > SIZE_MAX / size) return NULL;
  void *block = js_take(opaque, count * size);
  return block ? memset(block, 0, count * size) : NULL;
}

static void js_give_back(void *opaque, void *memory) {
  if (!memory) return;
  struct tykb_js_header *block = (struct tykb_js_header *)memory - 1;
  unlink_block(opaque, block);
  tykb_mem_free(block);
}

static void *js_resize(void *opaque, void *memory, size_t size) {
  struct tykb_js *js = opaque;
  if (!memory) return js_take(js, size);
  struct tykb_js_header *block = (struct tykb_js_header *)memory - 1;
  if (size > block->size && !has_room(js, size - block->size)) return NULL;
  unlink_block(js, block);
  struct tykb_js_header *moved = tykb_mem_realloc(block, sizeof *block + size);
  if (!moved) {
    link_block(js, block, block->size);
    return NULL;
  }
  link_block(js, moved, size);
  return moved + 1;
}

static size_t js_size(const void *memory) { return memory ? ((const struct tykb_js_header *)memory - 1)->size : 0; }

static const JSMallocFunctions MEMORY = {js_take_zeroed, js_take, js_give_back, js_resize, js_size};

void *tykb_js_alloc(struct tykb_js *js, size_t size) {
  struct tykb_js_block *block = js->blocks;
  size = (size + 15) & ~(size_t)15;
  if (!block || block->size - block->used < size) {
    size_t most = size > BLOCK ? size : BLOCK;
    if (js->collected > js->limit || most > js->limit - js->collected ||
        !(block = tykb_mem_alloc(sizeof *block + most))) {
      js->full = true;
      tykb_js_fail(js, "it needs more than %zu MiB of memory", js->limit >> 20);
      return NULL;
    }
    *block = (struct tykb_js_block){.next = js->blocks, .size = most};
    js->blocks = block;
    js->collected += most;
  }
  void *place = (char *)(block + 1) + block->used;
  block->used += size;
  return place;
}

/* Forgets what was collected since `block` was the newest, and had `used` bytes in use. */
static void forget(struct tykb_js *js, struct tykb_js_block *block, size_t used) {
  while (js->blocks != block) {
    struct tykb_js_block *newest = js->blocks;
    js->blocks = newest->next;
    js->collected -= newest->size;
    tykb_mem_free(newest);
  }
  if (block) block->used = used;
}

/* Forgets what the last call collected; the first block stays for the next one. */
static void reset_blocks(struct tykb_js *js, bool keep) {
  struct tykb_js_block *block = js->blocks, *kept = NULL;
  while (block) {
    struct tykb_js_block *next = block->next;
    if (keep && !kept && block->size == BLOCK) {
      kept = block;
      kept->next = NULL;
      kept->used = 0;
    } else {
      tykb_mem_free(block);
    }
    block = next;
  }
  js->blocks = kept;
  js->collected = kept ? BLOCK : 0;
}

/* ---- Time, stack and Python's lock ---- */

int64_t tykb_js_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int on_poll(JSRuntime *runtime, void *opaque) {
  (void)runtime;
  return is_late(opaque, 0);
}

bool tykb_js_lock(struct tykb_js *js) {
  void *unlocked = js->unlocked;
  js->held = true;
  if (!unlocked) return false;
  js->unlocked = NULL;
  js->host->lock(unlocked);
  return true;
}

void tykb_js_unlock(struct tykb_js *js, bool was_free) {
  js->held = false;
  if (was_free) js->unlocked = js->host->unlock();
}

/* The lowest address of the thread's stack, and the one behind its highest; asked once for each thread. */
static _Thread_local const char *stack_low, *stack_high;

static size_t stack_left(void) {
  const char *here = __builtin_frame_address(0);
  if (!stack_high) {
    pthread_attr_t attributes;
    void *low = NULL;
    size_t size = 0;
    if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
      pthread_attr_getstack(&attributes, &low, &size);
      pthread_attr_destroy(&attributes);
    }
    stack_low = low;
    stack_high = size ? stack_low + size : (const char *)1;
  }
  if (here <= stack_low || here >= stack_high) return 2 * UNKNOWN_STACK;
  return (size_t)(here - stack_low);
}

int tykb_js_enter(struct tykb_js *js, double seconds) {
  /* The other half is for what JavaScript calls: the engine's own C, and Python. */
  size_t stack = stack_left() / 2;
  js->words_size = js->stack_size = 0;
  reset_blocks(js, true);
  if (JS_HasException(js->context)) JS_FreeValue(js->context, JS_GetException(js->context));
  if (stack < LEAST_STACK) return tykb_js_fail(js, "the thread has %zu KiB of stack left: too little", stack >> 9);
  JS_SetMaxStackSize(js->runtime, stack < MOST_STACK ? stack : MOST_STACK);
  JS_UpdateStackTop(js->runtime);
  int64_t now = tykb_js_now();
  js->began = now;
  js->lets_go = now + LETS_GO_NS;
  js->held = true;
  js->allowed = seconds;
  js->deadline = seconds < 1e9 ? now + (int64_t)(seconds * 1e9) : INT64_MAX;
  return 0;
}

/* From here on nothing of the host is needed. */
static void run_alone(struct tykb_js *js) {
  js->held = false;
  if (js->was_slow) js->unlocked = js->host->unlock();
}

int tykb_js_leave(struct tykb_js *js, int status) {
  if (js->was_slow) js->was_slow = tykb_js_now() - js->began >= LETS_GO_NS;
  tykb_js_lock(js);
  js->deadline = INT64_MAX;
  return status;
}

double tykb_js_left(const struct tykb_js *js) {
  int64_t left = js->deadline - tykb_js_now();
  return left > 0 ? (double)left * 1e-9 : 0;
}

/* ---- Errors ---- */

int tykb_js_fail(struct tykb_js *js, const char *format, ...) {
  va_list arguments;
  if (js->words_size) return -1; /* the first one counts */
  va_start(arguments, format);
  int size = vsnprintf(js->words, sizeof js->words, format, arguments);
  va_end(arguments);
  js->words_size = size < (int)sizeof js->words ? (size_t)size : sizeof js->words - 1;
  return -1;
}

static void keep_stack(struct tykb_js *js, JSValueConst error) {
  size_t size;
  if (!JS_IsError(error)) return;
  JSValue stack = JS_GetProperty(js->context, error, js->names[NAME_stack]);
  const char *text = JS_IsString(stack) ? JS_ToCStringLen(js->context, &size, stack) : NULL;
  if (text) {
    if (size > MOST_TRACE) size = MOST_TRACE; /* it may be anything: a plugin can set it */
    tykb_mem_free(js->stack);
    js->stack = tykb_mem_alloc(size + 1);
    js->stack_size = js->stack ? size : 0;
    if (js->stack) memcpy(js->stack, text, size);
    JS_FreeCString(js->context, text);
  }
  JS_FreeValue(js->context, stack);
  JS_FreeValue(js->context, JS_GetException(js->context));
}

/* Half of a surrogate pair comes as three bytes that UTF-8 does not allow: they become U+FFFD. */
static void mend(uint8_t *text, size_t size) {
  for (size_t i = 0; i + 2 < size; i++) {
    if (text[i] == 0xed && text[i + 1] >= 0xa0) memcpy(text + i, "\xef\xbf\xbd", 3);
  }
}

static void describe(struct tykb_js *js, JSValueConst error) {
  JSContext *context = js->context;
  size_t size = 0;
  const char *text = JS_ToCStringLen(context, &size, error);
  if (text && JS_IsObject(error) && !JS_IsError(error) && memcmp(text, "[object ", size < 8 ? size : 8) == 0) {
    JSValue json = JS_JSONStringify(context, error, JS_UNDEFINED, JS_UNDEFINED);
    const char *shown = JS_IsString(json) ? JS_ToCString(context, json) : NULL;
    tykb_js_fail(js, "an error that is an object: %s", shown ? shown : text);
    if (shown) JS_FreeCString(context, shown);
    JS_FreeValue(context, json);
  } else if (text) {
    tykb_js_fail(js, "%s", size ? text : "an error without words");
  } else {
    tykb_js_fail(js, "an error whose text cannot be had");
  }
  mend((uint8_t *)js->words, js->words_size);
  if (text) JS_FreeCString(context, text);
  JS_FreeValue(context, JS_GetException(context));
}

int tykb_js_take_error(struct tykb_js *js) {
  JSValue error = JS_GetException(js->context);
  if (!js->late && !js->full && !js->words_size) describe(js, error);
  if (js->full) {
    js->words_size = 0;
    tykb_js_fail(js, "it needs more than %zu MiB of memory", js->limit >> 20);
  } else if (js->late) {
    js->words_size = 0;
    tykb_js_fail(js, "it ran longer than %.0f ms", js->allowed * 1000);
  }
  keep_stack(js, error);
  JS_FreeValue(js->context, error);
  return -1;
}

void tykb_js_last_error(struct tykb_js *js, struct tykb_js_error *error) {
  *error = (struct tykb_js_error){
      .words = {(const uint8_t *)js->words, js->words_size},
      .stack = {(const uint8_t *)js->stack, js->stack_size},
      .late = js->late,
      .full = js->full,
  };
}

bool tykb_js_exceeded(const struct tykb_js *js) { return js->late || js->full; }

size_t tykb_js_used(const struct tykb_js *js) { return js->used; }

void tykb_js_collect(struct tykb_js *js) { JS_RunGC(js->runtime); }

/* ---- Texts ---- */

int tykb_js_copy_text(struct tykb_js *js, JSValueConst value, struct tykb_span *text) {
  size_t size;
  const char *given = JS_ToCStringLen(js->context, &size, value);
  if (!given) return tykb_js_take_error(js);
  uint8_t *copy = tykb_js_alloc(js, size + 1);
  if (copy) {
    memcpy(copy, given, size);
    copy[size] = 0;
    mend(copy, size);
    *text = (struct tykb_span){copy, size};
  }
  JS_FreeCString(js->context, given);
  return copy ? 0 : -1;
}

static int take_word(struct tykb_js *js, JSValueConst value, struct tykb_js_word *word) {
  *word = (struct tykb_js_word){.kind = TYKB_JS_NOTHING};
  if (JS_IsBool(value)) {
    word->kind = TYKB_JS_BOOL;
    word->number = JS_VALUE_GET_BOOL(value);
  } else if (JS_IsNumber(value)) {
    word->kind = TYKB_JS_NUMBER;
    JS_ToFloat64(js->context, &word->number, value);
  } else if (!JS_IsUndefined(value) && !JS_IsNull(value)) {
    word->kind = TYKB_JS_TEXT;
    if (!JS_IsObject(value)) return tykb_js_copy_text(js, value, &word->text);
    JSValue json = JS_JSONStringify(js->context, value, JS_UNDEFINED, JS_UNDEFINED);
    int status = JS_IsException(json) ? tykb_js_take_error(js) : 0;
    if (status == 0 && JS_IsUndefined(json)) word->kind = TYKB_JS_NOTHING;
    if (status == 0 && word->kind) status = tykb_js_copy_text(js, json, &word->text);
    JS_FreeValue(js->context, json);
    return status;
  }
  return 0;
}

static JSValue from_word(struct tykb_js *js, const struct tykb_js_word *word) {
  switch (word->kind) {
    case TYKB_JS_BOOL:
      return JS_NewBool(js->context, word->number != 0);
    case TYKB_JS_NUMBER:
      return JS_NewNumber(js->context, word->number);
    case TYKB_JS_TEXT:
      return JS_NewStringLen(js->context, (const char *)word->text.data, word->text.size);
    default:
      return JS_UNDEFINED;
  }
}

/* ---- What JavaScript calls ---- */

#define MOST_ARGUMENTS 8

static JSValue on_ask(JSContext *context, JSValueConst this, int count, JSValueConst *arguments, int number) {
  struct tykb_js *js = JS_GetContextOpaque(context);
  struct tykb_js_word words[MOST_ARGUMENTS], answer = {.kind = TYKB_JS_NOTHING};
  struct tykb_js_block *block = js->blocks;
  size_t used = block ? block->used : 0;
  (void)this;
  if (count > MOST_ARGUMENTS) count = MOST_ARGUMENTS;
  for (int i = 0; i < count; i++) {
    if (take_word(js, arguments[i], &words[i]) == 0) continue;
    JSValue thrown = JS_ThrowTypeError(context, "%s", js->words);
    js->words_size = js->stack_size = 0;
    forget(js, block, used);
    return thrown;
  }
  bool was_free = tykb_js_lock(js);
  int status = js->host->ask(js->owner, number, words, count, &answer);
  tykb_js_unlock(js, was_free);
  forget(js, block, used); /* or a call could ask for as much only as it may hold */
  JSValue value = from_word(js, &answer);
  if (status == 0 || JS_IsException(value)) return value;
  JSValue error = JS_NewError(context);
  if (!JS_IsException(error)) {
    JS_DefinePropertyValueStr(context, error, "message", value, JS_PROP_WRITABLE | JS_PROP_CONFIGURABLE);
    return JS_Throw(context, error);
  }
  JS_FreeValue(context, value);
  return error;
}

int tykb_js_add_function(struct tykb_js *js, const char *name, int number) {
  JSContext *context = js->context;
  JSValue global = JS_GetGlobalObject(context);
  JSValue made = JS_NewCFunctionMagic(context, on_ask, name, 0, JS_CFUNC_generic_magic, number);
  int status = JS_DefinePropertyValueStr(context, global, name, made, JS_PROP_WRITABLE | JS_PROP_CONFIGURABLE);
  JS_FreeValue(context, global);
  return status < 0 ? tykb_js_take_error(js) : 0;
}

/* ---- Life ---- */

static void free_state(struct tykb_js *js) {
  if (js->runtime) {
    JS_SetInterruptHandler(js->runtime, NULL, NULL);
    JS_UpdateStackTop(js->runtime);
  }
  if (js->context) {
    JSContext *context = js->context;
    tykb_js_message_free(js);
    for (uint32_t i = 0; i < js->hook_count; i++) JS_FreeValue(context, js->hooks[i]);
    JS_FreeValue(context, js->own);
    JS_FreeContext(context);
  }
  if (js->runtime) JS_FreeRuntime(js->runtime);
  while (js->allocated) { /* what QuickJS lost when it ran out of memory */
    struct tykb_js_header *next = js->allocated->next;
    tykb_mem_free(js->allocated);
    js->allocated = next;
  }
  reset_blocks(js, false);
  tykb_mem_free(js->hooks);
  tykb_mem_free(js->stack);
  tykb_mem_free(js);
}

void tykb_js_free(struct tykb_js *js) {
  if (js) free_state(js);
}

struct tykb_js *tykb_js_new(const struct tykb_js_host *host, void *owner, size_t memory) {
  struct tykb_js *js = tykb_mem_alloc(sizeof *js);
  if (!js) return NULL;
  memset(js, 0, sizeof *js);
  js->host = host;
  js->owner = owner;
  /* A runtime that is being made does not look whether there is memory: the limit counts from tykb_js_prepare on. */
  js->limit = SIZE_MAX;
  js->memory = memory;
  js->own = JS_UNDEFINED;
  js->was_slow = js->held = true;
  js->deadline = js->lets_go = INT64_MAX;
  js->runtime = JS_NewRuntime2(&MEMORY, js);
  if (js->runtime) {
    /* Leaves room in the limit for what a collection would find. */
    JS_SetGCThreshold(js->runtime, memory / 8);
    JS_SetInterruptHandler(js->runtime, on_poll, js);
    js->context = JS_NewContext(js->runtime);
  }
  if (js->context) JS_SetContextOpaque(js->context, js);
  if (js->context && tykb_js_enter(js, 60) == 0 && tykb_js_message_prepare(js) == 0) return js;
  free_state(js);
  return NULL;
}

/* ---- Running code ---- */

/* Runs the jobs that promises left, then gives what a promise became. Takes `value`. */
static JSValue settled(struct tykb_js *js, JSValue value) {
  JSContext *context = js->context, *other;
  bool failed = JS_IsException(value);
  JSValue error = failed ? JS_GetException(context) : JS_UNDEFINED;
  while (!js->late && !js->full && JS_IsJobPending(js->runtime)) {
    if (JS_ExecutePendingJob(js->runtime, &other) >= 0) continue;
    JSValue thrown = JS_GetException(context);
    if (failed) {
      JS_FreeValue(context, thrown);
    } else {
      failed = true;
      error = thrown;
    }
  }
  if (failed) {
    JS_FreeValue(context, value);
    return JS_Throw(context, error);
  }
  if (js->late) {
    JS_FreeValue(context, value);
    return JS_ThrowInternalError(context, "interrupted");
  }
  switch (JS_PromiseState(context, value)) {
    case JS_PROMISE_PENDING:
      JS_FreeValue(context, value);
      tykb_js_fail(js, "it returned a promise that nothing will settle: there is nothing to wait for in a hook");
      return JS_ThrowPlainError(context, "pending");
    case JS_PROMISE_FULFILLED:
      error = JS_PromiseResult(context, value);
      JS_FreeValue(context, value);
      return error;
    case JS_PROMISE_REJECTED:
      error = JS_PromiseResult(context, value);
      JS_FreeValue(context, value);
      return JS_Throw(context, error);
    default:
      return value;
  }
}

int tykb_js_run(struct tykb_js *js, const char *name, const char *source, size_t size, double seconds) {
  if (tykb_js_enter(js, seconds) < 0) return -1;
  run_alone(js);
  JSValue value = settled(js, JS_Eval(js->context, source, size, name, JS_EVAL_TYPE_GLOBAL));
  int status = JS_IsException(value) ? tykb_js_take_error(js) : 0;
  JS_FreeValue(js->context, value);
  return tykb_js_leave(js, status);
}

int tykb_js_prepare(struct tykb_js *js, const char *source, size_t size) {
  if (tykb_js_enter(js, 60) < 0) return -1;
  js->own = JS_Eval(js->context, source, size, "tykbridge", JS_EVAL_TYPE_GLOBAL);
  js->limit = js->memory;
  return tykb_js_leave(js, JS_IsException(js->own) ? tykb_js_take_error(js) : 0);
}

static JSValue call_own(struct tykb_js *js, const char *name, const struct tykb_span *texts, int count) {
  JSContext *context = js->context;
  JSValue arguments[MOST_ARGUMENTS], result = JS_EXCEPTION;
  JSValue function = JS_GetPropertyStr(context, js->own, name);
  int made = 0;
  for (; made < count && made < MOST_ARGUMENTS; made++) {
    arguments[made] = JS_NewStringLen(context, (const char *)texts[made].data, texts[made].size);
    if (JS_IsException(arguments[made])) break;
  }
  if (made == count) result = settled(js, JS_Call(context, function, JS_UNDEFINED, count, arguments));
  while (made > 0) JS_FreeValue(context, arguments[--made]);
  JS_FreeValue(context, function);
  return result;
}

int tykb_js_ask(struct tykb_js *js, const char *name, const struct tykb_span *arguments, int count, double seconds,
                struct tykb_js_word *answer) {
  if (tykb_js_enter(js, seconds) < 0) return -1;
  run_alone(js);
  JSValue result = call_own(js, name, arguments, count);
  int status = JS_IsException(result) ? tykb_js_take_error(js) : take_word(js, result, answer);
  JS_FreeValue(js->context, result);
  return tykb_js_leave(js, status);
}

int tykb_js_bind(struct tykb_js *js, const char *name, double seconds) {
  struct tykb_span text = {(const uint8_t *)name, strlen(name)};
  JSValue *hooks = tykb_mem_realloc(js->hooks, (js->hook_count + 1) * sizeof *hooks);
  if (hooks) js->hooks = hooks;
  if (tykb_js_enter(js, seconds) < 0) return -1;
  if (!hooks) return tykb_js_leave(js, tykb_js_fail(js, "there is no memory"));
  run_alone(js);
  JSValue found = call_own(js, "resolve", &text, 1);
  if (JS_IsException(found)) return tykb_js_leave(js, tykb_js_take_error(js));
  js->hooks[js->hook_count++] = found;
  return tykb_js_leave(js, 0);
}

/* What is at a hook when it is called: a getter may be there. */
static int find_functions(struct tykb_js *js, JSValueConst hook, JSValue *for_request, JSValue *for_response) {
  *for_request = JS_GetProperty(js->context, hook, js->names[NAME_ProcessRequest]);
  *for_response = JS_UNDEFINED;
  if (!JS_IsException(*for_request)) {
    *for_response = JS_GetProperty(js->context, hook, js->names[NAME_ProcessResponse]);
  }
  return JS_HasException(js->context) ? tykb_js_take_error(js) : 0;
}

int tykb_js_call(struct tykb_js *js, uint32_t number, struct tykb_node *root, double seconds) {
  JSContext *context = js->context;
  struct tykb_js_run run;
  if (number >= js->hook_count) return tykb_js_fail(js, "there is no such hook");
  if (tykb_js_enter(js, seconds) < 0) return -1;
  JSValueConst hook = js->hooks[number];
  JSValue for_request, for_response;
  js->held = false;
  int status = find_functions(js, hook, &for_request, &for_response);
  tykb_js_lock(js);
  bool can_request = JS_IsFunction(context, for_request), can_response = JS_IsFunction(context, for_response);
  if (tykb_js_run_open(js, &run, root, can_request, can_response) < 0) status = -1; /* the first error counts */
  js->run = &run;
  if (status == 0) {
    JSValueConst arguments[] = {run.response_object, run.request_object, run.session_object, run.config_object};
    int first = run.is_response ? 0 : 1;
    run_alone(js);
    JSValue result =
        settled(js, JS_Call(context, run.is_response ? for_response : for_request, hook, 4 - first, arguments + first));
    status = JS_IsException(result) ? tykb_js_take_error(js) : tykb_js_run_finish(js, &run, result);
    JS_FreeValue(context, result);
  }
  js->run = NULL;
  tykb_js_run_close(js, &run);
  JS_FreeValue(context, for_request);
  JS_FreeValue(context, for_response);
  return tykb_js_leave(js, status);
}
