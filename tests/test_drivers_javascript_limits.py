"""Hostile JavaScript: what may take for ever, needs everything, or reaches for what is outside of its state."""

import gc
import threading
import time
import weakref

import pytest

from tests.scripts import fails, javascript_of, reported
from tykbridge import _bridge, failures
from tykbridge.drivers.javascript import host, state
from tykbridge.errors import LoadError

pytestmark = pytest.mark.once

ENOUGH = 5  # seconds that no test needs, and endless ones do


@pytest.fixture
def javascript(tmp_path):
    made = []

    def make(body="", **choices):
        made.append(javascript_of(tmp_path / "b", body, **choices))
        return made[-1]

    yield make
    for bundle in made:
        bundle.script.close()


def switched(body):
    """A hook that does what is hostile for who asks for it, and what is good for others."""
    return f'if (request.Headers.Bad) {{ {body} }} request.SetHeaders.X = "good";'


BAD = {"request": {"headers": {"Bad": "1"}}}

TIME = {
    "a loop": "while (true) {}",
    "a loop that catches": "while (true) { try { while (true) {} } catch (e) {} }",
    "a loop with a last word": "try { while (true) {} } finally { while (true) {} }",
    "sorts": "var a = []; for (var i = 0; i < 20000; i++) a.push(i % 7); while (true) a.sort();",
    "sorts that compare": "var a = Array(20000).fill(1); while (true) a.sort(function (x, y) { return x - y; });",
    "a comparison": "[1, 2, 3].sort(function () { while (true) {} });",
    "a regular expression": "/^(a+)+$/.test('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab');",
    "regular expressions": "while (true) 'abc'.replace(/b/g, 'x');",
    "a generator": "for (var x of (function* () { while (true) yield 1; })()) {}",
    "recursion that catches": "(function f() { try { f(); } catch (e) {} try { f(); } catch (e) {} })();",
    "a promise": "(function f() { Promise.resolve().then(f); })();",
    "an async function": "(async function () { while (true) await null; })();",
    "texts": "while (true) 'x'.repeat(1 << 20);",
    "numbers": "var n = 3n; while (true) n = (n * n) % (1n << 20000n);",
    "answers of the host": "while (true) TykStorageGet('none');",
    "answers of the host, caught": "while (true) try { TykStorageGet('x'.repeat(999)); } catch (e) {}",
    "a getter of the result": "Object.defineProperty(request, 'URL', { get: function () { while (true) {} } });",
    "a header that is asked for": "request.SetHeaders = { get X() { while (true) {} } };",
    "a proxy": "request.SetHeaders = new Proxy({}, { ownKeys: function () { while (true) {} } });",
    "a list that is a proxy": "request.DeleteHeaders = new Proxy([], { get: function () { while (true) {} } });",
    "an error's text": "throw { toString: function () { while (true) {} } };",
    "an error's JSON": "throw { toJSON: function () { while (true) {} } };",
    "an error's stack": "Error.prepareStackTrace = function () { while (true) {} }; null.x;",
    "an argument of the host": "log({ toJSON: function () { while (true) {} } });",
    "what is logged": "console.log({ toString: function () { while (true) {} }, toJSON: function () { throw 1; } });",
    "json": "while (true) JSON.parse(JSON.stringify({ a: [1, 2, 3] }));",
    "eval": "eval('while (true) {}');",
    "a function that is made": "new Function('while (true) {}')();",
    "an iterator": "Array.from({ [Symbol.iterator]: function () { return { next: function () { return {}; } }; } });",
    "a set": "new Set({ [Symbol.iterator]: function () { return { next: function () { return { value: 1 }; } }; } });",
}

