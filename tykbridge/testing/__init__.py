"""Tests of plugins and API definitions with pytest: the fixture `tyk_api` loads an API, and requests go through it.

    pytest_plugins = ["tykbridge.testing"]

    def test_greets(tyk_api):
        api = tyk_api("api.json")
        reply = api.get("/", headers={"X-Name": "Ada"})
        assert reply.upstream.headers["X-Greeting"] == "Hello, Ada"

Everything runs in the test's process, without a socket. docs/testing.md tells the rest.

PYTEST_DONT_REWRITE: there is nothing to rewrite here, and a test that imports this before it names it as a plugin, as
above, would be warned of it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

try:
    import pytest
except ImportError as error:
    raise ImportError("tykbridge.testing needs pytest: pip install pytest", name=error.name) from error

from tykbridge.testing.api import Answering, Api, Data, NotLoaded, StrPath, Upstream
from tykbridge.testing.messages import Answer, Event, Headers, Line, Received, Reply

__all__ = [
    "Answer",
    "Answering",
    "Api",
    "Data",
    "Event",
    "Headers",
    "Line",
    "NotLoaded",
    "Received",
    "Reply",
    "TykApi",
    "Upstream",
    "tyk_api",
]

_APIS = pytest.StashKey[list[Api]]()
_WIDTH = 110


class TykApi:
    """What `tyk_api` is: loads APIs for one test. They share sessions, counters, data and time, with nobody else.

    Args:
        base: the folder from which relative paths count: the test file's.
    """

    def __init__(self, base: Path) -> None:
        from tykbridge.testing.stage import Surroundings

        self._base, self._around = base, Surroundings()
        self.apis: list[Api] = []

    def __call__(
        self,
        source: Mapping[str, Any] | StrPath,
        *,
        api: str = "",
        policies: Mapping[str, Any] | StrPath | None = None,
        middleware_path: StrPath | None = None,
        bundles: Mapping[str, StrPath] | None = None,
        strict: bool = False,
    ) -> Api:
        """Load an API.

        Args:
            source: a file of an API definition, classic or OAS, or its dict or JSON text; a folder of definitions; or
                the folder of a bundle, whose manifest.json says what runs.
            api: the API's id, where the source has several.
            policies: those that sessions name: a file, or the dict by id.
            middleware_path: where files of hooks are looked for that do not lie beside the definition; without it
                beside the test.
            bundles: the folders of the bundles that definitions name, by these names.
            strict: a session that a hook changes without the right to fails the request; otherwise it is among the
                reply's warnings.

        Raises:
            NotLoaded: the API does not load; the words say everything that is wrong, with its place.
        """
        __tracebackhide__ = True
        loaded = Api(
            self._around,
            source,
            self._base,
            api=api,
            policies=policies,
            middleware_path=middleware_path,
            bundles=bundles,
            strict=strict,
        )
        self.apis.append(loaded)
        return loaded

    def close(self) -> None:
        """Let go of everything."""
        for api in self.apis:
            api.close()
        self._around.close()


@pytest.fixture
def tyk_api(request: pytest.FixtureRequest) -> Iterator[TykApi]:
    """Load APIs for this test: called with a definition it gives an `Api`, which is asked with get, post ..."""
    made = TykApi(request.path.parent)
    request.node.stash[_APIS] = made.apis
    yield made
    del request.node.stash[_APIS]
    made.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Shows beside a failed test what every hook did on the way."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    if report.failed and item.stash.get(_APIS, []):
        report.sections.append(("tykbridge", _drawn(item.stash[_APIS])))
    return report  # type: ignore[return-value]


def _drawn(apis: list[Api]) -> str:
    from rich.console import Console

    from tykbridge.cli.screen import Screen

    page = io.StringIO()
    screen = Screen(Console(file=page, width=_WIDTH, force_terminal=False, highlight=False, markup=False, emoji=False))
    for api in apis:
        for run in api.runs:
            screen.call("", run.call.request)
            for step in run.steps:
                screen.step(step)
    return page.getvalue()
