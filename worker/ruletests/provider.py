"""A provider that answers as a test says, and otherwise accepts everything. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from worker.model import Delivery, Outcome, Reason, Rejected, Retry, Sent, StopReason, Uncertain
from worker.ruletests.case_world import Answer, DeliveryForm
from worker.ruletests.cast import spelt


class ScriptedProvider:
    """Called with a delivery, answers its outcome. Entries of one stage are used up in order."""

    def __init__(self, script: Sequence[DeliveryForm]) -> None:
        self._script = script
        self._used = [0] * len(script)

    def __call__(self, delivery: Delivery) -> Outcome:
        """The first entry that is about this call and not used up."""
        for number, entry in enumerate(self._script):
            if _is_about(entry, delivery) and (
                entry.times is None or self._used[number] < entry.times
            ):
                self._used[number] += 1
                return _outcome(entry, delivery.claim.send_id)
        return Sent(send_id=delivery.claim.send_id)


def _is_about(entry: DeliveryForm, delivery: Delivery) -> bool:
    claim = delivery.claim
    return (
        (entry.user, entry.stage) == (claim.user_id, claim.stage)
        and entry.rule in (None, claim.rule)
        and (entry.address is None or spelt(claim.channel, entry.address) == delivery.address)
    )


def _outcome(entry: DeliveryForm, send_id: str) -> Outcome:
    detail = entry.code or entry.result.value
    match entry.result:
        case Answer.ACCEPTED:
            return Sent(send_id=send_id)
        case Answer.PERMANENT_FAILURE:
            return Rejected(send_id=send_id, detail=detail, stop=StopReason.DEAD)
        case Answer.OPTED_OUT:
            return Rejected(send_id=send_id, detail=detail, stop=StopReason.OPTED_OUT)
        case Answer.TEMPORARY_FAILURE:
            return Retry(send_id=send_id, reason=Reason.TEMPORARY_FAILURE, detail=detail)
        case Answer.THROTTLED:
            return Retry(send_id=send_id, reason=Reason.PROVIDER_THROTTLED, detail=detail)
        case Answer.UNCERTAIN:
            return Uncertain(send_id=send_id, detail=detail)
