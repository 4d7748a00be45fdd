"""One expectation against one thing that came: in which words each is shown, and what is off. Pure.

Only what an expectation states is compared. Each kind of expectation has a comparison; `verdict.py`
pairs expectations with what came.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol, TypeAlias, TypeVar

from worker.model import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, Channel, Reason
from worker.rules.instants import instant
from worker.rules.problems import quoted
from worker.ruletests.case_expected import (
    DecisionForm,
    OutcomeForm,
    OutcomeWord,
    SendForm,
    StateForm,
)
from worker.ruletests.cast import spelt
from worker.ruletests.story import Ended, MadeDecision, MadeSend, Stand

Wanted = TypeVar("Wanted", contravariant=True)
Made = TypeVar("Made", contravariant=True)

Ladders: TypeAlias = Mapping[str, Collection[str]]
"""The stages of each rule, by name."""

OTHER_STAGE_MS = 1_000 * DAY_MS
"""How far apart, in time, two things about different stages count."""


class Shown(Protocol[Wanted, Made]):
    """How one kind of expectation and what came are shown, and told apart."""

    def wanted(self, wanted: Wanted) -> str:
        """An expectation in a line."""

    def made(self, made: Made, like: Wanted | None) -> str:
        """What came in a line, with what an expectation beside it states."""

    def off(self, wanted: Wanted, made: Made) -> list[str]:
        """What is not as expected, in words; empty when it fits."""


class Comparison(Shown[Wanted, Made], Protocol[Wanted, Made]):
    """A kind of expectation that must first find what it is about."""

    def distance(self, wanted: Wanted, made: Made) -> int | None:
        """How far apart the two are; None: they are not about the same."""


class _OfRules:
    """What knows the rules under test."""

    def __init__(self, ladders: Ladders) -> None:
        self._ladders = ladders

    def _rule(
        self, made: Ended | MadeDecision, like: OutcomeForm | DecisionForm | None
    ) -> list[str]:
        """Named where there is a choice, or where it is compared."""
        named = len(self._ladders) > 1 or (like is not None and like.rule is not None)
        return [f"rule={made.rule}"] if named else []


class Sends(_OfRules):
    """`expect_sends`."""

    def wanted(self, wanted: SendForm) -> str:
        """See Comparison."""
        return _line(instant_of(wanted.at), wanted.user, wanted.stage, *_stated(wanted, _SEND_KEYS))

    def made(self, made: MadeSend, like: SendForm | None) -> str:
        """See Comparison."""
        told = {
            "rule": made.rule,
            "template": made.template,
            "variant": made.variant or None,
            "deferred_by": made.deferred_by,
            "because": made.because,
            "attempts": made.attempts if made.attempts > 1 else None,
        }
        shown = [
            f"{key}={value}"
            for key, value in told.items()
            if value is not None
            and (like is None or key in self._shown() or getattr(like, key) is not None)
        ]
        return _line(instant_of(made.at_ms), made.user, made.stage, *shown)

    def _shown(self) -> Sequence[str]:
        return _SAYS_WHY if len(self._ladders) == 1 else ("rule", *_SAYS_WHY)

    def off(self, wanted: SendForm, made: MadeSend) -> list[str]:
        """See Comparison."""
        found = [*_names_off(wanted, made, ("user", "stage", "rule", "template", "variant"))]
        if not wanted.at <= made.at_ms <= wanted.at + (wanted.within or 0):
            found.append(_late(wanted.at, made.at_ms))
        found += _names_off(wanted, made, ("deferred_by", "because", "attempts"))
        found += _addresses_off(wanted, made)
        message = made.message
        for key, text in (("title", message.title or ""), ("body", message.body)):
            want = getattr(wanted, key)
            if want is not None and want != text:
                found.append(f"{key} is {quoted(text)}, not {quoted(want)}")
        whole = "\n".join([message.title or "", message.body, message.html or ""])
        missing = [piece for piece in wanted.contains if piece not in whole]
        found += [f"the text has no {quoted(piece)}: {quoted(message.body)}" for piece in missing]
        return found

    def distance(self, wanted: SendForm, made: MadeSend) -> int | None:
        """See Comparison. Another stage is another thing."""
        if (wanted.user, wanted.stage) != (made.user, made.stage):
            return None
        if wanted.rule not in (None, made.rule):
            return None
        return abs(wanted.at - made.at_ms)


class States:
    """`expect_states`."""

    def wanted(self, wanted: StateForm) -> str:
        """See Comparison."""
        head = (instant_of(wanted.at), wanted.user, wanted.state)
        return _line(*head, *_stated(wanted, ("rule", "stage", "reason")), *_until(wanted.until))

    def made(self, made: Stand, like: StateForm | None) -> str:
        """See Comparison."""
        assert like is not None
        stage = [] if made.stage is None else [f"stage={made.stage}"]
        head = (instant_of(like.at), like.user, made.state)
        return _line(*head, *stage, f"reason={made.reason}", *_until(made.until_ms))

    def off(self, wanted: StateForm, made: Stand) -> list[str]:
        """See Comparison."""
        found = [*_names_off(wanted, made, ("state", "reason", "stage"))]
        if wanted.until is not None and wanted.until != made.until_ms:
            until = _or_nothing(made.until_ms)
            found.append(f"until is {until}, not {instant_of(wanted.until)}")
        return found


class Outcomes(_OfRules):
    """`expect_outcomes`."""

    def wanted(self, wanted: OutcomeForm) -> str:
        """See Comparison."""
        keys = _stated(wanted, ("rule", "after_stage", "reason", "converted"))
        at = [] if wanted.at is None else [f"at={instant_of(wanted.at)}"]
        return _line(wanted.user, wanted.outcome, *keys, *at)

    def made(self, made: Ended, like: OutcomeForm | None) -> str:
        """See Comparison."""
        converted = [] if made.converted_ms is None else ["converted"]
        rule = self._rule(made, like)
        stage = [] if made.last_stage is None else [f"after_stage={made.last_stage}"]
        head = (made.user, made.outcome, *rule, *stage, f"reason={made.reason}")
        return _line(*head, *converted, f"at={instant_of(made.closed_ms)}")

    def off(self, wanted: OutcomeForm, made: Ended) -> list[str]:
        """See Comparison."""
        found = [*_names_off(wanted, made, ("user", "rule", "reason"))]
        goal = wanted.outcome is OutcomeWord.CONVERTED
        if not goal and wanted.outcome.value != made.outcome.value:
            found.append(f"{made.outcome}, not {wanted.outcome}")
        meant = goal or wanted.converted
        if meant is not None and meant is not (made.converted_ms is not None):
            found.append("not converted" if meant else "converted")
        if wanted.after_stage is not None and wanted.after_stage != made.last_stage:
            found.append(f"after_stage is {_or_nothing(made.last_stage)}")
        if wanted.at is not None and wanted.at != made.closed_ms:
            found.append(_late(wanted.at, made.closed_ms))
        return found + _too_late(wanted, made, goal=bool(meant))

    def distance(self, wanted: OutcomeForm, made: Ended) -> int | None:
        """See Comparison."""
        if wanted.user != made.user or wanted.rule not in (None, made.rule):
            return None
        far = 0 if wanted.at is None else abs(wanted.at - made.closed_ms)
        return far + (0 if wanted.outcome in ("converted", made.outcome) else OTHER_STAGE_MS)


class Decisions(_OfRules):
    """`expect_decisions`."""

    def wanted(self, wanted: DecisionForm) -> str:
        """See Comparison."""
        keys = _stated(wanted, ("rule", "stage", "reason"))
        return _line(instant_of(wanted.at), wanted.user, wanted.decision, *keys)

    def made(self, made: MadeDecision, like: DecisionForm | None) -> str:
        """See Comparison."""
        stage = [] if made.stage is None else [f"stage={made.stage}"]
        rule = self._rule(made, like)
        head = (instant_of(made.at_ms), made.user, made.word)
        return _line(*head, *rule, *stage, f"reason={made.reason}")

    def off(self, wanted: DecisionForm, made: MadeDecision) -> list[str]:
        """See Comparison."""
        found = [*_names_off(wanted, made, ("user", "rule", "stage", "reason"))]
        if wanted.decision is not made.word:
            found.append(f"{made.word}, not {wanted.decision}")
        if wanted.at != made.at_ms:
            found.append(_late(wanted.at, made.at_ms))
        return found

    def distance(self, wanted: DecisionForm, made: MadeDecision) -> int | None:
        """See Comparison."""
        if wanted.user != made.user or wanted.rule not in (None, made.rule):
            return None
        unlike = (wanted.decision is not made.word) + (wanted.stage not in (None, made.stage))
        # A rule without the stage, or not for this user, is not the one that was meant.
        if wanted.stage not in (None, *self._ladders[made.rule]):
            unlike += 2
        if made.reason is Reason.NOT_MATCHED is not wanted.reason:
            unlike += 2
        return abs(wanted.at - made.at_ms) + OTHER_STAGE_MS * unlike


def instant_of(at_ms: int) -> str:
    """`2026-11-09T07:00:00Z`, with thousandths where there are any."""
    text = instant(at_ms)
    return f"{text[:-1]}.{at_ms % SECOND_MS:03}Z" if at_ms % SECOND_MS else text


def span_of(duration_ms: int) -> str:
    """The two largest units of a duration: `1d 3h`, `12s`; `200ms` below a second."""
    parts = []
    for unit_ms, letter in ((DAY_MS, "d"), (HOUR_MS, "h"), (MINUTE_MS, "m"), (SECOND_MS, "s")):
        count, duration_ms = divmod(duration_ms, unit_ms)
        if count:
            parts.append(f"{count}{letter}")
    return " ".join(parts[:2]) or f"{duration_ms}ms"


_SAYS_WHY = ("deferred_by", "because", "attempts")
_SEND_KEYS = ("rule", "template", "variant", "deferred_by", "because", "attempts")


def _line(*words: str) -> str:
    return " ".join(words)


def _stated(wanted: object, keys: Sequence[str]) -> Iterator[str]:
    for key in keys:
        value = getattr(wanted, key)
        if value is not None:
            yield f"{key}={str(value).lower() if isinstance(value, bool) else value}"


def _until(until_ms: int | None) -> list[str]:
    return [] if until_ms is None else [f"until={instant_of(until_ms)}"]


def _names_off(wanted: object, made: object, keys: Sequence[str]) -> Iterator[str]:
    for key in keys:
        want, came = getattr(wanted, key), getattr(made, key)
        if want is not None and want != came:
            yield f"{key} is {_or_nothing(came)}, not {want}"


def _or_nothing(value: object) -> str:
    if value is None or value == "":
        return "nothing"
    return instant_of(value) if isinstance(value, int) and value > DAY_MS else str(value)


def _late(wanted_ms: int, made_ms: int) -> str:
    side = "later" if made_ms > wanted_ms else "earlier"
    return f"{span_of(abs(made_ms - wanted_ms))} {side}"


def _too_late(wanted: OutcomeForm, made: Ended, *, goal: bool) -> list[str]:
    """`within` counts from the last send, to the conversion when one is expected."""
    end_ms = made.converted_ms if goal else made.closed_ms
    if wanted.within is None or end_ms is None:
        return []
    if made.last_sent_ms is None:
        return ["nothing was sent before it"]
    took_ms = end_ms - made.last_sent_ms
    return [f"{span_of(took_ms)} after the last send"] if took_ms > wanted.within else []


def _addresses_off(wanted: SendForm, made: MadeSend) -> list[str]:
    if wanted.address is None:
        return []
    spellings = {spelt(channel, address) for address in wanted.address for channel in Channel}
    known = {address for address in made.addresses if address in spellings}
    if len(known) == len(made.addresses) == len(wanted.address):
        return []
    return [f"went to {', '.join(made.addresses)}"]
