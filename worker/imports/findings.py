"""What was odd in imported files, counted, with the first places, and what was made of it. Pure.

Tells file and line, never what stands there (P11).
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeAlias

EXAMPLES_MAX: Final = 5
"""Places kept of each kind: the first ones."""

Place: TypeAlias = tuple[int, int]
"""Number of the file, from 0, and of the line (or CSV line, or item of a JSON list), from 1."""


class Oddity(StrEnum):
    """What can be odd about one line, or about the endpoint it tells."""

    PHONE_COMPLETED = "phone_completed"
    PHONE_UNUSABLE = "phone_unusable"
    COUNTRY_MAPPED = "country_mapped"
    COUNTRY_UNKNOWN = "country_unknown"
    ZONE_UNKNOWN = "zone_unknown"
    DUPLICATE = "duplicate"
    TOO_MANY_ENDPOINTS = "too_many_endpoints"
    INACTIVE = "inactive"
    OPTED_OUT = "opted_out"
    NO_ADDRESS = "no_address"
    CHANNEL_UNKNOWN = "channel_unknown"
    NO_USER = "no_user"
    ID_MADE = "id_made"
    NO_TIME = "no_time"
    BAD_TIME = "bad_time"
    SPELLING = "spelling"
    OPT_OUT_UNKNOWN = "opt_out_unknown"
    FIELD_LEFT_OUT = "field_left_out"
    BAD_LINE = "bad_line"
    LINE_TOO_LONG = "line_too_long"
    NO_IDENTITY = "no_identity"
    CSV_COLUMN_UNKNOWN = "csv_column_unknown"
    CSV_COLUMN_REPEATED = "csv_column_repeated"
    CSV_CELLS_TOO_MANY = "csv_cells_too_many"
    CSV_CELLS_TOO_FEW = "csv_cells_too_few"


MADE_OF: Final[Mapping[Oddity, tuple[str, str]]] = {
    Oddity.PHONE_COMPLETED: ("phone without +", "completed by the endpoint's country"),
    Oddity.PHONE_UNUSABLE: (
        "phone without +, and no country that tells how to read it",
        "kept, never sent to: a guess would write to a stranger",
    ),
    Oddity.COUNTRY_MAPPED: ("country not as two capital letters", "mapped to them"),
    Oddity.COUNTRY_UNKNOWN: (
        "country that no table knows",
        "kept as it is; quiet hours go by zone or phone prefix",
    ),
    Oddity.ZONE_UNKNOWN: (
        "time zone that is no tz name (CST, GMT+9 ...)",
        "kept, not trusted; quiet hours go by country, then phone prefix",
    ),
    Oddity.DUPLICATE: (
        "endpoint told more than once by what was read now",
        "made one: of each fact the newest",
    ),
    Oddity.TOO_MANY_ENDPOINTS: (
        "user with more than 15 endpoints",
        "all kept; every live address of a channel gets its message, once",
    ),
    Oddity.INACTIVE: ("endpoint INACTIVE", "kept, never sent to"),
    Oddity.OPTED_OUT: ("endpoint opted out", "kept, never sent to"),
    Oddity.NO_ADDRESS: ("endpoint without an address", "kept, cannot be sent to"),
    Oddity.CHANNEL_UNKNOWN: (
        "channel type that nothing can be sent on (VOICE, CUSTOM, none ...)",
        "kept, cannot be sent to",
    ),
    Oddity.NO_USER: (
        "endpoint without User.UserId",
        "kept under its own id; it joins its user when an event names one",
    ),
    Oddity.ID_MADE: ("endpoint without Id", "got one, made of channel type, address and user"),
    Oddity.NO_TIME: (
        "endpoint without EffectiveDate",
        "older than anything the stream tells; --as-of says otherwise",
    ),
    Oddity.BAD_TIME: (
        "EffectiveDate unusable or in the future",
        "taken for missing",
    ),
    Oddity.SPELLING: (
        "ChannelType, EndpointStatus, OptOut or a field's name in another case",
        "read as meant",
    ),
    Oddity.OPT_OUT_UNKNOWN: ("OptOut that is neither ALL nor NONE", "taken for ALL"),
    Oddity.FIELD_LEFT_OUT: ("a field of another kind than Pinpoint's", "read without that field"),
    Oddity.BAD_LINE: ("line that is no endpoint (broken JSON or CSV)", "passed over"),
    Oddity.LINE_TOO_LONG: ("line longer than any endpoint", "passed over"),
    Oddity.NO_IDENTITY: ("line with neither Id nor Address", "passed over"),
    Oddity.CSV_COLUMN_UNKNOWN: ("CSV column that no endpoint has", "left out"),
    Oddity.CSV_COLUMN_REPEATED: (
        "CSV column twice that can have one value only",
        "the first value of each line counts",
    ),
    Oddity.CSV_CELLS_TOO_MANY: ("CSV line with more cells than columns", "the rest left out"),
    Oddity.CSV_CELLS_TOO_FEW: ("CSV line with fewer cells than columns", "the rest not told"),
}
"""Per oddity: what was found, and what was made of it. Complete; a test holds it."""

PASSED_OVER: Final = frozenset({Oddity.BAD_LINE, Oddity.LINE_TOO_LONG, Oddity.NO_IDENTITY})
"""Lines that became no endpoint."""


@dataclass(slots=True)
class Finding:
    """How often, and where first."""

    count: int = 0
    places: list[Place] = field(default_factory=list)
    """Ascending; at most `EXAMPLES_MAX`."""


class Findings:
    """Counts oddities. Bounded: one counter and a few places per kind."""

    def __init__(self) -> None:
        self._found: dict[Oddity, Finding] = {}

    def note(self, oddity: Oddity, place: Place, times: int = 1) -> None:
        """Counts one more, or `times` of which `place` is one."""
        found = self._found.get(oddity)
        if found is None:
            found = self._found[oddity] = Finding()
        found.count += times
        places = found.places
        if len(places) < EXAMPLES_MAX:
            insort(places, place)
        elif place < places[-1]:
            places.pop()
            insort(places, place)

    def count(self, oddity: Oddity) -> int:
        """How often it was found."""
        found = self._found.get(oddity)
        return 0 if found is None else found.count

    def __iter__(self) -> Iterator[tuple[Oddity, Finding]]:
        """Those that were found, in the order of `Oddity`."""
        return ((oddity, self._found[oddity]) for oddity in Oddity if oddity in self._found)
