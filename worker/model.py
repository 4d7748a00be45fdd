"""The values every part speaks in: signals, users, episodes, claims, outcomes, decisions.

Nothing here does I/O, reads a clock or draws a random number. All values are frozen. Times are
integers in **milliseconds since the Unix epoch, UTC**, and their names end in `_ms`; durations are
milliseconds too. (An integer cannot be a naive datetime; zones appear only in `quiet.py`.)

Words are those of ARCHITECTURE.md, "Words": the same in YAML, code, metrics and docs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import TypeAlias

from worker.faces import Touch

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

Attributes: TypeAlias = Mapping[str, tuple[str, ...]]
"""Attribute name to its values; Pinpoint attributes are lists of strings."""


class Channel(StrEnum):
    """A rung of the ladder. How an address is reached within it is its `channel_type`."""

    PUSH = "push"
    EMAIL = "email"
    SMS = "sms"


CHANNEL_OF_TYPE: Mapping[str, Channel] = {
    "GCM": Channel.PUSH,
    "APNS": Channel.PUSH,
    "APNS_SANDBOX": Channel.PUSH,
    "ADM": Channel.PUSH,
    "BAIDU": Channel.PUSH,
    "EMAIL": Channel.EMAIL,
    "SMS": Channel.SMS,
}
"""Pinpoint's endpoint ChannelType to ours. APNS_VOIP, VOICE, CUSTOM, IN_APP and the unspecific PUSH
cannot carry a re-engagement message by `SendMessages` with an address, so they have no channel."""


class Reason(StrEnum):
    """Why a decision is what it is. One enum for metric label, log field, journal and CLI."""

    # nothing to do, or not yet
    NOT_YET_DUE = "not_yet_due"
    NEVER_ACTIVE = "never_active"
    NOT_MATCHED = "not_matched"
    MAX_INACTIVE = "max_inactive"
    COOLDOWN = "cooldown"
    ONCE_PER_SILENCE = "once_per_silence"
    NOT_ENABLED = "not_enabled"
    NOT_IN_ROLLOUT = "not_in_rollout"
    RESTORED = "restored"
    IN_FLIGHT = "in_flight"
    # the ladder moves
    INACTIVE = "inactive"
    CLAIMED = "claimed"
    SENT = "sent"
    UNCERTAIN = "uncertain"
    NOT_DELIVERED = "not_delivered"
    WOULD_SEND = "would_send"
    HOLDOUT = "holdout"
    ONLY_IF = "only_if"
    # holds: a due stage that must wait
    QUIET_HOURS = "quiet_hours"
    LAW_WINDOW = "law_window"
    CAP = "cap"
    MIN_GAP = "min_gap"
    PRIORITY_LOST = "priority_lost"
    RATE_WAIT = "rate_wait"
    BUDGET = "budget"
    SILENCED = "silenced"
    PAUSED = "paused"
    KILL_SWITCH = "kill_switch"
    STALE_STREAM = "stale_stream"
    PROVIDER_THROTTLED = "provider_throttled"
    TEMPORARY_FAILURE = "temporary_failure"
    CHANNEL_PAUSED = "channel_paused"
    TEMPLATE_ERROR = "template_error"
    # a stage that cannot be delivered on its channel
    NO_ADDRESS = "no_address"
    INVALID_ADDRESS = "invalid_address"
    OPTED_OUT = "opted_out"
    INACTIVE_ADDRESS = "inactive_address"
    SUPPRESSED = "suppressed"
    PERMANENT_FAILURE = "permanent_failure"
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    MAX_PRICE = "max_price"
    # the end of an episode
    ACTIVE_AGAIN = "active_again"
    LADDER_DONE = "ladder_done"
    ALL_OPTED_OUT = "all_opted_out"
    USER_DELETED = "user_deleted"
    MATCH_LOST = "match_lost"
    UNDELIVERABLE = "undeliverable"
    RULE_CHANGED = "rule_changed"
    MERGED = "merged"


class Action(StrEnum):
    """What a decision does to the user's episode."""

    WAIT = "wait"
    OPEN = "open"
    SEND = "send"
    ADVANCE = "advance"
    SKIP = "skip"
    HASTEN = "hasten"
    """The stage it stands before is due now, and not when its wait is over."""
    CLOSE = "close"


