"""The real process, end to end: who gets what, and what `explain` tells of it."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

from tests.acceptance.world import address, now_ms, pause, until, visit, world
from tests.core import samples
from worker.sandbox.pinpoint_replies import DEAD, OPTED_OUT, THROTTLED, Reply, always, first

ALL = ("GCM", "EMAIL", "SMS")


def addresses(user: str) -> tuple[str, ...]:
    return tuple(address(user, kind) for kind in ALL)


async def test_one_user_climbs_the_ladder_and_another_who_returns_in_between_gets_no_more(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as one:
        await one.start_ready()
        one.visit("stays-away")
        one.visit("returns")
        await until(lambda: one.channels_of(*addresses("returns")), "the push is sent")
        while one.channels_of(*addresses("stays-away")) != ["push", "email", "sms"]:
            one.visit("returns", "GCM")
            await pause(0.5)
        assert one.channels_of(*addresses("returns")) == ["push"]

        code, story = await one.command("explain", "stays-away")
        assert code == 0
        for word in ("inactive", "claimed", "sent", "ladder_done", "exhausted", "push", "sms"):
            assert word in story
        code, story = await one.command("explain", "returns")
        assert "active_again" in story
        assert "ends as returned" in story
        assert "winback" in story.split("what comes next")[1]
        for secret in addresses("returns"):
            assert secret not in story


async def test_events_in_the_documented_shapes_drive_the_ladder(tmp_path: Path) -> None:
    """App events with an endpoint object, without a user id, in an EventBridge envelope, several
    in one record, campaign events with an endpoint in a string, and a click on the e-mail."""
    async with world(tmp_path) as one:
        await one.start_ready()
        at = now_ms()
        times = {"event_timestamp": at, "arrival_timestamp": at}
        phone = samples.endpoint(
            Demographic={"Timezone": "Europe/Paris"}, User={"UserId": "u1"}, Id="phone"
        )
        mail = phone | {"ChannelType": "EMAIL", "Address": samples.MAIL, "Id": "mail"}
        sms = phone | {"ChannelType": "SMS", "Address": "+15550100042", "Id": "sms"}
        client = {"client_id": "phone"}
        one.put(samples.app_event(**times, endpoint=phone, client=client))
        envelope = {"version": "0", "source": "shop.app", "detail-type": "App Event"}
        one.put(envelope | {"detail": samples.app_event(**times, endpoint=mail)})
        both = samples.as_bytes(
            samples.app_event(**times, endpoint=sms),
            samples.app_event(**times, endpoint=None, client={"client_id": "PHONE"}),
        )
        one.stream.put(both, partition_key="k", now_ms=at)
        mine = (samples.MAIL, "+15550100042", phone["Address"])
        await until(lambda: one.channels_of(*mine) == ["push", "email"], "the e-mail is sent")
        at = now_ms()
        click = samples.mail_event("click")
        one.put(click | {"event_timestamp": at - 900_000, "arrival_timestamp": at})
        await pause(4)
        assert one.channels_of(*mine)[:3] == ["push", "email", "push"], "the click was a return"


async def test_a_dead_token_moves_to_email_at_once_and_is_never_used_again(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        one.pinpoint.behaviours[address("u", "GCM")] = always(DEAD)
        one.pinpoint.behaviours[address("u", "EMAIL")] = always(OPTED_OUT)
        await one.start_ready()
        one.visit("u")
        await until(lambda: one.channels_of(*addresses("u")) == ["sms"], "the SMS is sent")
        one.visit("u", "SMS")
        await until(
            lambda: one.channels_of(*addresses("u")) == ["sms", "sms"], "the next silence: SMS"
        )
        assert [send.address for send in one.sends].count(address("u", "GCM")) == 1
        assert [send.address for send in one.sends].count(address("u", "EMAIL")) == 1


async def test_a_throttled_address_is_tried_again_and_accepted_once(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        one.pinpoint.behaviours[address("u", "GCM")] = first(2, THROTTLED)
        await one.start_ready()
        one.visit("u", "GCM")
        await until(lambda: one.channels_of(address("u", "GCM")), "the push is accepted")
        state = await one.state_json()
        assert {"state": "sent", "channel": "push", "count": 1} in state["sends"]


async def test_opted_out_users_and_users_in_their_night_get_nothing(tmp_path: Path) -> None:
    rules = """
