"""Rules that change while the worker runs: all or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog

from worker.metrics import Metrics
from worker.reload import POLL_SECONDS, Reload
from worker.rules.load import Inspection, inspect, load
from worker.rules.ruleset import RuleSet
from worker.testing import FakeClock

RULE = """
apiVersion: v1
rules:
  - rule: {name}
    mode: {mode}
    inactive_for: {days}d
    stages: [{{name: push, channel: push, message: {{title: t, body: b}}}}]
"""


def rule(name: str = "winback", days: int = 7, mode: str = "shadow") -> str:
    return RULE.format(name=name, days=days, mode=mode)


async def read_here(folder: Path) -> Inspection:
    """On the virtual clock there is no time for a thread."""
    return inspect(folder)


class Bench:
    """A rules folder, and what was taken into force from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write(rule())
        self.adopted: list[RuleSet] = []
        self.clock = FakeClock(now_ms=1_793_448_000_000)
        self.metrics = Metrics()
        self.reload = Reload(
            folder=folder,
            in_force=load(folder),
            adopt=self._adopt,
            clock=self.clock,
            metrics=self.metrics,
            read=read_here,
        )

    async def _adopt(self, rules: RuleSet) -> None:
        self.adopted.append(rules)

    def write(self, text: str, name: str = "rules.yaml") -> None:
        (self.folder / name).write_text(text)

    def metric(self, name: str) -> float:
        text = self.metrics.exposition().decode()
        return next(
            float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"{name} ")
        )

    @asynccontextmanager
    async def polled(self) -> AsyncGenerator[None]:
        task = asyncio.create_task(self.reload.run())
        await self.clock.advance(0)
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_an_edit_is_taken_into_force_when_it_has_stood_still(bench: Bench) -> None:
    async with bench.polled():
        bench.write(rule(days=9))
        await bench.clock.advance(POLL_SECONDS)
        assert bench.adopted == []
        await bench.clock.advance(POLL_SECONDS)
        assert [rules.rules[0].inactive_for_ms for rules in bench.adopted] == [9 * 86_400_000]


async def test_an_edit_made_before_the_state_was_ours_is_taken_into_force(tmp_path: Path) -> None:
    """A standby reads the rules, waits for days, and finds them edited when its turn comes."""
    bench = Bench(tmp_path)
    read_at_the_start = load(tmp_path)
    bench.write(rule(days=9))
    bench.reload = Reload(
        folder=tmp_path,
        in_force=read_at_the_start,
        adopt=bench._adopt,
        clock=bench.clock,
        metrics=bench.metrics,
        read=read_here,
    )
    async with bench.polled():
        await bench.clock.advance(2 * POLL_SECONDS)
        assert [rules.rules[0].inactive_for_ms for rules in bench.adopted] == [9 * 86_400_000]


async def test_nothing_happens_while_nothing_changes(bench: Bench) -> None:
    async with bench.polled():
        await bench.clock.advance(100)
    assert bench.adopted == []


async def test_a_folder_that_keeps_changing_is_waited_for(bench: Bench) -> None:
    async with bench.polled():
        for days in range(8, 20):
            bench.write(rule(days=days))
            await bench.clock.advance(POLL_SECONDS)
        assert bench.adopted == []


async def test_a_broken_edit_changes_nothing_and_its_repair_is_taken_up(bench: Bench) -> None:
    async with bench.polled():
        bench.write("rules: [")
        await bench.clock.advance(3 * POLL_SECONDS)
        assert bench.adopted == []
        assert bench.metric("comeback_rules_last_reload_successful") == 0
        bench.write(rule(days=9))
        await bench.clock.advance(3 * POLL_SECONDS)
        assert len(bench.adopted) == 1
        assert bench.metric("comeback_rules_last_reload_successful") == 1


async def test_taking_a_broken_edit_back_is_success_again(bench: Bench) -> None:
    async with bench.polled():
        bench.write("rules: [")
        await bench.clock.advance(3 * POLL_SECONDS)
        bench.write(rule())
        await bench.clock.advance(3 * POLL_SECONDS)
    assert bench.adopted == []
    assert bench.metric("comeback_rules_last_reload_successful") == 1


async def test_a_hangup_looks_at_once(bench: Bench) -> None:
    async with bench.polled():
        bench.write(rule(days=9))
        bench.reload.ask()
        await bench.clock.advance(0)
        assert len(bench.adopted) == 1


async def test_who_asks_is_told_what_is_wrong(bench: Bench) -> None:
    assert await bench.reload.reload() == ()
    bench.write(rule().replace("inactive_for", "inactve_for"))
    problems = await bench.reload.reload()
    assert any('did you mean "inactive_for"' in str(problem) for problem in problems)
    assert bench.adopted == []


async def test_a_configmap_is_swapped_by_its_symlink(tmp_path: Path) -> None:
    def version(name: str, text: str) -> None:
        (tmp_path / name).mkdir()
        (tmp_path / name / "rules.yaml").write_text(text)

    folder = tmp_path / "mounted"
    folder.mkdir()
    version("..1", rule())
    version("..2", rule(days=9))
    (folder / "..data").symlink_to(tmp_path / "..1")
    (folder / "rules.yaml").symlink_to("..data/rules.yaml")
    (tmp_path / "unused").mkdir()
    bench = Bench(tmp_path / "unused")
    reload = Reload(
        folder=folder,
        in_force=load(folder),
        adopt=bench._adopt,
        clock=bench.clock,
        metrics=bench.metrics,
        read=read_here,
    )
    (folder / "..new").symlink_to(tmp_path / "..2")
    (folder / "..new").rename(folder / "..data")
    assert await reload.reload() == ()
    assert len(bench.adopted) == 1


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (
            lambda b: b.write(rule("second", mode="live"), "second.yaml"),
            "second: added (live): push",
        ),
        (
            lambda b: b.write(rule("other")),
            "other: added (shadow): push; winback: removed (shadow): push",
        ),
        (lambda b: b.write(rule(mode="live")), "winback: mode: shadow -> live"),
        (lambda b: b.write(rule(days=8)), "winback: inactive_for: 7d -> 8d"),
        (
            lambda b: b.write(rule().replace("body: b", "body: secret")),
            "winback: stages.push.message.body: changed",
        ),
        (
            lambda b: b.write(rule() + "limits: {user: [{min_gap: 4h}]}\n"),
            "limits.user.min_gap: 0s -> 4h",
        ),
        (lambda b: b.write(rule() + "# a comment\n"), "none in the rules"),
    ],
)
async def test_a_change_is_logged_in_words(
    bench: Bench, edit: Callable[[Bench], None], told: str
) -> None:
    edit(bench)
    with structlog.testing.capture_logs() as logs:
        assert await bench.reload.reload() == ()
    (reloaded,) = [entry for entry in logs if entry["event"] == "rules_reloaded"]
    assert reloaded["changes"] == told
