"""What rules and messages know of a user: the newest endpoint wins, and no address is in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.model import Channel, Endpoint, UserView
from worker.rules.facts import BUILT_IN, Values, match_facts, render_context
from worker.rules.templates import compile_text
from worker.rules.zones import country_of_phone

OLD = Endpoint(
    endpoint_id="old",
    at_ms=1,
    channel_type="EMAIL",
    address="ann@example.test",
    country="FR",
    locale="fr_FR",
    region="IDF",
    app="shop-1",
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
    region="TX",
    platform="Android",
    attributes={"app": ("android",), "plan": ("device",)},
    user_attributes={"plan": ("premium",)},
)
ANN = UserView(user_id="ann", last_active_ms=None, endpoints=(OLD, NEW))


def test_the_newest_endpoint_that_says_something_wins() -> None:
    facts = match_facts(ANN)
    assert facts["platform"] == ("Android",)
    assert facts["locale"] == ("fr_FR",)
    assert facts["region"] == ("TX",)
    assert facts["app"] == ("shop-1",)
    assert facts["endpoint.app"] == ("android",)
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


@pytest.mark.parametrize("name", BUILT_IN)
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


def test_facts_of_the_look_hide_attributes_and_are_absent_otherwise() -> None:
    endpoint = Endpoint(endpoint_id="x", at_ms=1, user_attributes={"stage": ("trial",)})
    view = UserView(user_id="u", last_active_ms=None, endpoints=(endpoint,))
    assert match_facts(view)["stage"] == ("trial",)
    assert match_facts(view, None, {"stage": "sms", "rule": "r"})["stage"] == ("sms",)
    assert dict(match_facts(view, None, {"rule": "r"}))["rule"] == ("r",)
    assert "rule" not in match_facts(view)


@pytest.mark.parametrize(
    ("endpoints", "country"),
    [
        ([{"channel_type": "SMS", "address": "+12125550123"}], ("US",)),
        ([{"channel_type": "VOICE", "address": "+33612345678"}], ("FR",)),
        ([{"channel_type": "GCM", "address": "+33612345678"}], ()),
        ([{"channel_type": "SMS", "address": "0612345678"}], ()),
        # What an endpoint says goes before any number, and of the numbers the newest counts.
        ([{"country": "DE"}, {"channel_type": "SMS", "address": "+33612345678"}], ("DE",)),
        (
            [
                {"channel_type": "SMS", "address": "+33612345678"},
                {"channel_type": "SMS", "address": "+821012345678"},
                {"channel_type": "SMS", "address": "+80012345678"},
            ],
            ("KR",),
        ),
    ],
)
def test_a_country_that_no_endpoint_names_is_that_of_the_phone_number(
    endpoints: list[dict[str, str]], country: tuple[str, ...]
) -> None:
    known = [
        Endpoint(endpoint_id=str(at_ms), at_ms=at_ms, **said)  # type: ignore[arg-type]
        for at_ms, said in enumerate(endpoints)
    ]
    view = UserView(user_id="u", last_active_ms=None, endpoints=tuple(known))
    assert match_facts(view)["country"] == country


@pytest.mark.parametrize(
    ("number", "country"),
    [
        ("+442079460958", "GB"),
        ("+16715551234", "GU"),
        ("+77012345678", "KZ"),
        ("+79161234567", "RU"),
        ("+38344123456", "XK"),
        # In no country's plan: the main country of the calling code.
        ("+15550000000", "US"),
        # Of no country, or not to be read.
        ("+80012345678", None),
        ("+999123", None),
        ("12125550123", None),
        ("+", None),
        ("", None),
        ("abc", None),
    ],
)
def test_a_phone_number_tells_its_country(number: str, country: str | None) -> None:
    assert country_of_phone(number) == country


names = st.sampled_from(["plan", "rule", "country", "user.plan", "endpoint.plan", "user.", "x.y"])
attributes = st.one_of(
    st.none(), st.dictionaries(names, st.lists(st.sampled_from("ab"), max_size=2).map(tuple))
)
endpoint_lists = st.lists(
    st.builds(
        Endpoint,
        endpoint_id=st.just("e"),
        at_ms=st.just(1),
        country=st.sampled_from([None, "", "FR", "US"]),
        attributes=attributes,
        user_attributes=attributes,
    ),
    max_size=3,
).map(tuple)


@given(endpoints=endpoint_lists, own=st.sampled_from([{}, {"rule": "r"}, {"plan": "p"}]))
def test_a_fact_looked_up_is_the_fact_of_all_endpoints_laid_over_one_another(
    endpoints: tuple[Endpoint, ...], own: dict[str, str]
) -> None:
    user: dict[str, tuple[str, ...]] = {}
    device: dict[str, tuple[str, ...]] = {}
    country: tuple[str, ...] = ()
    for endpoint in endpoints:
        user |= endpoint.user_attributes or {}
        device |= endpoint.attributes or {}
        country = (endpoint.country,) if endpoint.country else country
    expected = {**device, **user}
    expected |= {f"endpoint.{name}": values for name, values in device.items()}
    expected |= {f"user.{name}": values for name, values in user.items()}
    expected |= dict.fromkeys(BUILT_IN, ())
    expected |= {"country": country, "channel": ("sms",)}
    expected |= {name: (value,) for name, value in own.items()}
    view = UserView(user_id="u", last_active_ms=None, endpoints=endpoints)
    facts = match_facts(view, Channel.SMS, own)
    assert dict(facts) == expected
    assert len(facts) == len(expected)
    assert facts.several([*expected, "other"]) == (*expected.values(), ())


def test_no_address_is_among_the_facts_or_the_names_of_a_template() -> None:
    known = compile_text(
        "{{User.UserId}} {{Attributes.app}} {{Demographic.Locale}} {{Location.Country}} "
        "{{Location.Region}}"
    ).render(render_context(ANN))
    assert known == "ann android fr_FR US TX"
    everything = repr(match_facts(ANN)) + repr(dict(match_facts(ANN)))
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
