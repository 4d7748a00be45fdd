"""An asyncio loop whose time is a number: when nothing is ready, it jumps to the next timer.

No selector, no threads, no sockets: what would run in a thread runs inline. Callbacks run in the
order they were asked for, so a run depends on nothing but its inputs. A process of the simulated
world is known by the context its tasks run in; a killed one never runs another line.
"""

from __future__ import annotations

import asyncio
from asyncio import events
from collections.abc import Callable
from contextvars import Context, ContextVar
from typing import Any


class Owner:
    """Whose callbacks they are. `dead`: none of them may run any more."""

    dead = False


OWNER: ContextVar[Owner | None] = ContextVar("owner", default=None)


class NothingLeft(RuntimeError):
    """No callback is ready and no timer is set: the world stands still for ever."""


class _Jump:
    """Stands where the selector would: waiting is adding to the time."""

    def __init__(self) -> None:
        self.now = 0.0

    def select(self, timeout: float | None) -> tuple[()]:
        if timeout is None:
            raise NothingLeft("nothing is ready and no timer is set")
        self.now += timeout
        return ()


class VirtualLoop(asyncio.BaseEventLoop):
    """`time()` is seconds of the world since the beginning of the run."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = self._jump = _Jump()
        self.world = Context()
        """The context of what belongs to no process."""
        self.failures: list[str] = []
        """What callbacks of the living raised and nobody took: bugs."""

    def time(self) -> float:
        """Virtual seconds."""
        return self._jump.now

    def at(self, when: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        """Calls back at `when` on behalf of the world, whoever asks."""
        return super().call_at(max(when, self._jump.now), callback, *args, context=self.world)

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> events.Handle:
        """As asyncio's; what belongs to the dead is never called."""
        handle = events.Handle(callback, args, self, context)
        owner = handle._context.get(OWNER)  # type: ignore[attr-defined]
        if owner is not None and owner.dead:
            handle.cancel()
        else:
            self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    def kill(self, owner: Owner) -> None:
        """Drops everything of a process: what is ready, and what waits for its time."""
        owner.dead = True
        for handle in [*self._ready, *self._scheduled]:  # type: ignore[attr-defined]
            if handle._context is not None and handle._context.get(OWNER) is owner:
                handle.cancel()

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Remembers failures nobody took; those of the dead are none."""
        owner = OWNER.get()
        if owner is None or not owner.dead:
            error = context.get("exception")
            self.failures.append(f"{context.get('message')}: {error!r}")

    def run_in_executor(  # type: ignore[override]
        self, executor: object, function: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Calls at once, in this thread."""
        future: asyncio.Future[Any] = self.create_future()
        try:
            future.set_result(function(*args))
        except Exception as error:  # noqa: BLE001  the caller awaits it
            future.set_exception(error)
        return future

    def _process_events(self, event_list: object) -> None:
        """Nothing comes from outside."""

    def _write_to_self(self) -> None:
        """Nobody has to be woken."""

    def _asyncgen_firstiter_hook(self, agen: object) -> None:
        """Generators of the dead are dropped like their tasks."""

    def _asyncgen_finalizer_hook(self, agen: object) -> None:
        """The same."""
