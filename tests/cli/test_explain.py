"""`tykbridge serve --explain`: a block for each request, and what it may not tell."""

import http.client
import itertools
import re
import threading
from urllib.parse import urlsplit

import pytest

from tests.inspected import KEY, inspected
from tests.test_trace import PLUGIN as MEETING

_numbers = itertools.count()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    with inspected(tmp_path_factory.mktemp("explained"), "--explain") as started:
        yield started


def block(gateway, start):
    """Give the text of the block whose request begins so. A block is there when the next one is."""
    place = f"/open/{next(_numbers)}"
    gateway.ask(place)
    gateway.wait(f"client +GET {place}$")
    blocks = re.split(r"(?m)^── (?=\d+  )", "\n".join(gateway.output))
    [found] = [text for text in blocks if re.search(rf"client +{re.escape(start)}$", text, re.MULTILINE)]
    return found


def test_a_request_is_drawn_as_a_rehearsal_is(gateway):
    gateway.order("/shop/drawn")
    text = block(gateway, "POST /shop/drawn")
    assert re.match(r"\d+  Shop ─+\n", text)
    stations = [line.split()[1] for line in text.splitlines() if "●" in line]
    assert stations == ["client", "pre", "auth_check", "post", "upstream", "upstream", "response", "client"]
    assert "+ set_headers[\"X-Stamp\"] = '42'" in text
    assert "log info  an order from somewhere" in text
    assert "print  pricing 3 pieces" in text
    assert "+ X-Shop: open" in text


def test_secrets_are_masked(gateway):
    gateway.order("/shop/masked?token=hunter2-hunter2", X_From=KEY)
    text = block(gateway, "POST /shop/masked?token=••••••••")
    assert "Authorization: Bearer ••••••••" in text
    assert "log info  an order from ••••••••" in text
    assert "token  ••••••••" in text
    assert KEY not in text
    assert "hunter2-hunter2" not in text


def test_a_failure_has_its_traceback_in_the_block(gateway):
    gateway.ask("/shop/failed", "[]", Authorization=f"Bearer {KEY}")
    text = block(gateway, "POST /shop/failed")
    assert "TypeError: list indices must be integers" in text
    assert 'print("pricing", order["count"], "pieces")' in text
    assert "500 Internal Server Error  the upstream is not asked" in text


def test_what_is_streamed_is_said_not_to_be_there(gateway):
    gateway.ask("/open/streamed", "much")
    assert "the body was streamed, and is not kept" in block(gateway, "POST /open/streamed")


def test_what_a_client_sends_does_not_act_on_the_terminal(gateway):
    parts = urlsplit(gateway.url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
    connection.request("GET", "/open/odd", headers={"X-Odd": "\x9b31m red"})
    connection.getresponse().read()
    connection.close()
    text = block(gateway, "GET /open/odd")
    assert "\x9b" not in text
    assert re.search(r"X-Odd: \\(x|udc)9b31m red", text)


def test_requests_that_overlap_stay_apart(tmp_path):
    """Each of two requests is in the same hook while the other is; their blocks are whole all the same."""
    meeting = "types.SimpleNamespace(meet=threading.Barrier(2, timeout=60).wait)"
    plugin = MEETING + f"\nimport threading, types\nsys.modules['meeting_of_tests'] = {meeting}\n"
    with inspected(tmp_path, "--explain", plugin=plugin) as gateway:
        threads = [
            threading.Thread(target=gateway.ask, args=(f"/shop/{name}",), kwargs={"X_From": name})
            for name in ("Ada", "Grace")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for name in ("Ada", "Grace"):
            text = block(gateway, f"GET /shop/{name}")
            assert re.findall(r"log \w+  (?:first|second) of (\w+)", text) == [name, name]
            assert re.findall(r"print  printed by (\w+)", text) == [name]
            assert len(re.findall("●", text)) == 8


def test_what_hooks_print_stays_on_standard_output_where_nothing_is_explained(tmp_path):
    with inspected(tmp_path, "--inspect") as gateway:
        gateway.order()
        gateway.wait("^pricing 3 pieces$")
