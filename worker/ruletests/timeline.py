"""Plays one test: its events, in virtual time, against its rules; what comes of it is a `Story`.

Pure. The core is the one that runs live (`play.py`); here the test is put on its stage, and what
happens is written down. Time jumps from one thing that happens to the next.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date, datetime

from worker.model import (
    DAY_MS,
    SECOND_MS,
    SPEND_SPAN_MS,
    Activity,
    Effect,
    Silence,
    SilenceKind,
    Spend,
)
from worker.rehearsal.play import Play
from worker.rules.limits import Prices
from worker.rules.ruleset import Mode, Rule, RuleSet
from worker.rules.zones import zone_named
from worker.ruletests.case_expected import StateForm
from worker.ruletests.case_forms import CaseForm
from worker.ruletests.case_world import EventForm, GivenForm, Side, SpendForm
from worker.ruletests.cast import Actor
from worker.ruletests.provider import ScriptedProvider
from worker.ruletests.scribe import Scribe, stand_of
from worker.ruletests.story import Stand, Story

REST_MAX_MS = 400 * DAY_MS
"""How long a test without an end waits for its ladders to end."""

AUTHOR = "test"


def play_case(form: CaseForm, rules: RuleSet) -> Story:
    """What comes of a test under these rules."""
    return _Timeline(form, as_tested(rules, form.given)).played()


def as_tested(rules: RuleSet, given: GivenForm) -> RuleSet:
    """The rules as a test runs them: live, for everybody and at its prices, unless it says that
    they are meant as written."""
    return replace(
        rules,
        rules=tuple(_as_tested(rule, given) for rule in rules.rules),
        prices=_prices(rules.prices, given),
    )


def _as_tested(rule: Rule, given: GivenForm) -> Rule:
    return replace(
        rule,
        mode=Mode.LIVE if given.mode == "live" else rule.mode,
        rollout=None if given.rollout == "everyone" else rule.rollout,
    )


def _prices(prices: Prices, given: GivenForm) -> Prices:
    stated = given.prices.by_channel()
    return replace(
        prices,
        otherwise={**prices.otherwise, **stated},
        by_country={name: of for name, of in prices.by_country.items() if name not in stated},
    )


class _Timeline:
    """One run of one test."""

    def __init__(self, form: CaseForm, rules: RuleSet) -> None:
        self._form = form
        self._rules = rules
        self._actors = {
            user_id: Actor(user_id, number, user)
            for number, (user_id, user) in enumerate(form.users.items(), start=1)
        }
        self._story = Story(
            ladders={rule.name: [stage.name for stage in rule.stages] for rule in rules.rules}
        )
        self._scribe = Scribe(self._story, rules)
        self._play = Play(
            rules,
            provider=ScriptedProvider(form.deliveries),
            observer=self._scribe,
            start_ms=form.start,
            spends=[_spend(spend, rules) for spend in form.given.spend],
            silences=_silences(form.given),
        )

    def played(self) -> Story:
        """Tells the whole story."""
        self._enter()
        said, asked = self._by_instant()
        stands: dict[int, Stand] = {}
        for at_ms in sorted({*said, *asked}):
            for event in said.get(at_ms, ()):
                self._say(event, at_ms)
            if at_ms in asked:
                self._play.until(at_ms)
            for number, wanted in asked.get(at_ms, ()):
                stands[number] = self._stand(wanted)
        self._story.stands = [stands[number] for number in sorted(stands)]
        self._story.end_ms = self._end()
        self._scribe.finish()
        return self._story

    def _enter(self) -> None:
        """Everybody is known from the start on."""
        for user_id, user in self._form.users.items():
            person = self._play.memory.person(user_id)
            person.holdout = user.holdout is Side.IN
            person.variants = user.variant
        users = self._form.users.items()
        effect = Effect(
            endpoints=tuple(
                endpoint
                for actor in self._actors.values()
                for endpoint in actor.endpoints(self._form.start)
            ),
            activities=tuple(
                Activity(at_ms=user.last_active, event_type="_session.start", user_id=user_id)
                for user_id, user in users
                if user.last_active is not None
            ),
        )
        self._play.feed(effect, self._form.start)

    def _by_instant(
        self,
    ) -> tuple[Mapping[int, list[EventForm]], Mapping[int, list[tuple[int, StateForm]]]]:
        """Events by when they are told, states by when they are asked for."""
        said: dict[int, list[EventForm]] = defaultdict(list)
        for event in self._form.events:
            said[event.at if event.arrives is None else event.arrives].append(event)
        asked: dict[int, list[tuple[int, StateForm]]] = defaultdict(list)
        for number, wanted in enumerate(self._form.expect_states):
            asked[wanted.at].append((number, wanted))
        return said, asked

    def _say(self, event: EventForm, at_ms: int) -> None:
        actor = self._actors[event.user]
        if event.change is not None:
            actor.change(event.change)
            self._play.feed(Effect(endpoints=actor.endpoints(event.at)), at_ms)
            return
        self._scribe.reading = event
        # What was sent by then is what a mail or SMS event may be about.
        self._play.begin(at_ms)
        self._play.read([actor.record(event, self._scribe.last_send_id(event))])

    def _stand(self, wanted: StateForm) -> Stand:
        rule = wanted.rule or self._rules.rules[0].name
        look = self._play.glance(wanted.user)
        decision = next(d for d in reversed(look.decisions) if d.rule == rule)
        person = self._play.memory.people[wanted.user]
        latest = None if person.life is None else person.life.latest.get(rule)
        stated = self._rules.rule_named(rule)
        assert stated is not None
        return stand_of(decision, latest, stated.cooldown_ms)

    def _end(self) -> int:
        """Plays on to the end, and says when that was."""
        form, play = self._form, self._play
        if form.end is not None:
            play.until(form.end)
            return play.now_ms
        play.until(max([play.now_ms, *self._named()]))
        self._scribe.done_with = self._returned()
        play.until(max(play.now_ms, self._all_silent_ms()))
        latest_ms = play.now_ms + REST_MAX_MS
        while self._scribe.under_way:
            due_ms = play.memory.next_due_ms()
            if due_ms is None or due_ms > latest_ms:
                break
            play.until(due_ms)
        return play.now_ms

    def _named(self) -> Iterable[int]:
        """Every instant at which the test expects something."""
        for send in self._form.expect_sends or ():
            yield send.at + (send.within or 0)
        yield from (decision.at for decision in self._form.expect_decisions)
        yield from (outcome.at for outcome in self._form.expect_outcomes if outcome.at is not None)

    def _all_silent_ms(self) -> int:
        """When everybody has been silent for the longest time a rule waits."""
        form = self._form
        longest_ms = max(rule.inactive_for_ms for rule in self._rules.rules)
        heard = [form.start]
        heard += [user.last_active for user in form.users.values() if user.last_active is not None]
        heard += [event.at for event in form.events if event.type is not None]
        return max(heard) + longest_ms

    def _returned(self) -> Mapping[str, frozenset[str]]:
        """Users who had a ladder, came back, and have none of their new silence yet; with the
        episodes they had."""
        found = {}
        for user_id, person in self._play.memory.people.items():
            episodes = person.life.episodes if person.life is not None else {}
            back_ms = person.last_active_ms or 0
            if episodes and all(e.silence_since_ms < back_ms for e in episodes.values()):
                found[user_id] = frozenset(episodes)
        return found


def _spend(spend: SpendForm, rules: RuleSet) -> Spend:
    """At the beginning of the day, in the zone of the channel's first budget."""
    zones = [b.timezone for b in rules.limits.budgets if b.channel in (None, spend.channel)]
    day = date.fromisoformat(spend.day)
    zone = zone_named(zones[0] if zones else "UTC")
    begin = datetime(day.year, day.month, day.day, tzinfo=zone)
    begin_ms = int(begin.timestamp()) * SECOND_MS
    span_ms = -(-begin_ms // SPEND_SPAN_MS) * SPEND_SPAN_MS
    return Spend(channel=spend.channel, at_ms=span_ms, micros=spend.amount.micros)


def _silences(given: GivenForm) -> list[Silence]:
    return [
        Silence(
            silence_id=number,
            kind=SilenceKind.SILENCE,
            matchers=tuple(str(matcher) for matcher in silence.matchers),
            begins_ms=silence.begins,
            ends_ms=silence.ends,
            author=AUTHOR,
            comment="",
        )
        for number, silence in enumerate(given.silences, start=1)
    ]
