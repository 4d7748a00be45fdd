"""Matchers read as in Alertmanager and hold as `Matcher.matches` says."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.rules.matchers import PATTERN_CHARS_MAX, parse_matcher
from worker.rules.problems import Refused

PREMIUM = {
    "plan": ("premium",),
    "app": ("shop-ios", "shop-web"),
    "first name": ("Ann",),
    "ltv": ("50",),
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ('plan="premium"', True),
        ("plan=premium", True),
        (' plan = "premium" ', True),
        ('plan="prem"', False),
        ('plan!="basic"', True),
        ('plan!="premium"', False),
        ('plan=~"prem.*"', True),
        ('plan=~"rem"', False),
        ('plan=~"(?i)PREMIUM"', True),
        ('plan!~"prem.*"', False),
        ('app="shop-web"', True),
        ('app!="shop-web"', False),
        ('app=~"shop-.*"', True),
        ('"first name"="Ann"', True),
        ('country=""', True),
        ('country!="FR"', True),
        ('country=~".+"', False),
        ('ltv>="50"', True),
        ("ltv>=50", True),
        ("ltv>50", False),
        ("ltv<50.5", True),
        ('ltv<="49.9"', False),
        ("ltv>-1", True),
        ("plan>0", False),
        ("plan<0", False),
        ("nothing>=0", False),
    ],
)
def test_a_matcher_holds(text: str, holds: bool) -> None:
    assert parse_matcher(text).matches(PREMIUM) is holds


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ('consent.marketing="true"', "consent.marketing", "true"),
        ('a-b="x"', "a-b", "x"),
        ('größe="x"', "größe", "x"),
        (r'a="say \"hi\" \\ there\n"', "a", 'say "hi" \\ there\n'),
        (r'a=~"shop\..*"', "a", r"shop\..*"),
        ('a=""', "a", ""),
        ('a="=~{}, "', "a", "=~{}, "),
    ],
)
def test_names_and_values_are_read_as_written(text: str, name: str, value: str) -> None:
    matcher = parse_matcher(text)
    assert (matcher.name, matcher.value) == (name, value)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ('plan=="x"', "equality is a single ="),
        ('a="x" and b="y"', "one condition a line"),
        ('a="x" && b="y"', "one condition a line"),
        ("age=>18", "the equals sign comes last, >= or <="),
        ("age<>18", "unequal is !="),
        ("age>x", "> compares numbers"),
        ('age>=""', ">= compares numbers"),
        ('age<"1e3"', "< compares numbers"),
        ("plan", "write a name, one of = != =~ !~ >= <= > <"),
        ('="x"', "write a name"),
        ('""="x"', "write a name"),
        ("plan=", "write a name"),
        ("plan='x'", "write a name"),
        ('plan="x', "write a name"),
        ('{plan="x"}', "write a name"),
        ('a="x", b="y"', "write a name"),
        ("", "write a name"),
        ('a=~"["', "is not a regular expression"),
        ('a=~"(?P<x>"', "is not a regular expression"),
        ('a=~"x{1001}"', "is not a regular expression"),
        ('a=~"(?=a)"', "is not a regular expression"),
        (f'a=~"{"x" * (PATTERN_CHARS_MAX + 1)}"', "longer than 1000 characters"),
    ],
)
def test_another_form_is_refused_with_a_remedy(text: str, remedy: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_matcher(text)
    assert remedy in str(refused.value)


@given(st.text(st.characters(codec="utf-8"), max_size=30))
def test_any_value_survives_quoting(value: str) -> None:
    written = value.replace("\\", "\\\\").replace('"', '\\"')
    assert parse_matcher(f'a="{written}"').value == value


@given(st.text(max_size=40))
def test_any_text_is_a_matcher_or_refused(text: str) -> None:
    with suppress(Refused):
        assert parse_matcher(text).name
