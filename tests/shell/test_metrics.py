"""What each method counts, and that every label value is there from the start."""

from __future__ import annotations

from math import inf

from worker.metrics import SHARDS_LABELLED_MAX, Metrics
from worker.model import (
    CHANNEL_OF_TYPE,
    Action,
    Activity,
    Applied,
    Channel,
    ClaimState,
    DeadLetter,
    DeadReason,
    Decision,
    Effect,
    Endpoint,
    EpisodeOutcome,
    Reason,
    Receipt,
    ReceiptStatus,
    Sent,
    Settlement,
    ShardStatus,
    Stop,
    StopReason,
)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """A sample; None when there is none."""
    return metrics.registry.get_sample_value(f"comeback_{name}", labels)


def label_values(metrics: Metrics, name: str, *labels: str) -> set[tuple[str, ...]]:
    """All values these labels have in samples of that name."""
    return {
        tuple(sample.labels[label] for label in labels)
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == f"comeback_{name}"
    }


def decision(reason: Reason, action: Action, outcome: EpisodeOutcome | None = None) -> Decision:
    return Decision(rule="winback", action=action, reason=reason, at_ms=0, outcome=outcome)


def status(shard_id: str, lag_ms: int | None, state: str = "behind") -> ShardStatus:
    return ShardStatus(shard_id=shard_id, state=state, lag_ms=lag_ms)


def test_every_label_value_is_there_before_anything_happened() -> None:
    metrics = Metrics()
    expected: dict[tuple[str, str], set[str]] = {
        ("signals_total", "kind"): {"activity", "address", "stop", "receipt"},
        ("dead_letters_total", "reason"): set(DeadReason),
        ("decisions_total", "reason"): set(Reason),
        ("episodes_closed_total", "outcome"): set(EpisodeOutcome),
        ("channel_paused", "channel_type"): set(CHANNEL_OF_TYPE),
        ("call_seconds_count", "channel"): set(Channel),
        ("store_seconds_count", "verb"): {"apply", "sweep", "settle"},
        ("store_errors_total", "verb"): {"apply", "sweep", "settle"},
        ("source_iterators_rebuilt_total", "expired"): {"true", "false"},
    }
    for (name, label), values in expected.items():
        assert label_values(metrics, name, label) == {(v,) for v in values}, name
        assert all(value(metrics, name, **{label: v}) == 0 for v in values), name


def test_an_answer_has_every_state_but_claimed_which_is_no_answer() -> None:
    answered = set(ClaimState) - {ClaimState.CLAIMED}
    assert label_values(Metrics(), "sends_total", "channel", "state") == {
        (channel, state) for channel in Channel for state in answered
    }


def test_label_values_of_adapters_are_created_when_they_are_told() -> None:
    metrics = Metrics()
    metrics.expect(
        operations=("GetRecords", "ListShards"),
        codes=("Connection", "InvalidBody"),
        shard_states=("behind", "ended"),
        incidents=("look_failed",),
    )
    assert label_values(metrics, "source_failures_total", "operation", "code") == {
        ("GetRecords", "Connection"),
        ("GetRecords", "InvalidBody"),
        ("ListShards", "Connection"),
        ("ListShards", "InvalidBody"),
    }
    assert value(metrics, "source_failures_total", operation="ListShards", code="Connection") == 0
    assert value(metrics, "shards", state="behind") == value(metrics, "shards", state="ended") == 0
    assert value(metrics, "state_incidents_total", incident="look_failed") == 0


def test_nothing_was_read_yet_is_older_than_any_threshold() -> None:
    metrics = Metrics()
    assert value(metrics, "watermark_age_seconds") == inf
    assert value(metrics, "ready") == 0


def test_a_durable_batch_is_counted_by_what_it_said_and_did() -> None:
    metrics = Metrics()
    letter = DeadLetter(
        reason=DeadReason.NOT_JSON,
        detail="",
        shard_id="s",
        sequence_number="1",
        arrival_ms=0,
        data=b"",
    )
    stop = Stop(at_ms=0, channel=Channel.SMS, reason=StopReason.OPTED_OUT, address="a")
    receipt = Receipt(at_ms=0, channel=Channel.SMS, status=ReceiptStatus.DELIVERED, detail="")
    effect = Effect(
        activities=(Activity(at_ms=0, event_type="e"),) * 5,
        endpoints=(Endpoint(endpoint_id="e", at_ms=0),) * 4,
        stops=(stop,) * 3,
        receipts=(receipt,) * 2,
        dead_letters=(letter,) * 6,
    )
    applied = Applied(
        users_active=7, users_new=1, episodes_returned=8, receipts_matched=1, activities_unknown=9
    )
    for times in (1, 2):
        metrics.applied(10, 1_000, effect, applied)
        assert value(metrics, "records_total") == 10 * times
        assert value(metrics, "record_bytes_total") == 1_000 * times
        assert value(metrics, "signals_total", kind="activity") == 5 * times
        assert value(metrics, "signals_total", kind="address") == 4 * times
        assert value(metrics, "signals_total", kind="stop") == 3 * times
        assert value(metrics, "signals_total", kind="receipt") == 2 * times
        assert value(metrics, "dead_letters_total", reason="not_json") == 6 * times
        assert value(metrics, "users_active_total") == 7 * times
        assert value(metrics, "episodes_closed_total", outcome="returned") == 8 * times
        assert value(metrics, "decisions_total", reason="active_again") == 8 * times
        assert value(metrics, "unknown_activities_total") == 9 * times


