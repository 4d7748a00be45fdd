"""What a rehearsal keeps of one user: recency, endpoints, episodes, claims.

Mutable on purpose, and seen only within this package; what leaves it is frozen (`UserView`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from worker.drafts import changed
from worker.model import (
    Claim,
    Endpoint,
    Episode,
    PastSend,
    ReceiptStatus,
)
from worker.receipts import NOTHING_TOLD

Facts: TypeAlias = tuple[Any, ...]
"""Values of an endpoint in the order of `book.FACTS`; None: not known."""


class Row:
    """A claim with what receipts told of it."""

    __slots__ = ("claim", "message_id", "told")

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.message_id: str | None = None
        self.told = NOTHING_TOLD
        """What receipts told; `claim.receipt` is the one that counts."""


class Life:
    """The episodes and claims of a user, from the first episode on."""

    __slots__ = ("ended", "episodes", "latest", "open", "past", "rows")

    def __init__(self) -> None:
        self.episodes: dict[str, Episode] = {}
        self.open: dict[str, Episode] = {}
        """Those of `episodes` that are open."""
        self.latest: dict[str, Episode] = {}
        """By rule, the closed one whose silence began last."""
        self.ended: dict[str, int] = {}
        """By rule, when the last one was closed."""
        self.rows: list[Row] = []
        self.past: tuple[PastSend, ...] = ()
        """Sends from before the rehearsal whose claims nobody told."""

    def put(self, episode: Episode) -> None:
        """Keeps an episode as it now is."""
        episode_id = episode.episode_id
        self.episodes[episode_id] = episode
        if episode.closed_ms is None:
            self.open[episode_id] = episode
            return
        self.open.pop(episode_id, None)
        latest = self.latest.get(episode.rule)
        if latest is None or episode.silence_since_ms >= latest.silence_since_ms:
            self.latest[episode.rule] = episode
        self.ended[episode.rule] = max(episode.closed_ms, self.ended.get(episode.rule, 0))

    def drop(self, episode_id: str) -> Episode:
        """Takes an episode away, to give it to another user or to forget it."""
        episode = self.episodes.pop(episode_id)
        self.open.pop(episode_id, None)
        last = episode.closed_ms is not None and episode.closed_ms == self.ended[episode.rule]
        if last or self.latest.get(episode.rule) is episode:
            del self.latest[episode.rule], self.ended[episode.rule]
            for other in self.episodes.values():
                if other.rule == episode.rule and not other.is_open:
                    self.put(other)
        return episode

    def claims(self) -> tuple[Claim, ...]:
        """Those of the open episodes, oldest first."""
        found = [self._seen(row) for row in self.rows if row.claim.episode_id in self.open]
        if len(found) > 1:
            found.sort(key=lambda claim: (claim.claimed_ms, claim.send_id))
        return tuple(found)

    def _seen(self, row: Row) -> Claim:
        """Of a mailbox that bounced, the reports of all claims up to this one, since the last
        delivered, or as many as were known of a claim that was loaded."""
        claim = row.claim
        if claim.receipt is not ReceiptStatus.SOFT_BOUNCED:
            return claim
        same = [
            other
            for other in self.rows
            if other.claim.address_hash == claim.address_hash
            and other.claim.claimed_ms <= claim.claimed_ms
        ]
        delivered = [
            other.claim.claimed_ms
            for other in same
            if other.claim.receipt is ReceiptStatus.DELIVERED
            and other.claim.claimed_ms < claim.claimed_ms
        ]
        since_ms = max(delivered, default=-1)
        reports = sum(len(o.told.soft_bounces) for o in same if o.claim.claimed_ms > since_ms)
        return changed(claim, soft_bounces=max(reports, claim.soft_bounces))

    def sends(self, since_ms: int) -> tuple[PastSend, ...]:
        """Stages that went out, or may have, of claims since then; oldest first. One stage to
        several addresses is one send, at the time of its last."""
        if not self.rows and not self.past:
            return ()
        lasts: dict[tuple[str, str], Claim] = {}
        for row in self.rows:
            claim = row.claim
            if claim.claimed_ms >= since_ms and claim.may_have_gone_out:
                key = (claim.episode_id, claim.stage)
                known = lasts.get(key)
                if known is None or claim.sent_at_ms > known.sent_at_ms:
                    lasts[key] = claim
        told = [send for send in self.past if send.at_ms >= since_ms]
        told += [
            PastSend(
                at_ms=claim.sent_at_ms,
                rule=claim.rule,
                stage=claim.stage,
                episode_id=claim.episode_id,
                channel=claim.channel,
            )
            for claim in lasts.values()
        ]
        if len(told) > 1:
            told.sort(key=lambda send: send.at_ms)
        return tuple(told)


NO_VARIANTS: Mapping[str, str] = {}


class Person:
    """A user, or the owner of an endpoint of whom no activity is known (`last_active_ms` None:
    such a one is never due)."""

    __slots__ = (
        "armed_ms",
        "due_ms",
        "endpoints",
        "entries",
        "holdout",
        "last_active_ms",
        "life",
        "user_id",
        "variants",
    )

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self.last_active_ms: int | None = None
        self.due_ms: int | None = None
        self.armed_ms: int | None = None
        """The earliest entry of this user in the queue of due times."""
        self.entries: list[Entry] = []
        self.endpoints: tuple[Endpoint, ...] | None = ()
        """What `entries` look like to the ladder; None: to be worked out again."""
        self.life: Life | None = None
        self.holdout: bool | None = None
        self.variants = NO_VARIANTS

    @property
    def has_open(self) -> bool:
        """Is the user on a ladder?"""
        return self.life is not None and bool(self.life.open)

    def lives(self) -> Life:
        """The user's episodes, begun when there are none."""
        if self.life is None:
            self.life = Life()
        return self.life


NO_STAMPS: Mapping[str, int] = {}


class Entry:
    """One endpoint as it is known."""

    __slots__ = ("address_hash", "at_ms", "endpoint_id", "facts", "person", "stamps", "told")

    def __init__(self, endpoint_id: str, person: Person) -> None:
        self.endpoint_id = endpoint_id
        self.person = person
        """Whose it is."""
        self.at_ms = 0
        self.facts: Facts = ()
        """Empty until the first signal."""
        self.stamps = NO_STAMPS
        """The time of every known fact that is older than `at_ms`."""
        self.told: Facts | None = None
        """Facts of a signal, as it spelt them, that are exactly what is known; None: no signal's
        are."""
        self.address_hash: str | None = None
