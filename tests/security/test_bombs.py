"""Small inputs that want to become large: each ends soon, in bounded memory, as an error of the
tree or a dead letter that says why. Rule files, records, aggregates, settings.

Memory is measured by `tracemalloc`, which makes everything slow; so the seconds are generous, and
what only grows in proportion is tried at a tenth of its bound.
"""

from __future__ import annotations

import gzip
import json
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.core.event_reading import folded
from tests.core.samples import KINESIS_MS, SHARD, app_event, as_bytes, endpoint
from tests.fuzz.people import check_told
from tests.kinesis.aggregate import aggregate, field, framed, number, varint
from tests.senders.deliveries import crowd
from worker.errors import RulesError, SettingsError
from worker.event_endpoints import ATTRIBUTE_NAMES_MAX, ATTRIBUTE_VALUES_MAX
from worker.event_wrappers import OBJECTS_PER_RECORD_MAX, RECORD_BYTES_MAX, SOURCE_BYTES_MAX
from worker.events import DEAD_LETTERS_PER_RECORD_MAX, Reading, read_record
from worker.kinesis import kpl, wire
from worker.model import DeadReason, Effect, Record, Uncertain
from worker.rules.document import DEPTH_MAX, FILE_BYTES_MAX, NODES_MAX, read_document
from worker.rules.folder import FILES_MAX, Kept
from worker.rules.load import inspect, inspect_files, load, load_contents
from worker.rules.matchers import parse_matcher
from worker.rules.ruleset import ActivityPolicy
from worker.senders.pinpoint_answer import outcomes_of
from worker.settings import read_settings

SECONDS_MAX = 30.0
MEGABYTE = 1024 * 1024


@contextmanager
def bounded(megabytes: int) -> Iterator[None]:
    """What happens inside takes no more than so much memory, and no half minute of work."""
    tracemalloc.start()
    began = time.process_time()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < megabytes * MEGABYTE, f"{peak / MEGABYTE:.0f} MB"
    assert time.process_time() - began < SECONDS_MAX


# --- rule files -------------------------------------------------------------------------------


def laughs(levels: int, wide: int, kind: str) -> bytes:
    """Anchors that hold aliases of anchors: `wide ** levels` values in a few lines."""
    lines = ["a0: &a0 x"]
    for level in range(1, levels + 1):
        aliases = ", ".join([f"*a{level - 1}"] * wide)
        if kind == "maps":
            aliases = ", ".join(f"k{n}: *a{level - 1}" for n in range(wide))
        opening, closing = ("{", "}") if kind == "maps" else ("[", "]")
        lines.append(f"a{level}: &a{level} {opening}{aliases}{closing}")
    return "\n".join(lines).encode()


YAML_BOMBS: dict[str, tuple[bytes, str]] = {
    "a billion laughs": (laughs(9, 10, "lists"), f"more than {NODES_MAX} values"),
    "a billion laughs in maps": (laughs(9, 10, "maps"), f"more than {NODES_MAX} values"),
    "a tower of single aliases": (laughs(400, 1, "lists"), "values, counting each use"),
    "an alias of itself": (b"a: &a [*a]", "no anchor &a before this alias"),
    "an alias of itself in a map": (b"a: &a {b: *a}", "no anchor &a before this alias"),
    "an alias of nothing": (b"a: *b", "no anchor &b before this alias"),
    "merge keys": (b"a: &a {b: c}\nd: {<<: *a}", "merge keys (<<) are not supported"),
    "a list of merge keys": (b"a: &a {b: c}\nd: {<<: [*a, *a]}", "merge keys (<<)"),
    "a key twice": (b"a: 1\na: 2", 'the key "a" is given twice'),
    "a key a thousand times": (b"a: 1\n" * 1_000, "given twice"),
    "keys without end": (b"".join(b"k%d: 1\n" % n for n in range(10_100)), "values"),
    "a million keys": (b"".join(b"%x: 1\n" % n for n in range(1_000_000)), "KiB; split it"),
    "deep lists": (b"[" * 100_000, f"deeper than {DEPTH_MAX} levels"),
    "deep maps": (b"{a: " * 200_000, f"deeper than {DEPTH_MAX} levels"),
    "deep dashes": (b"- " * 300_000, f"deeper than {DEPTH_MAX} levels"),
    "deep indents": (
        b"".join(b" " * n + b"a:\n" for n in range(1_000)),
        f"deeper than {DEPTH_MAX} levels",
    ),
    "questions in questions": (b"? " * 300_000, f"deeper than {DEPTH_MAX} levels"),
    "a huge text": (b"a: " + b"x" * FILE_BYTES_MAX, "KiB; split it"),
    "a huge key": (b"x" * 100_000 + b": 1", ""),
    "a huge number": (b"apiVersion: v1\nlimits: {user: [{max: " + b"9" * 100_000 + b"}]}", ""),
    "a huge quoted text": (b'a: "' + b"\\x41" * 20_000 + b'"', ""),
    "a quote without end": (b'a: "' + b"x\n " * 20_000, "cannot be read as YAML"),
    "comments without end": (b"#" * 100_000, ""),
    "documents without end": (b"--- a\n" * 20_000, "a second document begins here"),
    "directives without end": (b"%TAG ! tag:x,2000:\n" * 20_000, "cannot be read as YAML"),
    "anchors without end": (b"".join(b"- &a%d x\n" % n for n in range(10_100)), "values"),
    "tags": (b"!!python/object/apply:os.system [id]", "tags are not allowed"),
    "a set": (b"!!set {a, b}", "tags are not allowed"),
    "no UTF-8": (b"a: \xff\xfe", "not UTF-8"),
    "UTF-16": ("a: 1".encode("utf-16"), "not UTF-8"),
    "UTF-32": ("a: 1".encode("utf-32"), "not UTF-8"),
    "overlong UTF-8": (b"a: \xc0\xaf", "not UTF-8"),
    "half a character": (b'a: "\\ud83d"', "half a character"),
    "no character at all": (b'a: "\\U00110000"', "look at its escapes"),
    "NUL": (b"a: \x00", "U+0000 is not allowed"),
    "turned around": ("a: \u202e1".encode(), ""),
    "nothing": (b"", ""),
}
"""A file, and what is told of it; empty: only that something is."""


