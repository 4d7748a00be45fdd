"""Log set-up: one line an event, key=value on a terminal, JSON elsewhere, on standard error.

An event never carries an address, a token, a message text or an attribute (P11). So no error's own
text comes here, for nobody knows what it quotes: an error is its kind and the lines of code it came
by. What a library has to say is told without the values it would fill in.
"""

from __future__ import annotations

import logging
import sys
import threading
from contextlib import suppress
from typing import Any, Final, Literal, TextIO, cast

import structlog

from worker.errors import place_of, trace_of

LIBRARIES_QUOTED: Final = frozenset({"aiobotocore", "aiohttp", "botocore", "urllib3"})
"""Whose messages are fixed texts with places for values; the places stay empty. Others, such as
asyncio, build theirs of values, so that only their source line is told."""


def configure(
    form: Literal["auto", "console", "json"], level: Literal["debug", "info", "warning", "error"]
) -> None:
    """Sets the log up for the process. Libraries speak only from warning up."""
    console = sys.stderr.isatty() if form == "auto" else form == "console"
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if console:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _without_error_texts,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, Lossy())),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [one for one in root.handlers if not isinstance(one, Libraries)]
    root.addHandler(Libraries())
    root.setLevel(logging.WARNING)


def guard_process() -> None:
    """Errors that nobody can catch (in a destructor, in a thread) are told in the same way."""
    sys.unraisablehook = lambda found: _tell_stray("error_in_cleanup", found.exc_value)
    threading.excepthook = lambda found: _tell_stray("error_in_thread", found.exc_value)


def _tell_stray(event: str, error: BaseException | None) -> None:
    if error is not None:
        structlog.get_logger().error(event, error=type(error).__name__, at=place_of(error))


def _without_error_texts(
    _: Any, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """A traceback without the errors' texts and without local variables."""
    found = event.pop("exc_info", None)
    if isinstance(found, tuple):
        found = found[1]
    error = found if isinstance(found, BaseException) else sys.exc_info()[1] if found else None
    if error is not None:
        event["exception"] = trace_of(error)
    return event


class Lossy:
    """Standard error, which may be a file on a full disk or a pipe that nobody reads any more: what
    cannot be written is lost, and the work goes on."""

    def write(self, text: str) -> None:
        """As a text file does, but for its errors."""
        with suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        """As a text file does, but for its errors."""
        with suppress(OSError):
            sys.stderr.flush()


class Libraries(logging.Handler):
    """What libraries log, as events of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        """Told is who speaks and where, the fixed part of the text, and an error's kind."""
        facts: dict[str, str] = {"library": record.name}
        if record.name.partition(".")[0] in LIBRARIES_QUOTED:
            facts["text"] = str(record.msg)
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            facts |= {"error": type(error).__name__, "at": place_of(error)}
        else:
            facts["at"] = f"{record.filename}:{record.lineno}"
        structlog.get_logger().log(max(record.levelno, logging.WARNING), "library_warning", **facts)
