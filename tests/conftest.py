"""What all tests share: the project's paths, the hosts, the profiles of Hypothesis."""

import signal
import sysconfig
from pathlib import Path

import hypothesis
import pytest

from tests import openssl
from tests.host.fixtures import bundle, host  # noqa: F401
from tests.plugins import go_plugin  # noqa: F401
from tests.servers import _redis_server, redis_server  # noqa: F401
from tykbridge import runtime
from tykbridge.drivers.goplugin import host as plugins_host
from tykbridge.drivers.javascript import limits

# Random examples cost most of the time; their number does not tell one Python version from another.
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("core", deadline=None, max_examples=20)
hypothesis.settings.register_profile("soak", deadline=None, max_examples=10_000)
hypothesis.settings.load_profile("default")


def pytest_configure():
    """Refuses to test other code than what is read: a .py beside a .pxd is compiled, and that is what is imported."""
    package = Path(__file__).resolve().parent.parent / "tykbridge"
    for source in (pxd.with_suffix(".py") for pxd in package.rglob("*.pxd")):
        made = source.with_name(f"{source.stem}{sysconfig.get_config_var('EXT_SUFFIX')}")
        if source.exists() and made.exists() and made.stat().st_mtime < source.stat().st_mtime:
            raise pytest.UsageError(f"{source} is newer than what was compiled of it: make build")


@pytest.fixture
def process(monkeypatch):
    """Gives what settings change in the process, which is put back after the test."""
    places = ((plugins_host, "_settings"), (limits, "seconds"), (runtime, "_store"), (runtime.registry, "trust"))
    for place, name in places:
        monkeypatch.setattr(place, name, getattr(place, name))
    return lambda: [getattr(place, name) for place, name in places]


@pytest.fixture
def interruptible():
    """Lets SIGINT interrupt here and in children, as on a terminal: what a shell runs in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the project."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def pb2_object():
    """Makes google.protobuf's Object, from bytes or empty."""
    from tests.oracle import PB

    return lambda data=b"": PB["Object"].FromString(data)


@pytest.fixture(scope="session")
def keys(tmp_path_factory) -> Path:
    """A folder of keys that sign bundles, made with openssl."""
    return openssl.make_keys(tmp_path_factory.mktemp("keys"))
