"""The table of cases: what becomes of a request, for every way of asking the bridge.

Each *.json file holds a list of cases. A case is one API (`hooks`, by phase, of middleware.py; `api`, further keys of
its definition) and the exchanges with it, one after the other. What an exchange expects:

    upstream   the request that goes on; keys left out are those of the request
    client     the response that the client gets; its body a text, or {"error": text} for the error template
    events     the events that fire, plugins' own included
    log        words that are in the log

`write(folder)` makes a folder of it that any host can load: apis/*.json, middleware.py, cases.json.
Run it as `python -m tests.cases FOLDER`.
"""

import json
import shutil
from pathlib import Path

HERE = Path(__file__).resolve().parent

REQUEST = {
    "method": "GET",
    "url": "/api/things?b=1&a=2&b=3&c=%7e",
    "headers": [["Host", "api.test"], ["X-Old", "1"], ["Accept", "text/html"], ["x-old", "2"]],
    "body": "",
}
RESPONSE = {
    "status": 200,
    "headers": [["Content-Type", "text/plain"], ["X-Old", "1"], ["Set-Cookie", "a=1"], ["Set-Cookie", "b=2"]],
    "body": "old text",
}


SUFFIXES = {"python": ".py", "lua": ".lua", "javascript": ".js", "grpc": ""}
"""The drivers that the table runs with, and the suffix of the file that has the hooks for it; "": a server has them."""


def load(driver="python", address="tcp://127.0.0.1:1"):
    """Give every case, completed: `name` is unique, `definition` is whole but for the middleware's folder.

    `address` is that of the gRPC server.
    """
    cases = []
    for file in sorted(HERE.glob("*.json")):
        cases += [{**case, "name": f"{file.stem}: {case['name']}"} for case in json.loads(file.read_text())]
    cases += matrix()
    for number, case in enumerate(cases):
        case["api_id"] = f"case-{number}"
        case.setdefault("mode", "compatible")
        for exchange in case["exchanges"]:
            exchange["request"] = {**REQUEST, **exchange.get("request", {})}
            if "response" in exchange:
                exchange["response"] = {**RESPONSE, **exchange["response"]}
        case["definition"] = definition(case, driver, address)
    return cases


def definition(case, driver, address):
    """Make a case's API definition; paths of hooks are relative to its folder."""

    def hook(item):
        item = {"name": item} if isinstance(item, str) else item
        if not SUFFIXES[driver]:
            return item
        return {"path": f"../middleware{SUFFIXES[driver]}", **item}

    section = {"driver": driver}
    if driver == "grpc":
        section["grpc"] = {"targets": {"table": {"address": address}}}
    for phase, value in case.get("hooks", {}).items():
        section[phase] = hook(value) if phase == "auth_check" else [hook(item) for item in value]
    keys = case.get("api", {})
    section.update(keys.get("custom_middleware", {}))
    custom = "auth_check" in section and "use_keyless" not in keys
    return {
        "name": case["name"],
        "api_id": case["api_id"],
        "org_id": "org",
        "active": True,
        "use_keyless": not custom and "use_standard_auth" not in keys,
        "enable_coprocess_auth": custom,
        "proxy": {"listen_path": f"/{case['api_id']}/", "target_url": "http://upstream.test/"},
        **keys,
        "custom_middleware": section,
    }


def matrix():
    """The seed's table of what the phases may do, cell by cell, in both modes."""
    for mode in ("compatible", "strict"):
        for phase in ("pre", "auth_check", "post_key_auth", "post"):
            for what, (hook, request, upstream) in CELLS.items():
                if phase == "auth_check":
                    hooks = {"auth_check": f"auth_{hook}"}
                elif phase == "pre":
                    hooks = {"pre": [hook], "auth_check": "allow"}
                else:
                    hooks = {"auth_check": "allow", phase: [hook]}
                expected = upstream[phase] if phase in upstream else upstream
                forbidden = mode == "strict" and what == "modify the session" and phase != "auth_check"
                exchange = {"request": request}
                if forbidden:
                    words = f'hook "{hook}" changed session.rate, which only auth_check may'
                    exchange |= {
                        "client": {"status": 500, "body": {"error": f"Middleware error: {words}"}},
                        "log": words,
                    }
                else:
                    exchange["upstream"] = expected
                yield {
                    "name": f"matrix: {phase}: {what}, {mode}",
                    "mode": mode,
                    "hooks": hooks,
                    "exchanges": [exchange],
                }
        for phase in ("pre", "post_key_auth", "post"):
            headers = [*AUTHORISED["headers"], ["X-Added", "yes"], ["X-Report", "yes"]]
            yield {
                "name": f"matrix: {phase}: more than one, {mode}",
                "mode": mode,
                "hooks": {"auth_check": "allow", phase: ["nothing", "add_header", "report_header"]},
                "exchanges": [{"request": AUTHORISED, "upstream": {"headers": headers}}],
            }


AUTHORISED = {"headers": [["Host", "api.test"], ["Authorization", "key"]]}


def _with(*headers):
    return {"headers": [*AUTHORISED["headers"], *headers]}


CELLS = {
    "modify a header": ("add_header", AUTHORISED, _with(["X-Added", "yes"])),
    "modify the body": (
        "set_body",
        AUTHORISED,
        {**_with(["Content-Length", "13"]), "body": "from the hook"},
    ),
    "modify the query": ("add_param", AUTHORISED, {"url": "/api/things?b=1&a=2&b=3&c=%7e&added=a+b%26c"}),
    "view the session": (
        "report_session",
        AUTHORISED,
        {
            "pre": _with(["X-Report", "  None 0"]),
            "auth_check": _with(["X-Report", "  None 0"]),
            "post_key_auth": _with(["X-Report", "org alice key 1000"]),
            "post": _with(["X-Report", "org alice key 1000"]),
        },
    ),
    "modify the session": ("write_session", AUTHORISED, {}),
}


def write(folder, driver="python", address="tcp://127.0.0.1:1"):
    """Write the table as a folder: apis/*.json, middleware.py (or another driver's) and cases.json."""
    folder = Path(folder)
    (folder / "apis").mkdir(parents=True)
    name = f"middleware{SUFFIXES[driver] or '.py'}"
    shutil.copy(HERE / name, folder / name)
    cases = load(driver, address)
    for case in cases:
        (folder / "apis" / f"{case['api_id']}.json").write_text(json.dumps(case["definition"]))
    (folder / "cases.json").write_text(json.dumps(cases, indent=1))
    return cases