MEMORY = {
    "a text": "var s = 'x'; while (true) s += s + s.length;",
    "a text that catches": "var s = 'x'; while (true) try { s = (s + s).toUpperCase(); } catch (e) {}",
    "an array": "var a = []; while (true) a.push([]);",
    "a global": "held = []; while (true) held.push('x'.repeat(1000) + held.length);",
    "closures": "var f; while (true) f = (function (g) { return function () { return g; }; })(f);",
    "a buffer": "held = []; while (true) held.push(new Uint8Array(1 << 20));",
    "a large buffer": "new ArrayBuffer(1 << 30);",
    "repeat": "'x'.repeat(1 << 29);",
    "join": "Array(1 << 24).join('xxxxxxxx');",
    "fill": "new Array(1 << 28).fill(1);",
    "a map": "var m = new Map(); for (var i = 0; ; i++) m.set(i, {});",
    "json": "var s = '1'; while (true) s = JSON.stringify([s, s]);",
    "a JSON bomb": "JSON.parse('['.repeat(1 << 22) + ']'.repeat(1 << 22));",
    "promises": "while (true) Promise.resolve().then(function () {});",
    "a regular expression": "new RegExp('(a{1,1000}){1,1000}'.repeat(50)).test('a'.repeat(1 << 20));",
    "replace": "'x'.repeat(1 << 20).replace(/x/g, 'y'.repeat(1 << 10));",
    "symbols": "held = []; while (true) held.push(Symbol('x'.repeat(100)));",
    "properties": "var o = {}; for (var i = 0; ; i++) o['k' + i] = i;",
    "what the host answers": "held = []; while (true) held.push(b64enc('x'.repeat(10000)));",
    "a result of many texts": """
        var text = 'x'.repeat(1 << 20);
        for (var i = 0; i < 999; i++) request.SetHeaders['K' + i] = text;""",
    "a result that is made as it is read": """
        request.SetHeaders = new Proxy({}, {
          ownKeys: function () { return Array(1000).fill(0).map(function (x, i) { return 'k' + i; }); },
          getOwnPropertyDescriptor: function () { return { enumerable: true, configurable: true, value: 1 }; },
          get: function () { return 'x'.repeat(1 << 20); } });""",
    "an argument of the host": "log('x'.repeat(30 << 20) + 'y');",
}

RECURSION = {
    "a function": "(function f() { return 1 + f(); })();",
    "toString": "var o = { toString: function () { return '' + o; } }; '' + o;",
    "json": "var o = { toJSON: function () { return JSON.stringify(o); } }; JSON.stringify(o);",
    "json that is deep": "var a = []; for (var i = 0; i < 100000; i++) a = [a]; JSON.stringify(a);",
    "json that is read": "JSON.parse('['.repeat(100000));",
    "a sort": "(function f() { [1, 2].sort(f); })();",
    "replace": "(function f() { return 'a'.replace('a', f); })();",
    "a regular expression": "new RegExp('('.repeat(50000) + ')'.repeat(50000)).test('');",
    "eval": "(function f(s) { eval('f(s)'); })('');",
    "source that is deep": "eval('('.repeat(100000) + '1' + ')'.repeat(100000));",
    "a proxy": "var p = new Proxy({}, {}); for (var i = 0; i < 100000; i++) p = new Proxy(p, {}); p.x;",
    "a proxy of itself": "var p = new Proxy({}, { get: function () { return p.x; } }); p.x;",
    "bind": "var f = function () {}; for (var i = 0; i < 100000; i++) f = f.bind(); f();",
    "apply": "(function f() { f.apply(null, arguments); })();",
    "many arguments": "(function () {}).apply(null, Array(1 << 20).fill(1)); (function f(...x) { f(...x, 1); })(1);",
    "a constructor": "class A { constructor() { new A(); } } new A();",
    "a getter of the result": "request.SetHeaders = { get X() { return this.X; } };",
    "flat": "var a = []; for (var i = 0; i < 100000; i++) a = [a]; a.flat(Infinity);",
}


@pytest.mark.parametrize("body", TIME.values(), ids=TIME)
def test_what_takes_for_ever_is_stopped_and_the_next_requests_are_good(javascript, body):
    bundle = javascript(switched(body))
    started = time.monotonic()
    fails(bundle, "it ran longer than 50 ms", timeout_ms=50, **BAD)
    assert time.monotonic() - started < ENOUGH
    assert [reported(bundle) for _ in range(20)] == ["good"] * 20


@pytest.mark.parametrize("body", MEMORY.values(), ids=MEMORY)
def test_what_needs_everything_is_stopped_and_the_next_requests_are_good(javascript, body):
    bundle = javascript(switched(body))
    started = time.monotonic()
    with pytest.raises(failures.ScriptError, match=r"more than 32 MiB|ran longer than|Error: "):
        bundle.run(timeout_ms=1_000, **BAD)
    assert time.monotonic() - started < ENOUGH
    assert [reported(bundle) for _ in range(20)] == ["good"] * 20
    (idle,) = bundle.script._idle
    assert idle._engine.used < 1 << 20


@pytest.mark.parametrize("body", RECURSION.values(), ids=RECURSION)
def test_deep_recursion_is_an_error_or_goes_well(javascript, body):
    bundle = javascript(switched(f"try {{ {body} }} catch (e) {{ log('caught'); throw e; }}"))
    started = time.monotonic()
    try:
        bundle.run(timeout_ms=2_000, **BAD)
    except failures.ScriptError:
        pass
    assert time.monotonic() - started < ENOUGH
    assert [reported(bundle) for _ in range(20)] == ["good"] * 20
