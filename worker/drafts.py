"""Frozen values at the cost of ordinary ones, for kinds that are made by the thousand. Pure.

A frozen dataclass sets each of its fields by a call: 4 us for an `Endpoint`, more than reading one
from its JSON. A draft has the same slots, which are set directly; then it becomes the frozen value
by `draft.__class__ = Endpoint` (both classes have the same layout, which is what the language asks
for), and nothing can change it any more. Whoever fills a draft must fill every slot.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, TypeVar, cast

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
    """`dataclasses.replace` for a frozen, slotted dataclass without `__post_init__`, six times as
    fast. A name that is no field is an AttributeError."""
    kind: type[Any] = type(value)
    draft: Any = (_COPIERS.get(kind) or _copier_of(kind))(value)
    for name, to in changes.items():
        setattr(draft, name, to)
    draft.__class__ = kind
    made: Value = draft
    return made


def quick(kind: type[Value]) -> type[Value]:
    """A maker of values of a frozen, slotted dataclass without `__post_init__`: called with the
    same keywords, it makes the same value several times as fast. Only to be called: it is no class,
    and says so only so that its calls are checked as those of the class are."""
    makers: dict[str, object] = {"draft": draft_of(kind), "kind": kind}
    arguments, lines = [], []
    for field in fields(kind):  # type: ignore[arg-type] # a dataclass, or this raises
        lines.append(f"    made.{field.name} = {field.name}\n")
        if field.default_factory is not MISSING:
            makers[f"new_{field.name}"] = field.default_factory
            makers["MISSING"] = MISSING
            arguments.append(f"{field.name}=MISSING")
            absent = f"new_{field.name}() if {field.name} is MISSING else {field.name}"
            lines[-1] = f"    made.{field.name} = {absent}\n"
        elif field.default is not MISSING:
            makers[f"default_{field.name}"] = field.default
            arguments.append(f"{field.name}=default_{field.name}")
        else:
            arguments.append(field.name)
    lines.append("    made.__class__ = kind\n    return made")
    source = f"def make(*, {', '.join(arguments)}):\n    made = draft()\n{''.join(lines)}"
    return cast(type[Value], _made_by(source, makers))


_COPIERS: dict[type[Any], Callable[[Any], Any]] = {}


def _copier_of(kind: type[Any]) -> Callable[[Any], Any]:
    """A function that makes a draft with the fields of a value."""
    draft = draft_of(kind)
    lines = "".join(f"    made.{name} = value.{name}\n" for name in draft.__slots__)
    source = f"def make(value):\n    made = draft()\n{lines}    return made"
    _COPIERS[kind] = _made_by(source, {"draft": draft})
    return _COPIERS[kind]


def _made_by(source: str, names: dict[str, object]) -> Callable[..., Any]:
    """The function `make` of a source of this module. The names of fields are all that is put into
    it; `dataclasses` makes its `__init__` in the same way."""
    exec(source, names)  # noqa: S102  see above
    made = names["make"]
    assert callable(made)
    return made
