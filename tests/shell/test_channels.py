"""The settings choose the senders: what was chosen serves, what was not is never asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack

import pytest
from structlog.testing import capture_logs

from tests.senders.deliveries import crowd
from worker.channels import open_senders
from worker.clock import SystemClock
from worker.errors import SettingsError
from worker.model import Channel, Sent
from worker.sandbox.end_user_messaging import EndUserMessagingStub, conflict
from worker.sandbox.pinpoint import PinpointStub
from worker.sandbox.pinpoint_replies import Fault, Reply, always
from worker.sandbox.provider import ProviderStub
from worker.sandbox.ses import SesStub
from worker.settings import Settings

CHOICES: Mapping[str, Callable[[], ProviderStub]] = {
    "PINPOINT": PinpointStub,
    "SESV2": SesStub,
    "PINPOINT_SMS_VOICE_V2": EndUserMessagingStub,
}
ALL = Settings(
    pinpoint_application_id="app",
    email_from="shop@example.com",
    sms_sender="end_user_messaging",
    sms_origination_identity="SHOP",
    sms_check_number="+15550100099",
)


@pytest.fixture
async def stubs(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[dict[str, ProviderStub]]:
    async with AsyncExitStack() as stack:
        made: dict[str, ProviderStub] = {}
        for service, kind in CHOICES.items():
            stub = made[service] = kind()
            monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", await stub.start())
            stack.push_async_callback(stub.stop)
        yield made


@pytest.mark.parametrize(
    ("email", "sms", "reached"),
    [
        ("ses", "pinpoint", ["PINPOINT", "SESV2", "PINPOINT"]),
        ("pinpoint", "pinpoint", ["PINPOINT", "PINPOINT", "PINPOINT"]),
        ("ses", "end_user_messaging", ["PINPOINT", "SESV2", "PINPOINT_SMS_VOICE_V2"]),
    ],
)
async def test_each_channel_goes_where_the_settings_say(
    email: str, sms: str, reached: list[str], stubs: dict[str, ProviderStub]
) -> None:
    chosen = ALL.model_copy(update={"email_sender": email, "sms_sender": sms})
    found = []
    async with open_senders(chosen, SystemClock()) as senders:
        assert set(senders) == set(Channel)
        for channel in (Channel.PUSH, Channel.EMAIL, Channel.SMS):
            sender = senders[channel]
            assert channel in sender.channels
            (outcome,) = await sender.send(crowd(1, channel))
            assert isinstance(outcome, Sent)
            found += [name for name, stub in stubs.items() if stub.sends]
            for stub in stubs.values():
                stub.sends.clear()
    assert found == reached


async def test_what_is_not_chosen_needs_no_settings_and_no_service() -> None:
    pinpoint = Settings(pinpoint_application_id="app", email_sender="pinpoint")
    async with open_senders(pinpoint, SystemClock()) as senders:
        assert len(set(map(id, senders.values()))) == 1, "one client for all its channels"


@pytest.mark.parametrize("name", ["pinpoint_application_id", "email_from"])
async def test_what_is_chosen_and_not_set_up_is_told_at_once(name: str) -> None:
    with pytest.raises(SettingsError, match=f"COMEBACK_{name.upper()} is not set"):
        async with open_senders(ALL.model_copy(update={name: ""}), SystemClock()):
            pass


async def test_a_start_that_could_never_send_an_sms_ends(stubs: dict[str, ProviderStub]) -> None:
    stubs["PINPOINT_SMS_VOICE_V2"].behaviour = always(conflict("NO_ORIGINATION_IDENTITIES_FOUND"))
    with pytest.raises(SettingsError, match="NO_ORIGINATION_IDENTITIES_FOUND"):
        async with open_senders(ALL, SystemClock()):
            pass


async def test_a_start_in_a_bad_moment_goes_on_and_tells(stubs: dict[str, ProviderStub]) -> None:
    stubs["PINPOINT_SMS_VOICE_V2"].behaviour = always(Reply(fault=Fault.THROTTLED))
    with capture_logs() as logs:
        async with open_senders(ALL, SystemClock()):
            pass
    told = [entry["detail"] for entry in logs if entry["event"] == "sms_check_failed"]
    assert told == ["ThrottlingException"]
