"""Every metric in one place. Counted per batch, sweep or call, never per event.

Labels come from enums and are all created at start, so that rates begin at zero; those of adapters,
which this module does not know, are handed to `expect`. The shard label is bounded by the stream.
No label ever holds anything about a user (P11).
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import product
from math import inf

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import generate_latest

from worker import __version__
from worker.model import (
    CHANNEL_OF_TYPE,
    Action,
    Applied,
    Channel,
    ClaimState,
    DeadReason,
    Decision,
    Effect,
    EpisodeOutcome,
    Reason,
    Settlement,
    ShardStatus,
    Silence,
    SilenceKind,
)

disable_created_metrics()  # type: ignore[no-untyped-call]

SHARDS_LABELLED_MAX = 1_000
"""Shards with a lag series of their own; the rest are only in the maximum."""

SECONDS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0)


def _counter(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Counter:
    return Counter(f"comeback_{name}", text, labels, registry=registry)


def _gauge(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Gauge:
    return Gauge(f"comeback_{name}", text, labels, registry=registry)


def _histogram(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Histogram:
    return Histogram(f"comeback_{name}", text, labels, buckets=SECONDS, registry=registry)


class Metrics:
    """The metrics of one worker, on a registry of their own."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self.registry = registry
        self._labelled_shards: set[str] = set()
        self._shard_states: set[str] = set()

        counter, gauge = partial(_counter, registry), partial(_gauge, registry)
        histogram = partial(_histogram, registry)
        gauge("build_info", "1, labelled with the version.", "version").labels(__version__).set(1)
        self.ready = gauge("ready", "1 from when this process works until it drains.")
        self._rules_info = gauge("rules_info", "1, labelled with the rule set.", "revision")
        self._reload_successful = gauge(
            "rules_last_reload_successful", "0 while the rules folder holds a set that is refused."
        )
        self._silences = gauge("silences", "Silences, pauses and kill switches in force.", "kind")
        self._reload_success_time = gauge(
            "rules_last_reload_success_timestamp_seconds", "When the folder was last found good."
        )
        # reading
        self.records = counter("records_total", "Records made durable, KPL aggregates taken apart.")
        self.record_bytes = counter("record_bytes_total", "Bytes of those records.")
        self.signals = counter("signals_total", "What the records said.", "kind")
        self.dead_letters = counter("dead_letters_total", "Records nobody could read.", "reason")
        self.unknown_activities = counter(
            "unknown_activities_total", "Activities of somebody the address book does not know."
        )
        self.receipts_matched = counter(
            "receipts_matched_total", "Delivery reports that belong to one of our sends."
        )
        self.shard_lag = gauge("shard_lag_seconds", "Stream time not yet read.", "shard")
        self.shards = gauge("shards", "Shards by state.", "state")
        self.watermark_age = gauge(
            "watermark_age_seconds", "Wall clock less the time up to which every shard is read."
        )
        self.watermark_age.set(inf)
        self.retention = gauge(
            "stream_retention_seconds",
            "How long the stream keeps records; a lag near it loses some.",
        )
        self.source = SourceMetrics(registry)
        # deciding
        self.decisions = counter("decisions_total", "Decisions by their one reason.", "reason")
        self.episodes = counter("episodes_closed_total", "Episodes by outcome.", "outcome")
        self.users_active = counter("users_active_total", "Users whose recency moved.")
        self.oldest_due = gauge("oldest_due_seconds", "How long the oldest due user has waited.")
        # sending
        self.sends = counter("sends_total", "Answers by channel and state.", "channel", "state")
        self.claims_recovered = counter(
            "claims_recovered_total",
            "Claims of a killed predecessor, found open and now uncertain.",
        )
        self.claims_in_flight = gauge("claims_in_flight", "Claims whose call is under way.")
        self.call_seconds = histogram("call_seconds", "Provider calls.", "channel")
        self.paused = gauge("channel_paused", "1 while a channel type is paused.", "channel_type")
        # state
        self.store_seconds = histogram("store_seconds", "Transactions.", "verb")
        self.incidents = counter(
            "state_incidents_total", "What the state met besides its work.", "incident"
        )
        self._incidents_told: dict[str, int] = {}
        self.store_errors = counter("store_errors_total", "Transactions that failed.", "verb")
        self._create_labels()

    def _create_labels(self) -> None:
        for kind in ("activity", "address", "stop", "receipt"):
            self.signals.labels(kind)
        for dead in DeadReason:
            self.dead_letters.labels(dead)
        for reason in Reason:
            self.decisions.labels(reason)
        for outcome in EpisodeOutcome:
            self.episodes.labels(outcome)
        for channel in Channel:
            self.call_seconds.labels(channel)
            for state in set(ClaimState) - {ClaimState.CLAIMED}:
                self.sends.labels(channel, state)
        for channel_type in CHANNEL_OF_TYPE:
            self.paused.labels(channel_type).set(0)
        self.silenced(())
        for verb in ("apply", "sweep", "settle"):
            self.store_seconds.labels(verb)
            self.store_errors.labels(verb)

    def expect(
        self,
        *,
        operations: Iterable[str],
        codes: Iterable[str],
        shard_states: Iterable[str],
        incidents: Iterable[str],
    ) -> None:
        """Creates the label values only adapters know: what the source calls and how it fails, what
        a shard can be at, what the store meets."""
        for operation, code in product(operations, codes):
            self.source.failures.labels(operation, code)
        for state in shard_states:
            self._shard_states.add(state)
            self.shards.labels(state).set(0)
        for incident in incidents:
            self.incidents.labels(incident)

    def applied(self, records: int, size_bytes: int, effect: Effect, applied: Applied) -> None:
        """One batch became durable."""
        self.records.inc(records)
        self.record_bytes.inc(size_bytes)
        self.signals.labels("activity").inc(len(effect.activities))
        self.signals.labels("address").inc(len(effect.endpoints))
        self.signals.labels("stop").inc(len(effect.stops))
        self.signals.labels("receipt").inc(len(effect.receipts))
        for reason, count in Tally(letter.reason for letter in effect.dead_letters).items():
            self.dead_letters.labels(reason).inc(count)
        self.users_active.inc(applied.users_active)
        self.receipts_matched.inc(applied.receipts_matched)
        self.unknown_activities.inc(applied.activities_unknown)
        self.episodes.labels(EpisodeOutcome.RETURNED).inc(applied.episodes_returned)
        self.decisions.labels(Reason.ACTIVE_AGAIN).inc(applied.episodes_returned)

    def decided(self, decisions: Iterable[Decision]) -> None:
        """One sweep became durable."""
        decisions = list(decisions)
        for reason, count in Tally(decision.reason for decision in decisions).items():
            self.decisions.labels(reason).inc(count)
        closed = (d.outcome for d in decisions if d.action is Action.CLOSE and d.outcome)
        for outcome, count in Tally(closed).items():
            self.episodes.labels(outcome).inc(count)

    def settled(self, channel: Channel, settlements: Sequence[Settlement]) -> None:
        """One call's answers became durable."""
        for state, count in Tally(settlement.state for settlement in settlements).items():
            self.sends.labels(channel, state).inc(count)

    def rules_in_force(self, revision: str, *, now_ms: int) -> None:
        """The rules folder was found good, and this is its revision."""
        self._rules_info.clear()
        self._rules_info.labels(revision).set(1)
        self._reload_successful.set(1)
        self._reload_success_time.set(now_ms / 1_000)

    def rules_refused(self) -> None:
        """The rules folder holds a set that cannot be used; the last good one stays in force."""
        self._reload_successful.set(0)

    def silenced(self, silences: Iterable[Silence]) -> None:
        """These holds made by hand are in force."""
        by_kind = Tally(silence.kind for silence in silences)
        for kind in SilenceKind:
            self._silences.labels(kind).set(by_kind[kind])

    def observe_shards(self, shards: Sequence[ShardStatus]) -> None:
        """Lag per shard; series of shards that are gone are removed."""
        labelled = {
            shard.shard_id: shard.lag_ms
            for shard in shards[:SHARDS_LABELLED_MAX]
            if shard.lag_ms is not None
        }
        for shard_id in self._labelled_shards - labelled.keys():
            self.shard_lag.remove(shard_id)
        for shard_id, lag_ms in labelled.items():
            self.shard_lag.labels(shard_id).set(lag_ms / 1_000)
        self._labelled_shards = set(labelled)
        by_state = Tally(shard.state for shard in shards)
        self._shard_states |= by_state.keys()
        for state in self._shard_states:
            self.shards.labels(state).set(by_state[state])

    def observe_incidents(self, incidents: Mapping[str, int]) -> None:
        """What the store met besides its work; `incidents` are totals since the start."""
        for incident, total in incidents.items():
            self.incidents.labels(incident).inc(total - self._incidents_told.get(incident, 0))
            self._incidents_told[incident] = total

    def exposition(self) -> bytes:
        """The Prometheus text format."""
        return generate_latest(self.registry)


