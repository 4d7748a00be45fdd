"""What sending costs in CPU, held against stock aiobotocore making the same `SendMessages` calls.

Both talk to a server in a process of its own (`taking.py`), a hundred addresses a call and eight
calls at once. One line is for our sender alone, one for all of it: users fall due, are looked at
and claimed, the calls are made and their answers written, and the users looked at once more. The
three are measured in turns; the medians count.

    python -m tests.bench.sending [USERS]
"""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median
from time import monotonic, process_time
from typing import Any

import structlog
from aiobotocore.session import get_session

from tests.bench.line import report_share
from tests.bench.sweep import NOW_MS, fill, rules, user_id
from tests.bench.taking import taking
from worker.health import Health
from worker.metrics import Metrics
from worker.model import (
    MINUTE_MS,
    Channel,
    Claim,
    Delivery,
    Message,
    Outcome,
    ShardStatus,
    address_hash_of,
    send_id_of,
)
from worker.outbox import Outbox
from worker.senders.pinpoint import PinpointSender, open_pinpoint
from worker.store.sqlite import SqliteStore

RECIPIENTS = 100
CALLS_AT_ONCE = 8
CALLS_PER_ROUND = 48
ROUNDS = 5
USERS_PER_ROUND = 4_000
TITLE = "New since your last visit"
LOOK_SECONDS = 0.02
URL = "https://shop.example/welcome-back"


class SteadyClock:
    """Wall time is told, waiting is real."""

    def __init__(self) -> None:
        self.wall_ms = NOW_MS - 10 * MINUTE_MS

    def now_ms(self) -> int:
        return self.wall_ms

    def monotonic(self) -> float:
        return monotonic()

    async def sleep(self, seconds: float, wake: asyncio.Event | None = None) -> bool:
        if wake is None:
            await asyncio.sleep(seconds)
            return False
        try:
            await asyncio.wait_for(wake.wait(), seconds)
        except TimeoutError:
            return False
        return True


class ReadSource:
    """A stream that is read up to now."""

    def __init__(self, clock: SteadyClock) -> None:
        self._clock = clock

    def watermark_ms(self) -> int | None:
        return self._clock.now_ms()

    def shards(self) -> Sequence[ShardStatus]:
        return ()


def body_of(name: str) -> str:
    """The text of the shipped rule, for one user."""
    return f"Hello Guest {name[:4]}, the shop has not stood still. Come and have a look."


def token_of(name: str) -> str:
    """As long as those of Firebase."""
    return f"{name}:APA91-{name}{name}"


def stock_calls() -> list[dict[str, Any]]:
    """Arguments of `send_messages`."""
    calls: list[dict[str, Any]] = []
    for call in range(CALLS_PER_ROUND):
        names = [user_id(call * RECIPIENTS + number) for number in range(RECIPIENTS)]
        addresses = {
            token_of(name): {
                "ChannelType": "GCM",
                "Context": {"comeback_send_id": name[:16]},
                "TitleOverride": TITLE,
                "BodyOverride": body_of(name),
            }
            for name in names
        }
        push = {"Action": "URL", "Url": URL}
        message = {
            "MessageConfiguration": {"DefaultPushNotificationMessage": push},
            "Addresses": addresses,
        }
        calls.append({"ApplicationId": "shop", "MessageRequest": message})
    return calls


def deliveries() -> list[list[Delivery]]:
    """The same for our sender."""
    return [
        [_delivery(user_id(call * RECIPIENTS + number)) for number in range(RECIPIENTS)]
        for call in range(CALLS_PER_ROUND)
    ]


def _delivery(name: str) -> Delivery:
    claim = Claim(
        send_id=send_id_of(name, "push", token_of(name)),
        user_id=name,
        rule="shop-comeback",
        revision="r1",
        episode_id=name[:16],
        stage="push",
        channel=Channel.PUSH,
        address_hash=address_hash_of(token_of(name)),
        claimed_ms=NOW_MS,
    )
    return Delivery(
        claim=claim,
        channel_type="GCM",
        address=token_of(name),
        message=Message(title=TITLE, body=body_of(name), url=URL),
    )


