"""Workers that are broken on purpose: what the checkers have to find, or they are worth nothing.

    python -m tests.simulator.mutants [--runs 300] [--seed 0] [NAME ...]

Each mutant changes a statement or two of the worker while it is applied and puts them back
afterwards. A change is told as text that stands in a function exactly once, and what takes its
place; when the worker was rewritten and the text is gone, applying fails and says so.
"""

from __future__ import annotations

import argparse
import inspect
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from tests.simulator.checkers import Violation, check
from tests.simulator.faults import KINDS
from tests.simulator.rulebook import BOOKS, DAY_MS, Book, book
from tests.simulator.story import Story
from tests.simulator.world import play
from worker import (
    guards_entry,
    guards_stage,
    ladder,
    outbox,
    packing,
    quiet,
    recency,
    reload,
    retry,
    situation,
)
from worker.kinesis import lineage, reader
from worker.kinesis import stream as kinesis_stream
from worker.senders import refusals
from worker.store import addressbook, looks, sqlite, statements


@dataclass(frozen=True, slots=True)
class Edit:
    """One text of one function, or of one SQL statement, and what takes its place."""

    where: tuple[Any, str]
    """Module or class, and the name in it."""
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """One broken worker."""

    name: str
    promises: frozenset[str]
    """Those it may be found to break."""
    edits: tuple[Edit, ...]
    faults: frozenset[str] = frozenset()
    """Those it takes to show it: they strike as often as they can, and no others do."""
    wants: Callable[[Book], bool] | None = None
    """What the rules must have for it to show; None: any."""

    def play(self, seed: int) -> Story:
        """A run in which it may show, with the worker as it is now."""
        others = frozenset(KINDS) - self.faults
        return play(seed, without=others, also=self.faults, shelf=self._shelf(seed))

    def _shelf(self, seed: int) -> int | None:
        """The book for a seed: one after the other of those that have what is wanted."""
        if self.wants is None:
            return None
        fitting = [number for number in range(BOOKS) if self.wants(book(number))]
        return fitting[seed % len(fitting)]


class DoesNotFit(AssertionError):
    """The worker is not what the mutant was written for."""


@contextmanager
def applied(mutant: Mutant) -> Iterator[None]:
    """The worker is broken while this lasts."""
    with ExitStack() as stack:
        for edit in mutant.edits:
            stack.enter_context(_applied(mutant, edit))
        yield


@contextmanager
def _applied(mutant: Mutant, edit: Edit) -> Iterator[None]:
    owner, name = edit.where
    before = owner.__dict__.get(name)
    if isinstance(before, str):
        _require(mutant, edit, before)
        setattr(owner, name, before.replace(edit.old, edit.new))
        try:
            yield
        finally:
            setattr(owner, name, before)
        return
    function = _function(before)
    if function is None:
        raise DoesNotFit(f"mutant {mutant.name}: there is no function {name} any more")
    code = function.__code__
    source_text = textwrap.dedent(inspect.getsource(function))
    _require(mutant, edit, source_text)
    function.__code__ = _compiled(function, source_text.replace(edit.old, edit.new))
    try:
        yield
    finally:
        function.__code__ = code


def _require(mutant: Mutant, edit: Edit, text: str) -> None:
    times = text.count(edit.old)
    if times != 1:
        where = f"{edit.where[0].__name__}.{edit.where[1]}"
        raise DoesNotFit(
            f"mutant {mutant.name}: {where} has {edit.old!r} {times} times, not once; the worker"
            " was rewritten, so write the mutant anew"
        )


def _function(found: object) -> FunctionType | None:
    """The plain function behind a property, a class method or a lazy fact."""
    while not isinstance(found, FunctionType):
        inner = [
            getattr(found, name, None) for name in ("__func__", "fget", "__wrapped__", "_work")
        ]
        found = next((one for one in inner if one is not None), None)
        if found is None:
            return None
    return found


def _compiled(function: FunctionType, text: str) -> Any:
    """The code of the function's new text, without its decorators."""
    names: dict[str, Any] = {}
    lines = text.splitlines(keepends=True)
    first = next(i for i, one in enumerate(lines) if one.startswith(("def ", "async def ")))
    code = compile("".join(lines[first:]), function.__code__.co_filename, "exec")
    exec(code, function.__globals__, names)  # noqa: S102  the worker's own text, a word changed
    made = next(iter(names.values()))
    assert isinstance(made, FunctionType)
    assert made.__code__.co_freevars == function.__code__.co_freevars, "no closures"
    return made.__code__


