"""Events against rules in virtual time: the unchanged core, without a file and without waiting.

Time jumps. Before anything that was said at an instant is taken in, everybody who was due earlier
is looked at, each at the own due time, by (due time, user id). What was said at an instant is taken
in before anybody due at that very instant is looked at, as a worker reads the stream up to the
present before it sweeps (P3, P4). A send is answered at once and the user looked at again at the
same instant, as an answer makes a user due in a worker.

So the result depends on the rules, on what was said when, and on the provider's answers; not on how
it is cut into batches, nor on the order of what was said at one instant, unless one event tells
whom another, which names only an endpoint or an address, is about. Purse and pace are shared by all
looks, which are taken in the order of time.

A timer that fires for a user who has been active since is wound up again without a look: no rule
can want anything before the shortest silence is over, and most timers of active users are such.
`calm` says how records of several instants are nevertheless folded together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeAlias

from worker.drafts import changed
from worker.ladder import look_at
from worker.model import (
    Action,
    Applied,
    Batch,
    DeadLetter,
    Decision,
    Delivery,
    Effect,
    Look,
    Outcome,
    Pause,
    Position,
    Reason,
    Record,
    Sent,
    Settlement,
    Silence,
    Spend,
    StreamIdentity,
)
from worker.moment import Moment
from worker.money import Purse
from worker.pace import Pace
from worker.recency import fold
from worker.rehearsal.calm import is_calm
from worker.rehearsal.intake import apply_effect
from worker.rehearsal.memory import Memory, Witness, was_not_sent
from worker.rehearsal.person import Person
from worker.retry import settle
from worker.rules.ruleset import Rule, RuleSet
from worker.silences import standing

RECORDS_PER_FOLD_MAX = 1_024
"""Records folded together; fewer while many of the users they are about are on a ladder."""

RECORDS_PER_FOLD_FIRST = 16

CALLS_PER_INSTANT_MAX = 1_000
"""A user who is sent more in one instant is in a rule or a provider that never rests."""

_STREAM: Final = StreamIdentity(name="rehearsal", created_ms=0)
_POSITION: Final = Position(shard_id="rehearsal")

Provider: TypeAlias = Callable[[Delivery], Outcome]
"""What becomes of a call for one address. For a result that does not depend on the order between
users, it depends on nothing but the delivery."""


def accept(delivery: Delivery) -> Outcome:
    """A provider that takes everything."""
    return Sent(send_id=delivery.claim.send_id)


class Observer(Witness):
    """Told what happens, in the order of time; override what is of interest. Does nothing by
    default. `closed` and `converted` are inherited."""

    def decided(self, user_id: str, decision: Decision) -> None:
        """A look took this decision."""

    def called(self, delivery: Delivery, outcome: Outcome, at_ms: int) -> None:
        """The provider was called, and answered."""

    def applied(self, applied: Applied, at_ms: int) -> None:
        """What was said up to `at_ms` was taken in."""

    def buried(self, letters: Sequence[DeadLetter]) -> None:
        """Records, or parts of them, that could not be read."""


class Play:
    """Virtual time over a `Memory`, from `start_ms` on.

    `spends` is money that was spent before, `silences` the holds made by hand, which do not change.
    `paused` is by channel type; a play learns no pauses from the provider.
    """

    def __init__(
        self,
        rules: RuleSet,
        memory: Memory | None = None,
        provider: Provider = accept,
        observer: Observer | None = None,
        *,
        start_ms: int = 0,
        spends: Sequence[Spend] = (),
        silences: Sequence[Silence] = (),
        paused: Mapping[str, Pause] | None = None,
    ) -> None:
        self.memory = memory or Memory()
        self.rules = rules
        self.now_ms = start_ms
        """What was said up to here is taken in."""
        self._provider = provider
        self._observer = observer or Observer()
        self.memory.witness = self._observer
        self._ladders: dict[tuple[str, str], Rule] = {}
        """Every ladder there was, for the episodes that began with it."""
        self._records_per_fold: float = RECORDS_PER_FOLD_FIRST
        self._served: Counter[str] = Counter()
        """By user, looks of the present instant that sent something."""
        self._from_ms = start_ms
        """Nobody can be looked at sooner."""
        self._moment = Moment(
            now_ms=start_ms,
            wall_ms=start_ms,
            paused=paused or {},
            silences=standing(silences),
            purse=Purse(spends),
            pace=Pace(rules.limits.send_rates),
        )
        self._adopt(rules)

    # --- what is said --------------------------------------------------------------------------

    def feed(self, effect: Effect, at_ms: int) -> Applied:
        """What was said at one instant. An instant that is over already counts as the present."""
        self.begin(at_ms)
        applied = apply_effect(self.memory, effect, now_ms=self.now_ms)
        self._observer.applied(applied, self.now_ms)
        return applied

    def begin(self, at_ms: int) -> None:
        """Moves on to an instant at which something is said: looks at everybody due before it."""
        at_ms = max(at_ms, self.now_ms)
        self._look_at_all_due_before(at_ms)
        self.now_ms = self._from_ms = at_ms

    def read(self, records: Sequence[Record]) -> None:
        """Records in the order of their arrival, read by the activity policy of the rules. The
        same as feeding what each of them says at its arrival."""
        begin = 0
        while begin < len(records):
            chunk = records[begin : begin + int(self._records_per_fold)]
            begin += len(chunk)
            if not self._read_calmly(chunk):
                for record in chunk:
                    self._read(record)

    def until(self, at_ms: int) -> None:
        """Nothing more was said up to and including that instant: looks at everybody due by
        then."""
        at_ms = max(at_ms, self.now_ms)
        self._look_at_all_due_before(at_ms + 1)
        self.now_ms = self._from_ms = at_ms

    def glance(self, user_id: str) -> Look:
        """What a look at a user would say now; changes nothing. Raises KeyError for a user nobody
        told of."""
        view = self.memory.view(self.memory.people[user_id], self.now_ms)
        moment = replace(self._moment, now_ms=self.now_ms, wall_ms=self.now_ms)
        return look_at(view, self.rules, moment)

    def change_rules(self, rules: RuleSet) -> None:
        """Takes another rule set into force now, as a reload does. Episodes under way finish the
        ladder they began with where the new rule says so."""
        self._look_at_all_due_before(self.now_ms)
        self._from_ms = self.now_ms
        pace = Pace(rules.limits.send_rates).following(self._moment.pace, now_ms=self.now_ms)
        self._moment = replace(self._moment, pace=pace)
        self._adopt(rules)

    def _adopt(self, rules: RuleSet) -> None:
        self._ladders.update(rules.retired)
        self.rules = replace(rules, retired=dict(self._ladders))
        self._ladders.update({(rule.name, rule.revision): rule for rule in rules.rules})
        self.memory.adopt(rules.adoption, now_ms=self.now_ms)

    def _read(self, record: Record) -> None:
        """Reads one record at its own instant."""
        self.begin(record.arrival_ms)
        self._take(self._fold((record,)), self.now_ms)

    def _read_calmly(self, chunk: Sequence[Record]) -> bool:
        """Reads the records together, if that is exact; False when nothing was done. Next time a
        little more is tried, or else much less."""
        self.begin(chunk[0].arrival_ms)
        last_ms = max(self.now_ms, max(record.arrival_ms for record in chunk))
        effect = self._fold(chunk)
        if len(chunk) > 1 and not is_calm(self.memory, effect, last_ms):
            self._records_per_fold = max(1.0, len(chunk) / 2)
            return False
        self._records_per_fold = min(RECORDS_PER_FOLD_MAX, 1.125 * self._records_per_fold + 0.1)
        self._take(effect, last_ms)
        # Who falls due on the way and is not spoken of is looked at later, as of then.
        self.now_ms = last_ms
        return True

    def _fold(self, records: Sequence[Record]) -> Effect:
        batch = Batch(stream=_STREAM, position=_POSITION, records=tuple(records), read_through_ms=0)
        return fold(batch, self.rules.activity)

    def _take(self, effect: Effect, at_ms: int) -> None:
        if effect.dead_letters:
            self._observer.buried(effect.dead_letters)
        self._observer.applied(apply_effect(self.memory, effect, now_ms=at_ms), at_ms)

    # --- looks ---------------------------------------------------------------------------------

    def _look_at_all_due_before(self, at_ms: int) -> None:
        """Whoever an instant made due in the past is due at that instant, once it is over."""
        if at_ms <= self._from_ms:
            return
        memory = self.memory
        while (due_ms := memory.next_due_ms()) is not None and due_ms < at_ms:
            person = memory.pop_due(due_ms)
            assert person is not None
            now_ms = max(due_ms, self._from_ms)
            if not memory.wind_up(person, now_ms):
                self._visit(person, now_ms)

    def _visit(self, person: Person, now_ms: int) -> None:
        """Looks at a user. One who was sent something is due again at this instant."""
        moment = self._moment
        if moment.now_ms != now_ms:
            moment = self._moment = changed(moment, now_ms=now_ms, wall_ms=now_ms)
            self._served.clear()
        look = look_at(self.memory.view(person, now_ms), self.rules, moment)
        moment.puts_off(look)
        self.memory.write(look)
        self._tell(look)
        if look.deliveries:
            moment.sends(look.deliveries)
            self._call(look.deliveries, now_ms)
            self._served[person.user_id] += 1
            served = self._served[person.user_id]
            assert served <= CALLS_PER_INSTANT_MAX, f"{served} calls for one user at one instant"
        else:
            assert look.due_ms is None or look.due_ms > now_ms, "a look asks for itself"

    def _call(self, deliveries: Sequence[Delivery], now_ms: int) -> None:
        settlements: list[Settlement] = []
        for delivery in deliveries:
            outcome = self._provider(delivery)
            self._observer.called(delivery, outcome, now_ms)
            settlement = settle(outcome, delivery.claim, now_ms)
            settlements.append(settlement)
            if was_not_sent(settlement) and not delivery.claim.maybe_sent:
                self._moment.purse.give_back([delivery.claim])
        self.memory.settle(settlements, now_ms=now_ms)

    def _tell(self, look: Look) -> None:
        for decision in look.decisions:
            self._observer.decided(look.user_id, decision)
        for episode in look.episodes:
            if episode.closed_ms is not None:
                self._observer.closed(episode, _closing(look, episode.episode_id))


def _closing(look: Look, episode_id: str) -> Reason:
    """Why a look closed an episode."""
    return next(
        decision.reason
        for decision in look.decisions
        if decision.action is Action.CLOSE and decision.episode_id == episode_id
    )
