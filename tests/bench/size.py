"""How large the state file is for each user: known by recency alone, and with three endpoints.

python -m tests.bench.size [USERS]
"""

from __future__ import annotations

import sys

from tests.bench.line import report
from tests.bench.state import bytes_of, state

GOAL_BARE, GOAL_THREE = 90.0, 600.0
USERS_MAX = 1_000_000
"""More change nothing but the time it takes."""


def main(users: int) -> None:
    id_bytes = sum(len(f"user-{number}") for number in range(0, users, 97)) / len(
        range(0, users, 97)
    )
    for endpoints, goal, name in (
        (0, GOAL_BARE + id_bytes, "no address"),
        (3, GOAL_THREE, "three endpoints"),
    ):
        each = bytes_of(state(users, endpoints=endpoints)) / users
        report(f"size: {users:,} users, {name}", f"{each:.0f} bytes/user", each / goal, 1.0)


if __name__ == "__main__":
    main(min([USERS_MAX, *map(int, sys.argv[1:])]))
