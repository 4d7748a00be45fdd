"""What rules and messages may know of a user, taken from the user's endpoints. Pure.

`match_facts` feeds matchers, `render_context` feeds templates. Neither ever holds an address.
Endpoints are ordered oldest first, so that what the newest one says wins; where it says nothing,
the one before it speaks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, SupportsIndex

from worker.model import Attributes, Channel, Endpoint, UserView
from worker.rules.ruleset import TemplateProblem

CONTEXT_SHAPE: Final[Mapping[str, frozenset[str] | None]] = {
    "User": frozenset({"UserId", "UserAttributes"}),
    "Attributes": None,
    "Demographic": frozenset({"Timezone", "Locale", "Platform"}),
    "Location": frozenset({"Country"}),
}
"""The names a template may use; None: any attribute. Source: Pinpoint user guide, "Message
variables", without addresses, ids and metrics."""


def match_facts(view: UserView, channel: Channel | None = None) -> dict[str, tuple[str, ...]]:
    """Fact name to its values, for `Matcher.matches`.

    Attributes stand under their own name (a user attribute hides an endpoint attribute of the same
    name) and under `user.NAME` and `endpoint.NAME`. `country`, `locale`, `platform`, `timezone`
    and `channel` are always our own and cannot be hidden by an attribute.
    """
    user = _merged(endpoint.user_attributes for endpoint in view.endpoints)
    device = _merged(endpoint.attributes for endpoint in view.endpoints)
    facts = {**device, **user}
    facts.update({f"endpoint.{name}": values for name, values in device.items()})
    facts.update({f"user.{name}": values for name, values in user.items()})
    known = _known(view.endpoints)
    for name in ("country", "locale", "platform", "timezone"):
        facts[name] = (known[name],) if name in known else ()
    facts["channel"] = (channel.value,) if channel else ()
    return facts


def render_context(view: UserView) -> Mapping[str, object]:
    """The names of a template, as in Pinpoint: `User.UserAttributes.x`, `Attributes.x` ..."""
    known = _known(view.endpoints)
    user = _merged(endpoint.user_attributes for endpoint in view.endpoints)
    device = _merged(endpoint.attributes for endpoint in view.endpoints)
    user_group = {
        "UserId": view.user_id,
        "UserAttributes": _attributes("User.UserAttributes", user),
    }
    demographic = {
        "Timezone": known.get("timezone"),
        "Locale": known.get("locale"),
        "Platform": known.get("platform"),
    }
    return {
        "User": Group("User", user_group),
        "Attributes": _attributes("Attributes", device),
        "Demographic": Group("Demographic", demographic),
        "Location": Group("Location", {"Country": known.get("country")}),
    }


class Group:
    """Names under a name, such as `User.UserAttributes`; knows its own path for messages."""

    __slots__ = ("_members", "path")

    def __init__(self, path: str, members: Mapping[str, object]) -> None:
        self.path = path
        self._members = members

    def member(self, name: str) -> object | None:
        """The value of that name, None when the user has none."""
        return self._members.get(name)

    def __str__(self) -> str:
        raise TemplateProblem(f"{{{{{self.path}}}}} holds several values; name one of them")


class Values(str):
    """The values of one attribute: text when it is written, a list when it is looped over.

    As text it is the values joined by ", ", so that an attribute with one value (the usual case)
    compares, upper-cases and counts as that value does.
    """

    __slots__ = ("_all", "path")
    _all: tuple[str, ...]
    path: str

    def __new__(cls, path: str, values: tuple[str, ...]) -> Values:
        """`path` is the attribute's name in a template."""
        text = super().__new__(cls, ", ".join(values))
        text._all = values
        text.path = path
        return text

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, index: SupportsIndex | slice) -> str:
        return ", ".join(self._all[index]) if isinstance(index, slice) else self._all[index]

    def __contains__(self, value: object) -> bool:
        return value in self._all


def _merged(maps: Iterable[Attributes | None]) -> dict[str, tuple[str, ...]]:
    merged: dict[str, tuple[str, ...]] = {}
    for attributes in maps:
        merged.update(attributes or {})
    return merged


def _attributes(path: str, attributes: Attributes) -> Group:
    # A blank value would leave a hole in the text just as a missing one does.
    members = {
        name: Values(f"{path}.{name}", values)
        for name, values in attributes.items()
        if any(value.strip() for value in values)
    }
    return Group(path, members)


def _known(endpoints: Iterable[Endpoint]) -> dict[str, str]:
    known: dict[str, str] = {}
    for endpoint in endpoints:
        said = {
            "country": endpoint.country,
            "locale": endpoint.locale,
            "platform": endpoint.platform,
            "timezone": endpoint.timezone,
        }
        known.update({name: value for name, value in said.items() if value})
    return known
