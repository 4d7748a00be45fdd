"""The providers of the demo: which stubs take what, what they took, and the reports they publish.

With `pinpoint` one stub takes all channels. With `aws` push goes there, e-mail to SES and SMS to
End User Messaging, as teams send today; those two publish a delivery report for each message, in
the wrappers they come in: SES events by EventBridge, End User Messaging's by SNS.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeAlias

from worker.sandbox.processes import Child

StartChild: TypeAlias = Callable[..., Child]

CONFIGURATION_SET: Final = "demo"


class Backends(StrEnum):
    """Who delivers."""

    PINPOINT = "pinpoint"
    AWS = "aws"


@dataclass(frozen=True, slots=True)
class _Stub:
    module: str
    variable: str
    log: str


_PINPOINT: Final = _Stub("worker.sandbox.pinpoint", "AWS_ENDPOINT_URL_PINPOINT", "sends.ndjson")
_SES: Final = _Stub("worker.sandbox.ses", "AWS_ENDPOINT_URL_SESV2", "mails.ndjson")
_TEXTS: Final = _Stub(
    "worker.sandbox.end_user_messaging", "AWS_ENDPOINT_URL_PINPOINT_SMS_VOICE_V2", "texts.ndjson"
)
_STUBS: Final[Mapping[Backends, tuple[_Stub, ...]]] = {
    Backends.PINPOINT: (_PINPOINT,),
    Backends.AWS: (_PINPOINT, _SES, _TEXTS),
}
_SETTINGS: Final[Mapping[Backends, Mapping[str, str]]] = {
    Backends.PINPOINT: {"COMEBACK_EMAIL_SENDER": "pinpoint", "COMEBACK_SMS_SENDER": "pinpoint"},
    Backends.AWS: {
        "COMEBACK_EMAIL_SENDER": "ses",
        "COMEBACK_SES_CONFIGURATION_SET": CONFIGURATION_SET,
        "COMEBACK_UNSUBSCRIBE_URL": "https://shop.example.com/unsubscribe?send={send_id}",
        "COMEBACK_SMS_SENDER": "end_user_messaging",
        "COMEBACK_SMS_ORIGINATION_IDENTITY": "Shop",
        "COMEBACK_SMS_CONFIGURATION_SET": CONFIGURATION_SET,
    },
}


class Providers:
    """The stubs of one demo."""

    def __init__(self, backends: Backends, folder: Path) -> None:
        self._stubs = _STUBS[backends]
        self._settings = _SETTINGS[backends]
        self._folder = folder
        self._offsets: dict[str, int] = {}

    def start(self, child: StartChild) -> dict[str, str]:
        """Starts them; returns what the worker must be told."""
        environment = {
            **self._settings,
            "COMEBACK_PINPOINT_APPLICATION_ID": "demo",
            "COMEBACK_EMAIL_FROM": "shop@example.com",
        }
        for stub in self._stubs:
            process = child(stub.module, "--log", str(self._folder / stub.log))
            environment[stub.variable] = process.first_line().split()[-1]
        return environment

    def new_sends(self) -> Iterator[tuple[dict[str, Any], bytes | None]]:
        """What was taken since the last call, each with the report its provider publishes; None
        when it publishes none."""
        for stub in self._stubs:
            with (self._folder / stub.log).open("rb") as log:
                log.seek(self._offsets.get(stub.log, 0))
                for line in log:
                    if not line.endswith(b"\n"):
                        break
                    self._offsets[stub.log] = self._offsets.get(stub.log, 0) + len(line)
                    send = json.loads(line)
                    yield send, _report(stub, send)


def _report(stub: _Stub, send: Mapping[str, Any]) -> bytes | None:
    if stub is _SES:
        return json.dumps(_mail_report(send)).encode()
    if stub is _TEXTS:
        return json.dumps(_text_report(send)).encode()
    return None


def _mail_report(send: Mapping[str, Any]) -> dict[str, Any]:
    """SES says that a mail was delivered; EventBridge puts its envelope around it.

    Source: SES developer guide, "Contents of event data that Amazon SES publishes"; EventBridge
    events reference, Amazon SES."""
    moment = datetime.fromtimestamp(send["time"], UTC).isoformat(timespec="milliseconds")
    return {
        "version": "0",
        "source": "aws.ses",
        "detail-type": "Email Delivered",
        "detail": {
            "eventType": "Delivery",
            "mail": {
                "timestamp": moment,
                "messageId": f"report-of-{send['send_id']}",
                "destination": [send["address"]],
                "tags": {"send_id": [send["send_id"]]},
            },
            "delivery": {"timestamp": moment, "recipients": [send["address"]]},
        },
    }


def _text_report(send: Mapping[str, Any]) -> dict[str, Any]:
    """End User Messaging says that a text was delivered; SNS puts its envelope around it.

    Source: End User Messaging SMS user guide, "Example event data"."""
    event = {
        "eventType": "TEXT_DELIVERED",
        "eventVersion": "1.0",
        "eventTimestamp": round(send["time"] * 1_000),
        "isFinal": True,
        "destinationPhoneNumber": send["address"],
        "messageId": f"report-of-{send['send_id']}",
        "messageStatus": "DELIVERED",
        "context": {"send_id": send["send_id"]},
    }
    return {
        "Type": "Notification",
        "TopicArn": "arn:aws:sns:eu-west-1:000000000000:texts",
        "Message": json.dumps(event),
    }
