"""Writes down what happens in a test, as it happens: the observer of its play. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from worker.holds import HOLDS
from worker.model import (
    Action,
    Channel,
    Claim,
    DeadLetter,
    Decision,
    Delivery,
    Episode,
    Outcome,
    Reason,
    Retry,
)
from worker.rehearsal.play import Observer
from worker.rules.instants import instant
from worker.rules.ruleset import RuleSet
from worker.ruletests.case_expected import DecisionWord, State
from worker.ruletests.case_world import EventForm
from worker.ruletests.story import Ended, MadeDecision, MadeSend, Stand, Story

_WORDS = {
    Action.OPEN: DecisionWord.OPEN,
    Action.SEND: DecisionWord.SEND,
    Action.SKIP: DecisionWord.SKIP,
    Action.HASTEN: DecisionWord.HASTEN,
    Action.CLOSE: DecisionWord.CLOSE,
}
_CHANNEL_OF_EVENT = {"_email.": Channel.EMAIL, "_SMS.": Channel.SMS}

_Rung = tuple[str, str]
"""Episode and stage."""


class Scribe(Observer):
    """Fills a story."""

    def __init__(self, story: Story, rules: RuleSet) -> None:
        self._story = story
        self._rules = rules
        self.reading: EventForm | None = None
        """The event that is being read."""
        self.under_way = 0
        """How many episodes are open."""
        self.done_with: Mapping[str, Collection[str]] = {}
        """Users of whom no further ladder is told, each with the episodes that are."""
        self._holds: dict[_Rung, Reason] = {}
        """Why a stage was held first."""
        self._skips: dict[str, Reason] = {}
        """Episode to why the stage before was skipped, or did not hold the next one up."""
        self._sends: dict[_Rung, MadeSend] = {}
        self._settled: set[_Rung] = set()
        """Stages with an answer that is not to be tried again."""
        self._last_send: dict[tuple[str, Channel], str] = {}
        self._ended: dict[str, tuple[Episode, Reason] | None] = {}
        """Those that a look closed, and those of which it was told."""
        self._converted: dict[str, int] = {}

    def decided(self, user_id: str, decision: Decision) -> None:
        """See Observer."""
        word, episode_id, stage = word_of(decision), decision.episode_id, decision.stage
        if word is DecisionWord.OPEN and user_id in self.done_with:
            return
        if episode_id is not None and self._is_untold(user_id, episode_id):
            return
        self._story.decisions.append(
            MadeDecision(
                at_ms=decision.at_ms,
                user=user_id,
                rule=decision.rule,
                word=word,
                stage=stage,
                reason=decision.reason,
            )
        )
        if word is DecisionWord.OPEN:
            self.under_way += 1
        if episode_id is None:
            return
        if word is DecisionWord.HOLD and stage is not None:
            self._holds.setdefault((episode_id, stage), decision.reason)
        elif word in (DecisionWord.SKIP, DecisionWord.HASTEN):
            self._skips[episode_id] = decision.reason
        elif word is DecisionWord.CLOSE:
            self._ended.setdefault(episode_id, None)
        elif decision.action is Action.ADVANCE:
            self._skips.pop(episode_id, None)

    def called(self, delivery: Delivery, outcome: Outcome, at_ms: int) -> None:
        """See Observer. Several addresses, and repeated calls, are one send of the stage."""
        claim = delivery.claim
        if self._is_untold(claim.user_id, claim.episode_id):
            return
        rung = (claim.episode_id, claim.stage)
        self._last_send[claim.user_id, claim.channel] = claim.send_id
        send = self._sends.get(rung)
        if send is None:
            send = self._sends[rung] = self._first_call(delivery, at_ms)
            self._story.sends.append(send)
        if rung not in self._settled:
            send.at_ms = at_ms
        if not isinstance(outcome, Retry):
            self._settled.add(rung)
        if delivery.address not in send.addresses:
            send.addresses = (*send.addresses, delivery.address)
        send.attempts = max(send.attempts, claim.attempt)

    def closed(self, episode: Episode, reason: Reason) -> None:
        """See Observer. What the state closed by itself is a decision too."""
        assert episode.closed_ms is not None
        if self._is_untold(episode.user_id, episode.episode_id):
            return
        self.under_way -= 1
        if episode.episode_id not in self._ended:
            self._story.decisions.append(
                MadeDecision(
                    at_ms=episode.closed_ms,
                    user=episode.user_id,
                    rule=episode.rule,
                    word=DecisionWord.CLOSE,
                    stage=episode.stage,
                    reason=reason,
                )
            )
        self._ended[episode.episode_id] = (episode, reason)

    def converted(self, episode: Episode) -> None:
        """See Observer."""
        if episode.converted_ms is not None:
            self._converted[episode.episode_id] = episode.converted_ms

    def buried(self, letters: Sequence[DeadLetter]) -> None:
        """See Observer."""
        event = self.reading
        assert event is not None, "only events of the test are read"
        self._story.troubles += [
            f"the {event.type} of {event.user} at {instant(event.at)} could not be used: "
            f"{letter.reason}, {letter.detail}"
            for letter in letters
        ]

    def last_send_id(self, event: EventForm) -> str | None:
        """The send a mail or SMS event is about: the last one to its user on the channel."""
        for begin, channel in _CHANNEL_OF_EVENT.items():
            if (event.type or "").startswith(begin):
                return self._last_send.get((event.user, channel))
        return None

    def finish(self) -> None:
        """The story is over: tells how ladders ended."""
        for episode_id, known in self._ended.items():
            assert known is not None, "what a look closes, its observer is told"
            episode, reason = known
            assert episode.closed_ms is not None
            assert episode.outcome is not None
            ended = Ended(
                user=episode.user_id,
                rule=episode.rule,
                outcome=episode.outcome,
                reason=reason,
                closed_ms=episode.closed_ms,
                last_stage=episode.last_stage,
                last_sent_ms=episode.last_sent_ms,
                converted_ms=self._converted.get(episode_id),
            )
            self._story.ended.append(ended)

    def _is_untold(self, user_id: str, episode_id: str) -> bool:
        told = self.done_with.get(user_id)
        return told is not None and episode_id not in told

    def _first_call(self, delivery: Delivery, at_ms: int) -> MadeSend:
        claim = delivery.claim
        return MadeSend(
            at_ms=at_ms,
            user=claim.user_id,
            rule=claim.rule,
            stage=claim.stage,
            template=self._template(claim),
            variant=claim.variant,
            deferred_by=self._holds.get((claim.episode_id, claim.stage)),
            because=self._skips.get(claim.episode_id),
            addresses=(),
            attempts=claim.attempt,
            message=delivery.message,
        )

    def _template(self, claim: Claim) -> str | None:
        rule = self._rules.rule_named(claim.rule)
        stage = rule.stage_named(claim.stage) if rule else None
        assert stage is not None, "a play sends the stages of its rules"
        variant = next(variant for variant in stage.variants if variant.name == claim.variant)
        return variant.template_name


def word_of(decision: Decision) -> DecisionWord:
    """What a decision is called in a test file."""
    if decision.action is Action.ADVANCE:
        would = decision.reason in (Reason.HOLDOUT, Reason.WOULD_SEND)
        return DecisionWord.WOULD_SEND if would else DecisionWord.SENT
    if decision.action is Action.WAIT:
        held = decision.episode_id is not None and decision.reason in HOLDS
        return DecisionWord.HOLD if held else DecisionWord.WAIT
    return _WORDS[decision.action]


def stand_of(decision: Decision, latest: Episode | None, cooldown_ms: int) -> Stand:
    """Where a user stands, from the ladder's last word and the latest closed episode of the rule.

    After a ladder the ladder says `once_per_silence`, whatever the cool-down; while that lasts, it
    is what a person wants to know.
    """
    reason, until_ms = decision.reason, decision.until_ms
    if decision.episode_id is not None:
        state = _UNDER_WAY.get(reason, State.DUE)
        return Stand(state=state, reason=reason, stage=decision.stage, until_ms=until_ms)
    if reason is Reason.ONCE_PER_SILENCE and latest is not None and latest.closed_ms is not None:
        end_ms = latest.closed_ms + cooldown_ms
        if end_ms > decision.at_ms:
            return Stand(state=State.COOLDOWN, reason=Reason.COOLDOWN, until_ms=end_ms)
    return Stand(state=_AT_REST.get(reason, State.OUTSIDE), reason=reason, until_ms=until_ms)


_UNDER_WAY = {Reason.NOT_YET_DUE: State.WAITING, Reason.IN_FLIGHT: State.IN_FLIGHT}
_AT_REST = {
    Reason.NEVER_ACTIVE: State.UNKNOWN,
    Reason.NOT_YET_DUE: State.ACTIVE,
    Reason.COOLDOWN: State.COOLDOWN,
    Reason.ONCE_PER_SILENCE: State.DONE,
}
