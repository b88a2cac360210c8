"""One application in each of three frameworks, as their documentation writes them, without a word of Tyk.

GET /admin is what must not be reached, GET /public anybody's. POST /echo answers with the body, GET /who with the
caller's alias, GET /later is over before its background task, GET /file sends a file, GET /stream many parts.
"""

from pathlib import Path

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from fastapi import BackgroundTasks, FastAPI, Request, WebSocket
from fastapi.responses import FileResponse, PlainTextResponse, StreamingResponse
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.routing import Mount, Route, WebSocketRoute

SECRET = "the secret of admin"
STREAMED = b"0123456789" * 10_000


async def _parts():
    for at in range(0, len(STREAMED), 1000):
        yield STREAMED[at : at + 1000]


# ---- Starlette


async def _admin(request):
    return PlainTextResponse(SECRET)


async def _public(request):
    return PlainTextResponse("for all")


async def _echo(request):
    return PlainTextResponse(await request.body())


async def _who(request):
    return PlainTextResponse(request.scope["tyk"].alias)


def _later_with(done):
    async def later(request):
        return PlainTextResponse("soon", background=BackgroundTask(done.set))

    return later


async def _file(request):
    return FileResponse(__file__)


async def _stream(request):
    return StreamingResponse(_parts())


async def _where(request):
    return PlainTextResponse(str(request.url_for("public")))


async def _chat(websocket):
    await websocket.accept()
    await websocket.send_text(f"{websocket.scope['tyk'].alias}: {await websocket.receive_text()}")
    await websocket.close()


def starlette(done):
    """`done` is set by the background task."""
    routes = [
        Route("/admin", _admin),
        Mount("/admin", routes=[Route("/deep", _admin)]),
        Route("/public", _public, name="public"),
        Route("/echo", _echo, methods=["POST"]),
        Route("/who", _who),
        Route("/later", _later_with(done)),
        Route("/file", _file),
        Route("/stream", _stream),
        Route("/where", _where),
        WebSocketRoute("/chat", _chat),
    ]
    return Starlette(routes=routes)


# ---- FastAPI


def fastapi(done):
    """`done` is set by the background task."""
    app = FastAPI()

    @app.get("/admin")
    @app.get("/admin/deep")
    def admin() -> str:
        return SECRET

    @app.get("/public")
    def public() -> str:
        return "for all"

    @app.post("/echo")
    async def echo(request: Request):
        return PlainTextResponse(await request.body())

    @app.get("/who")
    def who(request: Request):
        return PlainTextResponse(request.scope["tyk"].alias)

    @app.get("/later")
    def later(tasks: BackgroundTasks) -> str:
        tasks.add_task(done.set)
        return "soon"

    @app.get("/file")
    def file():
        return FileResponse(__file__)

    @app.get("/stream")
    def stream():
        return StreamingResponse(_parts())

    @app.websocket("/chat")
    async def chat(websocket: WebSocket):
        await _chat(websocket)

    return app


# ---- Django


@csrf_exempt
def _django_echo(request):
    return HttpResponse(request.body)


async def _django_who(request):
    return HttpResponse(request.scope["tyk"].alias)


urlpatterns = [
    path("admin", lambda request: HttpResponse(SECRET)),
    path("admin/deep", lambda request: HttpResponse(SECRET)),
    path("public", lambda request: HttpResponse("for all")),
    path("echo", _django_echo),
    path("who", _django_who),
    path("file", lambda request: HttpResponse(Path(__file__).read_bytes())),
    path("stream", lambda request: StreamingHttpResponse(_parts())),
]


def django_application():
    """The project's one Django application."""
    if not settings.configured:
        settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="for tests", MIDDLEWARE=[])
        django.setup()
    return get_asgi_application()
