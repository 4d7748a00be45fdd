"""A plan as people and machines read it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import click

from worker.cli.words import columns, moment, sentence_of
from worker.model import DAY_MS, Channel
from worker.rehearsal.forecast import Compared, Forecast, OnDay, OnStage, compared, leaving, moved
from worker.rules.amounts import MICROS
from worker.rules.diff import Change, Reach
from worker.rules.ruleset import RuleSet

REACHES: Mapping[Reach, str] = {
    Reach.NOBODY: "touches nobody",
    Reach.NEW: "for ladders that begin from now on",
    Reach.MOVED: "moves users who are on the ladder",
    Reach.CANCELLED: "ends the ladders users are on",
    Reach.EVERYBODY: "at once, for everybody",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What `comeback plan` found; numbers of the forecasts are of the users played."""

    found: str
    """Where the rules in force were found."""
    proposed: str
    before: RuleSet
    after: RuleSet
    changes: tuple[Change, ...]
    forecasts: tuple[Forecast, Forecast]
    """With the rules in force, and with those proposed."""
    now_ms: int
    days: int
    users: int
    """Of the state."""
    affected: int
    """Of them, to whom anything can happen within these days."""
    played: int

    @property
    def is_estimate(self) -> bool:
        """Was only a sample of the affected users played?"""
        return self.played < self.affected

    @property
    def has_prices(self) -> bool:
        """Does either rule set say what a send costs?"""
        return any(
            rules.prices.otherwise or rules.prices.by_country for rules in (self.before, self.after)
        )

    def scaled(self, count: int) -> int:
        """A number of users played, for all users; of an estimate two digits."""
        if not self.is_estimate or not self.played:
            return count
        estimate = count * self.affected / self.played
        digits: int = max(0, len(str(int(abs(estimate)))) - 2)
        unit = 10.0**digits
        return round(round(estimate / unit) * unit)


# --- for people --------------------------------------------------------------------------------


def as_text(plan: Plan) -> str:
    """What differs is bold on a terminal."""
    tables = _Tables(plan)
    sections = [tables.head(), tables.changes(), tables.users()]
    shown = (
        tables.rules(),
        tables.moves(),
        tables.leaves(),
        tables.stages(),
        tables.days(),
        tables.holds(),
    )
    sections += map(str, shown)
    return "\n\n".join(filter(None, sections))


class _Table(NamedTuple):
    title: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]

    def __str__(self) -> str:
        head = tuple(click.style(cell, underline=True) if cell else "" for cell in self.head)
        return f"{self.title}\n{columns([head, *self.rows])}" if self.rows else ""


