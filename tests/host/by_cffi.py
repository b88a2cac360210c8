"""A host in cffi's ABI mode: the declarations are api.h itself, read from the installed package."""

import re

import cffi

from tests.host.calls import LIBRARY, Calls, Reply
from tykbridge import installation


def _declarations():
    """api.h without the preprocessor's lines, its paths worked out: cffi has no preprocessor."""
    text = (installation.include() / "tykbridge" / "api.h").read_text()
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    text = re.sub(r"#ifdef __cplusplus.*?#endif", "", text, flags=re.DOTALL)
    text = re.sub(r"^#.*(\\\n.*)*\n", "", text, flags=re.MULTILINE)
    return re.sub(
        r"TYKB_PATH\((\d+), (\d+), (\d+)\)",
        lambda path: str(int(path[1]) | int(path[2]) << 8 | int(path[3]) << 16),
        text,
    )


FFI = cffi.FFI()
FFI.cdef(_declarations())
LIBC_FFI = cffi.FFI()
LIBC_FFI.cdef("void free(void *); char *strdup(const char *);")
LIBC = LIBC_FFI.dlopen(None)


class CffiHost(Calls):
    def __init__(self):
        self._c = FFI.dlopen(LIBRARY)
        self._kept = []  # the library may call an earlier table's functions for good

    def init(self):
        out = _out()
        return self._cleared(self._c.tykb_init(out), out)

    def classic_init(self):
        return self._c.Python_Init() or self._c.Python_LoadDispatcher()

    def set_env(self, path):
        self._c.Python_SetEnv(_text(path))

    def new_dispatcher(self, root):
        return self._c.Python_NewDispatcher(_text(root))

    def load_bundle(self, path, name):
        out = _out()
        return self._cleared(self._c.tykb_load_bundle(_text(path), _text(name), out), out)

    def reload(self):
        self._c.Python_ReloadDispatcher()

    def dispatch_hook(self, sent):
        message, out = _message(sent), _out()
        status = self._c.Python_DispatchHook(message[0], out)
        reply = Reply(status, _bytes(out))
        LIBC.free(LIBC_FFI.cast("void *", int(FFI.cast("uintptr_t", out.p_data))))
        return reply

    def dispatch(self, sent, delta=False):
        message, out = _message(sent), _out()
        flags = 1 if delta else 0
        return self._cleared(self._c.tykb_dispatch(message[0], flags, out), out)

    def load_configuration(self, source, strict=False, policies=None, middleware_path=None, watch=False, settings=None):
        # Held here: the struct only points to them.
        given = {"source": source, "policies": policies, "middleware_path": middleware_path, "settings": settings}
        texts = {name: _text(text) for name, text in given.items() if text is not None}
        size = FFI.sizeof("struct tykb_configuration")
        wanted = FFI.new("struct tykb_configuration *", {"size": size, "flags": strict | watch << 1, **texts})
        out = _out()
        return self._cleared(self._c.tykb_load_configuration(wanted, out), out)

    def reload_all(self):
        out = _out()
        return self._cleared(self._c.tykb_reload(out), out)

    def run_request(self, sent):
        message, out = _message(sent), _out()
        return self._cleared(self._c.tykb_run_request(message[0], out), out)

    def run_response(self, sent):
        message, out = _message(sent), _out()
        return self._cleared(self._c.tykb_run_response(message[0], out), out)

    def start_request(self, sent, done):
        return self._start(self._c.tykb_start_request, sent, done)

    def start_response(self, sent, done):
        return self._start(self._c.tykb_start_response, sent, done)

    def _start(self, call, sent, done):
        def over(context, status, out):
            assert int(FFI.cast("uintptr_t", context)) == 42
            done(self._cleared(status, out))

        message, out = _message(sent), _out()
        function = self._function("tykb_done", over)
        return self._cleared(call(message[0], function, FFI.cast("void *", 42), out), out)

    def dispatch_event(self, event):
        self._c.Python_DispatchEvent(_text(event))

    def set_host(self, log=None, trigger_event=None, store_data=None, get_data=None):
        table = FFI.new("struct tykb_host *", {"size": FFI.sizeof("struct tykb_host")})
        if log:
            table.log = self._function(
                "void(void *, const char *, const char *)", lambda _, message, level: log(_str(message), _str(level))
            )
        if trigger_event:
            table.trigger_event = self._function(
                "void(void *, const char *, const char *)",
                lambda _, name, payload: trigger_event(_str(name), _str(payload)),
            )
        if store_data:
            table.store_data = self._function(
                "void(void *, const char *, const char *, int)",
                lambda _, key, value, ttl: store_data(_str(key), _str(value), ttl),
            )
        if get_data:
            table.get_data = self._function("char *(void *, const char *)", lambda _, key: _copied(get_data(_str(key))))
        return self._c.tykb_set_host(table)

    def unset_host(self):
        return self._c.tykb_set_host(FFI.NULL)

    def store_data(self, key, value, ttl):
        self._c.TykStoreData(_text(key), _text(value), ttl)

    def get_data(self, key):
        address = self._c.TykGetData(_text(key))
        value = FFI.string(address)
        LIBC.free(LIBC_FFI.cast("void *", int(FFI.cast("uintptr_t", address))))
        return value

    def trigger_event(self, name, payload):
        self._c.TykTriggerEvent(_text(name), _text(payload))

    def log(self, message, level):
        self._c.CoProcessLog(_text(message), _text(level))

    def version(self):
        return _str(self._c.tykb_version())

    def abi(self):
        return self._c.tykb_abi()

    def status_name(self, status):
        return _str(self._c.tykb_status_name(status))

    def _function(self, signature, function):
        made = FFI.callback(signature, function)
        self._kept.append(made)
        return made

    def _cleared(self, status, out):
        reply = Reply(status, _bytes(out))
        self._c.tykb_message_clear(out)
        assert (out.p_data, out.length) == (FFI.NULL, 0)
        self._c.tykb_message_clear(out)  # harmless on an empty one
        return reply


def _text(text):
    return FFI.new("char[]", text.encode())


def _str(text):
    return FFI.string(text).decode()


def _message(data):
    """The message, and the bytes that it points to, which must live as long."""
    held = FFI.from_buffer(data)
    return FFI.new("struct CoProcessMessage *", {"p_data": FFI.cast("void *", held), "length": len(data)}), held


def _out():
    return FFI.new("struct CoProcessMessage *")


def _bytes(message):
    return FFI.buffer(message.p_data, message.length)[:] if message.p_data else b""


def _copied(value):
    if value is None:
        return FFI.NULL
    return FFI.cast("char *", int(LIBC_FFI.cast("uintptr_t", LIBC.strdup(value))))
