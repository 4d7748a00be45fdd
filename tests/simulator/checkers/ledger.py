"""A story put in order: which record was given when and to whom, which call was about what, which
rules may have been in force.

`certain` and `possible` are kept apart everywhere. A record that was given to a process which was
killed at once may or may not have been kept; an edition of the rules that was written a second ago
may or may not be in force. What must not happen is demanded by what is certain, what must happen
by what is possible.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf

from tests.simulator.checkers.violation import SLACK_MS
from tests.simulator.rulebook import Book, RuleSpec, StageSpec
from tests.simulator.story import (
    Called,
    ClockStepped,
    Ended,
    Fact,
    Faulted,
    Given,
    Put,
    RulesPut,
    Silenced,
    Started,
    Story,
    Trimmed,
)

SKEW_MS = 10 * 60_000
"""How far ahead of its arrival an event may be stamped before it is clamped (`max_future_skew`)."""

MAYBE_ACCEPTED = frozenset({"ok", "timeout", "cut", "error", "unknown"})
"""Answers after which the message may be under way."""

TAKEN_APART_MS = 5 * 60_000
"""Within this time after a call that was refused as a whole, its parts are tried again."""

TRANSIT_MS = 500
"""A call's way to the provider takes at most so long."""

ANONYMOUS = "anonymous:"
"""Before the endpoint of a user of whom no event has told a name."""

STORE_FAULTS = frozenset({"disk_full"})
"""Faults that keep what was given from being written for a while."""


@dataclass(slots=True, eq=False)
class Record:
    """One record of the stream, with what became of it."""

    put: Put
    given: list[tuple[int, int, Run]] = field(default_factory=list)
    """(when, index of the fact, the process it was given to)"""
    trimmed_ms: int | None = None

    @property
    def is_gone(self) -> bool:
        """Did it leave the stream, for all that is known unread?"""
        return self.trimmed_ms is not None

    @property
    def effective_ms(self) -> int:
        """When the user was there: what the event says, but hardly after its arrival, which a
        repeated record tells of the first."""
        arrived = min(self.put.at_ms, int(self.put.facts.get("told_ms", self.put.at_ms)))
        said = self.put.at_ms if self.put.event_ms is None else self.put.event_ms
        return min(said, arrived + SKEW_MS)


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """A record that shows that a user was there. One that names only an endpoint shows it once one
    of `namings`, all records that ever tell whose that is, is known; None: it tells by itself."""

    record: Record
    namings: tuple[Record, ...] | None = None

    @property
    def effective_ms(self) -> int:
        """When the user was there."""
        return self.record.effective_ms

    @property
    def put_ms(self) -> float:
        """When all of it had reached the stream."""
        own = self.record.put.at_ms
        if self.namings is None:
            return own
        return max(own, min((n.put.at_ms for n in self.namings if not n.is_gone), default=inf))

    @property
    def is_gone(self) -> bool:
        """Did what it takes leave the stream unread?"""
        return self.record.is_gone or not self.is_named(lambda naming: not naming.is_gone)

    def is_named(self, seen: Callable[[Record], bool]) -> bool:
        """Do the records seen tell whose it is?"""
        return self.namings is None or any(seen(naming) for naming in self.namings)

    def is_seen(self, seen: Callable[[Record], bool]) -> bool:
        """Do the records seen show it?"""
        return seen(self.record) and self.is_named(seen)


@dataclass(slots=True, eq=False)
class Run:
    """One life of a process, from the moment it has the state."""

    process: int
    started_ms: int
    ended_ms: float = inf
    how: str = ""
    where: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A message to one address, with what its text tells."""

    fact: Called
    index: int
    rule: str
    revision: str
    stage: str
    variant: str
    user: str
    run: Run | None
    """Who made it; None when nobody knows."""
    decided_wall_ms: int
    """What the worker took for the time when it decided: that of the call, or of the first of a row
    of calls that were refused as a whole and taken apart."""

    @property
    def at_ms(self) -> int:
        return self.fact.at_ms

    @property
    def may_arrive(self) -> bool:
        """Was it taken, or may the worker only not rule it out?"""
        return self.fact.accepted or self.fact.answer in MAYBE_ACCEPTED


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold made by hand, and when it was over (`inf`: never)."""

    silence: str
    what: str
    matchers: Mapping[str, str]
    begin_ms: int
    until_ms: float
    """By the worker's clock."""
    over_ms: float
    """By the world's: somebody took it back."""


