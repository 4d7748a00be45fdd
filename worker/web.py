"""The HTTP port: `/metrics` for Prometheus, `/-/healthy` and `/-/ready` for the orchestrator.

It shows nothing about any user (P11), and changes nothing: `POST /-/reload` only looks at the rules
folder sooner than the next poll would.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web

from worker.errors import SettingsError
from worker.health import Health
from worker.metrics import Metrics
from worker.rules.problems import Problem

EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"

PAGE = """comeback

/metrics     Prometheus metrics
/-/healthy   200 while the loops of this process turn; 503 names those that are stuck
/-/ready     200 from when it works until it drains, also while the stream is stale or
             a channel is paused; 503 says why not
/-/reload    POST: look at the rules folder now; 400 tells every problem
"""


class Web:
    """The HTTP server of one worker."""

    def __init__(self, *, bind: str, metrics: Metrics, health: Health) -> None:
        self.refresh: Callable[[], None] = lambda: None
        """Called before each scrape, to bring up to date what is not counted as it happens."""
        self.reload: Callable[[], Awaitable[Sequence[Problem]]] | None = None
        """Looks at the rules folder; None while the worker is not at work yet."""
        self._bind = bind
        self._metrics = metrics
        self._health = health
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        """Listens; returns the base URL. Raises SettingsError when the address cannot be had."""
        application = web.Application()
        application.add_routes(
            [
                web.get("/", self._index),
                web.get("/metrics", self._exposition),
                web.get("/-/healthy", self._healthy),
                web.get("/-/ready", self._ready),
                web.post("/-/reload", self._reload),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        host, _, port = self._bind.rpartition(":")
        site = web.TCPSite(self._runner, host.strip("[]") or None, int(port))
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

    async def _index(self, _: web.Request) -> web.Response:
        return web.Response(text=PAGE)

    async def _exposition(self, _: web.Request) -> web.Response:
        self.refresh()
        return web.Response(body=self._metrics.exposition(), headers={"Content-Type": EXPOSITION})

    async def _healthy(self, _: web.Request) -> web.Response:
        stuck = self._health.stuck()
        if stuck:
            return web.Response(status=503, text=f"stuck: {', '.join(stuck)}\n")
        return web.Response(text="healthy\n")

    async def _ready(self, _: web.Request) -> web.Response:
        reason = self._health.not_ready_because
        if reason is not None:
            return web.Response(status=503, text=f"not ready: {reason}\n")
        return web.Response(text="ready\n")

    async def _reload(self, _: web.Request) -> web.Response:
        if self.reload is None:
            return web.Response(status=503, text="not at work yet; rules are read at start\n")
        problems = await self.reload()
        if problems:
            lines = "".join(f"{problem}\n" for problem in problems)
            return web.Response(status=400, text=f"{lines}the rules in force are unchanged\n")
        return web.Response(text="reloaded\n")
