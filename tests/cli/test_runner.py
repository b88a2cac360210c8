"""What a run tells of the chain itself, where no hook is to blame."""

from dataclasses import replace

from tests.cli.commands import definition, write
from tykbridge.cli import calls
from tykbridge.cli.gateway import Gateway
from tykbridge.cli.runner import Runner
from tykbridge.cli.source import Wanted, open_api
from tykbridge.cli.witness import Witness
from tykbridge.session import Session


class Broken:
    """Counters that cannot count."""

    def __getattr__(self, name):
        raise OSError("the store is gone")


def test_a_fault_of_the_chain_is_a_failure(tmp_path):
    place = write(tmp_path, {"api.json": definition("api", use_keyless=False)}) / "api.json"
    runner = Runner(Witness(lambda on_log, on_event: None), {}, strict=False)
    runner.services = replace(runner.services, counters=Broken())
    opened = open_api(place, Wanted(), runner.services, Gateway(None, tmp_path))
    call, scheme = calls.make("", "/api/", ["Authorization: key"], [], None, [], None)
    runner.store_session(opened.chain, call.request, Session(rate=1, per=1))
    run = runner.run(opened, call, scheme, None)
    assert run.hooks == []
    (failure,) = run.failures
    assert "the counters failed: OSError('the store is gone')" in failure
    assert run.steps[-1].response.status == 503
