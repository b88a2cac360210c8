"""A host in ctypes."""

import ctypes
from ctypes import c_char_p, c_int, c_uint32, c_void_p

from tests.host.calls import LIBRARY, Calls, Reply


class Message(ctypes.Structure):
    _fields_ = (("p_data", c_void_p), ("length", c_int))


LOG = ctypes.CFUNCTYPE(None, c_void_p, c_char_p, c_char_p)
EVENT = ctypes.CFUNCTYPE(None, c_void_p, c_char_p, c_char_p)
STORE = ctypes.CFUNCTYPE(None, c_void_p, c_char_p, c_char_p, c_int)
GET = ctypes.CFUNCTYPE(c_void_p, c_void_p, c_char_p)
DONE = ctypes.CFUNCTYPE(None, c_void_p, c_int, ctypes.POINTER(Message))


class HostTable(ctypes.Structure):
    _fields_ = (
        ("size", c_uint32),
        ("context", c_void_p),
        ("log", LOG),
        ("trigger_event", EVENT),
        ("store_data", STORE),
        ("get_data", GET),
    )


class Configuration(ctypes.Structure):
    _fields_ = (
        ("size", c_uint32),
        ("flags", c_uint32),
        ("source", c_char_p),
        ("middleware_path", c_char_p),
        ("policies", c_char_p),
        ("settings", c_char_p),
    )


# (result, *arguments); without one, ctypes guesses int.
SIGNATURES = {
    "Python_Init": (c_int,),
    "Python_SetEnv": (None, c_char_p),
    "Python_LoadDispatcher": (c_int,),
    "Python_NewDispatcher": (c_int, c_char_p),
    "Python_ReloadDispatcher": (None,),
    "Python_DispatchHook": (c_int, ctypes.POINTER(Message), ctypes.POINTER(Message)),
    "Python_DispatchEvent": (None, c_char_p),
    "TykStoreData": (None, c_char_p, c_char_p, c_int),
    "TykGetData": (c_void_p, c_char_p),
    "TykTriggerEvent": (None, c_char_p, c_char_p),
    "CoProcessLog": (None, c_char_p, c_char_p),
    "tykb_status_name": (c_char_p, c_int),
    "tykb_version": (c_char_p,),
    "tykb_abi": (c_uint32,),
    "tykb_init": (c_int, ctypes.POINTER(Message)),
    "tykb_set_host": (c_int, ctypes.POINTER(HostTable)),
    "tykb_load_bundle": (c_int, c_char_p, c_char_p, ctypes.POINTER(Message)),
    "tykb_dispatch": (c_int, ctypes.POINTER(Message), c_uint32, ctypes.POINTER(Message)),
    "tykb_load_configuration": (c_int, ctypes.POINTER(Configuration), ctypes.POINTER(Message)),
    "tykb_reload": (c_int, ctypes.POINTER(Message)),
    "tykb_run_request": (c_int, ctypes.POINTER(Message), ctypes.POINTER(Message)),
    "tykb_run_response": (c_int, ctypes.POINTER(Message), ctypes.POINTER(Message)),
    "tykb_start_request": (c_int, ctypes.POINTER(Message), DONE, c_void_p, ctypes.POINTER(Message)),
    "tykb_start_response": (c_int, ctypes.POINTER(Message), DONE, c_void_p, ctypes.POINTER(Message)),
    "tykb_message_clear": (None, ctypes.POINTER(Message)),
}

LIBC = ctypes.CDLL(None)
LIBC.free.argtypes, LIBC.free.restype = [c_void_p], None
LIBC.strdup.argtypes, LIBC.strdup.restype = [c_char_p], c_void_p


