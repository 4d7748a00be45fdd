"""Values of events made by way of drafts (`drafts.py`), for events make them by the thousand. Pure.

A new field of one of these kinds must be filled here, or where `EndpointDraft` is.
"""

from __future__ import annotations

from typing import Any, Final

from worker.drafts import draft_of
from worker.model import Activity, Conversion, Endpoint

__all__ = ["EndpointDraft", "activity_of", "conversion_of", "draft_of"]

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
