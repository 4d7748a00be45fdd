"""Endpoints as the ladder sees them, from rows of the address book."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec

from worker.drafts import quick
from worker.model import CHANNEL_OF_TYPE, Attributes, Channel, Endpoint, StopReason

ATTRIBUTES_CACHED_MAX = 1_024
"""Attributes of endpoints: which many share, as they do not those of their users."""

PUSH_TYPES = tuple(name for name, channel in CHANNEL_OF_TYPE.items() if channel is Channel.PUSH)

_TRUTH = {None: None, 0: False, 1: True}
_read = msgspec.json.Decoder(dict[str, tuple[str, ...]]).decode
_new_endpoint = quick(Endpoint)


def endpoint_of(row: Sequence[Any]) -> Endpoint:
    """A row of ENDPOINTS_OF_OWNERS.

    A push token names one installation of one app. When another user's endpoint showed it later,
    the device changed hands, and this endpoint is dead for as long as that is so. Pinpoint did this
    by itself (developer guide, "audience-define-auto-inactive"), the services that remain do not.
    """
    (
        _,
        endpoint_id,
        at_ms,
        user_id,
        channel_type,
        address,
        active,
        opted_out,
        timezone,
        country,
        region,
        locale,
        platform,
        app,
        attributes,
        user_attributes,
        displaced,
        suppressed,
    ) = row
    return _new_endpoint(
        endpoint_id=endpoint_id,
        at_ms=at_ms,
        user_id=user_id,
        channel_type=channel_type,
        address=address,
        active=False if displaced and channel_type in PUSH_TYPES else _TRUTH[active],
        opted_out=_TRUTH[opted_out],
        timezone=timezone,
        country=country,
        region=region,
        locale=locale,
        platform=platform,
        app=app,
        attributes=None if attributes is None else _shared(attributes),
        user_attributes=None if user_attributes is None else _read(user_attributes),
        suppressed=None if suppressed is None else StopReason(suppressed),
    )


@lru_cache(maxsize=ATTRIBUTES_CACHED_MAX)
def _shared(text: str) -> Attributes:
    return _read(text)
