"""A Kinesis that gives as fast as it is asked: a process of its own, so that only the reader's CPU
is measured. It knows five operations, keeps nothing and checks nothing.

A shard holds `--pages` answers of `--records` events, drawn from their number alone, `--page-ms` of
stream time each; with 0 it is idle. Events are those of `recording.event`, of `--active` users out
of `--users`, spread over the key space.

    python -m tests.bench.canned --shards 4 --pages 100 --users 1000000 --active 100000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import ssl
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.bench.certificate import make_certificate
from tests.bench.recording import START_MS, event
from worker.model import HOUR_MS, MINUTE_MS
from worker.sandbox.processes import Child

RECORDS_PER_PAGE = 2_500
PAGES_ENOUGH = 100_000
"""Of a shard: a backlog without end."""
PLACES_BEFORE_PAGE = 10**6
"""A sequence number is `PREFIX` and `page * PLACES_BEFORE_PAGE + place` in `DIGITS` digits."""
PREFIX = "4960" + "0" * 36
DIGITS = 16
"""The real ones are as long."""
KINDS = 42
"""Events differ by the remainders of the user's number by 6 and 7, beside the number itself."""
SENTINEL_USER = 987_654_300
SENTINEL_MS = START_MS + 123_456_789
SIX_HOURS_MS = 6 * HOUR_MS
CREATED_SECONDS = 1_780_000_000


class Events:
    """Events a microsecond each: those of `recording.event`, from forms with gaps."""

    def __init__(self) -> None:
        users = range(SENTINEL_USER, SENTINEL_USER + KINDS)
        self._forms = {user % KINDS: self._form(user) for user in users}
        for user in (0, 5, 98, 123_457):
            at_ms = START_MS + user * MINUTE_MS
            assert self.of(user, at_ms) == event(user, at_ms, "_session.start"), user

    @staticmethod
    def _form(user: int) -> bytes:
        text = event(user, SENTINEL_MS, "_session.start").replace(b"%", b"%%")
        gaps = (
            (f'"ltv":["{user % 100}"]', '"ltv":["%(ltv)d"]'),
            (str(user), "%(user)d"),
            (str(SENTINEL_MS - 40), "%(happened)d"),
            (str(SENTINEL_MS - 100), "%(began)d"),
            (str(SENTINEL_MS), "%(at)d"),
            (f'"{SENTINEL_MS // SIX_HOURS_MS}"', '"%(changed)d"'),
        )
        for found, gap in gaps:
            assert found.encode() in text, found
            text = text.replace(found.encode(), gap.encode())
        return text

    def of(self, user: int, at_ms: int) -> bytes:
        """A session start of that user."""
        return self._forms[user % KINDS] % {
            b"ltv": user % 100,
            b"user": user,
            b"happened": at_ms - 40,
            b"began": at_ms - 100,
            b"at": at_ms,
            b"changed": at_ms // SIX_HOURS_MS,
        }


