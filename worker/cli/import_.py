"""`comeback import`: address books of Pinpoint, from files or S3, into the state."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from heapq import nsmallest
from typing import Any, Final

import click

from worker.cli.progress import Progress
from worker.clock import SystemClock
from worker.errors import ProblemsFound, UsageError
from worker.imports.endpoints import EndpointReader, Said
from worker.imports.files import S3_PREFIX, ImportFile, local_files
from worker.imports.findings import EXAMPLES_MAX, Findings, Oddity
from worker.imports.report import ImportReport
from worker.imports.windows import Window, Windows
from worker.ports import Clock
from worker.rules.instants import parse_instant
from worker.rules.problems import Refused
from worker.settings import read_settings
from worker.store.import_tally import Tally, Told, place_number, place_of
from worker.store.importing import ImportBook, Written

GC_THRESHOLDS: Final = (100_000, 50, 100)
"""A window holds much and makes no cycles."""

BYTES_OF_AN_ENDPOINT: Final = 200
"""Between one packed and one as it is; for a guess at how many there are."""

NEVER_SEEN: Final = (
    "Nobody counts as active by an import: rules leave these users alone until the stream shows "
    "them, or until an import with --last-seen effective-date."
)
SEEN: Final = (
    "EffectiveDate is when an endpoint last changed, not when its user was last there: users may "
    "have been silent for less than it says, never for longer. max_inactive of the rules leaves "
    "alone who has been silent for too long."
)
BESIDE: Final = (
    "A worker has the state; it was written beside it, in short pieces. Without a worker it is "
    "much quicker."
)


def _instant(_context: Any, option: Any, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_instant(text)
    except Refused as refused:
        raise UsageError(f"{option.opts[0]}: {refused}") from refused


@click.command("import")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--dry-run", is_flag=True, help="Tell what would come of it; write nothing.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.option(
    "--last-seen",
    type=click.Choice(["effective-date"]),
    help="Users count as active at the EffectiveDate of their live endpoints, if nothing later is"
    " known. Without it nobody is written to before the stream shows them.",
)
@click.option(
    "--as-of",
    callback=_instant,
    metavar="TIME",
    help="When endpoints without EffectiveDate were as the file says; without it anything the"
    " stream ever told is newer.",
)
@click.option("--again", is_flag=True, help="Read files again that were taken already.")
def import_(
    *,
    paths: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
    last_seen: str | None,
    as_of: int | None,
    again: bool,
) -> None:
    """Read endpoints into the address book: Pinpoint exports (gzip, one JSON a line), CSV, JSON.

    PATH is a file, a folder, or s3://BUCKET/PREFIX. The state is the file named by COMEBACK_STATE,
    made if it is not there; a worker may be running. A run that was cut off continues where it
    stopped, and a file that was taken changes nothing when it comes again. Facts keep their times:
    an old file never hides what the stream told later.

    \b
    comeback import export/ --dry-run
    comeback import s3://my-bucket/pinpoint/export/ --last-seen effective-date
    """
    clock = SystemClock()
    state = read_settings(os.environ).state
    gc.set_threshold(*GC_THRESHOLDS)
    with ExitStack() as stack:
        files = _files(paths, stack)
        book = asyncio.run(ImportBook.open(str(state), clock=clock, dry=dry_run))
        stack.enter_context(book)
        job = _Import(
            book,
            stack.enter_context(Tally(state.absolute().parent)),
            files,
            clock=clock,
            as_of_ms=as_of,
            last_seen=last_seen is not None,
            again=again,
        )
        job.run()
        report = job.report(str(state))
    click.echo(report.as_json() if as_json else report.as_text())
    if report.broken:
        raise ProblemsFound(
            f"{len(report.broken):,} of {len(files):,} files could not be read to their end. Mend "
            "them and run the same command again."
        )
    if not report.lines and not report.known:
        raise ProblemsFound("No endpoint was found. Look at the files: is this the right folder?")


def _files(paths: Sequence[str], stack: ExitStack) -> list[ImportFile]:
    files: list[ImportFile] = []
    for path in paths:
        if path.startswith(S3_PREFIX):
            # The imports of the AWS client take half a second; files need not wait for them.
            from worker.imports.s3 import S3Folder

            files += stack.enter_context(S3Folder(path)).files()
        else:
            files += local_files(path)
    return files


class _Import:
    """One run."""

    def __init__(
        self,
        book: ImportBook,
        tally: Tally,
        files: Sequence[ImportFile],
        *,
        clock: Clock,
        as_of_ms: int | None,
        last_seen: bool,
        again: bool,
    ) -> None:
        self._book = book
        self._tally = tally
        self._clock = clock
        self._last_seen = last_seen
        self._files = [file.name for file in files]
        self._findings = Findings()
        self._written = Written()
        self._windows = Windows(files, taken={} if again else book.taken(), findings=self._findings)
        self._reader = EndpointReader(
            self._findings, now_ms=clock.now_ms(), as_of_ms=as_of_ms, last_seen=last_seen
        )
        self._done = 0

    def run(self) -> None:
        """Reads and writes everything."""
        progress = Progress(self._clock, is_terminal=sys.stderr.isatty())
        self._book.expect(self._windows.bytes_coming // BYTES_OF_AN_ENDPOINT)
        with asyncio.Runner() as runner:
            for window in self._windows:
                for first in self._chunks(window, runner):
                    self._done += first
                    progress.at(self._share, self._done, lambda: f"{self._written.new:,} new")
                self._book.mark(window.upto)
                window.lines.clear()  # before the next one is read
        self._book.complete()
        self._count_repeats()
        progress.end(self._done)

    def report(self, state: str) -> ImportReport:
        """What came of it."""
        notes = [SEEN if self._last_seen else NEVER_SEEN]
        if self._book.mode == "beside":
            notes.append(BESIDE)
        return ImportReport(
            state=state,
            mode=self._book.mode,
            last_seen=self._last_seen,
            files=self._files,
            known=self._windows.known,
            continued=self._windows.continued,
            broken=self._windows.broken,
            lines=self._windows.lines,
            changes=asdict(self._written),
            findings=self._findings,
            notes=notes,
        )

    def _share(self) -> float | None:
        total = self._windows.bytes_total
        return self._windows.bytes_read / total if total else None

    def _chunks(self, window: Window, runner: asyncio.Runner) -> Any:
        """Takes a window in, chunk by chunk; yields how many lines each had."""
        lines = window.lines
        key = next(iter(window.upto), "")
        first = 0
        while first < len(lines):
            some = lines[first : first + self._book.endpoints_at_once]
            first += len(some)
            said = Said()
            told: list[Told] = []
            for _, file, line, raw in some:
                place = (file, line)
                endpoint = self._reader.read(raw, place, said)
                if endpoint is not None:
                    user = endpoint.user_id
                    told.append(
                        (
                            hash(endpoint.endpoint_id),
                            None if user is None else hash(user),
                            place_number(*place),
                        )
                    )
            self._tally.add(told)
            written, pause = self._book.take(said, key=key)
            self._written.add(written)
            if pause:
                runner.run(self._clock.sleep(pause))
            yield len(some)

    def _count_repeats(self) -> None:
        times = 0
        places: list[int] = []
        for again, place in self._tally.told_again():
            times += again
            places = nsmallest(EXAMPLES_MAX, [*places, place])
        self._note(Oddity.DUPLICATE, times, places)
        users, places = 0, []
        for place in self._tally.crowded_users():
            users += 1
            places = nsmallest(EXAMPLES_MAX, [*places, place])
        self._note(Oddity.TOO_MANY_ENDPOINTS, users, places)

    def _note(self, oddity: Oddity, count: int, places: Sequence[int]) -> None:
        for number, place in enumerate(places):
            times = count - len(places) + 1 if number == 0 else 1
            self._findings.note(oddity, place_of(place), times)
