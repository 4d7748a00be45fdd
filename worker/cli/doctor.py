"""`comeback doctor`: is everything in place, and what to do about what is not."""

from __future__ import annotations

import asyncio
import json
import os
import textwrap
from collections import Counter
from dataclasses import asdict

import click

from worker.clock import SystemClock
from worker.doctor.examination import examine
from worker.doctor.findings import Finding, Verdict, has_failed
from worker.errors import ProblemsFound

COLOURS = {
    Verdict.OK: "green",
    Verdict.WARN: "yellow",
    Verdict.FAIL: "red",
    Verdict.UNKNOWN: "cyan",
}
CHECK_WIDTH = 26
TEXT_WIDTH = 76


@click.command()
@click.option("--full", is_flag=True, help="Check the whole state, indexes too, however long.")
@click.option("--offline", is_flag=True, help="Ask AWS nothing.")
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 120),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long AWS may take for each answer.",
)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def doctor(*, full: bool, offline: bool, timeout: float, as_json: bool) -> None:
    """Check everything the worker needs, and say what to do. Exit 0, or 1 when something fails.

    Versions, settings, rules; the state: rights, lock, room, integrity, schema; the stream: how far
    behind each shard is, and whether it still holds what comes next; the clock; and whether AWS
    allows every call the worker makes. Works while the worker runs, and before its first start.

    \b
      ok       all is well
      warn     it works, somebody should look at it
      fail     the worker cannot do its work like this
      unknown  nobody could be asked: no network, or not set

    Nothing is changed and nothing is sent: permission to send is asked for with a request that has
    no address in it. Each shard is read once, for one record.
    """
    findings = asyncio.run(
        _told(full=full, offline=offline, seconds=timeout, as_json=as_json),
    )
    if as_json:
        document = {
            "verdict": Verdict.FAIL if has_failed(findings) else Verdict.OK,
            "findings": [asdict(finding) for finding in findings],
        }
        click.echo(json.dumps(document, indent=2))
    counts = Counter(finding.verdict for finding in findings)
    summary = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
    if has_failed(findings):
        raise ProblemsFound(summary)
    if not as_json:
        click.echo(summary)


async def _told(*, full: bool, offline: bool, seconds: float, as_json: bool) -> list[Finding]:
    """The findings, printed as they come: some take their time."""
    findings: list[Finding] = []
    clock = SystemClock()
    async for finding in examine(os.environ, clock, full=full, offline=offline, seconds=seconds):
        findings.append(finding)
        if not as_json:
            click.echo(_lines_of(finding))
    return findings


def _lines_of(finding: Finding) -> str:
    verdict = click.style(f"{finding.verdict:<8}", fg=COLOURS[finding.verdict])
    indent = " " * (8 + CHECK_WIDTH)
    told = textwrap.wrap(finding.found, TEXT_WIDTH) or [""]
    lines = [f"{verdict}{finding.check:<{CHECK_WIDTH}}{told[0]}"]
    lines += [f"{indent}{line}" for line in told[1:]]
    for paragraph in finding.todo.splitlines():
        lines += [f"{indent}{line}" for line in textwrap.wrap(paragraph, TEXT_WIDTH)]
    return "\n".join(lines)
