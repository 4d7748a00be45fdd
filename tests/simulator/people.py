"""Users who come, fall silent and return, most of all at moments that are awkward for a worker.

A life is drawn beforehand, from the rules in force at the start: silences end seconds around the
moments at which stages fall due. What happens to an event on its way (late, twice, out of order,
stamped in the future) is a fault and drawn apart, so that a run without faults has the same lives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Literal, Protocol

from tests.simulator import writing
from tests.simulator.faults import Faults
from tests.simulator.rulebook import (
    CUSTOM_ACTIVITY,
    DAY_MS,
    GOAL,
    HOUR_MS,
    MINUTE_MS,
    SECOND_MS,
    Book,
)
from tests.simulator.story import Put
from tests.simulator.writing import Device

HOMES: tuple[tuple[str | None, str | None, str], ...] = (
    ("Europe/Berlin", "DE", "+4915112345"),
    ("Europe/London", "GB", "+4474001234"),
    ("Asia/Tokyo", "JP", "+8190123456"),
    ("Asia/Kolkata", "IN", "+9198765432"),
    ("America/New_York", "US", "+1202555010"),
    ("Australia/Sydney", "AU", "+6141234567"),
    (None, "JP", "+8190123457"),
    (None, None, "+4915112346"),
    ("Not/AZone", "DE", "+4915112347"),
)
"""Time zone, country, the first digits of a phone number; None: no event names it."""

ARRIVAL_DELAY_MS_MAX = 3 * SECOND_MS


class World(Protocol):
    """What people need of the world."""

    faults: Faults
    start_ms: int
    end_ms: int

    def now_ms(self) -> int:
        """The true time."""

    def at_ms(self, at_ms: float, act: Callable[[], object], *, puts: bool = False) -> None:
        """Does it then; `puts`: it writes to the stream."""

    def put(self, data: bytes, key: str, fact: Put) -> None:
        """Writes a record, and tells of it."""


@dataclass(slots=True)
class Person:
    """A user with devices."""

    user: str
    devices: list[Device]
    rng: Random


class People:
    """Everybody in the world, and what they are going to do."""

    def __init__(self, world: World, rng: Random, book: Book, count: int) -> None:
        self._world = world
        self._book = book
        self._way = Random(rng.getrandbits(64))
        self.of_address: dict[str, tuple[Person, Device]] = {}
        self.persons = [self._person(Random(rng.getrandbits(64)), n) for n in range(count)]
        for person in self.persons:
            self._plan(person)

    # --- who they are -------------------------------------------------------------------------

    def _person(self, rng: Random, number: int) -> Person:
        zone, country, phone = rng.choice(HOMES)
        user = f"u{number}"
        kinds = [
            (rng.choice(("GCM", "APNS")), f"token-{user}-a", 0.85),
            (rng.choice(("GCM", "APNS")), f"token-{user}-b", 0.2),
            ("EMAIL", f"{user}@example.com", 0.7),
            ("SMS", f"{phone}{number % 10}", 0.6),
        ]
        late = self._world.faults.times("sign_in_late") > 0 and rng.random() < 0.5
        devices = [
            Device(
                endpoint_id=f"e{number}{index}",
                channel_type=kind,
                address=address,
                user=None if late and rng.random() < 0.7 else user,
                timezone=zone,
                country=country,
            )
            for index, (kind, address, share) in enumerate(kinds)
            if rng.random() < share
        ]
        if not devices:
            kind, address, _ = kinds[2]
            devices = [
                Device(
                    endpoint_id=f"e{number}2",
                    channel_type=kind,
                    address=address,
                    user=user,
                    timezone=zone,
                    country=country,
                )
            ]
        person = Person(user, devices, rng)
        for device in devices:
            self.of_address[device.address] = (person, device)
        return person

    # --- what they do -------------------------------------------------------------------------

    def _plan(self, person: Person) -> None:
        world, rng = self._world, person.rng
        at_ms = world.start_ms + round(rng.random() ** 2 * 15 * DAY_MS)
        for device in person.devices:
            self._later(at_ms, partial(self.shows, device))
        while at_ms < world.end_ms:
            self._session(person, at_ms)
            at_ms += self._silence(rng)
        for _ in range(world.faults.times("opt_out")):
            if rng.random() < 0.4:
                self._plan_opt_out(person, rng)
        for device in person.devices:
            if device.user is None:
                signs_in_ms = world.start_ms + round(rng.random() * (world.end_ms - world.start_ms))
                self._later(signs_in_ms, partial(self._sign_in, person, device))

    def _silence(self, rng: Random) -> int:
        """Until the next visit."""
        dues = [0]
        rule = rng.choice(self._book.rules)
        dues.append(rule.inactive_for_ms + rule.stages[0].after_ms)
        for stage in rule.stages[1:]:
            dues.append(dues[-1] + stage.after_ms)
        match rng.randrange(7):
            case 0 | 1:
                return round(rng.uniform(0.1, 2.5) * DAY_MS)
            case 2 | 3:
                return max(1_000, rng.choice(dues[1:]) + round(rng.gauss(0, 20) * SECOND_MS))
            case 4:
                return max(1_000, rng.choice(dues[1:]) + round(rng.gauss(0, 3) * HOUR_MS))
            case 5:
                return round(dues[-1] + rng.uniform(0, 4) * DAY_MS)
            case _:
                return round(dues[-1] + rng.uniform(2, 35) * DAY_MS)

    def _session(self, person: Person, at_ms: int) -> None:
        rng = person.rng
        device = rng.choice(person.devices)
        begin = rng.random()
        if begin < 0.75:
            self._later(at_ms, lambda: self.visits(device, "_session.start"))
        elif begin < 0.9:
            self._later(at_ms, lambda: self.visits(device, CUSTOM_ACTIVITY))
        else:
            self._later(at_ms, lambda: self.visits(device, "_session.stop"))
        if rng.random() < 0.25:
            after_ms = at_ms + rng.randint(1, 40) * MINUTE_MS
            self._later(after_ms, lambda: self.visits(device, "_session.stop"))
        if rng.random() < 0.1:
            after_ms = at_ms + rng.randint(1, 40) * MINUTE_MS
            self._later(after_ms, lambda: self.visits(device, GOAL))

    def _plan_opt_out(self, person: Person, rng: Random) -> None:
        world = self._world
        span_ms = world.end_ms - world.start_ms
        at_ms = world.start_ms + round(rng.random() * span_ms)
        device = rng.choice(person.devices)
        way = rng.random()
        if way < 0.3:
            self._later(at_ms, lambda: self._stops(device))
            return

        def change() -> None:
            if way < 0.7:
                device.opted_out = True
            else:
                device.active = False
            world.faults.struck("opt_out")
            self.shows(device)

        def back() -> None:
            device.opted_out, device.active = False, True
            self.shows(device)

        self._later(at_ms, change)
        if rng.random() < 0.5:
            self._later(at_ms + round(rng.uniform(0.1, 20) * DAY_MS), back)

    # --- single acts --------------------------------------------------------------------------

    def visits(self, device: Device, event_type: str) -> None:
        """An event of the app; most mean that the user is there."""
        active = event_type != GOAL and (
            event_type != CUSTOM_ACTIVITY or self._book.custom_activity
        )
        kind: Literal["activity", "goal", "endpoint"] = "activity" if active else "endpoint"
        if event_type == GOAL:
            kind = "goal"
        self._send(device, event_type, kind, means_active=active)

    def shows(self, device: Device) -> None:
        """The app tells its endpoint; nobody has to be there for that."""
        self._send(device, "profile.updated", "endpoint", means_active=False)

    def returns(self, address: str, at_ms: float) -> None:
        """The user of an address comes back then."""
        person, _ = self.of_address[address]
        device = person.rng.choice(person.devices)
        self._later(at_ms, lambda: self.visits(device, "_session.start"))

    def opens(self, address: str, at_ms: float) -> None:
        """The user taps the push that came to this address."""
        _, device = self.of_address[address]

        def open_() -> None:
            world = self._world
            now_ms = world.now_ms()
            put = Put(
                at_ms=now_ms,
                record=0,
                kind="activity",
                user=device.user,
                event_ms=now_ms,
                means_active=True,
                channel=device.channel,
                address=device.address,
                facts={"endpoint": device.endpoint_id},
            )
            data = writing.opened(device.endpoint_id, event_ms=now_ms, arrival_ms=now_ms)
            world.put(data, device.endpoint_id, put)

        self._later(at_ms, open_)

    def _sign_in(self, person: Person, device: Device) -> None:
        self._world.faults.struck("sign_in_late")
        device.user = person.user
        self._send(device, "_userauth.sign_in", "activity", means_active=True)

    def _stops(self, device: Device) -> None:
        """Unsubscribes by mail, or answers STOP to an SMS; a push is opted out by its app."""
        world = self._world
        now_ms = world.now_ms()
        world.faults.struck("opt_out")
        if device.channel == "push":
            device.opted_out = True
            self.shows(device)
            return
        put = Put(
            at_ms=now_ms,
            record=0,
            kind="stop",
            event_ms=now_ms,
            channel=device.channel,
            address=device.address,
            facts={"reason": "unsubscribed" if device.channel == "email" else "opted_out"},
        )
        if device.channel == "email":
            data = writing.mail_event(
                "unsubscribe",
                address=device.address,
                message_id="unknown",
                sent_ms=now_ms,
                arrival_ms=now_ms,
            )
        else:
            data = writing.sms_event(
                "OPTOUT",
                "OPTED_OUT",
                address=device.address,
                message_id="unknown",
                send_id=None,
                event_ms=now_ms,
                arrival_ms=now_ms,
            )
        world.put(data, device.endpoint_id, put)

    # --- the way to the stream ----------------------------------------------------------------

    def _later(self, at_ms: float, act: Callable[[], object]) -> None:
        if at_ms < self._world.end_ms:
            self._world.at_ms(at_ms, act, puts=True)

    def _send(
        self,
        device: Device,
        event_type: str,
        kind: Literal["activity", "goal", "endpoint"],
        *,
        means_active: bool,
    ) -> None:
        """Writes an event now, or when what can happen on its way lets it through."""
        world, way, faults = self._world, self._way, self._world.faults
        event_ms = world.now_ms()
        delay_ms = way.randint(0, ARRIVAL_DELAY_MS_MAX) if way.random() < 0.5 else 0
        if faults.strikes("event_late"):
            delay_ms += round(way.uniform(0.01, 60) * HOUR_MS)
        elif faults.strikes("event_reordered"):
            delay_ms += round(way.uniform(1, 300) * SECOND_MS)
        if faults.strikes("event_future"):
            event_ms += round(way.uniform(0.01, 48) * HOUR_MS)
        shown = device.facts()
        arrival_ms = world.now_ms() + delay_ms
        data = writing.app_event(device, event_type, event_ms=event_ms, arrival_ms=arrival_ms)
        fact = Put(
            at_ms=arrival_ms,
            record=0,
            kind=kind,
            user=device.user,
            event_ms=event_ms,
            means_active=means_active,
            channel=device.channel,
            address=device.address,
            facts=shown,
        )
        key = device.endpoint_id

        def write() -> None:
            now_ms = world.now_ms()
            told = shown if now_ms == arrival_ms else {**shown, "told_ms": arrival_ms}
            world.put(data, key, replace(fact, facts=told))

        if delay_ms:
            world.at_ms(arrival_ms, write, puts=True)
        else:
            write()
        if faults.strikes("event_twice"):
            again_ms = arrival_ms + round(way.choice((0.001, 1, 30)) * HOUR_MS * way.random()) + 1
            world.at_ms(again_ms, write, puts=True)
        if faults.strikes("rubbish"):
            junk = way.choice((b"", b"{", b"[1]", b'"x"', b'{"event_type": 7}', b"\xff\xfe\x00"))
            world.put(junk, key, Put(at_ms=world.now_ms(), record=0, kind="rubbish"))
