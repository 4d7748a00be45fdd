"""A stage that was taken by the provider and did not arrive can make the next one due at once.

Push on day 7, e-mail on day 9, SMS on day 12, and `on_failed: next_stage` on the e-mail.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.timeline import MAIL, PHONE, SMS, Life, day, rule, rule_set, stage
from worker.model import (
    DAY_MS,
    Action,
    Endpoint,
    EpisodeOutcome,
    Reason,
    ReceiptStatus,
    address_hash_of,
)
from worker.rules.limits import Cap, Limits, Window
from worker.rules.matchers import parse_matcher
from worker.rules.ruleset import Mode, OnFailed, QuietHours, Rule, open_but

EMAIL = stage("email", 2, on_failed=OnFailed.NEXT_STAGE)
LADDER = (stage("push"), EMAIL, stage("sms", 3))
BOUNCING = rule(stages=LADDER)
USUAL = [(7, "push"), (9, "email"), (12, "sms")]
SECOND_MAIL = replace(MAIL, endpoint_id="e4", address="b@example.com")


def life(
    bouncing: Rule = BOUNCING,
    *,
    limits: Limits | None = None,
    quiet_hours: tuple[QuietHours, ...] = (),
    endpoints: tuple[Endpoint, ...] = (PHONE, MAIL, SMS),
) -> Life:
    """One user who was active on day 0."""
    rules = replace(rule_set(bouncing, limits=limits), quiet_hours=quiet_hours)
    lived = Life(rules=rules, endpoints=endpoints)
    lived.active(0)
    return lived


def told(
    lived: Life,
    at: float,
    receipts: Mapping[str, ReceiptStatus] | ReceiptStatus = ReceiptStatus.FAILED,
    *,
    of: str = "email",
    soft_bounces: int = 0,
) -> None:
    """A receipt comes for a stage, to all its addresses or by address; the user is looked at."""
    lived.until(at)
    addresses = {call[2] for call in lived.calls if call[1] == of}
    by_address = receipts if isinstance(receipts, Mapping) else dict.fromkeys(addresses, receipts)
    hashes = {address_hash_of(address): status for address, status in by_address.items()}
    for send_id, claim in lived.claims.items():
        status = hashes.get(claim.address_hash)
        if claim.stage == of and status is not None:
            lived.claims[send_id] = replace(claim, receipt=status, soft_bounces=soft_bounces)
    lived.due_ms = day(at) if lived.due_ms is None else min(lived.due_ms, day(at))


def test_a_stage_that_did_not_arrive_makes_the_next_one_due_at_once() -> None:
    lived = life()
    told(lived, 9.5)
    assert lived.until(30) == [(7, "push"), (9, "email"), (9.5, "sms")]
    (hastened,) = [d for d in lived.decisions if d.action is Action.HASTEN]
    assert (hastened.reason, hastened.stage) == (Reason.NOT_DELIVERED, "sms")
    assert hastened.notable, "the journal tells of it"


def test_nothing_is_hastened_that_does_not_say_so() -> None:
    lived = life(rule(stages=(stage("push"), stage("email", 2), stage("sms", 3))))
    told(lived, 9.5)
    assert lived.until(30) == USUAL


@pytest.mark.parametrize("status", [ReceiptStatus.DELIVERED, ReceiptStatus.BUFFERED])
def test_what_may_have_arrived_hastens_nothing(status: ReceiptStatus) -> None:
    lived = life()
    told(lived, 9.5, status)
    assert lived.until(30) == USUAL


def test_a_receipt_of_an_earlier_stage_hastens_nothing() -> None:
    push = stage("push", on_failed=OnFailed.NEXT_STAGE)
    lived = life(rule(stages=(push, stage("email", 2), stage("sms", 3))))
    told(lived, 9.5, of="push")
    assert lived.until(30) == USUAL


def test_the_stage_after_a_skipped_one_keeps_its_time() -> None:
    """The next stage was passed over; the one after waits since then."""
    for_few = (parse_matcher('vip="yes"'),)
    skipped = replace(stage("sms", 1, only_if=for_few), name="text")
    lived = life(rule(stages=(stage("push"), EMAIL, skipped, stage("sms", 3))))
    told(lived, 11)
    assert lived.until(30) == [(7, "push"), (9, "email"), (13, "sms")]


def test_whoever_came_back_gets_nothing_early() -> None:
    lived = life()
    lived.active(9.2)
    told(lived, 9.5)
    assert lived.until(15) == USUAL[:2]
    assert [e.outcome for e in lived.episodes.values()] == [EpisodeOutcome.RETURNED]


def test_a_ladder_without_a_next_stage_is_over() -> None:
    lived = life(rule(stages=LADDER[:2]))
    told(lived, 9.5)
    assert lived.until(30) == USUAL[:2]
    assert [e.outcome for e in lived.episodes.values()] == [EpisodeOutcome.EXHAUSTED]


def test_of_two_addresses_both_must_have_failed() -> None:
    lived = life(endpoints=(PHONE, MAIL, SECOND_MAIL, SMS))
    told(lived, 9.5, {"a@example.com": ReceiptStatus.FAILED})
    told(lived, 10, {"b@example.com": ReceiptStatus.FAILED})
    assert [(at, name) for at, name in lived.until(30) if name == "sms"] == [(10, "sms")]


@pytest.mark.parametrize(("bounces", "sms_at"), [(1, 12), (2, 12), (3, 9.5), (4, 9.5)])
def test_a_mailbox_has_failed_when_it_bounced_softly_so_often(bounces: int, sms_at: float) -> None:
    lived = life(rule(stages=(stage("push"), replace(EMAIL, soft_bounces=3), stage("sms", 3))))
    told(lived, 9.5, ReceiptStatus.SOFT_BOUNCED, soft_bounces=bounces)
    assert lived.until(30)[-1] == (sms_at, "sms")


def test_a_hard_bounce_needs_no_count() -> None:
    lived = life(rule(stages=(stage("push"), replace(EMAIL, soft_bounces=3), stage("sms", 3))))
    told(lived, 9.5)
    assert lived.until(30)[-1] == (9.5, "sms")


# --- what holds a stage holds an early one too -------------------------------------------------


def test_an_early_stage_waits_for_the_morning() -> None:
    night = QuietHours(name="night", open_week=open_but(21 * 60, 8 * 60))
    lived = life(quiet_hours=(night,))
    told(lived, 9.5)  # midnight in UTC, where the phone is
    assert lived.until(30)[-1] == (9.8333, "sms")
    assert Reason.QUIET_HOURS in lived.reasons()


def test_what_failed_counts_in_the_caps() -> None:
    limits = Limits(caps=(Cap(max=1, per_ms=2 * DAY_MS, window=Window.ROLLING),))
    lived = life(limits=limits)
    told(lived, 9.5)
    assert lived.until(30)[-1] == (11, "sms")
    early = lived.reasons().index(Reason.NOT_DELIVERED)
    assert lived.reasons()[early + 1] == Reason.CAP


def test_a_rule_that_was_put_back_to_shadow_sends_nothing_early() -> None:
    lived = life()
    lived.until(9.2)
    lived.rules = rule_set(replace(BOUNCING, mode=Mode.SHADOW))
    told(lived, 9.5)
    assert lived.until(30) == USUAL[:2]


@given(
    waits=st.lists(st.floats(0, 5), min_size=3, max_size=3),
    after=st.floats(0, 6),
    failed=st.integers(0, 2),
    night=st.booleans(),
)
def test_early_means_sooner_and_nothing_else(
    waits: list[float], after: float, failed: int, night: bool
) -> None:
    """The same stages in the same order, none of them later than without, the early one not before
    its report, and nothing twice."""
    names = ("email", "sms", "push")
    window = QuietHours(name="night", open_week=open_but(21 * 60, 8 * 60))
    calls = []
    for on_failed in (OnFailed.WAIT, OnFailed.NEXT_STAGE):
        stages = [
            stage(name, wait, on_failed=on_failed)
            for name, wait in zip(names, [0, *waits[1:]], strict=True)
        ]
        lived = life(rule(stages=tuple(stages)), quiet_hours=(window,) if night else ())
        lived.until(7.5)
        report = 7.5 + after
        lived.until(report)
        if any(call[1] == names[failed] for call in lived.calls):
            told(lived, report, of=names[failed])
        calls.append({name: at for at, name in lived.until(60)})
        assert [name for _, name, _ in lived.calls] == list(names)
    usual, early = calls
    assert all(early[name] <= usual[name] for name in names)
    sooner = [name for name in names if early[name] < usual[name]]
    assert all(early[name] >= round(7.5 + after, 4) - 0.0001 for name in sooner)
