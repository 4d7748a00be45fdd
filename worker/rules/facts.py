"""What rules and messages may know of a user, taken from the user's endpoints. Pure.

`match_facts` feeds matchers, `render_context` feeds templates. Neither ever holds an address.
Endpoints are ordered oldest first, so that what the newest one says wins; where it says nothing,
the one before it speaks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from types import MappingProxyType
from typing import Final, SupportsIndex

from worker.model import Attributes, Channel, Endpoint, UserView
from worker.rules.ruleset import TemplateProblem
from worker.rules.zones import country_of_phone

PHONE_TYPES: Final = frozenset({"SMS", "VOICE"})
"""Channel types whose address is a phone number."""

CONTEXT_SHAPE: Final[Mapping[str, frozenset[str] | None]] = {
    "User": frozenset({"UserId", "UserAttributes"}),
    "Attributes": None,
    "Demographic": frozenset({"Timezone", "Locale", "Platform"}),
    "Location": frozenset({"Country", "Region"}),
}
"""The names a template may use; None: any attribute. Source: Pinpoint user guide, "Message
variables", without addresses, ids and metrics."""


_SAID_BY_ENDPOINTS: Final[Mapping[str, Callable[[Endpoint], str | None]]] = {
    name: attrgetter(name)
    for name in ("country", "region", "locale", "platform", "timezone", "app")
}
PATHS_CACHED_MAX: Final = 1_024

BUILT_IN: Final = (*_SAID_BY_ENDPOINTS, "channel")
"""Facts that are always our own."""


def match_facts(
    view: UserView, channel: Channel | None = None, own: Mapping[str, str] = MappingProxyType({})
) -> Facts:
    """Fact name to its values, for `Matcher.matches`. Costs next to nothing until a fact is asked.

    Attributes stand under their own name (a user attribute hides an endpoint attribute of the same
    name) and under `user.NAME` and `endpoint.NAME`. The facts of `BUILT_IN`, and those of `own`
    (such as the rule and stage of a look), cannot be hidden by an attribute.

    A `country` that no endpoint names is taken from the newest phone number (channel types SMS and
    VOICE) that tells one.
    """
    return Facts(view.endpoints, channel, own)


