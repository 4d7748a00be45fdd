"""One bad thing stays one bad thing: calls that are refused as a whole are taken apart, and whose
fault a refusal is follows from what happens to the others (P8)."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from worker.model import Channel, Delivery, Outcome, Reason, Rejected, Retry, Sent

REFUSED_CALLS_MAX = 31
"""Calls of one `send` that may be refused while none is taken. That is all of it, its halves and
so on to its sixteenths: when each of sixteen parts is refused, the addresses are not to blame."""
REFUSED_IN_A_ROW_MAX = 5
"""Single deliveries refused one after the other, with none accepted between them, after which the
fault is taken to be ours and no longer theirs."""

BAD_REQUEST = "bad_request"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One delivery was certainly not accepted, for something in it or something in our set-up."""

    send_id: str
    detail: str = BAD_REQUEST


Answers: TypeAlias = Sequence[Outcome | Refusal]
Call: TypeAlias = Callable[[Sequence[Delivery]], Awaitable[Answers | None]]
"""Makes one call: an answer for each delivery, in order, or None when it was refused as a whole."""


class Refusals:
    """Sends by calls that may be refused, and remembers per channel how many were."""

    def __init__(self) -> None:
        self._in_a_row: Counter[Channel] = Counter()

    async def send(self, deliveries: Sequence[Delivery], call: Call) -> list[Outcome]:
        """One outcome for each delivery, in order; they are of one channel.

        One call, unless it is refused as a whole because of something in it: then halves of it are
        tried, the larger first, so that one poison address harms only itself. A refused call
        accepted nobody, so no address is in two calls that may both be accepted. `n` deliveries
        make at most `2 n - 1` calls, `REFUSED_CALLS_MAX` when none is taken, and about `2 log2 n`
        for one poison address.
        """
        first = await call(deliveries)
        sent = [answer for answer in first or () if isinstance(answer, Sent)]
        if len(sent) == len(deliveries):
            self._in_a_row[deliveries[0].claim.channel] = 0
            return [*sent]
        answers = await _taken_apart(deliveries, call, first)
        refused = [answer for answer in answers.values() if isinstance(answer, Refusal)]
        outcomes = {a.send_id: a for a in answers.values() if not isinstance(a, Refusal)}
        any_sent = any(isinstance(outcome, Sent) for outcome in outcomes.values())
        outcomes.update(self._judge(deliveries[0].claim.channel, refused, any_sent=any_sent))
        assert len(outcomes) == len(deliveries), "one outcome for each delivery"
        return [outcomes[delivery.claim.send_id] for delivery in deliveries]

    def _judge(
        self, channel: Channel, refused: Sequence[Refusal], *, any_sent: bool
    ) -> dict[str, Outcome]:
        """Whose fault refusals are: a delivery's, as long as others on its channel are taken."""
        run = 0 if any_sent else self._in_a_row[channel] + len(refused)
        self._in_a_row[channel] = run
        if run < REFUSED_IN_A_ROW_MAX:
            return {r.send_id: Rejected(send_id=r.send_id, detail=r.detail) for r in refused}
        paused = Reason.CHANNEL_PAUSED
        return {
            r.send_id: Retry(send_id=r.send_id, reason=paused, detail=r.detail) for r in refused
        }


async def _taken_apart(
    deliveries: Sequence[Delivery], call: Call, first: Answers | None
) -> dict[str, Outcome | Refusal]:
    """Answers by send id; a refusal for those that were refused alone, or not tried any more.
    `first` is what the call with all of them came to."""
    answers: dict[str, Outcome | Refusal] = {}
    refused_calls = 0
    parts = deque([deliveries])
    while parts and (answers or refused_calls < REFUSED_CALLS_MAX):
        part = parts.popleft()
        result = first if part is deliveries else await call(part)
        if result is not None:
            answers.update((answer.send_id, answer) for answer in result)
            continue
        refused_calls += 1
        if len(part) > 1:
            middle = len(part) // 2
            parts.extend((part[:middle], part[middle:]))
    for delivery in deliveries:
        send_id = delivery.claim.send_id
        answers.setdefault(send_id, Refusal(send_id=send_id))
    return answers
