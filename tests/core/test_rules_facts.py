"""What rules and messages know of a user: the newest endpoint wins, and no address is in it."""

from __future__ import annotations

import pytest

from worker.model import Channel, Endpoint, UserView
from worker.rules.facts import Values, match_facts, render_context
from worker.rules.templates import compile_text

OLD = Endpoint(
    endpoint_id="old",
    at_ms=1,
    channel_type="EMAIL",
    address="ann@example.test",
    country="FR",
    locale="fr_FR",
    timezone="Europe/Paris",
    attributes={"app": ("web",), "size": ("m",)},
    user_attributes={"plan": ("basic",), "interests": ("tea", "shoes")},
)
NEW = Endpoint(
    endpoint_id="new",
    at_ms=2,
    channel_type="GCM",
    address="token-1",
    country="US",
    platform="Android",
    attributes={"app": ("android",), "plan": ("device",)},
    user_attributes={"plan": ("premium",)},
)
ANN = UserView(user_id="ann", last_active_ms=None, endpoints=(OLD, NEW))


def test_the_newest_endpoint_that_says_something_wins() -> None:
    facts = match_facts(ANN)
    assert facts["platform"] == ("Android",)
    assert facts["locale"] == ("fr_FR",)
    assert facts["app"] == ("android",)
    assert facts["size"] == ("m",)
    assert facts["interests"] == ("tea", "shoes")


def test_a_user_attribute_hides_an_endpoint_attribute_but_both_can_be_named() -> None:
    facts = match_facts(ANN)
    assert facts["plan"] == facts["user.plan"] == ("premium",)
    assert facts["endpoint.plan"] == ("device",)


def test_an_attribute_removed_on_the_newest_endpoint_is_gone() -> None:
    newest = Endpoint(endpoint_id="3", at_ms=3, user_attributes={"plan": ()})
    view = UserView(user_id="ann", last_active_ms=None, endpoints=(OLD, newest))
    assert match_facts(view)["user.plan"] == ()


@pytest.mark.parametrize("name", ["country", "locale", "platform", "timezone", "channel"])
def test_an_attribute_cannot_pass_for_a_built_in_fact(name: str) -> None:
    endpoint = Endpoint(
        endpoint_id="x", at_ms=1, attributes={name: ("lie",)}, user_attributes={name: ("lie",)}
    )
    facts = match_facts(UserView(user_id="u", last_active_ms=None, endpoints=(endpoint,)))
    assert facts[name] == ()
    assert facts[f"user.{name}"] == facts[f"endpoint.{name}"] == ("lie",)


def test_the_channel_is_known_when_a_stage_is_asked_about() -> None:
    assert match_facts(ANN, Channel.SMS)["channel"] == ("sms",)
    assert match_facts(ANN)["channel"] == ()


def test_no_address_is_among_the_facts_or_the_names_of_a_template() -> None:
    known = compile_text(
        "{{User.UserId}} {{Attributes.app}} {{Demographic.Locale}} {{Location.Country}}"
    ).render(render_context(ANN))
    assert known == "ann android fr_FR US"
    everything = repr(match_facts(ANN))
    assert "example.test" not in everything
    assert "token-1" not in everything


def test_a_user_without_endpoints_has_no_facts() -> None:
    facts = match_facts(UserView(user_id="u", last_active_ms=None))
    assert not any(facts.values())


def test_several_values_are_a_list_to_a_loop_and_joined_as_text() -> None:
    values = Values("User.UserAttributes.x", ("tea", "shoes"))
    assert values == "tea, shoes"
    assert list(values) == ["tea", "shoes"]
    assert len(values) == 2
    assert values[1] == "shoes"
    assert values[:1] == "tea"
    assert "tea" in values
    assert "te" not in values
