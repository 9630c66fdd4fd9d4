"""The HTTP application, and the process that serves it."""

from __future__ import annotations

import asyncio
import functools
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from ..core.errors import ConflictError, SekishoError
from ..core.garbage import settle
from ..core.settings import Settings
from ..host.cores import keep_to
from ..loop.attend import attend, seal_egress
from ..loop.bias import BiasWatch
from ..loop.escalations import sweep
from ..loop.judge import Judge
from ..loop.keys import Ring, require_keys
from ..loop.nli import Nli
from ..loop.parts import Parts
from ..loop.recognise import Eyes
from ..loop.retries import RetryBook
from ..loop.serving import PromotionWatch, open_judge
from ..wiring import build, cores_apart
from . import (
    completions_api,
    decisions_api,
    errors,
    escalations_api,
    health,
    judgements,
    keys_api,
    lanes,
    nli_api,
    ocr_api,
    ollama_api,
    openai_api,
    rubrics_api,
    summaries_api,
    systemone_api,
)
from .access import Door
from .connections import Crowd, configured, hush_accepting, open_files
from .desk import Desk
from .scopes import describe
from .straight import straight

_DRAIN_SECONDS = 20
"""How long requests under way may take after SIGTERM."""
_LINE = 1024
"""Connections that the system may keep in line until they are accepted; whoever finds the line full tries again after a second."""
_ABOUT = (
    "Every decision of the model is a judgement with probabilities, written to an append-only ledger before it is released. "
    "Errors are `{detail: …}`; OpenAI's routes answer with OpenAI's error object, Ollama's with Ollama's. "
    "Every route also stands under `/be`, where its work takes the batch lane."
)


class _App(FastAPI):
    """The application. Requests come to the door before the framework hears of them.

    Attributes:
        door: set once the routes are known; what it lets in goes through the framework.
    """

    door: Door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] == "http":
            scope["app"] = self
            await self.door(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(parts: Parts, judge: Judge | None = None) -> FastAPI:
    """Make the application over a wired house.

    Args:
        judge: an open judge; None opens what is promoted when the application starts. Its engine is stopped with the application.

    Raises:
        ConflictError: at the start, when nothing is promoted.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        opened = judge or await open_judge(parts)
        bias = BiasWatch(parts)
        eyes = Eyes(parts, bias=bias)
        desk = Desk(parts, opened, PromotionWatch(parts, opened), RetryBook(), Nli(parts), eyes)
        app.state.desk = desk
        desk.watch.start()
        beside = [asyncio.create_task(work) for work in (sweep(parts), attend(parts), bias.run())]
        try:
            yield
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await desk.nli.close()
            await desk.eyes.close()
            await desk.watch.stop()
            opened.close()

    app = _App(
        title="Sekisho",
        description=_ABOUT,
        lifespan=lifespan,
        docs_url=None,  # its pages load scripts from outside
        redoc_url=None,
        redirect_slashes=False,  # a path with one slash too many is no path, and is told so
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
        },
    )
    rooms = (
        systemone_api,
        decisions_api,
        openai_api,
        completions_api,
        ollama_api,
        summaries_api,
        nli_api,
        rubrics_api,
        ocr_api,
        judgements,
        escalations_api,
        keys_api,
        lanes,
        health,
    )
    for room in rooms:
        app.include_router(room.router)
    app.add_exception_handler(SekishoError, errors.on_sekisho)
    app.add_exception_handler(RequestValidationError, errors.on_validation)
    app.add_exception_handler(HTTPException, errors.on_http)
    app.add_exception_handler(Exception, errors.on_any)
    settings = parts.settings
    app.door = Door(
        functools.partial(FastAPI.__call__, app),
        tokens=settings.token_list(),
        ring=Ring(parts),
        batch=settings.token_list("batch_tokens"),
        origins=settings.token_list("cors_origins"),
        straight=straight(room.router for room in rooms),
    )
    undescribed = app.openapi
    app.openapi = lambda: describe(undescribed())  # type: ignore[method-assign]
    return app


def serve(settings: Settings, ready: Callable[[str], None] | None = None) -> None:
    """Serve what is promoted until SIGTERM or Ctrl-C, in this one process.

    Args:
        ready: is told the address once requests are answered; None prints it.

    Raises:
        ConflictError: when nothing is promoted, the port is taken, or others could reach it and there is no API key.
        SekishoError: when the house cannot be opened or the engine does not start.
    """
    set_up_log(settings.log_level)
    listener = bind(settings.host, settings.port)
    house = build(settings)
    try:
        require_keys(house)
        seal_egress(house)
        asyncio.run(_serve(house, listener, ready or _say))
    finally:
        listener.close()
        house.close()


def set_up_log(level: str) -> None:
    """Log to standard error. The HTTP client would write a line for every call to the engine, and is told not to."""
    logging.basicConfig(level=level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)


async def _serve(parts: Parts, listener: socket.socket, ready: Callable[[str], None]) -> None:
    judge = await open_judge(parts)
    if apart := cores_apart(parts.settings):
        keep_to(apart.server)
    hush_accepting(asyncio.get_running_loop())
    crowd, settings = Crowd(open_files()), parts.settings
    config = configured(
        create_app(parts, judge),
        crowd,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )
    server = _Server(config, lambda: ready(_address(listener, bool(config.ssl_certfile))))
    before = {s: signal.signal(s, lambda *_: None) for s in (signal.SIGTERM, signal.SIGINT)}
    try:  # uvicorn raises the signal again after its stop, and this process has a ledger to close
        await server.serve(sockets=[listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Server(uvicorn.Server):
    """A server that says when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to answer, then say so."""
        await super().startup(sockets=sockets)
        for listener in sockets or []:
            listener.listen(
                _LINE
            )  # the loop, which accepts few in one go, has asked for a line no longer than that
        settle()
        if self.started:
            self._ready()


def bind(host: str, port: int) -> socket.socket:
    """Take a port before anything slow begins; 0 takes a free one. Raises ConflictError when it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named TCP: asyncio turns Nagle's algorithm off only then, and with it every answer would be 40 ms late.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as e:
        listener.close()
        raise ConflictError(
            f"{host}:{port} cannot be served: {e}.", "Choose another `port` or `host`."
        ) from e
    return listener


def _address(listener: socket.socket, tls: bool) -> str:
    host, port = listener.getsockname()[:2]
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def _say(address: str) -> None:
    sys.stdout.write(f"Sekisho serves at {address}\n")
    sys.stdout.flush()