@pytest.mark.parametrize("name", YAML_BOMBS)
def test_a_rule_file_that_wants_to_become_large_is_one_bounded_error(name: str) -> None:
    data, told = YAML_BOMBS[name]
    with bounded(300):
        inspection = inspect_files(Kept({"f.yaml": data}))
    assert inspection.rule_set is None
    text = "\n".join(map(str, inspection.problems))
    assert text
    assert told in text
    assert len(text) < MEGABYTE
    for problem in inspection.problems:
        check_told(problem, ("f.yaml",))


def test_values_below_the_bounds_are_read() -> None:
    assert read_document(b"[" * DEPTH_MAX + b"]" * DEPTH_MAX, "f").problems == []
    names = b"".join(b"k%d: 1\n" % n for n in range(NODES_MAX // 2 - 1))
    assert read_document(names, "f").problems == []
    assert read_document(laughs(3, 10, "lists"), "f").problems == []


def test_a_folder_without_end_and_files_that_are_none(tmp_path: Path) -> None:
    for n in range(FILES_MAX + 50):
        (tmp_path / f"{n}.yaml").write_bytes(b"apiVersion: v1\n")
    (tmp_path / "directory.yaml").mkdir()
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")
    (tmp_path / "device.yaml").symlink_to("/dev/zero")
    (tmp_path / "large.yaml").write_bytes(b"#" * (FILE_BYTES_MAX + 1))
    with bounded(300):
        problems = inspect(tmp_path).problems
    assert any(f"more than {FILES_MAX} files" in problem.message for problem in problems)
    with pytest.raises(RulesError):
        load(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("inactive_for", "9" * 400 + "d"),
        ("inactive_for", "1d" * 100_000),
        ("priority", "9" * 5_000),
        ("match", "['name=~\"" + "a" * 5_000 + "\"']"),
        ("match", "['name=~\"" + "(" * 5_000 + "\"']"),
        ("match", "['name=~\"" + "((a{100}){100}){100}" + "\"']"),
        ("rollout", "1e999"),
        ("labels", "{" + ", ".join(f"k{n}: v" for n in range(1_500)) + "}"),
    ],
)
def test_values_without_measure_are_told(key: str, value: str) -> None:
    stages = "[{name: push, channel: push, message: {title: t, body: b}}]"
    keys = {"inactive_for": "7d", "max_inactive": "60d", key: value, "stages": stages}
    lines = "".join(f"    {name}: {told}\n" for name, told in keys.items())
    data = f"apiVersion: v1\nrules:\n  - rule: one\n{lines}".encode()
    with bounded(300), pytest.raises(RulesError) as refused:
        load_contents({"f.yaml": data})
    assert len(str(refused.value)) < MEGABYTE


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(a|a)*$", "(a|aa)+$", "(.*a){20}", "(.*)*b", "([a-z]+)*=", "a*a*a*a*a*b"]
)
def test_no_value_keeps_a_regular_expression_busy(pattern: str) -> None:
    matcher = parse_matcher(f'name=~"{pattern}"')
    values = ["a" * 4_000 + "!", "a" * 4_000, "x" * 4_000]
    began = time.process_time()
    for _ in range(50):
        matcher.matches({"name": values})
    assert time.process_time() - began < SECONDS_MAX


