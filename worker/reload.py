"""Rules that change while the worker runs: all or nothing, between two batches (P9).

The folder is polled for its content, not watched: that sees a ConfigMap's swapped symlink, a git
checkout and a network file system alike. A change is taken up when it has stood still for one poll,
so that a checkout half-way through is not. Everything that can fail happens before the one
reference is swapped; a bad folder leaves the last good set in force, and says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import structlog

from worker.metrics import Metrics
from worker.ports import Clock
from worker.rules.diff import difference, summary
from worker.rules.folder import fingerprint
from worker.rules.load import Inspection, inspect
from worker.rules.problems import Problem
from worker.rules.ruleset import RuleSet

POLL_SECONDS = 2.0
PROBLEMS_LOGGED_MAX = 20

log = structlog.get_logger()


async def read_aside(folder: Path) -> Inspection:
    """Reads a folder beside the loops: hundreds of rules take seconds."""
    return await asyncio.to_thread(inspect, folder)


class Reload:
    """Keeps the rule set in force in step with its folder.

    `adopt` takes a new set into force; it may take its time, and is not called twice at once.
    """

    def __init__(
        self,
        *,
        folder: Path,
        in_force: RuleSet,
        adopt: Callable[[RuleSet], Awaitable[None]],
        clock: Clock,
        metrics: Metrics,
        read: Callable[[Path], Awaitable[Inspection]] = read_aside,
    ) -> None:
        self._folder = folder
        self._read = read
        self._in_force = in_force
        self._adopt = adopt
        self._clock = clock
        self._metrics = metrics
        self._asked = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        # Not what stands in the folder now: a standby read its rules when it began to wait.
        self._looked_at = ""
        metrics.rules_in_force(in_force.revision, now_ms=clock.now_ms())

    def ask(self) -> None:
        """Looks at the folder at once (SIGHUP)."""
        self._asked.set()

    async def run(self) -> None:
        """Polls until cancelled."""
        seen = self._looked_at
        while True:
            asked = await self._clock.sleep(POLL_SECONDS, self._asked)
            self._asked.clear()
            now = fingerprint(self._folder)
            stood_still = now == seen
            seen = now
            if asked or (stood_still and now != self._looked_at):
                await self.reload()

    async def reload(self) -> Sequence[Problem]:
        """Checks the folder and takes it into force. Returns what is wrong with it; then the last
        good set stays in force."""
        async with self._one_at_a_time:
            self._looked_at = fingerprint(self._folder)
            inspection = await self._read(self._folder)
            if inspection.rule_set is None:
                self._metrics.rules_refused()
                for problem in inspection.problems[:PROBLEMS_LOGGED_MAX]:
                    log.error("rules_refused", problem=str(problem))
                return inspection.problems
            before, self._in_force = self._in_force, inspection.rule_set
            if before.revision != self._in_force.revision:
                await self._adopt(self._in_force)
                log.info(
                    "rules_reloaded",
                    revision=self._in_force.revision,
                    changes=summary(difference(before, self._in_force)),
                )
            self._metrics.rules_in_force(self._in_force.revision, now_ms=self._clock.now_ms())
            return ()
