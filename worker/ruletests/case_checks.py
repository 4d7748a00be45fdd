"""What the parts of a test file must be to one another and to the rules. Pure; works on nodes.

Names that nobody introduced, instants outside the story, tests that cannot fail. What does not fit
the form is passed over here, so that a file with both kinds of mistakes shows them all at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from worker.rules.amounts import parse_amount
from worker.rules.document import Node
from worker.rules.event_names import KNOWN_EVENTS
from worker.rules.instants import parse_instant
from worker.rules.problems import Place, Problem, Refused, not_allowed, quoted
from worker.rules.reach import unknown_country
from worker.rules.ruleset import Rule, RuleSet
from worker.rules.zones import country_names

EXPECTATIONS = ("expect_sends", "expect_states", "expect_outcomes", "expect_decisions")
ABOUT_USERS = ("events", "deliveries", *EXPECTATIONS)

_Told: TypeAlias = Iterator[tuple[Place, str]]


def check_names(root: Node) -> Iterator[Problem]:
    """What can be said of a test file without its rules."""
    tests = root.get_items("tests")
    yield from _problems(_unique_names(tests))
    for test in tests:
        yield from _problems(_users(test))
        yield from _problems(_events(test))
        yield from _problems(_instants(test))
        yield from _problems(_expects_something(test))


def check_against_rules(root: Node, rules: RuleSet) -> Iterator[Problem]:
    """Rules, stages, variants and templates that the rules under test do not have, and money of
    another currency."""
    for test in root.get_items("tests"):
        yield from _problems(_currencies(test, rules))
        for key in ("deliveries", *EXPECTATIONS):
            for item in test.get_items(key):
                yield from _problems(_of_rules(item, rules))
        users = test.get("users")
        for entry in (users.entries or {}).values() if users else ():
            yield from _problems(_forced_variants(entry.value, rules))


def _problems(told: Iterable[tuple[Place, str]]) -> Iterator[Problem]:
    for place, message in told:
        yield Problem(*place, message)


def _unique_names(tests: Sequence[Node]) -> _Told:
    first: dict[str, Place] = {}
    for test in tests:
        name = test.get_text("name")
        if name is None:
            continue
        if name in first:
            told = f"the test {quoted(name)} is there already, in line {first[name].line}"
            yield test.value_place("name"), f"{told}; give each a name of its own"
        first.setdefault(name, test.value_place("name"))


def _users(test: Node) -> _Told:
    users = test.get("users")
    known = list((users.entries or {}) if users else {})
    for key in ABOUT_USERS:
        for item in test.get_items(key):
            user = item.get_text("user")
            if user is not None and known and user not in known:
                message = not_allowed("there is no user", user, known)
                yield item.value_place("user"), f"{key}: {message}"
    for entry in (users.entries or {}).values() if users else ():
        yield from _country(entry.value)


def _country(user: Node) -> _Told:
    country = user.get_text("country")
    if country is not None and country not in country_names():
        yield user.value_place("country"), f"country: {unknown_country(country)}"


def _events(test: Node) -> _Told:
    for event in test.get_items("events"):
        if event.entries is None:
            continue
        change = event.get("change")
        if ("type" in event.entries) == ("change" in event.entries):
            yield (
                event.place,
                "events: state either the `type` of an event, or a `change` in the address book",
            )
        elif change is not None and "attributes" in event.entries:
            told = "events: these are of an event; put those of a user into the change"
            yield event.key_place("attributes"), f"{told}: change: {{attributes: ...}}"
        if change is not None:
            yield from _country(change)
        kind = event.get_text("type")
        if kind is not None and kind.startswith("_") and kind not in KNOWN_EVENTS:
            told = not_allowed("Pinpoint has no event type", kind, sorted(KNOWN_EVENTS))
            yield event.value_place("type"), f"type: {told}; one of your own begins with a letter"
        at_ms, arrives_ms = _instant(event, "at"), _instant(event, "arrives")
        if at_ms is not None and arrives_ms is not None and arrives_ms < at_ms:
            told = "arrives: this is before it happened; write a moment from `at` on"
            yield event.value_place("arrives"), told


def _instants(test: Node) -> _Told:
    start_ms, end_ms = _instant(test, "start"), _instant(test, "end")
    if start_ms is None:
        return
    if end_ms is not None and end_ms < start_ms:
        yield test.value_place("end"), "end: this is before the start; write a later moment"
        return
    users = test.get("users")
    for entry in (users.entries or {}).values() if users else ():
        last_ms = _instant(entry.value, "last_active")
        if last_ms is not None and last_ms > start_ms:
            told = "last_active: this is after the start of the test; make it an event"
            yield entry.value.value_place("last_active"), told
    for key in ("events", *EXPECTATIONS):
        for item in test.get_items(key):
            at_ms = _instant(item, "at")
            if at_ms is not None and at_ms < start_ms:
                yield item.value_place("at"), f"{key}: this is before the start of the test"
            elif at_ms is not None and end_ms is not None and at_ms > end_ms:
                told = f"{key}: this is after the end of the test; move the end, or leave it out"
                yield item.value_place("at"), told


def _instant(node: Node, key: str) -> int | None:
    try:
        return parse_instant(node.get_text(key) or "")
    except Refused:
        return None


def _expects_something(test: Node) -> _Told:
    if test.entries is None:
        return
    if "expect_sends" not in test.entries and not any(map(test.get_items, EXPECTATIONS)):
        told = "this test expects nothing, so it cannot fail; state one or several of"
        yield test.place, f"{told} {', '.join(EXPECTATIONS)}"


def _of_rules(item: Node, rules: RuleSet) -> _Told:
    name, meant = item.get_text("rule"), rules.rules
    if name is not None:
        rule = rules.rule_named(name)
        if rule is None:
            known = [rule.name for rule in rules.rules]
            yield item.value_place("rule"), not_allowed("there is no rule", name, known)
            return
        meant = (rule,)
    elif len(rules.rules) > 1 and item.get("state") is not None:
        told = "there are several rules; say with `rule:` under which of them"
        yield item.place, f"{told}: {', '.join(rule.name for rule in rules.rules)}"
    for key in ("stage", "after_stage"):
        stage = item.get_text(key)
        stages = _stages(meant)
        if stage is not None and stage not in stages:
            yield item.value_place(key), f"{key}: {not_allowed('no such stage', stage, stages)}"
    stated = item.get_text("stage")
    variants = [v for rule in meant for s in rule.stages if s.name == stated for v in s.variants]
    for key, known in (
        ("variant", [variant.name for variant in variants if variant.name]),
        ("template", [v.template_name for v in variants if v.template_name is not None]),
    ):
        word = item.get_text(key)
        if word is not None and variants and word not in known:
            yield item.value_place(key), _missing(key, word, known)


def _currencies(test: Node, rules: RuleSet) -> _Told:
    given = test.get("given")
    if given is None:
        return
    prices = given.get("prices")
    stated = [entry.value for entry in (prices.entries or {}).values()] if prices else []
    stated += [amount for item in given.get_items("spend") if (amount := item.get("amount"))]
    for node in stated:
        try:
            currency = parse_amount(node.text or "").currency
        except Refused:
            continue
        if currency != rules.prices.currency:
            told = f"given: {currency} here, but the rules count in {rules.prices.currency}"
            yield node.place, f"{told}; write it in that"


def _forced_variants(user: Node, rules: RuleSet) -> _Told:
    variant = user.get("variant")
    for stage, entry in (variant.entries or {}).items() if variant else ():
        stages = _stages(rules.rules)
        if stage not in stages:
            yield entry.place, f"variant: {not_allowed('no such stage', stage, stages)}"
            continue
        known = [
            v.name for r in rules.rules for s in r.stages if s.name == stage for v in s.variants
        ]
        word = entry.value.text
        if word is not None and word not in known:
            yield entry.value.place, _missing("variant", word, [name for name in known if name])


def _missing(key: str, word: str, known: Sequence[str]) -> str:
    if not known:
        return f"{key}: this stage has none; remove the key"
    return f"{key}: {not_allowed(f'the stage has no {key}', word, dict.fromkeys(known))}"


def _stages(rules: Sequence[Rule]) -> list[str]:
    return list(dict.fromkeys(stage.name for rule in rules for stage in rule.stages))
