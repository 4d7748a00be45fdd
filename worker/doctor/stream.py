"""The stream: may it be read, and do the positions of the state still lie in it?

Makes the four calls the worker makes, once each, and for up to `SHARDS_ASKED_MAX` shards two more
that read one record behind the stored position. A shard serves five reads a second, which the
worker shares, so it is never asked twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.doctor.findings import Finding, fail, ok, unknown, warn
from worker.doctor.probe import Clocks, asked
from worker.errors import ComebackError
from worker.kinesis.client import kinesis_client
from worker.kinesis.faults import CALL_ERRORS, Kind, KinesisFault, explanation, fault_of
from worker.kinesis.lineage import Shard
from worker.kinesis.observer import SilentObserver
from worker.kinesis.stream import OPERATIONS, Description, Stream
from worker.model import HOUR_MS, MINUTE_MS, Position

SHARDS_ASKED_MAX = 50
"""Of the shards with a position; the table says how many there are."""
ASKED_AT_ONCE = 8
LAG_TOLD_MS = 5 * MINUTE_MS
"""The default of COMEBACK_MAX_STALENESS: beyond it nothing is sent."""
NAMES_SHOWN_MAX = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the state knows of the stream."""

    created_ms: int | None
    """Birth of the stream that was read; None: it was never read."""
    positions: tuple[Position, ...]


@dataclass(frozen=True, slots=True)
class _Lag:
    """How far reading is behind in one shard; None with the fault that kept it from being told."""

    shard_id: str
    behind_ms: int | None
    fault: KinesisFault | None = None


async def stream(
    name: str, known: Known | None, clocks: Clocks, *, seconds: float
) -> list[Finding]:
    """Findings about the stream; `known` None when the state could not be read. `seconds` bound
    every single call."""
    try:
        async with kinesis_client() as client:
            return await _Examination(client, name, known, clocks, seconds).findings()
    except ComebackError as error:
        return [fail("stream", "the client cannot be made", str(error))]


