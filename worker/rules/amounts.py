"""Amounts of money as people write them: `200 USD`, `0.00581 USD`. Pure.

Counted in whole millionths of the currency, so that sums of many small prices are exact.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from worker.rules.problems import Refused, quoted

MICROS = 1_000_000
AMOUNT_PATTERN = r"^[0-9]{1,9}(\.[0-9]{1,6})? ?[A-Z]{3}$"

_AMOUNT = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,6}))? ?([A-Z]{3})")
_HOW = "write a number and the three letters of the currency, such as 0.05 USD"


class Amount(NamedTuple):
    """`micros` millionths of `currency`, which is three capital letters (ISO 4217)."""

    micros: int
    currency: str


def parse_amount(text: str) -> Amount:
    """Raises Refused with what to write instead."""
    found = _AMOUNT.fullmatch(text)
    if found is None:
        raise Refused(f"{quoted(text)} {_trouble(text)}; {_HOW}")
    whole, fraction, currency = found.groups()
    return Amount(int(whole) * MICROS + int((fraction or "").ljust(6, "0")), currency)


def _trouble(text: str) -> str:
    if re.fullmatch(r"[0-9.]+", text):
        return "has no currency"
    if re.match(r"[0-9]*\.[0-9]{7,}", text):
        return "is finer than a millionth"
    if re.match(r"-", text):
        return "is less than nothing"
    return "is no amount of money"
