"""Money budgets (P7): what was spent on a day, and whether another send still fits. Pure counting.

What was spent comes from the state, which adds a claim's cost when it is written and gives it back
when the send certainly was not accepted; so a restart does not reset it. Amounts are millionths of
the currency of the price list.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from worker.model import DAY_MS, SPEND_SPAN_MS, Channel, Claim, Spend
from worker.quiet import Zone, ZoneSource, local_day_end_ms, local_day_start_ms
from worker.rules.limits import Budget, OnHit

LOOKBACK_MS = 2 * DAY_MS
"""How far back spends can matter to a budget: a local day is at most 25 hours long."""


SUMS_KEPT_MAX = 64
"""Days of budgets whose sum is kept at hand."""


class BudgetHold(NamedTuple):
    """A budget that is spent, when its next day begins, and what it says to do."""

    until_ms: int
    on_exhausted: OnHit


class Purse:
    """What was spent. Owned by whoever writes claims: it must `take` each one."""

    def __init__(self, spends: Iterable[Spend] = ()) -> None:
        self._micros: dict[Channel, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        self._sums: dict[tuple[Channel | None, int, int], int] = {}
        for spend in spends:
            self._micros[spend.channel][spend.at_ms] += spend.micros

    def take(self, claims: Iterable[Claim]) -> None:
        """These claims were written."""
        for claim in claims:
            self._add(claim, claim.cost_micros)

    def give_back(self, claims: Iterable[Claim]) -> None:
        """These claims were certainly not accepted."""
        for claim in claims:
            self._add(claim, -claim.cost_micros)

    def spent_micros(self, channel: Channel | None, from_ms: int, until_ms: int) -> int:
        """In spans that begin from `from_ms` on and before `until_ms`; None: over all channels."""
        key = (channel, from_ms, until_ms)
        if key not in self._sums:
            if len(self._sums) >= SUMS_KEPT_MAX:
                self._sums.clear()
            self._sums[key] = self._summed(channel, from_ms, until_ms)
        return self._sums[key]

    def _summed(self, channel: Channel | None, from_ms: int, until_ms: int) -> int:
        first = -(-from_ms // SPEND_SPAN_MS) * SPEND_SPAN_MS
        spans = range(first, until_ms, SPEND_SPAN_MS)
        channels = (channel,) if channel is not None else tuple(Channel)
        total = 0
        for name in channels:
            spent = self._micros.get(name)
            if spent:
                total += sum([spent.get(at_ms, 0) for at_ms in spans])
        return total

    def _add(self, claim: Claim, micros: int) -> None:
        if not micros:
            return
        at_ms = claim.sent_at_ms // SPEND_SPAN_MS * SPEND_SPAN_MS
        self._micros[claim.channel][at_ms] += micros
        for key in self._sums:
            channel, from_ms, until_ms = key
            if channel in (None, claim.channel) and from_ms <= at_ms < until_ms:
                self._sums[key] += micros


def hold_by_budget(
    budgets: Sequence[Budget],
    purse: Purse,
    spending: Mapping[Channel, int],
    channel: Channel,
    cost_micros: int,
    now_ms: int,
) -> BudgetHold | None:
    """The budget a send of that cost would exceed, and the first instant it may be asked again.

    `spending`: what the same look is about to spend, by channel. Of several the one that lasts
    longest. A send that costs nothing exceeds nothing.
    """
    holds: list[BudgetHold] = []
    for budget in budgets:
        if not cost_micros or budget.channel not in (None, channel):
            continue
        zone = Zone((budget.timezone,), ZoneSource.TIMEZONE)
        end_ms = local_day_end_ms(zone, now_ms)
        spent = purse.spent_micros(budget.channel, local_day_start_ms(zone, now_ms), end_ms)
        here = sum(micros for name, micros in spending.items() if budget.channel in (None, name))
        if spent + here + cost_micros > budget.max_micros:
            holds.append(BudgetHold(end_ms, budget.on_exhausted))
    return max(holds, key=lambda hold: hold.until_ms, default=None)
