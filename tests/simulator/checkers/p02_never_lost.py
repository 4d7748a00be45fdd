"""P2, never lost.

Demanded:
- every record of the stream was given to a worker before the end, or left the stream first;
- every user who is silent for long enough under a live rule gets the ladder, stage by stage, worked
  out here anew: a stage is owed once it is due and there was a time in which nothing stood in its
  way, and no fault was felt, for as long as a worker may take.

Forgiven, for want of certainty: users part of whose records were trimmed or came without a name,
rules that were edited while the user was silent, ladders whose channel has an address that came,
went, or was refused on the way, from when they may have begun, answers that nobody lived to hear,
and everything `openings.py` takes for a reason to wait. A stage that was called and may have gone
out is sent; one that was refused for good makes the next one due, as `on_undeliverable` says; one
that may have been claimed when a process was killed may never be called.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from tests.simulator.checkers.addressbook import AddressBook
from tests.simulator.checkers.ledger import ANONYMOUS, Call, Ledger, Record, Sight
from tests.simulator.checkers.openings import Openings
from tests.simulator.checkers.shares import holds_out
from tests.simulator.checkers.violation import Violation
from tests.simulator.rulebook import DAY_MS, HOUR_MS, MINUTE_MS, RuleSpec, StageSpec

HELD_MAX_MS = 30 * DAY_MS
"""A stage that is held for longer ends its ladder."""

ATTEMPTS_MAX = 5
"""Calls that fail for a while before an address is given up."""

REFUSED = frozenset({"rejected", "opted_out", "bad_request"})
LATER = frozenset({"throttled", "temporary", "refused_setup"})


@dataclass(frozen=True, slots=True)
class Silence:
    """A user, last here at `since_ms` as far as anybody can know between two arrivals."""

    user: str
    since_ms: int
    begin_ms: float
    """When what shows it arrived."""
    end_ms: float
    """When the next visit arrived, or the story ended."""
    first: bool


def check(ledger: Ledger) -> Iterator[Violation]:
    """What was lost."""
    yield from _records(ledger)
    addresses = AddressBook(ledger)
    for user in sorted(ledger.sights):
        if _is_clear(ledger, addresses, user):
            openings = Openings(ledger, addresses, user, grace_ms(ledger))
            for silence in _silences(ledger, user):
                for rule in _rules_for(ledger, silence):
                    yield from Walk(ledger, addresses, openings, silence, rule).owed()


def grace_ms(ledger: Ledger) -> int:
    """How long a worker may take for what nothing keeps it from: sweeps, polls, pauses of a channel
    that end by trying again, what a clock that was wrong wrote for later."""
    intervals = 3 * (ledger.sweep_ms + ledger.poll_ms)
    return 15 * MINUTE_MS + intervals + ledger.max_staleness_ms + 2 * ledger.offset_most_ms


def _records(ledger: Ledger) -> Iterator[Violation]:
    latest_ms = ledger.end_ms - grace_ms(ledger)
    if ledger.quiet_end_ms > latest_ms or ledger.run_at(latest_ms) is None:
        return
    for record in ledger.owed_records():
        if not record.given and record.put.at_ms < latest_ms:
            yield Violation(
                promise="P2",
                at_ms=record.put.at_ms,
                user=record.put.user,
                address=record.put.address,
                records=(record.put.record,),
                says=f"a record ({record.put.kind}) was never read",
            )


def _is_clear(ledger: Ledger, addresses: AddressBook, user: str) -> bool:
    """Is the whole story of the user's records certain?"""
    if ledger.strangers_of(user):
        return False
    endpoints = addresses.endpoints_of_user.get(user, set())
    if user.startswith(ANONYMOUS):
        tellings = addresses.tellings.get(user.removeprefix(ANONYMOUS), ())
        if any(telling.facts.get("user") for telling in tellings):
            return False
    records = [sight.record for sight in ledger.sights[user]]
    records += [naming for sight in ledger.sights[user] for naming in sight.namings or ()]
    records += [t.record for endpoint in endpoints for t in addresses.tellings[endpoint]]
    return all(record.trimmed_ms is None for record in records)


def _silences(ledger: Ledger, user: str) -> Iterator[Silence]:
    """One after the other."""
    moved: list[Sight] = []
    for sight in sorted(ledger.sights[user], key=lambda sight: sight.put_ms):
        if not moved or sight.effective_ms > moved[-1].effective_ms:
            moved.append(sight)
    ends = [sight.put_ms for sight in moved[1:]] + [ledger.end_ms]
    for number, (sight, end_ms) in enumerate(zip(moved, ends, strict=True)):
        begin_ms = max(sight.put_ms, ledger.first_known_ms(user, sight.effective_ms))
        yield Silence(user, sight.effective_ms, begin_ms, end_ms, number == 0)


def _rules_for(ledger: Ledger, silence: Silence) -> Iterator[RuleSpec]:
    """The live rules that were the same for all of a silence, and hold the user not out."""
    books = ledger.books_between(min(silence.since_ms, silence.begin_ms), silence.end_ms)
    for rule in books[-1].rules if books else ():
        same = all(rule in book.rules for book in books)
        if same and rule.mode == "live" and not holds_out(rule, silence.user):
            yield rule


