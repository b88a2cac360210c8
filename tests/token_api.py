"""An API with auth tokens and one without any, for tests of stores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tykbridge import Bridge
from tykbridge.outcome import Request, Respond
from tykbridge.services import Services


def definition(name: str = "api", **keys: Any) -> dict[str, Any]:
    return {
        "name": name,
        "api_id": name,
        "org_id": "org",
        "active": True,
        "use_keyless": False,
        "use_standard_auth": "custom_middleware" not in keys,
        "auth": {"auth_header_name": "Authorization"},
        "proxy": {"listen_path": f"/{name}/", "target_url": "http://upstream.test/"},
        **keys,
    }


def start(folder: Path, stores: Any, *definitions: dict[str, Any], **services: Any) -> Bridge:
    """A bridge of these APIs on stores that were opened."""
    services.setdefault("log", lambda words, level: None)
    bridge = Bridge(Services(sessions=stores.store, counters=stores.counters, **services))
    for api in definitions or (definition(),):
        (folder / f"{api['api_id']}.json").write_text(json.dumps(api))
    loaded = bridge.load(folder)
    assert not loaded.not_loaded, loaded.not_loaded
    return bridge


def ask(bridge: Bridge, key: str = "", api: str = "api") -> int:
    """The status of a request; 200 where it goes on to the upstream."""
    outcome = bridge.request(Request("GET", f"/{api}/", (("Authorization", key),) if key else ()))
    return outcome.response.status if isinstance(outcome, Respond) else 200