class Facts(Mapping[str, tuple[str, ...]]):
    """The facts of one user; see `match_facts`. Each is looked up when it is asked for."""

    __slots__ = ("_channel", "_endpoints", "_own")

    def __init__(
        self, endpoints: Sequence[Endpoint], channel: Channel | None, own: Mapping[str, str]
    ) -> None:
        self._endpoints = endpoints
        self._channel = channel
        self._own = own

    def __getitem__(self, name: str) -> tuple[str, ...]:
        values = self._find(name)
        if values is None:
            raise KeyError(name)
        return values

    def several(self, names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        """The values of each name; none for a name the user does not have."""
        return tuple([self._find(name) or () for name in names])

    def _find(self, name: str) -> tuple[str, ...] | None:
        if name in self._own:
            return (self._own[name],)
        if name in _SAID_BY_ENDPOINTS:
            value = _newest(self._endpoints, name)
            if value is None and name == "country":
                value = _country_by_phone(self._endpoints)
            return (value,) if value else ()
        if name == "channel":
            return (str(self._channel),) if self._channel else ()
        group, _, bare = name.partition(".")
        if group == "user" and (values := self._user(bare)) is not None:
            return values
        if group == "endpoint" and (values := self._device(bare)) is not None:
            return values
        values = self._user(name)
        return self._device(name) if values is None else values

    def __iter__(self) -> Iterator[str]:
        user = _merged(endpoint.user_attributes for endpoint in self._endpoints)
        device = _merged(endpoint.attributes for endpoint in self._endpoints)
        names = [*BUILT_IN, *self._own, *user, *device]
        names += [f"user.{name}" for name in user] + [f"endpoint.{name}" for name in device]
        return iter(dict.fromkeys(names))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _user(self, name: str) -> tuple[str, ...] | None:
        for endpoint in reversed(self._endpoints):
            if endpoint.user_attributes and name in endpoint.user_attributes:
                return endpoint.user_attributes[name]
        return None

    def _device(self, name: str) -> tuple[str, ...] | None:
        for endpoint in reversed(self._endpoints):
            if endpoint.attributes and name in endpoint.attributes:
                return endpoint.attributes[name]
        return None


def render_context(view: UserView) -> Mapping[str, object]:
    """The names of a template, as in Pinpoint: `User.UserAttributes.x`, `Attributes.x` ..."""
    user = _merged(endpoint.user_attributes for endpoint in view.endpoints)
    device = _merged(endpoint.attributes for endpoint in view.endpoints)
    user_group = {
        "UserId": view.user_id,
        "UserAttributes": _attributes("User.UserAttributes", user),
    }
    demographic = {
        "Timezone": _newest(view.endpoints, "timezone"),
        "Locale": _newest(view.endpoints, "locale"),
        "Platform": _newest(view.endpoints, "platform"),
    }
    location = {
        "Country": _newest(view.endpoints, "country"),
        "Region": _newest(view.endpoints, "region"),
    }
    return {
        "User": Group("User", user_group),
        "Attributes": _attributes("Attributes", device),
        "Demographic": Group("Demographic", demographic),
        "Location": Group("Location", location),
    }


class LazyContext(Mapping[str, object]):
    """`render_context`, made when a text first asks for one of its names; many texts never do."""

    __slots__ = ("_made", "_view")

    def __init__(self, view: UserView) -> None:
        self._view = view
        self._made: Mapping[str, object] | None = None

    def __getitem__(self, name: str) -> object:
        return self._context()[name]

    def value_of(self, path: tuple[str, ...]) -> str | None:
        """The value a path leads to, as it is written into a text; None when the user has none, or
        when there is no such path."""
        return _reader_of(path)(self._view)

    def __iter__(self) -> Iterator[str]:
        return iter(self._context())

    def __len__(self) -> int:
        return len(CONTEXT_SHAPE)

    def _context(self) -> Mapping[str, object]:
        if self._made is None:
            self._made = render_context(self._view)
        return self._made


@lru_cache(maxsize=PATHS_CACHED_MAX)
def _reader_of(path: tuple[str, ...]) -> Callable[[UserView], str | None]:
    group, name = path[0], path[-1]
    if path == ("User", "UserId"):
        return attrgetter("user_id")
    if path == ("User", "UserAttributes", name):
        return lambda view: _written(view.endpoints, "user_attributes", name)
    if path == ("Attributes", name):
        return lambda view: _written(view.endpoints, "attributes", name)
    if path == (group, name) and group in ("Demographic", "Location"):
        fact = name.lower()
        if name in (CONTEXT_SHAPE[group] or ()):
            return lambda view: _newest(view.endpoints, fact)
    return lambda _: None


def _written(endpoints: Sequence[Endpoint], kind: str, name: str) -> str | None:
    """The values of an attribute, as `Values` are written; None when none of them says anything."""
    for endpoint in reversed(endpoints):
        attributes: Attributes | None = getattr(endpoint, kind)
        if attributes and name in attributes:
            values = attributes[name]
            return ", ".join(values) if any(map(str.strip, values)) else None
    return None


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


def _newest(endpoints: Sequence[Endpoint], name: str) -> str | None:
    """What the newest endpoint that says something says."""
    said = _SAID_BY_ENDPOINTS[name]
    for endpoint in reversed(endpoints):
        value = said(endpoint)
        if value:
            return value
    return None


def _country_by_phone(endpoints: Sequence[Endpoint]) -> str | None:
    for endpoint in reversed(endpoints):
        if endpoint.channel_type in PHONE_TYPES and endpoint.address:
            country = country_of_phone(endpoint.address)
            if country is not None:
                return country
    return None
