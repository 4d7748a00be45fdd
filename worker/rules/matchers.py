"""Matchers in Alertmanager's syntax: `plan="premium"`, `country!="DE"`, `app=~"shop.*"`, `x!~"y"`.

Source of the form: Alertmanager, "Configuration", `<matcher>`. A name outside letters, digits,
`_`, `.` and `-` is put in double quotes; the value may go without quotes when it has no blanks.
Beyond Alertmanager, `>=`, `<=`, `>` and `<` compare numbers: `ltv>="50"`, `ltv>=50`.
"""

from __future__ import annotations

import re

import re2

from worker.rules.problems import Refused, quoted
from worker.rules.ruleset import COMPARISONS, Matcher, Pattern

PATTERN_CHARS_MAX = 1_000

_QUOTED = r'"((?:[^"\\]|\\.)*)"'
_MATCHER = re.compile(
    rf"""\s* (?: ([^\W\d][\w.\-]*) | (?!""){_QUOTED} )  # name
         \s* (=~|!~|!=|>=|<=|=|>|<)                     # operator
         \s* (?: {_QUOTED} | ([^\s"'{{}},=~!<>]+) )  # value
         \s*""",
    re.VERBOSE | re.DOTALL,
)
_NUMBER = re.compile(r"[-+]?(?:[0-9]{1,15}(?:\.[0-9]{1,15})?|\.[0-9]{1,15})")
_EXAMPLE = (
    "write a name, one of = != =~ !~ >= <= > <, and a value in double quotes, such as "
    "'plan=\"premium\"'"
)


def parse_matcher(text: str) -> Matcher:
    """One matcher. Raises Refused on another form or a bad regular expression."""
    found = _MATCHER.fullmatch(text)
    if found is None:
        hint = _hint(text)
        raise Refused(f"{quoted(text)} is not a matcher; {hint}{_EXAMPLE}")
    plain_name, quoted_name, operator, quoted_value, plain_value = found.groups()
    name = plain_name or _unescaped(quoted_name)
    value = plain_value if quoted_value is None else _unescaped(quoted_value)
    pattern = _compiled(value) if operator.endswith("~") else None
    number = _number(operator, value) if operator in COMPARISONS else None
    return Matcher(name=name, operator=operator, value=value, pattern=pattern, number=number)


def _hint(text: str) -> str:
    if "==" in text:
        return "equality is a single =; "
    if any(word in text for word in (" and ", " or ", "&&", "||")):
        return "one condition a line, all of the list must hold; "
    if "=>" in text or "=<" in text:
        return "the equals sign comes last, >= or <=; "
    if "<>" in text:
        return "unequal is !=; "
    return ""


def _number(operator: str, value: str) -> float:
    if not _NUMBER.fullmatch(value.strip()):
        raise Refused(
            f"{operator} compares numbers, and {quoted(value)} is none; write a number such as 50 "
            "or 12.5, or compare texts with = != =~ !~"
        )
    return float(value)


def _unescaped(text: str) -> str:
    # As in Alertmanager, a backslash before anything else stays: a pattern needs no doubling.
    return re.sub(r'\\([n"\\])', lambda found: "\n" if found[1] == "n" else found[1], text)


def _compiled(value: str) -> Pattern:
    """RE2, as in Alertmanager: its time grows with the text and not with what strangers put into
    it, so no attribute can keep the worker busy. It has no look-around and no back-references."""
    if len(value) > PATTERN_CHARS_MAX:
        raise Refused(f"the regular expression is longer than {PATTERN_CHARS_MAX} characters")
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    try:
        compiled: Pattern = re2.compile(value, options)
    except re2.error as error:
        told = error.args[0]
        told = told.decode("utf-8", "replace") if isinstance(told, bytes) else told
        raise Refused(
            f"{quoted(value)} is not a regular expression: {told}; put a backslash before "
            "signs that are meant literally"
        ) from error
    return compiled
