"""Texts joined by hand come out as Jinja makes them, or are left to it."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from worker.model import Endpoint, UserView
from worker.rules.facts import LazyContext, render_context
from worker.rules.plain_texts import Wanted
from worker.rules.ruleset import TemplateProblem
from worker.rules.templates import Text, compile_html, compile_text

WORDS = st.text("ab <&\n\"'{é", max_size=6).filter(lambda t: "{{" not in t and not t.endswith("{"))
NAMES = ("first_name", "plan", "missing")
PATHS = st.sampled_from(
    [
        *(f"User.UserAttributes.{name}" for name in NAMES),
        'User.UserAttributes["first name"]',
        *(f"Attributes.{name}" for name in NAMES),
        "User.UserId",
        "Demographic.Locale",
        "Demographic.Timezone",
        "Location.Country",
        "Location.Region",
    ]
)
DEFAULTS = st.sampled_from(
    ["", '|default("you")', "|d('')", "|default(5)", '|default("x", true)', "|upper", "|default"]
)
VALUES = st.builds(lambda path, default: f"{{{{{path}{default}}}}}", PATHS, DEFAULTS)
SOURCES = st.lists(st.one_of(WORDS, VALUES), max_size=5).map("".join)

SAID = st.one_of(st.none(), st.sampled_from(["", "de_DE", "DE", "Europe/Berlin"]))
LISTS = st.lists(st.sampled_from(["Ann", " ", "", "<b>", "é"]), max_size=3).map(tuple)
ATTRIBUTES = st.one_of(
    st.none(), st.dictionaries(st.sampled_from([*NAMES[:2], "first name"]), LISTS, max_size=3)
)


@st.composite
def endpoints(draw: st.DrawFn) -> Endpoint:
    return Endpoint(
        endpoint_id="e",
        at_ms=draw(st.integers(0, 3)),
        timezone=draw(SAID),
        country=draw(SAID),
        region=draw(SAID),
        locale=draw(SAID),
        attributes=draw(ATTRIBUTES),
        user_attributes=draw(ATTRIBUTES),
    )


def rendered(text: Text, context: Any) -> tuple[str, str]:
    """What came out, or the problem it came to."""
    try:
        return "text", text.render(context)
    except TemplateProblem as problem:
        return "problem", str(problem)


def named(*names: str) -> Endpoint:
    return Endpoint(endpoint_id="e", at_ms=0, user_attributes={"first_name": names})


@given(SOURCES, st.lists(endpoints(), max_size=3), st.booleans())
@example("{{User.UserAttributes.first_name}}", [named("Ann"), named("Bo", "C")], False)
@example("{{User.UserAttributes.first_name|d('you')}}", [named("Ann"), named(" ")], False)
def test_a_text_is_what_jinja_makes_of_it(
    source: str, known: list[Endpoint], is_html: bool
) -> None:
    text = compile_html(source) if is_html else compile_text(source)
    view = UserView(user_id="ann", last_active_ms=None, endpoints=tuple(known))
    assert rendered(text, LazyContext(view)) == rendered(text, render_context(view))


def test_words_and_values_are_joined_and_nothing_else_is() -> None:
    text = compile_text('Hello {{User.UserAttributes.first_name|default("you")}}!')
    name = Wanted(("User", "UserAttributes", "first_name"), "you")
    assert text.pieces == ("Hello ", name, "!")
    for source in ("{{User.UserId|upper}}", "{% if User.UserId %}a{% endif %}"):
        assert compile_text(source).pieces is None
    assert compile_html("{{User.UserId}}").pieces is None, "values in HTML are escaped"