# --- records ----------------------------------------------------------------------------------


def read(data: bytes) -> Reading:
    record = Record(data=data, sequence_number="1", arrival_ms=KINESIS_MS)
    return read_record(record, shard_id=SHARD, policy=ActivityPolicy())


def fold(data: bytes) -> Effect:
    return folded([Record(data=data, sequence_number="1", arrival_ms=KINESIS_MS)])


def zipped(size: int, times: int = 1, of: bytes = b" ") -> bytes:
    """`size` bytes, zipped `times` over."""
    data = of * size
    for _ in range(times):
        data = gzip.compress(data, compresslevel=9, mtime=0)
    return data


def nested(depth: int) -> bytes:
    """An event whose attributes are that deep."""
    head = as_bytes(app_event())[:-1]
    return head + b', "deep": ' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"


def matryoshka(levels: int) -> bytes:
    """An event in a notification in a notification."""
    text = as_bytes(app_event()).decode()
    for _ in range(levels):
        text = json.dumps({"TopicArn": "a", "Message": text})
    return text.encode()


TOO_LARGE, NOT_JSON, TOO_DEEP = DeadReason.TOO_LARGE, DeadReason.NOT_JSON, DeadReason.TOO_DEEP

RECORD_BOMBS: dict[str, tuple[Callable[[], bytes], DeadReason]] = {
    "a record beyond what Kinesis holds": (lambda: b" " * (RECORD_BYTES_MAX + 1), TOO_LARGE),
    "a record a thousand times as large unzipped": (lambda: zipped(200_000_000), TOO_LARGE),
    "zipped again": (lambda: zipped(100_000_000, times=2), NOT_JSON),
    "many members": (lambda: zipped(4 * MEGABYTE) * 30, TOO_LARGE),
    "many empty members": (lambda: zipped(0) * 20_000, NOT_JSON),
    "a cut-off gzip": (lambda: zipped(5_000_000)[:-9], NOT_JSON),
    "zlib": (lambda: zlib.compress(b" " * 100_000_000), NOT_JSON),
    "open brackets": (lambda: b"[" * 5_000_000, TOO_DEEP),
    "open braces": (lambda: b'{"a":' * 1_000_000, TOO_DEEP),
    "deep within an event": (lambda: nested(200_000), TOO_DEEP),
    "deep in a text": (
        lambda: as_bytes(app_event(endpoint="[" * 1_000_000)),
        DeadReason.BAD_FIELD,
    ),
    "notifications in notifications": (lambda: matryoshka(6), TOO_DEEP),
    "objects without end": (lambda: b"{}" * 1_000_000, DeadReason.NO_EVENT_TYPE),
    "numbers without end": (lambda: b"1 " * 1_000_000, DeadReason.NOT_AN_OBJECT),
    "errors without end": (lambda: b"{x}\n" * 500_000, NOT_JSON),
    "a number of a million digits": (lambda: b'{"a": ' + b"9" * 1_000_000 + b"}", NOT_JSON),
    "blanks without end": (lambda: b" \n\t\0" * 1_000_000, NOT_JSON),
    "surrogates without end": (
        lambda: b'{"a": "' + b"\\ud83d" * 500_000 + b'"}',
        DeadReason.NO_EVENT_TYPE,
    ),
    "a million keys": (
        lambda: json.dumps({str(n): n for n in range(100_000)}).encode(),
        DeadReason.NO_EVENT_TYPE,
    ),
    "a wrapper of nothings": (
        lambda: json.dumps({"Records": [None] * 1_000_000}).encode(),
        DeadReason.NOT_AN_OBJECT,
    ),
    "wrappers in a wrapper": (
        lambda: json.dumps({"Records": [{"Records": [{"Records": [{}] * 30}] * 30}] * 30}).encode(),
        DeadReason.NO_EVENT_TYPE,
    ),
}


@pytest.mark.parametrize("name", RECORD_BOMBS)
def test_a_record_that_wants_to_become_large_is_some_bounded_dead_letters(name: str) -> None:
    made, reason = RECORD_BOMBS[name]
    data = made()
    with bounded(400):
        reading = read(data)
        effect = fold(data)
    assert reason in {letter.reason for letter in reading.dead_letters}
    assert len(reading.dead_letters) <= DEAD_LETTERS_PER_RECORD_MAX
    assert len(reading.signals) <= OBJECTS_PER_RECORD_MAX
    for letter in (*reading.dead_letters, *effect.dead_letters):
        assert len(letter.data) <= SOURCE_BYTES_MAX
        assert len(letter.detail) < 120


