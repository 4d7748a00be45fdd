"""Targets that read what people write: rules, tests of rules, templates, formats, settings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from random import Random

from tests.fuzz.corpus import EVERY_KEY, FORMATS, RULE_FILES, TEMPLATES, TEST_FILE
from tests.fuzz.mutations import spoil_lines
from worker.errors import SettingsError
from worker.model import Endpoint, UserView
from worker.rules.dialects import parse_formats
from worker.rules.facts import render_context
from worker.rules.folder import Kept
from worker.rules.load import inspect_files
from worker.rules.problems import Problem, Refused
from worker.rules.ruleset import TemplateProblem
from worker.rules.templates import compile_html, compile_text
from worker.ruletests.cases import read_suite
from worker.settings import PREFIX, Settings, read_settings


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


class Formats:
    """Files that say in which form events are."""

    name = "formats"
    words = tuple({line.strip() for line in FORMATS.splitlines() if line.strip()})

    def draw(self, chance: Random) -> bytes:
        """A spoilt file of formats."""
        data = FORMATS
        for _ in range(chance.choice((1, 1, 2, 4))):
            data = spoil_lines(chance, data, sorted(self.words))
        return data

    def take(self, data: bytes) -> None:
        """Formats or problems."""
        dialects, problems = parse_formats(data, "formats.yaml")
        assert bool(dialects) is not bool(problems)
        for problem in problems:
            check_told(problem, ("formats.yaml",))

    def settle(self) -> None:
        """Nothing is gathered."""
