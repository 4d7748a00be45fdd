"""Imports from S3, against a stub that answers as S3 does, over the wire."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.imports.address_book import lines
from tests.imports.imported import book, imported, run
from tests.imports.s3_stub import Bucket, serving
from worker.errors import AccessDenied, TryLater, UsageError
from worker.imports import s3


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    found = Bucket()
    for number in range(5):
        part = b"".join(lines(range(number * 40, number * 40 + 40)))
        found.objects[f"export/part-{number}.gz"] = gzip.compress(part)
    found.objects["export/"] = b""
    found.objects["other/part.gz"] = gzip.compress(b"".join(lines(range(500, 510))))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setattr(s3, "RANGE_BYTES", 1_000)
    with serving(found) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", address)
        yield found


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "comeback.db"


def test_every_object_below_a_prefix_is_read_in_ranges(bucket: Bucket, state: Path) -> None:
    report = imported(state, "s3://shop/export/")
    assert report["files"] == 5
    assert len(book(state)) == 200
    assert len(bucket.ranges) > 5
    assert "bytes=1000-1999" in bucket.ranges
    places = [place for found in report["findings"] for place in found["places"]]
    assert all(place.startswith("s3://shop/export/part-") for place in places)


def test_objects_that_were_taken_are_not_read_again_until_they_change(
    bucket: Bucket, state: Path
) -> None:
    imported(state, "s3://shop/export/")
    bucket.ranges.clear()
    assert len(imported(state, "s3://shop/export/")["files_known"]) == 5
    assert bucket.ranges == []
    bucket.objects["export/part-0.gz"] = gzip.compress(b"".join(lines(range(300, 310))))
    assert imported(state, "s3://shop/export/")["endpoints"]["new"] == 10


def test_an_answer_that_breaks_off_is_asked_for_again(bucket: Bucket, state: Path) -> None:
    bucket.break_off = 2
    imported(state, "s3://shop/export/")
    assert len(book(state)) == 200


@pytest.mark.parametrize(
    ("status", "code", "error", "told"),
    [
        (403, "AccessDenied", AccessDenied, "Allow s3:ListBucket"),
        (404, "NoSuchBucket", UsageError, "no such bucket"),
        (400, "SomethingNew", TryLater, "SomethingNew"),
    ],
)
def test_what_s3_refuses_says_what_to_do(
    bucket: Bucket, state: Path, status: int, code: str, error: type[Exception], told: str
) -> None:
    bucket.refuse = (status, code)
    result = run(state, "import", "s3://shop/export/", fails=True)
    assert isinstance(result.exception, error)
    assert told in str(result.exception)
    assert not state.exists()


@pytest.mark.parametrize("url", ["s3://", "s3:///export", "s3://shop/nothing"])
def test_a_prefix_with_nothing_below_it_is_refused(bucket: Bucket, state: Path, url: str) -> None:
    assert isinstance(run(state, "import", url, fails=True).exception, UsageError)


def test_an_object_that_is_replaced_meanwhile_is_noticed(
    bucket: Bucket, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = s3.S3Folder.read

    def replacing(self: s3.S3Folder, key: str, etag: str, first: int, last: int) -> bytes:
        if first:
            bucket.objects[key] += b"x"
        return read(self, key, etag, first, last)

    monkeypatch.setattr(s3.S3Folder, "read", replacing)
    result = run(state, "import", "s3://shop/export/", fails=True)
    assert isinstance(result.exception, TryLater)
    assert "was replaced" in str(result.exception)
