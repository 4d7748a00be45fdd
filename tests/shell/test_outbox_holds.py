"""What holds a whole crowd: pace, money, silences made by hand, and the edit of a ladder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from structlog.testing import capture_logs

from tests.core.timeline import rule, rule_set, stage
from tests.shell.bench_world import Desk, desk, endpoint, seen
from tests.shell.lived_state import LivedState, folder_of, rules_text
from worker.cli import commands
from worker.errors import ProblemsFound
from worker.model import DAY_MS, SECOND_MS, Channel, Outcome, Rejected, SilenceKind
from worker.rules.limits import Budget, Cap, Limits, Prices, SendRate, Window
from worker.store.silencebook import SilenceBook
from worker.store.sqlite import SqliteStore


def refused(send_id: str) -> Outcome:
    return Rejected(send_id=send_id, detail="400")


ONLY_PUSH = rule(stages=(stage("push"),))
ONLY_SMS = rule(stages=(stage("sms"),))


@asynccontextmanager
async def running(one: Desk) -> AsyncGenerator[None]:
    """Its outbox at work."""
    task = asyncio.create_task(one.outbox.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await one.store.close()


async def crowd(one: Desk, size: int, channel_type: str = "GCM") -> None:
    """So many users who are due at once."""
    for number in range(size):
        address = f"+1555010{number:04d}" if channel_type == "SMS" else f"token-{number:04d}"
        user = f"user-{number:04d}"
        await one.tell(seen(user, 0), endpoint(user, channel_type, address))


def at_seconds(one: Desk, begin_ms: int) -> list[int]:
    """How many sends were claimed in each second since then."""
    claimed = [d.claim.claimed_ms for call in one.sender.calls for d in call]
    last = max(claimed, default=begin_ms)
    counts = [0] * ((last - begin_ms) // SECOND_MS + 1)
    for at_ms in claimed:
        counts[(at_ms - begin_ms) // SECOND_MS] += 1
    return counts


async def test_a_crowd_goes_out_at_the_pace_and_the_first_second_after_a_start_is_none() -> None:
    one = await desk(ONLY_PUSH, limits=Limits(send_rates=(SendRate(max=20, per_ms=SECOND_MS),)))
    begin_ms = one.clock.now_ms()
    await crowd(one, 100)
    async with running(one):
        await one.clock.advance(12)
        counts = at_seconds(one, begin_ms)
        assert sum(counts) == 100
        assert counts[0] == 0, "nobody knows what a predecessor sent in its last second"
        assert max(counts) <= 20
        assert len(counts) <= 9, "and no second is wasted"


async def test_two_rules_that_want_one_user_at_once_keep_to_the_pace() -> None:
    one = await desk(
        ONLY_PUSH,
        replace(ONLY_PUSH, name="another"),
        limits=Limits(send_rates=(SendRate(max=1, per_ms=SECOND_MS),)),
    )
    begin_ms = one.clock.now_ms()
    await crowd(one, 4)
    async with running(one):
        await one.clock.advance(14)
        assert len(one.sent) == 8
        assert max(at_seconds(one, begin_ms)) == 1


async def test_a_slow_channel_holds_up_no_other() -> None:
    slow_sms = Limits(send_rates=(SendRate(max=1, per_ms=60 * SECOND_MS, channel=Channel.SMS),))
    one = await desk(ONLY_SMS, replace(ONLY_PUSH, name="push-only"), limits=slow_sms)
    await crowd(one, 10, "SMS")
    for number in range(10):
        await one.tell(seen(f"late-{number}", 0.5), endpoint(f"late-{number}", "GCM", f"t{number}"))
    async with running(one):
        await one.clock.advance(100)
        assert [stage for _, stage, _ in one.sent].count("push") == 10
        assert [stage for _, stage, _ in one.sent].count("sms") == 1


async def test_a_day_is_never_overspent_and_a_refused_send_gives_its_money_back() -> None:
    budget = Budget(channel=Channel.SMS, max_micros=100)
    one = await desk(
        ONLY_SMS, limits=Limits(budgets=(budget,)), prices=Prices(otherwise={Channel.SMS: 10})
    )

    for number in range(2):
        one.sender.script(f"+1555010{number:04d}", refused)
    await crowd(one, 30, "SMS")
    async with running(one):
        await one.clock.advance(60)
        assert len(one.sent) == 10, "two of them were refused"
        assert sum(spend.micros for spend in await one.store.spends(0)) == 80
        for late in ("+15550199991", "+15550199992", "+15550199993"):
            await one.tell(seen(late, 0.9), endpoint(late, "SMS", late))
        await one.clock.advance(60)
        assert len(one.sent) == 12, "what comes back serves who falls due from then on"
        await one.pass_time(hours=12)  # noon to midnight, where the day of the budget ends
        assert len(one.sent) == 22
        await one.pass_time(days=1)
        assert len(one.sent) == 32
        await one.pass_time(days=1)
        assert len(one.sent) == 33


async def test_caps_count_by_the_day_on_the_wall_also_when_the_stream_lags() -> None:
    """A push that arrives after midnight is of the new day, whatever the stream thinks."""
    daily = Limits(caps=(Cap(max=1, per_ms=DAY_MS, window=Window.CALENDAR),))
    later = rule("later", stages=(stage("push"),), inactive_for_ms=ONLY_PUSH.inactive_for_ms + 1)
    one = await desk(ONLY_PUSH, later, limits=daily, at_day=7.5)
    await one.tell(seen("ann", 0.4985), endpoint("ann", "GCM", "t"))  # 23:57:50
    one.source.lag_ms = 120_000
    async with running(one):
        await one.pass_time(hours=0.01)
        assert len(one.sent) == 1
        one.source.lag_ms = 0
        await one.clock.advance(600)
        assert len(one.sent) == 1, "the second message of the same day on the wall"
        await one.pass_time(days=1)
        assert len(one.sent) == 2


async def test_spent_money_is_remembered_by_the_next_process(tmp_path: Path) -> None:
    path = str(tmp_path / "state.db")
    limits = Limits(budgets=(Budget(channel=Channel.SMS, max_micros=50),))
    prices = Prices(otherwise={Channel.SMS: 10})
    one = await desk(ONLY_SMS, limits=limits, prices=prices, path=path)
    await crowd(one, 8, "SMS")
    async with running(one):
        await one.clock.advance(10)
        assert len(one.sent) == 5
    again = await desk(ONLY_SMS, limits=limits, prices=prices, path=path)
    async with running(again):
        await again.clock.advance(60)
        assert again.sent == []


async def test_silence_pause_and_kill_work_while_it_runs_and_end(tmp_path: Path) -> None:
    path = str(tmp_path / "state.db")
    one = await desk(ONLY_PUSH, path=path)
    book = SilenceBook(path, clock=one.clock)
    kill = book.add(SilenceKind.KILL, (), ends_ms=None, author="a", comment="c")
    await crowd(one, 3)
    async with running(one):
        await one.clock.advance(60)
        assert one.sent == []
        assert one.metrics.registry.get_sample_value("comeback_silences", {"kind": "kill"}) == 1
        ends_ms = one.clock.now_ms() + 30 * SECOND_MS
        matcher = ('timezone="UTC"',)
        book.add(SilenceKind.SILENCE, matcher, ends_ms=ends_ms, author="a", comment="c")
        book.end(kill.silence_id, author="b")
        await one.clock.advance(20)
        assert one.sent == []
        await one.clock.advance(20)
        assert len(one.sent) == 3
        assert one.metrics.registry.get_sample_value("comeback_silences", {"kind": "kill"}) == 0


async def test_an_edit_lets_old_episodes_finish_also_after_a_restart(tmp_path: Path) -> None:
    """Through the files the state keeps: `Worker` rebuilds the old ladder from them."""
    path = str(tmp_path / "state.db")
    one = await desk(rule(stages=(stage("push"), stage("email", 2))), path=path)
    await one.tell(
        seen("ann", 0), endpoint("ann", "GCM", "t"), endpoint("ann", "EMAIL", "a@x.test")
    )
    async with running(one):
        await one.clock.advance(5)
        assert [stage for _, stage, _ in one.sent] == ["push"]
        old = one.rules.rules[0]
        edited = rule(revision="r2", stages=(stage("push"), stage("sms", 2)))
        one.rules = replace(
            rule_set(edited), revision="s2", retired={(old.name, old.revision): old}
        )
        await one.store.adopt(one.rules.adoption)
        await one.pass_time(days=3)
        assert [stage for _, stage, _ in one.sent] == ["push", "email"]


def command(path: Path, *words: str) -> str:
    result = CliRunner().invoke(
        commands,
        [*words],
        env={"COMEBACK_STATE": str(path), "COMEBACK_RULES": str(path.parent / "no rules")},
    )
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


async def test_the_commands_write_list_and_end_what_is_held(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    await desk(path=str(path))
    said = command(
        path,
        "silence",
        "add",
        'country="FR"',
        "--for",
        "2h",
        "--comment",
        "strike",
        "--author",
        "kim",
    )
    assert 'silence of country="FR", until ' in said
    assert "(in 2h)" in said
    command(path, "pause", "channel", "sms", "--author", "kim", "--comment", "price")
    command(path, "kill", "--author", "lee")
    listed = command(path, "silence", "list")
    assert [line.split()[1] for line in listed.splitlines()] == ["KILL", "pause", "silence"]
    assert "kim" in listed
    assert "strike" in listed
    assert "held by hand" in command(path, "state")
    command(path, "resume", "all", "--author", "kim")
    command(path, "resume", "channel", "sms", "--author", "kim")
    ended = command(path, "silence", "end", "1", "--author", "kim")
    assert ended.startswith('ended now: 1, silence of country="FR"; ')
    assert "until" not in ended
    with pytest.raises(ProblemsFound, match=r"silence of .*, ended .* ago.* already; nothing was"):
        command(path, "silence", "end", "1", "--author", "kim")
    assert command(path, "silence", "list") == "nothing is silenced, paused or stopped\n"
    lines = command(path, "silence", "list", "--all").splitlines()
    assert len(lines) == 3
    assert all("ended 20" in line and "until 20" not in line for line in lines)


async def test_slips_are_told_before_anything_is_written(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    await SqliteStore.open(str(path), wait=False, clock=(await desk()).clock)
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "shop.yaml").write_text(
        "apiVersion: v1\nrules:\n  - {rule: winback, inactive_for: 7d, stages: "
        "[{name: p, channel: push, message: {title: t, body: b}}]}\n"
    )
    rest = "--for", "2h", "--comment", "c"
    slips: dict[tuple[str, ...], str] = {
        ("silence", "add", 'rule="winbak"', *rest): 'did you mean "winback"?',
        ("silence", "add", 'stage="q"', *rest): 'no stage "q"; there are: p',
        ("silence", "add", 'rule="winback"', "stage=q", *rest): 'no stage "q" in rule winback;',
        ("silence", "add", 'country="Germany"', *rest): 'did you mean "DE"?',
        ("silence", "add", 'country!="Germany"', *rest): 'did you mean "DE"?',
        ("silence", "add", 'timezone="Berlin"', *rest): 'did you mean "Europe/Berlin"?',
        ("silence", "add", 'channel="emial"', *rest): 'did you mean "email"?',
        ("silence", "add", "channel=sms", "channel=push", *rest): "both sms and push",
        ("pause", "rule", "winbak"): 'did you mean "winback"?',
        ("pause", "rule"): "which rule?",
        ("pause", "channel", "fax"): "unknown channel",
        ("pause", "all", "winback"): "rule winback",
        ("silence", "add", "country==FR", "--for", "2h", "--comment", "c"): "single =",
        ("silence", "add", 'a="b"', "--comment", "c"): "--for 2h",
        ("silence", "add", 'a="b"', "--for", "2", "--comment", "c"): "no unit",
        ("silence", "add", 'a="b"', "--until", "2020-01-01T00:00:00Z", "--comment", "c"): "passed",
        ("silence", "end", "7"): "no silence 7",
        ("resume", "rule", "winback"): "is not paused",
    }
    for words, needle in slips.items():
        result = CliRunner().invoke(
            commands,
            [*words, "--author", "kim"],
            env={"COMEBACK_STATE": str(path), "COMEBACK_RULES": str(rules)},
        )
        assert result.exit_code != 0, words
        assert needle in f"{result.output}{result.exception}", words
    assert command(path, "silence", "list") == "nothing is silenced, paused or stopped\n"


async def test_what_only_old_ladders_have_can_be_silenced_and_so_can_all_when_rules_are_broken(
    tmp_path: Path,
) -> None:
    path, rules = tmp_path / "state.db", folder_of(tmp_path / "rules", rules_text())
    lived = await LivedState.begin(path, rules)
    await lived.close()
    folder_of(rules, rules_text().replace("name: push", "name: nudge"))

    def add(*matchers: str) -> Result:
        words = ["silence", "add", *matchers, "--for", "2h", "--comment", "c", "--author", "kim"]
        environment = {"COMEBACK_STATE": str(path), "COMEBACK_RULES": str(rules)}
        return CliRunner().invoke(commands, words, env=environment)

    assert add('rule="winback"', 'stage="nudge"').exit_code == 0, "of the folder"
    assert add('rule="winback"', 'stage="push"').exit_code == 0, "of what is in force"
    assert add('stage="pusch"').exit_code != 0
    (rules / "shop.yaml").write_text("ruels: []")
    said = add('stage="pusch"')
    assert said.exit_code == 0
    assert "names are taken as they are" in said.output


async def test_a_hold_by_hand_is_logged_once_when_it_begins_and_once_when_it_ends(
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "state.db")
    one = await desk(ONLY_PUSH, path=path)
    book = SilenceBook(path, clock=one.clock)
    kill = book.add(SilenceKind.KILL, (), ends_ms=None, author="kim", comment="wrong text")
    with capture_logs() as logs:
        async with running(one):
            await one.clock.advance(5)
            ends_ms = one.clock.now_ms() + 10 * SECOND_MS
            book.add(
                SilenceKind.SILENCE, ('a="b"',), ends_ms=ends_ms, author="lee", comment="strike"
            )
            await one.clock.advance(5)
            book.end(kill.silence_id, author="kim")
            await one.clock.advance(20)
    told = [
        (line["event"], line["silence"], line["kind"], line["author"], line["comment"])
        for line in logs
        if line["event"].startswith("silence_")
    ]
    assert told == [
        ("silence_in_force", 1, "kill", "kim", "wrong text"),
        ("silence_in_force", 2, "silence", "lee", "strike"),
        ("silence_over", 1, "kill", "kim", "wrong text"),
        ("silence_over", 2, "silence", "lee", "strike"),
    ]
