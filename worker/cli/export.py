"""`comeback export`: the address book as Pinpoint exported it, and segments of users as CSV."""

from __future__ import annotations

import csv
import gzip
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

import click

from worker.cli.progress import Progress
from worker.clock import SystemClock
from worker.errors import StateUnwritable, UsageError
from worker.imports.lines import endpoint_line
from worker.model import DAY_MS, EpisodeOutcome
from worker.rules.durations import parse_duration
from worker.rules.instants import instant
from worker.rules.problems import Refused
from worker.settings import read_settings
from worker.store.exporting import SegmentUser, StateExport

GZIP_LEVEL: Final = 6

COLUMNS: Final = (
    "user_id",
    "last_active",
    "silent_days",
    "rule",
    "state",
    "stage",
    "hold",
    "on_ladder_since",
    "last_sent",
    "arm",
)


def _duration(_context: Any, option: Any, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_duration(text)
    except Refused as refused:
        raise UsageError(f"{option.opts[0]}: {refused}") from refused


@click.command()
@click.option(
    "--to",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write to FILE, which only this user may read; without it to standard output.",
)
@click.option(
    "--segment",
    type=click.Choice(["csv"]),
    help="Users instead of endpoints: their ids, recency and place on a ladder, no addresses.",
)
@click.option(
    "--silent-for",
    callback=_duration,
    metavar="DURATION",
    help="Of a segment: users not active for so long, such as 30d.",
)
@click.option("--rule", metavar="NAME", help="Of a segment: users on the ladder of this rule.")
@click.option(
    "--stage",
    metavar="NAME",
    help="With --rule: users before this stage; with --outcome, whose last stage it was.",
)
@click.option(
    "--outcome",
    type=click.Choice([outcome.value for outcome in EpisodeOutcome]),
    help="With --rule: users whose last ladder ended so, instead of those who are on one.",
)
def export(
    *,
    to: Path | None,
    segment: str | None,
    silent_for: int | None,
    rule: str | None,
    stage: str | None,
    outcome: str | None,
) -> None:
    """Write every endpoint of the state as Pinpoint exported them: gzip, one JSON a line.

    The state is the file named by COMEBACK_STATE; a worker may be running. `comeback import` of the
    export gives the same address book.

    \b
    comeback export --to endpoints.gz
    comeback export --segment csv --silent-for 30d --rule winback --stage sms > users.csv
    """
    asked = {"--silent-for": silent_for, "--rule": rule, "--stage": stage, "--outcome": outcome}
    if segment is None and any(value is not None for value in asked.values()):
        named = ", ".join(name for name, value in asked.items() if value is not None)
        raise UsageError(f"{named} chooses users of a segment; add --segment csv")
    if rule is None and (stage is not None or outcome is not None):
        raise UsageError("--stage and --outcome are those of a rule; add --rule NAME")
    clock = SystemClock()
    progress = Progress(clock, is_terminal=sys.stderr.isatty())

    def tell(count: int) -> None:
        progress.at(lambda: None, count, lambda: f"to {to or 'standard output'}")

    with StateExport(str(read_settings(os.environ).state)) as state:
        if segment is None:
            if to is None and sys.stdout.isatty():
                raise UsageError("gzip is nothing for a terminal; name a file: --to endpoints.gz")
            with _output(to) as out:
                count = _write_endpoints(state, out, tell)
        else:
            now_ms = clock.now_ms()
            wanted = _Segment(now_ms, silent_for, rule, stage, outcome)
            with _output(to) as out:
                count = _write_segment(state, out, wanted, tell)
    what = "endpoints" if segment is None else "users"
    click.echo(f"{count:,} {what} written to {to or 'standard output'}", err=True)


def _write_endpoints(state: StateExport, out: BinaryIO, tell: Callable[[int], None]) -> int:
    count = 0
    # Without a time and a name, so that the same address book gives the same bytes.
    with gzip.GzipFile("", "wb", GZIP_LEVEL, out, mtime=0) as packed:
        for page in state.entries():
            lines = []
            for entry in page:
                suppressed = None
                if entry.suppressed is not None and entry.suppressed_ms is not None:
                    suppressed = (entry.suppressed, entry.suppressed_ms)
                lines.append(
                    endpoint_line(
                        entry.endpoint_id, entry.at_ms, entry.facts, entry.stamps, suppressed
                    )
                )
            packed.write(b"".join(lines))
            count += len(page)
            tell(count)
    return count


class _Segment:
    """Who is in it, and what is told of them."""

    def __init__(
        self,
        now_ms: int,
        silent_for_ms: int | None,
        rule: str | None,
        stage: str | None,
        outcome: str | None,
    ) -> None:
        self.rule = rule
        self._now_ms = now_ms
        self._silent_for_ms = silent_for_ms or 0
        self._stage = stage
        self._state = None if rule is None else outcome or "open"

    def has(self, user: SegmentUser) -> bool:
        """Is the user in it?"""
        return (
            self._now_ms - user.last_active_ms >= self._silent_for_ms
            and (self._state is None or user.state == self._state)
            and (self._stage is None or user.stage == self._stage)
        )

    def row(self, user: SegmentUser) -> Sequence[object]:
        """In the order of `COLUMNS`; empty where there is nothing to tell."""
        silent_days = max(0, self._now_ms - user.last_active_ms) // DAY_MS
        return (
            user.user_id,
            instant(user.last_active_ms),
            silent_days,
            self.rule,
            user.state,
            user.stage,
            user.hold,
            _moment(user.opened_ms),
            _moment(user.last_sent_ms),
            user.arm,
        )


def _moment(at_ms: int | None) -> str | None:
    return None if at_ms is None else instant(at_ms)


def _write_segment(
    state: StateExport, out: BinaryIO, wanted: _Segment, tell: Callable[[int], None]
) -> int:
    count = 0
    text = io.TextIOWrapper(out, encoding="utf-8", newline="")
    try:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for page in state.users(wanted.rule):
            rows = [wanted.row(user) for user in page if wanted.has(user)]
            writer.writerows(rows)
            count += len(rows)
            tell(count)
        text.flush()
    finally:
        text.detach()
    return count


@contextmanager
def _output(to: Path | None) -> Iterator[BinaryIO]:
    """Standard output, or a file that is there only once it is whole."""
    if to is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = to.with_name(f"{to.name}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise UsageError(f"{part} cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        part.replace(to)
    except OSError as error:
        raise StateUnwritable(f"{to} cannot be written: {error.strerror}. Free space.") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