def _never(module: Any, name: str, signature: str) -> Edit:
    """A guard that has nothing to say."""
    return Edit((module, name), signature, f"{signature}\n    return None")


def _mutant(
    name: str,
    promises: str,
    *edits: Edit,
    faults: str = "",
    wants: Callable[[Book], bool] | None = None,
) -> Mutant:
    return Mutant(name, frozenset(promises.split()), edits, frozenset(faults.split()), wants)


def _ladders(book: Book) -> bool:
    """Live rules with several stages."""
    return any(rule.mode == "live" and len(rule.stages) > 2 for rule in book.rules)


def _plain(book: Book) -> bool:
    """Nothing holds messages back for long, so that what is missing is seen to be."""
    free = not (book.caps or book.budgets or book.rates) and (book.min_gap_ms or 0) < DAY_MS
    live = all(rule.mode == "live" and not rule.holdout_percent for rule in book.rules)
    return free and live and _ladders(book)


def _resting(book: Book) -> bool:
    """Rules whose cooldown is much longer than the silence they wait for."""
    return any(
        rule.mode == "live" and rule.cooldown_ms > rule.inactive_for_ms + 2 * DAY_MS
        for rule in book.rules
    )


def _never_resends(book: Book) -> bool:
    """Uncertain calls are not repeated."""
    stages = [stage for rule in book.rules for stage in rule.stages]
    return _plain(book) and all(stage.on_uncertain == "keep" for stage in stages)


