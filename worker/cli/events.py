"""`comeback events check`: how real records would be read, field by field, without running."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, Final

import click

from worker.cli.words import columns, moment
from worker.clock import SystemClock
from worker.errors import ProblemsFound, UsageError
from worker.event_check import Check, FieldFound, Kind
from worker.model import DAY_MS, Record
from worker.recordings import STREAM_PREFIX, Recording
from worker.recordings.files import Files
from worker.rules.load import load
from worker.rules.ruleset import ActivityPolicy
from worker.settings import Settings, event_readers

RECORDS_DEFAULT: Final = 10_000


@click.group()
def events() -> None:
    """Look at events without running."""


@events.command()
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option(
    "--stream",
    envvar="COMEBACK_STREAM",
    help="Read this stream from its oldest record on, when no file is named.",
)
@click.option(
    "--as",
    "formats",
    envvar="COMEBACK_EVENTS",
    default=Settings.model_fields["events"].default,
    show_default=True,
    metavar="FORMATS",
    help="Formats to read by: names, and files of formats of your own.",
)
@click.option(
    "--rules",
    type=click.Path(path_type=Path),
    envvar="COMEBACK_RULES",
    help="A folder of rules, whose `activity` and `conversion` say what counts.",
)
@click.option(
    "--records",
    type=click.IntRange(min=1),
    default=RECORDS_DEFAULT,
    show_default=True,
    help="Stop after so many.",
)
@click.option(
    "--show-values", is_flag=True, help="Show addresses and attributes too, not only their kind."
)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def check(
    *,
    files: tuple[str, ...],
    stream: str | None,
    formats: str,
    rules: Path | None,
    records: int,
    show_values: bool,
    as_json: bool,
) -> None:
    """Read records, and show for each kind of event what is found in it and what it means.

    FILE is a file of events (one a line, or as Firehose writes them, also gzip), a folder of them,
    or `-`. Nothing is written and nothing sent. Exit code 1: something is in no known format, or
    nobody would ever count as active.

    \b
    comeback events check sample.ndjson
    comeback events check sample.ndjson --as app-events.yaml,ses --rules rules/
    comeback events check --stream app-events --records 500
    """
    policy = load(rules).activity if rules is not None else ActivityPolicy()
    policy = policy.reading(event_readers(formats))
    found = Check()
    recording = _recording(files, stream)
    for some in _first(recording, records):
        found.take(some, policy, show_values=show_values)
    advice = list(found.advice())
    click.echo(_as_json(found, advice) if as_json else _as_text(found, advice))
    if found.unread or advice:
        raise ProblemsFound("not everything here would be read as it should; see above")


def _recording(files: Sequence[str], stream: str | None) -> Recording:
    clock = SystemClock()
    if files:
        latest_ms = clock.now_ms() + DAY_MS
        return Files(files, stdin=sys.stdin.buffer, latest_ms=latest_ms)
    if not stream:
        raise UsageError("name a FILE of events, or a stream: --stream NAME (or COMEBACK_STREAM)")
    # The imports of the AWS client take half a second; files need not wait for them.
    from worker.recordings.stream import StreamRecording

    return StreamRecording(stream.removeprefix(STREAM_PREFIX), clock=clock)


def _first(recording: Recording, most: int) -> Iterator[Sequence[Record]]:
    left = most
    for some in recording.records():
        if some:
            yield list(islice(some, left))
        left -= len(some)
        if left <= 0:
            return


def _as_text(found: Check, advice: Sequence[str]) -> str:
    lines = [_headline(found), ""]
    kinds = sorted(found.kinds.values(), key=lambda kind: -kind.events)
    if kinds:
        lines += [columns([_HEAD, *(_row(kind) for kind in kinds)]), ""]
    for kind in kinds:
        lines += [*_example(kind), ""]
    if found.unread:
        lines += ["in no known format:"]
        lines += [f"  {times:>8,}  {what}" for what, times in found.unread.most_common()]
        lines += [""]
    lines += [f"! {line}" for line in advice]
    return "\n".join(lines).rstrip()


_ESSENTIAL: Final = ("type", "user_id", "time")

_HEAD: Final = (
    "format", "type", "events", "activity", "goal", "user", "address", "receipt", "stop",
)  # fmt: skip


def _row(kind: Kind) -> tuple[str, ...]:
    counts = (
        kind.events, kind.active, kind.goals, kind.users_named, kind.addresses, kind.receipts,
        kind.stops,
    )  # fmt: skip
    return (kind.format, kind.type, *(f"{count:,}" if count else "-" for count in counts))


def _headline(found: Check) -> str:
    span = ""
    if found.first_ms is not None and found.last_ms is not None:
        span = f", active from {moment(found.first_ms)} to {moment(found.last_ms)}"
    users = f"{len(found.users):,} users named"
    return f"{found.records:,} records, {found.events:,} events, {users}{span}"


def _example(kind: Kind) -> Iterator[str]:
    yield f"{kind.format} {kind.type}, one of them:"
    there = [found for found in kind.example if found.found_at is not None]
    yield columns([(found.name, _meant(found), f"from {found.found_at}") for found in there])
    missing = [found for found in kind.example if found.found_at is None]
    for found in missing:
        if found.name in _ESSENTIAL:
            yield f"  {found.name} is not there; looked for {', '.join(found.looked_for)}"
    others = [found.name for found in missing if found.name not in _ESSENTIAL]
    if others:
        yield f"  not there: {', '.join(others)}"


def _meant(found: FieldFound) -> str:
    if found.name not in ("time", "arrival"):
        return found.value or ""
    meant = "not usable as a time" if found.means_ms is None else moment(found.means_ms)
    return f"{found.value} = {meant}"


def _as_json(found: Check, advice: Sequence[str]) -> str:
    document: dict[str, Any] = {
        "records": found.records,
        "events": found.events,
        "users": len(found.users),
        "first_active_ms": found.first_ms,
        "last_active_ms": found.last_ms,
        "kinds": [asdict(kind) for kind in found.kinds.values()],
        "unread": dict(found.unread),
        "advice": list(advice),
    }
    return json.dumps(document, indent=2, ensure_ascii=False)