apiVersion: v1
law_windows: ignore
quiet_hours:
  - {name: always, from: "00:00", to: "23:59", match: ['timezone="Asia/Tokyo"']}
rules:
  - rule: winback
    mode: live
    inactive_for: 1s
    stages: [{name: push, channel: push, message: {title: t, body: b}}]
"""
    async with world(tmp_path, rules=rules) as one:
        await one.start_ready()
        out = visit("out", "GCM")
        out["endpoint"]["OptOut"] = "ALL"
        asleep = visit("asleep", "GCM")
        asleep["endpoint"]["Demographic"] = {"Timezone": "Asia/Tokyo"}
        one.put(out, asleep, visit("awake", "GCM"))
        await until(lambda: one.channels_of(address("awake", "GCM")), "the one awake gets it")
        await pause(2)
        assert [send.address for send in one.sends] == [address("awake", "GCM")]
        _, story = await one.command("explain", "asleep")
        assert "quiet_hours" in story


async def test_sigterm_waits_for_calls_under_way_and_exits_0(tmp_path: Path) -> None:
    slow = always(Reply(delay_seconds=1.5))
    async with world(tmp_path) as one:
        one.pinpoint.behaviour = slow
        worker = await one.start_ready()
        one.visit("u", "GCM")
        await until(lambda: one.sends, "the call is under way")
        worker.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.process.wait, 10) == 0
        state = await one.state_json()
        assert state["sends"] == [{"state": "sent", "channel": "push", "count": 1}]


async def test_sigterm_cuts_off_calls_that_outlast_the_drain_and_lists_them_as_uncertain(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as one:
        one.pinpoint.behaviour = always(Reply(delay_seconds=60))
        worker = await one.start_ready(COMEBACK_DRAIN_TIMEOUT="500ms")
        one.visit("u", "GCM")
        await until(lambda: one.sends, "the call is under way")
        worker.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.process.wait, 10) == 0
        state = await one.state_json()
        assert [send["user"] for send in state["uncertain"]] == ["u"]
        await one.start_ready()
        await pause(1)
        assert len(one.sends) == 1, "an uncertain send is not repeated"


async def test_a_standby_waits_says_so_and_takes_over_from_a_killed_worker(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        first_worker = await one.start_ready()
        one.visit("u", "GCM")
        await until(lambda: one.sends, "the push is sent")
        taken, one.http = one.http, f"127.0.0.1:{int(one.http.rpartition(':')[2]) + 1}"
        standby = one.start(COMEBACK_HTTP=one.http)

        async def waits() -> bool:
            return await one.get("/-/healthy") == 200 and await one.get("/-/ready") == 503

        await until(waits, "the standby is alive and not ready")
        assert "standby" in standby.log_text()
        await asyncio.to_thread(first_worker.kill)
        await one.ready(standby)
        await pause(1)
        assert len(one.sends) == 1
        assert taken != one.http


async def test_metrics_tell_what_happened(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await one.start_ready()
        one.visit("u", "GCM")
        one.stream.put(b"\xff\x00 rubbish", partition_key="k", now_ms=now_ms())
        await until(lambda: one.sends, "the push is sent")
        text = await one.text("/metrics")
        numbers = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
        assert float(numbers['comeback_dead_letters_total{reason="not_json"}']) == 1
        assert float(numbers['comeback_decisions_total{reason="claimed"}']) == 1
        assert float(numbers["comeback_source_fast_decode"]) == 1
        assert float(numbers["comeback_records_total"]) == 2
        assert float(numbers["comeback_stream_retention_seconds"]) == 86_400
        assert 'comeback_shard_lag_seconds{shard="shardId-000000000000"}' in numbers
        state = await one.state_json()
        assert state["dead_letters"] == {"not_json": 1}


async def test_the_story_as_json_is_json(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await one.start_ready()
        one.visit("u", "GCM")
        await until(lambda: one.sends, "the push is sent")
        (story,) = json.loads((await one.command("explain", "u", "--json"))[1])
        assert story["user"] == "u"
        assert [entry["reason"] for entry in story["journal"]][:2] == ["inactive", "claimed"]
