"""Serves hooks until SIGTERM that say who served them, and whose request it was."""

import asyncio
import os
import sys

from tykbridge.grpc import Plugin, serve


class Soak(Plugin):
    def stamp(self, object):
        object.request.set_headers["X-Server"] = f"{os.getpid()} {object.request.headers['X-Id']}"

    async def waits(self, object):
        await asyncio.sleep(0.01)

    def answer(self, object):
        object.response.headers["X-Answer"] = f"{os.getpid()} {object.request.headers['X-Id']}"


serve(Soak(), address=sys.argv[1])
