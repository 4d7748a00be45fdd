"""What Pinpoint would refuse about a `SendMessages` request: model, limits, and what ended."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from worker.sandbox.shapes import problems

RECIPIENTS_MAX = 100

TEXT_OF: Mapping[str, tuple[str, ...]] = {
    "GCM": ("GCMMessage", "DefaultPushNotificationMessage", "DefaultMessage"),
    "APNS": ("APNSMessage", "DefaultPushNotificationMessage", "DefaultMessage"),
    "APNS_SANDBOX": ("APNSMessage", "DefaultPushNotificationMessage", "DefaultMessage"),
    "ADM": ("ADMMessage", "DefaultPushNotificationMessage", "DefaultMessage"),
    "BAIDU": ("BaiduMessage", "DefaultPushNotificationMessage", "DefaultMessage"),
    "SMS": ("SMSMessage", "DefaultMessage"),
    "EMAIL": ("EmailMessage",),
}
"""Channel type to the messages it is taken from; the first that is there counts."""

_VARIABLE = re.compile(r"\{\{([^{}]*)\}\}")


def faults_of(body: Any) -> list[str]:
    """Everything Pinpoint would refuse about a request body; empty when fine."""
    found = problems("pinpoint", "MessageRequest", body)
    if found:
        return found
    if "Endpoints" in body or "TemplateConfiguration" in body:
        found.append("endpoints and templates ended with Pinpoint on 2026-10-30")
    addresses = body.get("Addresses", {})
    if not 1 <= len(addresses) <= RECIPIENTS_MAX:
        found.append(f"{len(addresses)} recipients; 1 to {RECIPIENTS_MAX} are allowed")
    for settings in addresses.values():
        channel_type = settings.get("ChannelType", "")
        if not _has_text(channel_type, settings, body["MessageConfiguration"]):
            found.append(f"an address of channel type {channel_type!r} gets no text")
    return found


def _has_text(channel_type: str, settings: Mapping[str, Any], messages: Mapping[str, Any]) -> bool:
    names = TEXT_OF.get(channel_type, ())
    message = next((messages[name] for name in names if name in messages), None)
    if message is None:
        return False
    if channel_type == "EMAIL":
        simple = message.get("SimpleEmail", {})
        body = simple.get("TextPart") or simple.get("HtmlPart") or {}
        return bool(simple.get("Subject", {}).get("Data") and body.get("Data"))
    return bool(settings.get("BodyOverride") or _filled_in(message.get("Body", ""), settings))


def _filled_in(text: str, settings: Mapping[str, Any]) -> str:
    """A text with the address's own substitutions; a variable that has none leaves no message."""
    known = settings.get("Substitutions", {})
    if any(not known.get(name) for name in _VARIABLE.findall(text)):
        return ""
    return _VARIABLE.sub(lambda found: str(known[found[1]][0]), text)
