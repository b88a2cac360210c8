"""A shop in FastAPI. What its APIs ask of callers stands in apis/: the one line is at the end."""

from pathlib import Path

from fastapi import FastAPI, Request

from tykbridge.asgi import TykMiddleware

app = FastAPI()


@app.get("/")
async def welcome():
    return {"welcome": "everybody"}


@app.get("/orders/{number}")
async def order(number: int, request: Request):
    return {"order": number, "for": request.scope["tyk"].alias}


app.add_middleware(TykMiddleware, source=Path(__file__).parent / "apis")
