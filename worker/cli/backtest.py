"""`comeback backtest`: recorded events against a rule set, or two, in virtual time."""

from __future__ import annotations

import gc
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click

from worker.backtest.page import as_page
from worker.backtest.report import Reading, Report, as_csv, as_json
from worker.backtest.run import Run, as_live
from worker.backtest.slices import Slicer
from worker.backtest.text import WIDTH, as_text
from worker.cli.progress import Progress
from worker.clock import SystemClock
from worker.errors import ProblemsFound, UsageError
from worker.event_dialects import Reader
from worker.events import read_record
from worker.model import DAY_MS, Spend
from worker.money import LOOKBACK_MS
from worker.ports import Clock
from worker.recordings import STREAM_PREFIX, Recording
from worker.recordings.exports import as_events
from worker.recordings.files import Files
from worker.rehearsal.memory import Memory
from worker.rehearsal.upkeep import load as load_user
from worker.rules.durations import parse_duration
from worker.rules.instants import instant, parse_instant
from worker.rules.load import load
from worker.rules.problems import Refused
from worker.rules.retired import retired_ladders
from worker.rules.ruleset import RuleSet
from worker.settings import Settings, event_readers
from worker.store.reading import StateReader

USERS_AT_ONCE: Final = 1_000
"""Of a state file, in one short read."""

GC_THRESHOLDS: Final = (50_000, 20, 100)
"""A backtest makes no cycles and holds much: Python's own thresholds would search all of it, over
and over, for nothing."""

FUTURE_MS_MAX: Final = DAY_MS
"""No record can have arrived later than this after now."""


def _read_by(parse: Callable[[str], int]) -> Callable[[Any, Any, str | None], int | None]:
    def read(_context: Any, option: Any, text: str | None) -> int | None:
        if text is None:
            return None
        try:
            return parse(text)
        except Refused as refused:
            raise UsageError(f"{option.opts[0]}: {refused}") from refused

    return read


@click.command()
@click.argument("events", nargs=-1, required=True, metavar="EVENTS...")
@click.option(
    "--rules",
    type=click.Path(path_type=Path),
    default=Path("rules"),
    envvar="COMEBACK_RULES",
    show_default=True,
    help="The folder of rules to try.",
)
@click.option(
    "--as",
    "formats",
    envvar="COMEBACK_EVENTS",
    default=Settings.model_fields["events"].default,
    metavar="FORMATS",
    help="Formats of the events; see `comeback events check`.",
)
@click.option(
    "--compare",
    type=click.Path(path_type=Path),
    help="Another folder of rules: both are played over the same events, side by side.",
)
@click.option(
    "--from",
    "from_",
    callback=_read_by(parse_instant),
    metavar="TIME",
    help="Rules come into force at TIME; what came before only tells who was active when.",
)
@click.option(
    "--until", callback=_read_by(parse_instant), metavar="TIME", help="Reading ends at TIME."
)
@click.option(
    "--days-after",
    callback=_read_by(parse_duration),
    default="0d",
    show_default=True,
    metavar="DURATION",
    help="Play on for so long after the last event. Nobody comes back in that time, so it shows"
    " more sends than there would be.",
)
@click.option(
    "--live/--as-written",
    default=True,
    help="Rules in mode: shadow count as live (the default), or send nothing as they say.",
)
@click.option(
    "--endpoints",
    type=click.Path(path_type=Path),
    metavar="EXPORT",
    help="Pinpoint's export of all endpoints (a file or a folder, also gzip): who had which"
    " addresses before the first event.",
)
@click.option(
    "--seed-state",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A state file, or a copy of one, from when the recording began: begin with its users.",
)
@click.option(
    "--json", "json_file", metavar="FILE", help="Write all figures; - for standard output."
)
@click.option(
    "--csv",
    "csv_folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write one CSV file a table.",
)
@click.option(
    "--html",
    "html_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write one page with charts; it needs nothing else, no network either.",
)
def backtest(
    *,
    events: tuple[str, ...],
    rules: Path,
    formats: str,
    compare: Path | None,
    from_: int | None,
    until: int | None,
    days_after: int,
    live: bool,
    endpoints: Path | None,
    seed_state: Path | None,
    json_file: str | None,
    csv_folder: Path | None,
    html_file: Path | None,
) -> None:
    """Play recorded events against rules: what would have been sent, held and spent.

    EVENTS are files (one event a line, or as Firehose writes them, also gzip), folders of them,
    `-` for standard input, or `kinesis:STREAM` for what a stream holds up to now. Time is that of
    the events; no provider is called, and every send is taken to be accepted.

    \b
    comeback backtest events/ --html report.html
    comeback backtest events/ --rules rules/ --compare rules-new/
    comeback backtest kinesis:app-events --from 2026-11-01T00:00:00Z
    """
    clock = SystemClock()
    if from_ is not None and until is not None and from_ >= until:
        raise UsageError(f"--from {instant(from_)} is not before --until {instant(until)}")
    folders = [rules, *([compare] if compare is not None else [])]
    readers = event_readers(formats)
    rule_sets = [(str(folder), _loaded(folder, readers, live=live)) for folder in folders]
    job = _Job(
        rule_sets=rule_sets,
        recording=_recording(events, clock),
        names=events,
        from_ms=from_,
        until_ms=until,
        endpoints=endpoints,
        seed_state=seed_state,
        live=live,
        clock=clock,
    )
    gc.set_threshold(*GC_THRESHOLDS)
    report = job.play(after_ms=days_after)
    click.echo(as_json(report) if json_file == "-" else as_text(report, width=_width()))
    if html_file is not None:
        _write(html_file, as_page(report))
    if csv_folder is not None:
        for name, content in as_csv(report).items():
            _write(csv_folder / name, content)
    if json_file not in (None, "-"):
        _write(Path(json_file), as_json(report))


