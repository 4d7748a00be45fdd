"""The shape of a test's world: users, events, what the provider answers, what is given. Pure."""

from __future__ import annotations

import re
from datetime import date
from enum import StrEnum
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from worker.addresses import normalise_address
from worker.model import Channel
from worker.rules.forms import (
    Count,
    Form,
    Instant,
    MatcherText,
    Money,
    Name,
    Words,
    Zone,
    refused,
)
from worker.rules.problems import quoted

LISTED_MAX = 2_000
ADDRESSES_MAX = 20
MATCHERS_MAX = 50


class Side(StrEnum):
    """On which side of every holdout a user is."""

    IN = "in"
    OUT = "out"


class Answer(StrEnum):
    """What the provider says to a call."""

    ACCEPTED = "accepted"
    PERMANENT_FAILURE = "permanent_failure"
    TEMPORARY_FAILURE = "temporary_failure"
    THROTTLED = "throttled"
    UNCERTAIN = "uncertain"
    OPTED_OUT = "opted_out"


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _day(text: str) -> str:
    try:
        known = re.fullmatch(_DAY, text) and date.fromisoformat(text)
    except ValueError:
        known = None
    if not known:
        raise refused(f"{quoted(text)} is no day; write year, month and day, such as 2026-11-13")
    return text


def _emails(addresses: list[str]) -> list[str]:
    for address in addresses:
        if not re.fullmatch(_EMAIL, spelling := normalise_address("EMAIL", address)):
            raise refused(
                f"{quoted(spelling)} is no e-mail address; write one like kim@example.com"
            )
    return addresses


def _phones(addresses: list[str]) -> list[str]:
    for address in addresses:
        if not re.fullmatch(_PHONE, normalise_address("SMS", address)):
            told = f"{quoted(address)} is no phone number"
            raise refused(f'{told}; write + and its digits in quotes, such as "+33600000000"')
    return addresses


_EMAIL = r"[^@\s]+@[^@\s]+"
_PHONE = r"\+?[0-9]{5,15}"
"""ITU-T E.164: 15 digits at most."""
_DAY = r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_ONE = {"type": ["string", "number", "boolean"]}
_ONE_OR_MANY = WithJsonSchema({"anyOf": [_ONE, {"type": "array", "items": _ONE}]})

Day: TypeAlias = Annotated[
    str, AfterValidator(_day), WithJsonSchema({"type": "string", "pattern": f"^{_DAY}$"})
]
Values: TypeAlias = Annotated[list[Words], BeforeValidator(_listed), _ONE_OR_MANY]
"""One value, or a list of them."""
Addresses: TypeAlias = Annotated[
    list[Words], BeforeValidator(_listed), Field(max_length=ADDRESSES_MAX), _ONE_OR_MANY
]
EmailAddresses: TypeAlias = Annotated[Addresses, AfterValidator(_emails)]
PhoneNumbers: TypeAlias = Annotated[Addresses, AfterValidator(_phones)]
YesNo: TypeAlias = Annotated[bool, WithJsonSchema({"type": ["boolean", "string"]})]


class AddressesForm(Form):
    """Where a user is reached."""

    push: Addresses | None = Field(
        default=None, description="Push tokens.", examples=["token1", ["token1", "token2"]]
    )
    email: EmailAddresses | None = Field(
        default=None, description="E-mail addresses.", examples=["a@example.com"]
    )
    sms: PhoneNumbers | None = Field(
        default=None, description="Phone numbers.", examples=["+33600000000"]
    )

    def by_channel(self) -> dict[Channel, list[str]]:
        """Those that are stated."""
        stated = {Channel.PUSH: self.push, Channel.EMAIL: self.email, Channel.SMS: self.sms}
        return {name: addresses for name, addresses in stated.items() if addresses is not None}


class PricesForm(Form):
    """What a send costs on each channel, wherever the user lives."""

    push: Money | None = Field(default=None, description="A push.", examples=["0.000001 USD"])
    email: Money | None = Field(default=None, description="An e-mail.", examples=["0.0001 USD"])
    sms: Money | None = Field(default=None, description="A part of an SMS.", examples=["0.02 USD"])

    def by_channel(self) -> dict[Channel, int]:
        """Those that are stated, in millionths of the currency."""
        stated = {Channel.PUSH: self.push, Channel.EMAIL: self.email, Channel.SMS: self.sms}
        return {name: price.micros for name, price in stated.items() if price is not None}


