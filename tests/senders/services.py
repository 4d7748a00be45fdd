"""The services that send: how to open a sender for each, and the stub that stands in for it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from worker.clock import SystemClock
from worker.model import Channel
from worker.sandbox.end_user_messaging import EndUserMessagingStub
from worker.sandbox.pinpoint import PinpointStub
from worker.sandbox.provider import ProviderStub
from worker.sandbox.ses import SesStub
from worker.senders.end_user_messaging import EndUserMessagingSender, open_end_user_messaging
from worker.senders.end_user_messaging_request import TextOrigin
from worker.senders.pinpoint import PinpointSender, open_pinpoint
from worker.senders.ses import SesSender, open_ses
from worker.senders.ses_request import MailOrigin

MAIL_ORIGIN = MailOrigin(
    email_from="Shop <shop@example.com>", unsubscribe_url="https://example.com/stop?u={user_id}"
)
TEXT_ORIGIN = TextOrigin(identity="pool-0123456789abcdef", configuration_set="receipts")

AnySender = PinpointSender | SesSender | EndUserMessagingSender


@dataclass(frozen=True, slots=True)
class Service:
    """`channel`: one that it serves."""

    name: str
    channel: Channel
    open: Callable[[], AbstractAsyncContextManager[AnySender]]
    stub: Callable[[], ProviderStub]


SERVICES = (
    Service("pinpoint", Channel.PUSH, lambda: open_pinpoint("app-1"), PinpointStub),
    Service("ses", Channel.EMAIL, lambda: open_ses(MAIL_ORIGIN), SesStub),
    Service(
        "end_user_messaging",
        Channel.SMS,
        lambda: open_end_user_messaging(TEXT_ORIGIN, clock=SystemClock()),
        EndUserMessagingStub,
    ),
)
