"""Targets that read what machines and strangers write: records, answers, recordings, exports."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from random import Random

from tests.core.event_reading import expected, folded, said
from tests.core.samples import KINESIS_MS, SHARD
from tests.fuzz.corpus import APP_EVENTS, EVENTS, EXPORTS, wrapped
from tests.fuzz.lives import Lives
from tests.fuzz.mutations import spoil_bytes, spoil_tokens, spoil_tree
from tests.fuzz.target import Culprit
from tests.senders.deliveries import crowd
from worker.event_dialects import BUILTINS
from worker.events import read_record
from worker.imports.endpoints import EndpointReader, Said
from worker.imports.findings import Findings
from worker.imports.framing import BrokenFile, items, unpacked
from worker.kinesis import kpl, wire
from worker.model import Activity, Effect, Endpoint, Outcome, Receipt, Record, Stop
from worker.recordings.framing import Splitter
from worker.rules.dialects import presets
from worker.rules.ruleset import ActivityPolicy
from worker.senders import pinpoint_answer

LIVES_TOGETHER = 250
"""Inputs whose users live in one state."""


BRACKETS_SURE = 800
"""With so few nothing is nested too deeply, which is else a matter of how deep the caller stands:
there the two ways may refuse a record for different reasons."""


class Events:
    """Record bytes: to what they say, by the quick way and the slow one, into a state, and on
    until the users they made up have been looked at and written to."""

    name = "events"
    seeds = EVENTS

    def __init__(self) -> None:
        self._policy = ActivityPolicy(events=("_session.*", "cart.*", "_email.*", "_SMS.*"))
        self._gathered: list[tuple[bytes, list[Record]]] = []

    def draw(self, chance: Random) -> bytes:
        """A spoilt event, often spoilt several times, often wrapped, sometimes spoilt again."""
        text = chance.choice(self.seeds)
        if chance.random() < 0.75:
            tree = json.loads(text)
            for _ in range(chance.choice((1, 1, 2, 4))):
                tree = spoil_tree(chance, tree)
            text = json.dumps(tree, ensure_ascii=chance.random() < 0.5)
        data = text.encode("utf-8", "surrogatepass")
        if chance.random() < 0.2:
            data = spoil_tokens(chance, data)
        if chance.random() < 0.25:
            data = spoil_bytes(chance, data, chance.choice(self.seeds).encode())
        if chance.random() < 0.25:
            data = wrapped(chance, data)
            if chance.random() < 0.3:
                data = spoil_bytes(chance, data, data)
        return data

    def take(self, data: bytes) -> None:
        """Both ways tell the same, and nothing that is told quotes what was refused."""
        records = records_of(data)
        readings = [read_record(one, shard_id=SHARD, policy=self._policy) for one in records]
        effect = folded(records, self._policy)
        if data.count(b"{") + data.count(b"[") < BRACKETS_SURE:
            assert said(effect) == expected(readings), "fold and read_record differ"
        check_storable(effect)
        self._gathered.append((data, records))
        if len(self._gathered) >= LIVES_TOGETHER:
            self.settle()

    def settle(self) -> None:
        """The users of these records live; the input to blame is found by living each alone."""
        gathered, self._gathered = self._gathered, []
        try:
            Lives([record for _, records in gathered for record in records], self._policy).live()
        except Exception as error:
            for data, records in gathered:
                try:
                    Lives(records, self._policy).live()
                except Exception as alone:
                    raise Culprit(data) from alone
            raise Culprit(b"".join(data for data, _ in gathered)) from error


class AppEvents(Events):
    """Events in formats of other people's own, beside the built-in ones."""

    name = "appevents"
    seeds = APP_EVENTS

    def __init__(self) -> None:
        super().__init__()
        own = [dialect for some in presets().values() for dialect in some]
        self._policy = self._policy.reading((*BUILTINS, *own))


def records_of(data: bytes) -> list[Record]:
    """What the source makes of one stored record."""
    inner = kpl.user_records(data)
    bodies = [data] if inner is None else [body for _, body in inner]
    return [
        Record(data=body, sequence_number=str(number), arrival_ms=KINESIS_MS)
        for number, body in enumerate(bodies, start=1)
    ]


def check_storable(effect: Effect) -> None:
    """Every text can be written as UTF-8, every time is of this century, no detail quotes data."""
    repr(effect).encode()
    signals: list[Activity | Endpoint | Stop | Receipt] = [*effect.activities, *effect.endpoints]
    for signal in [*signals, *effect.stops, *effect.receipts]:
        assert 0 < signal.at_ms < 4_200_000_000_000, "a time out of this world"
    for letter in effect.dead_letters:
        assert len(letter.detail) < 120, "a detail that may quote the data"