MUTANTS: tuple[Mutant, ...] = (
    # --- what is durable, and when ----------------------------------------------------------------
    _mutant(
        "position before effect",
        "P2 P3 P4 P5",
        Edit(
            (sqlite.SqliteStore, "apply"),
            "with self._touching() as connection:",
            "with self._touching() as connection:\n"
            "        from worker.store.intake import _move_position\n"
            "        _move_position(connection, batch)\n"
            "    with self._touching() as connection:",
        ),
        faults="kill_after_commit kill_before_commit",
        wants=_plain,
    ),
    _mutant(
        "claim after call",
        "P1 P2 P7 P8",
        Edit(
            (looks, "put_claims"),
            "    assert all(claim.state is ClaimState.CLAIMED for claim in claims)\n",
            "    global _unwritten\n"
            "    if claims is not None:\n"
            "        _unwritten = [*globals().get('_unwritten', ()), *claims]\n"
            "        return\n"
            "    claims, _unwritten = globals().get('_unwritten', []), []\n",
        ),
        Edit(
            (looks, "settle_claims"),
            "    by_send_id = {",
            "    put_claims(connection, None)\n    by_send_id = {",
        ),
        Edit(
            (looks._Written, "add"),
            "self.due.append((look.due_ms, look.user_id))",
            "again_ms = max([d.claim.claimed_ms + 60_000 for d in look.deliveries], default=0)\n"
            "    self.due.append((again_ms or look.due_ms, look.user_id))",
        ),
        faults="kill_mid_call",
        wants=_plain,
    ),
    _mutant(
        "claims not synced",
        "P1 P7",
        Edit(
            (sqlite.SqliteStore, "sweep"),
            "_touching(durable=True)",
            "_touching()",
        ),
        faults="power_cut",
        wants=_never_resends,
    ),
    _mutant(
        "looks before what is not folded yet",
        "P3",
        Edit(
            (looks, "sweep_due"),
            "if touches.catch_up_users(connection, list(recency)):",
            "if False:",
        ),
        faults="event_twice",
        wants=_plain,
    ),
    _mutant(
        "settle dropped when the store fails",
        "P1 P2",
        Edit(
            (outbox.Outbox, "_write"),
            'self._store_failed("settle", error)\n',
            'self._store_failed("settle", error)\n            return\n',
        ),
        faults="disk_full split",
        wants=_plain,
    ),
    _mutant(
        "due time forgotten with a failed sweep",
        "P2",
        Edit(
            (sqlite.SqliteStore, "sweep"),
            "    with self._touching(durable=True) as connection:\n",
            "    with self._touching() as connection:\n"
            "        rows = connection.execute(statements.DUE_USERS, (now_ms, 999)).fetchall()\n"
            "        gone = [(None, row[0]) for row in rows]\n"
            "        connection.executemany(statements.SET_DUE, gone)\n"
            "    with self._touching(durable=True) as connection:\n"
            "        back = [(now_ms, row[0]) for row in rows]\n"
            "        connection.executemany(statements.SET_DUE, back)\n",
        ),
        faults="kill_before_commit kill_after_commit disk_full",
        wants=_plain,
    ),
    _mutant(
        "stops forgotten at a restart",
        "P5",
        Edit(
            (looks, "recover_claims"),
            "    moments = {",
            '    connection.execute("DELETE FROM suppressions")\n    moments = {',
        ),
        faults="opt_out receipt_bad_news kill_anywhere stopped",
        wants=_ladders,
    ),
    _mutant(
        "caps reset at a restart",
        "P7",
        Edit(
            (sqlite.SqliteStore, "sweep"),
            "sends_for_ms=self._sends_for_ms,",
            "sends_for_ms=min(self._sends_for_ms, now_ms - 86_400_000"
            " - self.__dict__.setdefault('_began_ms', now_ms)),",
        ),
        faults="kill_anywhere kill_before_commit stopped",
        wants=lambda book: bool(book.caps) and _ladders(book),
    ),
    # --- calls whose end nobody knows -------------------------------------------------------------
    _mutant(
        "retry on timeout",
        "P1",
        Edit(
            (retry, "_settle_uncertain"),
            "if not claim.resend or",
            "if",
        ),
        Edit((retry, "answered"), "or isinstance(settlement.outcome, Uncertain)", ""),
        Edit((looks, "_settled"), "isinstance(outcome, Uncertain)", "False"),
        faults="provider_timeout_after provider_error",
        wants=_never_resends,
    ),
    _mutant(
        "killed calls made again",
        "P1",
        Edit((statements, "RECOVER"), "ELSE 'uncertain' END", "ELSE 'retry' END"),
        Edit((statements, "RECOVER"), "maybe_sent = 1", "maybe_sent = 0"),
        faults="kill_mid_call power_cut",
        wants=_never_resends,
    ),
    _mutant(
        "killed calls taken for refused",
        "P1 P4 P7",
        Edit((statements, "RECOVER"), "ELSE 'uncertain' END", "ELSE 'rejected' END"),
        Edit((statements, "RECOVER"), "maybe_sent = 1", "maybe_sent = maybe_sent"),
        faults="kill_mid_call power_cut",
        wants=_never_resends,
    ),
    _mutant(
        "uncertain gives its cap slot back",
        "P7",
        Edit(
            (statements, "SENDS_SINCE"),
            "state IN ('claimed', 'sent', 'uncertain') OR maybe_sent",
            "state IN ('claimed', 'sent')",
        ),
        faults="provider_timeout_after address_unknown",
        wants=lambda book: bool(book.caps) and _ladders(book),
    ),
    # --- reading the stream -----------------------------------------------------------------------
    _mutant(
        "latest for the children of a split",
        "P2 P3 P4",
        Edit(
            (kinesis_stream.Stream, "iterator"),
            '"ShardIteratorType": "TRIM_HORIZON"',
            '"ShardIteratorType": "LATEST"',
        ),
        faults="split reshard_while_down merge down_long",
    ),
    _mutant(
        "position a record ahead",
        "P2 P3 P4 P5",
        Edit(
            (reader.ShardReader, "_deliver"),
            "stored, asked_at_ms",
            "stored[:-1] or stored, asked_at_ms",
        ),
        faults="stream_outage down_long event_twice",
        wants=_plain,
    ),
    _mutant(
        "closed shards not read",
        "P2 P4",
        Edit(
            (lineage, "plan"),
            "if shard.shard_id in ended:",
            "if shard.shard_id in ended or shard.closed:",
        ),
        faults="reshard_while_down split merge stopped",
    ),
    _mutant(
        "staleness not checked",
        "P3 P4",
        Edit(
            (outbox.Outbox, "stream_now_ms"),
            " or now_ms - watermark_ms > self._max_staleness_ms",
            "",
        ),
        faults="down_long stream_outage stream_timeout",
        wants=_plain,
    ),
    _mutant(
        "wall clock for stream time",
        "P3 P4",
        Edit(
            (outbox.Outbox, "stream_now_ms"),
            "return min(now_ms, watermark_ms)",
            "return now_ms",
        ),
        faults="stream_outage stream_timeout stream_throttled stream_error stream_slow",
        wants=lambda book: _plain(book) and not book.quiet,
    ),
    _mutant(
        "recency by the last event read",
        "P1 P2 P3",
        Edit((statements, "FORGET_UNMOVED"), "WHERE at_ms <=", "WHERE at_ms ="),
        faults="event_late event_reordered",
        wants=_ladders,
    ),
    _mutant(
        "duplicates close the episode",
        "P2",
        Edit(
            (statements, "CLOSE_RETURNED"),
            "seen.at_ms > e.silence_since_ms",
            "seen.at_ms >= e.silence_since_ms",
        ),
        faults="event_twice",
        wants=_plain,
    ),
    _mutant(
        "rubbish ends the batch",
        "P2 P3 P5",
        Edit(
            (recency._Folding, "effect"),
            "    for endpoint_id, same",
            "    if self._dead_letters:\n"
            "        return Effect(dead_letters=tuple(self._dead_letters))\n"
            "    for endpoint_id, same",
        ),
        faults="rubbish",
        wants=_ladders,
    ),
    # --- the ladder -------------------------------------------------------------------------------
    _mutant(
        "no look for a return",
        "P1 P3 P7",
        _never(guards_stage, "_returned", "def _returned(s: Situation) -> Decision | None:"),
        Edit((statements, "CLOSE_RETURNED"), "seen.at_ms >", "seen.at_ms < 0 AND seen.at_ms >"),
        wants=_ladders,
    ),
    _mutant(
        "another ladder in one silence",
        "P1",
        Edit(
            (guards_entry, "_already_tried"),
            "s.previous.silence_since_ms == s.last_active_ms",
            "s.previous.silence_since_ms > s.last_active_ms",
        ),
        Edit(
            (ladder, "_opened"),
            "since_ms = s.last_active_ms",
            "since_ms = s.last_active_ms + bool("
            "s.previous and s.previous.silence_since_ms == s.last_active_ms)",
        ),
        wants=_plain,
    ),
    _mutant(
        "next stage waits from the due time",
        "P4",
        Edit(
            (ladder, "_advanced"),
            "stage_due_ms=gone_ms + wait_ms",
            "stage_due_ms=s.episode.stage_due_ms + wait_ms",
        ),
        faults="down_long",
        wants=lambda book: bool(book.quiet) and _ladders(book),
    ),
    _mutant(
        "max_inactive ignored",
        "P7",
        _never(
            guards_entry, "_too_long_gone", "def _too_long_gone(s: Situation) -> Decision | None:"
        ),
        wants=lambda book: any(
            rule.mode == "live"
            and rule.max_inactive_ms is not None
            and rule.max_inactive_ms < rule.cooldown_ms
            for rule in book.rules
        ),
    ),
    _mutant(
        "cooldown ignored",
        "P7",
        _never(
            guards_entry, "_cooling_down", "def _cooling_down(s: Situation) -> Decision | None:"
        ),
        wants=_resting,
    ),
    _mutant(
        "shadow rules send",
        "P7",
        _never(guards_stage, "_shadow", "def _shadow(s: Situation) -> Decision | None:"),
        wants=lambda book: any(rule.mode == "shadow" for rule in book.rules),
    ),
    _mutant(
        "holdout ignored",
        "P7",
        _never(guards_stage, "_holdout", "def _holdout(s: Situation) -> Decision | None:"),
        wants=lambda book: any(rule.holdout_percent for rule in book.rules),
    ),
    _mutant(
        "silences ignored",
        "P7",
        _never(guards_stage, "_silenced", "def _silenced(s: Situation) -> Decision | None:"),
        faults="silence pause kill_switch",
    ),
    # --- addresses, hours, limits -----------------------------------------------------------------
    _mutant(
        "opt-out ignored",
        "P5",
        Edit((situation, "undeliverable"), "if endpoint.opted_out:", "if False:"),
        faults="opt_out",
        wants=_ladders,
    ),
    _mutant(
        "inactive endpoints written to",
        "P5",
        Edit((situation, "undeliverable"), "if endpoint.active is False:", "if False:"),
        faults="opt_out",
        wants=_ladders,
    ),
    _mutant(
        "complaints and bounces ignored",
        "P5",
        Edit((addressbook, "write_stops"), "if not stops:", "if True:"),
        faults="receipt_bad_news",
        wants=_ladders,
    ),
    _mutant(
        "dead addresses called again",
        "P5",
        Edit(
            (addressbook, "suppress"),
            "    connection.executemany(statements.PUT_SUPPRESSION, rows)",
            "    return",
        ),
        faults="address_permanent address_opted_out",
        wants=_ladders,
    ),
    _mutant(
        "no night where the zone is unknown",
        "P6",
        Edit(
            (quiet, "zone_of"),
            "    for source in assume:",
            "    assume, otherwise = (), 'Pacific/Kiritimati'\n    for source in assume:",
        ),
        wants=lambda book: any(quiet.name == "night" for quiet in book.quiet),
    ),
    _mutant(
        "night by the worker's own zone",
        "P6",
        Edit((quiet, "zone_of"), "_zone_told(endpoint.timezone)", '_zone_told("UTC")'),
        wants=lambda book: any(window.name == "night" for window in book.quiet),
    ),
    _mutant(
        "caps for each rule alone",
        "P7",
        Edit(
            (guards_stage, "_hold_by_limits"),
            "        for send in sends\n",
            "        for send in sends if send.rule == s.rule.name\n",
        ),
        wants=lambda book: bool(book.caps) and len(book.rules) > 1,
    ),
    _mutant(
        "budget given back whatever came",
        "P7",
        Edit((looks, "_was_not_sent"), "    return isinstance(", "    return True or isinstance("),
        wants=lambda book: any(budget.micros <= 80_000 for budget in book.budgets),
    ),
    _mutant(
        "pace ignored",
        "P7",
        _never(guards_stage, "_too_fast", "def _too_fast(s: Situation) -> Decision | None:"),
        faults="provider_outage down_long",
        wants=lambda book: bool(book.quiet) and any(r.channel != "sms" for r in book.rates),
    ),
    # --- the whole --------------------------------------------------------------------------------
    _mutant(
        "broken rules swapped in",
        "P2 P7 P8",
        Edit(
            (reload.Reload, "reload"),
            "return inspection.problems\n",
            'await self._adopt(RuleSet(revision="broken"))\n'
            "            return inspection.problems\n",
        ),
        faults="edit_broken",
        wants=_ladders,
    ),
    _mutant(
        "one refusal condemns the call",
        "P8",
        Edit((refusals, "_taken_apart"), "if len(part) > 1:", "if False:"),
        faults="provider_bad_request",
        wants=lambda book: not book.rates,
    ),
    _mutant(
        "calls without bound",
        "P12",
        Edit(
            (packing.Packing, "admits"),
            "if len(self._calls) + len(fresh) > self._calls_max and not first_of_all:",
            "if False:",
        ),
        Edit((outbox.Outbox, "_sweep"), "or calls_free <= 0", ""),
        faults="provider_outage provider_slow down_long provider_refuses_setup",
        wants=lambda book: len(book.rules) == 1 and not book.rates,
    ),
)
"""Every mutant is found by `test_sensitivity.py`."""


