"""The command itself: what it reads, writes and answers when something is not there."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.rehearsal.backtest_world import ONE_RULE, RULES, START_MS, event, history, rules_in
from tests.shell.bench_world import STREAM
from worker.backtest.run import as_live
from worker.cli.backtest import backtest
from worker.clock import SystemClock
from worker.errors import ComebackError, ProblemsFound, RulesError, UsageError
from worker.model import DAY_MS, Activity, Batch, Effect, Position
from worker.rules.instants import instant
from worker.rules.load import load
from worker.store.sqlite import SqliteStore


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    return rules_in(tmp_path / "rules")


@pytest.fixture
def events(tmp_path: Path) -> Path:
    path = tmp_path / "events.ndjson"
    path.write_bytes(b"\n".join(data for _, data in history(1)))
    return path


def ran(*words: object, stdin: bytes | None = None) -> tuple[str, str]:
    """Standard output and error of a run that must succeed."""
    done = CliRunner().invoke(backtest, [str(w) for w in words], input=stdin)
    if done.exception is not None:
        raise done.exception
    return done.stdout, done.stderr


def figures(*words: object, stdin: bytes | None = None) -> dict[str, Any]:
    out, _ = ran(*words, "--json", "-", stdin=stdin)
    found: dict[str, Any] = json.loads(out)["results"][0]["figures"]
    return found


def refused(*words: object, stdin: bytes | None = None) -> ComebackError:
    with pytest.raises(ComebackError) as error:
        ran(*words, stdin=stdin)
    return error.value


def test_all_outputs_of_one_run_and_what_was_written_is_told(
    events: Path, rules: Path, tmp_path: Path
) -> None:
    page, numbers, tables = tmp_path / "out" / "r.html", tmp_path / "r.json", tmp_path / "csv"
    outputs = ["--html", page, "--json", numbers, "--csv", tables]
    out, err = ran(events, "--rules", rules, *outputs)
    assert out.startswith(f"{len(history(1)):,} records from {events}: ")
    assert "Sends per day" in out
    assert f"wrote {page}\n" in err
    assert json.loads(numbers.read_text())["reading"]["records"] == len(history(1))
    assert "<svg" in page.read_text()
    assert (tables / "sends_per_day.csv").read_text().startswith("day,push,email,sms,sends\n")


def test_file_gzip_folder_and_standard_input_give_the_same(
    events: Path, rules: Path, tmp_path: Path
) -> None:
    data = events.read_bytes()
    folder = tmp_path / "firehose"
    half = len(history(1)) // 2
    for hour, lines in (("08", data.split(b"\n")[:half]), ("09", data.split(b"\n")[half:])):
        (folder / "2026/10/01" / hour).mkdir(parents=True)
        (folder / "2026/10/01" / hour / "x").write_bytes(b"".join(lines))
    packed = tmp_path / "events.gz"
    packed.write_bytes(gzip.compress(data))
    whole = figures(events, "--rules", rules)
    assert whole["sends"] > 0
    assert figures(packed, "--rules", rules) == whole
    assert figures(folder, "--rules", rules) == whole
    assert figures("-", "--rules", rules, stdin=data) == whole


def test_two_rule_sets_in_one_reading(events: Path, rules: Path, tmp_path: Path) -> None:
    other = rules_in(tmp_path / "new", RULES.replace("max: 1, per: 1d", "max: 2, per: 1d"))
    out, _ = ran(events, "--rules", rules, "--compare", other, "--json", "-")
    document = json.loads(out)
    alone = [figures(events, "--rules", folder) for folder in (rules, other)]
    assert [result["figures"] for result in document["results"]] == alone
    assert alone[0] != alone[1]


def test_a_span_of_time(events: Path, rules: Path) -> None:
    begin, end = instant(START_MS + 6 * DAY_MS), instant(START_MS + 9 * DAY_MS)
    whole = figures(events, "--rules", rules)
    part, _ = ran(events, "--rules", rules, "--from", begin, "--until", end, "--json", "-")
    document = json.loads(part)
    assert document["reading"]["last"] < end
    assert 0 < document["results"][0]["figures"]["sends"] < whole["sends"]
    days = [row["day"] for row in document["results"][0]["tables"]["sends_per_day"]]
    assert (days[0], days[-1]) == (begin[:10], document["reading"]["last"][:10])


def test_shadow_counts_as_live_unless_it_is_taken_as_written(
    events: Path, rules: Path, tmp_path: Path
) -> None:
    shadow = rules_in(tmp_path / "shadow", RULES.replace("mode: live", "mode: shadow"))
    live = figures(events, "--rules", rules)
    assert figures(events, "--rules", shadow) == live
    assert figures(events, "--rules", rules, "--as-written") == live
    written = figures(events, "--rules", shadow, "--as-written")
    assert (written["sends"], written["would_send"] > 0) == (0, True)


def test_an_export_tells_addresses_that_no_event_tells(tmp_path: Path) -> None:
    rules = rules_in(tmp_path / "rules", ONE_RULE)
    bare = json.loads(event(1, START_MS))
    bare["endpoint"] = {"User": bare["endpoint"]["User"]}
    later_ms = START_MS + 5 * DAY_MS
    events = tmp_path / "events"
    events.write_bytes(json.dumps(bare).encode() + event(4, later_ms, kind="_other"))
    endpoint = json.loads(event(1, START_MS))["endpoint"]
    endpoint |= {"Id": "phone", "EffectiveDate": "2026-10-20T00:00:00Z"}
    export = tmp_path / "export.gz"
    other = endpoint | {"Id": "other", "Address": "t", "User": {"UserId": "never seen active"}}
    lines = [json.dumps(one).encode() + b"\n" for one in (endpoint, other)]
    export.write_bytes(gzip.compress(b"".join(lines)))
    assert figures(events, "--rules", rules)["sends"] == 0
    known = figures(events, "--rules", rules, "--endpoints", export)
    assert (known["sends"], known["users_seen"]) == (1, 1)


async def _state(path: Path, folder: Path) -> None:
    """A state in which user 1 was here two days before the recording begins."""
    clock = SystemClock()
    store = await SqliteStore.open(str(path), wait=False, clock=clock)
    await store.positions(STREAM)
    await store.adopt(load(folder).adoption)
    seen = Activity(at_ms=START_MS - 2 * DAY_MS, event_type="_session.start", user_id="user-1")
    batch = Batch(
        stream=STREAM, position=Position(shard_id="s"), records=(), read_through_ms=START_MS
    )
    await store.apply(Effect(activities=(seen,)), batch, now_ms=START_MS)
    await store.close()


async def test_a_state_tells_who_was_active_before_the_recording(tmp_path: Path) -> None:
    rules = rules_in(tmp_path / "rules", ONE_RULE)
    state = tmp_path / "comeback.db"
    await _state(state, rules)
    events = tmp_path / "events"
    # The phone is told, and no activity.
    events.write_bytes(event(1, START_MS, kind="_other") + event(4, START_MS + DAY_MS))
    assert figures(events, "--rules", rules)["users_inactive"] == 0
    seeded = figures(events, "--rules", rules, "--seed-state", state)
    assert (seeded["users_inactive"], seeded["sends"]) == (1, 1)
    compared, _ = ran(
        events, "--rules", rules, "--compare", rules, "--seed-state", state, "--json", "-"
    )
    assert [r["figures"] for r in json.loads(compared)["results"]] == [seeded, seeded]
    events.write_bytes(event(4, START_MS - 9 * DAY_MS))
    out, _ = ran(events, "--rules", rules, "--seed-state", state)
    assert "after the first record" in out


# --- what goes wrong --------------------------------------------------------------------------


def test_what_is_not_there_is_told_with_what_to_do(
    events: Path, rules: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    cases: Sequence[tuple[tuple[object, ...], type[ComebackError], str]] = [
        ((tmp_path / "no", "--rules", rules), UsageError, "no does not exist; name a file of ev"),
        ((events, "--rules", tmp_path / "no"), UsageError, "is no folder; name the folder of the"),
        ((events, "--rules", empty), RulesError, "no rule file in this folder"),
        ((empty, "--rules", rules), ProblemsFound, f"no event in {empty}; events are JSON obj"),
        ((events, "--rules", rules, "--from", "2026-10-01"), UsageError, "--from: "),
        ((events, "--rules", rules, "--days-after", "30"), UsageError, "has no unit"),
        (
            (
                *(events, "--rules", rules, "--from", "2026-10-02T00:00:00Z"),
                *("--until", "2026-10-01T00:00:00Z"),
            ),
            UsageError,
            "--from 2026-10-02T00:00:00Z is not before --until 2026-10-01T00:00:00Z",
        ),
        (("kinesis:a", events, "--rules", rules), UsageError, "kinesis:a is read alone"),
        (
            (events, "--rules", rules, "--html", events / "x.html"),
            UsageError,
            "x.html cannot be written: ",
        ),
    ]
    for words, kind, text in cases:
        error = refused(*words)
        assert isinstance(error, kind), words
        assert text in str(error)


def test_records_that_are_no_events_are_told_by_reason(rules: Path, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text(f'{{"arrival_timestamp": {START_MS}}}\nhello\n[1]\n')
    error = refused(text, "--rules", rules)
    assert isinstance(error, ProblemsFound)
    assert str(error).startswith(f"none of the 3 records of {text} is an event of a user (")
    assert "not_json 1" in str(error)
    text.write_text("hello\n[1]\n")
    error = refused(text, "--rules", rules)
    assert str(error).startswith(f"no event in {text} (")
    assert "not_json 1" in str(error)


def test_one_bad_record_among_good_ones_is_counted_and_passed_over(
    events: Path, rules: Path
) -> None:
    whole = figures(events, "--rules", rules)
    lines = events.read_bytes().split(b"\n")
    events.write_bytes(b"\n".join([b"bad", *lines[:50], b'{"half":', *lines[50:], b"\xff\xfe"]))
    out, _ = ran(events, "--rules", rules, "--json", "-")
    document = json.loads(out)
    assert document["reading"]["unreadable"] == {"not_json": 3}
    assert document["results"][0]["figures"] == whole


def test_no_record_moves_time_into_the_future(events: Path, rules: Path) -> None:
    whole = figures(events, "--rules", rules)
    future_ms = SystemClock().now_ms() + 40 * DAY_MS
    events.write_bytes(event(99, future_ms, kind="_other") + b"\n" + events.read_bytes())
    out, _ = ran(events, "--rules", rules, "--json", "-")
    document = json.loads(out)
    assert document["reading"]["last"] < instant(future_ms - 30 * DAY_MS)
    assert document["results"][0]["figures"]["sends"] == whole["sends"]


def test_the_real_program_in_a_pipe(events: Path, rules: Path) -> None:
    words = [sys.executable, "-m", "worker", "backtest", "-", "--json", "-"]
    done = subprocess.run(
        words,
        input=events.read_bytes(),
        capture_output=True,
        check=True,
        timeout=60,
        env={**os.environ, "COMEBACK_RULES": str(rules)},
    )
    assert json.loads(done.stdout)["results"][0]["figures"] == figures(events, "--rules", rules)
    assert as_live(load(rules)).revision == json.loads(done.stdout)["results"][0]["revision"]
