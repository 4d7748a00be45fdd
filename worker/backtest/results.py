"""Statistics to the tables of one run. Pure. What each says is its `about`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from math import sqrt
from typing import Final

from worker.backtest.statistics import People, Returns, SendKey, Statistics
from worker.backtest.tables import Column, Figure, Kind, Row, Table, Value
from worker.model import DAY_MS, Arm, Channel, EpisodeOutcome
from worker.rules.instants import instant
from worker.rules.ruleset import Rule

HELD_OUT_MIN: Final = 2_000
"""Held-out users below which a return rate says nothing: so many are needed to tell 12 % from 10 %
(two-sided 5 %, power 80 %, one user in ten held out)."""

NOT_ENOUGH: Final = "not enough data"
_Z: Final = 1.96
"""Standard errors of a 95 % interval."""

_CHANNELS: Final = tuple(Channel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one rule set would have done."""

    label: str
    """How the rules were named on the command line."""
    revision: str
    currency: str
    figures: tuple[Figure, ...]
    tables: tuple[Table, ...]

    def table(self, name: str) -> Table:
        """The table of that name; all are always there."""
        return next(table for table in self.tables if table.name == name)


def result_of(
    statistics: Statistics, *, label: str, first_ms: int, last_ms: int, since_ms: int
) -> Result:
    """The tables of a finished run over the stream time `first_ms` to `last_ms`; users and ladders
    count from `since_ms` on."""
    days = range(max(first_ms, since_ms) // DAY_MS, max(last_ms, first_ms) // DAY_MS + 1)
    return Result(
        label=label,
        revision=statistics.rules.revision,
        currency=statistics.rules.prices.currency,
        figures=tuple(_figures(statistics, statistics.people(since_ms=since_ms))),
        tables=(
            _sends_per_day(statistics, days),
            _cost_per_day(statistics, days),
            _sends_by_hour(statistics),
            _sends_by_stage(statistics),
            _funnel(statistics),
            _episodes(statistics),
            _holds(statistics),
            _skips(statistics),
            _not_begun(statistics),
            _returns(statistics),
        ),
    )


def _figures(s: Statistics, people: People) -> Iterator[Figure]:
    def count(name: str, title: str, value: int, note: str = "") -> Figure:
        return Figure(name=name, title=title, kind=Kind.COUNT, value=value, note=note)

    def at(at_ms: int | None) -> str:
        return "" if at_ms is None else f"from {instant(at_ms)}"

    yield count("users_seen", "users seen", people.seen)
    yield count("users_inactive", "went quiet", people.inactive, "some rule began a ladder")
    yield count("users_reached", "reached", people.reached, "something went out to them")
    yield count("users_held_out", "held out", people.held_out)
    yield count("users_returned", "returned", people.returned, "came back while on a ladder")
    yield count("users_converted", "converted", people.converted)
    yield count("sends", "sends", s.sends.total(), "one an address")
    if s.stages_would_send:
        would = s.stages_would_send.total()
        yield count("would_send", "would be sent", would, "stages of rules in mode: shadow")
    yield Figure(name="cost", title="cost", kind=Kind.MONEY, value=s.cost_micros.total())
    second, minute = s.peak_second, s.peak_minute
    yield count("peak_per_second", "most in a second", second.most, at(second.at_ms))
    yield count("peak_per_minute", "most in a minute", minute.most, at(minute.at_ms))


def _day(day: int) -> str:
    return datetime.fromtimestamp(day * DAY_MS / 1_000, UTC).strftime("%Y-%m-%d")


def _sends_per_day(s: Statistics, days: range) -> Table:
    shadow = bool(s.would_send)
    rows = []
    for day in days:
        by_channel = [s.sends[day, channel] for channel in _CHANNELS]
        values = [*by_channel, sum(by_channel), *([s.would_send[day]] if shadow else [])]
        rows.append(Row((_day(day),), tuple(values)))
    return Table(
        name="sends_per_day",
        title="Sends per day",
        about="Accepted sends, one an address, by day (UTC) and channel.",
        keys=("day",),
        columns=(
            *(Column(name=c.value, title=_title(c), main=False) for c in _CHANNELS),
            Column(name="sends", title="all"),
            *([Column(name="would_send", title="would be sent")] if shadow else []),
        ),
        rows=tuple(rows),
    )


def _cost_per_day(s: Statistics, days: range) -> Table:
    rows = []
    for day in days:
        by_channel = [s.cost_micros[day, channel] for channel in _CHANNELS]
        rows.append(Row((_day(day),), (*by_channel, sum(by_channel))))
    return Table(
        name="cost_per_day",
        title="Cost per day",
        about="What those sends cost by the prices of the rules, by day (UTC) and channel.",
        keys=("day",),
        columns=(
            *(Column(name=c, title=_title(c), kind=Kind.MONEY, main=False) for c in _CHANNELS),
            Column(name="cost", title="all", kind=Kind.MONEY),
        ),
        rows=tuple(rows),
    )


def _sends_by_hour(s: Statistics) -> Table:
    return Table(
        name="sends_by_hour",
        title="Sends by hour",
        about="Over all days: the hour in UTC, and the hour on the user's own clock (UTC for users"
        " of whom nothing tells it).",
        keys=("hour",),
        columns=(Column(name="local", title="user's hour"), Column(name="utc", title="UTC")),
        rows=tuple(
            Row((f"{hour:02d}",), (s.hours_local[hour], s.hours_utc[hour])) for hour in range(24)
        ),
    )


def _sends_by_stage(s: Statistics) -> Table:
    rows = [Row(tuple(key), (s.sends_of[key], s.cost_micros_of[key])) for key in _send_keys(s)]
    return Table(
        name="sends_by_stage",
        title="Sends by rule, stage and variant",
        about="Accepted sends, one an address, and what they cost.",
        keys=("rule", "stage", "channel", "variant"),
        columns=(Column(name="sends", title="sends"), _money("cost", "cost")),
        rows=tuple(rows),
    )


def _send_keys(s: Statistics) -> Iterator[SendKey]:
    for rule in s.rules.rules:
        for stage in rule.stages:
            for variant in stage.variants:
                yield SendKey(rule.name, stage.name, stage.channel, variant.name)


def _funnel(s: Statistics) -> Table:
    """Every step of every rule, beginning with the ladders that began."""
    rows = []
    for rule in s.rules.rules:
        begun = s.opened[rule.name, Arm.TREATED] + s.opened[rule.name, Arm.HOLDOUT]
        back = s.returned_after[rule.name, None]
        rows.append(Row((rule.name, BEGUN), (begun, 0, 0, 0, back, _share(begun, begun))))
        for stage in rule.stages:
            key = (rule.name, stage.name)
            passed = s.stages_sent[key] + s.stages_held_out[key] + s.stages_would_send[key]
            rows.append(
                Row(
                    key,
                    (
                        s.stages_sent[key],
                        s.stages_would_send[key],
                        s.stages_held_out[key],
                        _skipped(s, rule, stage.name),
                        None if stage is rule.stages[-1] else s.returned_after[key],
                        _share(passed, begun),
                    ),
                )
            )
    return Table(
        name="funnel",
        title="From silence to stage to return",
        about="Ladders that began, what became of each stage, and who came back before the next one"
        " (after the last stage a ladder is over). Share: sent, shadowed or held out, of the"
        " ladders that began.",
        keys=("rule", "step"),
        columns=(
            Column(name="sent", title="sent"),
            Column(name="would_send", title="shadow", main=False),
            Column(name="held_out", title="held out", main=False),
            Column(name="skipped", title="skipped", main=False),
            Column(name="returned", title="back before the next"),
            Column(name="share", title="share", kind=Kind.SHARE, main=False),
        ),
        rows=tuple(rows),
    )


BEGUN: Final = "(begun)"
"""The first step of a funnel; no stage can be named so."""


def _skipped(s: Statistics, rule: Rule, stage: str) -> int:
    return sum(n for (name, step, _), n in s.skips.items() if (name, step) == (rule.name, stage))


def _episodes(s: Statistics) -> Table:
    rows = []
    for rule in s.rules.rules:
        begun = [s.opened[rule.name, arm] for arm in Arm]
        closed = [s.closed_as[rule.name, outcome] for outcome in EpisodeOutcome]
        left = sum(begun) - sum(closed)
        rows.append(Row((rule.name,), (*begun, *closed, left, s.conversions[rule.name])))
    return Table(
        name="episodes",
        title="Ladders by outcome",
        about="Ladders that began, by arm of the holdout, and how they ended. What was open before"
        " the first day is not among those that began.",
        keys=("rule",),
        columns=(
            *(Column(name=arm.value, title=arm.value) for arm in Arm),
            *(Column(name=outcome.value, title=outcome.value) for outcome in EpisodeOutcome),
            Column(name="open", title="still open"),
            Column(name="converted", title="converted"),
        ),
        rows=tuple(rows),
    )


def _holds(s: Statistics) -> Table:
    return Table(
        name="holds",
        title="Holds by reason",
        about="How often a due stage had to wait, by what for.",
        keys=("rule", "stage", "reason"),
        columns=(Column(name="holds", title="holds"),),
        rows=_by_count({(r, st, reason.value): n for (r, st, reason), n in s.holds.items()}),
    )


def _skips(s: Statistics) -> Table:
    return Table(
        name="skips",
        title="Skips by reason",
        about="Stages that were left out, by why.",
        keys=("rule", "stage", "reason"),
        columns=(Column(name="skips", title="skips"),),
        rows=_by_count({(r, st, reason.value): n for (r, st, reason), n in s.skips.items()}),
    )


def _not_begun(s: Statistics) -> Table:
    return Table(
        name="not_begun",
        title="Why no ladder began",
        about="Looks at silent users for whom the rule did nothing, by why. A user who is looked at"
        " again counts again.",
        keys=("rule", "reason"),
        columns=(Column(name="looks", title="looks"),),
        rows=_by_count({(rule, reason.value): n for (rule, reason), n in s.not_begun.items()}),
    )


def _returns(s: Statistics) -> Table:
    rows = []
    for rule in s.rules.rules:
        for stage in rule.stages:
            treated = s.returns[rule.name, stage.name, Arm.TREATED]
            held_out = s.returns[rule.name, stage.name, Arm.HOLDOUT]
            rows.append(Row((rule.name, stage.name), _compared(treated, held_out)))
    return Table(
        name="returns",
        title="Back within 7 days, by arm",
        about="Users who came to a stage and were watched for 7 days after it. Nobody was really"
        " written to in a backtest: unless these rules were live when the events were recorded, a"
        " difference is chance. Later stages compare only those who were still away.",
        keys=("rule", "stage"),
        columns=(
            Column(name="treated", title="treated", main=False),
            Column(name="treated_returned", title="treated back", main=False),
            Column(name="treated_rate", title="treated rate", kind=Kind.SHARE),
            Column(name="holdout", title="held out", main=False),
            Column(name="holdout_returned", title="held-out back", main=False),
            Column(name="holdout_rate", title="held-out rate", kind=Kind.SHARE),
            Column(name="difference", title="difference", kind=Kind.POINTS, main=False),
            Column(name="too_early", title="too early", main=False),
            Column(name="verdict", title="", kind=Kind.TEXT, main=False),
        ),
        rows=tuple(rows),
    )


def _compared(treated: Returns, held_out: Returns) -> tuple[Value, ...]:
    """Both arms, their rates, the difference, and what it is worth."""
    rates = [_share(arm.returned, arm.watched) for arm in (treated, held_out)]
    enough = held_out.watched >= HELD_OUT_MIN and treated.watched >= HELD_OUT_MIN
    difference: float | None = None
    verdict = NOT_ENOUGH
    if enough and rates[0] is not None and rates[1] is not None:
        difference = rates[0] - rates[1]
        margin = _Z * sqrt(
            sum(
                rate * (1 - rate) / arm.watched
                for rate, arm in zip((rates[0], rates[1]), (treated, held_out), strict=True)
            )
        )
        verdict = f"± {margin * 100:.1f} pts" + ("" if abs(difference) > margin else ", no effect")
    return (
        treated.watched,
        treated.returned,
        rates[0],
        held_out.watched,
        held_out.returned,
        rates[1],
        difference,
        treated.unknown + held_out.unknown,
        verdict,
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _by_count(counts: dict[tuple[str, ...], int]) -> tuple[Row, ...]:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Row(keys, (count,)) for keys, count in ordered)


def _money(name: str, title: str) -> Column:
    return Column(name=name, title=title, kind=Kind.MONEY)


def _title(channel: Channel) -> str:
    return {"push": "push", "email": "e-mail", "sms": "SMS"}[channel]
