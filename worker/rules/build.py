"""Checked forms to the frozen `RuleSet`, with the digests that tell one revision from another.

Called only when no problem was found, so that nothing here can fail on content.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

from worker.model import Channel
from worker.rules.document import Node
from worker.rules.forms import DEFAULT_PRICE
from worker.rules.law import law_windows
from worker.rules.limits import Budget, Cap, Limits, Prices, SendRate
from worker.rules.messages import MessageForm
from worker.rules.ruleset import (
    ActivityPolicy,
    Goal,
    LegalText,
    OpenWeek,
    QuietHours,
    Rule,
    RuleGoal,
    RuleSet,
    Share,
    Stage,
    Variant,
    open_but,
)
from worker.rules.schema import (
    ActivityForm,
    DefaultsForm,
    HoldoutForm,
    RolloutForm,
    RuleFile,
    RuleForm,
)
from worker.rules.schema_ladder import EmailStage, PushStage, StageForms
from worker.rules.schema_limits import LegalTextForm, LimitsForm, PricesForm, QuietHoursForm
from worker.rules.weeks import DAYS

TemplateKey: TypeAlias = tuple[str, Channel]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One rule file: as filled in, and as written, defaults included."""

    file: str
    form: RuleFile
    root: Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One template file as a channel's message, and as written."""

    message: MessageForm
    content: Any


def build(
    sources: Sequence[Source],
    templates: Mapping[TemplateKey, Template],
    contents: Mapping[str, bytes],
) -> RuleSet:
    """`contents`: file name within the folder to bytes, of every file that took part."""
    rules = [
        _rule(form, node, source.file, templates)
        for source in sources
        for form, node in zip(source.form.rules, source.root.get_items("rules"), strict=True)
    ]
    rules.sort(key=lambda rule: (-rule.priority, rule.file, rule.line))
    # At most one file states each of these; in the others they are the empty form.
    limits = next((s.form.limits for s in sources if s.root.get("limits")), LimitsForm())
    prices = next((s.form.prices for s in sources if s.root.get("prices")), PricesForm())
    defaults = next((s.form.defaults for s in sources if s.root.get("defaults")), DefaultsForm())
    forms = [source.form for source in sources]
    quiet_hours = [_quiet(window) for form in forms for window in form.quiet_hours]
    enforced = all(form.law_windows == "enforce" for form in forms)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    return RuleSet(
        revision=_digest(digests),
        rules=tuple(rules),
        limits=_limits(limits),
        quiet_hours=(*quiet_hours, *(law_windows() if enforced else ())),
        legal_texts=tuple(_legal(text) for form in forms for text in form.legal_texts),
        prices=_prices(prices),
        activity=_activity(defaults.activity, rules),
        timezone=defaults.timezone,
        contents=dict(contents),
    )


def _activity(form: ActivityForm, rules: Sequence[Rule]) -> ActivityPolicy:
    return ActivityPolicy(
        events=tuple(form.events),
        not_events=tuple(form.not_events),
        clock=form.clock,
        max_future_skew_ms=form.max_future_skew,
        goals=tuple(RuleGoal(rule=rule.name, goal=rule.goal) for rule in rules if rule.goal),
    )


def _rule(form: RuleForm, node: Node, file: str, templates: Mapping[TemplateKey, Template]) -> Rule:
    goal = form.conversion
    return Rule(
        name=form.rule,
        revision=_digest(_ladder(form, node, templates)),
        mode=form.mode,
        inactive_for_ms=form.inactive_for,
        stages=tuple(_stage(stage, templates) for stage in form.stages),
        matchers=tuple(form.match),
        max_inactive_ms=form.max_inactive,
        cooldown_ms=form.cooldown,
        exit_on=frozenset(form.exit_on),
        priority=form.priority,
        holdout=_share(form.holdout, f"{form.rule}/holdout"),
        rollout=_share(form.rollout, f"{form.rule}/rollout"),
        goal=Goal(event=goal.event, within_ms=goal.within) if goal else None,
        on_edit=form.on_edit,
        enabled_from_ms=form.enabled_from,
        enabled_until_ms=form.enabled_until,
        owner=form.owner,
        file=file,
        line=node.place.line,
    )


def _ladder(
    form: RuleForm, node: Node, templates: Mapping[TemplateKey, Template]
) -> dict[str, object]:
    """What makes a rule another ladder, as written: a template stands for its content."""
    stages = [
        _with_contents(stage, written.plain(), templates)
        for stage, written in zip(form.stages, node.get_items("stages"), strict=True)
    ]
    written = node.plain()
    exits = sorted(written.get("exit_on", ()))
    stated = {key: written.get(key) for key in ("match", "revision")}
    return {**stated, "exit_on": exits, "stages": stages}


