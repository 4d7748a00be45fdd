"""Attempts on the template sandbox: nothing is reached but the user's own values, and whatever is
tried ends soon, in little memory, as a refusal (when rules load) or a problem (of one user)."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from tests.security.marks import found_in, mark
from worker.model import Endpoint, UserView
from worker.rules.facts import render_context
from worker.rules.problems import Refused
from worker.rules.ruleset import TemplateProblem
from worker.rules.templates import (
    LOOP_ITEMS_MAX,
    RENDERED_CHARS_MAX,
    TEMPLATE_CHARS_MAX,
    compile_html,
    compile_text,
)

SECONDS_MAX = 30.0
"""Of work, and generous; what runs away takes hours, or all there is."""
BYTES_MAX = 64 * 1024 * 1024

REACHING_OUT = {
    "class of a text": "{{User.UserId.__class__}}",
    "class of a constant": "{{''.__class__.__mro__}}",
    "class by index": "{{''['__class__']}}",
    "class by computed index": "{{User['__cla' ~ 'ss__']}}",
    "subclasses": "{{().__class__.__base__.__subclasses__()}}",
    "class by filter": "{{''|attr('__class__')}}",
    "map over attributes": "{{[1]|map(attribute='__class__')|list}}",
    "join over attributes": "{{Attributes.name|join(',', attribute='__class__')}}",
    "sort by attribute": "{{Attributes.name|sort(attribute='__class__.__mro__')|join}}",
    "unique by attribute": "{{Attributes.name|unique(attribute='__globals__')|join}}",
    "globals of a function": "{{cycler.__init__.__globals__}}",
    "globals of lipsum": "{{lipsum.__globals__['os'].popen('id').read()}}",
    "self": "{{self.__init__.__globals__}}",
    "self's context": "{{self._TemplateReference__context}}",
    "loop's context": "{% for x in Attributes.name %}{{loop._iterable}}{% endfor %}",
    "loop's class": "{% for x in Attributes.name %}{{loop.__class__}}{% endfor %}",
    "loop called": "{% for x in Attributes.name recursive %}{{loop(x)}}{% endfor %}",
    "method of a value": "{{Attributes.name.index('x')}}",
    "private member of a value": "{{Attributes.name._values}}",
    "private member of a group": "{{User._members}}",
    "call of a method": "{{User.UserId.encode()}}",
    "format of a text": "{{'{0.__class__}'.format(1)}}",
    "format by filter": "{{'{0.__class__}'|format(User)}}",
    "percent format": "{{'%s' % User}}",
    "format_map": "{{'{x.__class__}'.format_map(User)}}",
    "include": "{% include '/etc/passwd' %}",
    "import": "{% import 'os' as os %}{{os.name}}",
    "from import": "{% from 'os' import name %}",
    "extends": "{% extends '/etc/passwd' %}",
    "block": "{% block x %}{{self.x()}}{% endblock %}",
    "macro": "{% macro x() %}{{x()}}{% endmacro %}{{x()}}",
    "call block": "{% call x() %}{% endcall %}",
    "set": "{% set x = User %}{{x}}",
    "namespace": "{% set n = namespace(x=1) %}{% set n.x = 2 %}",
    "filter block": "{% filter attr('x') %}{% endfilter %}",
    "with": "{% with x = User %}{{x}}{% endwith %}",
    "do": "{% do User.clear() %}",
    "debug": "{% debug %}",
    "autoescape off": "{% autoescape false %}{{Attributes.html}}{% endautoescape %}",
    "safe": "{{Attributes.html|safe}}",
    "tojson": "{{User|tojson}}",
    "pprint": "{{User|pprint}}",
    "dictionary": "{{ {'a': User} }}",
    "our own filter": "{{'abc'|at_most}}",
    "address": "{{Address}}",
    "another user": "{{Endpoints}}",
    "a test that calls": "{{User is callable}}",
    "power": "{{9 ** 9 ** 9 ** 9}}",
    "multiplication": "{{'x' * 1000000000}}",
    "range": "{% for x in range(1000000000) %}{% endfor %}",
    "loops in loops": "{% for a in 'xx' %}{% for b in 'xx' %}{% endfor %}{% endfor %}",
}
"""What nobody may even load, or what comes to nothing for the user."""

A_LOT = "a" * 30_000
RUNNING_AWAY = {
    "replace squared": "{{'" + A_LOT + "'|replace('a', '" + A_LOT + "')}}",
    "replace doubling": "{{'a'" + "|replace('a', 'aa')" * 60 + "}}",
    "replace with a negative count": "{{'a'" + "|replace('a', 'aaaaaaaaaa', -9)" * 30 + "}}",
    "replace of nothing": "{{'" + A_LOT + "'|replace('', '" + A_LOT + "')}}",
    "join squared": "{{'" + A_LOT + "'|join('" + A_LOT + "')}}",
    "join again and again": "{{'ab'" + "|join('abcdefghij')" * 40 + "}}",
    "join of a value": "{{Attributes.name" + "|join('abcdefghij')" * 40 + "}}",
    "a loop over letters": "{% for x in '" + A_LOT + "' %}" + A_LOT + "{% endfor %}",
    "a loop over a joined text": "{% for x in 'ab'|join('" + A_LOT + "') %}x{% endfor %}",
    "round to a billion digits": "{{1.5|round(1000000000, 'floor')}}",
    "round to minus a billion": "{{1.5|round(-1000000000, 'ceil')}}",
    "a huge number": "{{" + "9" * 4_000 + " - 1e3089}}",
    "an infinite length": "{{Attributes.name|truncate(1e3089)}}",
    "truncate to a huge length": "{{Attributes.name|truncate(10000000000000)}}",
    "a number of many digits": "{{('" + "9" * 60_000 + "')|int}}",
    "escapes of escapes": "{{'&&&&&&&&'" + "|e|e|urlencode" * 1_000 + "}}",
    "deep brackets": "{{" + "(" * 20_000 + "1" + ")" * 20_000 + "}}",
    "deep lists": "{{" + "[" * 20_000 + "]" * 20_000 + "}}",
    "deep ifs": "{% if 1 %}" * 6_000 + "{% endif %}" * 6_000,
    "many ands": "{{" + "1 and " * 3_000 + "1}}",
    "many concatenations": "{{" + "'a' ~ " * 1_500 + "'a'}}",
    "many outputs": "{{User.UserId}}" * 800,
    "many comments": "{#" * 30_000,
    "a text too long": "x" * (TEMPLATE_CHARS_MAX + 1),
}
"""What would take all memory or all day."""


def someone() -> dict[str, object]:
    values = {"name": (mark("user attribute"),), "html": ("<b>",)}
    endpoint = Endpoint(
        endpoint_id="e",
        at_ms=1,
        channel_type="EMAIL",
        address=mark("mail address"),
        attributes=values,
        user_attributes=values,
    )
    view = UserView(user_id=mark("user id"), last_active_ms=None, endpoints=(endpoint,))
    return dict(render_context(view))


def outcome(template: str) -> str:
    """What comes of a template: refused, a problem, or its text."""
    for compiled in (compile_html, compile_text):
        try:
            text = compiled(template).render(someone())
        except Refused as refused:
            return "refused" if str(refused) else "refused without a word"
        except TemplateProblem as problem:
            return "a problem that quotes a value" if found_in(str(problem)) else "problem"
    return text


@pytest.mark.parametrize("attempt", REACHING_OUT)
def test_nothing_beyond_the_users_own_values_is_reached(attempt: str) -> None:
    assert outcome(REACHING_OUT[attempt]) in {"refused", "problem", mark("user attribute")}


@pytest.mark.parametrize("attempt", RUNNING_AWAY)
def test_nothing_runs_away(attempt: str) -> None:
    tracemalloc.start()
    began = time.process_time()
    try:
        text = outcome(RUNNING_AWAY[attempt])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(text) <= RENDERED_CHARS_MAX
    assert peak < BYTES_MAX
    assert time.process_time() - began < SECONDS_MAX


def test_what_stays_within_the_bounds_comes_out() -> None:
    letters = "a" * LOOP_ITEMS_MAX
    assert outcome("{% for x in '" + letters + "' %}{{x}}{% endfor %}") == letters
    assert outcome("{{'aXbXc'|replace('X', '-', 1)}}") == "a-bXc"
    assert outcome("{{'abc'|join(',')}} {{2.345|round(2)}}") == "a,b,c 2.35"


@pytest.mark.parametrize(
    "template",
    ["{{1.UserId ~ ' '}}", "{{Us-1.UserId ~ 'x'}}", "{{'a'.b ~ 'c'}}", "{{[1].x|lower}}"],
)
def test_a_name_behind_a_constant_is_refused_and_not_a_crash(template: str) -> None:
    assert outcome(template) in {"refused", "problem"}


def test_a_value_is_never_taken_for_a_template() -> None:
    values = {"name": ("{{User.UserId}}{% for x in 'ab' %}",)}
    endpoint = Endpoint(endpoint_id="e", at_ms=1, attributes=values)
    view = UserView(user_id="u", last_active_ms=None, endpoints=(endpoint,))
    told = compile_text("Hi {{Attributes.name}}").render(dict(render_context(view)))
    assert told == "Hi {{User.UserId}}{% for x in 'ab' %}"
