"""The provider that takes messages: judges each one, and tells on the stream what became of it.

It knows nothing of APIs: it is asked about one call of (channel, address, text, send id) each, and
says what is taken and what is answered. Adapters (`apis.py`) speak for it in the words of each API.
A call is on its way by itself: whoever made it may die meanwhile, and it arrives all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, Protocol

from tests.simulator import writing
from tests.simulator.faults import Faults
from tests.simulator.loop import VirtualLoop
from tests.simulator.rulebook import DAY_MS, HOUR_MS, SECOND_MS
from tests.simulator.story import Called, ChannelName, Put

Word = Literal[
    "ok", "rejected", "opted_out", "throttled", "temporary", "error", "timeout", "cut",
    "bad_request", "refused_setup", "unknown",
]  # fmt: skip

Api = Literal["pinpoint", "ses", "texts"]

TRANSIT_SECONDS_MAX = 0.4
"""From the worker to the provider."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message to one address, as an adapter read it from a call of its `api`."""

    api: Api

    channel: ChannelName
    address: str
    text: str
    send_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of one message. `missing`: the answer does not mention it."""

    word: Word
    accepted: bool
    message_id: str | None = None
    missing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CallVerdict:
    """What becomes of a whole call. `word` other than ok: no address is answered for."""

    word: Word
    verdicts: Sequence[Verdict]
    answer_seconds: float | None
    """After the provider had it; None: never."""
    unreadable: bool = False


class World(Protocol):
    """What the provider needs of the world."""

    faults: Faults
    loop: VirtualLoop
    end_ms: int

    def now_ms(self) -> int:
        """The true time."""

    def at_ms(self, at_ms: float, act: Callable[[], object], *, puts: bool = False) -> None:
        """Does it then; `puts`: it writes to the stream."""

    def put(self, data: bytes, key: str, fact: Put) -> None:
        """Writes a record, and tells of it."""

    def tell(self, fact: Called) -> None:
        """A fact of the story."""

    def reached(self, message: Message) -> None:
        """A message arrived: its user may do something."""


class Provider:
    """One for all channels."""

    def __init__(self, world: World, rng: Random) -> None:
        self._world = world
        self._rng = rng
        self.outages: list[tuple[float, float, Word]] = []
        """Loop times in which every call ends alike."""
        self._calls = 0
        self._messages = 0
        self._dead: dict[str, None] = {}
        self._stopped: dict[str, None] = {}
        self.in_flight = self.in_flight_most = 0

    def judge(self, messages: Sequence[Message], worker_ms: int) -> CallVerdict:
        """A call reaches the provider now."""
        self._calls += 1
        verdict = self._of_call(messages)
        now_ms = self._world.now_ms()
        seconds = verdict.answer_seconds
        for message, one in zip(messages, verdict.verdicts, strict=True):
            self._world.tell(
                Called(
                    at_ms=now_ms,
                    call=self._calls,
                    channel=message.channel,
                    address=message.address,
                    text=message.text,
                    send_id=message.send_id,
                    worker_ms=worker_ms,
                    accepted=one.accepted,
                    answer=one.word,
                    message_id=one.message_id,
                    answered_ms=None if seconds is None else now_ms + round(seconds * 1_000),
                )
            )
            if one.accepted:
                self._take(message, one)
        return verdict

    # --- whole calls --------------------------------------------------------------------------

    def _of_call(self, messages: Sequence[Message]) -> CallVerdict:
        faults, rng = self._world.faults, self._rng
        quick = rng.random() * 0.2
        word = self._outage()
        if word is None:
            for kind, what in (
                ("provider_throttled", "throttled"),
                ("provider_error", "error"),
                ("provider_timeout_before", "timeout"),
                ("provider_timeout_after", "timeout"),
                ("provider_cut", "cut"),
                ("provider_bad_request", "bad_request"),
                ("provider_refuses_setup", "refused_setup"),
            ):
                if faults.strikes(kind):
                    after = kind == "provider_timeout_after"
                    return self._alike(messages, what, quick, taken=after)  # type: ignore[arg-type]
        else:
            return self._alike(messages, word, quick, taken=False)
        slow = rng.random() * 6 if faults.strikes("provider_slow") else quick
        verdicts = [self._of_address(message) for message in messages]
        if faults.strikes("provider_unreadable"):
            unknown = [
                Verdict(word="unknown", accepted=v.accepted, message_id=v.message_id)
                for v in verdicts
            ]
            return CallVerdict(word="ok", verdicts=unknown, answer_seconds=slow, unreadable=True)
        return CallVerdict(word="ok", verdicts=verdicts, answer_seconds=slow)

    def _alike(
        self, messages: Sequence[Message], word: Word, seconds: float, *, taken: bool
    ) -> CallVerdict:
        """One end for all of a call; of errors and cut connections nobody knows."""
        verdicts = []
        for _ in messages:
            maybe = word in ("error", "cut") and self._rng.random() < 0.4
            accepted = taken or maybe
            message_id = self._next_id() if accepted else None
            verdicts.append(Verdict(word=word, accepted=accepted, message_id=message_id))
        silent = word == "timeout"
        return CallVerdict(word=word, verdicts=verdicts, answer_seconds=None if silent else seconds)

    def _outage(self) -> Word | None:
        at = self._world.loop.time()
        for begin, end, word in self.outages:
            if begin <= at < end and not self._world.faults.over:
                return word
        return None

    # --- single addresses ---------------------------------------------------------------------

    def _of_address(self, message: Message) -> Verdict:
        faults, address = self._world.faults, message.address
        knows_addresses = message.api != "ses"
        if knows_addresses and (address in self._stopped or faults.strikes("address_opted_out")):
            self._stopped[address] = None
            return Verdict(word="opted_out", accepted=False)
        if knows_addresses and (address in self._dead or faults.strikes("address_permanent")):
            self._dead[address] = None
            return Verdict(word="rejected", accepted=False)
        if not knows_addresses and faults.strikes("address_permanent"):
            return Verdict(word="bad_request", accepted=False)
        if faults.strikes("address_throttled"):
            return Verdict(word="throttled", accepted=False)
        if faults.strikes("address_temporary"):
            word: Word = "temporary" if message.api == "pinpoint" else "throttled"
            return Verdict(word=word, accepted=False)
        if faults.strikes("address_setup"):
            return Verdict(word="refused_setup", accepted=False)
        for kind in ("address_unknown", "address_missing"):
            if faults.strikes(kind):
                accepted = self._rng.random() < 0.5
                return Verdict(
                    word="unknown" if message.api == "pinpoint" else "error",
                    accepted=accepted,
                    message_id=self._next_id() if accepted else None,
                    missing=kind == "address_missing",
                )
        return Verdict(word="ok", accepted=True, message_id=self._next_id())

    def _next_id(self) -> str:
        self._messages += 1
        return f"m{self._messages}"

    # --- afterwards ---------------------------------------------------------------------------

    def _take(self, message: Message, verdict: Verdict) -> None:
        """A message is under way: it arrives, and the stream may tell so."""
        self._world.reached(message)
        faults, rng = self._world.faults, self._rng
        if message.channel == "push" or faults.strikes("receipt_never"):
            return
        sent_ms = self._world.now_ms()
        delay_ms = rng.uniform(1, 60) * SECOND_MS
        if faults.strikes("receipt_late"):
            delay_ms = rng.uniform(0.1, 72) * HOUR_MS
        bad = faults.strikes("receipt_bad_news")
        receipt = self._mail if message.channel == "email" else self._sms
        times = 2 if faults.strikes("receipt_twice") else 1
        for again in range(times):
            at_ms = sent_ms + delay_ms + again * rng.random() * DAY_MS
            if at_ms < self._world.end_ms:
                self._world.at_ms(at_ms, lambda: receipt(message, verdict, sent_ms, bad), puts=True)

    def _mail(self, message: Message, verdict: Verdict, sent_ms: int, bad: bool) -> None:
        now_ms = self._world.now_ms()
        kind = "delivered"
        if bad:
            kind = self._rng.choice(("hardbounce", "softbounce", "complaint", "unsubscribe"))
        assert verdict.message_id is not None
        if message.api == "ses":
            data = writing.ses_event(
                kind,
                address=message.address,
                message_id=verdict.message_id,
                send_id=message.send_id,
                sent_ms=sent_ms,
                at_ms=now_ms,
            )
        else:
            data = writing.mail_event(
                kind,
                address=message.address,
                message_id=verdict.message_id,
                sent_ms=sent_ms,
                arrival_ms=now_ms,
            )
        stops = {
            "hardbounce": "hard_bounced",
            "complaint": "complained",
            "unsubscribe": "unsubscribed",
        }
        self._tell(message, verdict, data, kind, stops.get(kind))

    def _sms(self, message: Message, verdict: Verdict, sent_ms: int, bad: bool) -> None:
        now_ms = self._world.now_ms()
        kind, status = "SUCCESS", "DELIVERED"
        if bad:
            kind, status = self._rng.choice((("FAILURE", "UNREACHABLE"), ("OPTOUT", "OPTED_OUT")))
        assert verdict.message_id is not None
        if message.api == "texts" and kind != "OPTOUT":
            data = writing.text_event(
                status,
                address=message.address,
                message_id=verdict.message_id,
                send_id=message.send_id,
                at_ms=now_ms,
            )
        else:
            data = writing.sms_event(
                kind,
                status,
                address=message.address,
                message_id=verdict.message_id,
                send_id=message.send_id,
                event_ms=now_ms,
                arrival_ms=now_ms,
            )
        self._tell(message, verdict, data, kind, "opted_out" if kind == "OPTOUT" else None)

    def _tell(
        self, message: Message, verdict: Verdict, data: bytes, status: str, stop: str | None
    ) -> None:
        now_ms = self._world.now_ms()
        facts = {
            "status": status,
            "message_id": verdict.message_id,
            "send_id": message.send_id,
        }
        if stop is not None:
            facts["reason"] = stop
        self._world.put(
            data,
            message.address,
            Put(
                at_ms=now_ms,
                record=0,
                kind="receipt" if stop is None else "stop",
                event_ms=now_ms,
                channel=message.channel,
                address=message.address,
                facts=facts,
            ),
        )
