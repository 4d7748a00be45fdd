"""Who gets what, by a stable hash of salt and user: holdout, rollout, variants. Pure; never drawn.

The same user is on the same side at every look, in every process and in every backtest. Raising a
percentage only adds users. Two salts are independent of one another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from worker.rules.ruleset import Share, Variant

POINTS = 1 << 64


def is_in(share: Share, user_id: str) -> bool:
    """Does the user belong to that share of all users?"""
    return _point(share.salt, user_id) * 100 < share.percent * POINTS


def variant_for(variants: Sequence[Variant], salt: str, user_id: str) -> Variant:
    """The user's one of these variants, which are spread by their weights."""
    if len(variants) == 1:
        return variants[0]
    rest = _point(salt, user_id) * sum(variant.weight for variant in variants)
    for variant in variants:
        rest -= variant.weight * POINTS
        if rest < 0:
            return variant
    raise AssertionError("the weights add up to their sum")


def _point(salt: str, user_id: str) -> int:
    """A number from 0 to below `POINTS`."""
    hashed = hashlib.blake2b(f"{salt}\x00{user_id}".encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(hashed.digest(), "big")
