"""`comeback backup`: a copy of the state, made while the worker runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from worker.cli.progress import Progress
from worker.cli.words import columns, moment, relative
from worker.clock import SystemClock
from worker.settings import read_settings
from worker.store.backup import Copy, OnProgress, copy_state


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Write over a FILE that exists.")
def backup(*, file: Path, force: bool) -> None:
    """Copy the state to FILE, also while the worker runs.

    The copy is of one moment, checked before it gets its name, and readable by its owner only: it
    holds addresses. The worker goes on meanwhile. `comeback restore FILE` puts it back.

    \b
      comeback backup /backups/comeback-$(date -u +%F).db

    Keep it on another volume than the state, and make copies more often than the stream forgets: a
    restored state reads the stream again from where the copy stood.
    """
    settings = read_settings(os.environ)
    clock = SystemClock()
    progress = Progress(clock, is_terminal=sys.stderr.isatty(), unit="pages")
    copy = copy_state(
        str(settings.state), file, clock=clock, force=force, on_progress=told_by(progress)
    )
    click.echo(f"copied {settings.state}; the copy is whole and was checked")
    click.echo(columns(rows_of(copy, clock.now_ms())))


def told_by(progress: Progress) -> OnProgress:
    """Copying in steps, as people see it."""

    def on_progress(done: int, total: int) -> None:
        progress.at(lambda: done / max(1, total), done, lambda: f"{total:,} in all")
        if done == total:
            progress.end(total)

    return on_progress


def rows_of(copy: Copy, now_ms: int) -> list[tuple[str, ...]]:
    """What a copy holds, as lines of a table."""
    return [
        ("file", f"{copy.path} ({copy.file_bytes / 1e6:,.1f} MB, schema {copy.schema_version})"),
        ("made", _when(copy.copied_ms, now_ms)),
        ("users", f"{copy.users:,}, the last one active {_when(copy.last_active_ms, now_ms)}"),
        ("positions", f"{copy.shards:,} shards to read on"),
    ]


def _when(at_ms: int | None, now_ms: int) -> str:
    return "nobody knows when" if at_ms is None else f"{moment(at_ms)} ({relative(at_ms, now_ms)})"
