"""Bundles of Lua and JavaScript code that tests make out of a hook's body."""

import pytest

from tests import trees
from tykbridge import _bridge, drivers, failures
from tykbridge.definition import Choices, Driver
from tykbridge.definition.model import NO_CHOICES, JavaScriptChoices, LuaChoices
from tykbridge.drivers import Source


class Bundle:
    """A bundle's code by itself."""

    def __init__(self, root, driver=Driver.LUA, choices=NO_CHOICES):
        engine = drivers.engines()[driver]
        self.script = engine.load(Source("b", str(root), [root / f"middleware{engine.suffix}"], choices))

    def marker(self, name):
        return next(marker for marker in self.script.markers if marker.name == name)

    def run(self, name="Hook", timeout_ms=None, **fields):
        message = _bridge.message("Object")
        for part, values in fields.items():
            for key, value in values.items():
                place = getattr(message, part)
                if isinstance(place, _bridge.Map):
                    place[key] = value
                elif isinstance(value, dict):
                    getattr(place, key).update(value)
                elif isinstance(value, list):
                    getattr(place, key).extend(value)
                else:
                    setattr(place, key, value)
        marker = self.marker(name)
        function = marker.function if timeout_ms is None else marker.limited(timeout_ms)
        function(message)
        return message


def reported(bundle, **fields):
    return bundle.run(**fields).request.set_headers["X"]


def fails(bundle, words, **fields):
    with pytest.raises(failures.ScriptError) as caught:
        bundle.run(**fields)
    assert words in str(caught.value)
    return caught.value


def bundle_of(folder, body="", trusted=False, code="", **files):
    """Make a bundle of a body of `Hook(request, session, spec)`, or of whole files."""
    code = code or f"function Hook(request, session, spec)\n{body}\nreturn request, session\nend\n"
    trees.write(folder, {"middleware.lua": code, **{f"{name}.lua": text for name, text in files.items()}})
    return Bundle(folder, choices=Choices(lua=LuaChoices(trusted=trusted)))


def javascript_of(folder, body="", code="", fresh=False, phase="Request"):
    """Make a bundle of a body of a hook's function(request, session, config), or of a whole file."""
    if not code:
        arguments = "request, session, config" if phase == "Request" else "response, request, session, config"
        returned = "ReturnData(request, {})" if phase == "Request" else "ReturnResponseData(response, {})"
        code = (
            "var Hook = new TykJS.TykMiddleware.NewMiddleware({});\n"
            f"Hook.NewProcess{phase}(function({arguments}) {{\n{body}\nreturn Hook.{returned};\n}});\n"
        )
    trees.write(folder, {"middleware.js": code})
    choices = Choices(javascript=JavaScriptChoices(fresh_context=fresh))
    return Bundle(folder, Driver.JAVASCRIPT, choices)
