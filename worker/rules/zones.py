"""Zone names, countries and their zones, and the country a phone number belongs to.

Everything comes from two packages, `tzdata` (the IANA database) and `phonenumbers` (ITU numbering
plans), read once and kept. The zone rules of the machine are not used: the same version of the
program decides the same everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from zoneinfo import ZoneInfo

import phonenumbers

UTC_MIDDAY = "defer_to_utc_midday"
"""In the place of a zone name: nobody knows the zone, send around noon in UTC."""

ZONES_CACHED_MAX = 1_024
PHONES_CACHED_MAX = 8_192


@cache
def zone_names() -> frozenset[str]:
    """Every IANA zone name, links included; without `Factory`, which means "not set"."""
    return frozenset(_database("zones").split()) - {"Factory"}


@lru_cache(maxsize=ZONES_CACHED_MAX)
def zone_named(name: str) -> ZoneInfo:
    """The rules of a zone of `zone_names()`; the same object for the same name."""
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as data:
        return ZoneInfo.from_file(data, key=name)


@cache
def country_names() -> Mapping[str, str]:
    """Every country code an endpoint can have to its English name, as iso3166.tab has them.

    Kosovo's XK is in no list of ISO; phones, browsers and the numbering plans use it all the same.
    """
    rows = _database("zoneinfo", "iso3166.tab").splitlines()
    pairs = (row.split("\t") for row in rows if row and not row.startswith("#"))
    return {**{code: name for code, name, *_ in pairs}, "XK": "Kosovo"}


def zones_of_country(code: str) -> tuple[str, ...]:
    """All zones of a country, given as `countries.alpha_2` spells it; none for any other text."""
    return _zones_by_country().get(code, ())


@lru_cache(maxsize=PHONES_CACHED_MAX)
def zones_of_phone(number: str) -> tuple[str, ...]:
    """All zones where an E.164 number can be at home; none when it names no country.

    The country comes from the number where its plan tells (+1 671 is Guam), else it is every
    country that shares the calling code. A number without `+` is not guessed at: read with the
    wrong calling code it would name a wrong zone with confidence.
    """
    codes = _countries_of_phone(number)
    return tuple(dict.fromkeys(zone for code in codes for zone in zones_of_country(code)))


@lru_cache(maxsize=PHONES_CACHED_MAX)
def country_of_phone(number: str) -> str | None:
    """The alpha-2 code of the country an E.164 number belongs to, None when it names none.

    Of countries that share a calling code, it is the one whose plan has the number; a number in no
    plan (ranges are opened faster than tables are) goes to the main country of the code: +1 555 is
    the United States. Numbers of no country (+800 ...) and numbers without `+` have none.
    """
    return next(iter(_countries_of_phone(number)), None)


def _countries_of_phone(number: str) -> Sequence[str]:
    """The country of a number, else those that share its calling code, the main one first."""
    if not number.startswith("+"):
        return ()
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return ()
    region = phonenumbers.region_code_for_number(parsed)
    shared = phonenumbers.region_codes_for_country_code(parsed.country_code or 0)
    return [code for code in ([region] if region else shared) if code in country_names()]


@cache
def _zones_by_country() -> Mapping[str, tuple[str, ...]]:
    # zone.tab lists each zone under its one country; zone1970.tab merges countries that have
    # agreed since 1970, which would add zones of neighbours.
    zones: dict[str, tuple[str, ...]] = {}
    for row in _database("zoneinfo", "zone.tab").splitlines():
        if not row.startswith("#"):
            country, _, zone = row.split("\t")[:3]
            zones[country] = (*zones.get(country, ()), zone)
    return zones


def _database(*path: str) -> str:
    return files("tzdata").joinpath(*path).read_text(encoding="utf-8")
