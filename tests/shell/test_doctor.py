"""`comeback doctor`: what it finds, what it says to do, and that it neither sends nor tells."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiobotocore.session import AioSession, get_session
from aiohttp import web
from click.testing import CliRunner

from tests.shell.lived_state import folder_of, rules_text
from tests.store.test_backup import damage
from tests.store.world import World, mailbox, open_store, phone, seen
from worker.cli import commands
from worker.doctor import state as state_checks
from worker.doctor.examination import examine
from worker.doctor.findings import Finding, Verdict
from worker.doctor.probe import Clocks
from worker.doctor.provider import providers
from worker.model import HOUR_MS, Batch, Effect, Position, StreamIdentity
from worker.sandbox.kinesis import KinesisServer, wall_clock_ms
from worker.sandbox.kinesis_faults import Call, Fault
from worker.sandbox.pinpoint import PinpointStub
from worker.settings import Settings
from worker.store.migrations import SCHEMA_VERSION
from worker.store.sqlite import SqliteStore
from worker.testing import FakeClock

SURE = rules_text().replace("    mode:", "    max_inactive: 60d\n    mode:")
"""Rules without a doubt."""

DEAD_END = "http://127.0.0.1:9"
"""Nobody listens there."""


@dataclass
class Practice:
    """A deployment to examine: state, rules, settings, a Kinesis and a Pinpoint."""

    folder: Path
    kinesis: KinesisServer
    pinpoint: PinpointStub
    since: list[int]
    """So many ms Kinesis lives in the past."""
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        return self.folder / "state.db"

    async def findings(self, **options: Any) -> dict[str, Finding]:
        """Check to finding, of a whole examination."""
        said = {"full": False, "offline": False, "seconds": 3.0} | options
        clock = options.pop("clock", None) or FakeClock(now_ms=wall_clock_ms())
        said.pop("clock", None)
        found: dict[str, Finding] = {}
        async for finding in examine(self.environment, clock, **said):
            assert finding.check not in found, "each check has one line"
            found[finding.check] = finding
        return found

    async def read(self, *positions: Position, created_ms: int | None = None) -> None:
        """The state read the stream up to these positions."""
        stream = self.kinesis.stream("events")
        store = await open_store(self.state)
        identity = StreamIdentity(
            name="events", created_ms=stream.created_ms if created_ms is None else created_ms
        )
        await store.positions(identity)
        for position in positions:
            batch = Batch(stream=identity, position=position, records=(), read_through_ms=0)
            await store.apply(Effect(), batch, now_ms=0)
        await store.close()


@pytest.fixture(scope="module")
def parsed() -> AioSession:
    """Reading the models of the services takes most of the time of making clients."""
    return get_session()


@pytest.fixture
def session(parsed: AioSession, monkeypatch: pytest.MonkeyPatch) -> AioSession:
    """Every client is made of one session."""
    for module in ("worker.kinesis.client", "worker.senders.client"):
        monkeypatch.setattr(f"{module}.get_session", lambda: parsed)
    return parsed


@pytest.fixture
async def practice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, session: AioSession
) -> AsyncIterator[Practice]:
    since = [0]
    kinesis = KinesisServer(now_ms=lambda: wall_clock_ms() - since[0])
    pinpoint = PinpointStub()
    monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", await kinesis.start())
    monkeypatch.setenv("AWS_ENDPOINT_URL_PINPOINT", await pinpoint.start())
    monkeypatch.setenv("AWS_ENDPOINT_URL_SESV2", DEAD_END)
    since[0] = 22 * HOUR_MS
    kinesis.create_stream("events", shards=2)
    since[0] = 0
    one = Practice(tmp_path, kinesis, pinpoint, since)
    one.environment = {
        "COMEBACK_STATE": str(one.state),
        "COMEBACK_RULES": str(folder_of(tmp_path / "rules", SURE)),
        "COMEBACK_STREAM": "events",
        "COMEBACK_PINPOINT_APPLICATION_ID": "app-1",
        "COMEBACK_EMAIL_SENDER": "pinpoint",
    }
    yield one
    await kinesis.stop()
    await pinpoint.stop()


def verdicts(found: Mapping[str, Finding]) -> set[Verdict]:
    return {finding.verdict for finding in found.values()}


# --- a healthy deployment ----------------------------------------------------------------------


async def test_before_the_first_start_all_is_well_and_nothing_is_sent(practice: Practice) -> None:
    found = await practice.findings()
    assert verdicts(found) == {Verdict.OK}, found
    assert "not there yet" in found["state"].found
    assert "none yet" in found["positions"].found
    assert "mobiletargeting:SendMessages is allowed" in found["send by pinpoint"].found
    assert not practice.pinpoint.sends


async def test_beside_a_running_worker_all_is_well_and_its_lock_is_seen(
    practice: Practice,
) -> None:
    await practice.read(Position(shard_id="shardId-000000000000"))
    store = await open_store(practice.state)
    found = await practice.findings()
    await store.close()
    assert verdicts(found) == {Verdict.OK}, found
    assert "held by pid" in found["state lock"].found
    assert "1 of 2 shards, 1 new" in found["positions"].found
    assert found["lag"].found.startswith("at most 0 s in 1 shards")
    assert (await practice.findings(offline=True))["state lock"].found.startswith("free")


async def test_no_shard_is_asked_for_records_twice(practice: Practice) -> None:
    shards = [f"shardId-{number:012}" for number in range(2)]
    await practice.read(*(Position(shard_id=shard) for shard in shards))
    await practice.findings()
    assert [practice.kinesis.calls("GetRecords", shard) for shard in shards] == [1, 1]


async def test_nothing_it_says_names_a_user_or_an_address(practice: Practice) -> None:
    store = await open_store(practice.state)
    world = await World(store).begin()
    await world.tell(seen("user-secret", 0), phone("user-secret"), mailbox("u", "secret@x.test"))
    await store.close()
    assert "secret" not in repr(await practice.findings(full=True))


# --- the stream --------------------------------------------------------------------------------


async def test_positions_of_another_stream_of_that_name_are_told(practice: Practice) -> None:
    await practice.read(Position(shard_id="shardId-000000000000"), created_ms=7)
    found = await practice.findings()
    assert found["positions"].verdict is Verdict.WARN
    assert "another stream" in found["positions"].found
    assert "lag" not in found


async def test_a_shard_that_is_gone_unread_is_told_and_one_that_was_read_is_not(
    practice: Practice,
) -> None:
    gone = Position(shard_id="shardId-000000000077", sequence_number="5")
    done = Position(shard_id="shardId-000000000066", sequence_number="5", ended=True)
    await practice.read(gone, done)
    found = await practice.findings()
    assert found["positions"].verdict is Verdict.WARN
    assert found["positions"].found == "1 shards are gone: shardId-000000000077"


async def test_how_far_reading_is_behind_is_told_per_shard(practice: Practice) -> None:
    stream = practice.kinesis.stream("events")
    now_ms = wall_clock_ms()
    for hours in (20, 10, 0):
        stream.put(b"{}", partition_key="k", now_ms=now_ms - hours * HOUR_MS)
    await practice.read(*(Position(shard_id=f"shardId-{n:012}") for n in range(2)))
    found = await practice.findings()
    assert found["lag"].verdict is Verdict.FAIL
    assert "Raise the retention" in found["lag"].todo


@pytest.mark.parametrize(
    "operation", ["DescribeStreamSummary", "ListShards", "GetShardIterator", "GetRecords"]
)
async def test_each_missing_permission_is_named(practice: Practice, operation: str) -> None:
    await practice.read(Position(shard_id="shardId-000000000000"))

    def refuse(call: Call) -> Fault | None:
        return Fault(error="AccessDeniedException") if call.operation == operation else None

    practice.kinesis.faults = refuse
    rights = (await practice.findings())["stream rights"]
    assert rights.verdict is Verdict.FAIL
    assert f"Allow the action kinesis:{operation}" in rights.todo


async def test_a_stream_that_is_not_there_is_told_with_where_it_was_looked_for(
    practice: Practice,
) -> None:
    practice.environment["COMEBACK_STREAM"] = "evnets"
    found = await practice.findings()
    assert found["stream"].verdict is Verdict.FAIL
    assert "no stream 'evnets' in region eu-west-1" in found["stream"].todo


async def test_throttling_is_no_verdict(practice: Practice) -> None:
    await practice.read(Position(shard_id="shardId-000000000000"))
    throttled = Fault(error="ProvisionedThroughputExceededException")
    practice.kinesis.faults = lambda call: throttled if call.operation == "GetRecords" else None
    found = await practice.findings()
    assert found["stream rights"].verdict is Verdict.UNKNOWN
    assert "lag" not in found


async def test_without_a_network_it_says_what_it_could_not_ask(
    practice: Practice, monkeypatch: pytest.MonkeyPatch
) -> None:
    for service in ("KINESIS", "PINPOINT"):
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", DEAD_END)
    found = await practice.findings()
    unknown = {check for check, f in found.items() if f.verdict is Verdict.UNKNOWN}
    assert unknown == {"stream", "send by pinpoint", "clock"}
    assert Verdict.FAIL not in verdicts(found)


async def test_a_service_that_does_not_answer_is_given_up(practice: Practice) -> None:
    practice.kinesis.faults = lambda _: Fault(delay_seconds=30)
    found = await practice.findings(seconds=0.2)
    assert found["stream"].verdict is Verdict.UNKNOWN
    assert "no answer in 0 s" in found["stream"].found


# --- providers and the clock -------------------------------------------------------------------


Serve = Callable[[int, str], Coroutine[Any, Any, str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """A server that answers everything with one status and one code of AWS."""
    runners: list[web.AppRunner] = []

    async def start(status: int, code: str) -> str:
        async def answer(_: web.Request) -> web.Response:
            body = {"message": "", "__type": code}
            return web.json_response(body, status=status, headers={"x-amzn-ErrorType": code})

        application = web.Application()
        application.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(application)
        runners.append(runner)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "code", "verdict"),
    [
        (403, "ForbiddenException", Verdict.FAIL),
        (400, "AccessDeniedException", Verdict.FAIL),
        (400, "UnrecognizedClientException", Verdict.FAIL),
        (404, "NotFoundException", Verdict.FAIL),
        (400, "BadRequestException", Verdict.OK),
        (400, "ValidationException", Verdict.OK),
        (200, "", Verdict.OK),
        (429, "TooManyRequestsException", Verdict.UNKNOWN),
        (400, "ThrottlingException", Verdict.UNKNOWN),
        (500, "InternalServerException", Verdict.UNKNOWN),
    ],
)
async def test_what_an_answer_to_the_empty_request_says(
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    session: AioSession,
    status: int,
    code: str,
    verdict: Verdict,
) -> None:
    url = await serve(status, code)
    for service in ("PINPOINT", "SESV2", "PINPOINT_SMS_VOICE_V2"):
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", url)
    everything = Settings(
        pinpoint_application_id="app-1",
        email_from="shop@example.com",
        sms_sender="end_user_messaging",
        sms_origination_identity="SHOP",
    )
    clocks = Clocks(FakeClock(now_ms=wall_clock_ms()))
    found = await providers(everything, clocks, seconds=3)
    assert [finding.check for finding in found] == [
        "send by pinpoint",
        "send by ses",
        "send by end_user_messaging",
    ]
    assert {finding.verdict for finding in found} == {verdict}
    assert all(bool(finding.todo) is (verdict is not Verdict.OK) for finding in found)


@pytest.mark.parametrize(
    ("ahead_seconds", "verdict"),
    [(0, Verdict.OK), (60, Verdict.WARN), (-60, Verdict.WARN), (-280, Verdict.FAIL)],
)
def test_the_clock_is_compared_with_the_date_of_an_answer(
    ahead_seconds: int, verdict: Verdict
) -> None:
    clocks = Clocks(FakeClock(now_ms=1_793_448_000_000 + ahead_seconds * 1_000))
    assert clocks.finding().verdict is Verdict.UNKNOWN
    clocks.note({"ResponseMetadata": {"HTTPHeaders": {"date": "nonsense"}}})
    assert clocks.finding().verdict is Verdict.UNKNOWN
    clocks.note({"ResponseMetadata": {"HTTPHeaders": {"date": "Sat, 31 Oct 2026 12:00:00 GMT"}}})
    assert clocks.finding().verdict is verdict


async def test_a_clock_that_is_off_is_seen_by_the_way(practice: Practice) -> None:
    found = await practice.findings(clock=FakeClock(now_ms=wall_clock_ms() + HOUR_MS))
    assert found["clock"].verdict is Verdict.FAIL
    assert "ahead of AWS" in found["clock"].found


# --- this machine ------------------------------------------------------------------------------


async def test_settings_that_are_missing_or_misspelt_are_told(practice: Practice) -> None:
    del practice.environment["COMEBACK_PINPOINT_APPLICATION_ID"]
    found = await practice.findings(offline=True)
    assert found["settings"].verdict is Verdict.FAIL
    assert "COMEBACK_PINPOINT_APPLICATION_ID is not set" in found["settings"].todo
    practice.environment["COMEBACK_STAET"] = "x"
    found = await practice.findings(offline=True)
    assert "did you mean COMEBACK_STATE?" in found["settings"].todo
    assert "state" not in found


async def test_rules_with_problems_and_a_folder_that_is_not_there_fail(
    practice: Practice, tmp_path: Path
) -> None:
    folder_of(tmp_path / "rules", "apiVersion: v9\n")
    assert (await practice.findings(offline=True))["rules"].verdict is Verdict.FAIL
    practice.environment["COMEBACK_RULES"] = str(tmp_path / "none")
    assert "Make the folder" in (await practice.findings(offline=True))["rules"].todo


async def test_a_state_others_can_open_is_told(practice: Practice) -> None:
    await practice.read()
    permit(practice.state, 0o644)
    found = await practice.findings(offline=True)
    assert found["state rights"].verdict is Verdict.WARN
    assert "chmod 600" in found["state rights"].todo


def permit(path: Path, mode: int) -> None:
    path.chmod(mode)


async def test_a_damaged_state_fails_and_says_how_to_restore(practice: Practice) -> None:
    store = await SqliteStore.open(str(practice.state), wait=False, clock=FakeClock())
    world = await World(store).begin()
    for number in range(60):
        await world.tell(seen(f"user-{number}", 0), phone(f"user-{number}"))
    await store.close()
    assert (await practice.findings(offline=True))["integrity"].verdict is Verdict.OK
    damage(practice.state)
    found = await practice.findings(offline=True)
    bad = found.get("integrity") or found["state contents"]
    assert bad.verdict is Verdict.FAIL
    assert "restore" in bad.todo or "backup" in bad.todo


async def test_a_state_of_another_version_is_told(practice: Practice) -> None:
    await practice.read()
    for version, check, verdict in (
        (SCHEMA_VERSION - 1, "schema", Verdict.WARN),
        (SCHEMA_VERSION + 1, "state contents", Verdict.FAIL),
    ):
        with closing(sqlite3.connect(practice.state)) as connection:
            connection.execute(f"PRAGMA user_version = {version}")
        found = await practice.findings()
        assert found[check].verdict is verdict
        assert found["positions"].verdict is Verdict.UNKNOWN


async def test_little_room_is_told(practice: Practice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_checks, "FREE_BYTES_MIN", 10**18)
    assert (await practice.findings(offline=True))["disk"].verdict is Verdict.FAIL


# --- the command -------------------------------------------------------------------------------


def invoked(environment: Mapping[str, str], *words: str) -> tuple[Any, str]:
    result = CliRunner().invoke(commands, ["doctor", *words], env=dict(environment))
    code = getattr(result.exception, "exit_code", result.exit_code)
    return code, result.stdout


async def test_the_command_ends_with_1_when_something_fails_and_0_otherwise(
    practice: Practice,
) -> None:
    await practice.read(Position(shard_id="shardId-000000000000"))

    code, text = await asyncio.to_thread(invoked, practice.environment)
    assert code == 0
    assert "stream rights" in text
    assert text.splitlines()[-1].endswith(" ok")
    practice.environment["COMEBACK_STREAM"] = "other"
    code, text = await asyncio.to_thread(invoked, practice.environment, "--json")
    assert code == 1
    document = json.loads(text)
    assert document["verdict"] == "fail"
    failed = [x for x in document["findings"] if x["verdict"] == "fail"]
    assert [x["check"] for x in failed] == ["stream"]
    code, _ = await asyncio.to_thread(invoked, practice.environment, "--offline")
    assert code == 0