class Ledger:
    """Everything the checkers ask of one story."""

    def __init__(self, story: Story) -> None:
        self.story = story
        settings = story.settings
        self.end_ms = max((fact.at_ms for fact in story.facts), default=0)
        self.end_ms = int(settings.get("end_ms", self.end_ms))
        self.quiet_end_ms = int(settings.get("quiet_end_ms", self.end_ms))
        self.max_staleness_ms = int(settings.get("max_staleness_ms", 300_000))
        self.sweep_ms = int(settings.get("sweep_ms", 1_000))
        self.poll_ms = int(settings.get("poll_ms", 1_000))
        self.call_timeout_ms = int(settings.get("call_timeout_ms", 10_000))
        self.reload_ms = int(settings.get("reload_ms", 10_000))
        self.records: dict[int, Record] = {}
        self.calls: list[Call] = []
        self.runs: list[Run] = []
        self.holds: list[Hold] = []
        self.offsets: list[tuple[int, int]] = [(0, 0)]
        self.store_faults: list[int] = []
        self.fault_times: dict[str, list[int]] = defaultdict(list)
        """Kind to when it struck."""
        self.books_put: list[tuple[int, Book | None]] = []
        """When a folder was written, and what it says; None: it is broken."""
        self._taken_apart: dict[tuple[str, str], int] = {}
        self._take(story.facts)
        self._hold_to_what_was_passed()
        if settings.get("start_position") == "LATEST":
            self._forget_what_was_before()
        self.calls_of: Mapping[str, Sequence[Call]] = _grouped(self.calls)
        self._strangers: dict[str, list[str]] = defaultdict(list)
        self.sights: Mapping[str, Sequence[Sight]] = self._sights()
        self._unread = self._oldest_unread()
        self._possible = list(self._books())
        self._silences = {call.index: self._silence_of(call) for call in self.calls}

    # --- reading the story ----------------------------------------------------------------------

    def _take(self, facts: Iterable[Fact]) -> None:
        running: list[Run] = []
        begun: dict[str, Silenced] = {}
        for index, fact in enumerate(facts):
            match fact:
                case Put() | Given() | Trimmed():
                    self._take_record(fact, index, running)
                case Called():
                    self.calls.append(self._call(fact, index, running))
                case Started() | Ended():
                    self._take_life(fact, running)
                case Silenced():
                    self._end_hold(begun.pop(fact.silence, None), fact.at_ms)
                    if fact.what != "over":
                        begun[fact.silence] = fact
                case ClockStepped():
                    self.offsets.append((fact.at_ms, fact.offset_ms))
                case RulesPut():
                    self.books_put.append((fact.at_ms, fact.rules))
                case Faulted():
                    self.fault_times[fact.kind].append(fact.at_ms)
                case _:
                    pass
        for silenced in begun.values():
            self._end_hold(silenced, inf)
        self.store_faults = sorted(at for kind in STORE_FAULTS for at in self.fault_times[kind])

    def _forget_what_was_before(self) -> None:
        """A first start at the end of the stream never gets what is older: as if it was trimmed."""
        first_ms = min((r.put.at_ms for r in self.records.values() if r.given), default=inf)
        for record in self.records.values():
            if record.put.at_ms < first_ms:
                record.trimmed_ms = record.put.at_ms

    def _hold_to_what_was_passed(self) -> None:
        """Nobody can see whether a process that was killed had written what it was given. But once
        a message was sent that may not be sent while such a record is unread (P4), it counts as
        read, and that it left the stream later is no excuse any more."""
        moments = [call.at_ms for call in self.calls]
        for record in self.records.values():
            if record.trimmed_ms is None or not record.given:
                continue
            after_ms = max(record.given[0][0], record.put.at_ms + self.max_staleness_ms)
            index = bisect_right(moments, after_ms + self.offset_most_ms * 2 + SLACK_MS)
            if index < len(moments) and moments[index] < record.trimmed_ms:
                record.trimmed_ms = None

    def _take_record(self, fact: Put | Given | Trimmed, index: int, running: list[Run]) -> None:
        match fact:
            case Put():
                self.records[fact.record] = Record(fact)
            case Given():
                run = running[-1] if running else Run(-1, fact.at_ms)
                self.records[fact.record].given.append((fact.at_ms, index, run))
            case Trimmed():
                self.records[fact.record].trimmed_ms = fact.at_ms

    def _take_life(self, fact: Started | Ended, running: list[Run]) -> None:
        if isinstance(fact, Started):
            running.append(Run(fact.process, fact.at_ms))
            self.runs.append(running[-1])
            return
        for run in [run for run in running if run.process == fact.process]:
            run.ended_ms, run.how, run.where = fact.at_ms, fact.how, fact.where
            running.remove(run)

    def _call(self, fact: Called, index: int, running: Sequence[Run]) -> Call:
        key = (fact.text, fact.address)
        decided_ms = self._taken_apart.pop(key, fact.worker_ms)
        if not 0 <= fact.worker_ms - decided_ms < TAKEN_APART_MS:
            decided_ms = fact.worker_ms
        if fact.answer == "bad_request":
            self._taken_apart[key] = decided_ms
        run = running[-1] if running else None
        if any(fact.at_ms - TRANSIT_MS <= other.ended_ms <= fact.at_ms for other in self.runs):
            run = None  # it may have been on its way when who made it ended
        return Call(fact, index, *_words(fact.text), run, decided_ms)

    def _end_hold(self, begun: Silenced | None, over_ms: float) -> None:
        if begun is not None:
            until = inf if begun.until_ms is None else begun.until_ms
            self.holds.append(
                Hold(begun.silence, begun.what, begun.matchers, begun.at_ms, until, over_ms)
            )

    def _sights(self) -> dict[str, list[Sight]]:
        namings: dict[str, list[Record]] = defaultdict(list)
        for record in self.records.values():
            if record.put.facts.get("endpoint") and record.put.facts.get("user"):
                namings[record.put.facts["endpoint"]].append(record)
        found: dict[str, list[Sight]] = defaultdict(list)
        for record in self.records.values():
            endpoint, told = record.put.facts.get("endpoint"), record.put.facts.get("user")
            if endpoint in namings and "active" in record.put.facts and not told:
                user = namings[endpoint][0].put.facts["user"]
                if f"{ANONYMOUS}{endpoint}" not in self._strangers[user]:
                    self._strangers[user].append(f"{ANONYMOUS}{endpoint}")
            if not record.put.means_active:
                continue
            if told or not endpoint:
                found[told or record.put.user or ""].append(Sight(record))
                continue
            found[f"{ANONYMOUS}{endpoint}"].append(Sight(record))
            if endpoint in namings:
                user = namings[endpoint][0].put.facts["user"]
                found[user].append(Sight(record, tuple(namings[endpoint])))
        return found

    # --- time -----------------------------------------------------------------------------------

    def wobble_ms(self, at_ms: float) -> int:
        """How wrong the worker's clock may have made what it took for the stream's time: the range
        of its error, right included, for as far back as that can still be felt."""
        if len(self.offsets) == 1:
            return 0
        most = max(abs(offset) for _, offset in self.offsets)
        since = at_ms - 2 * most - self.max_staleness_ms - SLACK_MS
        first = bisect_right([begin for begin, _ in self.offsets], since) - 1
        felt = [offset for begin, offset in self.offsets[max(0, first) :] if begin <= at_ms]
        return max(0, *felt) - min(0, *felt)

    @property
    def offset_most_ms(self) -> int:
        """How wrong the worker's clock ever was."""
        return max(abs(offset) for _, offset in self.offsets)

    def wall_at(self, at_ms: float) -> float:
        """What the worker's clock shows then."""
        index = bisect_right([begin for begin, _ in self.offsets], at_ms) - 1
        return at_ms + self.offsets[max(0, index)][1]

    def run_at(self, at_ms: float) -> Run | None:
        """The process that had the state then."""
        return next((r for r in self.runs if r.started_ms <= at_ms <= r.ended_ms), None)

    def written_ms(self, at_ms: int) -> int:
        """When what was got at an instant is written at the latest, if the process lives."""
        written = at_ms + SLACK_MS
        index = bisect_left(self.store_faults, at_ms - SLACK_MS)
        while index < len(self.store_faults) and self.store_faults[index] <= written:
            written = self.store_faults[index] + SLACK_MS
            index += 1
        return written

    # --- what the worker knows -------------------------------------------------------------------

    def knows(self, record: Record, call: Call) -> bool:
        """Was the record certainly in the state when the call was decided on? It was given and
        written, or it is older than the stream may be while anything is sent (P4)."""
        if self.was_written(record, call.at_ms):
            return True
        if record.trimmed_ms is not None:
            return False
        oldest = call.at_ms - self.max_staleness_ms - self.wobble_ms(call.at_ms) - SLACK_MS
        return record.put.at_ms < oldest

    def was_written(self, record: Record, at_ms: int) -> bool:
        """Was it given to a process that lived long enough to write it, and no power cut since?"""
        for given_ms, _, run in record.given:
            if given_ms > at_ms:
                return False
            written_ms = self.written_ms(given_ms)
            if written_ms > at_ms:
                continue
            if run.ended_ms < at_ms and (run.ended_ms <= written_ms or "power" in run.where):
                continue
            return True
        return False

    def given_before(self, record: Record, index: int) -> bool:
        """Was it given to anybody before that fact of the story?"""
        return bool(record.given) and record.given[0][1] < index

    def knows_all(self, sight: Sight, call: Call) -> bool:
        """`knows`, for all that a sight takes."""
        return sight.is_seen(lambda record: self.knows(record, call))

    def unread_at(self, call: Call) -> Record | None:
        """The oldest record that was on the stream and that nobody had got when a call was made."""
        return self._unread.get(call.index)

    def _oldest_unread(self) -> dict[int, Record]:
        puts = sorted(self.owed_records(), key=lambda record: record.put.at_ms)
        waiting: list[tuple[int, int]] = []
        found: dict[int, Record] = {}
        index = 0
        for call in self.calls:
            while index < len(puts) and puts[index].put.at_ms <= call.at_ms:
                heappush(waiting, (puts[index].put.at_ms, puts[index].put.record))
                index += 1
            while waiting and self.given_before(self.records[waiting[0][1]], call.index):
                heappop(waiting)
            if waiting:
                found[call.index] = self.records[waiting[0][1]]
        return found

    def silence_of(self, call: Call) -> int:
        """Which silence of its user a call is about: when the user was last here, by all that was
        given until then."""
        return self._silences[call.index]

    def _silence_of(self, call: Call) -> int:
        seen = [
            sight.effective_ms
            for sight in self.sights.get(call.user, ())
            if sight.is_seen(lambda record: self.given_before(record, call.index))
        ]
        return max(seen, default=-1)

    def strangers_of(self, user: str) -> Sequence[str]:
        """The anonymous users who became this one."""
        return self._strangers.get(user, ())

    def first_known_ms(self, user: str, since_ms: int) -> float:
        """When a process first got what shows that a silence of the user began then."""
        got = []
        for sight in self.sights.get(user, ()):
            firsts = [record.given[0][0] for record in (sight.record,) if record.given]
            named = [n.given[0][0] for n in sight.namings or () if n.given]
            if sight.effective_ms == since_ms and firsts and (named or sight.namings is None):
                got.append(max(firsts[0], min(named, default=0)))
        return min(got, default=0)

    def owed_records(self) -> list[Record]:
        """Those that somebody has to get: all but what left the stream first."""
        return [record for record in self.records.values() if record.trimmed_ms is None]

    def was_heard(self, call: Call) -> bool:
        """Did the process that made the call certainly wait for its answer, live to hear it, and
        to write it?"""
        heard_ms = call.at_ms if call.fact.answered_ms is None else call.fact.answered_ms
        if call.run is None or heard_ms - call.at_ms > self.call_timeout_ms - TRANSIT_MS:
            return False
        return self.written_ms(heard_ms) < call.run.ended_ms

    # --- rules ----------------------------------------------------------------------------------

    def _books(self) -> Iterable[tuple[float, tuple[Book, ...]]]:
        """From when on which editions may be in force, settled ones first."""
        settled: tuple[Book, ...] = ()
        puts = self.books_put
        for index, (put_ms, book) in enumerate(puts):
            until = puts[index + 1][0] if index + 1 < len(puts) else inf
            if book is None:
                continue
            if not settled:
                settled = (book,)
                yield put_ms, settled
                continue
            settled = (*settled, book)
            yield put_ms, settled
            seen_ms = self._seen_ms(put_ms, until)
            if seen_ms < until:
                settled = (book,)
                yield seen_ms, settled

    def _seen_ms(self, put_ms: float, until_ms: float) -> float:
        """When a process has certainly taken up what was put, if it stood until `until_ms`."""
        for run in self.runs:
            begin = max(put_ms, run.started_ms)
            seen = self.written_ms(int(begin)) + self.reload_ms
            if seen <= min(run.ended_ms, until_ms):
                return seen
        return inf

    def books_until(self, at_ms: float) -> tuple[Book, ...]:
        """Every edition that may ever have been in force until then."""
        return tuple(book for put_ms, book in self.books_put if book and put_ms <= at_ms)

    def books_at(self, at_ms: float) -> tuple[Book, ...]:
        """The rules that may be in force at an instant; one book when it is certain."""
        index = bisect_right([begin for begin, _ in self._possible], at_ms) - 1
        return self._possible[index][1] if index >= 0 else ()

    def books_between(self, from_ms: float, until_ms: float) -> tuple[Book, ...]:
        """Every edition that may have been in force between."""
        books = list(self.books_at(from_ms))
        books += [b for at, several in self._possible if from_ms <= at <= until_ms for b in several]
        return tuple(books)

    def rules_at(self, name: str, at_ms: float) -> tuple[RuleSpec, ...]:
        """That rule as it may be in force at an instant."""
        return tuple(r for book in self.books_at(at_ms) for r in book.rules if r.name == name)

    def ladder_of(self, call: Call) -> RuleSpec | None:
        """The rule in the edition whose text the call has."""
        for book in self.books_until(call.at_ms):
            for rule in book.rules:
                if rule.name == call.rule and str(rule.edition) == call.revision:
                    return rule
        return None

    def stage_of(self, call: Call) -> StageSpec | None:
        """The stage whose text the call has."""
        rule = self.ladder_of(call)
        stages = () if rule is None else rule.stages
        return next((stage for stage in stages if stage.name == call.stage), None)


def _words(text: str) -> tuple[str, str, str, str, str]:
    parts = text.split("|", 4)
    assert len(parts) == 5, f"a text of the simulated rules: {text!r}"
    return parts[0], parts[1], parts[2], parts[3], parts[4]


def _grouped(calls: Iterable[Call]) -> dict[str, list[Call]]:
    found: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        found[call.user].append(call)
    return found
