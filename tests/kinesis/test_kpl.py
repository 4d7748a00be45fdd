"""KPL aggregates: taken apart when they are whole, left alone when they are anything else."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kinesis.aggregate import aggregate, field, framed, number
from worker.kinesis import kpl

inner_records = st.lists(st.tuples(st.text(max_size=8), st.binary(max_size=40)), max_size=20)


@given(inner_records)
def test_an_aggregate_gives_its_records_back_in_order(
    records: list[tuple[str, bytes]],
) -> None:
    assert kpl.user_records(aggregate(records)) == tuple(records)


@given(st.binary(max_size=200))
def test_other_bytes_are_plain_records(data: bytes) -> None:
    assert kpl.user_records(data) is None


@given(st.binary(max_size=60))
def test_a_frame_around_anything_never_raises(message: bytes) -> None:
    kpl.user_records(framed(message))


@given(inner_records, st.data())
def test_a_damaged_aggregate_is_a_plain_record(
    records: list[tuple[str, bytes]], data: st.DataObject
) -> None:
    whole = aggregate(records)
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[at] ^= 0xFF

    assert kpl.user_records(bytes(damaged)) is None
    assert kpl.user_records(whole[:-1]) is None


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(field(3, number(1, 0)), id="record without data"),
        pytest.param(field(3, field(3, b"x")), id="record without key"),
        pytest.param(field(3, number(1, 5) + field(3, b"x")), id="key that is not in the table"),
        pytest.param(field(1, b"\xff\xfe"), id="key that is no text"),
        pytest.param(number(3, 7), id="a number where a record should be"),
        pytest.param(b"\x1a\x7f", id="longer than the message"),
        pytest.param(b"\x1b", id="a group, which nobody writes"),
        pytest.param(b"\xff" * 12, id="a number without end"),
    ],
)
def test_a_sound_frame_around_a_broken_message_is_a_plain_record(message: bytes) -> None:
    assert kpl.user_records(framed(message)) is None


def test_fields_of_later_schemas_are_passed_over() -> None:
    extras = number(9, 300) + field(10, b"later") + b"\x59" + bytes(8) + b"\x65" + bytes(4)
    record = field(1, b"key") + field(3, number(1, 0) + number(2, 0) + field(3, b"x") + extras)

    assert kpl.user_records(framed(extras + record)) == (("key", b"x"),)


def test_records_are_kept_whatever_their_hash_key() -> None:
    far = str(2**128 - 1).encode()
    message = field(1, b"key") + field(2, far)
    message += field(3, number(1, 0) + number(2, 0) + field(3, b"x"))

    assert kpl.user_records(framed(message)) == (("key", b"x"),)


def test_an_aggregate_of_absurdly_many_records_is_a_plain_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kpl, "USER_RECORDS_MAX", 3)

    assert kpl.user_records(aggregate([("k", b"x")] * 3)) is not None
    assert kpl.user_records(aggregate([("k", b"x")] * 4)) is None


def test_the_frame_of_the_published_format_is_understood() -> None:
    message = bytes.fromhex("0a016b 1a0a 0800 1a06 7b2261223a7d".replace(" ", ""))
    data = bytes.fromhex("f3899ac2") + message + hashlib.md5(message).digest()  # noqa: S324

    assert kpl.user_records(data) == (("k", b'{"a":}'),)