def _loaded(folder: Path, readers: tuple[Reader, ...], *, live: bool) -> RuleSet:
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; name the folder of the rule files")
    rules = load(folder).reading(readers)
    return as_live(rules) if live else rules


def _recording(events: Sequence[str], clock: Clock) -> Recording:
    streams = [name for name in events if name.startswith(STREAM_PREFIX)]
    if streams and len(events) > 1:
        raise UsageError(f"{streams[0]} is read alone: name one stream, or files")
    if streams:
        # The imports of the AWS client take half a second; files need not wait for them.
        from worker.recordings.stream import StreamRecording

        return StreamRecording(streams[0].removeprefix(STREAM_PREFIX), clock=clock)
    return Files(events, stdin=sys.stdin.buffer, latest_ms=clock.now_ms() + FUTURE_MS_MAX)


def _width() -> int:
    """Of the lines of tables."""
    return shutil.get_terminal_size((WIDTH, 24)).columns if sys.stdout.isatty() else WIDTH


def _write(path: Path, content: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    click.echo(f"wrote {path}", err=True)


class _Job:
    """One reading of the events, by every rule set."""

    def __init__(
        self,
        *,
        rule_sets: Sequence[tuple[str, RuleSet]],
        recording: Recording,
        names: Sequence[str],
        from_ms: int | None,
        until_ms: int | None,
        endpoints: Path | None,
        seed_state: Path | None,
        live: bool,
        clock: Clock,
    ) -> None:
        self._live = live
        self._rule_sets = rule_sets
        self._recording = recording
        self._names = tuple(names)
        self._from_ms = from_ms
        self._slicer = Slicer(cut_ms=from_ms, until_ms=until_ms)
        self._endpoints = endpoints
        self._seed_state = seed_state
        self._clock = clock
        self._notes: list[str] = []
        self._runs: list[Run] = []

    def play(self, *, after_ms: int) -> Report:
        """Reads to the end. Raises ProblemsFound when there is no event in it."""
        recording, slicer = self._recording, self._slicer
        progress = Progress(self._clock, is_terminal=sys.stderr.isatty())
        total = recording.bytes_total

        def share() -> float | None:
            return recording.bytes_read / total if total else None

        for slice_ in slicer.slices(recording.records()):
            if not self._runs:
                self._runs = self._begun(slice_.records[0].arrival_ms)
            for run in self._runs:
                run.take(slice_)
            at_ms = slice_.at_ms
            progress.at(share, slicer.records, lambda at_ms=at_ms: instant(at_ms))  # type: ignore[misc]
        self._must_have_events()
        results = tuple(run.finish(after_ms=after_ms) for run in self._runs)
        progress.end(slicer.records)
        if slicer.untimed:
            self._notes.append(
                f"{slicer.untimed:,} records before the first that tells a time were passed over"
            )
        assert slicer.first_ms is not None
        assert slicer.last_ms is not None
        return Report(
            reading=Reading(
                names=self._names,
                records=slicer.records,
                bytes_read=recording.bytes_read,
                first_ms=slicer.first_ms,
                last_ms=slicer.last_ms,
                late=slicer.late,
                late_max_ms=slicer.late_max_ms,
                unreadable={k.value: n for k, n in self._runs[0].statistics.unreadable.items()},
                odd=recording.odd,
                broken=recording.broken,
            ),
            results=results,
            as_written=not self._live,
            after_ms=after_ms,
            notes=tuple(self._notes),
        )

    def _begun(self, start_ms: int) -> list[Run]:
        """A run for each rule set, which knows what is known before the first event."""
        runs = []
        for label, rules in self._rule_sets:
            memory: Memory | None = None
            spends: tuple[Spend, ...] = ()
            if self._seed_state is not None:
                rules, memory, spends = self._seeded(rules, start_ms)
            run = Run(
                label,
                rules,
                start_ms=start_ms,
                from_ms=self._from_ms,
                memory=memory,
                spends=spends,
            )
            if self._endpoints is not None:
                lines = Files([str(self._endpoints)], stdin=sys.stdin.buffer, latest_ms=start_ms)
                run.know(as_events(lines.records(), at_ms=start_ms))
            runs.append(run)
        return runs

    def _seeded(self, rules: RuleSet, start_ms: int) -> tuple[RuleSet, Memory, tuple[Spend, ...]]:
        """The users of the state file, what was spent of late, and the rules with the ladders that
        open episodes began with."""
        memory, newest_ms, after = Memory(), 0, ""
        with StateReader(str(self._seed_state), clock=self._clock) as reader:
            while views := reader.users(after, USERS_AT_ONCE):
                for view in views:
                    load_user(memory, view, due_ms=None)
                    newest_ms = max(newest_ms, view.last_active_ms or 0)
                after = views[-1].user_id
            spends = tuple(reader.spends(start_ms - LOOKBACK_MS))
            kept = reader.retired({rule.name: rule.revision for rule in rules.rules})
        note = (
            f"{self._seed_state} knows of activity up to {instant(newest_ms)}, after the first "
            "record: its users may count as active too early; take a copy from when the recording "
            "began"
        )
        if newest_ms > start_ms and note not in self._notes:
            self._notes.append(note)
        ladders = replace(rules, retired=retired_ladders(kept))
        return (as_live(ladders) if self._live else ladders), memory, spends

    def _objections(self) -> Iterator[str]:
        """What is wrong with records of which none told a time, with their number."""
        policy, reasons = self._rule_sets[0][1].activity, Counter[str]()
        for record in self._slicer.timeless:
            reading = read_record(record, shard_id="", policy=policy)
            reasons.update({letter.reason.value for letter in reading.dead_letters} or {"no time"})
        yield from (f"{reason} {count:,}" for reason, count in reasons.most_common())

    def _must_have_events(self) -> None:
        names, slicer = " ".join(self._names), self._slicer
        if not slicer.records:
            found = [*self._recording.broken, *self._objections()]
            why = f" ({', '.join(found)})" if found else ""
            raise ProblemsFound(
                f"no event in {names}{why}; events are JSON objects with event_type and"
                " arrival_timestamp, one a line or one right after the other, also gzip"
            )
        unreadable = self._runs[0].statistics.unreadable
        if unreadable.total() >= slicer.records and not self._runs[0].play.memory.people:
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in unreadable.items())
            raise ProblemsFound(
                f"none of the {slicer.records:,} records of {names} is an event of a user"
                f" ({reasons}); docs/events.md shows what events look like"
            )
