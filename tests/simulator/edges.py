"""The few places where the worker reaches for the real world by itself, and what it finds here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from tests.simulator import kept_rules, process, stream
from worker import app, reload
from worker.kinesis import wire
from worker.rules import retired
from worker.senders import end_user_messaging, pinpoint, ses

EDGES: tuple[tuple[ModuleType, str, object], ...] = (
    (reload, "inspect", kept_rules.inspect),
    (app, "inspect", kept_rules.inspect),
    (retired, "load_contents", kept_rules.load_contents),
    (wire, "self_test", stream.nothing_is_wrong),
    (pinpoint, "open_client", process.open_client),
    (ses, "open_client", process.open_client),
    (end_user_messaging, "open_client", process.open_client),
)
"""Module, name, what stands for it."""


@contextmanager
def simulated() -> Iterator[None]:
    """While this lasts, the edges are the simulated ones."""
    before = [(module, name, getattr(module, name)) for module, name, _ in EDGES]
    for module, name, ours in EDGES:
        setattr(module, name, ours)
    try:
        yield
    finally:
        for module, name, theirs in before:
            setattr(module, name, theirs)
