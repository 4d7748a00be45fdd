"""Folding does not depend on order or repetition; interrupted work is done whole or not at all."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.store.world import World, day, open_store
from worker.model import Activity, Endpoint, UserView

Signals = Sequence[Activity | Endpoint]

users = st.sampled_from(["ann", "bob"])
endpoint_ids = st.sampled_from(["e1", "e2"])
days = st.integers(min_value=0, max_value=6)

activities = st.builds(
    lambda user, endpoint_id, at: Activity(
        at_ms=day(at), event_type="x", user_id=user, endpoint_id=endpoint_id
    ),
    st.none() | users,
    endpoint_ids,
    days,
)
named_activities = st.builds(
    lambda user, at: Activity(at_ms=day(at), event_type="x", user_id=user), users, days
)
endpoints = st.builds(
    lambda endpoint_id, at, **facts: Endpoint(endpoint_id=endpoint_id, at_ms=day(at), **facts),
    endpoint_ids,
    days,
    channel_type=st.none() | st.sampled_from(["GCM", "EMAIL"]),
    address=st.none() | st.sampled_from(["a@example.com", "B@example.com"]),
    active=st.none() | st.booleans(),
    opted_out=st.none() | st.booleans(),
    locale=st.none() | st.sampled_from(["ko", "en"]),
    region=st.none() | st.sampled_from(["TX", "Bavaria"]),
    app=st.none() | st.sampled_from(["app-1", "app-2"]),
    attributes=st.none() | st.sampled_from([{"plan": ("free",)}, {"plan": ("paid",), "x": ()}]),
)


async def told(batches: Sequence[Signals]) -> dict[str, UserView]:
    """What is known after batches, in order."""
    store = await open_store(":memory:")
    world = await World(store).begin()
    for batch in batches:
        await world.tell(*batch)
    views = await world.views()
    await store.close()
    return views


def in_batches(signals: Signals, cuts: random.Random) -> list[Signals]:
    """The signals one by one or together; of an endpoint a batch holds one signal at most."""
    batches: list[list[Activity | Endpoint]] = [[]]
    for signal in signals:
        known = {s.endpoint_id for s in batches[-1] if isinstance(s, Endpoint)}
        again = isinstance(signal, Endpoint) and signal.endpoint_id in known
        if again or cuts.random() < 0.5:
            batches.append([])
        batches[-1].append(signal)
    return list(batches)


SOME = settings(max_examples=40)
"""Every example opens two states."""


@SOME
@given(st.lists(named_activities, min_size=1), st.randoms(use_true_random=False))
def test_recency_is_the_latest_activity_in_any_order(
    told_activities: list[Activity], chance: random.Random
) -> None:
    shuffled = told_activities * 2
    chance.shuffle(shuffled)
    views = asyncio.run(told(in_batches(shuffled, chance)))
    latest: dict[str, int] = {}
    for activity in told_activities:
        assert activity.user_id is not None
        latest[activity.user_id] = max(latest.get(activity.user_id, 0), activity.at_ms)
    assert {user: view.last_active_ms for user, view in views.items()} == latest


@SOME
@given(st.lists(endpoints, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_the_address_book_is_the_newest_of_every_fact_in_any_order(
    signals: list[Endpoint], chance: random.Random
) -> None:
    # Addresses are spelt by their channel type, so the two must be told together.
    signals = [replace(s, channel_type="EMAIL" if s.address else None) for s in signals]
    visible = [Activity(at_ms=day(0), event_type="x", endpoint_id=e) for e in ("e1", "e2")]
    shuffled = [*signals, *signals]
    chance.shuffle(shuffled)
    one = asyncio.run(told([*([signal] for signal in signals), visible]))
    other = asyncio.run(told([*in_batches(shuffled, chance), visible]))
    assert one == other


@SOME
@given(st.lists(activities | endpoints, max_size=12), st.randoms(use_true_random=False))
def test_reading_a_part_of_the_stream_again_changes_nothing(
    signals: list[Activity | Endpoint], chance: random.Random
) -> None:
    batches = in_batches(signals, chance)
    again = chance.randrange(len(batches))
    assert asyncio.run(told(batches)) == asyncio.run(told([*batches, *batches[again:]]))
