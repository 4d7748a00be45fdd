"""Plays a recording against one rule set or several, in one reading. Pure.

Each rule set gets a play of its own: users, ladders, caps and money of one know nothing of the
others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from worker.backtest.results import Result, result_of
from worker.backtest.slices import Slice
from worker.backtest.statistics import MEASURE_MS, Statistics
from worker.model import Record, Spend
from worker.rehearsal.memory import Memory
from worker.rehearsal.play import Play
from worker.rehearsal.swift import Swift
from worker.rules.ruleset import Mode, RuleSet


def as_live(rules: RuleSet) -> RuleSet:
    """The same rules, sending also where they say `mode: shadow`."""
    return replace(
        rules,
        rules=tuple(replace(rule, mode=Mode.LIVE) for rule in rules.rules),
        retired={key: replace(rule, mode=Mode.LIVE) for key, rule in rules.retired.items()},
    )


class Run:
    """One rule set over one recording. Slices come in order of time."""

    def __init__(
        self,
        label: str,
        rules: RuleSet,
        *,
        start_ms: int,
        from_ms: int | None = None,
        memory: Memory | None = None,
        spends: Sequence[Spend] = (),
    ) -> None:
        """`start_ms` is when the first record arrived; `memory` and `spends` are what was before.

        Rules come into force at `from_ms`, None: with the first record. What comes before only
        tells who is who and when they were active."""
        self.label = label
        memory = memory or Memory()
        self.statistics = Statistics(rules, memory)
        self._rules = rules
        self._from_ms = from_ms
        self._waits = from_ms is not None
        self._start_ms = start_ms
        self._last_ms = start_ms
        in_force = replace(rules, revision="", rules=()) if self._waits else rules
        self.play = Play(
            in_force, memory, observer=self.statistics, start_ms=start_ms, spends=spends
        )
        self._swift = Swift(memory, rules.activity)

    def know(self, endpoints: Iterable[Sequence[Record]]) -> None:
        """Endpoints told before the first event, as records that arrived then."""
        for records in endpoints:
            self.play.read(records)

    def take(self, slice_: Slice) -> None:
        """What happened in one slice of stream time."""
        self._begin_at(slice_.records[0].arrival_ms)
        quarter_ms = slice_.at_ms // MEASURE_MS * MEASURE_MS
        if quarter_ms > self._last_ms:
            self.play.until(quarter_ms - 1)
            self.statistics.settled(quarter_ms)
        self._read(slice_.records)
        self._last_ms = slice_.at_ms

    def _read(self, records: Sequence[Record]) -> None:
        """The same as `play.read`, quicker for the most ordinary records."""
        play, take = self.play, self._swift.take
        next_due_ms = play.memory.next_due_ms
        for record in records:
            at_ms = record.arrival_ms
            if at_ms < play.now_ms:
                at_ms = play.now_ms
            due_ms = next_due_ms()
            if due_ms is not None and due_ms < at_ms:
                play.begin(at_ms)
            if take(record, at_ms):
                play.now_ms = at_ms
            else:
                play.read((record,))

    def finish(self, *, after_ms: int = 0) -> Result:
        """Plays on for so long, in which nobody comes back, and tells what was counted."""
        end_ms = self._last_ms + after_ms
        self._begin_at(end_ms)
        self.play.until(self._last_ms)
        self.statistics.settled(self._last_ms)
        self.play.until(end_ms)
        self.statistics.finish()
        return result_of(
            self.statistics,
            label=self.label,
            first_ms=self._start_ms,
            last_ms=end_ms,
            since_ms=max(self._from_ms or 0, self._start_ms),
        )

    def _begin_at(self, at_ms: int) -> None:
        """Takes the rules into force when their time has come."""
        if self._waits and self._from_ms is not None and at_ms >= self._from_ms:
            self.play.until(self._from_ms)
            self.play.change_rules(self._rules)
            self._waits = False
