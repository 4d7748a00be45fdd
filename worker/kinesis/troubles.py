"""Says once that something is wrong, and once that it is over, however many shards it befalls."""

from __future__ import annotations

import structlog

from worker.kinesis.faults import Kind, KinesisFault

log = structlog.get_logger()


class Troubles:
    """Who is in which trouble now. Throttles are everyday life: counted, not logged."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._code_of: dict[str, str] = {}

    def enter(self, who: str, fault: KinesisFault) -> None:
        """`who` (a shard id or a task) cannot go on because of `fault`, and will try again."""
        if fault.kind is Kind.THROTTLED:
            return
        known = fault.code in self._code_of.values()
        self._code_of[who] = fault.code
        if known:
            return
        tell = log.error if fault.kind is Kind.FORBIDDEN else log.warning
        tell(
            "kinesis_trouble",
            stream=self._stream,
            operation=fault.operation,
            code=fault.code,
            first=who,
        )

    def leave(self, who: str) -> None:
        """`who` goes on."""
        code = self._code_of.pop(who, None)
        if code is not None and code not in self._code_of.values():
            log.info("kinesis_trouble_over", stream=self._stream, code=code, last=who)
