"""Files of every form to endpoints: what is read, what is passed over, and where to go on."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.imports import framing
from worker.imports.findings import Findings, Oddity
from worker.imports.framing import BrokenFile, items, unpacked
from worker.imports.spelling import canonical, column_of


def read(data: bytes, *, taken: int = 0, block: int = 1 << 20) -> list[tuple[int, int, Any]]:
    """Number, end and value of every endpoint."""
    return [(n, end, json.loads(raw)) for n, end, raw in raw_items(data, taken, block)[0]]


def raw_items(
    data: bytes, taken: int = 0, block: int = 1 << 20
) -> tuple[list[tuple[int, int, bytes]], Findings]:
    findings = Findings()
    blocks = (data[first : first + block] for first in range(0, len(data), block))
    found = items(unpacked(blocks), taken=taken, file_number=0, findings=findings)
    return [item for some in found for item in some], findings


def values(data: bytes) -> list[Any]:
    return [value for _, _, value in read(data)]


def counts(data: bytes) -> dict[str, int]:
    return {oddity.value: found.count for oddity, found in raw_items(data)[1]}


ONE, TWO = {"Id": "1"}, {"Id": "2", "Attributes": {"a": ["\n"]}}
LINES = b'{"Id": "1"}\n{"Id": "2", "Attributes": {"a": ["\\n"]}}\n'


@pytest.mark.parametrize(
    "data",
    [
        LINES,
        LINES.replace(b"\n", b"\r\n"),
        LINES.rstrip(),
        b"\xef\xbb\xbf\n\n" + LINES + b"\n  \n",
        gzip.compress(LINES, mtime=0),
        gzip.compress(LINES[:7], mtime=0) + gzip.compress(LINES[7:], mtime=0) + b"\0\0\0",
        json.dumps([ONE, TWO]).encode(),
        json.dumps([ONE, TWO], indent=2).encode(),
        json.dumps({"Item": [ONE, TWO]}).encode(),
        json.dumps({"EndpointsResponse": {"Item": [ONE, TWO]}}, indent=1).encode(),
        b"Id,Attributes.a\n1,\n2,\n".replace(b"2,", b'2,"\n"'),
    ],
)
def test_every_form_gives_the_same_endpoints(data: bytes) -> None:
    found = values(data)
    if b"Attributes.a" in data:  # a cell of white space tells nothing
        assert found == [ONE, {"Id": "2"}]
    else:
        assert found == [ONE, TWO]


def test_one_endpoint_over_several_lines_is_one() -> None:
    assert values(json.dumps(TWO, indent=2).encode()) == [TWO]


def test_a_damaged_first_line_is_one_bad_line_and_not_the_end_of_the_file() -> None:
    numbers = [number for number, _, _ in raw_items(b'{"Id": "1\n' + LINES)[0]]
    assert numbers == [1, 2, 3]


def test_nothing_comes_of_nothing() -> None:
    assert values(b"") == values(b"\n \n") == values(gzip.compress(b"")) == values(b"[]") == []


CSV_ROWS = (
    b"Id,User.UserId,Attributes.color,Attributes.color,User.UserAttributes.plan,Location.Country,"
    b"metrics.visits,ADDRESS\r\n"
    b"1,ann,red,blue,free,US,3,+1\r\n"
    b"2,ben,red,,,,,\r\n"
)


def test_csv_repeated_headers_are_several_values_and_dots_are_paths() -> None:
    one, two = values(CSV_ROWS)
    assert one == {
        "Id": "1",
        "User": {"UserId": "ann", "UserAttributes": {"plan": ["free"]}},
        "Attributes": {"color": ["red", "blue"]},
        "Location": {"Country": "US"},
        "Metrics": {"visits": "3"},
        "Address": "+1",
    }
    assert two == {"Id": "2", "User": {"UserId": "ben"}, "Attributes": {"color": ["red"]}}


def test_csv_of_other_programs_is_read_too() -> None:
    assert values(b"\xef\xbb\xbfId;Address\n1;x\n") == [{"Id": "1", "Address": "x"}]
    assert values(b"Id\tAddress\n1\tx,y\n") == [{"Id": "1", "Address": "x,y"}]


def test_csv_trouble_is_told_by_kind() -> None:
    unclosed = b'"' + b"x" * 200_000
    data = b"Id,Adress,Address,Address\n1,x,a,b\n2,x,a\n3,x,a,b,c\n%b\n4,x,,d\n" % unclosed
    assert counts(data) == {
        "bad_line": 1,
        "csv_column_unknown": 1,
        "csv_column_repeated": 1,
        "csv_cells_too_many": 1,
        "csv_cells_too_few": 1,
    }
    assert [v.get("Address") for v in values(data)[:3]] == ["a", "a", "a"]


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"name,mail\nann,a@b.c\n", "does not name CSV columns"),
        (b"PK\x03\x04....", "unzip it first"),
        (gzip.compress(LINES, mtime=0)[:-9], "cut off"),
        (gzip.compress(LINES, mtime=0)[:12] + b"damage", "damaged|cut off"),
        (b"[1, 2", "neither a JSON document"),
        (b"<html>" * 300_000, "no CSV"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(data: bytes, fault: str) -> None:
    with pytest.raises(BrokenFile, match=fault):
        raw_items(data, block=1 << 16)


def test_what_stands_before_the_damage_is_read() -> None:
    many = b"".join(b'{"Id": "%d"}\n' % n for n in range(200_000))
    cut = gzip.compress(many, 0)[: len(many) // 2]
    seen: list[int] = []

    def read_on() -> None:
        for some in items(unpacked([cut]), taken=0, file_number=0, findings=Findings()):
            seen.extend(number for number, _, _ in some)

    with pytest.raises(BrokenFile):
        read_on()
    assert seen == list(range(1, len(seen) + 1))
    assert len(seen) > 50_000


def test_a_line_without_end_is_passed_over_in_bounded_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(framing, "LINE_BYTES_MAX", 100)
    data = b'{"Id": "1"}\n{"Id": "' + b"x" * 500 + b'"}\n{"Id": "3"}\n'
    for block in (1, 7, 64, 1_000):
        found, findings = raw_items(data, block=block)
        assert [number for number, _, _ in found] == [1, 3]
        assert findings.count(Oddity.LINE_TOO_LONG) == 1


CELLS = st.text('a1",;\n é', max_size=4)


def as_csv(rows: Iterable[tuple[str, str]]) -> bytes:
    def cell(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    return ("Id,Address\n" + "".join(f"{cell(a)},{cell(b)}\n" for a, b in rows)).encode()


@given(
    st.one_of(
        st.lists(st.dictionaries(CELLS, CELLS, min_size=1, max_size=2), min_size=1, max_size=6).map(
            lambda found: b"\n".join(json.dumps(value).encode() for value in found)
        ),
        st.lists(st.tuples(CELLS, CELLS), max_size=6).map(as_csv),
        st.lists(st.dictionaries(CELLS, CELLS, max_size=2), max_size=6).map(
            lambda found: json.dumps(found).encode()
        ),
    ),
    st.integers(1, 40),
    st.integers(1, 40),
)
def test_reading_goes_on_exactly_where_it_stopped(data: bytes, block: int, other: int) -> None:
    whole = read(data, block=block)
    assert whole == read(data, block=other)
    for index, (_, end, _) in enumerate(whole):
        assert read(data, taken=end, block=other) == whole[index + 1 :]


def test_names_are_known_in_any_case_and_people_s_own_names_stay() -> None:
    assert canonical(
        {"user": {"USERID": "a", "userattributes": {"Plan": 1}}, "attributes": {"Id": 2}, "x": 3}
    ) == {"User": {"UserId": "a", "UserAttributes": {"Plan": 1}}, "Attributes": {"Id": 2}, "x": 3}
    assert canonical({"ID": "b", "Id": "a", "id": "c"}) == {"Id": "a"}


@pytest.mark.parametrize(
    ("header", "path"),
    [
        ("user.userid", ("User", "UserId")),
        (" Attributes.My.Own ", ("Attributes", "My.Own")),
        ("User.UserAttributes.plan", ("User", "UserAttributes", "plan")),
        ("Demographic", None),
        ("Attributes", None),
        ("Attributes.", None),
        ("Suppressed.Reason", None),
        ("Address.x", None),
        ("", None),
    ],
)
def test_a_csv_column_belongs_to_one_field_or_to_none(
    header: str, path: tuple[str, ...] | None
) -> None:
    column = column_of(header)
    assert (column.path if column else None) == path