class _Examination:
    """One look at one stream."""

    def __init__(
        self, client: Any, name: str, known: Known | None, clocks: Clocks, seconds: float
    ) -> None:
        self._client = client
        self._stream = Stream(client, name, SilentObserver())
        self._name = name
        self._known = known
        self._seconds = seconds
        self._clocks = clocks
        self._allowed: set[str] = set()
        client.meta.events.register("after-call.kinesis", self._heard)

    def _heard(self, http_response: Any, **_: object) -> None:
        headers = {name.lower(): value for name, value in http_response.headers.items()}
        self._clocks.note({"ResponseMetadata": {"HTTPHeaders": headers}})

    async def findings(self) -> list[Finding]:
        try:
            about = await asked(self._stream.describe(), self._seconds)
            self._allowed.add("DescribeStreamSummary")
            shards = await asked(self._stream.shards(), self._seconds)
            self._allowed.add("ListShards")
        except KinesisFault as fault:
            return [self._refused(fault)]
        except TimeoutError:
            return [self._silent()]
        found = [
            ok(
                "stream",
                f"{about.identity.name}: {len(shards)} shards,"
                f" keeps records for {about.retention_ms // HOUR_MS} h",
            )
        ]
        found += self._places(about, shards)
        lags = await self._lags(shards)
        found += self._lag_findings(lags, about)
        found.append(self._permissions(lags))
        return found

    def _places(self, about: Description, shards: Sequence[Shard]) -> Iterator[Finding]:
        """Are the positions of this stream, and of shards it has?"""
        known = self._known
        if known is None:
            yield unknown("positions", "the state could not be read")
            return
        if known.created_ms is None:
            yield ok("positions", "none yet; the first start begins at COMEBACK_START_POSITION")
            return
        if known.created_ms != about.identity.created_ms:
            todo = "Nothing, if the stream was made anew: it is read from its beginning."
            yield warn("positions", "of another stream that had this name", todo)
            return
        listed = {shard.shard_id for shard in shards}
        gone = [p.shard_id for p in known.positions if not p.ended and p.shard_id not in listed]
        read = {p.shard_id for p in known.positions}
        new = len(listed - read)
        told = f"{len(read & listed)} of {len(listed)} shards" + (f", {new} new" if new else "")
        if gone:
            todo = "What these shards still held was not read and is lost; who was active then may "
            todo += "be taken for silent. Consider `comeback kill` until the users were seen again."
            yield warn("positions", f"{len(gone)} shards are gone: {_names(gone)}", todo)
        else:
            yield ok("positions", told)

    async def _lags(self, shards: Sequence[Shard]) -> list[_Lag]:
        listed = {shard.shard_id for shard in shards}
        stored = () if self._known is None else self._known.positions
        places = [p for p in stored if not p.ended and p.shard_id in listed]
        # Without a state one shard tells whether reading is allowed.
        places = places or [Position(shard_id=shard.shard_id) for shard in shards[:1]]
        gate = asyncio.Semaphore(ASKED_AT_ONCE)

        async def one(position: Position) -> _Lag:
            async with gate:
                return await self._lag(position)

        return list(await asyncio.gather(*map(one, places[:SHARDS_ASKED_MAX])))

    async def _lag(self, position: Position) -> _Lag:
        try:
            iterator = await asked(self._stream.iterator(position), self._seconds)
            self._allowed.add("GetShardIterator")
            answer = await asked(self._one_record(iterator), self._seconds)
            self._allowed.add("GetRecords")
        except KinesisFault as fault:
            return _Lag(position.shard_id, None, fault)
        except TimeoutError:
            silence = KinesisFault(operation="GetRecords", code="Connection")
            return _Lag(position.shard_id, None, silence)
        return _Lag(position.shard_id, answer.get("MillisBehindLatest"))

    async def _one_record(self, iterator: str) -> Mapping[str, Any]:
        request = {"StreamARN": self._name} if self._name.startswith("arn:") else {}
        try:
            answer: Mapping[str, Any] = await self._client.get_records(
                ShardIterator=iterator, Limit=1, **request
            )
        except CALL_ERRORS as error:
            raise fault_of(error, "GetRecords") from error
        return answer

    def _lag_findings(self, lags: Sequence[_Lag], about: Description) -> Iterator[Finding]:
        if self._known is None or self._known.created_ms != about.identity.created_ms:
            return
        trimmed = [x.shard_id for x in lags if x.fault and x.fault.kind is Kind.REFUSED]
        behind = [lag for lag in lags if lag.behind_ms is not None]
        lost = [x.shard_id for x in behind if (x.behind_ms or 0) >= about.retention_ms]
        if trimmed or lost:
            names = _names([*trimmed, *lost])
            todo = "The stream no longer has what comes next there. The worker goes on with the "
            todo += "oldest record it has; who was active in the gap may be taken for silent."
            yield warn("position age", f"older than the stream keeps records: {names}", todo)
        if not behind:
            return
        worst = max(behind, key=lambda lag: lag.behind_ms or 0)
        worst_ms = worst.behind_ms or 0
        told = f"at most {worst_ms / 1_000:,.0f} s in {len(behind)} shards ({worst.shard_id})"
        if worst_ms > about.retention_ms / 2:
            todo = "Start the worker, or give it more CPU: records are lost after "
            todo += f"{about.retention_ms // HOUR_MS} h. Raise the retention of the stream now."
            yield fail("lag", told, todo)
        elif worst_ms > LAG_TOLD_MS:
            todo = "Nothing is sent while it is above COMEBACK_MAX_STALENESS; see whether it falls."
            yield warn("lag", told, todo)
        else:
            yield ok("lag", told)

    def _permissions(self, lags: Sequence[_Lag]) -> Finding:
        for lag in lags:
            if lag.fault is not None and lag.fault.kind is Kind.FORBIDDEN:
                return self._refused(lag.fault)
        missing = [name for name in OPERATIONS if name not in self._allowed]
        if missing:
            codes = sorted({lag.fault.code for lag in lags if lag.fault})
            found = (
                f"{', '.join(missing)} not tried with success ({', '.join(codes) or 'no shard'})"
            )
            return unknown("stream rights", found, "Run this again in a minute.")
        return ok("stream rights", "kinesis:" + ", kinesis:".join(OPERATIONS))

    def _refused(self, fault: KinesisFault) -> Finding:
        problem = explanation(fault, stream=self._name, where=self._stream.where)
        if problem is None:
            return unknown(
                "stream",
                f"{self._stream.where}: kinesis:{fault.operation} failed ({fault.code})",
                "Look at the network between here and AWS, and run this again.",
            )
        check = "stream" if fault.not_found else "stream rights"
        return fail(check, f"kinesis:{fault.operation}: {fault.said}", str(problem))

    def _silent(self) -> Finding:
        return unknown(
            "stream",
            f"{self._stream.where}: no answer in {self._seconds:.0f} s",
            "Look at the network between here and AWS, and run this again.",
        )


def _names(shard_ids: Sequence[str]) -> str:
    more = len(shard_ids) - NAMES_SHOWN_MAX
    return ", ".join(shard_ids[:NAMES_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")
