"""What is counted while a recording is played. Pure.

Bounded by days x rules x stages x reasons, and by the sends of the last `RETURN_MS`, of which it is
still to be seen whether the user comes back.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import heappop, heappush
from typing import Final, NamedTuple, TypeAlias

from worker.backtest.slices import SLICE_MS
from worker.holds import HOLDS
from worker.model import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    SECOND_MS,
    Action,
    Arm,
    Channel,
    DeadLetter,
    DeadReason,
    Decision,
    Delivery,
    Episode,
    EpisodeOutcome,
    Outcome,
    Reason,
    Sent,
    Uncertain,
)
from worker.quiet import zone_of
from worker.rehearsal.memory import Memory
from worker.rehearsal.play import Observer
from worker.rules.ruleset import RuleSet
from worker.rules.zones import UTC_MIDDAY, zone_named
from worker.shares import is_in

RETURN_MS: Final = 7 * DAY_MS
"""A user is back after a stage who is seen in so long a time after it."""

MEASURE_MS: Final = SLICE_MS
"""Whether a user is back is seen at full quarters of an hour."""

StageKey: TypeAlias = tuple[str, str]
"""Rule, stage."""


class SendKey(NamedTuple):
    """What sends are counted by, beside the day."""

    rule: str
    stage: str
    channel: Channel
    variant: str


class Peak(NamedTuple):
    """The most in one unit of time, and when it began; 0 and None when there was nothing."""

    most: int = 0
    at_ms: int | None = None


@dataclass(slots=True)
class Returns:
    """Of users who came to a stage: how many were watched for long enough, and came back."""

    watched: int = 0
    returned: int = 0
    unknown: int = 0
    """The recording ended too early to tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Users by what happened to them; one may be in several."""

    seen: int = 0
    inactive: int = 0
    reached: int = 0
    held_out: int = 0
    returned: int = 0
    converted: int = 0


class _Awaited(NamedTuple):
    """A user who may come back."""

    user_id: str
    since_ms: int
    key: tuple[str, str, Arm]


class Statistics(Observer):
    """Counts one play. Times in ms; days and hours are those of UTC unless it says local."""

    def __init__(self, rules: RuleSet, memory: Memory) -> None:
        self.rules = rules
        self._memory = memory
        self.sends: Counter[tuple[int, Channel]] = Counter()
        """By day (whole days since the epoch) and channel: accepted calls, one an address."""
        self.would_send: Counter[int] = Counter()
        """By day: stages of rules in shadow; each counts once."""
        self.cost_micros: Counter[tuple[int, Channel]] = Counter()
        self.sends_of: Counter[SendKey] = Counter()
        self.cost_micros_of: Counter[SendKey] = Counter()
        self.hours_utc: Counter[int] = Counter()
        self.hours_local: Counter[int] = Counter()
        """The hour it was where the user is; UTC for users of whom nothing tells it."""
        self.stages_sent: Counter[StageKey] = Counter()
        """Stages that went out, to however many addresses."""
        self.stages_would_send: Counter[StageKey] = Counter()
        self.stages_held_out: Counter[StageKey] = Counter()
        self.holds: Counter[tuple[str, str, Reason]] = Counter()
        """By rule, stage and reason: how often a hold began. Waiting for the pace counts at every
        look."""
        self.skips: Counter[tuple[str, str, Reason]] = Counter()
        self.not_begun: Counter[tuple[str, Reason]] = Counter()
        """By rule and reason: looks at silent users for whom no ladder began."""
        self.opened: Counter[tuple[str, Arm]] = Counter()
        self.closed_as: Counter[tuple[str, EpisodeOutcome]] = Counter()
        self.returned_after: Counter[tuple[str, str | None]] = Counter()
        """By rule and the last stage that went out before the return."""
        self.conversions: Counter[str] = Counter()
        self.returns: defaultdict[tuple[str, str, Arm], Returns] = defaultdict(Returns)
        self.unreadable: Counter[DeadReason] = Counter()
        """Records, or parts of them, by what is wrong with them."""
        self.peak_second = Peak()
        self.peak_minute = Peak()
        self._seconds: Counter[int] = Counter()
        self._minutes: Counter[int] = Counter()
        self._awaited: dict[int, list[_Awaited]] = {}
        self._deadlines: list[int] = []
        """Heap of the keys of `_awaited`: when it is to be seen whether they are back."""

    # --- told by the play ----------------------------------------------------------------------

    def decided(self, user_id: str, decision: Decision) -> None:
        """See Observer."""
        match decision.action:
            case Action.WAIT:
                self._waits(decision)
            case Action.ADVANCE:
                self._advances(user_id, decision)
            case Action.SKIP:
                self.skips[decision.rule, decision.stage or "", decision.reason] += 1
            case Action.OPEN:
                self.opened[decision.rule, self._arm(decision.rule, user_id)] += 1
            case Action.SEND | Action.CLOSE | Action.HASTEN:
                pass

    def closed(self, episode: Episode, reason: Reason) -> None:  # noqa: ARG002 - see Observer
        """See Observer."""
        assert episode.outcome is not None
        self.closed_as[episode.rule, episode.outcome] += 1
        if episode.outcome is EpisodeOutcome.RETURNED:
            self.returned_after[episode.rule, episode.last_stage] += 1

    def converted(self, episode: Episode) -> None:
        """See Observer."""
        self.conversions[episode.rule] += 1

    def called(self, delivery: Delivery, outcome: Outcome, at_ms: int) -> None:
        """See Observer."""
        if not isinstance(outcome, Sent | Uncertain):
            return
        claim = delivery.claim
        day, key = at_ms // DAY_MS, SendKey(claim.rule, claim.stage, claim.channel, claim.variant)
        self.sends[day, claim.channel] += 1
        self.sends_of[key] += 1
        self.hours_utc[at_ms % DAY_MS // HOUR_MS] += 1
        self.hours_local[self._local_hour(claim.user_id, at_ms)] += 1
        self._seconds[at_ms // SECOND_MS] += 1
        self._minutes[at_ms // MINUTE_MS] += 1
        if claim.cost_micros:
            self.cost_micros[day, claim.channel] += claim.cost_micros
            self.cost_micros_of[key] += claim.cost_micros

    def buried(self, letters: Sequence[DeadLetter]) -> None:
        """See Observer."""
        self.unreadable.update(letter.reason for letter in letters)

    def _arm(self, rule_name: str, user_id: str) -> Arm:
        rule = self.rules.rule_named(rule_name)
        held_out = rule is not None and rule.holdout is not None and is_in(rule.holdout, user_id)
        return Arm.HOLDOUT if held_out else Arm.TREATED

    def _waits(self, decision: Decision) -> None:
        if decision.episode_id is None:
            if decision.reason is not Reason.NOT_YET_DUE:
                self.not_begun[decision.rule, decision.reason] += 1
        elif decision.reason in HOLDS and (decision.notable or decision.reason is Reason.RATE_WAIT):
            self.holds[decision.rule, decision.stage or "", decision.reason] += 1

    def _advances(self, user_id: str, decision: Decision) -> None:
        stage = (decision.rule, decision.stage or "")
        arm = Arm.TREATED
        if decision.reason is Reason.HOLDOUT:
            self.stages_held_out[stage] += 1
            arm = Arm.HOLDOUT
        elif decision.reason is Reason.WOULD_SEND:
            self.stages_would_send[stage] += 1
            self.would_send[decision.at_ms // DAY_MS] += 1
        else:
            self.stages_sent[stage] += 1
        deadline_ms = -(-(decision.at_ms + RETURN_MS) // MEASURE_MS) * MEASURE_MS
        if deadline_ms not in self._awaited:
            self._awaited[deadline_ms] = []
            heappush(self._deadlines, deadline_ms)
        self._awaited[deadline_ms].append(_Awaited(user_id, decision.at_ms, (*stage, arm)))

    def _local_hour(self, user_id: str, at_ms: int) -> int:
        view = self._memory.view(self._memory.person(user_id), at_ms)
        names = zone_of(view, otherwise=self.rules.timezone or UTC_MIDDAY).names
        if not names:
            return at_ms % DAY_MS // HOUR_MS
        return datetime.fromtimestamp(at_ms / 1_000, zone_named(names[0])).hour

    # --- told by the backtest ------------------------------------------------------------------

    def settled(self, now_ms: int) -> None:
        """Everything that arrived before `now_ms`, a full quarter of an hour, was played; nothing
        that arrived later was."""
        while self._deadlines and self._deadlines[0] <= now_ms:
            for awaited in self._awaited.pop(heappop(self._deadlines)):
                person = self._memory.people.get(awaited.user_id)
                active_ms = person.last_active_ms if person else None
                counts = self.returns[awaited.key]
                counts.watched += 1
                counts.returned += active_ms is not None and active_ms > awaited.since_ms
        self.peak_second = _peak(self.peak_second, self._seconds, SECOND_MS, now_ms)
        self.peak_minute = _peak(self.peak_minute, self._minutes, MINUTE_MS, now_ms)

    def finish(self) -> None:
        """Nothing more comes."""
        for awaited in (one for some in self._awaited.values() for one in some):
            self.returns[awaited.key].unknown += 1
        self._awaited.clear()
        self._deadlines.clear()
        self.peak_second = _peak(self.peak_second, self._seconds, SECOND_MS, None)
        self.peak_minute = _peak(self.peak_minute, self._minutes, MINUTE_MS, None)

    def people(self, *, since_ms: int) -> People:
        """Users by what happened to them since then."""
        counts: Counter[str] = Counter()
        for person in self._memory.people.values():
            counts["seen"] += person.last_active_ms is not None
            if person.life is None:
                continue
            episodes = [e for e in person.life.episodes.values() if e.opened_ms >= since_ms]
            counts["inactive"] += bool(episodes)
            counts["held_out"] += any(e.arm is Arm.HOLDOUT for e in episodes)
            counts["returned"] += any(e.outcome is EpisodeOutcome.RETURNED for e in episodes)
            counts["converted"] += any(e.converted_ms is not None for e in episodes)
            counts["reached"] += any(
                row.claim.claimed_ms >= since_ms and row.claim.may_have_gone_out
                for row in person.life.rows
            )
        return People(**counts)


def _peak(peak: Peak, counts: Counter[int], unit_ms: int, now_ms: int | None) -> Peak:
    """The greatest so far; counts that can grow no more are taken out."""
    done = [unit for unit in counts if now_ms is None or (unit + 1) * unit_ms <= now_ms]
    for unit in sorted(done):
        count = counts.pop(unit)
        if count > peak.most:
            peak = Peak(count, unit * unit_ms)
    return peak