class CtypesHost(Calls):
    def __init__(self, library=ctypes.CDLL):
        """`library`: CDLL gives Python's lock back round a call, PyDLL keeps it."""
        self._c = library(LIBRARY)
        for name, (result, *arguments) in SIGNATURES.items():
            function = getattr(self._c, name)
            function.restype, function.argtypes = result, arguments
        self._tables = []  # functions that the library may call: an earlier table's for good

    def init(self):
        out = Message()
        return self._cleared(self._c.tykb_init(out), out)

    def classic_init(self):
        return self._c.Python_Init() or self._c.Python_LoadDispatcher()

    def set_env(self, path):
        self._c.Python_SetEnv(path.encode())

    def new_dispatcher(self, root):
        return self._c.Python_NewDispatcher(root.encode())

    def load_bundle(self, path, name):
        out = Message()
        return self._cleared(self._c.tykb_load_bundle(path.encode(), name.encode(), out), out)

    def reload(self):
        self._c.Python_ReloadDispatcher()

    def dispatch_hook(self, sent):
        out = Message()
        status = self._c.Python_DispatchHook(_message(sent), out)
        reply = Reply(status, _bytes(out))
        LIBC.free(out.p_data)
        return reply

    def dispatch(self, sent, delta=False):
        out = Message()
        return self._cleared(self._c.tykb_dispatch(_message(sent), int(delta), out), out)

    def load_configuration(self, source, strict=False, policies=None, middleware_path=None, watch=False, settings=None):
        out = Message()
        paths = [path if path is None else path.encode() for path in (middleware_path, policies, settings)]
        wanted = Configuration(ctypes.sizeof(Configuration), strict | watch << 1, source.encode(), *paths)
        return self._cleared(self._c.tykb_load_configuration(wanted, out), out)

    def reload_all(self):
        out = Message()
        return self._cleared(self._c.tykb_reload(out), out)

    def run_request(self, sent):
        out = Message()
        return self._cleared(self._c.tykb_run_request(_message(sent), out), out)

    def run_response(self, sent):
        out = Message()
        return self._cleared(self._c.tykb_run_response(_message(sent), out), out)

    def start_request(self, sent, done):
        return self._start(self._c.tykb_start_request, sent, done)

    def start_response(self, sent, done):
        return self._start(self._c.tykb_start_response, sent, done)

    def _start(self, call, sent, done):
        def over(context, status, out):
            assert context == 42
            done(self._cleared(status, out.contents))

        out, function = Message(), DONE(over)
        self._tables.append(function)
        return self._cleared(call(_message(sent), function, 42, out), out)

    def dispatch_event(self, event):
        self._c.Python_DispatchEvent(event.encode())

    def set_host(self, log=None, trigger_event=None, store_data=None, get_data=None):
        table = HostTable(size=ctypes.sizeof(HostTable))
        if log:
            table.log = LOG(lambda _, message, level: log(message.decode(), level.decode()))
        if trigger_event:
            table.trigger_event = EVENT(lambda _, name, payload: trigger_event(name.decode(), payload.decode()))
        if store_data:
            table.store_data = STORE(lambda _, key, value, ttl: store_data(key.decode(), value.decode(), ttl))
        if get_data:
            table.get_data = GET(lambda _, key: _copied(get_data(key.decode())))
        self._tables.append(table)
        return self._c.tykb_set_host(table)

    def unset_host(self):
        return self._c.tykb_set_host(None)

    def store_data(self, key, value, ttl):
        self._c.TykStoreData(key.encode(), value.encode(), ttl)

    def get_data(self, key):
        address = self._c.TykGetData(key.encode())
        value = ctypes.string_at(address)
        LIBC.free(address)
        return value

    def trigger_event(self, name, payload):
        self._c.TykTriggerEvent(name.encode(), payload.encode())

    def log(self, message, level):
        self._c.CoProcessLog(message.encode(), level.encode())

    def version(self):
        return self._c.tykb_version().decode()

    def abi(self):
        return self._c.tykb_abi()

    def status_name(self, status):
        return self._c.tykb_status_name(status).decode()

    def _cleared(self, status, out):
        reply = Reply(status, _bytes(out))
        self._c.tykb_message_clear(out)
        assert (out.p_data, out.length) == (None, 0)
        self._c.tykb_message_clear(out)  # harmless on an empty one
        return reply


def _message(data):
    return Message(ctypes.cast(c_char_p(data), c_void_p), len(data))


def _bytes(message):
    return ctypes.string_at(message.p_data, message.length) if message.p_data else b""


def _copied(value):
    return None if value is None else LIBC.strdup(value)