@dataclass(frozen=True, slots=True)
class Hunt:
    """How a mutant was hunted down, or not."""

    mutant: Mutant
    runs: int
    seed: int
    found: Sequence[Violation]
    seconds: float


def hunt(mutant: Mutant, *, runs: int, seed: int = 0) -> Hunt:
    """Plays runs with the mutant until one breaks a promise the mutant is said to break."""
    began = time.process_time()
    for number in range(seed, seed + runs):
        with applied(mutant):
            story = mutant.play(number)
        found = [v for v in check(story) if v.promise in mutant.promises]
        # What the sound worker shows in the same run is not the mutant's doing.
        if found and not check(mutant.play(number)):
            seconds = time.process_time() - began
            return Hunt(mutant, number - seed + 1, number, found, seconds)
    return Hunt(mutant, runs, seed + runs - 1, (), time.process_time() - began)


def main(arguments: Sequence[str] | None = None) -> int:
    """Hunts every mutant, or those named; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulator.mutants")
    parser.add_argument("names", nargs="*", help="mutants; all when none is named")
    parser.add_argument("--runs", type=int, default=300, help="at most, for each")
    parser.add_argument("--seed", type=int, default=0, help="of the first run")
    asked = parser.parse_args(arguments)
    escaped = 0
    for mutant in MUTANTS:
        if asked.names and mutant.name not in asked.names:
            continue
        result = hunt(mutant, runs=asked.runs, seed=asked.seed)
        escaped += not result.found
        print(line(result), flush=True)
    print(f"{escaped} escaped", file=sys.stderr)
    return 1 if escaped else 0


def line(result: Hunt) -> str:
    """A result in a line."""
    name = result.mutant.name
    if not result.found:
        return f"{name:<52} ESCAPED {result.runs} runs, {result.seconds:.1f} s"
    broken = ", ".join(sorted({violation.promise for violation in result.found}))
    told = f"{result.runs:>4} runs, seed {result.seed:>5}, {result.seconds:6.1f} s"
    return f"{name:<52} {told}, {broken}: {result.found[0].says}"


if __name__ == "__main__":
    raise SystemExit(main())
