"""An invented address book as Pinpoint exports it, with every dirt an import must bear.

`endpoint(n)` is the same for ever; nobody in it exists.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

FIRST_MS = 1_600_000_000_000
"""2020-09-13, before every EffectiveDate here; the last is of 2023."""

COUNTRIES = ("US", "DE", "KR", "JP", "FR", "USA", "CAN", "GB", "us", "Korea")
ZONES = ("America/New_York", "Europe/Berlin", "Asia/Seoul", "Asia/Tokyo", "CST", "PST", "GMT+9")


def iso(at_ms: int) -> str:
    """As EffectiveDate is written."""
    text = datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def endpoint(number: int) -> dict[str, Any]:
    """Endpoint `number`: three of a user, and of each hundred some with a dirt."""
    digest = blake2b(str(number).encode(), digest_size=16).hexdigest()
    kind, user = number % 3, number // 3
    draw = int(digest[:4], 16)
    made: dict[str, Any] = {
        "Id": f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-8{digest[17:20]}-{digest[20:]}",
        "ChannelType": ("GCM", "EMAIL", "SMS")[kind],
        "Address": (
            f"tok-{digest}:APA91b{digest * 3}",
            f"Shopper.{user}@Example.com",
            f"+1555{user % 10_000_000:07d}",
        )[kind],
        "EndpointStatus": "ACTIVE",
        "OptOut": "NONE",
        "RequestId": digest,
        "EffectiveDate": iso(FIRST_MS + number * 86_400_007 % 100_000_000_000),
        "CreationDate": iso(FIRST_MS),
        "CohortId": str(draw % 100),
        "ApplicationId": "0123456789abcdef0123456789abcdef",
        "Location": {"Country": COUNTRIES[draw % 5], "Region": "", "City": "Anytown"},
        "Demographic": {
            "Timezone": ZONES[draw % 4],
            "Locale": "en_US",
            "Platform": "android",
            "Make": "maker",
            "Model": "Model 12",
        },
        "Attributes": {"interests": ["tea", "books"], "tier": [str(draw % 9)]},
        "Metrics": {"visits": float(draw % 50)},
        "User": {"UserId": f"user-{user:08d}", "UserAttributes": {"plan": ["free"]}},
    }
    return dirtied(made, draw % 100, user)


def dirtied(made: dict[str, Any], draw: int, user: int) -> dict[str, Any]:
    """The same, with the dirt of its draw; most have none."""
    location, person = made["Location"], made["User"]
    is_phone = made["ChannelType"] == "SMS"
    dirt: dict[int, tuple[dict[str, Any], str, Any]] = {
        **dict.fromkeys(range(4), (made, "EndpointStatus", "INACTIVE")),
        **dict.fromkeys(range(4, 6), (made, "OptOut", "ALL")),
        6: (location, "Country", COUNTRIES[5 + user % 5]),
        7: (made["Demographic"], "Timezone", ZONES[4 + user % 3]),
        8: (person, "UserId", None),
        9: (made, "Address", None),
        12: (made, "ChannelType", "CUSTOM"),
        13: (made, "EffectiveDate", None),
        14: (person, "UserId", "crowd"),
        15: (made, "Id", made["Id"].upper()),
        16: (made, "Demographic", None),
    }
    within, name, value = dirt.get(draw, (made, "RequestId", made["RequestId"]))
    within[name] = value
    if value is None:
        del within[name]
    if is_phone and draw == 10:
        made["Address"] = f"1206555{user % 10_000:04d}"
        location["Country"] = "USA"
    if is_phone and draw == 11:
        made["Address"] = f"(206) 555-{user % 10_000:04d}"
        del made["Location"]
    return made


def lines(numbers: Iterable[int]) -> Iterator[bytes]:
    """One JSON a line; every thousandth comes twice, and every ten thousandth before it is junk."""
    for number in numbers:
        line = json.dumps(endpoint(number)).encode() + b"\n"
        yield line
        if number % 1_000 == 0:
            yield line
        if number % 10_000 == 0:
            yield b'{"Id": "broken\n'


def write_export(folder: Path, count: int, *, per_file: int = 100_000) -> list[Path]:
    """Gzip files of so many endpoints."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for first in range(0, count, per_file):
        path = folder / f"part-{first // per_file:05d}.gz"
        with gzip.open(path, "wb", compresslevel=3) as file:
            file.writelines(lines(range(first, min(first + per_file, count))))
        paths.append(path)
    return paths
