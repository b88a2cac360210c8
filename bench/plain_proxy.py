"""A reverse proxy as one writes it with aiohttp in thirty lines: what bench/gateway.py measures the gateway against.

plain_proxy.py PORT UPSTREAM
"""

import sys

import aiohttp
from aiohttp import web

HOP_BY_HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "host"}
UPSTREAM = sys.argv[2]


def kept(headers):
    """Leave out what is between two neighbours only."""
    return [(name, value) for name, value in headers.items() if name.lower() not in HOP_BY_HOP]


async def answer(request):
    """Ask the upstream, and hand its answer on as it comes."""
    async with request.app["session"].request(
        request.method,
        UPSTREAM + request.raw_path,
        headers=kept(request.headers),
        data=request.content if request.body_exists else None,
        allow_redirects=False,
    ) as found:
        response = web.StreamResponse(status=found.status, headers=kept(found.headers))
        await response.prepare(request)
        async for part in found.content.iter_any():
            await response.write(part)
        await response.write_eof()
        return response


async def session(app):
    """Keep one session for all requests."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(auto_decompress=False, connector=connector) as app["session"]:
        yield


if __name__ == "__main__":
    app = web.Application()
    app.cleanup_ctx.append(session)
    app.router.add_route("*", "/{path:.*}", answer)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
