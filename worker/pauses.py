"""Which channel types are paused, learned from what the provider answers.

A pause keeps whole crowds from calls that would be refused. It is held per channel type, so that an
expired certificate for one kind of phone does not silence the other, and it ends by trying again,
ever more seldom. It lives in memory: after a restart the first call learns it anew.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import structlog

from worker.metrics import Metrics
from worker.model import Delivery, Outcome, Pause, Reason, Retry, Sent

PAUSE_MS_MIN = 5_000
PAUSE_MS_MAX = 300_000
"""A paused channel type is tried again after this long, doubling from the one to the other."""

log = structlog.get_logger()


class Pauses:
    """The pauses of one worker."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._in_force: dict[str, Pause] = {}
        self._in_a_row: Counter[str] = Counter()

    @property
    def in_force(self) -> Mapping[str, Pause]:
        """By channel type; one whose time is over stays until a call tells how things are."""
        return dict(self._in_force)

    def learn(
        self, deliveries: Sequence[Delivery], outcomes: Sequence[Outcome], now_ms: int
    ) -> None:
        """Takes in the answers of one call: pauses a type when our set-up is refused there, or when
        all of it was throttled; resumes it when something was accepted."""
        by_type: dict[str, list[Outcome]] = defaultdict(list)
        for delivery, outcome in zip(deliveries, outcomes, strict=True):
            by_type[delivery.channel_type].append(outcome)
        for channel_type, answers in by_type.items():
            refusal = _reason_to_pause(answers)
            if refusal is not None:
                self._pause(channel_type, refusal, now_ms)
            elif any(isinstance(answer, Sent) for answer in answers):
                self._resume(channel_type)

    def _pause(self, channel_type: str, refusal: Retry, now_ms: int) -> None:
        before = self._in_force.get(channel_type)
        if before is not None and before.until_ms > now_ms:
            return  # one of several calls that were under way when the pause began
        times = self._in_a_row[channel_type]
        pause_ms = min(PAUSE_MS_MIN << min(times, 16), PAUSE_MS_MAX)
        self._in_force[channel_type] = Pause(until_ms=now_ms + pause_ms, reason=refusal.reason)
        self._in_a_row[channel_type] = times + 1
        self._metrics.paused.labels(channel_type).set(1)
        if times == 0:
            log.error(
                "channel_paused",
                channel_type=channel_type,
                reason=refusal.reason,
                detail=refusal.detail,
            )

    def _resume(self, channel_type: str) -> None:
        if self._in_a_row.pop(channel_type, 0):
            del self._in_force[channel_type]
            self._metrics.paused.labels(channel_type).set(0)
            log.info("channel_resumed", channel_type=channel_type)


def _reason_to_pause(answers: Sequence[Outcome]) -> Retry | None:
    retries = [answer for answer in answers if isinstance(answer, Retry)]
    refused = [retry for retry in retries if retry.reason is Reason.CHANNEL_PAUSED]
    if refused:
        return refused[0]
    throttled = all(retry.reason is Reason.PROVIDER_THROTTLED for retry in retries)
    return retries[0] if throttled and len(retries) == len(answers) else None
