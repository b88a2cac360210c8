"""A request comes to the same end on every way past its hooks, and hooks get to see the same on each.

The ways: through the Python class or as a message of a host's, and with headers moved from hook to hook or, since
somebody looks on, with every change applied to the request. Random hooks do all that a hook may do, and what none may.
"""

import types
from urllib.parse import parse_qsl

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from tests import hooks
from tests.definitions import read
from tykbridge import _bridge, hosted, runtime
from tykbridge.chain import Chain
from tykbridge.counters import MemoryCounters
from tykbridge.messages import readable_body
from tykbridge.outcome import Continue, Request, Response, response_of
from tykbridge.services import Mode, Services
from tykbridge.session import Session, encode
from tykbridge.stores.memory import MemoryStore

ARITIES = {
    "pre": {"pre_three": 3, "pre_four": 4, "pre_last": 3},
    "auth_check": {"check": 4},
    "post_key_auth": {"key_three": 3, "key_four": 4},
    "post": {"post_three": 3, "post_four": 4, "post_last": 3},
    "response": {"answer_first": 5, "answer_last": 5},
}
ARGUMENTS = {
    3: "request, session, spec",
    4: "request, session, metadata, spec",
    5: "request, response, session, metadata, spec",
}
BUNDLE = "from tests import hooks\nfrom tyk.decorators import *\n" + "".join(
    f"\n@Hook\ndef {name}({ARGUMENTS[arity]}):\n    return hooks.hook('{name}', {ARGUMENTS[arity]})\n"
    for names in ARITIES.values()
    for name, arity in names.items()
)


@pytest.fixture(autouse=True)
def bundle(tmp_path):
    (tmp_path / "middleware.py").write_text(BUNDLE)
    runtime.load_bundle(str(tmp_path), "flow")
    yield
    runtime.registry.unload("flow")


# ---- What hooks do

NAMES = st.sampled_from(["A", "A", "a", "B", "Authorization", "Content-Length"])
VALUES = st.sampled_from(["1", "2", "", "ä", "key", "x" * 200, "$tyk_context.path"])
PARAMS = st.sampled_from(["a", "b", "n m"])

SET = st.tuples(st.just("add_header"), NAMES, VALUES)
HEADERS = SET | st.tuples(st.just("delete_header"), NAMES)
EDITS = st.one_of(
    HEADERS,
    st.tuples(st.just("add_param"), PARAMS, VALUES),
    st.tuples(st.just("delete_param"), PARAMS),
    st.tuples(st.just("extend_param"), PARAMS, VALUES),
    st.tuples(st.just("headers"), NAMES, VALUES),
    st.tuples(st.just("set_headers"), NAMES, VALUES),
    st.tuples(st.just("url"), st.sampled_from(["/p", "/q", "/q?c=1", "/p?a=1", "http://elsewhere/r#f"])),
    st.tuples(st.just("method"), st.sampled_from(["GET", "PUT"])),
    st.tuples(st.just("body"), st.sampled_from(["", "text", "ä"])),
    st.tuples(st.just("raw_body"), st.sampled_from([b"", b"text", b"\xff"])),
)
RARE = st.one_of(
    st.tuples(st.just("alias"), st.sampled_from(["", "alice", "mallory"])),
    st.tuples(st.just("metadata"), st.sampled_from(["token", "grade"]), VALUES),
    st.tuples(st.just("spec"), PARAMS, VALUES),
    st.tuples(st.just("keep"), st.sampled_from(["request", "headers", "set_headers", "session"])),
    st.just(("write what was kept",)),
    st.just(("look",)),
    st.just(("new session",)),
    st.just(("same request",)),
    st.just(("raise",)),
    st.just(("none",)),
    st.tuples(st.just("add_header"), st.just("A B"), VALUES),
    st.tuples(st.just("override"), st.sampled_from([200, 204, 403, 0, 999]), st.sampled_from(["", "words"])),
)
ANSWERS = st.one_of(
    HEADERS,
    st.tuples(st.just("status"), st.sampled_from([201, 204, 999])),
    st.tuples(st.just("answer"), st.sampled_from(["", "text"])),
    st.tuples(st.just("answer_header"), NAMES, VALUES),
    st.tuples(st.just("answer_values"), NAMES, VALUES),
    st.just(("raise",)),
)
LETS_IN = st.tuples(st.just("metadata"), st.just("token"), st.sampled_from(["key", "other"]))


def plans(*kinds):
    return st.lists(st.one_of(*kinds), max_size=3)


PLAN = st.fixed_dictionaries(
    {
        name: {
            "auth_check": st.tuples(st.just(("nothing",)) | EDITS, LETS_IN).map(list) | plans(EDITS, RARE),
            "response": plans(ANSWERS),
        }.get(phase, plans(SET) | plans(HEADERS) | plans(EDITS) | plans(EDITS, RARE))
        for phase, names in ARITIES.items()
        for name in names
    }
)


