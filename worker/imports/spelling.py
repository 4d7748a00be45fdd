"""The names of an endpoint's fields, whatever their case: for hand-made JSON and CSV. Pure.

Source: Pinpoint API reference, EndpointResponse; user guide, "Importing segments" (CSV headers).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

MAPS: Final = frozenset({("Attributes",), ("Metrics",), ("User", "UserAttributes")})
"""Fields whose members people name as they like."""

OWN: Final = ("FactTimes", "Suppressed")
"""Members that only comeback's own export has."""

_PATHS: Final = (
    *(("Id", "Address", "ChannelType", "EndpointStatus", "OptOut", "EffectiveDate")),
    *(("CreationDate", "RequestId", "ApplicationId", "CohortId", "Attributes", "Metrics")),
    *(f"Demographic.{name}" for name in ("AppVersion", "Locale", "Make", "Model", "ModelVersion")),
    *(f"Demographic.{name}" for name in ("Platform", "PlatformVersion", "Timezone")),
    *(f"Location.{name}" for name in ("City", "Country", "Latitude", "Longitude", "PostalCode")),
    *("Location.Region", "User.UserId", "User.UserAttributes"),
    *OWN,
)


@dataclass(frozen=True, slots=True)
class Column:
    """Where the cells of a CSV column belong. `is_list`: several values are kept."""

    path: tuple[str, ...]
    is_list: bool


def _tree() -> dict[str, Any]:
    """Lower-case name to (name, tree of what is below)."""
    tree: dict[str, Any] = {}
    for path in _PATHS:
        below = tree
        for name in path.split("."):
            _, below = below.setdefault(name.lower(), (name, {}))
    return tree


_TREE: Final = _tree()


def canonical(value: Mapping[str, Any]) -> dict[str, Any]:
    """The same endpoint with its field names as Pinpoint writes them. What no endpoint has stays
    as it is; of two that differ only in case the one written right counts."""
    return _canonical(value, _TREE)


def _canonical(value: Mapping[str, Any], tree: Mapping[str, Any]) -> dict[str, Any]:
    mended: dict[str, Any] = {}
    for name, item in value.items():
        right, below = tree.get(name.strip().lower(), (name, {}))
        if below and isinstance(item, dict):
            item = _canonical(item, below)
        if right == name or right not in mended:
            mended[right] = item
    return mended


def column_of(header: str) -> Column | None:
    """Where a CSV column belongs, by its dot path in any case; None: to no endpoint."""
    parts = [part.strip() for part in header.strip().split(".")]
    path: list[str] = []
    below = _TREE
    for number, part in enumerate(parts):
        if tuple(path) in MAPS:
            name = ".".join(parts[number:])
            return Column((*path, name), is_list=path[0] != "Metrics") if name else None
        if part.lower() not in below or part in OWN:
            return None
        name, below = below[part.lower()]
        path.append(name)
    if below or tuple(path) in MAPS:
        return None
    return Column(tuple(path), is_list=False)


def columns_of(headers: list[str]) -> Iterator[tuple[Column | None, bool]]:
    """The columns of a header line, each with whether it repeats one that has a single value."""
    known: set[tuple[str, ...]] = set()
    for header in headers:
        column = column_of(header)
        repeats = column is not None and not column.is_list and column.path in known
        if column is not None:
            known.add(column.path)
        yield column, repeats
