"""Faults on demand: what may go wrong between a reader and Kinesis, told to the local server.

`KinesisServer.faults` is asked before each operation and answers a `Fault` or None. Any callable
will do, sync or async:

    server.faults = lambda call: Fault(drop=True) if call.number == 3 else None

and `FaultScript` is one that plays a list per operation, `None` meaning "let it pass":

    server.faults = FaultScript(
        GetRecords=[None, Fault(error="ProvisionedThroughputExceededException"), Fault(drop=True)],
        ListShards=[Fault(delay_seconds=0.2), Fault(truncate_bytes=10)],
    )

No I/O here and no randomness; `kinesis` carries the faults out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request about to be served. `number` counts the calls of this operation on this shard
    (or on none) from 1."""

    operation: str
    shard_id: str | None
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong with one call; the parts combine, in this order.

    `delay_seconds` passes first. `drop` then cuts the connection without an answer, and `error`
    answers that AWS error code with HTTP `status`; in both cases nothing was done. With
    `truncate_bytes` the operation is done, and the connection is cut after so many bytes of the
    body.
    """

    delay_seconds: float = 0.0
    drop: bool = False
    error: str | None = None
    status: int = 400
    truncate_bytes: int | None = None


FaultHook: TypeAlias = Callable[[Call], Fault | Awaitable[Fault | None] | None]


class FaultScript:
    """Plays each operation its own list of faults, call by call; then all goes well."""

    def __init__(self, **steps: Sequence[Fault | None]) -> None:
        """Keywords are operation names: GetRecords=[...]."""
        self._steps = {operation: deque(faults) for operation, faults in steps.items()}

    def __call__(self, call: Call) -> Fault | None:
        steps = self._steps.get(call.operation)
        return steps.popleft() if steps else None

    @property
    def is_played(self) -> bool:
        """Whether every step was taken: a test asserts it to know its faults happened."""
        return not any(self._steps.values())
