"""Resharding on paper: which shards may be read, and from where."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.kinesis.lineage import Plan, Shard, children, closed, first_positions, plan
from worker.model import Position

PARENT = Shard(shard_id="p", closed=True)
LEFT, RIGHT = (Shard(shard_id=name, parent_ids=("p",)) for name in ("l", "r"))
MERGED = Shard(shard_id="m", parent_ids=("l", "r"))


def ended(*shard_ids: str) -> dict[str, Position]:
    return {name: Position(shard_id=name, sequence_number="1", ended=True) for name in shard_ids}


def readable(result: Plan) -> set[str]:
    return {position.shard_id for position in result.readable}


def test_children_wait_for_their_parent_to_be_read_to_its_end() -> None:
    begun = {"p": Position(shard_id="p", sequence_number="7")}

    result = plan([LEFT, RIGHT, PARENT], begun)

    assert result.readable == (begun["p"],), "a closed shard that was not read is work"
    assert result.waiting == ("l", "r")


def test_children_begin_at_their_trim_horizon_once_the_parent_is_at_shard_end() -> None:
    result = plan([PARENT, LEFT, RIGHT], ended("p"))

    assert result.readable == (Position(shard_id="l"), Position(shard_id="r"))
    assert result.waiting == ()


def test_the_child_of_a_merge_waits_for_both_parents() -> None:
    assert plan([LEFT, RIGHT, MERGED], ended("l")).waiting == ("m",)
    assert readable(plan([LEFT, RIGHT, MERGED], ended("l", "r"))) == {"m"}


def test_an_expired_parent_holds_nobody_up_at_any_depth() -> None:
    grandchild = Shard(shard_id="g", parent_ids=("gone",))
    its_child = Shard(shard_id="h", parent_ids=("g",))
    stored = {"long ago": Position(shard_id="long ago", sequence_number="5")}

    result = plan([grandchild, its_child], stored)

    assert readable(result) == {"g"}
    assert result.waiting == ("h",)
    assert result.expired == ("long ago",)


def test_a_shard_that_ended_and_expired_is_no_loss() -> None:
    assert plan([LEFT], ended("p")).expired == ()


def test_a_merge_with_one_expired_parent_waits_only_for_the_other() -> None:
    assert plan([LEFT, MERGED], {}).waiting == ("m",)
    assert readable(plan([LEFT, MERGED], ended("l"))) == {"m"}


def test_the_first_start_gives_every_listed_shard_the_same_time() -> None:
    starts = first_positions([PARENT, LEFT], {}, start_at_ms=1_000)

    assert starts == (
        Position(shard_id="p", start_at_ms=1_000),
        Position(shard_id="l", start_at_ms=1_000),
    )


def test_a_first_start_that_was_cut_short_is_completed_with_its_own_time() -> None:
    stored = {"p": Position(shard_id="p", start_at_ms=1_000)}

    starts = first_positions([PARENT, LEFT], stored, start_at_ms=9_000)

    assert starts == (Position(shard_id="l", start_at_ms=1_000),)


def test_once_something_was_read_the_configured_start_is_never_used_again() -> None:
    read = {"p": Position(shard_id="p", sequence_number="3")}

    assert first_positions([PARENT, LEFT], read, start_at_ms=9_000) == ()
    assert first_positions([PARENT, LEFT], ended("p"), start_at_ms=9_000) == ()
    assert readable(plan([PARENT, LEFT], ended("p"))) == {"l"}


def test_a_shard_is_closed_when_it_says_so_or_has_children() -> None:
    assert closed([PARENT, LEFT, RIGHT, MERGED]) == {"p", "l", "r"}
    assert children([PARENT, LEFT, RIGHT, MERGED]) == {"p": ["l", "r"], "l": ["m"], "r": ["m"]}


@st.composite
def histories(draw: st.DrawFn) -> list[Shard]:
    """Shards as splits and merges make them, the oldest of them expired, in any order."""
    alive, shards, born = ["0"], [Shard(shard_id="0")], 1
    for _ in range(draw(st.integers(0, 12))):
        if len(alive) > 1 and draw(st.booleans()):
            parents = tuple(draw(st.permutations(alive))[:2])
            new = [str(born)]
        else:
            parents = (draw(st.sampled_from(alive)),)
            new = [str(born), str(born + 1)]
        born += len(new)
        alive = [name for name in alive if name not in parents] + new
        shards += [Shard(shard_id=name, parent_ids=parents) for name in new]
    listed = shards[min(draw(st.integers(0, 5)), len(shards) - 1) :]
    return list(draw(st.permutations(listed)))


@given(histories())
def test_every_listed_shard_is_read_once_and_no_child_before_its_parents(
    shards: list[Shard],
) -> None:
    parents = {shard.shard_id: set(shard.parent_ids) for shard in shards}
    positions: dict[str, Position] = {}
    for _ in shards:
        result = plan(shards, positions)
        assert {*readable(result), *result.waiting} == parents.keys() - positions.keys()
        for name in readable(result):
            assert parents[name] & parents.keys() <= positions.keys()
            positions |= ended(name)
    assert positions.keys() == parents.keys()
