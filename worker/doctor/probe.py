"""Calls of AWS that only ask, each in a bounded time, and the clock they tell by the way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from worker.doctor.findings import Finding, fail, ok, unknown, warn
from worker.ports import Clock

T = TypeVar("T")

SKEW_TOLD_MS = 10_000
"""The header has whole seconds, and answers take their time."""
SKEW_REFUSED_MS = 240_000
"""AWS refuses signatures that are five minutes off."""


class Clocks:
    """How far this machine's clock is from AWS's, by the Date header of every answer."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._skew_ms: int | None = None

    def note(self, answer: Mapping[str, Any]) -> None:
        """Takes down what an answer, or an error's response, says of the time."""
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        try:
            told = parsedate_to_datetime(headers["date"])
        except (KeyError, TypeError, ValueError):
            return
        if told.tzinfo is None:
            told = told.replace(tzinfo=UTC)
        self._skew_ms = self._clock.now_ms() - round(told.timestamp() * 1_000)

    def finding(self) -> Finding:
        """Is the clock right?"""
        if self._skew_ms is None:
            return unknown("clock", "no answer of AWS to compare with")
        ahead = self._skew_ms / 1_000
        now = datetime.fromtimestamp(self._clock.now_ms() // 1_000, UTC).isoformat()
        found = f"{abs(ahead):,.0f} s {'ahead of' if ahead > 0 else 'behind'} AWS, {now}"
        todo = "Let the machine keep its time by NTP; quiet hours and signatures go by it."
        if abs(self._skew_ms) >= SKEW_REFUSED_MS:
            return fail("clock", found, todo)
        if abs(self._skew_ms) > SKEW_TOLD_MS:
            return warn("clock", found, todo)
        return ok("clock", f"within {SKEW_TOLD_MS // 1_000} s of AWS")


async def asked(call: Awaitable[T], seconds: float) -> T:
    """The answer, or TimeoutError when there is none in that time."""
    async with asyncio.timeout(seconds):
        return await call


def code_of(error: ClientError) -> tuple[int, str]:
    """HTTP status and AWS's own code of a refusal."""
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500))
    return status, str(error.response.get("Error", {}).get("Code", "")).rpartition("#")[2]