async def cpu_us(calls: Sequence[Callable[[], Awaitable[object]]]) -> float:
    """CPU microseconds a recipient of these calls, eight at once."""
    waiting = list(calls)

    async def make() -> None:
        while waiting:
            await waiting.pop()()

    started = process_time()
    await asyncio.gather(*(make() for _ in range(CALLS_AT_ONCE)))
    return 1e6 * (process_time() - started) / len(calls) / RECIPIENTS


class Everything:
    """An outbox over a state whose users fall due a few thousand at a time."""

    def __init__(self, store: SqliteStore, sender: PinpointSender, clock: SteadyClock) -> None:
        self._clock = clock
        self._sender = sender
        self.calls = 0
        self.sent = 0
        made = sender.send

        async def send(deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
            self.calls += 1
            self.sent += len(deliveries)
            return await made(deliveries)

        sender.send = send  # type: ignore[method-assign]
        rule_set = rules()
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
        self._outbox = Outbox(
            source=ReadSource(clock),  # type: ignore[arg-type] # the outbox asks for the watermark
            store=store,
            senders=dict.fromkeys(Channel, sender),
            rules=lambda: rule_set,
            clock=clock,
            metrics=Metrics(),
            health=Health(clock=clock),
            changed=asyncio.Event(),
            sweep_interval_ms=20,
            max_staleness_ms=300_000,
            calls_in_flight_max=CALLS_AT_ONCE,
        )
        self._store = store

    async def round(self) -> tuple[float, float]:
        """(CPU microseconds a recipient, recipients a call) of the users of the next minute."""
        self._clock.wall_ms += MINUTE_MS
        calls, sent = self.calls, self.sent
        started = process_time()
        running = asyncio.create_task(self._outbox.run())
        while self._outbox._calls or await self._anybody_due():  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(LOOK_SECONDS)
        spent = process_time() - started
        running.cancel()
        count = self.sent - sent
        return 1e6 * spent / max(count, 1), count / max(self.calls - calls, 1)

    async def _anybody_due(self) -> bool:
        due_ms = await self._store.next_due_ms()
        return due_ms is not None and due_ms <= self._clock.wall_ms


async def main(users: int) -> None:
    """Prints the lines."""
    with tempfile.TemporaryDirectory(prefix="comeback-bench-") as folder, taking():
        path, clock = Path(folder, "state.db"), SteadyClock()
        store = await SqliteStore.open(str(path), wait=False, clock=clock)
        await store.adopt(rules().adoption)
        await store.close()
        fill(path, users=users, due=(ROUNDS + 2) * USERS_PER_ROUND, minutes=ROUNDS + 2)
        store = await SqliteStore.open(str(path), wait=False, clock=clock)
        stock, alone, whole, per_call = await measure(store, clock)
        await store.close()
    report_share("sending: our sender alone", f"{alone:.2f} us/recipient", stock / alone, 5.0)
    report_share("sending: due to outcome", f"{whole:.1f} us/recipient", stock / whole, 0.6)
    report_share("sending: full calls", f"{per_call:.0f} recipients", per_call / RECIPIENTS, 0.8)


async def measure(store: SqliteStore, clock: SteadyClock) -> tuple[float, float, float, float]:
    """CPU microseconds a recipient: stock, our sender alone, and everything; recipients a call."""
    costs: list[tuple[float, float, float, float]] = []
    batches, arguments = deliveries(), stock_calls()
    async with (
        get_session().create_client("pinpoint", region_name="eu-west-1") as client,
        open_pinpoint("shop", calls_in_flight_max=CALLS_AT_ONCE) as sender,
        open_pinpoint("shop", calls_in_flight_max=CALLS_AT_ONCE) as another,
    ):
        everything = Everything(store, another, clock)
        clock.wall_ms = NOW_MS - MINUTE_MS * (ROUNDS + 1)
        for turn in range(ROUNDS + 1):
            stock = await cpu_us([lambda a=a: client.send_messages(**a) for a in arguments])  # type: ignore[misc]
            alone = await cpu_us([lambda b=b: sender.send(b) for b in batches])  # type: ignore[misc]
            whole, per_call = await everything.round()
            if turn:
                costs.append((stock, alone, whole, per_call))
    stock, alone, whole, per_call = (median(column) for column in zip(*costs, strict=True))
    return stock, alone, whole, per_call


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000))
