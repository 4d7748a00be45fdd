"""Frozen values at the cost of ordinary ones, for kinds that are made by the thousand. Pure.

A frozen dataclass sets each of its fields by a call: 4 us for an `Endpoint`, more than reading one
from its JSON. A draft has the same slots, which are set directly; then it becomes the frozen value
by `draft.__class__ = Endpoint` (both classes have the same layout, which is what the language asks
for), and nothing can change it any more. Whoever fills a draft must fill every slot.
"""

from __future__ import annotations

from typing import Any, TypeVar

Value = TypeVar("Value")


_DRAFTS: dict[type[Any], type[Any]] = {}


def draft_of(kind: type[Any]) -> type[Any]:
    """The class of drafts of a frozen, slotted dataclass. Its instances begin empty."""
    draft = _DRAFTS.get(kind)
    if draft is None:
        draft = type(f"{kind.__name__}Draft", (), {"__slots__": kind.__slots__})
        _DRAFTS[kind] = draft
    return draft


def changed(value: Value, **changes: Any) -> Value:
    """`dataclasses.replace` for a frozen, slotted dataclass without `__post_init__`, three times as
    fast. A name that is no field is an AttributeError."""
    kind: type[Any] = type(value)
    draft: Any = draft_of(kind)()
    for name in draft.__slots__:
        setattr(draft, name, getattr(value, name))
    for name, to in changes.items():
        setattr(draft, name, to)
    draft.__class__ = kind
    made: Value = draft
    return made
