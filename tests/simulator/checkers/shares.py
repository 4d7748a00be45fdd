"""Who is held out, worked out anew.

Who is must not change from one version to the next, so this digest of salt and user is the one
number in the checkers that has to be the same as the worker's.
"""

from __future__ import annotations

import hashlib

from tests.simulator.rulebook import RuleSpec


def holds_out(rule: RuleSpec, user: str) -> bool:
    """Does the user belong to the part of the users who get nothing?"""
    digest = hashlib.blake2b(f"{rule.name}/holdout\x00{user}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") * 100 < rule.holdout_percent << 64
