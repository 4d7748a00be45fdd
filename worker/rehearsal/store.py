"""`Memory` as a `ports.Store`: the double whose verbs do not wait, and that keeps no journal.

For the contract suite, which holds `Memory` to the meaning of the durable store, and for whoever
needs a worker without a file. Nothing outlives the process.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from worker.faces import Faces
from worker.model import (
    DAY_MS,
    HOUR_MS,
    Adoption,
    Applied,
    Batch,
    Decision,
    Delivery,
    Effect,
    Look,
    Position,
    Reason,
    RetiredRule,
    Sent,
    Settlement,
    Silence,
    Spend,
    StreamIdentity,
    StreamMemory,
    Swept,
)
from worker.ports import Admits, Clock, Decide
from worker.rehearsal import upkeep
from worker.rehearsal.intake import apply_effect
from worker.rehearsal.memory import Memory
from worker.rehearsal.person import Person
from worker.rehearsal.receipts import tell_early

LOOK_FAILED_AGAIN_MS = HOUR_MS
"""A user whose look failed, which is a bug, is looked at again after this long."""

EPISODES_KEPT_MS = 400 * DAY_MS
"""Closed episodes and their claims, beside the latest of each user and rule, which stays. Caps that
look further back keep them longer."""

SPENDS_KEPT_MS = 8 * DAY_MS
"""A budget counts one calendar day."""


class MemoryStore:
    """A state in memory (ports.Store)."""

    def __init__(self, clock: Clock) -> None:
        self.memory = Memory()
        self._clock = clock
        self._streams: dict[str, tuple[int, bool]] = {}
        """Name to birth, and whether another stream of that name was known before."""
        self._positions: dict[str, dict[str, Position]] = {}
        self._silences: list[Silence] = []
        self._standing: tuple[Silence, ...] = ()
        self._faces = Faces()

    @property
    def faces(self) -> Faces:
        """See ports.Store. None is ever learnt: what is told in full costs little here."""
        return self._faces

    async def positions(self, stream: StreamIdentity) -> StreamMemory:
        """See ports.Store."""
        born, recreated = self._streams.get(stream.name, (None, False))
        if born != stream.created_ms:
            recreated = born is not None
            self._streams[stream.name] = (stream.created_ms, recreated)
            self._positions[stream.name] = {}
        kept = self._positions[stream.name]
        return StreamMemory(
            positions=tuple(kept[shard_id] for shard_id in sorted(kept)), recreated=recreated
        )

    async def apply(self, effect: Effect, batch: Batch, *, now_ms: int) -> Applied:
        """See ports.Store. Dead letters are not kept."""
        born, _ = self._streams.get(batch.stream.name, (None, False))
        assert born == batch.stream.created_ms, "positions() has not been asked about this stream"
        applied = apply_effect(self.memory, effect, now_ms=now_ms)
        kept = self._positions[batch.stream.name]
        shard_id = batch.position.shard_id
        kept[shard_id] = _further(kept.get(shard_id), batch.position)
        return applied

    async def adopt(self, adoption: Adoption) -> None:
        """See ports.Store."""
        self.memory.adopt(adoption, now_ms=self._clock.now_ms())

    async def retired(self, rules: Mapping[str, str]) -> Sequence[RetiredRule]:
        """See ports.Store."""
        return upkeep.retired(self.memory, rules)

    async def silences(self) -> tuple[Silence, ...]:
        """See ports.Store."""
        now_ms = self._clock.now_ms()
        standing = tuple(s for s in self._silences if s.ends_ms is None or s.ends_ms > now_ms)
        if standing != self._standing:
            self._standing = standing
        return self._standing

    def put_silence(self, silence: Silence) -> None:
        """Keeps a silence, instead of the one with the same id if there is one."""
        self._silences = [s for s in self._silences if s.silence_id != silence.silence_id]
        self._silences.append(silence)
        self._silences.sort(key=lambda kept: kept.silence_id)

    async def wake(self, holds: Collection[Reason], *, now_ms: int) -> None:
        """See ports.Store."""
        upkeep.wake(self.memory, holds, now_ms=now_ms)

    async def spends(self, since_ms: int) -> Sequence[Spend]:
        """See ports.Store."""
        return self.memory.spends(since_ms)

    async def sweep(self, *, now_ms: int, decide: Decide, admits: Admits, users_max: int) -> Swept:
        """See ports.Store. Every look is taken before the first is written."""
        assert users_max > 0
        taken: list[Person] = []
        looks: list[Look] = []
        try:
            while len(taken) < users_max and (person := self.memory.pop_due(now_ms)) is not None:
                taken.append(person)
                look = self._look(person, decide, now_ms)
                if look.deliveries and not admits(look.deliveries):
                    break
                looks.append(look)
            self._write(looks)
        finally:
            for person in taken:
                if person.armed_ms is None:
                    self.memory.set_due(person, person.due_ms)
        decisions: list[Decision] = []
        deliveries: list[Delivery] = []
        for look in looks:
            decisions += look.decisions
            deliveries += look.deliveries
        due_ms = self.memory.next_due_ms()
        return Swept(
            users=len(looks),
            deliveries=tuple(deliveries),
            decisions=tuple(decisions),
            more=due_ms is not None and due_ms <= now_ms,
        )

    def _look(self, person: Person, decide: Decide, now_ms: int) -> Look:
        view = self.memory.view(person, now_ms)
        try:
            look = decide(view)
            assert look.user_id == view.user_id, "a look is about the user it was given"
            assert all(d.claim.user_id == view.user_id for d in look.deliveries)
        except Exception:  # noqa: BLE001  one user's bug must not stop the others (P8)
            return Look(user_id=person.user_id, due_ms=now_ms + LOOK_FAILED_AGAIN_MS)
        return look

    def _write(self, looks: Sequence[Look]) -> None:
        for look in looks:
            self.memory.check(look)
        for look in looks:
            self.memory.write(look)

    async def settle(self, settlements: Sequence[Settlement], *, now_ms: int) -> None:
        """See ports.Store."""
        self.memory.settle(settlements, now_ms=now_ms)
        answers = (settlement.outcome for settlement in settlements)
        named = {a.message_id for a in answers if isinstance(a, Sent) and a.message_id is not None}
        tell_early(self.memory, named)

    async def recover(self, *, now_ms: int) -> int:
        """See ports.Store."""
        return upkeep.recover(self.memory, now_ms=now_ms)

    async def next_due_ms(self) -> int | None:
        """See ports.Store."""
        return self.memory.next_due_ms()

    async def prune(self, *, now_ms: int) -> int:
        """See ports.Store. All at once: there is nothing to be kept waiting."""
        kept_ms = max(EPISODES_KEPT_MS, self.memory.sends_for_ms)
        removed = self.memory.forget_spends(now_ms - SPENDS_KEPT_MS)
        return removed + upkeep.forget_closed(self.memory, now_ms - kept_ms)

    async def close(self) -> None:
        """See ports.Store."""


def _further(old: Position | None, new: Position) -> Position:
    """A position never moves back, and an ended shard stays ended."""
    old = old or Position(shard_id=new.shard_id)
    ahead = _number(new) >= _number(old)
    return Position(
        shard_id=new.shard_id,
        sequence_number=new.sequence_number if ahead else old.sequence_number,
        start_at_ms=old.start_at_ms if new.start_at_ms is None else new.start_at_ms,
        ended=old.ended or new.ended,
    )


def _number(position: Position) -> int:
    """Sequence numbers are compared as integers; before the first one comes none."""
    return -1 if position.sequence_number is None else int(position.sequence_number)
