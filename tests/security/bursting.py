"""`comeback run` in which parts fail, each with an error that quotes somebody.

    BURST=look,send,metrics python -m tests.security.bursting run

What fails and goes on: `look` (of every third), `send`, `metrics`, `aside` (tasks, threads,
destructors and libraries nobody waits for). What ends the process: `fold`, `settle`, `start`.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
from collections.abc import Callable
from itertools import count
from typing import Any, NoReturn

from tests.security.marks import mark
from worker import app, cli, ingest, ladder, outbox
from worker.senders.pinpoint import PinpointSender
from worker.store.sqlite import SqliteStore

EVERYTHING = (
    f"{mark('text of an error')} {mark('mail address')}@example.com +1{mark('phone number')}0001"
)


def burst(*_: object, **__: object) -> NoReturn:
    """Fails as real code does: with a value in hand, and while another error is handled."""
    held: dict[str, str] = {}
    try:
        held.pop(EVERYTHING)
    finally:
        error = RuntimeError(f"no room for {EVERYTHING}")
        error.add_note(EVERYTHING)
        raise error from ExceptionGroup(EVERYTHING, [ValueError(EVERYTHING)])


class Clumsy:
    """Fails when it is thrown away."""

    def __del__(self) -> None:
        burst()


async def burst_aside() -> None:
    """Everything that fails where nobody looks."""

    async def forgotten() -> None:
        burst()

    task = asyncio.create_task(forgotten(), name="forgotten")
    await asyncio.wait({task})
    del task
    one: Any = Clumsy()
    del one
    gc.collect()
    thread = threading.Thread(target=burst)
    thread.start()
    thread.join()
    loop = asyncio.get_running_loop()
    loop.call_soon(burst)
    loop.call_exception_handler({"message": EVERYTHING, "exception": ValueError(EVERYTHING)})
    for name in ("botocore.credentials", "aiohttp.client", "asyncio", "somebody.else"):
        library = logging.getLogger(name)
        library.warning("could not reach %s", EVERYTHING)
        try:
            burst()
        except RuntimeError:
            library.exception("failed for %r", {"Address": EVERYTHING})
    logging.getLogger("somebody.else").error(f"it was {EVERYTHING}")


def _patch(part: str) -> None:
    numbers = count()
    look_at: Callable[..., Any] = ladder.look_at

    def look(*values: Any) -> Any:
        return burst() if next(numbers) % 3 == 0 else look_at(*values)

    async def send(*_: object, **__: object) -> NoReturn:
        burst()

    open_state = SqliteStore.recover

    async def recover(self: SqliteStore, *, now_ms: int) -> int:
        await burst_aside()
        return await open_state(self, now_ms=now_ms)

    patches: dict[str, tuple[object, str, object]] = {
        "look": (outbox, "look_at", look),
        "send": (PinpointSender, "send", send),
        "metrics": (app.Worker, "refresh", burst),
        "aside": (SqliteStore, "recover", recover),
        "fold": (ingest, "fold", burst),
        "settle": (SqliteStore, "settle", send),
        "start": (app, "load", burst),
    }
    owner, name, replacement = patches[part]
    setattr(owner, name, replacement)


if __name__ == "__main__":
    for asked in os.environ.pop("BURST", "").split(","):
        _patch(asked)
    cli.main()
