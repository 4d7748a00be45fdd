"""Random rule sets from a description of our own, and the YAML that says the same.

The checkers read the description (`RulesPut.rules`), the worker reads the YAML; nothing here comes
from the worker. A text is `rule|edition|stage|variant|user`. Books are drawn from a limited shelf,
so that a worker's compiled rules can be kept from run to run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Literal

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

BOOKS = 300
"""Different books on the shelf; each has a chain of editions of its own."""

CUSTOM_ACTIVITY = "app.opened"
"""The custom event that counts as activity, where a book says so."""
GOAL = "order.placed"
"""What rules hope for."""

Edit = Literal["edit_harmless", "edit_ladder", "edit_broken", "edit_removed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSpec:
    """One stage. `after_ms` counts from the previous stage's send, the first's from the opening."""

    name: str
    channel: Literal["push", "email", "sms"]
    after_ms: int
    variants: tuple[str, ...] = ("",)
    on_undeliverable: Literal["next_stage", "wait", "end"] = "next_stage"
    on_uncertain: Literal["keep", "resend"] = "keep"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSpec:
    """One rule. `edition` rises with every change of its ladder and stands in its texts."""

    name: str
    edition: int
    mode: Literal["live", "shadow"]
    priority: int
    inactive_for_ms: int
    max_inactive_ms: int | None
    cooldown_ms: int
    holdout_percent: int
    on_edit: Literal["finish_old", "move", "cancel"]
    stages: tuple[StageSpec, ...]
    goal_within_ms: int | None = None
    """A GOAL so long after a send is credited to it; None: the rule hopes for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CapSpec:
    """At most `most` stages of one user in `per_ms`; calendar: whole days of the user's zone."""

    most: int
    per_ms: int
    window: Literal["rolling", "calendar"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RateSpec:
    """At most `most` sends in any `per_ms`, of one channel or, with None, of all together."""

    channel: Literal["push", "email", "sms"] | None
    most: int
    per_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetSpec:
    """At most `micros` on one calendar day of `timezone`."""

    channel: Literal["push", "email", "sms"]
    micros: int
    timezone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietSpec:
    """Nothing is sent from `start` to `end` (HH:MM) of the user's clock. Unknown zones: by country,
    by phone prefix, else `otherwise`, a zone or `defer_to_utc_midday` (then only 12:00-13:00)."""

    name: str
    start: str
    end: str
    channel: Literal["push", "email", "sms"] | None
    otherwise: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """A whole folder of rules."""

    number: int
    """Rises with every edit, of whatever kind."""
    rules: tuple[RuleSpec, ...]
    caps: tuple[CapSpec, ...] = ()
    min_gap_ms: int | None = None
    rates: tuple[RateSpec, ...] = ()
    budgets: tuple[BudgetSpec, ...] = ()
    prices: Mapping[str, int] | None = None
    """Channel to what one send costs, in millionths."""
    quiet: tuple[QuietSpec, ...] = ()
    custom_activity: bool = False
    """CUSTOM_ACTIVITY events are activity."""

    def yaml(self) -> str:
        """The file that says this. (JSON is YAML.)"""
        return json.dumps(_document(self), indent=1)


BROKEN = '{"apiVersion": "v1", "rules": [{"rule": "torn", "inactive_for": "7d", "stages": ['
"""What an editor leaves behind that was killed."""

_WAITS = (0, 10 * MINUTE_MS, 6 * HOUR_MS, DAY_MS, 2 * DAY_MS, 3 * DAY_MS, 5 * DAY_MS)
_SILENCES = (12 * HOUR_MS, DAY_MS, 36 * HOUR_MS, 2 * DAY_MS, 3 * DAY_MS, 5 * DAY_MS, 7 * DAY_MS)
_CHANNELS: tuple[Literal["push", "email", "sms"], ...] = ("push", "email", "sms")


def book(index: int) -> Book:
    """The first edition of a book of the shelf."""
    rng = Random(f"book {index}")
    rules = tuple(_rule(rng, name) for name in ("first", "second", "third")[: _count(rng)])
    if not any(rule.mode == "live" for rule in rules):
        rules = (replace(rules[0], mode="live"), *rules[1:])
    prices = {"push": 1, "email": 100, "sms": 80_000} if rng.random() < 0.5 else None
    budgets: tuple[BudgetSpec, ...] = ()
    if prices and rng.random() < 0.6:
        zone = rng.choice(("UTC", "America/New_York"))
        budgets = (BudgetSpec(channel="sms", micros=80_000 * rng.randint(1, 4), timezone=zone),)
    return Book(
        number=1,
        rules=rules,
        caps=_caps(rng),
        min_gap_ms=rng.choice((None, None, HOUR_MS, 4 * HOUR_MS, DAY_MS)),
        rates=_rates(rng),
        budgets=budgets,
        prices=prices,
        quiet=_quiet(rng),
        custom_activity=rng.random() < 0.4,
    )


def edited(before: Book, edit: Edit, rng: Random) -> Book | None:
    """The next edition; None when the file is broken."""
    number = before.number + 1
    if edit == "edit_broken":
        return None
    if edit == "edit_removed" and len(before.rules) > 1:
        gone = rng.choice(before.rules)
        return replace(before, number=number, rules=tuple(r for r in before.rules if r != gone))
    if edit == "edit_ladder":
        changed = rng.randrange(len(before.rules))
        rules = list(before.rules)
        rules[changed] = _with_another_ladder(rules[changed], rng)
        return replace(before, number=number, rules=tuple(rules))
    return _harmless(replace(before, number=number), rng)


def _harmless(before: Book, rng: Random) -> Book:
    """A switch is turned: limits, pauses between episodes. No ladder changes."""
    changed = rng.randrange(len(before.rules))
    rules = list(before.rules)
    match rng.randrange(4):
        case 0:
            rules[changed] = replace(
                rules[changed], cooldown_ms=rng.choice((0, DAY_MS, 9 * DAY_MS))
            )
        case 1:
            mode: Literal["live", "shadow"] = "shadow" if rules[changed].mode == "live" else "live"
            rules[changed] = replace(rules[changed], mode=mode)
        case 2:
            return replace(before, caps=_caps(rng))
    return replace(before, rules=tuple(rules))


def _with_another_ladder(rule: RuleSpec, rng: Random) -> RuleSpec:
    stages = list(rule.stages)
    match rng.randrange(3):
        case 0 if len(stages) > 1:
            del stages[rng.randrange(len(stages))]
        case 1:
            at = rng.randrange(len(stages))
            stages[at] = replace(stages[at], after_ms=rng.choice(_WAITS))
    return replace(rule, edition=rule.edition + 1, stages=tuple(stages))


def _count(rng: Random) -> int:
    return rng.choice((1, 1, 2, 3))


def _rule(rng: Random, name: str) -> RuleSpec:
    silence_ms = rng.choice(_SILENCES)
    stages = tuple(_stage(rng, number) for number in range(rng.choice((1, 2, 3, 3, 4))))
    long_ms = silence_ms + rng.choice((5, 10, 30)) * DAY_MS
    return RuleSpec(
        name=name,
        edition=1,
        mode="shadow" if rng.random() < 0.12 else "live",
        priority={"first": 30, "second": 20, "third": 10}[name],
        inactive_for_ms=silence_ms,
        max_inactive_ms=long_ms if rng.random() < 0.6 else None,
        cooldown_ms=rng.choice((0, 0, DAY_MS, 5 * DAY_MS, 20 * DAY_MS)),
        holdout_percent=rng.choice((0, 0, 0, 25)),
        on_edit=rng.choice(("finish_old", "move", "cancel")),
        stages=stages,
        goal_within_ms=rng.choice((None, 2 * DAY_MS)),
    )


def _stage(rng: Random, number: int) -> StageSpec:
    in_order = number < len(_CHANNELS) and rng.random() < 0.7
    return StageSpec(
        name=f"s{number}",
        channel=_CHANNELS[number] if in_order else rng.choice(_CHANNELS),
        after_ms=rng.choice(_WAITS) if number else rng.choice((0, 0, 0, HOUR_MS)),
        variants=("a", "b") if rng.random() < 0.2 else ("",),
        on_undeliverable=rng.choice(("next_stage", "next_stage", "next_stage", "wait", "end")),
        on_uncertain="resend" if rng.random() < 0.2 else "keep",
    )


def _caps(rng: Random) -> tuple[CapSpec, ...]:
    caps = (
        CapSpec(most=1, per_ms=DAY_MS, window="calendar"),
        CapSpec(most=2, per_ms=3 * DAY_MS, window="rolling"),
        CapSpec(most=3, per_ms=7 * DAY_MS, window="rolling"),
        CapSpec(most=4, per_ms=14 * DAY_MS, window="calendar"),
    )
    return tuple(cap for cap in caps if rng.random() < 0.3)


def _rates(rng: Random) -> tuple[RateSpec, ...]:
    rates = (
        RateSpec(channel=None, most=1, per_ms=SECOND_MS),
        RateSpec(channel=None, most=2, per_ms=MINUTE_MS),
        RateSpec(channel="sms", most=1, per_ms=10 * MINUTE_MS),
        RateSpec(channel="push", most=3, per_ms=HOUR_MS),
    )
    return tuple(rate for rate in rates if rng.random() < 0.15)


def _quiet(rng: Random) -> tuple[QuietSpec, ...]:
    windows: list[QuietSpec] = []
    otherwise = rng.choice(("Europe/Berlin", "defer_to_utc_midday", "UTC"))
    if rng.random() < 0.6:
        windows.append(
            QuietSpec(name="night", start="21:00", end="08:00", channel=None, otherwise=otherwise)
        )
    if rng.random() < 0.25:
        windows.append(
            QuietSpec(name="noon", start="12:15", end="13:45", channel="sms", otherwise="UTC")
        )
    return tuple(windows)


# --- the YAML ---------------------------------------------------------------------------------


def _document(book: Book) -> dict[str, Any]:
    document: dict[str, Any] = {"apiVersion": "v1", "law_windows": "ignore"}
    if book.custom_activity:
        document["defaults"] = {"activity": {"events": [CUSTOM_ACTIVITY]}}
    limits: dict[str, Any] = {}
    user: list[dict[str, Any]] = [
        {"max": cap.most, "per": _duration(cap.per_ms), "window": cap.window} for cap in book.caps
    ]
    if book.min_gap_ms is not None:
        user.append({"min_gap": _duration(book.min_gap_ms)})
    if user:
        limits["user"] = user
    if book.rates:
        limits["send_rate"] = [
            _of_channel(rate.channel, {"max": rate.most, "per": _duration(rate.per_ms)})
            for rate in book.rates
        ]
    if book.budgets:
        limits["budget"] = [
            {
                "channel": budget.channel,
                "max": _amount(budget.micros),
                "per": "1d",
                "timezone": budget.timezone,
            }
            for budget in book.budgets
        ]
    if limits:
        document["limits"] = limits
    if book.prices:
        document["prices"] = {c: {"default": _amount(m)} for c, m in book.prices.items()}
    if book.quiet:
        document["quiet_hours"] = [_quiet_entry(quiet) for quiet in book.quiet]
    document["rules"] = [_rule_entry(rule, book.number) for rule in book.rules]
    return document


def _of_channel(channel: str | None, entry: dict[str, Any]) -> dict[str, Any]:
    return entry if channel is None else {"channel": channel, **entry}


def _quiet_entry(quiet: QuietSpec) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": quiet.name, "from": quiet.start, "to": quiet.end}
    if quiet.channel is not None:
        entry["match"] = [f'channel="{quiet.channel}"']
    entry["unknown_timezone"] = {"assume": ["country", "phone_prefix"], "else": quiet.otherwise}
    return entry


def _rule_entry(rule: RuleSpec, number: int) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "rule": rule.name,
        "owner": f"edit {number}",
        "mode": rule.mode,
        "priority": rule.priority,
        "inactive_for": _duration(rule.inactive_for_ms),
        "on_edit": rule.on_edit,
        "cooldown": _duration(rule.cooldown_ms),
    }
    if rule.max_inactive_ms is not None:
        entry["max_inactive"] = _duration(rule.max_inactive_ms)
    if rule.holdout_percent:
        entry["holdout"] = {"percent": rule.holdout_percent}
    if rule.goal_within_ms is not None:
        entry["conversion"] = {"event": GOAL, "within": _duration(rule.goal_within_ms)}
    entry["stages"] = [_stage_entry(rule, stage) for stage in rule.stages]
    return entry


def _stage_entry(rule: RuleSpec, stage: StageSpec) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": stage.name,
        "channel": stage.channel,
        "after": _duration(stage.after_ms),
        "on_undeliverable": stage.on_undeliverable,
        "on_uncertain": stage.on_uncertain,
    }
    texts = {
        variant: f"{rule.name}|{rule.edition}|{stage.name}|{variant}|{{{{User.UserId}}}}"
        for variant in stage.variants
    }
    if stage.variants == ("",):
        entry["message"] = _message(stage.channel, texts[""])
    else:
        entry["variants"] = [
            {"name": variant, "weight": 50, "message": _message(stage.channel, text)}
            for variant, text in texts.items()
        ]
    return entry


def _message(channel: str, text: str) -> dict[str, str]:
    match channel:
        case "push":
            return {"title": "t", "body": text}
        case "email":
            return {"subject": "t", "text": text}
        case _:
            return {"body": text}


def _duration(ms: int) -> str:
    return f"{ms // SECOND_MS}s"


def _amount(micros: int) -> str:
    return f"{micros // 1_000_000}.{micros % 1_000_000:06d} USD"