class Hooks:
    """Does what is planned, and notes what each hook gets to see."""

    def __init__(self, plan):
        self.plan, self.seen, self.kept = plan, [], []

    def __call__(self, name, request, *others):
        response, session, metadata, spec = {
            2: (None, others[0], None, others[-1]),
            3: (None, *others),
            4: others,
        }[len(others)]
        self.seen.append((name, look(request.object), as_tree(session), as_tree(spec)))
        if response is not None:
            self.seen.append((as_tree(response), as_tree(metadata)))
        result = {3: (request, session), 4: (request, session, metadata), 5: response}[len(others) + 1]
        for what, *values in self.plan[name]:
            result = self.do(what, values, request, response, session, spec, result)
        return result

    def do(self, what, values, request, response, session, spec, result):
        message = request.object
        match what:
            case "add_header" | "delete_header" | "add_param" | "delete_param":
                getattr(request, what)(*values)
            case "extend_param":
                message.extended_params[values[0]] = values[1]
            case "headers" | "set_headers":
                getattr(message, what)[values[0]] = values[1]
            case "url" | "method" | "body" | "raw_body":
                setattr(message, what, values[0])
            case "alias":
                session.alias = values[0]
            case "metadata":
                session.metadata[values[0]] = values[1]
            case "spec":
                spec[values[0]] = values[1]
            case "keep":
                place = {"request": message, "session": session}
                self.kept.append(place.get(values[0]) or getattr(message, values[0]))
            case "write what was kept":
                for view in self.kept:
                    write(view)
            case "look":
                self.seen.append(as_tree(message.set_headers))
            case "new session":
                fresh = _bridge.message("SessionState", alias="fresh")
                result = (request, fresh, *result[2:])
            case "same request":
                result = (message, *result[1:])
            case "raise":
                raise ValueError
            case "none":
                result = None
            case "override":
                message.return_overrides.response_code, message.return_overrides.response_error = values
            case "status":
                response.status_code = values[0]
            case "answer":
                response.body = values[0]
            case "answer_header":
                response.headers[values[0]] = values[1]
            case "answer_values":
                response.multivalue_headers.add(key=values[0], values=[values[1]])
        return result


READ = ("url", "method", "body", "raw_body", "params", "request_uri", "scheme", "return_overrides")


def look(request):
    """Copy what a hook sees of a request: not set_headers, which do not move once a hook has read them."""
    # A Content-Length is the host's, and comes with the first change of a request.
    headers = {name: value for name, value in request.headers.items() if name.lower() != "content-length"}
    return headers, *(as_tree(getattr(request, name)) for name in READ)


def as_tree(message):
    if hasattr(message, "items"):
        return {key: as_tree(item) for key, item in message.items()}
    if not hasattr(message, "ListFields"):
        return message
    tree = {}
    for field, value in message.ListFields():
        is_list = field.is_repeated and not hasattr(value, "items")
        tree[field.name] = [as_tree(item) for item in value] if is_list else as_tree(value)
    return tree


def write(view):
    if hasattr(view, "alias"):
        view.alias = "written later"
    elif hasattr(view, "set_headers"):
        view.set_headers["X-Later"] = "1"
    else:
        view["X-Later"] = "1"


# ---- Who asks what

OPTIONS = st.fixed_dictionaries(
    {"raw_body_only": st.sampled_from([False, False, False, True]), "on_failure": st.sampled_from(["open", "closed"])}
)


@st.composite
def definitions(draw):
    section = {"driver": "python"}
    for phase, names in ARITIES.items():
        hooks = [{"name": name, "path": "middleware.py", **draw(OPTIONS)} for name in names]
        section[phase] = hooks
    section["auth_check"] = {**section["auth_check"][0], "on_failure": "closed"}
    method = draw(st.sampled_from(["keyless", "standard", "custom", "both"]))
    return {
        "name": "api",
        "api_id": "api",
        "org_id": "org",
        "use_keyless": method == "keyless",
        "enable_coprocess_auth": method in ("custom", "both"),
        "use_standard_auth": method in ("standard", "both"),
        "base_identity_provided_by": draw(st.sampled_from(["", "custom_auth"])) if method == "both" else "",
        "auth": {"auth_header_name": "Authorization"},
        "strip_auth_data": draw(st.booleans()),
        "enable_context_vars": draw(st.sampled_from([False, False, True])),
        "proxy": {"listen_path": "/", "target_url": "http://upstream.test/"},
        "custom_middleware": section,
    }


REQUESTS = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["GET", "POST"]),
        "url": st.sampled_from(["/p", "/p?a=1&a=2&b", "/p?n+m=%C3%A4"]),
        "headers": st.lists(st.tuples(NAMES, VALUES), max_size=4),
        "body": st.sampled_from([b"", b"text", b"\xff"]),
        "key": st.sampled_from(["key", "key", "key", "limited", None]),
    }
)


