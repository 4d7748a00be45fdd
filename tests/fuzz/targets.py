"""What is fuzzed: for each target, how an input is drawn and what must hold when it is taken.

A target raises when something did not hold: an exception that is none of the errors a person can
act on, a value no database takes, a quick way that tells another story than the slow one.
`Target.draw` depends on its seed alone, so every input can be had again by its number.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from random import Random
from typing import Protocol

from tests.core.event_reading import expected, folded, said
from tests.core.samples import KINESIS_MS, SHARD
from tests.fuzz.corpus import (
    EVENTS,
    EVERY_KEY,
    RULE_FILES,
    TEMPLATES,
    TEST_FILE,
    wrapped,
)
from tests.fuzz.lives import Lives
from tests.fuzz.mutations import (
    spoil_bytes,
    spoil_lines,
    spoil_tokens,
    spoil_tree,
)
from tests.senders.deliveries import crowd
from worker.errors import SettingsError
from worker.events import read_record
from worker.kinesis import kpl, wire
from worker.model import Activity, Effect, Endpoint, Outcome, Receipt, Record, Stop, UserView
from worker.recordings.framing import Splitter
from worker.rules.facts import render_context
from worker.rules.folder import Kept
from worker.rules.load import inspect_files
from worker.rules.problems import Problem, Refused
from worker.rules.ruleset import ActivityPolicy, TemplateProblem
from worker.rules.templates import compile_html, compile_text
from worker.ruletests.cases import read_suite
from worker.senders import pinpoint_answer
from worker.settings import PREFIX, Settings, read_settings

LIVES_TOGETHER = 250
"""Inputs whose users live in one state."""


BRACKETS_SURE = 800
"""With so few nothing is nested too deeply, which is else a matter of how deep the caller stands:
there the two ways may refuse a record for different reasons."""


class Target(Protocol):
    """One thing that takes what strangers, or people in a hurry, write."""

    name: str

    def draw(self, chance: Random) -> bytes:
        """An input."""

    def take(self, data: bytes) -> None:
        """Raises when something does not hold that must hold for every input."""

    def settle(self) -> None:
        """Takes what was only gathered until now."""


class Events:
    """Record bytes: to what they say, by the quick way and the slow one, into a state, and on
    until the users they made up have been looked at and written to."""

    name = "events"

    def __init__(self) -> None:
        self._policy = ActivityPolicy(events=("_session.*", "cart.*", "_email.*", "_SMS.*"))
        self._gathered: list[tuple[bytes, list[Record]]] = []

    def draw(self, chance: Random) -> bytes:
        """A spoilt event, often spoilt several times, often wrapped, sometimes spoilt again."""
        text = chance.choice(EVENTS)
        if chance.random() < 0.75:
            tree = json.loads(text)
            for _ in range(chance.choice((1, 1, 2, 4))):
                tree = spoil_tree(chance, tree)
            text = json.dumps(tree, ensure_ascii=chance.random() < 0.5)
        data = text.encode("utf-8", "surrogatepass")
        if chance.random() < 0.2:
            data = spoil_tokens(chance, data)
        if chance.random() < 0.25:
            data = spoil_bytes(chance, data, chance.choice(EVENTS).encode())
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


class Culprit(Exception):
    """An input that was found to be to blame after it had been taken."""

    def __init__(self, data: bytes) -> None:
        super().__init__(f"{len(data)} bytes")
        self.data = data


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


class Rules:
    """Rule folders: the shipped files and one with every key."""

    name = "rules"
    words = tuple(
        {
            line.split(b"#")[0].strip()
            for text in (*RULE_FILES.values(), EVERY_KEY)
            for line in text.splitlines()
            if line.split(b"#")[0].strip()
        }
    )

    def draw(self, chance: Random) -> bytes:
        """A folder as JSON: file name to its text in Latin-1, so that any byte is one letter."""
        name, files = "every.yaml", {"every.yaml": EVERY_KEY}
        if chance.random() < 0.3:
            files = dict(RULE_FILES)
            name = chance.choice(list(files))
        for _ in range(chance.choice((1, 1, 2, 3, 6))):
            files[name] = spoil_lines(chance, files[name], sorted(self.words))
        return json.dumps({name: data.decode("latin-1") for name, data in files.items()}).encode()

    def take(self, data: bytes) -> None:
        """A rule set or problems, each with a sentence and a place; never both, never neither."""
        contents = {name: text.encode("latin-1") for name, text in json.loads(data).items()}
        inspection = inspect_files(Kept(contents))
        assert (inspection.rule_set is None) == bool(inspection.problems)
        for problem in (*inspection.problems, *inspection.warnings):
            check_told(problem, contents)
        if inspection.rule_set is not None:
            assert inspect_files(Kept(inspection.rule_set.contents)).rule_set is not None

    def settle(self) -> None:
        """Nothing is gathered."""


def check_told(problem: Problem, files: Sequence[str] | dict[str, bytes]) -> None:
    """One line that names a place which is there."""
    assert problem.message, "a problem without a word"
    assert "\n" not in str(problem), "a problem in two lines"
    str(problem).encode()
    if problem.file in files:
        assert problem.line >= 1, problem
        assert problem.column >= 1, problem


class RuleTests:
    """Files of rule tests beside rules that are right."""

    name = "tests"
    words = tuple({line.strip() for line in TEST_FILE.splitlines() if line.strip()})

    def draw(self, chance: Random) -> bytes:
        """A spoilt test file."""
        data = TEST_FILE
        for _ in range(chance.choice((1, 1, 2, 4))):
            data = spoil_lines(chance, data, sorted(self.words))
        return data

    def take(self, data: bytes) -> None:
        """Cases or problems."""
        suite = read_suite(data, "shop.test.yaml", Kept(RULE_FILES))
        assert (suite.rules is None) == bool(suite.problems)
        for problem in suite.problems:
            check_told(problem, ("shop.test.yaml",))

    def settle(self) -> None:
        """Nothing is gathered."""


class Templates:
    """Texts of messages, and the users they are rendered for."""

    name = "templates"
    pieces = (
        *(
            "{{",
            "}}",
            "{%",
            "%}",
            "{#",
            "#}",
            "|",
            ".",
            "[",
            "]",
            "(",
            ")",
            "'",
            '"',
            ",",
            "~",
            "-",
        ),
        *("for x in ", "if ", "endif", "endfor", "else", "set ", "macro ", "include 'a'", "raw"),
        *("User", "UserAttributes", "Attributes", "likes", "x", "self", "loop", "__class__"),
        *("default", "int", "float", "round", "replace", "join", "truncate", "sort", "urlencode"),
        *(
            " ",
            "0",
            "-1",
            "9999999999",
            "1e308",
            "%s",
            "{0}",
            "\n",
            "\x00",
            "é",
            "😀",
            "not ",
            "in ",
        ),
        *("is defined", "==", "<", "and ", "range(9)", "**", "*", "//", "%", "lipsum", "cycler"),
    )

    def __init__(self) -> None:
        values = {"x": ("1",), "likes": ("tea", "<b>"), "points": ("7",), "html": ("<i>",)}
        someone = Endpoint(
            endpoint_id="e", at_ms=1, country="DE", attributes=values, user_attributes=values
        )
        view = UserView(user_id="u", last_active_ms=None, endpoints=(someone,))
        self._context = render_context(view)

    def draw(self, chance: Random) -> bytes:
        """A template that was right, with pieces of others in it."""
        text = chance.choice(TEMPLATES)
        for _ in range(chance.choice((1, 2, 4, 8))):
            at = chance.randrange(len(text) + 1)
            piece = chance.choice(self.pieces)
            text = text[:at] + piece + text[at + chance.choice((0, 0, 1, 3)) :]
        return text.encode()

    def take(self, data: bytes) -> None:
        """It is refused, or it renders, or it is a problem of this user."""
        text = data.decode()
        for compiled in (compile_text, compile_html):
            with suppress(Refused, TemplateProblem):
                compiled(text).render(self._context).encode("utf-8", "surrogatepass")

    def settle(self) -> None:
        """Nothing is gathered."""


class Environments:
    """Environments of `comeback run`."""

    name = "settings"
    values = (
        *("", " ", "0", "-1", "5s", "5", "1e9s", "9" * 5_000 + "s", "٣s", "true", "no", "None"),
        *("127.0.0.1:9464", ":99999", "[::1]:1", "::1:1", "arn:aws:kinesis:x", "a" * 129, "\x00"),
        *("\udcff", "2026-01-01", "json", "LATEST", "../x", "{}", "[]", "NaN", "😀"),
    )

    def draw(self, chance: Random) -> bytes:
        """Variables as JSON, names misspelt now and then."""
        names = [PREFIX + name.upper() for name in Settings.model_fields]
        chosen = chance.sample(names, chance.choice((1, 2, 5)))
        if chance.random() < 0.2:
            chosen[0] = chosen[0][:-1] + chance.choice(("", "X", "_", "é"))
        values = {name: chance.choice(self.values) for name in chosen}
        if chance.random() < 0.3:
            values[chosen[0]] = chance.randbytes(6).decode("utf-8", "surrogateescape")
        return json.dumps(values).encode()

    def take(self, data: bytes) -> None:
        """Settings, or an error that names the variables."""
        environment = json.loads(data)
        try:
            read_settings(environment)
        except SettingsError as error:
            named = [name for name in environment if name in str(error)]
            assert named or not all(map(str.isascii, environment)), error  # noqa: PT017

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


TARGETS: Sequence[type[Target]] = (
    Events,
    Answers,
    Verdicts,
    Recordings,
    Rules,
    RuleTests,
    Templates,
    Environments,
)