def test_a_sweep_is_counted_by_reason_and_closed_episodes_by_outcome() -> None:
    metrics = Metrics()
    exhausted = EpisodeOutcome.EXHAUSTED
    metrics.decided(
        iter(
            [
                decision(Reason.CLAIMED, Action.SEND),
                decision(Reason.QUIET_HOURS, Action.WAIT),
                decision(Reason.QUIET_HOURS, Action.WAIT),
                decision(Reason.LADDER_DONE, Action.CLOSE, exhausted),
            ]
        )
    )
    assert value(metrics, "decisions_total", reason="claimed") == 1
    assert value(metrics, "decisions_total", reason="quiet_hours") == 2
    assert value(metrics, "decisions_total", reason="ladder_done") == 1
    assert value(metrics, "episodes_closed_total", outcome="exhausted") == 1
    assert value(metrics, "episodes_closed_total", outcome="returned") == 0


def test_answers_are_counted_by_channel_and_state() -> None:
    metrics = Metrics()
    sent = Settlement(outcome=Sent(send_id="s"), state=ClaimState.SENT, reason=None)
    retry = Settlement(outcome=Sent(send_id="s"), state=ClaimState.RETRY, reason="later")
    metrics.settled(Channel.EMAIL, [sent, retry, sent])
    assert value(metrics, "sends_total", channel="email", state="sent") == 2
    assert value(metrics, "sends_total", channel="email", state="retry") == 1
    assert value(metrics, "sends_total", channel="push", state="sent") == 0


def test_shards_have_a_lag_while_they_are_there_and_have_been_read() -> None:
    metrics = Metrics()
    metrics.observe_shards([status("a", 1_500), status("b", None, "waiting")])
    assert value(metrics, "shard_lag_seconds", shard="a") == 1.5
    assert value(metrics, "shard_lag_seconds", shard="b") is None
    metrics.observe_shards([status("b", 0)])
    assert value(metrics, "shard_lag_seconds", shard="a") is None
    assert value(metrics, "shard_lag_seconds", shard="b") == 0


def test_a_state_no_shard_is_in_any_more_is_0_and_does_not_vanish() -> None:
    metrics = Metrics()
    metrics.observe_shards([status("a", 0), status("b", 0), status("c", 0, "ended")])
    assert value(metrics, "shards", state="behind") == 2
    metrics.observe_shards([status("a", 0, "caught_up")])
    assert value(metrics, "shards", state="caught_up") == 1
    assert value(metrics, "shards", state="behind") == value(metrics, "shards", state="ended") == 0


def test_series_of_shards_are_bounded_and_the_count_is_not() -> None:
    metrics = Metrics()
    metrics.observe_shards([status(f"s{n}", n) for n in range(SHARDS_LABELLED_MAX + 5)])
    assert len(label_values(metrics, "shard_lag_seconds", "shard")) == SHARDS_LABELLED_MAX
    assert value(metrics, "shards", state="behind") == SHARDS_LABELLED_MAX + 5


def test_totals_of_incidents_are_taken_over_and_not_added_up() -> None:
    metrics = Metrics()
    metrics.observe_incidents({"look_failed": 3, "user_merged": 0})
    metrics.observe_incidents({"look_failed": 3, "user_merged": 2})
    metrics.observe_incidents({"look_failed": 4, "user_merged": 2})
    assert value(metrics, "state_incidents_total", incident="look_failed") == 4
    assert value(metrics, "state_incidents_total", incident="user_merged") == 2


def test_what_the_source_tells_is_counted() -> None:
    metrics = Metrics()
    source = metrics.source
    source.answered(records=5, size_bytes=50, seconds=0.25)
    source.failed(operation="GetRecords", code="Connection")
    source.iterator_rebuilt(expired=True)
    source.iterator_rebuilt(expired=False)
    source.iterator_rebuilt(expired=False)
    source.possibly_lost(gap_ms=2_500)
    source.possibly_lost(gap_ms=None)
    source.deaggregated(user_records=9)
    source.fast_decode(on=True)
    assert value(metrics, "source_read_seconds_sum") == 0.25
    assert value(metrics, "records_total") == 0, "they are counted when they are durable"
    assert value(metrics, "source_failures_total", operation="GetRecords", code="Connection") == 1
    assert value(metrics, "source_iterators_rebuilt_total", expired="true") == 1
    assert value(metrics, "source_iterators_rebuilt_total", expired="false") == 2
    assert value(metrics, "source_possible_losses_total") == 2
    assert value(metrics, "source_possible_loss_seconds_total") == 2.5
    assert value(metrics, "source_kpl_aggregates_total") == 1
    assert value(metrics, "source_fast_decode") == 1
    source.fast_decode(on=False)
    assert value(metrics, "source_fast_decode") == 0


def test_two_workers_of_one_process_do_not_share_numbers() -> None:
    one, other = Metrics(), Metrics()
    one.claims_recovered.inc(2)
    assert value(one, "claims_recovered_total") == 2
    assert b"comeback_claims_recovered_total 0.0\n" in other.exposition()