class EpisodeOutcome(StrEnum):
    """How an episode ended."""

    RETURNED = "returned"
    EXHAUSTED = "exhausted"
    STOPPED = "stopped"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class Arm(StrEnum):
    """On which side of a rule's holdout an episode is; settled when it opens."""

    TREATED = "treated"
    HOLDOUT = "holdout"


class StopReason(StrEnum):
    """Why an address must get nothing more."""

    OPTED_OUT = "opted_out"
    UNSUBSCRIBED = "unsubscribed"
    COMPLAINED = "complained"
    HARD_BOUNCED = "hard_bounced"
    DEAD = "dead"


# --- signals: what one event says -------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """A user was here at `at_ms` (already clamped to its arrival).

    The event names its user by `user_id`, else by `endpoint_id`, else (mail events carry neither)
    by the `message_id` of our own send or the `address` it went to.
    """

    at_ms: int
    event_type: str
    user_id: str | None = None
    endpoint_id: str | None = None
    message_id: str | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One entry of the address book, and the signal that it changed.

    `None` means "the event did not say": a field that is None never overwrites a known value.
    `channel_type` is Pinpoint's word (GCM, APNS, EMAIL, SMS, VOICE ...).
    Endpoint ids are case-insensitive in Pinpoint and are kept in lower case.
    """

    endpoint_id: str
    at_ms: int
    user_id: str | None = None
    channel_type: str | None = None
    address: str | None = None
    active: bool | None = None
    opted_out: bool | None = None
    timezone: str | None = None
    country: str | None = None
    region: str | None = None
    """State or province, as the app names it: `TX`, `Bavaria`."""
    locale: str | None = None
    platform: str | None = None
    app: str | None = None
    """Id of the Pinpoint application the endpoint's events name."""
    attributes: Attributes | None = None
    user_attributes: Attributes | None = None
    suppressed: StopReason | None = None
    """Set by the store from its suppression list; never part of a signal."""

    @property
    def channel(self) -> Channel | None:
        """The ladder channel this endpoint can be reached on, if any."""
        return CHANNEL_OF_TYPE.get(self.channel_type or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """An address must get nothing more on its channel; at once and durably (P5).

    Without an address it is the one that our send with this id went to, or the message with this
    id of the provider's.
    """

    at_ms: int
    channel: Channel
    reason: StopReason
    address: str | None = None
    send_id: str | None = None
    message_id: str | None = None


class ReceiptStatus(StrEnum):
    """What the stream later says became of a send."""

    DELIVERED = "delivered"
    FAILED = "failed"
    """It did not arrive, and never will."""
    SOFT_BOUNCED = "soft_bounced"
    """A mailbox did not take it for a reason that may pass: full, too large, too busy."""
    BUFFERED = "buffered"
    """The provider has it; nothing final is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A delivery report for one of our sends, named by our send id or the provider's message id. A
    message id may be that of several destinations: then `address` says which."""

    at_ms: int
    channel: Channel
    status: ReceiptStatus
    detail: str
    send_id: str | None = None
    message_id: str | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """A user did at `at_ms` what `rule` hopes for. It is credited to the stage sent last, when that
    was at most `within_ms` before."""

    at_ms: int
    rule: str
    within_ms: int
    user_id: str | None = None
    endpoint_id: str | None = None


Signal: TypeAlias = Activity | Endpoint | Stop | Receipt | Conversion


class DeadReason(StrEnum):
    """Why a record could not be used. Label of `comeback_dead_letters_total`."""

    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    NO_EVENT_TYPE = "no_event_type"
    BAD_TIMESTAMP = "bad_timestamp"
    BAD_FIELD = "bad_field"
    NO_IDENTITY = "no_identity"
    TOO_DEEP = "too_deep"
    TOO_LARGE = "too_large"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A record, or a part of one, that could not be read; kept for a look, never in the way."""

    reason: DeadReason
    detail: str
    shard_id: str
    sequence_number: str
    arrival_ms: int
    data: bytes


# --- source -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One user record of a shard; KPL aggregates are already taken apart."""

    data: bytes
    sequence_number: str
    arrival_ms: int
    partition_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamIdentity:
    """Which incarnation of which stream: a recreated stream has the same name, another birth."""

    name: str
    created_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where reading of one shard stands: everything up to `sequence_number` is durable.

    `sequence_number` None means nothing was read yet; reading then begins at `start_at_ms`, or at
    the trim horizon when that is None too. `ended` is SHARD_END: read to the last record.
    Sequence numbers are decimal strings of up to 129 digits; compare them as integers.
    """

    shard_id: str
    sequence_number: str | None = None
    start_at_ms: int | None = None
    ended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamMemory:
    """What the state knows of a stream. No positions: it was never read. `recreated`: another
    stream of that name was read before, so this one is read from its beginning."""

    positions: tuple[Position, ...] = ()
    recreated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One answer of one shard, and the position to store in the same transaction as its effect.

    `read_through_ms`: once this batch is durable, the shard is read up to this stream time.
    """

    stream: StreamIdentity
    position: Position
    records: tuple[Record, ...]
    read_through_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardStatus:
    """One shard as the metrics see it. `lag_ms` None: nothing read yet."""

    shard_id: str
    state: str
    lag_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What one batch changes, folded: at most one activity per user, one value per endpoint.

    `touches` is what events of known faces say, by endpoint; `faces` are the prints of endpoints
    that showed one that is not known (worker/faces.py).
    """

    activities: tuple[Activity, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    stops: tuple[Stop, ...] = ()
    receipts: tuple[Receipt, ...] = ()
    conversions: tuple[Conversion, ...] = ()
    dead_letters: tuple[DeadLetter, ...] = ()
    touches: Mapping[str, Touch] = field(default_factory=dict)
    faces: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What became of an `Effect` in the store; counted by the metrics."""

    users_active: int = 0
    users_new: int = 0
    episodes_returned: int = 0
    receipts_matched: int = 0
    activities_unknown: int = 0
    conversions_credited: int = 0


# --- episodes, claims, outcomes ---------------------------------------------------------------


ADDRESSES_CACHED_MAX = 16_384
"""A look asks for the same address several times."""


def episode_id_of(user_id: str, rule: str, silence_since_ms: int) -> str:
    """The one episode a silence can have under a rule: its id is its content, so it cannot double.

    Returns 16 hex digits.
    """
    return _digest("episode", user_id, rule, str(silence_since_ms))


def anonymous_user_of(endpoint_id: str) -> str:
    """The user an endpoint stands for until an event names one."""
    return f"anonymous:{endpoint_id}"


def send_id_of(episode_id: str, stage: str, address: str) -> str:
    """The id of the one send a stage of an episode makes to an address: 16 hex digits."""
    return _digest("send", episode_id, stage, address)


@lru_cache(maxsize=ADDRESSES_CACHED_MAX)
def address_hash_of(address: str) -> str:
    """How an address appears outside the address book (claims, journal, logs): 16 hex digits."""
    return _digest("address", address)


def _digest(*parts: str) -> str:
    joined = "\x00".join(parts).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(joined, digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One user's trip through one rule's ladder.

    `stage` is the name of the stage that comes next (or is being sent); None when the ladder is
    done. `hold` is why a due stage waits. `stage_due_ms` counts from the previous stage's send.
    """

    episode_id: str
    user_id: str
    rule: str
    revision: str
    silence_since_ms: int
    opened_ms: int
    stage: str | None
    stage_due_ms: int
    hold: Reason | None = None
    held_ms: int | None = None
    """Since when the stage is held, whatever for; None when it is not."""
    closed_ms: int | None = None
    outcome: EpisodeOutcome | None = None
    last_stage: str | None = None
    """The last stage that was sent, or tried, or would have been; None while there is none."""
    last_sent_ms: int | None = None
    """When that was."""
    arm: Arm = Arm.TREATED
    converted_ms: int | None = None
    """When the user did what the rule hopes for, within its window after `last_sent_ms`. Set by the
    store, also on a closed episode."""
    converted_stage: str | None = None
    """The last stage sent before that. Set with it."""

    @property
    def is_open(self) -> bool:
        return self.closed_ms is None


class ClaimState(StrEnum):
    """Where a send stands. CLAIMED is the only state in which a call may be under way."""

    CLAIMED = "claimed"
    RETRY = "retry"
    SENT = "sent"
    UNCERTAIN = "uncertain"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The durable record "this stage is about to be sent", written before the call (P1).

    One row per (episode, stage, address) for ever; a retry raises `attempt` on the same row and is
    possible only from RETRY, in which the provider has certainly not accepted the message.
    """

    send_id: str
    user_id: str
    rule: str
    revision: str
    episode_id: str
    stage: str
    channel: Channel
    address_hash: str
    claimed_ms: int
    attempt: int = 1
    state: ClaimState = ClaimState.CLAIMED
    reason: str | None = None
    retry_ms: int | None = None
    variant: str = ""
    """Which text of the stage; empty when it has only one."""
    cost_micros: int = 0
    """What the call is expected to cost, in millionths of the currency of the price list."""
    resend: bool = False
    """`on_uncertain: resend`: a call with an unknown result is repeated, and may arrive twice."""
    maybe_sent: bool = False
    """The result of an earlier call for it is not known: whatever came after, it may have gone."""
    wall_ms: int | None = None
    """`claimed_ms` is stream time; this is the world's, by which limits count. None: the same."""
    receipt: ReceiptStatus | None = None
    """What the stream says became of it (receipts.py). Known in a `UserView`, never written."""
    soft_bounces: int = 0
    """With the receipt `soft_bounced`: how many such reports in a row there are of the mailbox, of
    all that was sent there up to this. Known in a `UserView`, never written."""

    @property
    def may_have_gone_out(self) -> bool:
        """Does it count in the caps? So does one that is repeated because nobody knows."""
        unsent = self.state in (ClaimState.RETRY, ClaimState.REJECTED)
        return self.maybe_sent or not unsent

    @property
    def sent_at_ms(self) -> int:
        """When it went out, by the world's clock."""
        return self.claimed_ms if self.wall_ms is None else self.wall_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """Money of claims made from `at_ms` on for `SPEND_SPAN_MS`; what certainly was not sent is
    given back."""

    channel: Channel
    at_ms: int
    micros: int


STREAM_BEHIND_MS_MAX = DAY_MS
"""The most COMEBACK_MAX_STALENESS can allow. Limits count by the world's clock and claims are found
by the stream's, so claims are read that much further back."""

SPEND_SPAN_MS = 15 * MINUTE_MS
"""Spends are kept per quarter of an hour: local days begin on one, in every zone of today."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PastSend:
    """One stage that went out to a user, or may have (sent, uncertain, in flight); for the caps.

    `at_ms` is the world's time, and of several addresses the last.
    """

    at_ms: int
    rule: str
    stage: str
    episode_id: str
    channel: Channel


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Rendered text for one user on one channel. Never logged, never stored."""

    title: str | None = None
    body: str = ""
    html: str | None = None
    url: str | None = None
    data: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A claim with what the sender needs; lives in memory between the claim and the outcome."""

    claim: Claim
    channel_type: str
    address: str
    message: Message
    ttl_ms: int | None = None
    """How long the provider may try; None: as long as it likes."""
    max_price_micros: int | None = None
    """What it may cost at most, in millionths of a US dollar, for providers that refuse what is
    dearer; None: whatever it costs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """The provider accepted it."""

    send_id: str
    message_id: str | None = None
    updated_token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Certainly not accepted, and worth another try after `delay_ms` (None: the usual back-off)."""

    send_id: str
    reason: Reason
    detail: str
    delay_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncertain:
    """Nobody knows whether it was accepted. It is not repeated; a receipt may still tell."""

    send_id: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """It will never be accepted. `stop` says that the address itself is no good any more."""

    send_id: str
    detail: str
    stop: StopReason | None = None


Outcome: TypeAlias = Sent | Retry | Uncertain | Rejected


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """An outcome with what the retry policy made of it, ready for the store."""

    outcome: Outcome
    state: ClaimState
    reason: str | None
    retry_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A channel type (GCM, APNS, EMAIL, SMS ...) waits: its provider throttles it, or our set-up
    there is refused."""

    until_ms: int
    reason: Reason


class SilenceKind(StrEnum):
    """What people asked for, by hand and at once. All of them hold due stages."""

    SILENCE = "silence"
    PAUSE = "pause"
    KILL = "kill"


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """A hold made by hand: due stages that its matchers fit wait until it ends.

    `matchers` are Alertmanager matchers over the facts of the user, and `rule`, `stage`, `channel`;
    none of them fit everything. `ends_ms` None: until somebody ends it.
    """

    silence_id: int
    kind: SilenceKind
    matchers: tuple[str, ...]
    begins_ms: int
    ends_ms: int | None
    author: str
    comment: str


# --- rule sets as the state keeps them ----------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """What the state must know of a rule set taken into force."""

    revision: str
    rearm_after_ms: int | None
    """The shortest silence any rule waits for; None when there is no rule."""
    sends_for_ms: int
    """How far back `UserView.sends` must reach."""
    rules: Mapping[str, str] = field(default_factory=dict)
    """Rule to its revision."""
    contents: Mapping[str, bytes] = field(default_factory=dict)
    """File name within the rules folder to its bytes, for every file that took part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetiredRule:
    """A rule of an earlier set that open episodes began with, and the files of that set."""

    rule: str
    revision: str
    contents: Mapping[str, bytes]


# --- looks ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class UserView:
    """All the ladder may know of one user when it looks, read in one transaction.

    `endpoints` are ordered by `at_ms`, newest last. `episodes` holds every open episode and, per
    rule, the latest closed one. `claims` are those of the open episodes. `sends` reach back as far
    as the longest cap window of the rule set.
    """

    user_id: str
    last_active_ms: int | None
    endpoints: tuple[Endpoint, ...] = ()
    episodes: tuple[Episode, ...] = ()
    ended: Mapping[str, int] = field(default_factory=dict)
    """Rule to when the last ladder under it was over. Of a person who was two for a while that need
    not be the ladder of the latest silence."""
    claims: tuple[Claim, ...] = ()
    sends: tuple[PastSend, ...] = ()
    holdout: bool | None = None
    """Forces the arm of the user's next episodes; None: by the stable hash. For `comeback test`."""
    variants: Mapping[str, str] = field(default_factory=dict)
    """Forces variants, stage to variant. For `comeback test`."""
    restored: Mapping[str, int] = field(default_factory=dict, compare=False)
    """Rule to an instant: the state was restored from a copy, and up to then the rule may have sent
    to anybody what the state does not know of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The one answer to one look at (user, rule, now), and its one reason."""

    rule: str
    action: Action
    reason: Reason
    at_ms: int
    stage: str | None = None
    episode_id: str | None = None
    until_ms: int | None = None
    """When to look again; None: only when something about the user changes."""
    outcome: EpisodeOutcome | None = None
    at_once: bool = False
    """Of a SKIP: the next stage is due now, not after its wait."""
    notable: bool = False
    """True when the journal keeps it: the ladder moved, or a hold began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PutOff:
    """A stage that waits for the sake of the pace. `had_slot`: it waited for that before."""

    channel: Channel
    sends: int
    had_slot: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """All that one look at one user changes, written in the transaction that read the user."""

    user_id: str
    due_ms: int | None
    decisions: tuple[Decision, ...] = ()
    episodes: tuple[Episode, ...] = ()
    deliveries: tuple[Delivery, ...] = ()
    put_off: tuple[PutOff, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What one sweep over the due users did; `more` when users due at that instant are left."""

    users: int
    deliveries: tuple[Delivery, ...]
    decisions: tuple[Decision, ...]
    more: bool
