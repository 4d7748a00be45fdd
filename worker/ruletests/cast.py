"""The invented users of a test, as an address book and a stream would tell of them. Pure.

What the address book knows becomes `Endpoint` signals, one endpoint an address; an event becomes a
record in Pinpoint's form, so that it is read as the stream is (docs/events.md). Nothing here knows
of rules.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from worker.addresses import normalise_address
from worker.model import Attributes, Channel, Endpoint, Record
from worker.ruletests.case_world import AddressBookKeys, EventForm, UserForm

CHANNEL_TYPES: Mapping[Channel, str] = {
    Channel.PUSH: "GCM",
    Channel.EMAIL: "EMAIL",
    Channel.SMS: "SMS",
}
"""Pinpoint's word for the addresses of a test."""

_RECORD_STATUS: Mapping[str, str] = {
    "_SMS.BUFFERED": "PENDING",
    "_SMS.SUCCESS": "DELIVERED",
    "_SMS.FAILURE": "UNREACHABLE",
    "_SMS.OPTOUT": "OPTED_OUT",
}
"""What such an event says where the test does not."""


def spelt(channel: Channel, address: str, country: str | None = None) -> str:
    """An address in the one spelling under which it is kept."""
    return normalise_address(CHANNEL_TYPES[channel], address, country)


class Actor:
    """One user: what the address book would know, changing as the test tells."""

    def __init__(self, user_id: str, number: int, form: UserForm) -> None:
        self.user_id = user_id
        self._number = number
        self._facts: dict[str, str] = {}
        self._user_attributes: dict[str, tuple[str, ...]] = {}
        self._attributes: dict[str, tuple[str, ...]] = {}
        self._addresses: dict[tuple[Channel, int], str] = {}
        """By channel and number; a number that was used stays in the address book."""
        self._live: set[tuple[Channel, int]] = set()
        self._opted_out: frozenset[Channel] = frozenset()
        self._inactive: frozenset[Channel] = frozenset()
        self.change(form)

    def change(self, form: AddressBookKeys) -> None:
        """Takes over what the form names."""
        for name in ("timezone", "country", "region", "locale", "platform", "app"):
            value = getattr(form, name)
            if value is not None:
                self._facts[name] = value
        told = {name: tuple(values) for name, values in form.attributes.items()}
        told |= {f"consent.{name}": (value,) for name, value in form.consent.items()}
        _put(self._user_attributes, told)
        _put(self._attributes, {n: tuple(v) for n, v in form.endpoint_attributes.items()})
        for channel, addresses in form.addresses.by_channel().items():
            self._live = {key for key in self._live if key[0] is not channel}
            for number, address in enumerate(addresses, start=1):
                self._addresses[channel, number] = address
                self._live.add((channel, number))
        if form.opted_out is not None:
            self._opted_out = frozenset(form.opted_out)
        if form.inactive is not None:
            self._inactive = frozenset(form.inactive)

    def endpoints(self, at_ms: int) -> tuple[Endpoint, ...]:
        """All endpoints as they now are, told at that time. A user without any address has one
        endpoint that cannot be reached."""
        known = [
            self._endpoint(at_ms, channel, number, address)
            for (channel, number), address in self._addresses.items()
        ]
        return tuple(known or [self._endpoint(at_ms, None, 1, None)])

    def record(self, event: EventForm, send_id: str | None) -> Record:
        """An event of this user; mail and SMS events are about the send with that id, if there was
        one."""
        assert event.type is not None
        arrival_ms = event.at if event.arrives is None else event.arrives
        body: dict[str, Any] = {
            "event_type": event.type,
            "event_timestamp": event.at,
            "arrival_timestamp": arrival_ms,
            "attributes": dict(event.attributes),
        }
        if event.type.startswith(("_email.", "_SMS.")) and send_id is not None:
            body["attributes"].setdefault("send_id", send_id)
        if event.type.startswith("_email."):
            body["facets"] = self._mail_facets(event)
        elif event.type.startswith("_SMS."):
            number = self._first(Channel.SMS)
            body["attributes"].setdefault("destination_phone_number", number)
            body["attributes"].setdefault("record_status", _RECORD_STATUS.get(event.type))
        else:
            first = next(iter(self._addresses), (None, 1))
            endpoint_id = self._endpoint_id(*first)
            body["client"] = {"client_id": endpoint_id}
            body["endpoint"] = {"Id": endpoint_id, "User": {"UserId": self.user_id}}
        data = json.dumps(body).encode()
        return Record(data=data, sequence_number="1", arrival_ms=arrival_ms)

    def _endpoint(
        self, at_ms: int, channel: Channel | None, number: int, address: str | None
    ) -> Endpoint:
        kind = None if channel is None else CHANNEL_TYPES[channel]
        country = self._facts.get("country")
        spelling = None if address is None else normalise_address(kind, address, country)
        live = (channel, number) in self._live and channel not in self._inactive
        return Endpoint(
            endpoint_id=self._endpoint_id(channel, number),
            at_ms=at_ms,
            user_id=self.user_id,
            channel_type=kind,
            address=spelling or None,
            active=None if channel is None else live,
            opted_out=None if channel is None else channel in self._opted_out,
            timezone=self._facts.get("timezone"),
            country=country,
            region=self._facts.get("region"),
            locale=self._facts.get("locale"),
            platform=self._facts.get("platform"),
            app=self._facts.get("app"),
            attributes=_known(self._attributes),
            user_attributes=_known(self._user_attributes),
        )

    def _endpoint_id(self, channel: Channel | None, number: int) -> str:
        return f"user-{self._number}-{channel or 'app'}-{number}"

    def _mail_facets(self, event: EventForm) -> Mapping[str, Any]:
        """Whom the mail went to, which is also who bounced or complained."""
        address = self._first(Channel.EMAIL)
        mail_event: dict[str, Any] = {"mail": {"destination": [address] if address else []}}
        whom = [{"email_address": address}] if address else []
        kind = "Transient" if event.type == "_email.softbounce" else "Permanent"
        mail_event["bounce"] = {
            "bounce_type": event.attributes.get("bounce_type", kind),
            "bounced_recipients": whom,
        }
        mail_event["complaint"] = {
            "complaint_feedback_type": event.attributes.get("complaint_feedback_type", "abuse"),
            "complained_recipients": whom,
        }
        return {"email_channel": {"mail_event": mail_event}}

    def _first(self, channel: Channel) -> str | None:
        """The first address the user now has on a channel, as the provider knows it."""
        live = sorted(number for kind, number in self._live if kind is channel)
        if not live:
            return None
        return spelt(channel, self._addresses[channel, live[0]], self._facts.get("country"))


def _put(known: dict[str, tuple[str, ...]], told: Attributes) -> None:
    for name, values in told.items():
        if values:
            known[name] = values
        else:
            known.pop(name, None)


def _known(attributes: Attributes) -> Attributes:
    """A copy: what was told once must not change with the user."""
    return dict(attributes)
