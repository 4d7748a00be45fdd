"""`comeback restore`: a copy in the place of the state, and what is assumed of the time between."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import click

from worker.cli.backup import rows_of, told_by
from worker.cli.progress import Progress
from worker.cli.words import columns, moment
from worker.clock import SystemClock
from worker.settings import read_settings
from worker.store.restore import Restored, restore_state


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace a state that is there; it is kept aside.")
@click.option(
    "--resend",
    is_flag=True,
    help="Assume that nothing was sent since the copy was made; users may get a message twice.",
)
def restore(*, file: Path, force: bool, resend: bool) -> None:
    """Put the copy FILE in the place of the state. The worker must not run.

    The worker then reads the stream again from where the copy stood, so recency and addresses are
    made good, as far back as the stream keeps records. What was sent after the copy was made is not
    in it, and cannot be read anywhere. So whatever may have been sent by now is not sent again:

    \b
      - ladders with a stage that fell due by now are closed (`cancelled`, reason `restored`)
      - a silence that was long enough for a rule by now begins no ladder of that rule
      - sends without an answer count as `uncertain`

    Users who come back and go quiet again begin anew. `--resend` leaves all that out: for a copy
    after which certainly nothing was sent, or when a second message is the smaller evil.

    Caps and budgets count what the copy knows; silences, pauses and the kill switch are the copy's.
    """
    settings = read_settings(os.environ)
    clock = SystemClock()
    progress = Progress(clock, is_terminal=sys.stderr.isatty(), unit="pages")
    done = asyncio.run(
        restore_state(
            file,
            str(settings.state),
            clock=clock,
            force=force,
            resend=resend,
            on_progress=told_by(progress),
        )
    )
    click.echo(f"restored {settings.state}")
    click.echo(columns(rows_of(done.copy, clock.now_ms())))
    for line in _assumed(done):
        click.echo(line)


def _assumed(done: Restored) -> list[str]:
    """What the operator has to know, a paragraph each."""
    lines = [""]
    if done.until_ms is None:
        lines.append(
            "Assumed: nothing was sent since the copy was made. Where that is wrong, users get a "
            "message a second time."
        )
    else:
        lines.append(
            f"Assumed: whatever can have been sent up to {moment(done.until_ms)} was sent. "
            f"{done.episodes_closed:,} ladders were closed (reason restored), "
            f"{done.sends_uncertain:,} sends count as uncertain, and rules begin no ladder for "
            "silences that were long enough by then."
        )
    lines.append(
        "Not known here: sends since then, in caps and budgets; silences, pauses and a kill switch "
        "of since then. Look at `comeback silence list` before the worker starts."
    )
    if done.erased_again:
        lines.append(f"{done.erased_again:,} people erased since then were erased again.")
    if not done.erasures_read or done.kept_aside is None:
        lines.append(
            "People erased since the copy was made are in it again: `comeback forget` them again."
        )
    if done.kept_aside is not None:
        lines.append(
            f"The state that was here is now {done.kept_aside}; delete it when all is well."
        )
    lines.append(
        "Next: start the worker; it reads the stream from where the copy stood. `comeback doctor` "
        "tells whether the stream still has all of it."
    )
    return lines
