"""`comeback silence`, `pause`, `resume` and `kill`: holds made by hand, in force within a sweep."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import click

from worker.cli.inforce import ladders_known
from worker.cli.words import columns, moment, relative
from worker.clock import SystemClock
from worker.errors import ProblemsFound, UsageError
from worker.model import Channel, Silence, SilenceKind
from worker.rules.durations import parse_duration
from worker.rules.instants import parse_instant
from worker.rules.matchers import parse_matcher
from worker.rules.problems import Refused, nearest, not_allowed, quoted
from worker.rules.reach import objection
from worker.rules.ruleset import Matcher
from worker.settings import Settings, in_words, read_settings
from worker.store.silencebook import SilenceBook

LISTED_MAX = 1_000
AUTHOR_CHARS_MAX = 64
COMMENT_CHARS_MAX = 500
NAMES_SHOWN_MAX = 20
"""Of rules or stages, in a message about one that is not there."""

_KINDS = {
    SilenceKind.SILENCE: "silence",
    SilenceKind.PAUSE: "pause",
    SilenceKind.KILL: "KILL SWITCH",
}


def _author() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""  # a container's user without a name: the command asks for --author


def _said(required: bool) -> Callable[[Any], Any]:
    """The options that say who holds something up, and why."""

    def decorate(command: Any) -> Any:
        command = click.option(
            "--comment", required=required, default="", help="Why, for whoever finds it later."
        )(command)
        return click.option("--author", default=_author, help="Who. [default: the system user]")(
            command
        )

    return decorate


@click.group()
def silence() -> None:
    """Hold due stages that matchers fit, until an end.

    Held stages wait (reason `silenced`) and go out when the silence ends, unless the user comes
    back first. Matchers see what rules see of a user, and `rule`, `stage` and `channel`:

    \b
      comeback silence add 'country="FR"' 'channel="sms"' --for 2d --comment "strike"
      comeback silence list
      comeback silence end 3
    """


@silence.command()
@click.argument("matchers", nargs=-1, required=True)
@click.option("--for", "lasting", metavar="DURATION", help="How long from now: 2h, 3d.")
@click.option("--until", metavar="INSTANT", help="Its end: 2026-11-27T09:00:00Z.")
@_said(required=True)
def add(
    matchers: tuple[str, ...], lasting: str | None, until: str | None, author: str, comment: str
) -> None:
    """Begin a silence for stages that all MATCHERS fit."""
    now_ms = SystemClock().now_ms()
    ends_ms = _end(lasting, until, now_ms)
    _require_sense(matchers)
    _write(SilenceKind.SILENCE, matchers, ends_ms, author, comment, now_ms)


@silence.command("list")
@click.option("--all", "ended_too", is_flag=True, help="Also those that have ended.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def list_(*, ended_too: bool, as_json: bool) -> None:
    """Show silences, pauses and kill switches."""
    now_ms = SystemClock().now_ms()
    found = [s for s in _book().all(LISTED_MAX) if ended_too or _stands(s, now_ms)]
    if as_json:
        click.echo(json.dumps([as_document(s) for s in found], indent=2))
    elif found:
        click.echo(columns([row_of(s, now_ms) for s in found], indent=""))
    else:
        click.echo("nothing is silenced, paused or stopped")


@silence.command()
@click.argument("number", type=int)
@click.option("--author", default=_author, help="Who. [default: the system user]")
def end(number: int, author: str) -> None:
    """End silence NUMBER now; what it held goes out, at the pace of the rules."""
    settings, now_ms = read_settings(os.environ), SystemClock().now_ms()
    ended = _book(settings).end(number, author=_signed(author))
    _, kind, held, when, *_ = row_of(ended, now_ms)
    if ended.ends_ms is not None and ended.ends_ms < now_ms:
        raise ProblemsFound(f"{number}, {kind} of {held}, {when} already; nothing was changed")
    click.echo(f"ended now: {number}, {kind} of {held}; {_seen(settings)}")


@click.command()
@click.argument("what", type=click.Choice(["rule", "channel", "all"]))
@click.argument("name", required=False)
@_said(required=False)
def pause(what: str, name: str | None, author: str, comment: str) -> None:
    """Hold every stage of a rule, of a channel, or all of them, until `comeback resume`.

    \b
      comeback pause rule shop-comeback --comment "wrong price in the text"
      comeback pause channel sms
      comeback pause all               the same as comeback kill
    """
    kind = SilenceKind.KILL if what == "all" else SilenceKind.PAUSE
    _write(kind, _matchers_of(what, name), None, author, comment)


@click.command()
@_said(required=False)
def kill(author: str, comment: str) -> None:
    """Stop all sending at once; nothing goes out until `comeback resume all`.

    Calls that are under way cannot be called back. Reading goes on, so that nobody who comes back
    meanwhile is written to afterwards.
    """
    _write(SilenceKind.KILL, (), None, author, comment)


@click.command()
@click.argument("what", type=click.Choice(["rule", "channel", "all"]))
@click.argument("name", required=False)
@click.option("--author", default=_author, help="Who. [default: the system user]")
def resume(what: str, name: str | None, author: str) -> None:
    """End the pause of a rule or a channel, or with `all` the kill switch.

    What fell due meanwhile goes out, at the pace of the rules, to those who have not come back.
    """
    book, now_ms = _book(), SystemClock().now_ms()
    kind = SilenceKind.KILL if what == "all" else SilenceKind.PAUSE
    matchers = _matchers_of(what, name, must_exist=False)
    found = [
        s
        for s in book.all(LISTED_MAX)
        if s.kind is kind and s.matchers == matchers and _stands(s, now_ms)
    ]
    if not found:
        raise ProblemsFound(
            f"{_spoken(what, name)} is not paused; `comeback silence list` shows what is held"
        )
    for one in found:
        book.end(one.silence_id, author=_signed(author))
    click.echo(f"resumed {_spoken(what, name)}")


def row_of(silence: Silence, now_ms: int) -> tuple[str, ...]:
    """Number, kind, what it holds, until when (or since when no more), who and why: a line of a
    table."""
    ends_ms = silence.ends_ms
    if ends_ms is None:
        until = "until resumed"
    else:
        word = "until" if ends_ms > now_ms else "ended"
        until = f"{word} {moment(ends_ms)} ({relative(ends_ms, now_ms)})"
    return (
        str(silence.silence_id),
        _KINDS[silence.kind],
        " ".join(silence.matchers) or "everything",
        until,
        silence.author,
        silence.comment,
    )


def as_document(silence: Silence) -> dict[str, Any]:
    """The silence for machines."""
    return {
        "silence": silence.silence_id,
        "kind": silence.kind,
        "matchers": list(silence.matchers),
        "begins_ms": silence.begins_ms,
        "ends_ms": silence.ends_ms,
        "author": silence.author,
        "comment": silence.comment,
    }


def _write(
    kind: SilenceKind,
    matchers: Sequence[str],
    ends_ms: int | None,
    author: str,
    comment: str,
    now_ms: int | None = None,
) -> None:
    """`now_ms`: what a duration was counted from."""
    if len(comment) > COMMENT_CHARS_MAX:
        raise UsageError(f"the comment is longer than {COMMENT_CHARS_MAX} characters; shorten it")
    settings = read_settings(os.environ)
    written = _book(settings).add(
        kind, matchers, ends_ms=ends_ms, author=_signed(author), comment=comment
    )
    click.echo(f"{written.silence_id}: {_about(written, now_ms)}; {_seen(settings)}")


def _seen(settings: Settings) -> str:
    sweep = in_words("sweep_interval", settings.sweep_interval)
    return f"a running worker sees it within {sweep}"


def _about(silence: Silence, now_ms: int | None) -> str:
    from_ms = silence.begins_ms if now_ms is None else now_ms
    _, kind, held, until, *_ = row_of(silence, from_ms)
    return f"{kind} of {held}, {until}"


def _book(settings: Settings | None = None) -> SilenceBook:
    settings = settings or read_settings(os.environ)
    return SilenceBook(str(settings.state), clock=SystemClock())


def _stands(silence: Silence, now_ms: int) -> bool:
    return silence.ends_ms is None or silence.ends_ms > now_ms


def _signed(author: str) -> str:
    if not author.strip():
        raise UsageError("nobody's name is known here; say who you are with --author")
    return author[:AUTHOR_CHARS_MAX]


def _end(lasting: str | None, until: str | None, now_ms: int) -> int:
    if (lasting is None) == (until is None):
        raise UsageError("a silence has an end: state --for 2h, or --until 2026-11-27T09:00:00Z")
    try:
        ends_ms = now_ms + parse_duration(lasting) if lasting else parse_instant(until or "")
    except Refused as refused:
        raise UsageError(str(refused)) from refused
    if ends_ms <= now_ms:
        raise UsageError("that end has passed already; name a later one")
    return ends_ms


def _matchers_of(what: str, name: str | None, *, must_exist: bool = True) -> tuple[str, ...]:
    if what == "all":
        if name:
            raise UsageError(f'"all" takes no name; did you mean: rule {name}?')
        return ()
    if not name:
        raise UsageError(f"which {what}? Name it: comeback pause {what} NAME")
    if what == "channel":
        _known_channel(name)
    elif must_exist:
        _known_rule(name)
    return (f'{what}="{name}"',)


def _known_channel(name: str) -> None:
    if name not in list(Channel):
        raise UsageError(not_allowed("unknown channel", name, Channel))


def _known_rule(name: str) -> None:
    """Refuses a misspelt rule. Rules that cannot be read now must not keep anybody from pausing."""
    known = _ladders()
    if known is not None and name not in known:
        raise UsageError(_there_is_no(f"rule {quoted(name)}", name, known))


def _ladders() -> Mapping[str, frozenset[str]] | None:
    settings = read_settings(os.environ)
    known = ladders_known(str(settings.state), settings.rules, clock=SystemClock())
    if known is None:
        told = f"comeback: {settings.rules} cannot be read now; names are taken as they are"
        click.echo(told, err=True)
    return known


def _there_is_no(what: str, name: str, names: Iterable[str]) -> str:
    there_are = sorted(names)
    more = f" and {len(there_are) - NAMES_SHOWN_MAX} more" * (len(there_are) > NAMES_SHOWN_MAX)
    return (
        f"there is no {what}{nearest(name, there_are) or ';'} there are: "
        f"{', '.join(there_are[:NAMES_SHOWN_MAX])}{more}"
    )


def _require_sense(texts: Sequence[str]) -> None:
    """Refuses matchers that fit no stage of anybody, or all of everybody: a silence that holds
    nothing is found out about too late."""
    try:
        matchers = [parse_matcher(text) for text in texts]
    except Refused as refused:
        raise UsageError(str(refused)) from refused
    exact = [matcher for matcher in matchers if matcher.operator in ("=", "!=")]
    for matcher in exact:
        told = objection(matcher, of_rule=False)
        if told:
            raise UsageError(f"{matcher}: {told}")
    for name in ("rule", "stage", "channel"):
        wanted = dict.fromkeys(m.value for m in exact if m.name == name and m.operator == "=")
        if len(wanted) > 1:
            raise UsageError(
                f"no stage has more than one {name}, so nothing is both {' and '.join(wanted)}; "
                f'write one of them, or {name}=~"{"|".join(wanted)}"'
            )
    if any(matcher.name in ("rule", "stage") for matcher in exact):
        _require_ladders(exact)


def _require_ladders(exact: Sequence[Matcher]) -> None:
    """`exact`: the matchers with = and !=."""
    known = _ladders()
    if known is None:
        return
    for matcher in exact:
        if matcher.name == "rule" and matcher.value not in known:
            told = _there_is_no(f"rule {quoted(matcher.value)}", matcher.value, known)
            raise UsageError(f"{matcher}: {told}")
    meant = [m.value for m in exact if m.name == "rule" and m.operator == "="]
    stages = frozenset[str]().union(*(known[rule] for rule in meant or known))
    where = f" in rule {meant[0]}" if meant else ""
    for matcher in exact:
        if matcher.name == "stage" and matcher.value not in stages:
            told = _there_is_no(f"stage {quoted(matcher.value)}{where}", matcher.value, stages)
            raise UsageError(f"{matcher}: {told}")


def _spoken(what: str, name: str | None) -> str:
    return "sending" if what == "all" else f"{what} {name}"