def test_an_event_among_bombs_is_read_all_the_same() -> None:
    good = as_bytes(app_event())
    for bomb in (b"{x}\n" * 50, b"[" * 3_000 + b"\n", b"9" * 10_000 + b"\n"):
        assert len(read(bomb + good).signals) == 2


def test_attributes_without_measure_cost_no_more_than_their_bounds() -> None:
    values = {f"k{n}": ["v" * 100] * 100 for n in range(600)}
    wide = endpoint(Attributes=values, User={"UserId": "u", "UserAttributes": {"x": ["y" * 9_000]}})
    data = as_bytes(app_event(endpoint=wide))
    assert len(data) < RECORD_BYTES_MAX
    with bounded(300):
        (found,) = fold(data).endpoints
    assert found.attributes is not None
    assert len(found.attributes) == ATTRIBUTE_NAMES_MAX
    assert all(len(some) == ATTRIBUTE_VALUES_MAX for some in found.attributes.values())
    assert not found.user_attributes, "a value beyond its length is left out"


# --- aggregates -------------------------------------------------------------------------------

KEY = field(1, b"k")


def user_record(index: int, data: bytes) -> bytes:
    return field(3, number(1, index) + field(3, data))


AGGREGATE_BOMBS: dict[str, bytes] = {
    "a length beyond the end": framed(KEY + varint(3 << 3 | 2) + varint(2**62)),
    "a length of the largest number": framed(varint(3 << 3 | 2) + b"\xff" * 9 + b"\x01"),
    "a number without end": framed(varint(3 << 3 | 2) + b"\xff" * 100_000),
    "a key that is not there": framed(KEY + user_record(2**60, b"{}")),
    "records without a key": framed(user_record(0, b"{}")),
    "a record in a record": framed(KEY + field(3, field(3, user_record(0, b"x") * 99))),
    "half a million empty records": framed(KEY + user_record(0, b"") * 500_000),
    "groups": framed(b"\x0b" * 500_000),
    "keys that are no text": framed(field(1, b"\xff\xfe") + user_record(0, b"{}")),
    "a wrong digest": aggregate([("k", b"{}")])[:-1] + b"\0",
    "the magic alone": b"\xf3\x89\x9a\xc2",
}


@pytest.mark.parametrize("name", AGGREGATE_BOMBS)
def test_an_aggregate_that_is_none_is_left_as_it_is(name: str) -> None:
    with bounded(300):
        assert kpl.user_records(AGGREGATE_BOMBS[name]) is None
        assert fold(AGGREGATE_BOMBS[name]).dead_letters != ()


def test_as_many_user_records_as_are_allowed_are_taken() -> None:
    whole = framed(KEY + user_record(0, b"{}") * kpl.USER_RECORDS_MAX)
    with bounded(300):
        found = kpl.user_records(whole)
    assert found is not None
    assert len(found) == kpl.USER_RECORDS_MAX


# --- settings ---------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["9" * 1_000_000, "1d" * 100_000, "{" * 100_000, "a" * 1_000_000])
def test_settings_without_measure_are_told(value: str) -> None:
    with bounded(300), pytest.raises(SettingsError):
        read_settings({"COMEBACK_POLL_INTERVAL": value, "COMEBACK_CALLS_IN_FLIGHT_MAX": value})


@pytest.mark.parametrize("variable", ["COMEBACK_STREAM", "COMEBACK_STR\udcffEAM"])
def test_an_environment_that_is_no_text_is_told(variable: str) -> None:
    with pytest.raises(SettingsError, match="is not UTF-8; set it anew, or unset it"):
        read_settings({variable: "a\udcfeb"})


# --- answers of services ----------------------------------------------------------------------


@pytest.mark.parametrize("deep", [b"[" * 100_000, b'{"a":' * 100_000])
def test_an_answer_without_end_is_unreadable_and_no_crash(deep: bytes) -> None:
    body = b'{"Records": [], "ChildShards": ' + deep
    told: dict[str, object] = {}
    wire.decode({"status_code": 200, "body": body}, told)
    assert told == {wire.KEY: None}
    deliveries = crowd(2)
    for text in (b'{"Result": ' + deep, b'{"Result": {}, "x": ' + deep):
        outcomes = outcomes_of(deliveries, text)
        assert [type(outcome) for outcome in outcomes] == [Uncertain, Uncertain]
