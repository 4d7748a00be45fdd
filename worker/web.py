"""The HTTP port: `/metrics` for Prometheus, `/-/healthy` and `/-/ready` for the orchestrator.

It shows nothing about any user (P11). Whoever reaches it may read these; the one request that makes
the worker do something, `POST /-/reload`, wants the token, and is refused where none is set. What a
stranger can cost is bounded: connections, headers, bodies, idle time, lines of the log (none).
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import structlog
from aiohttp import web
from aiohttp.http_parser import RawRequestMessage

from worker.errors import SettingsError, place_of
from worker.health import Health
from worker.metrics import Metrics
from worker.rules.problems import Problem

EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"

PAGE = """comeback

/metrics     Prometheus metrics
/-/healthy   200 while the loops of this process turn; 503 names those that are stuck
/-/ready     200 from when it works until it drains, also while the stream is stale or
             a channel is paused; 503 says why not
/-/reload    POST with the token: look at the rules folder now; 400 tells every problem
"""

RELOAD_IS_OFF = """reload over HTTP is off: this worker has no token.
Set COMEBACK_HTTP_TOKEN or COMEBACK_HTTP_TOKEN_FILE and send "Authorization: Bearer TOKEN", or send
the process SIGHUP. A changed rules folder is also taken up by itself, within seconds.
"""
NOT_ALLOWED = 'this needs the token of this worker: send "Authorization: Bearer TOKEN"\n'

CONNECTIONS_MAX: Final = 64
"""Open at once. One more closes the oldest: who only holds connections open can neither keep
Prometheus and the health check out nor use up the files this process may have open."""
BACKLOG_MAX: Final = 64
"""Connections the system keeps until they are taken."""
BODY_BYTES_MAX: Final = 1024
"""No request needs a body."""
HEADER_BYTES_MAX: Final = 4096
"""Of the request line, and of one header."""
HEADERS_MAX: Final = 50
IDLE_SECONDS_MAX: Final = 75.0
"""After an answer, without another request; longer than Prometheus usually waits to scrape."""
LINGER_SECONDS_MAX: Final = 2.0
"""How long a body that nobody asked for is read away."""

SECURITY_HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "comeback",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""On every answer, also to what is no HTTP: no script, frame or cache has any business here."""

Answering: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.Response]]

log = structlog.get_logger()


