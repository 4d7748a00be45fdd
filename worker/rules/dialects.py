"""Files that say how an app spells its events, and the formats that come with comeback. Pure.

`COMEBACK_EVENTS` lists formats: names of this module's table and of AWS's own (`Builtin`), or files
of the same form. An event is read by the first in the list that it fits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Final, Self

from pydantic import Field, model_validator

from worker.event_dialects import (
    ADDRESSES_MAX,
    NOWHERE,
    AddressSpots,
    Builtin,
    Condition,
    Dialect,
    Path,
    Reader,
    Spot,
    Unit,
    name_of,
)
from worker.rules.document import read_document
from worker.rules.forms import Form, Name, as_written, refused
from worker.rules.problems import Problem, nearest, quoted
from worker.rules.wording import fit

PRESETS_FILE: Final = "event_formats.yaml"
FORMATS_MAX: Final = 20
PATHS_MAX: Final = 10
FILE_ENDINGS: Final = (".yaml", ".yml")

PathText = Annotated[str, Field(min_length=1, max_length=500)]


class SpotForm(Form):
    """Where a value stands, when a path alone does not say it."""

    path: PathText | list[PathText] | None = Field(
        default=None,
        description="Keys from the top inwards, with dots; of several the first that is there.",
        examples=["user.id"],
    )
    fixed: str | None = Field(
        default=None, description="The value itself, the same in every event.", examples=["EMAIL"]
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.path is None) == (self.fixed is None):
            raise refused("state either path or fixed")
        return self


Where = PathText | Annotated[list[PathText], Field(min_length=1, max_length=PATHS_MAX)] | SpotForm


def _where(description: str, example: str) -> Any:
    return Field(default=None, description=description, examples=[example])


class AddressForm(Form):
    """One address of the user."""

    channel_type: Where = Field(
        description="GCM, APNS, EMAIL, SMS ...; the same in every event: {fixed: EMAIL}.",
        examples=[{"fixed": "EMAIL"}],
    )
    address: Where = Field(description="Token, mail address or number.", examples=["user.email"])
    endpoint_id: Where | None = _where(
        "Its id. Left out: user id and channel type make one.", "device.id"
    )
    opt_out: Where | None = _where("true or ALL: nothing may be sent there.", "user.unsubscribed")
    active: Where | None = _where("false or INACTIVE: it is out of use.", "device.active")


class FormatForm(Form):
    """How one kind of events is spelled. Paths are keys with dots between them: `user.id`; digits
    find an entry of a list; a dot within a key is written `\\.`; text that holds JSON is looked
    into."""

    name: Name = Field(description="What `comeback events check` calls it.", examples=["app"])
    when: dict[PathText, str | list[str]] = Field(
        default={},
        description="What stands in every such event: a path, and its value or one of several.",
        examples=[{"source": "shop-app"}],
    )
    has: list[PathText] = Field(
        default=[],
        max_length=PATHS_MAX,
        description="Paths that lead somewhere in every such event.",
        examples=[["user.id"]],
    )
    type: Where = Field(
        description="The type, by which `activity` and `conversion` of rules know an event.",
        examples=["event.name"],
    )
    user_id: Where | None = _where("Who it is about.", "user.id")
    endpoint_id: Where | None = _where("The device or installation it comes from.", "device.id")
    time: Where | None = _where("When it happened. Left out: when it arrived.", "ts")
    unit: Unit = Field(
        default=as_written("milliseconds"),
        description="What a time that is a number counts; text is read as ISO 8601 anyway.",
        examples=["seconds"],
    )
    arrival: Where | None = _where("When the server got it, if it says so.", "received_at")
    app: Where | None = _where("The app it comes from.", "app.id")
    endpoint: Where | None = _where("An endpoint in Pinpoint's spelling.", "endpoint")
    timezone: Where | None = _where("IANA zone of the user.", "device.timezone")
    locale: Where | None = _where("Locale, such as de_DE.", "device.locale")
    platform: Where | None = _where("Platform of the device.", "device.os")
    country: Where | None = _where("Country, two or three letters.", "geo.country")
    region: Where | None = _where("State or region.", "geo.region")
    user_attributes: Where | None = _where("An object of attributes of the user.", "user.traits")
    attributes: Where | None = _where("An object of attributes of the device.", "device.info")
    addresses: list[AddressForm] = Field(
        default=[], max_length=ADDRESSES_MAX, description="The user's addresses, as far as told."
    )

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if self.user_id is None and self.endpoint_id is None and self.endpoint is None:
            raise refused("an event must be about somebody: state user_id, endpoint_id or endpoint")
        return self


class FormatsFile(Form):
    """A file of formats."""

    formats: list[FormatForm] = Field(
        min_length=1, max_length=FORMATS_MAX, description="Formats; the first that fits reads."
    )


def parse_formats(data: bytes, file: str) -> tuple[tuple[Dialect, ...], tuple[Problem, ...]]:
    """The formats of a file, or its problems. Never raises on content."""
    document = read_document(data, file)
    problems = list(document.problems)
    if document.root is None:
        problems = problems or [Problem(file, 1, 1, "the file is empty; fill it, or remove it")]
        return (), tuple(problems)
    form, misfits = fit(FormatsFile, document.root)
    problems += misfits
    if form is None or problems:
        return (), tuple(sorted(set(problems)))
    return tuple(_dialect(said) for said in form.formats), ()


@cache
def presets() -> Mapping[str, tuple[Dialect, ...]]:
    """The formats that come with comeback, by name."""
    data = files("worker.rules").joinpath(PRESETS_FILE).read_bytes()
    dialects, problems = parse_formats(data, PRESETS_FILE)
    assert not problems, problems
    return {dialect.name: (dialect,) for dialect in dialects}


def names() -> list[str]:
    """What may stand in COMEBACK_EVENTS beside files."""
    return [*Builtin, *presets()]


def readers_of(
    text: str, read: Callable[[str], bytes]
) -> tuple[tuple[Reader, ...], tuple[str, ...]]:
    """The formats a list such as `pinpoint, ses, app-events.yaml` names, and what is wrong with it,
    a line each. `read` gives the bytes of a file, and raises OSError."""
    readers: list[Reader] = []
    wrong: list[str] = []
    for word in (part.strip() for part in text.split(",")):
        if not word:
            continue
        if word in set(Builtin):
            readers.append(Builtin(word))
        elif word in presets():
            readers += presets()[word]
        elif word.endswith(FILE_ENDINGS):
            try:
                data = read(word)
            except OSError as error:
                wrong.append(f"{word} cannot be read: {error.strerror}")
                continue
            dialects, problems = parse_formats(data, word)
            readers += dialects
            wrong += [str(problem) for problem in problems]
        else:
            wrong.append(
                f"{quoted(word)} is no format of events{nearest(word, names())}; known are "
                f"{', '.join(names())}, and files that end in .yaml"
            )
    twice = _first_twice([name_of(reader) for reader in readers])
    if twice is not None:
        wrong.append(f"{quoted(twice)} is there twice; each format has a name of its own")
    if not readers and not wrong:
        wrong.append(f"no format is named; known are {', '.join(names())}, and files")
    return tuple(readers), tuple(wrong)


def _first_twice(words: Sequence[str]) -> str | None:
    return next((word for place, word in enumerate(words) if word in words[:place]), None)


def _dialect(form: FormatForm) -> Dialect:
    return Dialect(
        name=form.name,
        conditions=(
            *(_condition(path, said) for path, said in form.when.items()),
            *(_condition(path, []) for path in form.has),
        ),
        event_type=_spot(form.type),
        unit=form.unit,
        addresses=tuple(_address(said) for said in form.addresses),
        user_id=_spot(form.user_id),
        endpoint_id=_spot(form.endpoint_id),
        time=_spot(form.time),
        arrival=_spot(form.arrival),
        app=_spot(form.app),
        endpoint=_spot(form.endpoint),
        timezone=_spot(form.timezone),
        locale=_spot(form.locale),
        platform=_spot(form.platform),
        country=_spot(form.country),
        region=_spot(form.region),
        user_attributes=_spot(form.user_attributes),
        attributes=_spot(form.attributes),
    )


def _address(form: AddressForm) -> AddressSpots:
    return AddressSpots(
        channel_type=_spot(form.channel_type),
        address=_spot(form.address),
        endpoint_id=_spot(form.endpoint_id),
        opt_out=_spot(form.opt_out),
        active=_spot(form.active),
    )


def _condition(path: str, said: str | list[str]) -> Condition:
    values = said if isinstance(said, list) else [said]
    return Condition(path=_path(path), values=tuple(values))


def _spot(where: str | list[str] | SpotForm | None) -> Spot:
    if where is None:
        return NOWHERE
    if isinstance(where, SpotForm):
        if where.fixed is not None:
            return Spot(fixed=where.fixed)
        assert where.path is not None
        where = where.path
    paths = where if isinstance(where, list) else [where]
    return Spot(paths=tuple(_path(path) for path in paths))


def _path(text: str) -> Path:
    r"""`a.b\.c` is the key `b.c` within `a`."""
    parts = text.replace("\\.", "\0").split(".")
    return tuple(part.replace("\0", ".") for part in parts)
