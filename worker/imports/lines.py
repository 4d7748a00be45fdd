"""The address book back into the form it came in: one Pinpoint endpoint as one line of JSON. Pure.

Reading such a line gives the same facts with the same times (endpoints.py). Source of the form:
Pinpoint API reference, EndpointResponse.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from worker.event_times import EARLIEST_MS

_PATHS: Final = {
    "address": ("Address",),
    "channel_type": ("ChannelType",),
    "user_id": ("User", "UserId"),
    "timezone": ("Demographic", "Timezone"),
    "locale": ("Demographic", "Locale"),
    "platform": ("Demographic", "Platform"),
    "country": ("Location", "Country"),
    "region": ("Location", "Region"),
    "app": ("ApplicationId",),
}
_JSON_PATHS: Final = {"attributes": ("Attributes",), "user_attributes": ("User", "UserAttributes")}

_encode = msgspec.json.Encoder().encode


def endpoint_line(
    endpoint_id: str,
    at_ms: int,
    facts: Mapping[str, str | int | None],
    stamps: Mapping[str, int],
    suppressed: tuple[str, int] | None,
) -> bytes:
    """A line with its newline. `facts` by the names of `model.Endpoint`, flags as 0 and 1,
    attributes as JSON text; `stamps`: times of facts that are older than `at_ms`; `suppressed`:
    why and since when the address gets nothing.

    Without EffectiveDate when no time is known.
    """
    made: dict[str, Any] = {"Id": endpoint_id}
    for name, path in _PATHS.items():
        if (value := facts[name]) is not None:
            _put(made, path, value)
    for name, path in _JSON_PATHS.items():
        if (text := facts[name]) is not None:
            _put(made, path, msgspec.Raw(str(text).encode()))
    if facts["active"] is not None:
        made["EndpointStatus"] = "ACTIVE" if facts["active"] else "INACTIVE"
    if facts["opted_out"] is not None:
        made["OptOut"] = "ALL" if facts["opted_out"] else "NONE"
    if at_ms != EARLIEST_MS:
        made["EffectiveDate"] = iso(at_ms)
    if stamps:
        made["FactTimes"] = {name: iso(stamp) for name, stamp in stamps.items()}
    if suppressed is not None:
        reason, since_ms = suppressed
        made["Suppressed"] = {"Reason": reason, "At": iso(since_ms)}
    return _encode(made) + b"\n"


def iso(at_ms: int) -> str:
    """`2026-11-27T09:00:00.000Z`."""
    moment = datetime.fromtimestamp(at_ms / 1_000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at_ms % 1_000:03d}Z"


def _put(made: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    *above, name = path
    for part in above:
        made = made.setdefault(part, {})
    made[name] = value
