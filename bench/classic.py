"""The classic way to dispatch a hook: google.protobuf parses, the hook runs, google.protobuf serialises. Nothing else.

The native program imports this module and calls `dispatch`. Expects the modules that protoc generates from proto/ on
sys.path; the environment variable BENCH_BUNDLE names the folder of the hooks.
"""

import os
import sys
import types

from coprocess_object_pb2 import Object
from google.protobuf.internal import api_implementation

RUNTIME = api_implementation.Type()
hooks = {}


class Request:
    """What a hook gets as its request: thin methods over the message, as in Tyk's own Python runtime."""

    __slots__ = ("object",)

    def __init__(self, message):
        self.object = message

    def add_header(self, name, value):
        self.object.set_headers[name] = value

    def delete_header(self, name):
        self.object.delete_headers.append(name)

    def get_header(self, name):
        headers = self.object.headers
        return headers[name] if name in headers else None

    def add_param(self, name, value):
        self.object.add_params[name] = value

    def delete_param(self, name):
        self.object.delete_params.append(name)


def Hook(function):
    hooks[function.__name__] = function, function.__code__.co_argcount
    return function


def load(folder):
    """Runs the bundle's middleware.py with a `tyk.decorators` that fills `hooks`; sys.modules is left as it was."""
    package, decorators = types.ModuleType("tyk"), types.ModuleType("tyk.decorators")
    package.decorators, decorators.Hook = decorators, Hook
    sys.modules.update({"tyk": package, "tyk.decorators": decorators})
    try:
        path = os.path.join(folder, "middleware.py")
        with open(path, encoding="utf-8") as file:
            exec(compile(file.read(), path, "exec"), {"__name__": "middleware"})
    finally:
        del sys.modules["tyk"], sys.modules["tyk.decorators"]


def dispatch(data):
    message = Object.FromString(data)
    function, arity = hooks[message.hook_name]
    if arity == 3:
        function(Request(message.request), message.session, message.spec)
    else:
        function(Request(message.request), message.session, message.session.metadata, message.spec)
    return message.SerializeToString()


def empty():
    """The floor's function."""


load(os.environ["BENCH_BUNDLE"])