class Web:
    """The HTTP server of one worker. Without a `token` reload over HTTP is off."""

    def __init__(
        self, *, bind: str, metrics: Metrics, health: Health, token: str | None = None
    ) -> None:
        assert token != "", "an empty token is none"
        self.refresh: Callable[[], None] = lambda: None
        """Called before each scrape, to bring up to date what is not counted as it happens."""
        self.reload: Callable[[], Awaitable[Sequence[Problem]]] | None = None
        """Looks at the rules folder; None while the worker is not at work yet."""
        self._bind = bind
        self._metrics = metrics
        self._health = health
        self._token = None if token is None else token.encode()
        self._runner: web.ServerRunner | None = None
        self._routes: Mapping[str, Mapping[str, Answering]] = {
            path: {"GET": answer, "HEAD": answer}
            for path, answer in (
                ("/", self._index),
                ("/metrics", self._exposition),
                ("/-/healthy", self._healthy),
                ("/-/ready", self._ready),
            )
        } | {"/-/reload": {"POST": self._reload}}

    async def start(self) -> str:
        """Listens; returns the base URL. Raises SettingsError when the address cannot be had."""
        self._runner = web.ServerRunner(_server(self._answer))
        await self._runner.setup()
        host, _, port = self._bind.rpartition(":")
        address = host.strip("[]") or None
        site = web.TCPSite(self._runner, address, int(port), backlog=BACKLOG_MAX)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise SettingsError(
                f"cannot listen on {self._bind}: {error.strerror or error}."
                " Set COMEBACK_HTTP to an address that is free."
            ) from error
        return f"http://{host or '127.0.0.1'}:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Stops listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        """Finds who answers. An error's own text stays out of answer and log: it may quote
        anything."""
        by_method = self._routes.get(request.path)
        if by_method is None:
            return web.Response(status=404, text="there is nothing here; / tells what there is\n")
        answer = by_method.get(request.method)
        if answer is None:
            allowed = ", ".join(by_method)
            text = f"{request.path} takes {allowed}\n"
            return web.Response(status=405, text=text, headers={"Allow": allowed})
        if (request.content_length or 0) > BODY_BYTES_MAX:
            return web.Response(status=413, text="no request here needs a body\n")
        try:
            return await answer(request)
        except Exception as error:  # noqa: BLE001  one answer that fails must harm nothing else
            kind, place = type(error).__name__, place_of(error)
            log.error("http_failed", path=request.path, error=kind, at=place)
            return web.Response(status=500, text="this is a bug of comeback; its log says where\n")

    async def _index(self, _: web.BaseRequest) -> web.Response:
        return web.Response(text=PAGE)

    async def _exposition(self, _: web.BaseRequest) -> web.Response:
        self.refresh()
        return web.Response(body=self._metrics.exposition(), headers={"Content-Type": EXPOSITION})

    async def _healthy(self, _: web.BaseRequest) -> web.Response:
        stuck = self._health.stuck()
        if stuck:
            return web.Response(status=503, text=f"stuck: {', '.join(stuck)}\n")
        return web.Response(text="healthy\n")

    async def _ready(self, _: web.BaseRequest) -> web.Response:
        reason = self._health.not_ready_because
        if reason is not None:
            return web.Response(status=503, text=f"not ready: {reason}\n")
        return web.Response(text="ready\n")

    async def _reload(self, request: web.BaseRequest) -> web.Response:
        if self._token is None:
            return web.Response(status=403, text=RELOAD_IS_OFF)
        if not _holds(request, self._token):
            headers = {"WWW-Authenticate": "Bearer"}
            return web.Response(status=401, text=NOT_ALLOWED, headers=headers)
        if self.reload is None:
            return web.Response(status=503, text="not at work yet; rules are read at start\n")
        problems = await self.reload()
        if problems:
            lines = "".join(f"{problem}\n" for problem in problems)
            return web.Response(status=400, text=f"{lines}the rules in force are unchanged\n")
        return web.Response(text="reloaded\n")


def _holds(request: web.BaseRequest, token: bytes) -> bool:
    """Exactly one Authorization header, with the token in it; compared in constant time."""
    stated = request.headers.getall("Authorization", [])
    scheme, _, given = (stated[0] if len(stated) == 1 else "").partition(" ")
    is_same = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), token)
    return is_same and scheme.casefold() == "bearer"


class _Request(web.BaseRequest):
    """A request whose answer carries our headers, whoever wrote that answer."""

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        response.headers.update(SECURITY_HEADERS)


class _Server(web.Server):
    """Closes the oldest connection when there are too many."""

    def __call__(self) -> web.RequestHandler:
        still_open = [one for one in self.connections if one.transport is not None]
        if len(still_open) >= CONNECTIONS_MAX:
            still_open[0].force_close()
        return super().__call__()


def _server(answer: Answering) -> web.Server:
    def request(
        message: RawRequestMessage, payload: Any, protocol: Any, writer: Any, task: Any
    ) -> _Request:
        loop = asyncio.get_running_loop()
        return _Request(message, payload, protocol, writer, task, loop)

    return _Server(
        answer,
        request_factory=request,
        access_log=None,
        # It would log, with a traceback, every line of a stranger that is no HTTP.
        logger=logging.Logger("http", level=logging.CRITICAL + 1),
        keepalive_timeout=IDLE_SECONDS_MAX,
        lingering_time=LINGER_SECONDS_MAX,
        max_line_size=HEADER_BYTES_MAX,
        max_field_size=HEADER_BYTES_MAX,
        max_headers=HEADERS_MAX,
        auto_decompress=False,
    )
