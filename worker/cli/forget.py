"""`comeback forget`: erases one person, also while the worker runs."""

from __future__ import annotations

import os

import click

from worker.cli.words import columns
from worker.clock import SystemClock
from worker.errors import UsageError
from worker.settings import read_settings
from worker.store.forget import Forgotten
from worker.store.forget import forget as erase
from worker.store.reading import StateReader

SHOWN_MAX = 5
"""Of the users that share an address."""


@click.command()
@click.argument("user")
@click.option("--yes", is_flag=True, help="Do not ask.")
def forget(*, user: str, yes: bool) -> None:
    """Erase USER, a user id: recency, addresses, attributes, ladders, sends, journal.

    Works while the worker runs. What stays are digests: of addresses that opted out, bounced or
    complained, so that they get nothing in future either; and of the user id with the time, so that
    older events, still on their way, do not bring the person back. Whoever is seen again after that
    begins anew, as a new user would.

    A call that is under way cannot be called back. Copies (`comeback backup`) and the stream itself
    hold what they hold: delete old copies by their age.
    """
    settings = read_settings(os.environ)
    clock = SystemClock()
    path = str(settings.state)
    with StateReader(path, clock=clock) as reader:
        found = reader.find(user)
    if found and found != (user,):
        raise UsageError(_another_name(found))
    known = "" if found else " Nothing is known of this user id; older events would be ignored."
    if not yes:
        click.confirm(f"Erase this user for good?{known}", abort=True, err=True)
    done = erase(path, user, clock=clock)
    if not done.knew_something:
        click.echo("nothing was known of this user; older events about it will be ignored")
        return
    click.echo("erased; this cannot be undone")
    click.echo(columns(_rows_of(done)))


def _another_name(found: tuple[str, ...]) -> str:
    names = ", ".join(found[:SHOWN_MAX]) + (", ..." if len(found) > SHOWN_MAX else "")
    return (
        "That is no user id but an endpoint or an address of: "
        f"{names}. Name the user id; nothing was erased."
    )


def _rows_of(done: Forgotten) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        ("endpoints with addresses", f"{done.endpoints:,}"),
        ("ladders", f"{done.episodes:,}"),
        ("sends", f"{done.claims:,}"),
        ("journal entries", f"{done.journal:,}"),
        ("unreadable records that name the user", f"{done.dead_letters:,}"),
    ]
    if done.opt_outs_kept:
        rows.append(("opt-outs kept, as digests", f"{done.opt_outs_kept:,}"))
    if done.under_way:
        rows.append(("sends under way, kept under no name", f"{done.under_way:,}"))
    return rows