class Canned:
    """The answers."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._given = given
        self._stride = max(1, given.users // given.active)
        self._events = Events()
        self._operations: dict[str, Callable[[dict[str, Any]], bytes]] = {
            "DescribeStreamSummary": self._summary,
            "DescribeStream": self._description,
            "ListShards": lambda _: json.dumps({"Shards": self._shards()}).encode(),
            "GetShardIterator": self._iterator,
            "GetRecords": self._records,
        }

    def answer(self, operation: str, request: dict[str, Any]) -> bytes:
        """The body of an answer."""
        return self._operations[operation](request)

    def _shards(self) -> list[dict[str, Any]]:
        return [
            {
                "ShardId": f"shardId-{number:012d}",
                "HashKeyRange": {"StartingHashKey": str(number), "EndingHashKey": str(number)},
                "SequenceNumberRange": {"StartingSequenceNumber": PREFIX + "0" * DIGITS},
            }
            for number in range(self._given.shards)
        ]

    def _summary(self, request: dict[str, Any]) -> bytes:
        return json.dumps({"StreamDescriptionSummary": self._facts(request)}).encode()

    def _description(self, request: dict[str, Any]) -> bytes:
        facts = self._facts(request) | {"Shards": self._shards(), "HasMoreShards": False}
        return json.dumps({"StreamDescription": facts}).encode()

    def _facts(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request.get("StreamName", "bench")
        return {
            "StreamName": name,
            "StreamARN": f"arn:aws:kinesis:eu-west-1:000000000000:stream/{name}",
            "StreamStatus": "ACTIVE",
            "RetentionPeriodHours": 8_760,
            "StreamCreationTimestamp": CREATED_SECONDS,
            "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
            "EncryptionType": "NONE",
            "OpenShardCount": self._given.shards,
            "ConsumerCount": 0,
        }

    def _iterator(self, request: dict[str, Any]) -> bytes:
        after = request.get("StartingSequenceNumber")
        page = 0 if after is None else int(after[-DIGITS:]) // PLACES_BEFORE_PAGE + 1
        iterator = f"{int(request['ShardId'][8:])}:{page}"
        return json.dumps({"ShardIterator": iterator}).encode()

    def _records(self, request: dict[str, Any]) -> bytes:
        shard, page = map(int, request["ShardIterator"].split(":"))
        if page >= self._given.pages:
            return b'{"Records":[],"NextShardIterator":"%d:%d","MillisBehindLatest":0}' % (
                shard,
                page,
            )
        at_ms = self._given.start_ms + page * self._given.page_ms
        behind_ms = max(0, time.time_ns() // 1_000_000 - at_ms)
        return b'{"Records":[%s],"NextShardIterator":"%d:%d","MillisBehindLatest":%d}' % (
            b",".join(self._page(shard, page, at_ms)),
            shard,
            page + 1,
            behind_ms,
        )

    def _page(self, shard: int, page: int, at_ms: int) -> list[bytes]:
        count, active = self._given.records, self._given.active
        begin = (page * self._given.shards + shard) * count
        if begin < active:
            numbers: Sequence[int] = range(begin, min(begin + count, active))
        else:
            numbers = random.Random(shard << 32 | page).choices(range(active), k=count)
        first = page * PLACES_BEFORE_PAGE
        of, stride, prefix = self._events.of, self._stride, PREFIX.encode()
        return [
            b'{"SequenceNumber":"%s%016d","ApproximateArrivalTimestamp":%d.%03d,"Data":"%s",'
            b'"PartitionKey":"%d"}'
            % (
                prefix,
                first + place,
                (at_ms + place) // 1_000,
                (at_ms + place) % 1_000,
                b64encode(of(number * stride, at_ms + place)),
                number,
            )
            for place, number in enumerate(numbers)
        ]


class Connection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, as far as the SDK speaks it."""

    def __init__(self, canned: Canned) -> None:
        self._canned = canned
        self._held = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asyncio's word for it."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answers each request that is whole."""
        self._held += data
        while (end := self._held.find(b"\r\n\r\n")) >= 0:
            lines = self._held[:end].decode("latin-1").split("\r\n")[1:]
            headers = {name.lower(): text for name, _, text in (x.partition(": ") for x in lines)}
            stop = end + 4 + int(headers.get("content-length", "0"))
            if len(self._held) < stop:
                return
            body, self._held = self._held[end + 4 : stop], self._held[stop:]
            operation = headers["x-amz-target"].rpartition(".")[2]
            answer = self._canned.answer(operation, json.loads(body))
            head = (
                "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\n"
                f"x-amzn-RequestId: canned\r\nContent-Length: {len(answer)}\r\n\r\n"
            )
            self._transport.writelines((head.encode(), answer))


async def serve(given: argparse.Namespace) -> None:
    """Prints the address, then serves until the process is ended."""
    canned = Canned(given)
    secure = None
    if given.certificate:
        secure = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        secure.load_cert_chain(given.certificate)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(canned), "127.0.0.1", 0, ssl=secure)
    port = server.sockets[0].getsockname()[1]
    print(f"http{'s' if secure else ''}://127.0.0.1:{port}", flush=True)
    await server.serve_forever()


@contextmanager
def canned(
    *,
    shards: int,
    pages: int,
    users: int = 1,
    active: int | None = None,
    records: int = RECORDS_PER_PAGE,
    start_ms: int = START_MS,
    page_ms: int = MINUTE_MS,
    tls: bool = False,
) -> Iterator[dict[str, str]]:
    """Such a server while the block runs; yields the environment with which the SDK finds it."""
    numbers = {"shards": shards, "pages": pages, "users": users, "active": active or users}
    numbers |= {"records": records, "start-ms": start_ms, "page-ms": page_ms}
    words = [word for name, number in numbers.items() for word in (f"--{name}", str(number))]
    with TemporaryDirectory() as folder:
        environment = {
            "AWS_REGION": "eu-west-1",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        if tls:
            pem = make_certificate(Path(folder))
            words += ["--certificate", str(pem)]
            environment["AWS_CA_BUNDLE"] = str(pem)
        log = Path(folder) / "log"
        child = Child("tests.bench.canned", words, log=log, environment={})
        try:
            environment["AWS_ENDPOINT_URL_KINESIS"] = child.first_line()
            yield environment
        finally:
            child.stop()


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="tests.bench.canned")
    for name in ("shards", "pages", "users", "active"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--records", type=int, default=RECORDS_PER_PAGE)
    parser.add_argument("--start-ms", type=int, default=START_MS)
    parser.add_argument("--page-ms", type=int, default=MINUTE_MS)
    parser.add_argument("--certificate", default="")
    return parser


if __name__ == "__main__":
    try:
        asyncio.run(serve(arguments().parse_args(sys.argv[1:])))
    except KeyboardInterrupt:
        sys.exit(0)
