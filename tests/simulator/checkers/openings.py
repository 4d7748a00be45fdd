"""When one message may leave, by every limit there is: the other side of P6 and P7.

Where those checkers ask whether a call was certainly forbidden, this asks from when on nothing can
have stood in its way. Whatever may have been a reason to wait is taken for one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from math import inf
from zoneinfo import ZoneInfo

from tests.simulator.checkers.addressbook import AddressBook
from tests.simulator.checkers.ledger import Call, Ledger
from tests.simulator.checkers.night import is_quiet, same_days, zones_of
from tests.simulator.rulebook import DAY_MS, HOUR_MS, MINUTE_MS, Book, StageSpec

STEPS_MAX = 5_000

HARMLESS = (
    *("event_", "receipt_", "rubbish", "opt_out", "sign_in"),
    *("edit_", "silence", "pause", "kill_switch"),
)
"""How the kinds of faults begin that keep no worker from anything; what they do is asked about by
itself, or is what must not make a difference."""

LASTING_MS = {"provider_outage": 7 * HOUR_MS, "stream_outage": HOUR_MS, "disk_full": HOUR_MS}
"""How long some faults last that are told when they begin."""
QUIET_STEP_MS = 15 * MINUTE_MS

TAKEN_BACK_MS = 35_000
"""What was written so shortly before a power cut is gone (`Ended.where`)."""

_NOTHING_NEW = ("before_commit of sweep", "of apply", "of settle", "of adopt", "of recover")
"""Where a killed process had no claim of which no call is known."""


class Openings:
    """What may keep messages to one user back."""

    def __init__(self, ledger: Ledger, addresses: AddressBook, user: str, grace_ms: int) -> None:
        self._ledger = ledger
        self._addresses = addresses
        self._user = user
        self._grace_ms = grace_ms
        calls = ledger.calls_of.get(user, ())
        self._own = [call for call in calls if call.may_arrive]
        self._counted = list(self._perhaps_sent(calls))
        """Those of stages that a worker may count as sent, whatever it was answered later."""
        self._doubtful = [
            run.ended_ms
            for run in ledger.runs
            if run.how == "killed" and not run.where.endswith(_NOTHING_NEW)
        ]
        """When something may have been claimed that was never called; it counts in the caps."""
        self._times = sorted(call.at_ms for call in ledger.calls)
        self._troubles = sorted(
            (at_ms, at_ms + LASTING_MS.get(kind, 0))
            for kind, times in ledger.fault_times.items()
            if not kind.startswith(HARMLESS)
            for at_ms in times
        )

    def _perhaps_sent(self, calls: Sequence[Call]) -> Iterator[Call]:
        """A stage counts from the first call on that may have gone out for all the worker knows:
        its answer came too late, or nobody lived to write it, or lost it again."""
        stages: set[tuple[int, str, str]] = set()
        for call in calls:
            key = (self._ledger.silence_of(call), call.rule, call.stage)
            if key in stages or call.may_arrive or not self._is_learnt(call):
                stages.add(key)
                yield call

    def _is_learnt(self, call: Call) -> bool:
        """Did the worker certainly hear the answer, and keep it?"""
        if not self._ledger.was_heard(call) or call.run is None:
            return False
        heard_ms = call.fact.answered_ms or call.at_ms
        kept_ms = self._ledger.written_ms(heard_ms) + TAKEN_BACK_MS
        return "power" not in call.run.where or kept_ms < call.run.ended_ms

    def first(
        self, rule: str, stage: StageSpec, from_ms: float, until_ms: float, copies: int
    ) -> float | None:
        """The first instant from which nothing stands in the way of the stage for as long as a
        worker may take; None when there is none in time."""
        at_ms = from_ms
        for _ in range(STEPS_MAX):
            needs_ms = self._needs_ms(stage, at_ms)
            if at_ms + needs_ms > until_ms:
                return None
            later = max(
                (
                    until
                    for moment in self._moments(at_ms, at_ms + needs_ms)
                    if (until := self._blocked_until(rule, stage, moment, copies)) > moment
                ),
                default=at_ms,
            )
            if later <= at_ms:
                return at_ms
            at_ms = later
        return None

    def is_calm(self, from_ms: float, until_ms: float) -> bool:
        """Was a worker there, untroubled, for as long as it may take at some time between?"""
        at_ms = from_ms
        while at_ms + self._grace_ms <= until_ms:
            later = at_ms
            for moment in (at_ms, at_ms + self._grace_ms):
                until = max(self._absent(moment), self._trouble(moment))
                later = max(later, until if until > moment else at_ms)
            if later <= at_ms:
                return True
            at_ms = later
        return False

    def may_be_claimed(self, rule: str, stage: StageSpec, from_ms: float, until_ms: float) -> bool:
        """Was a process killed between at a moment at which it may have claimed the stage? A claim
        is written before its call, and a call nobody saw the end of is not made again."""
        return any(
            run.how != "stopped" and self._is_open(rule, stage, run.ended_ms)
            for run in self._ledger.runs
            if from_ms <= run.ended_ms <= until_ms
        )

    def _is_open(self, rule: str, stage: StageSpec, at_ms: float) -> bool:
        """Did neither night nor a cap nor anybody's word certainly forbid the stage then?"""
        if any(h.begin_ms <= at_ms < min(h.over_ms, h.until_ms) for h in self._ledger.holds):
            return False
        return any(
            max(self._night(book, stage, at_ms), self._caps(book, rule, stage, at_ms, self._own))
            <= at_ms
            for book in self._ledger.books_at(at_ms)
        )

    def _moments(self, begin_ms: float, end_ms: float) -> Iterator[float]:
        """Where something may begin to stand in the way: quarters of an hour, and calls."""
        yield begin_ms
        yield end_ms
        moment = begin_ms + QUIET_STEP_MS
        while moment < end_ms:
            yield moment
            moment += QUIET_STEP_MS
        index = bisect_left(self._times, begin_ms)
        for at_ms in islice(self._times, index, None):
            if at_ms >= end_ms:
                break
            yield at_ms + 1

    def _needs_ms(self, stage: StageSpec, at_ms: float) -> float:
        """How long a worker may take: with a pace, as long as everybody's turn."""
        users = len(self._ledger.sights)
        turns = [
            rate.per_ms * (2 + 4 * users / rate.most)
            for book in self._ledger.books_at(at_ms)
            for rate in book.rates
            if rate.channel in (None, stage.channel)
        ]
        return self._grace_ms + max(turns, default=0)

    def _blocked_until(self, rule: str, stage: StageSpec, at_ms: float, copies: int) -> float:
        """Until when something stands in the way that does at `at_ms`; `at_ms` when nothing."""
        absent_ms = self._absent(at_ms)
        if absent_ms > at_ms:
            return absent_ms
        waits = [at_ms, self._trouble(at_ms)]
        for book in self._ledger.books_at(at_ms):
            waits.append(self._night(book, stage, at_ms))
            waits.append(self._caps(book, rule, stage, at_ms, self._counted, self._doubtful))
            waits.append(self._money(book, stage, at_ms, copies))
        for hold in self._ledger.holds:
            end_ms = min(hold.over_ms, hold.until_ms) + self._ledger.offset_most_ms
            if hold.begin_ms <= at_ms < end_ms + self._grace_ms:
                waits.append(end_ms + self._grace_ms)
        return max(waits)

    def _absent(self, at_ms: float) -> float:
        """Until when no process is there, or it has only just come."""
        run = self._ledger.run_at(at_ms)
        if run is not None and run.started_ms + self._grace_ms <= at_ms:
            return at_ms
        starts = [
            other.started_ms + self._grace_ms
            for other in self._ledger.runs
            if other.ended_ms > at_ms
        ]
        return max(at_ms + MINUTE_MS, min(starts, default=inf))

    def _trouble(self, at_ms: float) -> float:
        """Faults that may still be felt; and the worker's clock, as long as it is wrong."""
        if self._ledger.wobble_ms(at_ms):
            return at_ms + HOUR_MS
        last = bisect_left(self._troubles, (at_ms, inf))
        longest = max(LASTING_MS.values())
        until_ms = at_ms
        for begin_ms, end_ms in reversed(self._troubles[:last]):
            if begin_ms < at_ms - longest - self._grace_ms:
                break
            if end_ms + self._grace_ms > at_ms:
                until_ms = max(until_ms, end_ms + self._grace_ms)
        return until_ms

    def _night(self, book: Book, stage: StageSpec, at_ms: float) -> float:
        zones = zones_of(self._addresses, self._user, lambda record: record.put.at_ms <= at_ms)
        wall_ms = round(self._ledger.wall_at(at_ms))
        if is_quiet(book.quiet, stage.channel, zones, wall_ms) is None:
            return at_ms
        return at_ms + QUIET_STEP_MS

    def _caps(
        self,
        book: Book,
        rule: str,
        stage: StageSpec,
        at_ms: float,
        calls: Sequence[Call],
        doubtful: Sequence[float] = (),
    ) -> float:
        wall_ms = self._ledger.wall_at(at_ms)
        latest: dict[tuple[int, str, str], Call] = {}
        for call in calls:
            if call.at_ms <= at_ms:
                latest[self._ledger.silence_of(call), call.rule, call.stage] = call
        others = [
            call.decided_wall_ms
            for key, call in latest.items()
            if key[1:] != (rule, stage.name) or call.at_ms < at_ms - self._grace_ms
        ]
        others += [round(self._ledger.wall_at(t)) for t in doubtful if t <= at_ms]
        if not others:
            return at_ms
        last_ms = max(others)
        if book.min_gap_ms is not None and wall_ms < last_ms + book.min_gap_ms:
            return at_ms + last_ms + book.min_gap_ms - wall_ms
        for cap in book.caps:
            if cap.window == "rolling":
                counted = [sent_ms for sent_ms in others if sent_ms > wall_ms - cap.per_ms]
            else:
                zones = zones_of(
                    self._addresses, self._user, lambda record: record.put.at_ms <= at_ms
                )
                days = cap.per_ms // DAY_MS
                counted = [t for t in others if same_days(t, round(wall_ms), zones, days)]
            if len(counted) >= cap.most:
                return at_ms + QUIET_STEP_MS
        return at_ms

    def _money(self, book: Book, stage: StageSpec, at_ms: float, copies: int) -> float:
        """A budget that was ever full on a day may keep those waiting who met it, till the next."""
        price = (book.prices or {}).get(stage.channel, 0)
        for budget in book.budgets:
            if not price or budget.channel != stage.channel:
                continue
            zone = ZoneInfo(budget.timezone)
            day = datetime.fromtimestamp(self._ledger.wall_at(at_ms) / 1_000, zone).date()
            spent = sum(
                price
                for call in self._ledger.calls
                if call.fact.channel == budget.channel
                and datetime.fromtimestamp(call.decided_wall_ms / 1_000, zone).date() == day
            )
            if spent + price * copies > budget.micros:
                tomorrow = datetime.combine(day + timedelta(days=1), datetime.min.time(), zone)
                wait_ms = tomorrow.timestamp() * 1_000 - self._ledger.wall_at(at_ms)
                return at_ms + max(wait_ms, float(MINUTE_MS)) + HOUR_MS / 60
        return at_ms
