"""Which sender serves which channel: settings to open senders, one client for each service chosen.

The only place that knows all senders. What was not chosen is neither asked for nor started.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import structlog

from worker.model import Channel
from worker.ports import Clock, Sender
from worker.senders.end_user_messaging import EndUserMessagingSender, open_end_user_messaging
from worker.senders.end_user_messaging_request import TextOrigin
from worker.senders.pinpoint import open_pinpoint
from worker.senders.pinpoint_request import Origin
from worker.senders.ses import open_ses
from worker.senders.ses_request import MailOrigin
from worker.settings import Settings

log = structlog.get_logger()


@asynccontextmanager
async def open_senders(settings: Settings, clock: Clock) -> AsyncIterator[Mapping[Channel, Sender]]:
    """A sender for every channel, closed at the end. SMS may be tried by a dry run first.

    Raises SettingsError for what is missing or cannot be used, AccessDenied when AWS does not allow
    the dry run.
    """
    settings.require(*settings.needed_to_send)
    chosen = {
        Channel.PUSH: settings.push_sender,
        Channel.EMAIL: settings.email_sender,
        Channel.SMS: settings.sms_sender,
    }
    by_pinpoint = frozenset(channel for channel, name in chosen.items() if name == "pinpoint")
    senders: dict[Channel, Sender] = {}
    async with AsyncExitStack() as stack:
        if by_pinpoint:
            pinpoint = open_pinpoint(
                settings.pinpoint_application_id,
                channels=by_pinpoint,
                origin=_origin(settings),
                **_limits(settings),
            )
            senders |= dict.fromkeys(by_pinpoint, await stack.enter_async_context(pinpoint))
        if settings.email_sender == "ses":
            ses = open_ses(_mail_origin(settings), **_limits(settings))
            senders[Channel.EMAIL] = await stack.enter_async_context(ses)
        if settings.sms_sender == "end_user_messaging":
            texts = await stack.enter_async_context(
                open_end_user_messaging(_text_origin(settings), clock=clock, **_limits(settings))
            )
            await _check(texts, settings.sms_check_number)
            senders[Channel.SMS] = texts
        yield senders


async def _check(texts: EndUserMessagingSender, number: str) -> None:
    """Fails a start that could never send an SMS; what may pass is only told."""
    if not number:
        return
    trouble = await texts.check(number)
    if trouble is None:
        log.info("sms_checked")
    else:
        log.warning("sms_check_failed", detail=trouble, starting=True)


def _limits(settings: Settings) -> Mapping[str, Any]:
    return {
        "calls_in_flight_max": settings.calls_in_flight_max,
        "call_timeout_seconds": settings.call_timeout / 1_000,
    }


def _origin(settings: Settings) -> Origin:
    return Origin(
        email_from=settings.email_from,
        sms_origination_number=settings.sms_origination_number,
        sms_sender_id=settings.sms_sender_id,
        sms_message_type=settings.sms_message_type,
    )


def _mail_origin(settings: Settings) -> MailOrigin:
    reply_to = (address.strip() for address in settings.email_reply_to.split(","))
    return MailOrigin(
        email_from=settings.email_from,
        reply_to=tuple(filter(None, reply_to)),
        from_arn=settings.ses_from_arn,
        feedback_to=settings.ses_feedback_to,
        feedback_arn=settings.ses_feedback_arn,
        configuration_set=settings.ses_configuration_set,
        unsubscribe_url=settings.unsubscribe_url,
    )


def _text_origin(settings: Settings) -> TextOrigin:
    return TextOrigin(
        identity=settings.sms_origination_identity,
        configuration_set=settings.sms_configuration_set,
        message_type=settings.sms_message_type,
        india_entity_id=settings.sms_india_entity_id,
        india_template_id=settings.sms_india_template_id,
    )
