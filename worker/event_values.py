"""Frozen values at the cost of ordinary ones, for the few kinds that events make by the thousand.

A frozen dataclass sets each of its fields by a call: 4 us for an `Endpoint`, more than reading one
from its JSON. A draft has the same slots, which are set directly; then it becomes the frozen value
by `draft.__class__ = Endpoint` (both classes have the same layout, which is what the language asks
for), and nothing can change it any more. Whoever fills a draft must fill every slot. Pure.
"""

from __future__ import annotations

from typing import Any, Final

from worker.model import Activity, Conversion, Endpoint


def draft_of(kind: type[Any]) -> type[Any]:
    """The class of drafts of a frozen, slotted dataclass. Its instances begin empty."""
    return type(f"{kind.__name__}Draft", (), {"__slots__": kind.__slots__})


EndpointDraft: Final = draft_of(Endpoint)
_ActivityDraft: Final = draft_of(Activity)
_ConversionDraft: Final = draft_of(Conversion)


def activity_of(
    at_ms: int,
    event_type: str,
    user_id: str | None,
    endpoint_id: str | None,
    message_id: str | None = None,
    address: str | None = None,
) -> Activity:
    """The `Activity` with these fields."""
    draft: Any = _ActivityDraft()
    draft.at_ms = at_ms
    draft.event_type = event_type
    draft.user_id = user_id
    draft.endpoint_id = endpoint_id
    draft.message_id = message_id
    draft.address = address
    draft.__class__ = Activity
    made: Activity = draft
    return made


def conversion_of(
    at_ms: int, rule: str, within_ms: int, user_id: str | None, endpoint_id: str | None
) -> Conversion:
    """The `Conversion` with these fields."""
    draft: Any = _ConversionDraft()
    draft.at_ms = at_ms
    draft.rule = rule
    draft.within_ms = within_ms
    draft.user_id = user_id
    draft.endpoint_id = endpoint_id
    draft.__class__ = Conversion
    made: Conversion = draft
    return made
