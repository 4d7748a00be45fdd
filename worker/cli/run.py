"""`comeback run`."""

from __future__ import annotations

import asyncio
import gc
import os
import textwrap
from typing import Final

import click

from worker.settings import PREFIX, Settings, in_words, read_settings

WIDTH = 80
"""Of a description, in characters."""

GC_THRESHOLDS: Final = (20_000, 20, 50)
"""Python's own, 700, would search every batch dozens of times, for nothing."""


def _help() -> str:
    lines = ["Read the stream, decide, send, until SIGTERM.", "", "\b", "Settings (environment):"]
    for name, field in Settings.model_fields.items():
        default = in_words(name, field.default)
        shown = f" [{default}]" if default else ""
        about = textwrap.wrap(field.description or "", width=WIDTH)
        lines += [f"  {PREFIX}{name.upper()}{shown}", *(f"      {line}" for line in about)]
    lines += [
        "",
        "\b",
        "Durations are written 500ms, 5s, 2h30m, 7d.",
        "AWS settings are botocore's own: AWS_REGION, AWS_PROFILE, AWS_ENDPOINT_URL_KINESIS,",
        "AWS_ENDPOINT_URL_PINPOINT, ...",
    ]
    return "\n".join(lines)


@click.command(help=_help())
def run() -> None:
    # The imports of a worker take half a second; the other commands need not wait for them.
    from worker import app, logs

    settings = read_settings(os.environ)
    logs.configure(settings.log_format, settings.log_level)
    logs.guard_process()
    # What was imported stays; and a batch holds much and makes few cycles.
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    asyncio.run(app.run(settings))