FORMS = st.sampled_from(["usual", "usual", "no params", "text", "pieces", "what does not count"])


def request_of(item):
    headers = [*item["headers"], *([("Authorization", item["key"])] if item["key"] is not None else [])]
    return Request(item["method"], item["url"], tuple(headers), item["body"])


def message_of(request, form):
    """Make the message that a host makes of a request; the forms that it may have mean the same."""
    sent = _bridge.message("Object", spec={"APIID": "api"})
    message = sent.request
    message.method, message.url, message.scheme, message.request_uri = request.method, request.url, "http", request.url
    for name, value in request.headers:
        if name.lower() not in {key.lower() for key in message.headers}:
            message.headers[name] = value
    if form != "no params":
        for name, value in parse_qsl(request.url.partition("?")[2], keep_blank_values=True):
            message.params.setdefault(name, value)
    text = readable_body(request.body)
    if form == "text" and text:
        message.body = text
    elif request.body:
        message.raw_body = request.body
    if form == "what does not count":
        message.set_headers["Authorization"], message.return_overrides.response_code = "limited", 200
        sent.session.alias = sent.metadata["token"] = "mallory"
    if form == "pieces":
        return b"\x1a\x02\x5a\x00" + sent.SerializeToString()  # a request whose method is empty
    return sent.SerializeToString()


def applied(request, data):
    """Make the changes of a reply to a request, as a host does."""
    edits = _bridge.message("Object", data).request
    headers = [
        pair for pair in request.headers if pair[0].lower() not in {name.lower() for name in edits.delete_headers}
    ]
    for name, value in edits.set_headers.items():
        first = next((at for at, pair in enumerate(headers) if pair[0].lower() == name.lower()), len(headers))
        headers = [pair for pair in headers if pair[0].lower() != name.lower()]
        headers.insert(first, (name, value))
    gone = b"\x72\x00" in data  # raw_body is there, and empty
    body = edits.raw_body or (b"" if gone else request.body)
    return Request(edits.method or request.method, edits.url or request.url, tuple(headers), body)


class Way:
    """One way of a request: a chain with stores of its own."""

    def __init__(self, definition, strict, plan, watch, timed):
        store = MemoryStore()
        store.set("apikey-key", encode(Session(org_id="org", alias="alice", rate=9, per=9)))
        store.set("apikey-limited", encode(Session(org_id="org", quota_max=5, quota_renewal_rate=60)))
        self.log, self.events = [], []
        services = Services(
            sessions=store,
            events=self,
            counters=MemoryCounters(lambda: 1000.0),
            clock=lambda: 1000.0,
            mode=Mode.STRICT if strict else Mode.COMPATIBLE,
            log=lambda words, level: self.log.append(words),
            watch=watch,
            timed=timed,
        )
        self.hooks, self.store = Hooks(plan), store
        self.chain = Chain(definition, lambda hook: "flow", services)

    def fire(self, event, api_id, org_id, meta):
        self.events.append((event, dict(meta)))

    def run(self, request, by_message, form):
        hooks.hook = self.hooks
        end = self.by_message(request, form) if by_message else self.by_class(request)
        self.hooks.kept.clear()
        stored = {key: value for key, (value, _) in self.store._values.items()}
        return {"end": end, "seen": self.hooks.seen, "log": self.log, "events": self.events, "stored": stored}

    def by_class(self, request):
        outcome = self.chain.request(request)
        if not isinstance(outcome, Continue):
            return client(outcome.response)
        answer = self.chain.response(outcome.request, UPSTREAM, outcome.session)
        return upstream(outcome.request), outcome.session, client(answer.response)

    def by_message(self, request, form):
        chain = self.chain
        hosted.bridge = types.SimpleNamespace(chains={"api": chain}, chain=lambda request, api_id: chain)
        sent = message_of(request, form)
        data = hosted.run_request(sent, _bridge.incoming(sent))
        if isinstance(data, tuple):
            return client_of(*data)
        request, reply = applied(request, data), _bridge.message("Object", data)
        answered = _bridge.message("Object")
        if reply.HasField("session"):
            answered.session.CopyFrom(reply.session)
        answered.response.status_code, answered.response.raw_body = UPSTREAM.status, UPSTREAM.body
        for name, value in UPSTREAM.headers:
            answered.response.multivalue_headers.add(key=name, values=[value])
        answer = hosted.run_response(message_of(request, "usual") + answered.SerializeToString())
        return upstream(request), reply.session.SerializeToString(), client_of(answer)


UPSTREAM = Response(200, (("Content-Type", "text/plain"), ("A", "1")), b"from the upstream")