class SourceMetrics:
    """A SourceObserver (kinesis/observer.py) that counts. Records and bytes are counted where they
    become durable, not here."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = partial(_counter, registry)
        self.reads = _histogram(
            registry, "source_read_seconds", "GetRecords calls that were answered."
        )
        self.failures = counter(
            "source_failures_total", "Calls to Kinesis that failed.", "operation", "code"
        )
        self.iterators_rebuilt = counter(
            "source_iterators_rebuilt_total", "Iterators given up.", "expired"
        )
        for expired in ("true", "false"):
            self.iterators_rebuilt.labels(expired)
        self.losses = counter(
            "source_possible_losses_total", "Times records were trimmed before they were read."
        )
        self.loss_seconds = counter(
            "source_possible_loss_seconds_total", "Stream time so lost, where it is known."
        )
        self.aggregates = counter("source_kpl_aggregates_total", "KPL aggregates taken apart.")
        self.fast = _gauge(
            registry, "source_fast_decode", "1 when the fast GetRecords decoder is on."
        )

    def answered(self, *, records: int, size_bytes: int, seconds: float) -> None:  # noqa: ARG002
        self.reads.observe(seconds)

    def failed(self, *, operation: str, code: str) -> None:
        self.failures.labels(operation, code).inc()

    def iterator_rebuilt(self, *, expired: bool) -> None:
        self.iterators_rebuilt.labels(str(expired).lower()).inc()

    def possibly_lost(self, *, gap_ms: int | None) -> None:
        self.losses.inc()
        self.loss_seconds.inc((gap_ms or 0) / 1_000)

    def deaggregated(self, *, user_records: int) -> None:  # noqa: ARG002
        self.aggregates.inc()

    def fast_decode(self, *, on: bool) -> None:
        self.fast.set(on)