class Walk:
    """One silence under one rule: the ladder as it should have gone."""

    def __init__(
        self,
        ledger: Ledger,
        addresses: AddressBook,
        openings: Openings,
        silence: Silence,
        rule: RuleSpec,
    ) -> None:
        self._ledger = ledger
        self._addresses = addresses
        self._openings = openings
        self._silence = silence
        self._rule = rule
        self._grace_ms = grace_ms(ledger)
        self._earliest_ms: float = silence.since_ms + rule.inactive_for_ms
        """Before that the stage the walk has come to cannot have been claimed."""
        self._calls = [
            call
            for call in ledger.calls_of.get(silence.user, ())
            if call.rule == rule.name and ledger.silence_of(call) == silence.since_ms
        ]

    def owed(self) -> Iterator[Violation]:
        """The first stage that is missing, if one is."""
        due_ms = self._opens_ms()
        if due_ms is None:
            return
        due_ms += self._rule.stages[0].after_ms
        steady_ms = self._earliest_ms + self._rule.stages[0].after_ms
        for stage, following in pairwise((*self._rule.stages, None)):
            assert stage is not None
            calls = [call for call in self._calls if call.stage == stage.name]
            wait_ms = following.after_ms if following is not None else 0
            if any(call.may_arrive for call in calls):
                self._earliest_ms = due_ms = max(call.at_ms for call in calls) + wait_ms
                steady_ms = due_ms
                continue
            if not all(self._was_heard(call) for call in calls):
                return
            if calls:
                steady_ms = due_ms = max(call.at_ms for call in calls)
            if calls and not self._is_pending(calls):
                if stage.on_undeliverable != "next_stage":
                    return
                continue
            copies = self._copies(stage, steady_ms)
            if copies is None:
                return
            if copies == 0:
                if stage.on_undeliverable != "next_stage":
                    return
                continue
            yield from self._missing(stage, due_ms, copies)
            return

    def _opens_ms(self) -> float | None:
        """When the ladder has begun at the latest; None when it may not have to begin at all."""
        rule, silence = self._rule, self._silence
        opens_ms = max(silence.since_ms + rule.inactive_for_ms, silence.begin_ms)
        if not silence.first:
            opens_ms = max(opens_ms, silence.begin_ms + rule.cooldown_ms)
        if rule.max_inactive_ms is not None and not self._calls:
            latest_ms = min(silence.since_ms + rule.max_inactive_ms, silence.end_ms)
            if not self._openings.is_calm(opens_ms, latest_ms):
                return None
        if not any(self._copies(stage, self._earliest_ms) for stage in rule.stages):
            return None
        return opens_ms

    def _missing(self, stage: StageSpec, due_ms: float, copies: int) -> Iterator[Violation]:
        silence = self._silence
        from_ms = due_ms + self._grace_ms
        until_ms = silence.end_ms - self._grace_ms
        free_ms = self._openings.first(self._rule.name, stage, from_ms, until_ms, copies)
        if free_ms is None or free_ms - due_ms > HELD_MAX_MS - DAY_MS:
            return
        begin_ms = self._earliest_ms - self._grace_ms
        if self._openings.may_be_claimed(self._rule.name, stage, begin_ms, free_ms):
            return
        yield Violation(
            promise="P2",
            at_ms=round(free_ms + self._grace_ms),
            user=silence.user,
            says=(
                f"stage {stage.name} of rule {self._rule.name} is owed: the user is silent since"
                f" {(free_ms - silence.since_ms) / HOUR_MS:.1f} h, it was due"
                f" {(free_ms - due_ms) / HOUR_MS:.1f} h before, and nothing stood in its way"
            ),
        )

    def _was_heard(self, call: Call) -> bool:
        run = call.run
        return self._ledger.was_heard(call) and run is not None and "power" not in run.where

    def _is_pending(self, calls: list[Call]) -> bool:
        """Will one of the addresses be called again?"""
        latest: dict[str, list[Call]] = {}
        for call in calls:
            latest.setdefault(call.fact.address, []).append(call)
        for same in latest.values():
            temporary = sum(call.fact.answer == "temporary" for call in same)
            if same[-1].fact.answer in LATER and temporary < ATTEMPTS_MAX:
                return True
        return False

    def _copies(self, stage: StageSpec, from_ms: float) -> int | None:
        """How many live addresses the user has on the channel from then on, steadily; None when
        one came, went or was refused meanwhile."""
        book, silence = self._addresses, self._silence
        count = 0
        since_ms = from_ms - self._grace_ms
        for endpoint in book.owned(silence.user, lambda r: r.put.at_ms <= silence.end_ms):
            tellings = book.tellings[endpoint]
            if tellings[0].facts["channel"] != stage.channel:
                continue
            if any(r.put.at_ms > since_ms for r in self._changes(endpoint)):
                return None
            address = tellings[0].facts["address"]
            answers = [
                call.fact.answer
                for call in self._ledger.calls
                if call.fact.address == address and call.at_ms <= silence.end_ms
            ]
            if REFUSED & set(answers):
                return None
            count += book.is_live(endpoint, lambda r: r.put.at_ms <= since_ms)
        return count

    def _changes(self, endpoint: str) -> list[Record]:
        """The records that change whether the endpoint is live, or make it known."""
        book, before = self._addresses, None
        found: list[Record] = []
        for telling in book.tellings[endpoint]:
            now = (telling.facts.get("opted_out"), telling.facts.get("active"))
            if now != before:
                found.append(telling.record)
            before = now
        for telling in book.tellings[endpoint]:
            found += book.stops.get(telling.facts["address"], ())
        return found
