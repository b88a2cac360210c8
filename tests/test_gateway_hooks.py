"""Where the gateway's hooks run, and what becomes of those whose client has gone."""

import asyncio
import gc
import threading
import weakref

import pytest

from tests.rawhttp import TIMEOUT
from tykbridge import waiting
from tykbridge.gateway.hooks import Lane

pytestmark = pytest.mark.once


class Body:
    """What a request holds."""


def test_what_is_given_up_before_its_turn_does_not_run_and_holds_nothing():
    lane, go_on, ran = Lane("full"), threading.Event(), []

    async def scenario():
        blocked = [asyncio.ensure_future(lane.run(lambda: go_on.wait(TIMEOUT))) for _ in range(waiting.SHARE)]
        body = Body()
        held = weakref.ref(body)
        waits = asyncio.ensure_future(lane.run(lambda body=body: ran.append(body)))
        del body
        await asyncio.sleep(0)  # all of them have begun to wait
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
        del waits
        gc.collect()
        assert held() is None
        go_on.set()
        assert await asyncio.gather(*blocked) == [True] * waiting.SHARE
        assert await lane.run(lambda: "after") == "after"

    asyncio.run(scenario())
    assert ran == []
