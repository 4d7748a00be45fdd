"""Each checker finds its promise broken in a story that breaks it, and only there.

Stories come in pairs: one that must be found, and the nearest one that must not.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.simulator import checkers, tales
from tests.simulator.checkers import check
from tests.simulator.rulebook import (
    DAY_MS,
    HOUR_MS,
    BudgetSpec,
    CapSpec,
    QuietSpec,
    RateSpec,
)
from tests.simulator.tales import (
    LADDER,
    Tale,
    book_with,
    rule_with,
)

NIGHT = QuietSpec(name="night", start="21:00", end="08:00", channel=None, otherwise="UTC")


def broken(tale: Tale) -> set[str]:
    """The promises a tale breaks."""
    return {violation.promise for violation in check(tale.story())}


def ladder(tale: Tale, since: float = 0, user: str = "u") -> Tale:
    """A user with a phone and a mail address comes, falls silent, and gets the whole ladder."""
    tale.endpoint(since, user)
    tale.visit(since, user)
    tale.call(since + 24.1, "s0", user=user)
    tale.call(since + 48.2, "s1", user=user, channel="email")
    return tale


def test_a_ladder_as_it_should_be_breaks_nothing() -> None:
    assert check(ladder(Tale()).story()) == []


# --- P1 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["ok", "timeout", "cut", "error", "unknown"])
def test_p1_finds_a_second_call_after_one_that_may_have_been_taken(answer: str) -> None:
    tale = ladder(Tale())
    tale.call(24.05, "s0", answer=answer)
    assert "P1" in broken(tale)


@pytest.mark.parametrize("answer", ["throttled", "temporary", "refused_setup", "bad_request"])
def test_p1_lets_a_refused_call_be_made_again(answer: str) -> None:
    tale = ladder(Tale())
    tale.call(24.05, "s0", answer=answer)
    assert broken(tale) == set()


def test_p1_finds_a_call_again_whose_answer_nobody_heard_but_that_was_taken() -> None:
    tale = ladder(Tale())
    tale.call(24.05, "s0", answer="throttled", accepted=True)
    assert "P1" in broken(tale)


def test_p1_knows_another_silence() -> None:
    tale = ladder(Tale(hours=150))
    tale.visit(50)
    tale.call(74.1, "s0")
    tale.call(98.2, "s1", channel="email")
    assert broken(tale) == set()


def test_p1_allows_resending_what_is_uncertain_and_not_what_is_known() -> None:
    resend = tuple(replace(stage, on_uncertain="resend") for stage in LADDER)
    book = book_with(rule_with(stages=resend))
    uncertain, known = ladder(Tale(book)), ladder(Tale(book))
    uncertain.call(24.05, "s0", answer="timeout")
    known.call(24.05, "s0", answer="ok")
    assert broken(uncertain) == set()
    assert "P1" in broken(known)


def test_p1_forgives_a_call_that_was_on_its_way_when_its_process_ended() -> None:
    resend = tuple(replace(stage, on_uncertain="resend") for stage in LADDER[:1])
    for seconds, expected in ((0.4, set()), (2, {"P1"})):
        tale = Tale(book_with(rule_with(stages=resend)), hours=40)
        tale.visit(0)
        tale.end(24.1 - seconds / 3_600)
        tale.start(24.1 - seconds / 3_600, process=2)
        tale.call(24.1, "s0")
        tale.call(24.2, "s0")
        assert broken(tale) == expected


# --- P2 ---------------------------------------------------------------------------------------


def test_p2_finds_a_record_nobody_got() -> None:
    lost, trimmed = ladder(Tale()), ladder(Tale())
    lost.rubbish(3, given=None)
    trimmed.trim(trimmed.rubbish(3, given=None), 30)
    assert "P2" in broken(lost)
    assert broken(trimmed) == set()


@pytest.mark.parametrize("missing", ["s0", "s1"])
def test_p2_finds_a_stage_that_is_missing(missing: str) -> None:
    tale = Tale()
    tale.endpoint(0)
    tale.visit(0)
    if missing == "s1":
        tale.call(24.1, "s0")
    found = check(tale.story())
    assert [violation.promise for violation in found] == ["P2"]
    assert f"stage {missing} of rule r" in found[0].says


def _unexplained() -> Tale:
    tale = Tale()
    tale.endpoint(0)
    tale.visit(0)
    return tale


def _returned(tale: Tale) -> None:
    tale.visit(24.2)
    tale.visit(47)
    tale.visit(70)
    tale.visit(90)


def _opted_out(tale: Tale) -> None:
    tale.endpoint(1, channel="push", opted_out=True)
    tale.endpoint(1, opted_out=True)


def _paused(tale: Tale) -> None:
    tale.silence(20, "pause")


def _down(tale: Tale) -> None:
    tale.end(20)


@pytest.mark.parametrize("reason", [_returned, _opted_out, _paused, _down])
def test_p2_accepts_a_reason_for_nothing(reason: Callable[[Tale], None]) -> None:
    tale = _unexplained()
    reason(tale)
    assert broken(tale) == set()


@pytest.mark.parametrize(
    "book",
    [
        book_with(rule_with(mode="shadow")),
        book_with(rule_with(inactive_for_ms=5 * DAY_MS)),
        book_with(rule_with(holdout_percent=99)),
        book_with(
            budgets=(BudgetSpec(channel="push", micros=1, timezone="UTC"),), prices={"push": 2}
        ),
        book_with(quiet=(replace(NIGHT, start="00:00", end="23:59"),)),
    ],
)
def test_p2_accepts_what_the_rules_say(book: object) -> None:
    assert broken(_unexplained()) == {"P2"}
    tale = Tale(book)  # type: ignore[arg-type]
    tale.endpoint(0)
    tale.visit(0)
    assert broken(tale) == set()


def test_p2_wants_the_next_stage_at_once_after_one_that_cannot_be_delivered() -> None:
    tale = Tale(hours=30)
    tale.endpoint(0)
    tale.visit(0)
    tale.call(24.1, "s0", answer="rejected")
    assert broken(tale) == {"P2"}
    tale.call(24.2, "s1", channel="email")
    assert broken(tale) == set()


def test_p2_wants_a_throttled_stage_to_be_tried_again() -> None:
    tale = Tale(hours=30)
    tale.visit(0)
    tale.call(24.1, "s0", answer="throttled")
    assert broken(tale) == {"P2"}
    tale.call(24.2, "s0")
    assert broken(tale) == set()


def test_p2_counts_what_a_cap_holds_back() -> None:
    cap = CapSpec(most=1, per_ms=7 * DAY_MS, window="rolling")
    tale = Tale(book_with(caps=(cap,)))
    tale.endpoint(0)
    tale.visit(0)
    tale.call(24.1, "s0")
    assert broken(tale) == set()


def _refused_in_vain(tale: Tale, **more: Any) -> Tale:
    """A throttled call, a return, and a silence in which nothing is sent."""
    tale.visit(0)
    tale.call(24.1, "s0", answer="throttled", **more)
    tale.visit(24.5)
    return tale


def _late(_: Tale) -> dict[str, Any]:
    return {"answered_ms": tales.hour(24.1) + 20_000}


def _in_time(_: Tale) -> dict[str, Any]:
    return {"answered_ms": tales.hour(24.1) + 2_000}


def _ended_after(seconds: float, where: str) -> Callable[[Tale], dict[str, Any]]:
    def end(tale: Tale) -> dict[str, Any]:
        tale.end(24.1 + seconds / 3_600, where=where)
        tale.start(24.2, process=2)
        return {}

    return end


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        (_late, set()),
        (_in_time, {"P2"}),
        (_ended_after(2, "before_commit of settle"), set()),
        (_ended_after(20, "before_commit of settle"), {"P2"}),
        (_ended_after(20, "power cut, before_commit of settle"), set()),
        (_ended_after(60, "power cut, before_commit of settle"), {"P2"}),
    ],
)
def test_p2_counts_in_caps_what_was_refused_when_nobody_kept_the_answer(
    story: Callable[[Tale], dict[str, Any]], expected: set[str]
) -> None:
    cap = CapSpec(most=1, per_ms=7 * DAY_MS, window="rolling")
    tale = Tale(book_with(rule_with(stages=LADDER[:1]), caps=(cap,)), hours=60)
    assert broken(_refused_in_vain(tale, **story(tale))) == expected


def test_p2_asks_for_addresses_from_when_a_ladder_may_have_begun() -> None:
    by_mail = (replace(LADDER[0], channel="email"),)
    for told, expected in ((90, set()), (60, {"P2"})):
        tale = Tale(book_with(rule_with(cooldown_ms=60 * HOUR_MS, stages=by_mail)), hours=150)
        tale.endpoint(0)
        tale.visit(0)
        tale.call(24.1, "s0", channel="email")
        tale.endpoint(49, opted_out=True)
        tale.visit(50)
        tale.endpoint(told)
        assert broken(tale) == expected


# --- P3, P4 -----------------------------------------------------------------------------------


def test_p3_finds_a_call_after_a_return_that_came_before_the_stage_fell_due() -> None:
    tale = ladder(Tale(hours=60))
    tale.visit(23.9, given=30)
    assert "P3" in broken(tale)


def test_p3_forgives_a_return_that_came_after_the_stage_fell_due_and_was_not_read() -> None:
    tale = Tale(hours=40)
    tale.visit(0)
    tale.call(24.1, "s0")
    tale.visit(24.05, given=24.2)
    assert broken(tale) == set()


def test_p3_finds_a_call_after_a_return_the_worker_had_got() -> None:
    tale = Tale(hours=40)
    tale.visit(0)
    tale.call(24.1, "s0")
    tale.visit(24.01)
    assert broken(tale) == {"P3"}


def test_p3_forgives_what_a_killed_worker_may_not_have_kept() -> None:
    tale = Tale(hours=40)
    tale.visit(0)
    again = tale.visit(24.01)
    tale.end(24.01)
    tale.start(24.02, 2)
    tale.call(24.1, "s0")
    tale.give(again, 24.2)
    assert broken(tale) == set()


def test_p3_finds_a_call_to_somebody_who_was_never_silent_for_long_enough() -> None:
    tale = Tale(hours=40)
    tale.visit(0)
    tale.call(23, "s0")
    assert "P3" in broken(tale)


def test_p3_takes_a_late_event_for_the_time_it_tells() -> None:
    late, future = Tale(hours=26), Tale(hours=26)
    late.visit(10, event=0)
    future.visit(0, event=10)
    late.call(24.1, "s0")
    future.call(24.3, "s0")
    assert broken(late) == set()
    assert broken(future) == set()


def test_p3_counts_an_anonymous_visit_once_it_has_a_name() -> None:
    for named, expected in ((True, {"P3"}), (False, set())):
        tale = Tale(hours=26)
        tale.visit(0)
        tale.visit(20, endpoint="x", anonymous=True)
        if named:
            tale.endpoint(21, channel="push", endpoint="x")
        tale.call(24.1, "s0")
        assert broken(tale) == expected


def test_p3_forgives_as_much_as_the_clock_was_wrong_by() -> None:
    right, wrong = Tale(hours=26), Tale(hours=26)
    wrong.clock(10, 5)
    for tale in (right, wrong):
        tale.visit(0)
        tale.call(20, "s0")
    assert "P3" in broken(right)
    assert broken(wrong) == set()


def test_p4_finds_a_next_stage_that_did_not_wait_from_the_send() -> None:
    tale = Tale()
    tale.endpoint(0)
    tale.visit(0)
    tale.call(40, "s0")
    tale.call(48.1, "s1", channel="email")
    assert "P4" in broken(tale)


def test_p4_finds_a_call_while_a_record_is_unread_for_too_long() -> None:
    stale, fresh = ladder(Tale()), ladder(Tale())
    stale.visit(23, user="other", given=30)
    fresh.visit(24, user="other", given=24.2)
    for tale in (stale, fresh):
        tale.endpoint(26, "other")
        tale.call(48, "s0", user="other")
        tale.call(72.1, "s1", user="other", channel="email")
    assert "P4" in broken(stale)
    assert broken(fresh) == set()


# --- P5 ---------------------------------------------------------------------------------------


def test_p5_finds_calls_to_addresses_that_must_get_nothing() -> None:
    for at, expected in ((23.0, {"P5"}), (24.2, set())):
        tale = Tale(hours=26)
        tale.visit(0)
        tale.endpoint(at, channel="push", opted_out=True)
        tale.call(24.1, "s0")
        assert broken(tale) == expected, at


def test_p5_finds_calls_to_stopped_addresses() -> None:
    for at, expected in ((23.0, {"P5"}), (24.2, set())):
        tale = Tale(hours=26)
        tale.visit(0)
        tale.stop(at)
        tale.call(24.1, "s0")
        assert broken(tale) == expected, at


def test_p5_lets_the_newest_telling_hold() -> None:
    tale = Tale(hours=26)
    tale.visit(0)
    tale.endpoint(10, channel="push", opted_out=True)
    tale.endpoint(11, channel="push")
    tale.call(24.1, "s0")
    assert broken(tale) == set()


def test_p5_finds_a_call_to_what_the_provider_called_dead() -> None:
    for answer, expected in (("rejected", {"P5"}), ("throttled", set())):
        tale = Tale(hours=80)
        tale.visit(0)
        tale.call(24.1, "s0", answer=answer)
        if answer == "throttled":
            tale.call(24.2, "s0")
        tale.visit(30)
        tale.call(54.1, "s0")
        assert broken(tale) == expected, answer


# --- P6 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "hour", "quiet"),
    [
        ("UTC", 22, True),
        ("UTC", 12, False),
        ("Asia/Tokyo", 13, True),
        ("Asia/Tokyo", 0, False),
        ("Not/AZone", 22, True),
    ],
)
def test_p6_finds_calls_in_quiet_hours_of_the_users_zone(zone: str, hour: int, quiet: bool) -> None:
    tale = Tale(book_with(quiet=(NIGHT,)), hours=49)
    tale.visit(0, timezone=zone)
    tale.call(24 + hour, "s0")
    assert broken(tale) == ({"P6"} if quiet else set())


def test_p6_takes_the_country_for_a_zone_nobody_told() -> None:
    for hour, expected in ((13, {"P6"}), (0, set())):
        tale = Tale(book_with(quiet=(NIGHT,)), hours=38)
        tale.visit(0, timezone=None, country="JP")
        tale.call(24 + hour, "s0")
        assert broken(tale) == expected


def test_p6_goes_by_the_workers_clock() -> None:
    tale = Tale(book_with(quiet=(NIGHT,)), hours=49)
    tale.visit(0)
    tale.clock(30, -8)
    tale.call(46, "s0")
    assert broken(tale) == set()


# --- P7 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "limits",
    [
        {"caps": (CapSpec(most=1, per_ms=2 * DAY_MS, window="rolling"),)},
        {"caps": (CapSpec(most=1, per_ms=2 * DAY_MS, window="calendar"),)},
        {"min_gap_ms": 25 * HOUR_MS},
        {"rates": (RateSpec(channel=None, most=1, per_ms=25 * HOUR_MS),)},
        {
            "prices": {"push": 3, "email": 3},
            "budgets": (BudgetSpec(channel="email", micros=2, timezone="UTC"),),
        },
    ],
)
def test_p7_finds_what_a_limit_forbids(limits: dict[str, Any]) -> None:
    assert "P7" in broken(ladder(Tale(book_with(**limits))))


def test_p7_counts_over_restarts_and_not_what_was_refused() -> None:
    cap = CapSpec(most=1, per_ms=2 * DAY_MS, window="rolling")
    counted, given_back = Tale(book_with(caps=(cap,))), Tale(book_with(caps=(cap,)), hours=49)
    for tale, answer in ((counted, "ok"), (given_back, "rejected")):
        tale.endpoint(0)
        tale.visit(0)
        tale.call(24.1, "s0", answer=answer)
        tale.end(30)
        tale.start(31, 2)
        tale.call(48.2, "s1", channel="email")
    assert "P7" in broken(counted)
    assert broken(given_back) == set()


@pytest.mark.parametrize(
    "book",
    [
        book_with(rule_with(mode="shadow")),
        book_with(rule_with(holdout_percent=99)),
        book_with(rule_with(name="another")),
        book_with(rule_with(edition=2)),
    ],
)
def test_p7_finds_calls_of_rules_that_may_not_send(book: object) -> None:
    assert "P7" in broken(ladder(Tale(book)))  # type: ignore[arg-type]


def test_p7_finds_an_old_ladder_after_an_edit_that_moves_users() -> None:
    for on_edit, expected in (("move", {"P7"}), ("finish_old", set())):
        rule = rule_with(on_edit=on_edit)
        tale = ladder(Tale(book_with(rule)))
        edited = replace(rule, edition=2, stages=(replace(LADDER[0], name="new"), LADDER[1]))
        tale.rules(30, book_with(edited))
        assert broken(tale) == expected


def test_p7_forgives_either_book_just_after_an_edit() -> None:
    for at, expected in ((48.199, set()), (40, {"P7"})):
        tale = ladder(Tale(hours=49))
        tale.rules(at, book_with(rule_with(mode="shadow")))
        assert broken(tale) == expected


def test_a_broken_book_changes_nothing() -> None:
    tale = ladder(Tale())
    tale.rules(10, None)
    assert broken(tale) == set()


@pytest.mark.parametrize("what", ["pause", "kill", "silence"])
def test_p7_finds_calls_while_somebody_said_stop(what: str) -> None:
    tale = ladder(Tale(hours=60))
    tale.silence(48, what)
    assert broken(tale) == {"P7"}
    elsewhere = ladder(Tale(hours=60))
    elsewhere.silence(48, what, matchers={"channel": "sms"})
    assert broken(elsewhere) == set()


def test_p7_finds_a_ladder_that_began_in_the_cooldown() -> None:
    for cooldown, expected in ((50, {"P7"}), (20, set())):
        tale = ladder(Tale(book_with(rule_with(cooldown_ms=cooldown * HOUR_MS))))
        tale.visit(50)
        tale.call(74.2, "s0")
        tale.call(98.3, "s1", channel="email")
        assert broken(tale) == expected


def test_p7_counts_a_cooldown_from_what_a_wrong_clock_showed() -> None:
    rule = rule_with(cooldown_ms=50 * HOUR_MS, stages=LADDER[:1])
    for offset, again, expected in ((-3, 74.2, set()), (-3, 73, {"P7"}), (0, 74.2, {"P7"})):
        tale = Tale(book_with(rule))
        tale.clock(20, offset)
        tale.visit(0)
        tale.call(27.1, "s0")
        tale.clock(30, 0)
        tale.visit(40)
        tale.call(again, "s0")
        assert broken(tale) - {"P2"} == expected


def test_p7_counts_a_cooldown_over_what_a_stranger_lived_through() -> None:
    rule = rule_with(cooldown_ms=50 * HOUR_MS, stages=LADDER[:1])
    for again, expected in ((80, {"P7"}), (90, set())):
        tale = Tale(book_with(rule))
        tale.visit(0)
        tale.visit(5, endpoint="x", anonymous=True)
        tale.call(29.1, "s0", user="anonymous:x", address="token-u")
        tale.call(36, "s0")
        tale.endpoint(40, channel="push", endpoint="x")
        tale.visit(48)
        tale.call(again, "s0")
        assert broken(tale) == expected


def test_p7_finds_a_blast_at_the_long_dead() -> None:
    for started, expected in ((60, {"P7"}), (40, set())):
        rule = rule_with(max_inactive_ms=48 * HOUR_MS, stages=LADDER[:1])
        tale = Tale(book_with(rule), running=False, hours=70)
        tale.start(started)
        tale.visit(0, given=started)
        tale.call(started + 1, "s0")
        assert broken(tale) == expected


# --- P8, P12 ----------------------------------------------------------------------------------


def test_p8_finds_a_process_that_ended_by_itself() -> None:
    for where, expected in (("ValueError", {"P8"}), ("StreamRecreated", set())):
        tale = ladder(Tale(hours=60))
        tale.end(50, how="failed", where=where)
        assert broken(tale) == expected


def test_p8_finds_an_address_that_pays_for_another() -> None:
    tale = Tale(hours=26)
    for user in ("u", "v"):
        tale.visit(0, user)
    tale.call(24.1, "s0", answer="bad_request")
    tale.call(24.1, "s0", user="v", answer="bad_request", same_call=True)
    tale.call(24.11, "s0", answer="bad_request")
    assert broken(tale) == {"P8"}
    tale.call(24.12, "s0", user="v")
    assert broken(tale) == set()


def test_p8_finds_bugs_the_world_noticed() -> None:
    tale = ladder(Tale())
    tale.settings["bugs"] = ("look_failed",)
    assert broken(tale) == {"P8"}


def test_p12_finds_what_ran_over() -> None:
    tale = ladder(Tale())
    tale.measured("calls_in_flight", 8, 8)
    assert broken(tale) == set()
    tale.measured("answers_in_memory", 9, 8)
    assert broken(tale) == {"P12"}


# --- what they are ----------------------------------------------------------------------------


def test_checkers_know_nothing_of_the_worker() -> None:
    folder = Path(checkers.__file__).parent
    for path in sorted(folder.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] == "worker" for name in names), path.name


def test_every_checker_says_what_it_demands_and_what_it_forgives() -> None:
    for checker in checkers.CHECKERS:
        assert "Demanded" in (checker.__doc__ or ""), checker.__name__
        assert "orgiven" in (checker.__doc__ or ""), checker.__name__
