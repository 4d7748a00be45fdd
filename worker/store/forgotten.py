"""Who was erased, and what of the stream is therefore not read: their past.

A person who was erased leaves digests of the user id and of the endpoint ids, and the time. Signals
up to that time are dropped when they come: late, repeated, or read again after a restore. What the
person does later begins a new, blank story. Stops are never dropped: they hold an address back, and
keep only its digest.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable
from dataclasses import replace

from worker.addresses import normalise_address
from worker.model import Activity, Effect, Endpoint, Stop, StopReason
from worker.store import custody_statements as custody
from worker.store.connection import want

NOBODY = "forgotten:"
"""Beginning of the user id under which a call under way is settled; an episode id follows."""


def user_digest(user_id: str) -> str:
    """How an erased user is recognised: 32 hex digits."""
    return _digest("user", user_id)


def endpoint_digest(endpoint_id: str) -> str:
    """How an erased user's endpoint is recognised: 32 hex digits."""
    return _digest("endpoint", endpoint_id)


def without_forgotten(connection: sqlite3.Connection, effect: Effect) -> Effect:
    """The effect without what erased people did before they were erased.

    Costs one statement while nobody was ever erased.
    """
    if not connection.execute(custody.ANYBODY_FORGOTTEN).fetchone()[0]:
        return effect
    said: tuple[Activity | Endpoint, ...] = (*effect.activities, *effect.endpoints)
    want(connection, (digest for signal in said if (digest := _digest_of(signal)) is not None))
    forgotten: dict[str | None, int] = dict(connection.execute(custody.FORGOTTEN_WANTED).fetchall())
    if not forgotten:
        return effect

    def is_past(signal: Activity | Endpoint) -> bool:
        return signal.at_ms <= forgotten.get(_digest_of(signal), -1)

    return replace(
        effect,
        activities=tuple(a for a in effect.activities if not is_past(a)),
        endpoints=tuple(e for e in effect.endpoints if not is_past(e)),
        stops=(*effect.stops, *_opt_outs(filter(is_past, effect.endpoints))),
    )


def _opt_outs(endpoints: Iterable[Endpoint]) -> Iterable[Stop]:
    """An endpoint nobody may know any more still says that its address wants nothing."""
    for endpoint in endpoints:
        channel = endpoint.channel
        if endpoint.opted_out and endpoint.address and channel is not None:
            address = normalise_address(endpoint.channel_type, endpoint.address, endpoint.country)
            yield Stop(
                at_ms=endpoint.at_ms, channel=channel, reason=StopReason.OPTED_OUT, address=address
            )


def _digest_of(signal: Activity | Endpoint) -> str | None:
    """By whom the signal is: a phone may have changed hands, so the user counts where one is named.
    What names neither can only be about somebody the state knows."""
    if signal.user_id is not None:
        return user_digest(signal.user_id)
    return None if signal.endpoint_id is None else endpoint_digest(signal.endpoint_id)


def _digest(*parts: str) -> str:
    joined = "\x00".join(("forgotten", *parts)).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(joined, digest_size=16).hexdigest()
