"""How long a text message is, and into how many parts it is cut, each of which is paid. Pure.

Source: Amazon Pinpoint user guide, "SMS character limits": 160 characters of GSM 03.38, or 153 in
each of several parts; 70 and 67 UTF-16 units when one character is outside that set. Characters of
the GSM extension table count as two. Backtick and ç are not in the provider's table.
"""

from __future__ import annotations

from typing import Final

GSM_SINGLE_UNITS: Final = 160
GSM_PART_UNITS: Final = 153
UNICODE_SINGLE_UNITS: Final = 70
UNICODE_PART_UNITS: Final = 67

GSM: Final = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 \n\r"
    "àÅåÄäÇÉéèìÑñòØøÖöùÜüÆæß&*@:,¤$=!>#-¡¿(<%.+£?\")§;'/_¥ΔΦΓΛΩΠΨΣΘΞ"
)
GSM_EXTENDED: Final = frozenset("^{}\\[]~|€")
_GSM_ALL: Final = GSM | GSM_EXTENDED


def is_gsm(body: str) -> bool:
    """Can it go as GSM 03.38, at 7 bits a character? One other character makes all of it UCS-2."""
    return _GSM_ALL.issuperset(body)


def units(body: str) -> int:
    """Its length as the provider counts it: GSM characters, or UTF-16 units."""
    return sum(_widths(body, gsm=is_gsm(body)))


def parts(body: str) -> int:
    """How many messages it is paid as; at least one. A character that takes two units is never cut
    in two, so parts may be left one unit short."""
    gsm = is_gsm(body)
    widths = _widths(body, gsm=gsm)
    if sum(widths) <= (GSM_SINGLE_UNITS if gsm else UNICODE_SINGLE_UNITS):
        return 1
    part_units = GSM_PART_UNITS if gsm else UNICODE_PART_UNITS
    count, left = 1, part_units
    for width in widths:
        if width > left:
            count, left = count + 1, part_units
        left -= width
    return count


def _widths(body: str, *, gsm: bool) -> list[int]:
    if gsm:
        return [2 if char in GSM_EXTENDED else 1 for char in body]
    return [2 if char > "\uffff" else 1 for char in body]
