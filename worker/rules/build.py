"""Checked forms to the frozen `RuleSet`, with the digests that tell one revision from another.

Called only when no problem was found, so that nothing here can fail on content.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from worker.model import Channel
from worker.rules.document import Node
from worker.rules.messages import MessageForm
from worker.rules.ruleset import (
    ActivityPolicy,
    Cap,
    Limits,
    MessageTemplate,
    QuietHours,
    Rule,
    RuleSet,
    Stage,
)
from worker.rules.schema import (
    ActivityForm,
    LimitsForm,
    QuietHoursForm,
    RuleFile,
    RuleForm,
    StageForms,
)

TemplateKey: TypeAlias = tuple[str, Channel]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One rule file: as filled in, and as written."""

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
    # At most one file states limits and one defaults; the others carry the empty form.
    limits = next((s.form.limits for s in sources if s.root.get("limits")), LimitsForm())
    activity = next(
        (s.form.defaults.activity for s in sources if s.root.get("defaults")), ActivityForm()
    )
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    return RuleSet(
        revision=_digest(digests),
        rules=tuple(rules),
        limits=_limits(limits),
        quiet_hours=tuple(_quiet(form) for s in sources for form in s.form.quiet_hours),
        activity=ActivityPolicy(
            events=tuple(activity.events),
            not_events=tuple(activity.not_events),
            max_future_skew_ms=activity.max_future_skew,
        ),
    )


def _rule(form: RuleForm, node: Node, file: str, templates: Mapping[TemplateKey, Template]) -> Rule:
    used = [templates[_key(stage)].content for stage in form.stages if stage.template is not None]
    return Rule(
        name=form.rule,
        revision=_digest([node.plain(), used]),
        mode=form.mode,
        inactive_for_ms=form.inactive_for,
        stages=tuple(_stage(stage, templates) for stage in form.stages),
        matchers=tuple(form.match),
        max_inactive_ms=form.max_inactive,
        cooldown_ms=form.cooldown,
        exit_on=frozenset(form.exit_on),
        file=file,
        line=node.place.line,
    )


def _stage(form: StageForms, templates: Mapping[TemplateKey, Template]) -> Stage:
    message: MessageTemplate | None = form.message
    if message is None:
        message = templates[_key(form)].message
    return Stage(
        name=form.name, channel=Channel(form.channel), after_ms=form.after, template=message
    )


def _key(stage: StageForms) -> TemplateKey:
    assert stage.template is not None
    return stage.template, Channel(stage.channel)


def _limits(form: LimitsForm) -> Limits:
    caps = [
        Cap(max=entry.max, per_ms=entry.per, window=entry.window)
        for entry in form.user
        if entry.max is not None and entry.per is not None
    ]
    gaps = [entry.min_gap for entry in form.user if entry.min_gap is not None]
    return Limits(caps=tuple(caps), min_gap_ms=max(gaps, default=0))


def _quiet(form: QuietHoursForm) -> QuietHours:
    return QuietHours(
        name=form.name,
        from_minute=form.begin,
        to_minute=form.end,
        matchers=tuple(form.match),
        assume=tuple(form.unknown_timezone.assume),
        otherwise=form.unknown_timezone.otherwise,
    )


def _digest(value: object) -> str:
    written = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(written.encode("utf-8"), digest_size=8).hexdigest()
