"""What `make demo` shows: a live picture while it runs, and a summary when it is over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.box import SIMPLE
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from worker.model import SECOND_MS
from worker.rules.ruleset import Rule
from worker.sandbox.crowd import Crowd, Habit, habits_of
from worker.sandbox.demo_verdict import Check, brought_back, came_back_late

BAR_WIDTH = 44
CHANNELS = ("push", "email", "sms")
COLOURS = {"active": "green", "quiet": "yellow", "returned": "cyan"}


@dataclass(slots=True)
class Snapshot:
    """One moment of the demo."""

    seconds: float
    seconds_total: float
    users: int
    crowd: Counter[str]
    accepted: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    worker: Mapping[str, float] = field(default_factory=dict)
    news: Sequence[str] = ()


def pace(rule: Rule) -> str:
    """How fast the demo's ladder runs, in one line."""
    first, *others = rule.stages
    later = "".join(f", {s.name} {s.after_ms // SECOND_MS} s later" for s in others)
    return (
        f"a day is a second here: {first.name} after {rule.inactive_for_ms // SECOND_MS} s of "
        f"silence{later}"
    )


def picture(now: Snapshot) -> RenderableType:
    """The live picture."""
    users = Table.grid(padding=(0, 1))
    for name in ("active", "quiet", "returned"):
        count = now.crowd[name]
        width = round(BAR_WIDTH * count / max(now.users, 1))
        users.add_row(name, Text("█" * width, style=COLOURS[name]), f"{count:,}")
    sends = Table(box=SIMPLE, pad_edge=False)
    sends.add_column("stage")
    sends.add_column("accepted", justify="right")
    sends.add_column("refused", justify="right")
    for channel in CHANNELS:
        sends.add_row(channel, f"{now.accepted[channel]:,}", f"{now.rejected[channel]:,}")
    facts = (
        f"records read {now.worker.get('records', 0):,.0f}   "
        f"shards {now.worker.get('shards', 0):.0f}   "
        f"lag {now.worker.get('lag', 0):.1f} s   "
        f"held for the night {now.worker.get('quiet_hours', 0):,.0f} times"
    )
    title = f"comeback demo  {now.seconds:4.0f} s of about {now.seconds_total:.0f} s"
    news = Text("\n".join(now.news), style="dim")
    return Panel(Group(users, sends, Text(facts), news), title=title, width=80)


def plain(now: Snapshot) -> str:
    """The same moment as one line, where the output is no terminal."""
    sent = " ".join(f"{channel} {now.accepted[channel]}" for channel in CHANNELS)
    return (
        f"{now.seconds:5.1f} s  active {now.crowd['active']}  quiet {now.crowd['quiet']}  "
        f"returned {now.crowd['returned']}  |  {sent}  |  lag {now.worker.get('lag', 0):.1f} s"
    )


def summary(crowd: Crowd, accepted: Counter[str], checks: Sequence[Check]) -> RenderableType:
    """What each stage brought back, what each kind of user received, and the checks."""
    stages = Table(title="what each stage brought back", box=SIMPLE, title_justify="left")
    for column in ("stage", "sent", "came back", "share"):
        stages.add_column(column, justify="left" if column == "stage" else "right")
    back = brought_back(crowd)
    for channel in CHANNELS:
        sent = accepted[channel]
        share = f"{100 * back[channel] / sent:.0f} %" if sent else "-"
        stages.add_row(channel, f"{sent:,}", f"{back[channel]:,}", share)
    habits = Table(title="who got what", box=SIMPLE, title_justify="left")
    for column in ("kind of user", "users", "received"):
        habits.add_column(column, justify="right" if column == "users" else "left")
    for habit, count in habits_of(crowd.members).most_common():
        habits.add_row(habit.value, f"{count:,}", _received(crowd, habit))
    judged = Table.grid(padding=(0, 1))
    for check in checks:
        mark = Text("ok", style="green") if check.holds else Text("BROKEN", style="bold red")
        names = ", ".join(check.broken_for[:5])
        judged.add_row(mark, check.name, f"{len(check.broken_for)}: {names}" if names else "")
    late = came_back_late(crowd)
    told = [Text(f"A message too many ({late}): came back too late, the next was already due.\n")]
    return Group(stages, habits, *(told if late else []), judged)


def _received(crowd: Crowd, habit: Habit) -> str:
    """What the users of a kind received, the commonest first."""
    ladders = Counter(
        " + ".join(channel for _, channel in member.received) or "nothing"
        for member in crowd.members
        if member.habit is habit
    )
    if len(ladders) == 1:
        return next(iter(ladders))
    return ", ".join(f"{ladder} ({count:,})" for ladder, count in ladders.most_common(3))
