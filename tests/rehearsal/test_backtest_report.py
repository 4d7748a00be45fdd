"""What a backtest counts, and that terminal, JSON, CSV and page all say the same."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from dataclasses import replace
from html import escape
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.rehearsal.backtest_world import (
    ONE_RULE,
    RULES,
    START_MS,
    event,
    history,
    records_of,
    rules_in,
    rules_of,
)
from tests.rehearsal.test_backtest_live import played
from worker.backtest import charts
from worker.backtest.page import as_page
from worker.backtest.report import Reading, Report, as_csv, as_json
from worker.backtest.results import HELD_OUT_MIN, NOT_ENOUGH, Result, _compared
from worker.backtest.run import Run
from worker.backtest.slices import Slicer
from worker.backtest.statistics import Peak, Returns, Statistics
from worker.backtest.tables import Column, Kind, Row, Table, beside, decimal, shown
from worker.backtest.text import as_text
from worker.model import DAY_MS, HOUR_MS, MINUTE_MS, Arm, Record
from worker.rehearsal.memory import Memory
from worker.rules.load import load
from worker.rules.ruleset import RuleSet


def result_of(
    rules: RuleSet, records: list[Record], *, from_ms: int | None = None, after_ms: int = 0
) -> Result:
    run = Run("rules", rules, start_ms=records[0].arrival_ms, from_ms=from_ms)
    for slice_ in Slicer(cut_ms=from_ms).slices([records]):
        run.take(slice_)
    return run.finish(after_ms=after_ms)


def report_of(*results: Result, records: int = 7) -> Report:
    reading = Reading(
        names=("<events> & more",),
        records=records,
        bytes_read=1,
        first_ms=START_MS,
        last_ms=START_MS + DAY_MS,
        late=3,
        late_max_ms=MINUTE_MS,
        unreadable={"not_json": 2},
        broken={"cut-off gzip": 1},
    )
    return Report(reading=reading, results=results, as_written=False, notes=("a <note>",))


def figures(result: Result) -> dict[str, object]:
    return {figure.name: figure.value for figure in result.figures}


def rows(result: Result, name: str) -> dict[tuple[str, ...], tuple[object, ...]]:
    return {row.keys: row.values for row in result.table(name).rows}


# --- what is counted --------------------------------------------------------------------------


def test_one_user_who_comes_back_after_the_push_is_counted_in_every_table(tmp_path: Path) -> None:
    # User 2 lives nowhere known but in Tokyo's zone; noon UTC there is 21:00, and night.
    noon_ms = (START_MS // DAY_MS + 1) * DAY_MS + 12 * HOUR_MS
    back_ms = noon_ms + 3 * DAY_MS + HOUR_MS
    told = [
        (noon_ms, event(2, noon_ms)),
        (noon_ms + 1, event(2, noon_ms + 1, channel="SMS")),
        (back_ms, event(2, back_ms)),
        (back_ms + 9 * DAY_MS + 12 * HOUR_MS, event(5, back_ms, kind="_other")),
    ]
    result = result_of(rules_of(tmp_path / "rules", ONE_RULE), records_of(told))
    # Due at noon of the third day, held for the night, sent at 08:00 in Tokyo (23:00 UTC).
    counts = figures(result)
    assert {name: counts[name] for name in ("users_seen", "users_inactive", "users_reached")} == {
        "users_seen": 1,
        "users_inactive": 1,
        "users_reached": 1,
    }
    # The user comes back before the SMS is due, falls silent again, and walks the whole ladder.
    assert counts["users_returned"] == 1
    assert counts["sends"] == 3
    assert counts["cost"] == 50_000
    assert rows(result, "holds") == {
        ("winback", "push", "quiet_hours"): (2,),
    }
    assert rows(result, "sends_by_stage")["winback", "push", "push", ""] == (2, 0)
    assert rows(result, "sends_by_stage")["winback", "sms", "sms", ""] == (1, 50_000)
    by_hour = rows(result, "sends_by_hour")
    assert (by_hour["08",], by_hour["23",]) == ((3, 0), (0, 3))
    assert rows(result, "funnel") == {
        ("winback", "(begun)"): (2, 0, 0, 0, 0, 1.0),
        ("winback", "push"): (2, 0, 0, 0, 1, 1.0),
        ("winback", "sms"): (1, 0, 0, 0, None, 0.5),
    }
    assert rows(result, "episodes")["winback",] == (2, 0, 1, 1, 0, 0, 0, 0, 0)
    # Seven days after the first push the user was back, after the second not; and for the SMS the
    # recording ends too early to tell.
    returns = rows(result, "returns")
    assert returns["winback", "push"][:2] == (2, 1)
    assert returns["winback", "push"][7] == 0
    assert returns["winback", "sms"][7:] == (1, NOT_ENOUGH)


def test_days_without_sends_are_told_too_and_all_sends_are_in_one_of_them(tmp_path: Path) -> None:
    rules = rules_of(tmp_path / "rules")
    records = records_of(history(1))
    result = result_of(rules, records)
    expected = played(rules, [records], records[-1].arrival_ms).sends
    table = result.table("sends_per_day")
    days = Counter(at_ms // DAY_MS for at_ms, *_ in expected)
    first, last = records[0].arrival_ms // DAY_MS, records[-1].arrival_ms // DAY_MS
    assert table.column("sends") == [days[day] for day in range(first, last + 1)]
    assert figures(result)["sends"] == len(expected)
    assert figures(result)["users_reached"] == len({user for _, user, *_ in expected})
    assert figures(result)["cost"] == sum(send[-1] for send in expected)
    seconds = Counter(at_ms // 1_000 for at_ms, *_ in expected)
    minutes = Counter(at_ms // MINUTE_MS for at_ms, *_ in expected)
    assert figures(result)["peak_per_second"] == max(seconds.values())
    assert figures(result)["peak_per_minute"] == max(minutes.values())
    stages = result.table("sends_by_stage")
    assert sum(int(v) for v in stages.column("sends") if v is not None) == len(expected)


def test_rules_as_written_in_shadow_send_nothing_and_tell_what_they_would(tmp_path: Path) -> None:
    rules = load(rules_in(tmp_path / "rules", ONE_RULE))
    later_ms = START_MS + 5 * DAY_MS
    told = [(START_MS, event(1, START_MS)), (later_ms, event(4, later_ms, kind="_other"))]
    result = result_of(rules, records_of(told))
    assert figures(result)["sends"] == 0
    assert figures(result)["would_send"] == 1
    assert sum(int(v or 0) for v in result.table("sends_per_day").column("would_send")) == 1


def test_rules_come_into_force_at_from_and_what_was_before_only_tells_who_was_active(
    tmp_path: Path,
) -> None:
    rules = rules_of(tmp_path / "rules", ONE_RULE)
    from_ms = START_MS + 6 * DAY_MS
    told = [
        (START_MS, event(1, START_MS)),
        (from_ms - HOUR_MS, event(4, from_ms - HOUR_MS)),
        (from_ms + DAY_MS, event(7, from_ms + DAY_MS, kind="_other")),
    ]
    result = result_of(rules, records_of(told), from_ms=from_ms)
    assert figures(result)["users_seen"] == 2
    assert figures(result)["users_inactive"] == 1, "the other one is away for two days only"
    days = result.table("sends_per_day")
    assert days.rows[0].keys == ("2026-09-27",)
    assert days.column("sends")[0] == 1, "due since the third day, sent when the rule is there"


def test_playing_on_after_the_end_sends_to_everybody_and_nobody_returns(tmp_path: Path) -> None:
    rules = rules_of(tmp_path / "rules", ONE_RULE)
    told = [(START_MS + user, event(user, START_MS + user)) for user in range(6)]
    assert figures(result_of(rules, records_of(told)))["sends"] == 0
    later = result_of(rules, records_of(told), after_ms=5 * DAY_MS)
    assert (figures(later)["sends"], figures(later)["users_returned"]) == (6, 0)
    assert rows(later, "returns")["winback", "push"][7] == 6, "nobody can tell who comes back"


@pytest.mark.parametrize(
    ("treated", "held_out", "verdict"),
    [
        (Returns(20_000, 2_400), Returns(HELD_OUT_MIN - 1, 200), NOT_ENOUGH),
        (Returns(20_000, 2_400), Returns(HELD_OUT_MIN, 200), "± 1.4 pts"),
        (Returns(20_000, 2_100), Returns(HELD_OUT_MIN, 200), "± 1.4 pts, no effect"),
        (Returns(), Returns(), NOT_ENOUGH),
    ],
)
def test_a_difference_between_the_arms_is_told_only_with_enough_data(
    treated: Returns, held_out: Returns, verdict: str
) -> None:
    values = _compared(treated, held_out)
    assert values[-1] == verdict
    assert (values[6] is None) == (verdict == NOT_ENOUGH)


def test_a_peak_is_the_same_in_whatever_portions_it_is_settled(tmp_path: Path) -> None:
    rules = rules_of(tmp_path / "rules")
    one, two = Statistics(rules, Memory()), Statistics(rules, Memory())
    for statistics, every in ((one, 1), (two, 5)):
        for n, second in enumerate((3, 3, 3, 5, 5, 9, 9, 9, 12)):
            statistics._seconds[second] += 1
            if n % every == 0:
                statistics.settled(second * 1_000)
        statistics.finish()
    assert one.peak_second == two.peak_second == Peak(3, 3_000)


def test_arms_of_the_holdout_are_those_of_the_ladder(tmp_path: Path) -> None:
    rules = rules_of(tmp_path / "rules")
    records = records_of(history(2, users=60))
    run = Run("rules", rules, start_ms=START_MS)
    for slice_ in Slicer().slices([records]):
        run.take(slice_)
    run.finish()
    lives = [p.life for p in run.play.memory.people.values() if p.life is not None]
    arms = Counter((e.rule, e.arm) for life in lives for e in life.episodes.values())
    assert arms[("premium", Arm.HOLDOUT)]
    assert arms == run.statistics.opened


# --- the forms --------------------------------------------------------------------------------


@pytest.fixture
def one(tmp_path: Path) -> Report:
    rules = rules_of(tmp_path / "rules")
    return report_of(result_of(rules, records_of(history(1))))


@pytest.fixture
def two(tmp_path: Path) -> Report:
    records = records_of(history(1))
    other = RULES.replace("inactive_for: 3d", "inactive_for: 1d").replace("rule: every", "rule: al")
    return report_of(
        result_of(rules_of(tmp_path / "rules"), records),
        result_of(rules_of(tmp_path / "other", other), records),
    )


def page_of(report: Report) -> ET.Element:
    """The page, by a parser that forgives nothing."""
    text = as_page(report)
    assert text.startswith("<!DOCTYPE html>\n")
    return ET.fromstring(text.removeprefix("<!DOCTYPE html>\n"))  # noqa: S314 - our own text


H = "{http://www.w3.org/1999/xhtml}"


def test_every_number_of_the_json_is_on_the_page(one: Report) -> None:
    page = page_of(one)
    document = json.loads(as_json(one))["results"][0]
    for name, value in document["figures"].items():
        card = page.find(f".//{H}div[@id='figure-{name.removesuffix('_micros')}']")
        assert card is not None
        assert [d.get("value") for d in card.iter(f"{H}data")] == [str(value)]
    for name, objects in document["tables"].items():
        section = page.find(f".//{H}section[@id='{name}']")
        if section is None:
            assert not any(isinstance(v, int | float) and v for o in objects for v in o.values())
            continue
        body = section.find(f".//{H}tbody")
        assert body is not None
        for tr, told in zip(body, objects, strict=True):
            keys = [th.text or "" for th in tr.iter(f"{H}th")]
            values = [data.get("value") for data in tr.iter(f"{H}data")]
            assert keys + values == ["" if v is None else str(v) for v in told.values()]


def test_every_mark_of_the_charts_tells_the_numbers_of_the_json_on_hover(one: Report) -> None:
    page = page_of(one)
    tables = json.loads(as_json(one))["results"][0]["tables"]

    def told(name: str) -> list[str]:
        section = page.find(f".//{H}section[@id='{name}']")
        assert section is not None
        return [title.text or "" for title in section.iter(f"{H}title")]

    assert told("sends_per_day") == [
        f"{d['day']}: push {d['push']}, e-mail {d['email']}, SMS {d['sms']}, all {d['sends']}"
        for d in tables["sends_per_day"]
    ]
    for title, day in zip(told("cost_per_day"), tables["cost_per_day"], strict=True):
        amounts = [float(text) for text in re.findall(r"[0-9]+\.[0-9]+", title)]
        micros = [day[f"{c}_micros"] for c in ("push", "email", "sms", "cost")]
        assert amounts == pytest.approx([m / 1e6 for m in micros], abs=0.0006)
    assert told("sends_by_hour") == [
        f"{h['hour']}: on the user's clock {h['local']}" for h in tables["sends_by_hour"]
    ]
    holds: Counter[str] = Counter()
    for hold in tables["holds"]:
        holds[hold["reason"]] += hold["holds"]
    assert sorted(told("holds")) == sorted(f"{reason}: {n}" for reason, n in holds.items())
    for title, step in zip(told("funnel"), tables["funnel"], strict=True):
        assert title.startswith(f"{step['rule']} {step['step']}: sent {step['sent']}, ")


def test_columns_are_as_high_as_their_numbers_and_stand_on_each_other() -> None:
    series = [
        charts.Series(title="a", css="push", values=[0, 3, 1]),
        charts.Series(title="b", css="sms", values=[2, 1, 0]),
    ]
    drawn = ET.fromstring(  # noqa: S314 - our own text
        charts.columns(["x", "y", "z"], series, label="<l>", written=lambda v: f"{v:g}")
    )
    heights = []
    for group in drawn.iter("g"):
        marks = [r for r in group.iter("rect") if r.get("class") != "hover"]
        tops = [float(r.get("y", 0)) for r in marks]
        tall = [float(r.get("height", 0)) for r in marks]
        heights.append(
            [round(h / (charts.HEIGHT - charts.TOP - charts.BOTTOM) * 4, 2) for h in tall]
        )
        floor = float(charts.HEIGHT - charts.BOTTOM)
        for top, high in zip(tops, tall, strict=True):
            assert top + high == pytest.approx(floor, abs=0.02)
            floor = round(top, 2)
    assert heights == [[2.0], [3.0, 1.0], [1.0]]
    assert drawn.get("aria-label") == "<l>"


@pytest.mark.parametrize(
    ("most", "step", "top"), [(0, 1, 1), (3, 1, 3), (4, 1, 4), (97, 50, 100), (0.031, 0.01, 0.04)]
)
def test_a_scale_has_round_steps(most: float, step: float, top: float) -> None:
    assert charts.ticks(most) == pytest.approx((step, top))


def test_the_page_asks_for_nothing_and_runs_nothing(two: Report) -> None:
    text = as_page(two)
    namespaces = 'xmlns="http://www.w3.org/1999/xhtml"'
    rest = text.replace(namespaces, "")
    for word in ("http", "//", "<script", "<link", "@import", "url(", "src=", "javascript:"):
        assert word not in rest, word
    assert not re.search(r"\son[a-z]+=", rest), "an event handler"
    assert "<events> &" not in rest
    assert escape("<events> & more") in rest
    assert "prefers-color-scheme: dark" in rest


def test_csv_has_a_file_a_table_with_the_numbers_of_the_json(one: Report) -> None:
    files = as_csv(one)
    document = json.loads(as_json(one))["results"][0]
    assert set(files) == {"summary.csv", *(f"{name}.csv" for name in document["tables"])}
    for name, objects in document["tables"].items():
        lines = list(csv.reader(io.StringIO(files[f"{name}.csv"])))
        assert len(lines) == len(objects) + 1
        for line, told in zip(lines[1:], objects, strict=True):
            for title, cell, (key, value) in zip(lines[0], line, told.items(), strict=True):
                if key.endswith("_micros"):
                    assert title == key.replace("_micros", "_usd")
                    assert round(float(cell) * 1e6) == value
                elif isinstance(value, float):
                    assert float(cell) == pytest.approx(value, abs=1e-6)
                else:
                    assert (title, cell) == (key, "" if value is None else str(value))


def test_the_terminal_shows_the_summary_the_tables_and_what_went_wrong(one: Report) -> None:
    text = as_text(one)
    document = json.loads(as_json(one))["results"][0]
    assert re.search(rf"users seen +{document['figures']['users_seen']}\b", text)
    for day in document["tables"]["sends_per_day"]:
        numbers = r" +".join(str(day[c]) for c in ("push", "email", "sms", "sends"))
        assert re.search(rf"{day['day']} +{numbers}\b", text)
    assert "3 records came after newer ones, up to 1m behind" in text
    assert "not readable, or not all of it: not_json 2" in text
    assert "files that could not be read to their end: cut-off gzip 1" in text
    assert "a <note>" in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_two_rule_sets_stand_side_by_side_with_what_changes(two: Report) -> None:
    document = json.loads(as_json(two))
    a, b = document["results"]
    compared = document["comparison"]
    for name, values in compared["figures"].items():
        assert values["a"] == a["figures"][name]
        assert values["b"] == b["figures"][name]
        assert values["difference"] == values["b"] - values["a"]
    assert compared["figures"]["sends"]["difference"] > 0
    rules = [row["rule"] for row in compared["tables"]["episodes"]]
    assert rules == ["premium", "albody", "everybody"]
    added = compared["tables"]["episodes"][1]
    assert added["treated_b"] > 0
    assert (added["treated_a"], added["treated_difference"]) == (0, added["treated_b"])
    text = as_text(two)
    sends = compared["figures"]["sends"]
    assert re.search(rf"sends +{sends['a']} +{sends['b']} +\+{sends['difference']}\n", text)
    page = page_of(two)
    days = page.find(f".//{H}section[@id='sends_per_day']")
    assert days is not None
    assert len(list(days.iter(f"{H}svg"))) == 2
    captions = [c.text for c in days.iter(f"{H}figcaption")]
    assert captions == ["A: rules", "B: rules"]


def test_rows_that_only_one_side_has_keep_their_place() -> None:
    def table(*keys: str) -> Table:
        return Table(
            name="t",
            title="T",
            about="",
            keys=("day",),
            columns=(Column(name="n", title="n"), Column(name="s", title="s", kind=Kind.SHARE)),
            rows=tuple(Row((key,), (len(key), 0.5)) for key in keys),
        )

    both = beside(table("a", "cc"), table("a", "bbb", "cc", "d"))
    assert [(row.keys[0], *row.values) for row in both.rows] == [
        ("a", 1, 1, 0, 0.5, 0.5, 0.0),
        ("bbb", 0, 3, 3, None, 0.5, None),
        ("cc", 2, 2, 0, 0.5, 0.5, 0.0),
        ("d", 0, 1, 1, None, 0.5, None),
    ]


@pytest.mark.parametrize(
    ("micros", "text"),
    [(0, "0.00"), (5_810, "0.00581"), (-1_200_000_000, "-1200.00"), (1, "0.000001")],
)
def test_amounts_are_exact(micros: int, text: str) -> None:
    assert decimal(micros) == text


def test_figures_are_written_as_people_read_them() -> None:
    assert shown(1234, Kind.COUNT) == "1,234"
    assert shown(12_300_000, Kind.MONEY) == "12.30"
    assert shown(0.125, Kind.SHARE) == "12.5%"
    assert shown(0.012, Kind.POINTS) == "+1.2 pts"
    assert shown(None, Kind.SHARE) == "-"
    assert shown(5, Kind.COUNT, signed=True) == "+5"


def test_amounts_in_two_currencies_are_not_subtracted(two: Report) -> None:
    a, b = two.results
    mixed = replace(two, results=(a, replace(b, currency="EUR")))
    assert all(v[2] is None for f, v in mixed.figure_rows() if f.kind is Kind.MONEY)
    assert any(v[2] is not None for f, v in two.figure_rows() if f.kind is Kind.MONEY)
    cost = next(table for table in mixed.tables if table.name == "cost_per_day")
    assert set(cost.column("cost_difference")) == {None}


def test_no_table_is_wider_than_the_terminal_and_none_loses_a_figure(two: Report) -> None:
    wide, narrow = as_text(two, width=10_000), as_text(two, width=80)
    tables = narrow.split("\n\n")[2:]
    assert max(len(line) for table in tables for line in table.splitlines()) <= 80
    assert set(wide.split()) <= set(narrow.split())
    assert "treated rate A" in narrow
    assert "held-out rate A" in narrow


def test_what_the_figures_must_not_be_read_without_is_in_every_output(one: Report) -> None:
    live = "rules in mode: shadow count as if they were live"
    assert live in as_text(one)
    assert live in as_page(one)
    assert any(live in note for note in json.loads(as_json(one))["notes"])
    written = replace(one, as_written=True)
    assert "rules in mode: shadow send nothing" in as_page(written)
    assert live not in as_page(written)
