"""The state of a rehearsal: `ports.Store` in plain dicts, synchronous, gone with the process.

A second reader of the meaning the SQLite store has; the contract suite and a differential test
hold the two together. It keeps no journal and no positions: what happens is told to a `Witness`.
What a batch changes is in `intake`, what the users are in `person`, the address book in `book`.

Every verb checks before it writes, so one that fails an assertion has changed nothing.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import replace

from worker.addresses import hash_of
from worker.model import (
    CHANNEL_OF_TYPE,
    SPEND_SPAN_MS,
    STREAM_BEHIND_MS_MAX,
    Adoption,
    Channel,
    Claim,
    ClaimState,
    Endpoint,
    Episode,
    Look,
    Reason,
    Receipt,
    Rejected,
    Retry,
    Sent,
    Settlement,
    Spend,
    Stop,
    StopReason,
    UserView,
    anonymous_user_of,
)
from worker.receipts import NOTHING_TOLD, state_after
from worker.rehearsal.book import CHANNEL_TYPE, Book
from worker.rehearsal.person import Entry, Person, Row
from worker.retry import answered


def was_not_sent(settlement: Settlement) -> bool:
    """Did the provider certainly not take the message? Then it cost nothing. A call with an unknown
    end that is repeated may have been taken."""
    return isinstance(settlement.outcome, Retry | Rejected)


class Witness:
    """Told what the state does by itself, beside what looks decide. Does nothing by default."""

    def closed(self, episode: Episode, reason: Reason) -> None:
        """An episode ended."""

    def converted(self, episode: Episode) -> None:
        """A conversion was credited to an episode, its first. One that happened before it and is
        told later takes its place without a word."""


class Memory:
    """Users, their endpoints, episodes and claims, and when each is due."""

    def __init__(self, witness: Witness | None = None) -> None:
        self.witness = witness or Witness()
        self.people: dict[str, Person] = {}
        self.book = Book()
        self.claims: dict[str, Row] = {}
        """By send id."""
        self.messages: dict[str, list[Row]] = {}
        """By the provider's message id."""
        self.early: list[Receipt | Stop] = []
        """Told of messages nobody knows, while calls are under way whose answer may name them."""
        self.rearm_after_ms: int | None = None
        self.sends_for_ms = 0
        self.adoptions: list[Adoption] = []
        self._spends: dict[tuple[int, Channel], int] = {}
        self._queue: list[tuple[int, str]] = []
        """(due_ms, user id); an entry whose user is due at another time by now is stale."""

    # --- people and due times ------------------------------------------------------------------

    def person(self, user_id: str) -> Person:
        """That user, who begins to exist when not known yet."""
        person = self.people.get(user_id)
        if person is None:
            person = self.people[user_id] = Person(user_id)
        return person

    def set_due(self, person: Person, due_ms: int | None) -> None:
        """When to look at a user; None: not before something changes."""
        person.due_ms = due_ms
        if due_ms is not None and (person.armed_ms is None or due_ms < person.armed_ms):
            person.armed_ms = due_ms
            heapq.heappush(self._queue, (due_ms, person.user_id))

    def due_by(self, person: Person, due_ms: int) -> None:
        """Brings a user forward who would be looked at later, or never. Endpoints whose user was
        never active wait for the first activity."""
        if person.last_active_ms is not None and (person.due_ms is None or person.due_ms > due_ms):
            self.set_due(person, due_ms)

    def look_again(self, person: Person, now_ms: int) -> None:
        """Something about a user changed: due now on a ladder, else when a rule can want them."""
        if person.has_open:
            self.due_by(person, now_ms)
        elif self.rearm_after_ms is not None and person.last_active_ms is not None:
            self.due_by(person, max(now_ms, person.last_active_ms + self.rearm_after_ms))

    def next_due_ms(self) -> int | None:
        """The earliest due time, None when nobody is due, ever."""
        queue = self._queue
        while queue:
            due_ms, user_id = queue[0]
            person = self.people[user_id]
            if person.armed_ms == due_ms == person.due_ms:
                return due_ms
            heapq.heappop(queue)
            if person.armed_ms == due_ms:
                person.armed_ms = None
                self.set_due(person, person.due_ms)
        return None

    def pop_due(self, now_ms: int) -> Person | None:
        """The user who is due first, by `now_ms`; of several by user id. The user stays due, but
        is not found again before `set_due`."""
        due_ms = self.next_due_ms()
        if due_ms is None or due_ms > now_ms:
            return None
        person = self.people[heapq.heappop(self._queue)[1]]
        person.armed_ms = None
        return person

    def wind_up(self, person: Person, now_ms: int) -> bool:
        """Puts a timer off that fired too soon, because the user was active since; False when there
        is something to look at."""
        if self.rearm_after_ms is None or person.has_open or person.last_active_ms is None:
            return False
        again_ms = person.last_active_ms + self.rearm_after_ms
        if again_ms <= now_ms:
            return False
        self.set_due(person, again_ms)
        return True

    def view(self, person: Person, now_ms: int) -> UserView:
        """What the ladder may know of a user (model.UserView)."""
        endpoints = person.endpoints
        if endpoints is None:
            endpoints, lasting = self.book.endpoints_of(person.entries)
            person.endpoints = endpoints if lasting else None
        life = person.life
        since_ms = now_ms - self.sends_for_ms - STREAM_BEHIND_MS_MAX
        return UserView(
            user_id=person.user_id,
            last_active_ms=person.last_active_ms,
            endpoints=endpoints,
            episodes=() if life is None else (*life.latest.values(), *life.open.values()),
            ended={} if life is None else dict(life.ended),
            claims=() if life is None else life.claims(),
            sends=() if life is None else life.sends(since_ms),
            holdout=person.holdout,
            variants=person.variants,
        )

    def move_recency(self, person: Person, at_ms: int) -> None:
        """The user was here, later than was known. Timers are lazy: a due time that comes sooner
        than anybody can want something stays."""
        person.last_active_ms = at_ms
        if self.rearm_after_ms is not None:
            again_ms = at_ms + self.rearm_after_ms
            if person.due_ms is None or person.due_ms > again_ms:
                self.set_due(person, again_ms)

    # --- looks ---------------------------------------------------------------------------------

    def write(self, look: Look) -> None:
        """Writes what a look decided. The claims come with the episodes they belong to."""
        self.check(look)
        person = self.people[look.user_id]
        self.set_due(person, look.due_ms)
        if look.episodes:
            life = person.lives()
            for episode in look.episodes:
                known = life.episodes.get(episode.episode_id)
                if known is not None and known.converted_ms != episode.converted_ms:
                    episode = replace(
                        episode,
                        converted_ms=known.converted_ms,
                        converted_stage=known.converted_stage,
                    )
                life.put(episode)
        for delivery in look.deliveries:
            self._claim(person, delivery.claim)

    def check(self, look: Look) -> None:
        """The last line of P1: fails for what must never be written."""
        if not look.episodes and not look.deliveries:
            return
        person = self.people[look.user_id]
        episodes = {} if person.life is None else person.life.episodes
        fresh = {episode.episode_id for episode in look.episodes}
        for episode in look.episodes:
            known = episodes.get(episode.episode_id)
            assert known is None or known.is_open, "a closed episode was written again"
            assert (episode.closed_ms is None) == (episode.outcome is None)
            assert (episode.hold is None) == (episode.held_ms is None)
        for delivery in look.deliveries:
            claim = delivery.claim
            assert claim.user_id == person.user_id
            assert claim.state is ClaimState.CLAIMED
            assert claim.episode_id in fresh or claim.episode_id in episodes, "no such episode"
            row = self.claims.get(claim.send_id)
            if row is None:
                assert not self._has_twin(person, claim), "a send was claimed twice"
            else:
                assert row.claim.state is ClaimState.RETRY, "a send was claimed twice"
                assert claim.attempt == row.claim.attempt + 1, "a retry counts its attempts"

    def _has_twin(self, person: Person, claim: Claim) -> bool:
        if person.life is None:
            return False
        key = (claim.episode_id, claim.stage, claim.address_hash)
        return any(
            (row.claim.episode_id, row.claim.stage, row.claim.address_hash) == key
            for row in person.life.rows
        )

    def _claim(self, person: Person, claim: Claim) -> None:
        row = self.claims.get(claim.send_id)
        if row is None:
            row = self.claims[claim.send_id] = Row(claim)
            person.lives().rows.append(row)
        else:
            row.claim = claim
            row.told = NOTHING_TOLD
        self.spend(claim, claim.cost_micros)

    def spend(self, claim: Claim, micros: int) -> None:
        """Adds to what was spent when the claim was made; what is negative is given back."""
        if micros:
            span = (claim.sent_at_ms // SPEND_SPAN_MS * SPEND_SPAN_MS, claim.channel)
            self._spends[span] = self._spends.get(span, 0) + micros

    def settle(self, settlements: Sequence[Settlement], *, now_ms: int) -> None:
        """See ports.Store."""
        rows = [self.claims.get(settlement.outcome.send_id) for settlement in settlements]
        assert len({s.outcome.send_id for s in settlements}) == len(settlements)
        assert all(row is not None for row in rows), "only a claimed send has an outcome"
        assert all(row.claim.state is ClaimState.CLAIMED for row in rows if row is not None)
        for row, settlement in zip(rows, settlements, strict=True):
            assert row is not None
            self._settle(row, settlement, now_ms)
        for row in rows:
            assert row is not None
            self.due_by(self.people[row.claim.user_id], now_ms)

    def _settle(self, row: Row, settlement: Settlement, now_ms: int) -> None:
        outcome, claim = settlement.outcome, row.claim
        state = state_after(settlement.state, row.told)
        row.claim = answered(claim, settlement)
        if row.claim.state is not state:
            row.claim = replace(row.claim, state=state)
        unsent = was_not_sent(settlement) and not claim.maybe_sent
        if unsent and state is not ClaimState.SENT:
            self.spend(claim, -claim.cost_micros)
        if isinstance(outcome, Rejected) and outcome.stop is not None:
            self.suppress(claim.address_hash, outcome.stop, now_ms)
        if isinstance(outcome, Sent):
            if outcome.message_id is not None:
                row.message_id = outcome.message_id
                self.messages.setdefault(outcome.message_id, []).append(row)
            if outcome.updated_token and claim.channel is Channel.PUSH:
                self._replace_token(claim, outcome.updated_token, now_ms)

    def _replace_token(self, claim: Claim, token: str, now_ms: int) -> None:
        person = self.people[claim.user_id]
        for entry in tuple(person.entries):
            is_push = CHANNEL_OF_TYPE.get(entry.facts[CHANNEL_TYPE] or "") is Channel.PUSH
            if is_push and entry.address_hash == claim.address_hash:
                at_ms = max(now_ms, entry.at_ms + 1)
                told = Endpoint(endpoint_id=entry.endpoint_id, at_ms=at_ms, address=token)
                self.tell(entry, told)

    # --- address book --------------------------------------------------------------------------

    def owner(self, endpoint_id: str, user_id: str | None) -> Person:
        """Whose an endpoint is: an anonymous user's of its own while nobody is named."""
        return self.person(anonymous_user_of(endpoint_id) if user_id is None else user_id)

    def enter(self, endpoint_id: str, user_id: str | None) -> Entry:
        """An endpoint nobody told of before."""
        person = self.owner(endpoint_id, user_id)
        entry = self.book.entries[endpoint_id] = Entry(endpoint_id, person)
        person.entries.append(entry)
        return entry

    def give(self, entry: Entry, user_id: str | None) -> None:
        """The endpoint is that user's from now on."""
        person = self.owner(entry.endpoint_id, user_id)
        if person is not entry.person:
            entry.person.entries.remove(entry)
            person.entries.append(entry)
            entry.person.endpoints = person.endpoints = None
            entry.person = person

    def tell(self, entry: Entry, told: Endpoint) -> bool:
        """Takes an endpoint's signal in; True when a fact changed. The entry has its owner."""
        entry.person.endpoints = None
        changed = self.book.fold(entry, told)
        if changed:
            self.rehouse(entry)
        return changed

    def rehouse(self, entry: Entry) -> None:
        """The entry's address may have changed: everybody who shares it is seen anew."""
        for other in self.book.house(entry):
            other.person.endpoints = None

    def suppress(self, address_hash: str, reason: StopReason, at_ms: int) -> set[str]:
        """Nothing goes to that address from now on; returns the users who have it."""
        users = set()
        for entry in self.book.suppress(address_hash, reason, at_ms):
            entry.person.endpoints = None
            users.add(entry.person.user_id)
        return users

    def suppress_at(
        self, channel: Channel, address: str, reason: StopReason, at_ms: int
    ) -> set[str]:
        """`suppress`, for an address as an event spells it."""
        return self.suppress(hash_of(channel, address), reason, at_ms)

    def users_at(self, channel: Channel, address: str) -> set[str]:
        """The users who have that address."""
        holders = self.book.holders.get(hash_of(channel, address), ())
        return {entry.person.user_id for entry in holders}

    # --- the rest of the port ------------------------------------------------------------------

    def adopt(self, adoption: Adoption, *, now_ms: int) -> None:
        """See ports.Store."""
        self.rearm_after_ms = adoption.rearm_after_ms
        self.sends_for_ms = adoption.sends_for_ms
        if self.adoptions and self.adoptions[-1].revision == adoption.revision:
            return
        self.adoptions.append(adoption)
        for person in self.people.values():
            self.look_again(person, now_ms)

    def spends(self, since_ms: int) -> Sequence[Spend]:
        """See ports.Store."""
        return tuple(
            Spend(channel=channel, at_ms=at_ms, micros=micros)
            for (at_ms, channel), micros in sorted(self._spends.items())
            if micros and at_ms + SPEND_SPAN_MS > since_ms
        )

    def forget_spends(self, before_ms: int) -> int:
        """Forgets spans that began before then; returns how many."""
        old = [span for span in self._spends if span[0] < before_ms]
        for span in old:
            del self._spends[span]
        return len(old)