class Answers:
    """Bodies of GetRecords answers."""

    name = "answers"

    def draw(self, chance: Random) -> bytes:
        """A spoilt answer."""
        data = wire.CANNED_BODY
        if chance.random() < 0.7:
            data = json.dumps(spoil_tree(chance, json.loads(data))).encode()
        if chance.random() < 0.5:
            data = spoil_tokens(chance, data)
        return spoil_bytes(chance, data, data) if chance.random() < 0.5 else data

    def take(self, data: bytes) -> None:
        """An answer, or nothing at all; the hook itself never fails."""
        told: dict[str, object] = {}
        wire.decode({"status_code": 200, "body": data}, told)
        assert told[wire.KEY] is None or isinstance(told[wire.KEY], wire.Answer)

    def settle(self) -> None:
        """Nothing is gathered."""


class Verdicts:
    """Bodies of SendMessages answers."""

    name = "verdicts"

    def __init__(self) -> None:
        self._deliveries = crowd(3)
        self._body = json.dumps(
            {
                "ApplicationId": "app",
                "RequestId": "r",
                "Result": {
                    delivery.address: {
                        "DeliveryStatus": status,
                        "StatusCode": code,
                        "StatusMessage": f"told about {delivery.address}",
                        "MessageId": "m",
                        "UpdatedToken": "t",
                    }
                    for delivery, status, code in zip(
                        self._deliveries,
                        ("SUCCESSFUL", "PERMANENT_FAILURE", "THROTTLED"),
                        (200, 410, 429),
                        strict=True,
                    )
                },
            }
        ).encode()

    def draw(self, chance: Random) -> bytes:
        """A spoilt answer."""
        data = self._body
        if chance.random() < 0.8:
            data = json.dumps(spoil_tree(chance, json.loads(data))).encode()
        if chance.random() < 0.4:
            data = spoil_tokens(chance, data)
        return spoil_bytes(chance, data, data) if chance.random() < 0.4 else data

    def take(self, data: bytes) -> None:
        """One outcome for each delivery, in order, whatever the provider said."""
        outcomes: Sequence[Outcome] = pinpoint_answer.outcomes_of(self._deliveries, data)
        asked = [delivery.claim.send_id for delivery in self._deliveries]
        assert [outcome.send_id for outcome in outcomes] == asked
        for outcome in outcomes:
            detail = getattr(outcome, "detail", "") or ""
            assert "told about" not in detail, "a detail quotes the provider"

    def settle(self) -> None:
        """Nothing is gathered."""


class Recordings:
    """Recorded bytes, in blocks: nothing is lost or made up where records are told apart."""

    name = "recordings"

    def draw(self, chance: Random) -> bytes:
        """Some events with or without lines between them, spoilt."""
        parts = [chance.choice(EVENTS).encode() for _ in range(chance.choice((1, 2, 5)))]
        data = chance.choice((b"", b"\n", b"\r\n", b" ")).join(parts)
        for _ in range(chance.choice((0, 1, 3))):
            data = spoil_bytes(chance, data, data)
        return data

    def take(self, data: bytes) -> None:
        """All that is not a line end comes out again, in its order."""
        splitter = Splitter()
        blocks = [data[at : at + 700] for at in range(0, len(data), 700)]
        records = [record for block in blocks for record in splitter.feed(block)]
        records += splitter.end()
        kept = b"".join(record for record in records)
        blank = b" \t\r\n\x0b\x0c"
        assert kept.translate(None, blank) == data.translate(None, blank)

    def settle(self) -> None:
        """Nothing is gathered."""


class Imports:
    """Files of endpoints: exports, JSON, CSV."""

    name = "imports"

    def draw(self, chance: Random) -> bytes:
        """A spoilt file, now and then as gzip, which may be spoilt too."""
        data = chance.choice(EXPORTS)
        for _ in range(chance.choice((1, 1, 3))):
            data = chance.choice((spoil_bytes, spoil_tokens))(chance, data)
        if chance.random() < 0.2:
            data = gzip.compress(data, mtime=0)
            if chance.random() < 0.5:
                data = spoil_bytes(chance, data, data)
        return data

    def take(self, data: bytes) -> None:
        """Endpoints that can be stored, and what was odd; or the file is broken from here on."""
        findings, told = Findings(), Said()
        reader = EndpointReader(findings, now_ms=KINESIS_MS, as_of_ms=None, last_seen=True)
        blocks = [data[at : at + 500] for at in range(0, len(data), 500)]
        try:
            for some in items(unpacked(blocks), taken=0, file_number=1, findings=findings):
                for number, _, raw in some:
                    reader.read(raw, (1, number), told)
        except BrokenFile as broken:
            assert "\n" not in str(broken)  # noqa: PT017
        found = [endpoint for some in told.rounds for endpoint in some.values()]
        repr((found, told.stops, told.activities)).encode()

    def settle(self) -> None:
        """Nothing is gathered."""
