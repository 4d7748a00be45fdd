"""Malformed rule files by kind: each gives one message that names the place and the remedy (P9).

`test_rules_problems.py` holds the mistakes in what every file has; here are those of limits, money,
hours, shares, variants and defaults. The sign ¶ in a text marks the place that must be named.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from worker.errors import RulesError
from worker.rules.load import inspect, load

MARK = "¶"

FILE = """\
apiVersion: v1
#top
defaults:
  timezone: UTC
  #defaults
limits:
  user:
    - {max: 1, per: 1d, window: calendar}
  #limits
prices:
  sms: {default: 0.05 USD, US: 0.00581 USD}
  #prices
quiet_hours:
  - name: night
    from: "21:00"
    to: "08:00"
    #night
  #hours
rules:
  - rule: winback
    inactive_for: 7d
    max_inactive: 60d
    #rule
    stages:
      - name: push
        channel: push
        message: {title: Hello, body: Come back}
        #push
      - name: sms
        after: 2d
        channel: sms
        message: &m {body: Come back}
        #sms
"""


@dataclass(frozen=True)
class Bad:
    """`text` put where `#at` stands; what was `found` and the `remedy` stand in the message."""

    at: str
    text: str
    found: str
    remedy: str


LONG = "x" * 201
THIRD = "\n      - {name: third, after: 1d, channel: sms, "
WEEKDAYS = "{mon-fri: '09:00-21:00'}"
MALFORMED: dict[str, Bad] = {
    # --- kinds of values
    "percentage over 100": Bad(
        "rule", "holdout: {percent: ¶110}", '"110" is no percentage', "a number from 0 to 100"
    ),
    "percentage in words": Bad(
        "rule", "rollout: ¶half", '"half" is no percentage', "a number from 0 to 100, such as 10"
    ),
    "negative percentage": Bad(
        "rule", "rollout: {percent: ¶-5}", '"-5" is no percentage', "from 0 to 100"
    ),
    "priority in words": Bad(
        "rule", "priority: ¶high", '"high" is no priority', "write a whole number"
    ),
    "priority with a fraction": Bad(
        "rule", "priority: ¶1.5", '"1.5" is no priority', "write a whole number"
    ),
    "revision of nothing": Bad(
        "rule", "revision: ¶0", '"0" is no whole number', "from 1 to 999999"
    ),
    "instant without a zone": Bad(
        "rule",
        "enabled_from: ¶2026-11-27T09:00:00",
        "has no zone",
        "such as 2026-11-27T09:00:00Z or 2026-11-27T09:00:00+01:00",
    ),
    "instant that is a date": Bad(
        "rule", "enabled_from: ¶2026-11-27", "has no time and no zone", "write date, time and zone"
    ),
    "instant that the calendar lacks": Bad(
        "rule", "enabled_from: ¶2026-02-30T00:00:00Z", "is no moment of the calendar", "write date"
    ),
    "instant in words": Bad(
        "rule", "enabled_until: ¶christmas", '"christmas" is no instant', "write date, time and"
    ),
    "amount without a currency": Bad(
        "sms", "max_price: ¶0.08", '"0.08" has no currency', "such as 0.05 USD"
    ),
    "amount with a sign in front": Bad(
        "sms", "max_price: ¶$0.08", '"$0.08" is no amount of money', "such as 0.05 USD"
    ),
    "amount below nothing": Bad(
        "sms", "max_price: ¶-1 USD", "is less than nothing", "such as 0.05 USD"
    ),
    "amount too fine": Bad(
        "sms", "max_price: ¶0.0000001 USD", "is finer than a millionth", "such as 0.05 USD"
    ),
    "comparison with a word": Bad(
        "sms",
        "only_if: [¶'ltv>=\"rich\"']",
        '>= compares numbers, and "rich"',
        "a number such as 50",
    ),
    "comparison the wrong way round": Bad(
        "sms", "only_if: [¶'ltv=>50']", '"ltv=>50" is not a matcher', "the equals sign comes last"
    ),
    "unequal from another language": Bad(
        "sms", "only_if: [¶'ltv<>50']", '"ltv<>50" is not a matcher', "unequal is !="
    ),
    "zone nobody knows": Bad(
        "limits",
        "budget: [{max: 1 USD, timezone: ¶Europe/Berln}]",
        'unknown zone "Europe/Berln"',
        'did you mean "Europe/Berlin"?',
    ),
    # --- words
    "unknown word on an edit": Bad(
        "rule",
        "on_edit: ¶finish",
        'on_edit: unknown value "finish"',
        'did you mean "finish_old"? allowed here: finish_old, move, cancel',
    ),
    "unknown word on undeliverable": Bad(
        "push",
        "on_undeliverable: ¶next",
        'unknown value "next"',
        "allowed here: next_stage, wait, end",
    ),
    "unknown word on uncertain": Bad(
        "push", "on_uncertain: ¶retry", 'unknown value "retry"', "allowed here: keep, resend"
    ),
    "unknown clock of activity": Bad(
        "defaults",
        "activity: {clock: ¶wall}",
        'clock: unknown value "wall"',
        "allowed here: event_time, arrival_time",
    ),
    "unknown clock of quiet hours": Bad(
        "night", "clock: ¶utc", 'clock: unknown value "utc"', "allowed here: user_local"
    ),
    "unknown word on a hit": Bad(
        "night", "on_hit: ¶drop", 'unknown value "drop"', "allowed here: defer, skip, next_stage"
    ),
    "budget that skips": Bad(
        "limits",
        "budget: [{max: 1 USD, on_exhausted: ¶skip}]",
        'on_exhausted: unknown value "skip"',
        "allowed here: defer, next_stage",
    ),
    "unknown law": Bad(
        "top", "law_windows: ¶off", 'unknown value "off"', "allowed here: enforce, ignore"
    ),
    "another log word": Bad(
        "rule",
        "holdout: {percent: 5, log_as: ¶held}",
        'log_as: unknown value "held"',
        "allowed here: would_send",
    ),
    "another comparison": Bad(
        "rule",
        "conversion: {event: app.buy, within: 7d, compare: ¶per_protocol}",
        'compare: unknown value "per_protocol"',
        "allowed here: intent_to_treat",
    ),
    "unknown exit": Bad(
        "rule",
        "exit_on: [activity, ¶user_delete]",
        'unknown value "user_delete"',
        'did you mean "user_deleted"?',
    ),
    # --- shares
    "everybody held out": Bad(
        "rule",
        "holdout: {percent: ¶100}",
        "holdout: 100 percent leaves nobody to send to",
        "or mode: shadow to send nothing",
    ),
    "a rollout to nobody": Bad(
        "rule",
        "rollout: ¶0",
        "rollout: at 0 percent the rule begins for nobody",
        "write more, or remove the rule",
    ),
    "a rollout to nobody, written out": Bad(
        "rule", "rollout: {salt: x, percent: ¶0%}", "begins for nobody", "write more"
    ),
    "holdout without a percentage": Bad(
        "rule", "holdout: ¶{salt: x}", 'the key "percent" is missing here', "so state it"
    ),
    "conversion without a window": Bad(
        "rule", "conversion: ¶{event: app.buy}", 'the key "within" is missing here', "so state it"
    ),
    "enabled for less than nothing": Bad(
        "rule",
        "enabled_from: 2026-12-01T00:00:00Z\n    enabled_until: ¶2026-11-01T00:00:00Z",
        "enabled_until 2026-11-01T00:00:00Z must be later than",
        "exchange or mend them",
    ),
    # --- stages
    "a first text and a second": Bad(
        "push",
        "¶variants: [{name: a, message: {title: a, body: b}}]",
        'the stage has either "message" or "variants"',
        "remove one",
    ),
    "two variants of a name": Bad(
        "sms",
        THIRD + "variants: [{name: a, message: *m}, {name: ¶a, message: *m}]}",
        'the variant "a" is there already',
        "rename one",
    ),
    "a variant without a text": Bad(
        "sms",
        THIRD + "variants: [{name: a, message: *m}, ¶{name: b}]}",
        "the variant has nothing to say",
        'state "message" here, or "template"',
    ),
    "a variant with two texts": Bad(
        "sms",
        THIRD + "variants: [{name: a, message: *m, ¶template: t}]}",
        'the variant has either "message" or "template"',
        "remove one",
    ),
    "a variant of an unknown template": Bad(
        "sms",
        THIRD + "variants: [{name: a, template: ¶nothere}]}",
        "there is no file templates/nothere.yaml",
        "the folder templates/ has no files",
    ),
    "no variants": Bad(
        "sms", THIRD + "variants: ¶[]}", "variants: expected at least one entry", "expected"
    ),
    "a weight of nothing": Bad(
        "sms",
        THIRD + "variants: [{name: a, weight: ¶0, message: *m}]}",
        '"0" is no weight',
        "from 1 to 1000",
    ),
    "a weight on some": Bad(
        "sms",
        THIRD + "variants: [{name: a, weight: 50, message: *m}, ¶{name: b, message: *m}]}",
        "state the weight of every variant",
        "or of none, which makes equal parts",
    ),
    "an unknown key of a variant": Bad(
        "sms",
        THIRD + "variants: [{name: a, ¶wieght: 50, message: *m}]}",
        'unknown key "wieght"; did you mean "weight"?',
        "allowed here: name, template, weight, message",
    ),
    "time to live of an e-mail": Bad(
        "sms",
        "\n      - {name: m, after: 1d, channel: email, ¶ttl: 1h, message: {subject: a, text: b}}",
        'unknown key "ttl"',
        "allowed here: name, after,",
    ),
    "unknown word on a failure": Bad(
        "sms", "on_failed: ¶skip", 'unknown value "skip"', "allowed here: wait, next_stage"
    ),
    "a failure of a push": Bad(
        "push", "¶on_failed: next_stage", 'unknown key "on_failed"', "allowed here: name,"
    ),
    "soft bounces of an SMS": Bad(
        "sms", "¶soft_bounces: 2", 'unknown key "soft_bounces"', "allowed here: name,"
    ),
    "no soft bounce": Bad(
        "defaults",
        "stage: {soft_bounces: ¶0}",
        '"0" is no whole number',
        "from 1 to 10",
    ),
    "time to live too long for an SMS": Bad(
        "sms", "ttl: ¶4d", '"4d" is out of bounds', "write 1m to 3d"
    ),
    "time to live too long for a push": Bad(
        "push", "ttl: ¶29d", '"29d" is out of bounds', "write 1s to 28d"
    ),
    "a channel among the conditions of a stage": Bad(
        "sms", "only_if: [¶'channel=\"sms\"']", "channel is only known in quiet_hours", "remove"
    ),
    "a country among the conditions of a stage": Bad(
        "sms", "only_if: [¶'country=\"UK\"']", 'only_if: unknown country "UK"', 'mean "GB"?'
    ),
    # --- limits and money
    "a pace over a day": Bad(
        "limits", "send_rate: [{max: 5, per: ¶1d}]", '"1d" is out of bounds', "write 1ms to 1h"
    ),
    "a pace without a span": Bad(
        "limits", "send_rate: [¶{max: 5}]", 'the key "per" is missing here', "so state it"
    ),
    "a pace on an unknown channel": Bad(
        "limits",
        "send_rate: [{channel: ¶voice, max: 5, per: 1s}]",
        'channel: unknown value "voice"',
        "allowed here: push, email, sms",
    ),
    "a budget of a week": Bad(
        "limits",
        "budget: [{channel: sms, max: 1 USD, per: ¶7d}]",
        '"7d": a budget is for one calendar day',
        "write 1d",
    ),
    "a budget without a price": Bad(
        "limits",
        "budget: [{channel: email, ¶max: 1 USD}]",
        "a budget on email needs its price",
        "state it, such as prices: {email: {default: 0.05 USD}}",
    ),
    "a highest price without a price": Bad(
        "push",
        "¶max_price: 0.01 USD",
        "max_price on push needs its price",
        "such as prices: {push: {default: 0.05 USD}}",
    ),
    "two currencies": Bad(
        "limits",
        "budget: [{channel: sms, max: ¶200 EUR}]",
        '"200 EUR" is in EUR, and',
        "a folder has one currency, convert one",
    ),
    "a price in another currency": Bad(
        "prices", "email: {default: ¶0.01 EUR}", "is in EUR, and", "one currency, convert one"
    ),
    "prices without a default": Bad(
        "prices",
        "push: ¶{US: 0.01 USD}",
        'the key "default" is missing here',
        "such as default: 0.05 USD",
    ),
    "the price of a country that is none": Bad(
        "prices",
        "push: {default: 0.01 USD, ¶France: 0.01 USD}",
        'unknown country "France"',
        'did you mean "FR"?',
    ),
    "the price of no channel": Bad(
        "prices",
        "¶pager: {default: 1 USD}",
        'unknown key "pager"',
        "allowed here: push, email, sms",
    ),
    # --- hours
    "hours twice": Bad(
        "night",
        f"¶allow: {WEEKDAYS}",
        'quiet hours have either "from" and "to", or "allow"',
        "remove one",
    ),
    "no hours": Bad(
        "hours",
        "- ¶{name: empty}",
        'quiet hours need "from" and "to"',
        'or "allow" with the open hours of each day',
    ),
    "half the hours": Bad(
        "hours", "- ¶{name: x, from: '21:00'}", 'the key "to" is missing here', "so state it"
    ),
    "a day nobody knows": Bad(
        "hours",
        "- {name: x, allow: {¶funday: '09:00-21:00'}}",
        'unknown day "funday"',
        "allowed here: mon, tue,",
    ),
    "a day stated twice": Bad(
        "hours",
        "- {name: x, allow: {mon-fri: '09:00-21:00', ¶'fri,sat': '10:00-20:00'}}",
        'allow: fri is in "mon-fri" already',
        "name each day once",
    ),
    "hours over midnight": Bad(
        "hours",
        "- {name: x, allow: {mon-sun: ¶'20:00-02:00'}}",
        '"20:00-02:00" must end after it begins',
        "a span over midnight is two",
    ),
    "hours that overlap": Bad(
        "hours",
        "- {name: x, allow: {mon-sun: ¶'08:00-12:00, 11:00-20:00'}}",
        "has spans that overlap",
        "make them one",
    ),
    "hours in words": Bad(
        "hours",
        "- {name: x, allow: {mon-sun: ¶'9 to 5'}}",
        '"9 to 5" is no span of a day',
        'write "09:00-21:00", or none',
    ),
    "a week without an open hour": Bad(
        "hours",
        "- {name: x, allow: ¶{mon-sun: none}}",
        "allow: no minute of the week is open",
        "state one, such as",
    ),
    "hours that leave nothing together": Bad(
        "hours",
        "- ¶{name: x, allow: {mon-sun: '22:00-24:00'}}",
        "no minute of the week is left",
        "shorten one",
    ),
    # --- legal texts
    "a legal text without a text": Bad(
        "top",
        "legal_texts: [¶{match: ['country=\"KR\"']}]",
        'a legal text needs "prefix" or "suffix"',
        "state one",
    ),
    "a legal text with a value": Bad(
        "top",
        "legal_texts: [{prefix: ¶'Ad for {{User.UserId}} '}]",
        "a legal text is the same for everybody",
        "remove the {{...}}",
    ),
    "a blank legal text": Bad(
        "top", "legal_texts: [{suffix: ¶' '}]", "a legal text cannot be blank", "remove the key"
    ),
    "a legal text without end": Bad(
        "top", f"legal_texts: [{{suffix: ¶{LONG}}}]", "longer than 200 characters", "shorten it"
    ),
    # --- defaults
    "a name among the defaults of rules": Bad(
        "defaults",
        "rule: {¶stages: []}",
        'unknown key "stages"',
        "allowed here: revision, owner,",
    ),
    "a channel among the defaults of stages": Bad(
        "defaults",
        "stage: {¶channel: sms}",
        'unknown key "channel"',
        "allowed here: after, only_if",
    ),
    "a bad value among the defaults of rules": Bad(
        "defaults", "rule: {cooldown: ¶30}", '"30" has no unit', "such as 7d, 2h30m or 5s"
    ),
    "a bad value among the defaults of stages": Bad(
        "defaults",
        "stage: {on_uncertain: ¶maybe}",
        'unknown value "maybe"',
        "allowed here: keep, resend",
    ),
    "a bad matcher among the defaults": Bad(
        "defaults",
        "rule: {match: [¶'country=\"Germany\"']}",
        'unknown country "Germany"',
        'did you mean "DE"?',
    ),
    "a default that no rule can hold": Bad(
        "defaults",
        "rule: {exit_on: [¶opt_out_all]}",
        "exit_on must contain activity",
        "add it",
    ),
    "a text for the defaults": Bad(
        "defaults", "stage: ¶ttl", 'stage: expected keys and values, found "ttl"', "keys and values"
    ),
}


def written(kind: str) -> tuple[str, int, int]:
    """The malformed file, and the place where its mistake stands."""
    bad = MALFORMED[kind]
    assert FILE.count(f"#{bad.at}\n") == 1
    marked = FILE.replace(f"#{bad.at}\n", f"{bad.text}\n")
    before = marked[: marked.index(MARK)]
    place = before.count("\n") + 1, len(before) - before.rfind("\n")
    return marked.replace(MARK, ""), *place


def test_there_are_more_than_fifty_kinds_and_the_file_without_them_is_sound(
    tmp_path: Path,
) -> None:
    assert len(MALFORMED) > 50
    (tmp_path / "shop.yaml").write_text(FILE)
    assert inspect(tmp_path).problems == ()


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_file_gives_one_message_with_place_finding_and_remedy(
    kind: str, tmp_path: Path
) -> None:
    text, line, column = written(kind)
    file = tmp_path / "shop.yaml"
    file.write_text(text)
    (problem,) = inspect(tmp_path).problems
    assert (problem.file, problem.line, problem.column) == (str(file), line, column)
    assert MALFORMED[kind].found in problem.message
    assert MALFORMED[kind].remedy in problem.message
    with pytest.raises(RulesError, match=f":{line}:{column}: "):
        load(tmp_path)


def test_many_kinds_in_one_file_are_all_told(tmp_path: Path) -> None:
    kinds = ("priority in words", "unknown law", "two currencies", "unknown word on a hit")
    text = FILE
    for kind in kinds:
        bad = MALFORMED[kind]
        text = text.replace(f"#{bad.at}\n", f"{bad.text.replace(MARK, '')}\n")
    (tmp_path / "shop.yaml").write_text(text)
    told = [problem.message for problem in inspect(tmp_path).problems]
    assert len(told) == len(kinds)
    for kind in kinds:
        assert any(MALFORMED[kind].found in message for message in told), kind


def test_a_mistake_in_the_defaults_is_told_once_however_many_rules_take_it(tmp_path: Path) -> None:
    rules = FILE[FILE.index("  - rule: winback") :].replace("&m ", "")
    more = "".join(rules.replace("winback", f"winback-{n}") for n in range(20))
    text = (
        FILE.replace("#defaults\n", "rule: {cooldown: 30, unknown: 1}\n  stage: {ttl: 1}\n") + more
    )
    (tmp_path / "shop.yaml").write_text(text)
    other = "apiVersion: v1\nrules:\n" + rules.replace("winback", "other")
    (tmp_path / "other.yaml").write_text(other)
    told = [str(problem).split(" ")[0] for problem in inspect(tmp_path).problems]
    assert told == [f"{tmp_path}/shop.yaml:{place}:" for place in ("5:20", "5:24", "6:16")]