def upstream(request):
    """What of a request does not depend on the way: the host counts the body."""
    headers = [pair for pair in request.headers if pair[0].lower() != "content-length"]
    return request.method, request.url, sorted(headers), request.body


def client(response):
    return response.status, sorted((name.lower(), value) for name, value in response.headers), response.body


def client_of(data):
    return client(response_of(_bridge.message("Object", data)))


def look_on(step, exchange):
    return exchange.run((step.key,), move=False)


def take_time(step, seconds, failed):
    assert seconds >= 0


@pytest.fixture
def host(monkeypatch):
    monkeypatch.setattr(hosted, "bridge", None)
    monkeypatch.setattr(_bridge, "log", lambda words, level: None)


def test_every_way_comes_to_the_same_end(host):
    passed = {True: 0, False: 0}

    @settings(max_examples=max(400, settings.default.max_examples))
    @given(definition=definitions(), strict=st.booleans(), plan=PLAN, item=REQUESTS, form=FORMS)
    def drive(definition, strict, plan, item, form):
        definition, request = read(definition).require(), request_of(item)
        ways = [
            Way(definition, strict, plan, watch, timed).run(request, by_message, form)
            for watch, timed in ((None, None), (look_on, None), (None, take_time))
            for by_message in (False, True)
        ]
        for way in ways[1:]:
            for part, expected in ways[0].items():
                assert way[part] == expected, part
        passed[len(ways[0]["end"][1:]) == 2 and isinstance(ways[0]["end"][0], tuple)] += 1

    drive()
    assert min(passed.values()) > sum(passed.values()) / 20, passed


# ---- Regressions


class Scripted:
    """A chain of pre and post hooks that do what a test says, without authentication or with a standard token."""

    def __init__(self, *hooks_, protected=False, **services):
        names = [
            name for phase in ("pre", "post_key_auth", "post") for name in ARITIES[phase] if ARITIES[phase][name] == 3
        ]
        self.steps = dict(zip(names if protected else ["pre_three", "pre_last", "post_three"], hooks_, strict=False))
        section = {}
        for name in self.steps:
            section.setdefault(name.rpartition("_")[0].replace("key", "post_key_auth"), []).append(
                {"name": name, "path": "middleware.py"}
            )
        document = {
            "name": "api",
            "api_id": "api",
            "org_id": "org",
            "use_keyless": not protected,
            "use_standard_auth": protected,
            "auth": {"auth_header_name": "Authorization"},
            "proxy": {"listen_path": "/", "target_url": "http://upstream.test/"},
            "custom_middleware": {"driver": "python", **section},
        }
        self.chain = Chain(read(document).require(), lambda hook: "flow", Services(**services))

    def request(self, **item):
        hooks.hook = lambda name, request, session, *rest: self.steps[name](request, session) or (request, session)
        item = {"method": "GET", "url": "/p", "headers": (), **item}
        return self.chain.request(Request(item["method"], item["url"], tuple(item["headers"])))


@pytest.mark.parametrize(
    ("second", "left"),
    [
        (lambda request, session: request.delete_header("X-User"), []),
        (lambda request, session: request.add_header("x-user", "good"), [("x-user", "good")]),
        (lambda request, session: request.object.set_headers.update({"X-User": "good"}), [("X-User", "good")]),
    ],
    ids=["deleted", "respelled", "replaced"],
)
def test_regression_a_header_came_back_that_a_later_hook_had_taken_out(second, left):
    scripted = Scripted(lambda request, session: request.add_header("X-User", "evil"), second)
    assert list(scripted.request().request.headers) == left


def test_regression_a_later_hook_saw_what_was_written_to_a_kept_session():
    kept, seen = [], []

    def hit(*arguments):
        kept[0].alias = "mallory"
        return counters.hit(*arguments)

    counters = MemoryCounters(lambda: 1000.0)
    store = MemoryStore()
    store.set("apikey-key", encode(Session(org_id="org", alias="alice", rate=9, per=9)))
    scripted = Scripted(
        lambda request, session: None,
        lambda request, session: None,
        lambda request, session: kept.append(session),
        lambda request, session: seen.append(session.alias),
        protected=True,
        sessions=store,
        counters=types.SimpleNamespace(hit=hit),
    )
    assert list(scripted.steps) == ["pre_three", "pre_last", "key_three", "post_three"]
    assert isinstance(scripted.request(headers=[("Authorization", "key")]), Continue)
    assert (kept[0].alias, seen) == ("mallory", ["alice"])


def test_regression_a_url_that_is_not_utf8_was_rewritten_by_whatever_hook_changed_something_else():
    scripted = Scripted(lambda request, session: request.delete_header("Q"))
    outcome = scripted.request(url="/caf\udce9/x?a=1", headers=[("Q", "1")])
    assert (outcome.request.url, outcome.request.headers) == ("/caf\udce9/x?a=1", ())