class AddressBookKeys(Form):
    """What the address book knows of a user; each may change during a test."""

    timezone: Zone | None = Field(
        default=None, description="IANA zone of all the user's devices.", examples=["Europe/Paris"]
    )
    country: Words | None = Field(
        default=None, description="Two letters of ISO 3166.", examples=["FR"]
    )
    region: Words | None = Field(
        default=None, description="State or province, as the app names it.", examples=["TX"]
    )
    locale: Words | None = Field(
        default=None, description="Language and country.", examples=["fr_FR"]
    )
    platform: Words | None = Field(
        default=None, description="As the app names it.", examples=["android"]
    )
    app: Words | None = Field(
        default=None, description="Id of the application of the events.", examples=["app0"]
    )
    attributes: dict[Words, Values] = Field(
        default={},
        description="User attributes, one value or a list; an empty list takes one away.",
        examples=[{"plan": "premium", "ltv": 80}],
    )
    endpoint_attributes: dict[Words, Values] = Field(
        default={},
        description="Attributes of all the user's endpoints.",
        examples=[{"interests": ["tea", "books"]}],
    )
    consent: dict[Words, Words] = Field(
        default={},
        description="Short for user attributes: `marketing: true` is `consent.marketing`.",
        examples=[{"marketing": True}],
    )
    addresses: AddressesForm = Field(
        default_factory=AddressesForm,
        description="Where the user is reached, one address or a list per channel.",
        examples=[{"push": "token1", "email": "a@example.com", "sms": "+33600000000"}],
    )
    opted_out: list[Channel] | None = Field(
        default=None,
        description="Channels whose addresses have opted out; all others have not.",
        examples=[["sms"]],
    )
    inactive: list[Channel] | None = Field(
        default=None,
        description="Channels whose endpoints are inactive; all others are active.",
        examples=[["push"]],
    )


class ChangeForm(AddressBookKeys):
    """What an app tells anew of a user. What it does not name stays."""


class UserForm(AddressBookKeys):
    """Somebody invented."""

    last_active: Instant | None = Field(
        default=None,
        description="When the user was last here; may be before the start.",
        examples=["2026-11-01T20:30:00Z"],
    )
    holdout: Side = Field(
        default=Side.OUT,
        description="in: every rule with a holdout holds this user out; out: none does.",
        examples=["out"],
    )
    variant: dict[Name, Name] = Field(
        default={},
        description="Stage to variant; a stage not named here goes by the usual hash.",
        examples=[{"push": "a"}],
    )


class EventForm(Form):
    """What the stream says: an event of a user, or a change in the address book."""

    at: Instant = Field(description="When it happened.", examples=["2026-11-01T20:30:00Z"])
    arrives: Instant | None = Field(
        default=None,
        description="When it reaches the stream, for a late event. Left out: at once.",
        examples=["2026-11-03T08:00:00Z"],
    )
    user: Words = Field(description="Of whom; one of `users`.", examples=["u1"])
    type: Words | None = Field(
        default=None,
        description="Event type, Pinpoint's or your own; either this or `change`.",
        examples=["_session.start"],
    )
    attributes: dict[Words, Words] = Field(
        default={},
        description="Attributes of the event.",
        examples=[{"record_status": "OPTED_OUT"}],
    )
    change: ChangeForm | None = Field(
        default=None,
        description="What became different in the address book, in the keys of `users`.",
        examples=[{"opted_out": ["sms"]}],
    )


class DeliveryForm(Form):
    """How the provider answers calls; without one it accepts them all."""

    user: Words = Field(description="To whom; one of `users`.", examples=["u1"])
    stage: Name = Field(description="Of which stage.", examples=["push"])
    rule: Name | None = Field(
        default=None, description="Of which rule; left out: of any.", examples=["premium-winback"]
    )
    address: Words | None = Field(
        default=None, description="At which address; left out: at any.", examples=["token1"]
    )
    result: Answer = Field(description="What it says.", examples=["permanent_failure"])
    code: Words | None = Field(
        default=None, description="The provider's own word for it.", examples=["UNREGISTERED"]
    )
    times: Count | None = Field(
        default=None,
        description="To how many calls, then the next entry or accepted. Left out: to all.",
        examples=[2],
    )


class SpendForm(Form):
    """Money that was gone before the test began."""

    channel: Channel = Field(description="For sends on it.", examples=["sms"])
    day: Day = Field(description="Calendar day of the budget's own zone.", examples=["2026-11-13"])
    amount: Money = Field(description="How much.", examples=["199.99 USD"])


class SilenceForm(Form):
    """A silence somebody made, as `comeback silence` would."""

    matchers: Annotated[list[MatcherText], Field(max_length=MATCHERS_MAX)] = Field(
        default=[],
        description="Over the facts of the user, and rule, stage, channel; none: everything.",
        examples=[['channel="sms"']],
    )
    begins: Instant = Field(alias="from", description="From.", examples=["2026-11-08T00:00:00Z"])
    ends: Instant = Field(alias="until", description="Until.", examples=["2026-11-10T00:00:00Z"])


class GivenForm(Form):
    """The world the test begins in."""

    mode: Literal["live", "as_written"] = Field(
        default="live",
        description="live: rules in shadow send too; as_written: they only would.",
        examples=["as_written"],
    )
    rollout: Literal["everyone", "as_written"] = Field(
        default="everyone",
        description="everyone: `rollout` leaves nobody out; as_written: it goes by its hash.",
        examples=["as_written"],
    )
    prices: PricesForm = Field(
        default_factory=PricesForm,
        description="What a send (a part of an SMS) costs in every country.",
        examples=[{"sms": "0.02 USD"}],
    )
    spend: Annotated[list[SpendForm], Field(max_length=LISTED_MAX)] = Field(
        default=[],
        description="Money already spent.",
        examples=[[{"channel": "sms", "day": "2026-11-13", "amount": "199.99 USD"}]],
    )
    silences: Annotated[list[SilenceForm], Field(max_length=LISTED_MAX)] = Field(
        default=[],
        description="Silences in force.",
        examples=[[{"from": "2026-11-08T00:00:00Z", "until": "2026-11-10T00:00:00Z"}]],
    )