def _with_contents(
    stage: StageForms, written: dict[str, Any], templates: Mapping[TemplateKey, Template]
) -> dict[str, Any]:
    channel = Channel(stage.channel)
    if stage.template is not None:
        return {**written, "template": templates[stage.template, channel].content}
    variants = [
        variant
        if "template" not in variant
        else {**variant, "template": templates[variant["template"], channel].content}
        for variant in written.get("variants", ())
    ]
    return {**written, "variants": variants} if variants else written


def _share(form: HoldoutForm | RolloutForm | None, salt: str) -> Share | None:
    return Share(percent=form.percent, salt=form.salt or salt) if form else None


def _stage(form: StageForms, templates: Mapping[TemplateKey, Template]) -> Stage:
    return Stage(
        name=form.name,
        channel=Channel(form.channel),
        after_ms=form.after or 0,
        variants=tuple(_variants(form, templates)),
        only_if=tuple(form.only_if),
        on_undeliverable=form.on_undeliverable,
        on_uncertain=form.on_uncertain,
        on_failed=None if isinstance(form, PushStage) else form.on_failed,
        soft_bounces=form.soft_bounces if isinstance(form, EmailStage) else None,
        max_price_micros=form.max_price.micros if form.max_price else None,
        ttl_ms=None if isinstance(form, EmailStage) else form.ttl,
    )


def _variants(form: StageForms, templates: Mapping[TemplateKey, Template]) -> Iterator[Variant]:
    channel = Channel(form.channel)
    if not form.variants:
        template = _message(form.message, form.template, channel, templates)
        yield Variant(name="", template=template, template_name=form.template)
    for variant in form.variants or ():
        yield Variant(
            name=variant.name,
            template=_message(variant.message, variant.template, channel, templates),
            weight=variant.weight or 1,
            template_name=variant.template,
        )


def _message(
    message: MessageForm | None,
    template: str | None,
    channel: Channel,
    templates: Mapping[TemplateKey, Template],
) -> MessageForm:
    if message is not None:
        return message
    assert template is not None
    return templates[template, channel].message


def _limits(form: LimitsForm) -> Limits:
    caps = [
        Cap(max=entry.max, per_ms=entry.per, window=entry.window)
        for entry in form.user
        if entry.max is not None and entry.per is not None
    ]
    gaps = [entry.min_gap for entry in form.user if entry.min_gap is not None]
    rates = [SendRate(max=r.max, per_ms=r.per, channel=r.channel) for r in form.send_rate]
    budgets = [
        Budget(
            max_micros=budget.max.micros,
            channel=budget.channel,
            timezone=budget.timezone,
            on_exhausted=budget.on_exhausted,
        )
        for budget in form.budget
    ]
    return Limits(
        caps=tuple(caps),
        min_gap_ms=max(gaps, default=0),
        send_rates=tuple(rates),
        budgets=tuple(budgets),
    )


def _prices(form: PricesForm) -> Prices:
    stated = {
        channel: {of: price.micros for of, price in listed.items()}
        for channel in Channel
        if (listed := getattr(form, channel.value)) is not None
    }
    return Prices(
        currency=_currency(form),
        otherwise={channel: listed[DEFAULT_PRICE] for channel, listed in stated.items()},
        by_country={
            channel: {of: micros for of, micros in listed.items() if of != DEFAULT_PRICE}
            for channel, listed in stated.items()
        },
    )


def _currency(form: PricesForm) -> str:
    """The one currency of the prices; without prices there is no other amount either."""
    listed = chain.from_iterable(
        prices.values() for prices in (form.push, form.email, form.sms) if prices
    )
    return next((amount.currency for amount in listed), Prices().currency)


def _quiet(form: QuietHoursForm) -> QuietHours:
    week: OpenWeek
    if form.allow is not None:
        spans = {day: opened for days, opened in form.allow.items() for day in days}
        week = tuple(spans.get(day, ()) for day in range(len(DAYS)))
    else:
        assert form.begin is not None
        assert form.end is not None
        week = open_but(form.begin, form.end)
    return QuietHours(
        name=form.name,
        open_week=week,
        matchers=tuple(form.match),
        assume=tuple(form.unknown_timezone.assume),
        otherwise=form.unknown_timezone.otherwise,
        on_hit=form.on_hit,
    )


def _legal(form: LegalTextForm) -> LegalText:
    return LegalText(matchers=tuple(form.match), prefix=form.prefix or "", suffix=form.suffix or "")


def _digest(value: object) -> str:
    written = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(written.encode("utf-8"), digest_size=8).hexdigest()
