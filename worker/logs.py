"""Log set-up: one line an event, key=value on a terminal, JSON elsewhere, on standard error.

An event never carries an address, a token, a message text or an attribute (P11); errors of
libraries are logged by their class and code, not by their text.
"""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog


def configure(
    form: Literal["auto", "console", "json"], level: Literal["debug", "info", "warning", "error"]
) -> None:
    """Sets structlog up for the process. Library loggers speak only from warning up."""
    console = sys.stderr.isatty() if form == "auto" else form == "console"
    renderer: structlog.typing.Processor
    if console:
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        tracebacks: list[structlog.typing.Processor] = []
    else:
        renderer = structlog.processors.JSONRenderer()
        # Local variables hold addresses and texts; they stay out of the log.
        transformer = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        tracebacks = [structlog.processors.ExceptionRenderer(transformer)]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *tracebacks,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s", stream=sys.stderr)
