"""Rules edited under a running worker."""

from __future__ import annotations

import signal
from pathlib import Path

import aiohttp

from tests.acceptance.world import LADDER, World, address, pause, until, world

SHADOW = LADDER.replace("mode: live", "mode: shadow")


TOKEN = "a-token-of-the-tests"


async def post(one: World, path: str, token: str = TOKEN) -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://{one.http}{path}", headers=headers) as answer,
    ):
        return answer.status, await answer.text()


async def test_a_rule_goes_live_without_a_restart(tmp_path: Path) -> None:
    async with world(tmp_path, rules=SHADOW) as one:
        worker = await one.start_ready()
        one.visit("early", "GCM")
        await pause(4.5)
        assert one.sends == ()
        (one.rules / "rules.yaml").write_text(LADDER)
        await until(lambda: "shadow -> live" in worker.log_text(), "the edit is seen", 10)
        one.visit("late", "GCM")
        await until(lambda: one.channels_of(address("late", "GCM")), "the rule is live", 10)
        assert not one.channels_of(address("early", "GCM")), "a stage is not sent after the fact"


async def test_a_broken_edit_is_refused_and_the_rules_in_force_go_on(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        worker = await one.start_ready(COMEBACK_HTTP_TOKEN=TOKEN)
        (one.rules / "rules.yaml").write_text(LADDER.replace("inactive_for", "inactve_for"))
        assert (await post(one, "/-/reload", "another-token-of-them"))[0] == 401
        status, text = await post(one, "/-/reload")
        assert status == 400
        assert 'did you mean "inactive_for"' in text
        one.visit("u", "GCM")
        await until(lambda: one.channels_of(address("u", "GCM")), "the old rule still sends")
        assert "comeback_rules_last_reload_successful 0.0" in await one.text("/metrics")

        (one.rules / "rules.yaml").write_text(SHADOW)
        worker.process.send_signal(signal.SIGHUP)

        async def repaired() -> bool:
            return "comeback_rules_last_reload_successful 1.0" in await one.text("/metrics")

        await until(repaired, "the repair is taken up")
        assert (await post(one, "/-/reload"))[0] == 200