class _Tables:
    """The parts of a plan as text."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._before, self._after = plan.forecasts

    def head(self) -> str:
        plan = self._plan
        rows: list[tuple[str, ...]] = [
            ("in force", f"{plan.found}, revision {plan.before.revision}"),
            ("proposed", f"{plan.proposed}, revision {plan.after.revision}"),
        ]
        return columns(rows, indent="")

    def changes(self) -> str:
        if not self._plan.changes:
            return "no change: both mean the same"
        rows: list[tuple[str, ...]] = [
            (click.style(str(change), bold=True), f"({REACHES[change.reach]})")
            for change in self._plan.changes
        ]
        return "changes\n" + "\n".join(f"  {told}  {reach}" for told, reach in rows)

    def users(self) -> str:
        plan = self._plan
        told = (
            f"{plan.users:,} user{'s' if plan.users != 1 else ''}; "
            f"something can happen to {plan.affected:,} of them within "
            f"{plan.days} day{'s' if plan.days != 1 else ''} of {moment(plan.now_ms)}, "
            "supposing that nobody comes back"
        )
        if plan.is_estimate:
            told += (
                f"\na sample of {plan.played:,} of them was played, 1 in "
                f"{plan.affected / max(1, plan.played):.1f}: numbers with ~ are estimates"
            )
        return told

    def rules(self) -> _Table:
        rows: list[tuple[str, ...]] = [
            (
                rule,
                self._number(users.on_ladder),
                *self._pair(*users.enters),
                self._lone(users.moves),
                self._lone(
                    sum(
                        n for key, n in leaving(self._after, self._before).items() if key[0] == rule
                    )
                ),
            )
            for rule, users in _rules(self._plan).items()
        ]
        head = ("rule", "on it now", "will enter: in force", "proposed", "", "moves", "leaves")
        return _Table("users", head, rows)

    def moves(self) -> _Table:
        rows: list[tuple[str, ...]] = [
            (rule, before or "-", "->", after or "-", self._lone(count))
            for (rule, before, after), count in _sorted(moved(self._before, self._after))
        ]
        title = "users on a ladder who go on elsewhere, or at the same stage of the new ladder"
        return _Table(title, ("rule", "stage", "", "stage", "users"), rows)

    def leaves(self) -> _Table:
        rows: list[tuple[str, ...]] = [
            (rule, stage or "-", self._lone(count), reason, sentence_of(reason))
            for (rule, stage, reason), count in _sorted(leaving(self._after, self._before))
        ]
        head = ("rule", "stage", "users", "reason", "")
        return _Table("users whose ladder ends at once", head, rows)

    def stages(self) -> _Table:
        before, after = self._before, self._after
        rows: list[tuple[str, ...]] = []
        for where in _stages(self._plan):
            sends = self._pair(before.sends[where], after.sends[where])
            costs = before.cost_micros[where], after.cost_micros[where]
            rows.append((where.rule, where.stage or "-", *sends, *self._amounts(*costs)))
            if before.would_send[where] or after.would_send[where]:
                would = self._pair(before.would_send[where], after.would_send[where])
                rows.append(("", "  would be sent", *would, *self._no_amounts()))
        if rows:
            sends = self._pair(before.sends.total(), after.sends.total())
            costs = before.cost_micros.total(), after.cost_micros.total()
            rows.append(("all", "", *sends, *self._amounts(*costs)))
        head = ("rule", "stage", *self._sends_and_money())
        return _Table("sends by stage", head, rows)

    def days(self) -> _Table:
        before, after = self._before, self._after
        rows: list[tuple[str, ...]] = []
        for day in _days(self._plan):
            for channel in Channel:
                where = OnDay(day, channel)
                if before.sends_on[where] or after.sends_on[where]:
                    sends = self._pair(before.sends_on[where], after.sends_on[where])
                    costs = before.cost_micros_on[where], after.cost_micros_on[where]
                    rows.append((_date(day), channel.value, *sends, *self._amounts(*costs)))
        head = ("day (UTC)", "channel", *self._sends_and_money())
        return _Table("sends by day and channel", head, rows)

    def holds(self) -> _Table:
        before, after = self._before.holds, self._after.holds
        rows: list[tuple[str, ...]] = [
            (rule, reason, *self._pair(before[rule, reason], after[rule, reason]))
            for rule, reason in sorted({*before, *after})
        ]
        head = ("rule", "for", "in force", "proposed", "")
        return _Table("stages that have to wait", head, rows)

    def _sends_and_money(self) -> tuple[str, ...]:
        sends = "sends: in force", "proposed", ""
        if not self._plan.has_prices:
            return sends
        return *sends, f"{self._plan.after.prices.currency}: in force", "proposed", ""

    def _number(self, count: int) -> str:
        mark = "~" if self._plan.is_estimate and count else ""
        return f"{mark}{self._plan.scaled(count):,}"

    def _lone(self, count: int) -> str:
        return click.style(self._number(count), bold=True) if count else "0"

    def _pair(self, before: int, after: int) -> tuple[str, str, str]:
        """Both numbers, and by how much they differ."""
        if before == after:
            return self._number(before), self._number(after), ""
        grown = self._plan.scaled(after - before)
        told = click.style(self._number(after), bold=True)
        return self._number(before), told, click.style(f"({grown:+,})", bold=True)

    def _no_amounts(self) -> tuple[str, ...]:
        return ("", "", "") if self._plan.has_prices else ()

    def _amounts(self, before: int, after: int) -> tuple[str, ...]:
        """Both amounts, and by how much they differ; nothing where no rule set has prices."""
        if not self._plan.has_prices:
            return ()
        mark = "~" if self._plan.is_estimate and (before or after) else ""
        amounts = [self._plan.scaled(micros) for micros in (before, after, after - before)]
        first, second, grown = (_money(amount) for amount in amounts)
        if before == after:
            return mark + first, mark + second, ""
        sign = "+" if after > before else "-"
        told = click.style(mark + second, bold=True)
        return mark + first, told, click.style(f"({sign}{grown})", bold=True)


def _money(micros: int) -> str:
    """Without its sign; cents, and of small amounts the fourth digit."""
    amount = abs(micros) / MICROS
    is_fine = amount < 1 and micros % (MICROS // 100)
    return f"{amount:.4f}" if is_fine else f"{amount:,.2f}"


def _sorted(counts: Mapping[Any, int]) -> list[tuple[Any, int]]:
    return sorted(counts.items(), key=str)


def _rules(plan: Plan) -> Mapping[str, Compared]:
    """Every rule of either rule set, also one to whom nothing happens, and of old ladders."""
    nothing = Compared(on_ladder=0, enters=(0, 0), moves=0, leaves=(0, 0))
    known = {rule.name: nothing for rules in (plan.before, plan.after) for rule in rules.rules}
    return dict(sorted({**known, **compared(*plan.forecasts)}.items()))


def _stages(plan: Plan) -> Iterator[OnStage]:
    """Every stage of either rule set in the order of the ladder, then those of old ladders."""
    known = [
        OnStage(rule.name, stage.name)
        for rules in (plan.after, plan.before)
        for rule in rules.rules
        for stage in rule.stages
    ]
    counted = [key for told in plan.forecasts for key in (*told.sends, *told.would_send)]
    order = {rule: number for number, rule in enumerate(dict.fromkeys(s.rule for s in known))}
    stages = dict.fromkeys((*known, *counted))
    yield from sorted(stages, key=lambda where: order.get(where.rule, len(order)))


def _days(plan: Plan) -> Sequence[int]:
    return range(plan.now_ms // DAY_MS, (plan.now_ms + plan.days * DAY_MS) // DAY_MS + 1)


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * DAY_MS / 1_000, UTC).strftime("%Y-%m-%d")


# --- for machines ------------------------------------------------------------------------------


def as_json(plan: Plan) -> str:
    """Numbers are of all users; where a sample was played (`estimate`) they are estimates."""
    before, after = plan.forecasts
    document: dict[str, Any] = {
        "in_force": {"found": plan.found, "revision": plan.before.revision},
        "proposed": {"found": plan.proposed, "revision": plan.after.revision},
        "now_ms": plan.now_ms,
        "days": plan.days,
        "users": plan.users,
        "users_affected": plan.affected,
        "users_played": plan.played,
        "estimate": plan.is_estimate,
        "currency": plan.after.prices.currency if plan.has_prices else None,
        "changes": [_change(change) for change in plan.changes],
        "rules": [
            {
                "rule": rule,
                "on_ladder": plan.scaled(users.on_ladder),
                "enters": _both(plan, *users.enters),
                "moves": plan.scaled(users.moves),
            }
            for rule, users in _rules(plan).items()
        ],
        "moves": [
            {"rule": rule, "from": old, "to": new, "users": plan.scaled(count)}
            for (rule, old, new), count in _sorted(moved(before, after))
        ],
        "leaves": [
            {"rule": rule, "stage": stage, "reason": reason, "users": plan.scaled(count)}
            for (rule, stage, reason), count in _sorted(leaving(after, before))
        ],
        "stages": [
            {
                "rule": where.rule,
                "stage": where.stage,
                "sends": _both(plan, before.sends[where], after.sends[where]),
                "would_send": _both(plan, before.would_send[where], after.would_send[where]),
                "cost_micros": _both(plan, before.cost_micros[where], after.cost_micros[where]),
            }
            for where in _stages(plan)
        ],
        "by_day": [
            {
                "day": _date(day),
                "channel": channel,
                "sends": _both(plan, before.sends_on[where], after.sends_on[where]),
                "cost_micros": _both(
                    plan, before.cost_micros_on[where], after.cost_micros_on[where]
                ),
            }
            for day in _days(plan)
            for channel in Channel
            if before.sends_on[where := OnDay(day, channel)] or after.sends_on[where]
        ],
        "holds": [
            {"rule": key[0], "reason": key[1], **_both(plan, before.holds[key], after.holds[key])}
            for key in sorted({*before.holds, *after.holds})
        ],
    }
    return json.dumps(document, indent=2)


def _change(change: Change) -> dict[str, Any]:
    return {
        "kind": change.kind,
        "rule": change.rule,
        "key": change.key,
        "before": change.before,
        "after": change.after,
        "reach": change.reach,
    }


def _both(plan: Plan, before: int, after: int) -> dict[str, int]:
    return {"in_force": plan.scaled(before), "proposed": plan.scaled(after)}
