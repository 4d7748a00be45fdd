"""A state file that is gone, empty or another one is noticed, and what was in it is saved."""

# ruff: noqa: ASYNC240  these tests are of files, and nothing else runs meanwhile

from __future__ import annotations

from pathlib import Path

import pytest

from worker.clock import SystemClock
from worker.errors import StateMissing
from worker.store.presence import RESCUES_MAX
from worker.store.sqlite import SqliteStore


async def open_store(path: Path) -> SqliteStore:
    return await SqliteStore.open(str(path), wait=False, clock=SystemClock())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


async def test_a_first_start_that_was_cut_short_may_be_repeated(path: Path) -> None:
    """An empty file and a lock that has seen no state: nobody was sent anything yet."""
    path.touch()
    path.with_name("state.db.lock").write_text("pid 1 on here since then\n")
    await (await open_store(path)).close()
    assert path.stat().st_size > 0


@pytest.mark.parametrize("lost", [Path.unlink, lambda path: path.write_bytes(b"")])
async def test_a_state_that_was_made_must_be_there(path: Path, lost: object) -> None:
    await (await open_store(path)).close()
    assert callable(lost)
    lost(path)
    for _ in range(2):  # a refusal changes nothing, so the next start is refused too
        with pytest.raises(StateMissing, match=r"state\.db.*comeback restore"):
            await open_store(path)
    path.with_name("state.db.lock").unlink()
    path.unlink(missing_ok=True)
    await (await open_store(path)).close()


async def test_who_holds_the_lock_is_told_without_its_first_line(path: Path) -> None:
    await (await open_store(path)).close()
    store = await open_store(path)
    with pytest.raises(Exception, match=r"in use by pid [0-9]+ on"):
        await open_store(path)
    await store.close()


async def test_a_removed_file_stops_the_verbs_and_is_saved_at_the_end(path: Path) -> None:
    store = await open_store(path)
    await store.silences()
    path.unlink()
    with pytest.raises(StateMissing, match=r"state\.db\.rescued"):
        await store.silences()
    await store.recover(now_ms=1)  # what is known may still be written down, to be saved
    await store.close()
    await store.close()
    rescued = path.with_name("state.db.rescued")
    assert not path.exists()
    with pytest.raises(StateMissing, match="rescued is a copy"):
        await open_store(path)
    rescued.rename(path)
    await (await open_store(path)).close()


async def test_rescued_copies_are_never_written_over_and_are_not_without_number(
    path: Path,
) -> None:
    path.with_name("state.db.rescued").write_text("the first")
    store = await open_store(path)
    path.unlink()
    await store.close()
    assert path.with_name("state.db.rescued").read_text() == "the first"
    assert path.with_name("state.db.rescued-2").exists()
    assert len(list(path.parent.glob("*.rescued*"))) < RESCUES_MAX
