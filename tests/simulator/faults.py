"""What can go wrong, by name, and whether it does now.

Each run switches every kind on or off and gives those that are on a rate, so that rare combinations
occur. Every strike is told as a fact. From `quiet_end_ms` on nothing strikes.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.simulator.story import Faulted

CALLS = {
    # the stream refuses or breaks a call
    "stream_throttled": 0.1,
    "stream_error": 0.08,
    "stream_timeout": 0.05,
    "stream_cut": 0.05,
    "stream_answer_lost": 0.08,
    "stream_slow": 0.2,
    "iterator_expired": 0.1,
    "kms_throttled": 0.05,
    # the provider, about a whole call
    "provider_throttled": 0.15,
    "provider_error": 0.12,
    "provider_timeout_before": 0.1,
    "provider_timeout_after": 0.1,
    "provider_cut": 0.1,
    "provider_unreachable": 0.1,
    "provider_bad_request": 0.05,
    "provider_refuses_setup": 0.05,
    "provider_slow": 0.3,
    "provider_unreadable": 0.05,
    # about one address of it
    "address_throttled": 0.1,
    "address_temporary": 0.15,
    "address_permanent": 0.06,
    "address_opted_out": 0.06,
    "address_unknown": 0.08,
    "address_missing": 0.05,
    "address_setup": 0.04,
    # receipts
    "receipt_late": 0.3,
    "receipt_twice": 0.3,
    "receipt_never": 0.3,
    "receipt_bad_news": 0.2,
    # events
    "event_late": 0.1,
    "event_future": 0.08,
    "event_twice": 0.15,
    "event_reordered": 0.2,
    "rubbish": 0.05,
}
"""Kind to the highest share of occasions it takes when it is switched on."""

TIMED = {
    # kind to how many times at most in a run of 90 days
    "kill_anywhere": 6,
    "kill_mid_call": 6,
    "kill_before_commit": 8,
    "kill_after_commit": 8,
    "power_cut": 4,
    "stopped": 4,
    "standby": 3,
    "down_long": 2,
    "clock_ahead": 2,
    "clock_back": 2,
    "disk_full": 3,
    "stream_outage": 4,
    "provider_outage": 4,
    "split": 2,
    "merge": 2,
    "reshard_while_down": 2,
    "recreated": 1,
    "edit_harmless": 2,
    "edit_ladder": 2,
    "edit_broken": 2,
    "edit_removed": 1,
    "silence": 2,
    "pause": 1,
    "kill_switch": 1,
    "opt_out": 3,
    "sign_in_late": 2,
}

KINDS = (*CALLS, *TIMED)
ON = 0.35
"""Share of the kinds that are switched on in a run with faults."""
CALM = 0.08
"""Share of runs without any."""


class Faults:
    """Which faults a run has, and when they strike."""

    def __init__(
        self,
        rng: Random,
        *,
        days: float,
        without: frozenset[str],
        also: frozenset[str] = frozenset(),
        tell: Callable[[Faulted], None],
        now_ms: Callable[[], int],
    ) -> None:
        calm = rng.random() < CALM
        on = {kind: rng.random() < ON and not calm for kind in KINDS}
        self._rates = {k: max(rng.random(), k in also) * CALLS[k] for k in CALLS}
        self._times = {k: max(rng.randint(1, TIMED[k]), TIMED[k] * (k in also)) for k in TIMED}
        self._rngs = {k: Random(rng.getrandbits(64)) for k in KINDS}
        self._on = {k for k in KINDS if (on[k] or k in also) and k not in without}
        self._scale = days / 90
        self._tell = tell
        self._now_ms = now_ms
        self.over = False

    def times(self, kind: str) -> int:
        """How often a timed fault is planned in this run."""
        if kind not in self._on:
            return 0
        wanted = self._times[kind] * self._scale
        return int(wanted) + (self._rngs[kind].random() < wanted % 1)

    def on(self, kind: str) -> bool:
        """Is it switched on?"""
        return kind in self._on and not self.over

    def strikes(self, kind: str) -> bool:
        """Does it strike on this occasion? Told when it does."""
        if self.over or kind not in self._on or self._rngs[kind].random() >= self._rates[kind]:
            return False
        self.struck(kind)
        return True

    def struck(self, kind: str) -> None:
        """A fault happened."""
        self._tell(Faulted(at_ms=self._now_ms(), kind=kind))
