"""When the faults strike that strike at a time: kills, outages, wrong clocks, reshards, edits.

Times are drawn near moments at which something happens, for at others there is nothing to harm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import TYPE_CHECKING, get_args

from tests.simulator.process import Moment, Process
from tests.simulator.provider import Word
from tests.simulator.rulebook import HOUR_MS, MINUTE_MS, SECOND_MS, Edit
from tests.simulator.story import ClockStepped, RulesPut, Silenced
from worker.errors import ComebackError
from worker.model import SilenceKind
from worker.store.silencebook import SilenceBook

if TYPE_CHECKING:
    from tests.simulator.world import World

OUTAGE_WORDS: tuple[Word, ...] = ("throttled", "error", "refused_setup", "timeout")
HOPS_MAX = 25
"""Turns of the loop after a write within which a process is killed."""


@dataclass(frozen=True, slots=True)
class Armed:
    """A kill that waits for its moment."""

    kind: str
    moment: Moment
    verb: str | None
    skips: int
    power: bool


class Plan:
    """The timed faults of one run."""

    def __init__(self, world: World, rng: Random) -> None:
        self._world = world
        self._rng = rng
        self._armed: list[Armed] = []
        self._mid_call: list[bool] = []
        """Kills that wait for a call of the provider; True: with the power."""
        self._at_write: list[bool] = []
        """Kills that wait for a write."""
        self._full_until: float = 0.0
        self._fills_at_call = 0
        """Disks that fill up when the provider is called next."""

    def draw(self) -> None:
        """Puts every timed fault of the run into the future."""
        world = self._world
        acts: dict[str, Callable[[], object]] = {
            "kill_anywhere": lambda: self._kill_anywhere(power=False),
            "kill_mid_call": lambda: self._mid_call.append(False),
            "kill_before_commit": lambda: self._arm("before_commit"),
            "kill_after_commit": lambda: self._arm("after_commit"),
            "power_cut": self._cut_power,
            "stopped": world.supervisor.stop,
            "standby": world.supervisor.stand_by,
            "down_long": world.supervisor.down_long,
            "clock_ahead": lambda: self._step_clock(1, "clock_ahead"),
            "clock_back": lambda: self._step_clock(-1, "clock_back"),
            "disk_full": self._fill_disk,
            "stream_outage": self._stream_outage,
            "provider_outage": self._provider_outage,
            "split": lambda: self._reshard("split"),
            "merge": lambda: self._reshard("merge"),
            "reshard_while_down": self._reshard_later,
            "recreated": self._recreate,
            "silence": lambda: self._silence("silence"),
            "pause": lambda: self._silence("pause"),
            "kill_switch": lambda: self._silence("kill_switch"),
        }
        for kind, act in acts.items():
            for _ in range(world.faults.times(kind)):
                world.at_ms(self._when(), act, puts=kind in ("split", "merge", "recreated"))
        edits = [k for k in get_args(Edit) for _ in range(world.faults.times(k))]
        self._rng.shuffle(edits)
        for edit in edits:
            world.at_ms(self._when(), partial(self._edit, edit))

    def _when(self) -> float:
        """Before the faults end, mostly near something that happens."""
        world, rng = self._world, self._rng
        at_ms = rng.uniform(world.start_ms, world.quiet_end_ms - HOUR_MS)
        if rng.random() < 0.6:
            near = world.time.start_ms + world.next_put(world.time.seconds(at_ms)) * 1_000
            at_ms = near + rng.gauss(0, 1) * rng.choice((SECOND_MS, MINUTE_MS, HOUR_MS))
        return min(max(at_ms, world.start_ms + SECOND_MS), world.quiet_end_ms - MINUTE_MS)

    # --- kills --------------------------------------------------------------------------------

    def disarm(self) -> None:
        """Faults are over."""
        self._armed.clear()
        self._mid_call.clear()
        self._at_write.clear()
        self._full_until = 0.0

    def armed_for(self, moment: Moment, verb: str) -> Armed | None:
        """Takes the kill that was to happen now."""
        for index, armed in enumerate(self._armed):
            if armed.moment == moment and armed.verb in (None, verb):
                if armed.skips:
                    left = Armed(armed.kind, armed.moment, armed.verb, armed.skips - 1, armed.power)
                    self._armed[index] = left
                    return None
                return self._armed.pop(index)
        return None

    def something_was_written(self, process: Process) -> None:
        """A transaction was committed: kills that wait for one follow some turns of the loop
        later."""
        if self._at_write:
            power = self._at_write.pop()
            self._hop(process, self._rng.randrange(HOPS_MAX), power)

    def calling(self) -> None:
        """A call of the provider begins."""
        if self._fills_at_call and not self._world.faults.over:
            self._fills_at_call -= 1
            self._fill_now()
        process = self._world.supervisor.working
        if self._mid_call and process is not None:
            power = self._mid_call.pop()
            kind = "power_cut" if power else "kill_mid_call"
            wait_ms = self._rng.choice((1_000, 12_000)) * self._rng.random()
            self._world.after_ms(wait_ms, lambda: self._kill(process, kind, "in mid call", power))

    def _arm(self, moment: Moment, *, power: bool = False) -> None:
        kind = "power_cut" if power else f"kill_{moment}"
        verb = self._rng.choice((None, "apply", "sweep", "sweep", "settle", "adopt", "recover"))
        self._armed.append(Armed(kind, moment, verb, self._rng.choice((0, 0, 1, 3)), power))

    def _cut_power(self) -> None:
        match self._rng.randrange(3):
            case 0:
                self._mid_call.append(True)
            case 1:
                self._arm(self._rng.choice(("before_commit", "after_commit")), power=True)
            case _:
                self._kill_anywhere(power=True)

    def _kill_anywhere(self, *, power: bool) -> None:
        process = self._world.supervisor.working
        if self._rng.random() < 0.6:
            self._at_write.append(power)
        elif process is not None:
            self._kill(process, "power_cut" if power else "kill_anywhere", "at any time", power)

    def _hop(self, process: Process, hops: int, power: bool) -> None:
        if hops == 0:
            kind = "power_cut" if power else "kill_anywhere"
            self._kill(process, kind, "after a write", power)
        else:
            loop = self._world.loop
            loop.call_soon(self._hop, process, hops - 1, power, context=loop.world)

    def _kill(self, process: Process, kind: str, where: str, power: bool) -> None:
        if not process.over and process.working and not self._world.faults.over:
            self._world.faults.struck(kind)
            process.kill(where, power=power)

    # --- the machine --------------------------------------------------------------------------

    def _step_clock(self, sign: int, kind: str) -> None:
        world, rng = self._world, self._rng
        if world.offset_ms:
            return
        world.faults.struck(kind)
        most = rng.choice((MINUTE_MS, HOUR_MS, 6 * HOUR_MS))
        self._set_clock(sign * round(most * rng.random() + SECOND_MS))
        back_ms = world.now_ms() + rng.uniform(0.02, 48) * HOUR_MS
        world.at_ms(min(back_ms, world.quiet_end_ms - 1), lambda: self._set_clock(0))

    def _set_clock(self, offset_ms: int) -> None:
        world = self._world
        world.offset_ms = offset_ms
        world.tell(ClockStepped(at_ms=world.now_ms(), offset_ms=offset_ms))
        world.recheck()

    def _fill_disk(self) -> None:
        if self._rng.random() < 0.5:
            self._fills_at_call += 1
        else:
            self._fill_now()

    def _fill_now(self) -> None:
        self._full_until = self._world.loop.time() + self._rng.choice((2, 20, 120))

    def disk_is_full(self) -> bool:
        """A write is tried now: does it fail?"""
        full = self._world.loop.time() < self._full_until and not self._world.faults.over
        if full:
            self._world.faults.struck("disk_full")
        return full

    # --- the services -------------------------------------------------------------------------

    def _stream_outage(self) -> None:
        world, now = self._world, self._world.loop.time()
        world.faults.struck("stream_outage")
        until = now + self._rng.choice((20, 300, 1_800)) * self._rng.random()
        world.kinesis.outages.append((now, min(until, world.time.seconds(world.quiet_end_ms))))
        world.kinesis.outages.sort()

    def _provider_outage(self) -> None:
        world, now = self._world, self._world.loop.time()
        world.faults.struck("provider_outage")
        seconds = self._rng.choice((60, 1_800, 20_000)) * self._rng.random()
        world.provider.outages.append((now, now + seconds, self._rng.choice(OUTAGE_WORDS)))

    def _reshard(self, kind: str) -> None:
        if self._world.kinesis.reshard(kind):
            self._world.faults.struck(kind)
            self._world.recheck()

    def _reshard_later(self) -> None:
        """The next time the worker is down."""
        kind = self._rng.choice(("split", "merge"))

        def act() -> None:
            if not self._world.faults.over and self._world.kinesis.reshard(kind):
                self._world.faults.struck("reshard_while_down")

        self._world.supervisor.when_down.append(act)

    def _recreate(self) -> None:
        self._world.faults.struck("recreated")
        self._world.kinesis.recreate()
        self._world.recheck()

    # --- people -------------------------------------------------------------------------------

    def _edit(self, edit: Edit) -> None:
        """Somebody saves a rule file; a broken one is mended some hours later."""
        world, rng = self._world, self._rng
        world.faults.struck(edit)
        book = world.edit(edit)
        world.tell(RulesPut(at_ms=world.now_ms(), rules=book))
        if book is None:
            mended_ms = world.now_ms() + rng.uniform(0.01, 10) * HOUR_MS
            world.at_ms(min(mended_ms, world.quiet_end_ms - 1), self._mend)

    def _mend(self) -> None:
        if self._world.is_broken:
            book = self._world.edit("edit_harmless")
            self._world.tell(RulesPut(at_ms=self._world.now_ms(), rules=book))

    def _silence(self, kind: str) -> None:
        world, rng = self._world, self._rng
        book = SilenceBook(str(world.settings.state), clock=world.clock)
        what = {"silence": "silence", "pause": "pause", "kill_switch": "kill"}[kind]
        matchers: dict[str, str] = {}
        if kind == "silence":
            matchers = rng.choice(
                ({"channel": "push"}, {"channel": "sms"}, {"rule": "first"}, {"stage": "s1"})
            )
        hours = rng.uniform(0.1, 60)
        over_ms = min(world.now_ms() + hours * HOUR_MS, world.quiet_end_ms - 1)
        ends_itself = rng.random() < 0.5 and kind == "silence"
        ends_ms = round(over_ms) + world.offset_ms if ends_itself else None
        try:
            silence = book.add(
                SilenceKind(what),
                [f'{name}="{value}"' for name, value in matchers.items()],
                ends_ms=ends_ms,
                author="ops",
                comment="",
            )
        except ComebackError:
            return  # no worker has made the state yet
        world.faults.struck(kind)
        name = str(silence.silence_id)
        world.tell(
            Silenced(
                at_ms=world.now_ms(),
                what=what,  # type: ignore[arg-type]
                silence=name,
                matchers=matchers,
                until_ms=ends_ms,
            )
        )
        world.wrote_beside()

        def over() -> None:
            if not ends_itself:
                book.end(silence.silence_id, author="ops")
                world.wrote_beside()
                world.tell(Silenced(at_ms=world.now_ms(), what="over", silence=name))
            world.look_soon()

        world.at_ms(over_ms + ends_itself * 1_000, over)
