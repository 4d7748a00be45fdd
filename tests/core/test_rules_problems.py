"""Everything an ops person can get wrong has a message with place and remedy (P9)."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from worker.errors import RulesError
from worker.rules.document import FILE_BYTES_MAX
from worker.rules.load import inspect, load

RULE = """\
apiVersion: v1
rules:
  - rule: shop
    inactive_for: 7d
    stages:
      - name: push
        channel: push
        message:
          title: Hello
          body: Come back
"""


def problems_of(folder: Path) -> list[str]:
    """The problems without the folder, which differs from run to run."""
    inspection = inspect(folder)
    assert inspection.rule_set is None
    return [str(problem).replace(f"{folder}/", "") for problem in inspection.problems]


def only_problem_of(folder: Path, text: str | bytes) -> str:
    data = text if isinstance(text, bytes) else text.encode()
    (folder / "shop.yaml").write_bytes(data)
    (problem,) = problems_of(folder)
    return problem


CHANGED = {
    # one line of RULE or one line behind it is changed: (old, new) -> place and words
    "unknown key": (
        ("inactive_for: 7d", "inactive_for: 7d\n    inactve_for: 8d"),
        '5:5: unknown key "inactve_for"; did you mean "inactive_for"? allowed here: rule,',
    ),
    "unknown key at the top": (
        ("rules:", "rule: {}\nrules:"),
        '2:1: unknown key "rule"; did you mean "rules"? allowed here: apiVersion, defaults,',
    ),
    "key of another level": (
        ("inactive_for: 7d", "inactive_for: 7d\n    percent: 10"),
        '5:5: unknown key "percent"; allowed here: rule, revision, owner, labels,',
    ),
    "unknown key in a message": (
        ("body: Come back", "body: Come back\n          sound: ping"),
        '11:11: unknown key "sound"; allowed here: title, body, url, data',
    ),
    "unknown key named like a channel": (
        ("channel: push", "channel: push\n        push: x"),
        '8:9: unknown key "push"; allowed here: name, after, only_if, on_undeliverable,',
    ),
    "duplicate key": (
        ("inactive_for: 7d", "inactive_for: 7d\n    inactive_for: 8d"),
        '5:5: the key "inactive_for" is given twice, first in line 4; keep one of them',
    ),
    "missing key": (
        ("    inactive_for: 7d\n", ""),
        '3:5: the key "inactive_for" is missing here; it has no default, so state it',
    ),
    "missing apiVersion": (
        ("apiVersion: v1\n", ""),
        '1:1: the key "apiVersion" is missing here; write apiVersion: v1',
    ),
    "other apiVersion": (
        ("apiVersion: v1", "apiVersion: v2"),
        '1:13: apiVersion: unknown value "v2"; allowed here: v1',
    ),
    "bare number for a duration": (
        ("inactive_for: 7d", "inactive_for: 7"),
        '4:19: inactive_for: "7" has no unit; write whole numbers with units, such as 7d, 2h30m',
    ),
    "zero duration": (
        ("inactive_for: 7d", "inactive_for: 0s"),
        '4:19: inactive_for: "0s" must be longer than nothing',
    ),
    "words for a duration": (
        ("inactive_for: 7d", "inactive_for: 7 days"),
        '4:19: inactive_for: "7 days" is not a duration; write whole numbers with units',
    ),
    "units out of order": (
        ("inactive_for: 7d", "inactive_for: 30m2h"),
        '4:19: inactive_for: "30m2h" is not a duration; write whole numbers with units',
    ),
    "endless duration": (
        ("inactive_for: 7d", "inactive_for: 11y"),
        '4:19: inactive_for: "11y" is too long; the longest duration is 10y',
    ),
    "no value": (
        ("inactive_for: 7d", "inactive_for:"),
        '4:5: the key "inactive_for" has no value; give it one, or remove the key',
    ),
    "null for an optional value": (
        ("inactive_for: 7d", "inactive_for: 7d\n    max_inactive: null"),
        '5:5: the key "max_inactive" has no value; give it one, or remove the key',
    ),
    "a list for a duration": (
        ("inactive_for: 7d", "inactive_for: [7d]"),
        "4:19: inactive_for: expected text, found a list of 1",
    ),
    "unknown mode": (
        ("inactive_for: 7d", "inactive_for: 7d\n    mode: lve"),
        '5:11: mode: unknown value "lve"; did you mean "live"? allowed here: shadow, live',
    ),
    "a list for a mode": (
        ("inactive_for: 7d", "inactive_for: 7d\n    mode: [live]"),
        "5:11: mode: expected one of shadow, live, found a list of 1",
    ),
    "unknown channel": (
        ("channel: push", "channel: pigeon"),
        '7:18: channel: unknown value "pigeon"; allowed here: push, email, sms',
    ),
    "missing channel": (
        ("        channel: push\n", ""),
        '6:9: the key "channel" is missing here; state one of push, email, sms',
    ),
    "bad rule name": (
        ("rule: shop", "rule: the shop"),
        '3:11: rule: "the shop" is no name; use letters, digits, _ . - and at most 64',
    ),
    "long rule name": (("rule: shop", f"rule: {'x' * 65}"), "3:11: rule:"),
    "bad label": (
        ("inactive_for: 7d", "inactive_for: 7d\n    labels: {a b: c}"),
        '5:14: labels: "a b" is no name;',
    ),
    "text for a list": (
        ("inactive_for: 7d", "inactive_for: 7d\n    match: plan=x"),
        '5:12: match: expected a list, one entry a line, each behind a dash, found "plan=x"',
    ),
    "bad matcher": (
        ("inactive_for: 7d", "inactive_for: 7d\n    match:\n      - plan is x"),
        '6:9: match: "plan is x" is not a matcher; write a name, one of = != =~ !~',
    ),
    "double equals": (
        ("inactive_for: 7d", "inactive_for: 7d\n    match: ['plan==\"x\"']"),
        '5:13: match: "plan=="x"" is not a matcher; equality is a single =;',
    ),
    "bad regular expression": (
        ("inactive_for: 7d", "inactive_for: 7d\n    match: ['plan=~\"(\"']"),
        '5:13: match: "(" is not a regular expression: missing ): (',
    ),
    "max_inactive too short": (
        ("inactive_for: 7d", "inactive_for: 7d\n    max_inactive: 1w"),
        "5:19: max_inactive 1w must be longer than inactive_for 7d",
    ),
    "exit_on without activity": (
        ("inactive_for: 7d", "inactive_for: 7d\n    exit_on: [opt_out_all]"),
        (
            "5:15: exit_on must contain activity: nobody gets a message after they came back "
            "(promise P3); add it"
        ),
    ),
    "empty exit_on": (
        ("inactive_for: 7d", "inactive_for: 7d\n    exit_on: []"),
        "5:14: exit_on: expected at least one entry, found a list of 0",
    ),
    "unknown exit": (
        ("inactive_for: 7d", "inactive_for: 7d\n    exit_on: [activity, purchase]"),
        '5:25: exit_on: unknown value "purchase"; allowed here: activity, opt_out_all,',
    ),
    "no message": (
        (RULE[RULE.index("        message") :], ""),
        '6:9: the stage has nothing to say; state "message" here, or "template" for a file',
    ),
    "message and template": (
        ("channel: push", "channel: push\n        template: x"),
        '8:9: the stage has either "message" or "template"; remove one',
    ),
    "text for a message": (
        ("message:\n          title: Hello\n          body: Come back\n", "message: Hello\n"),
        '8:18: message: expected keys and values, found "Hello"',
    ),
    "template that is not there": (
        (
            "message:\n          title: Hello\n          body: Come back\n",
            "template: winback\n",
        ),
        (
            '8:19: there is no file templates/winback.yaml for template "winback"; the folder '
            "templates/ has no files"
        ),
    ),
    "no stages": (
        (RULE[RULE.index("    stages") :], "    stages: []\n"),
        "5:13: stages: expected at least one entry, found a list of 0",
    ),
    "second stage without a wait": (
        (
            "body: Come back\n",
            "body: Come back\n      - {name: sms, channel: sms, message: {body: x}}\n",
        ),
        '11:9: a later stage must state "after", the wait since the stage before, such as 2d',
    ),
    "two stages of a name": (
        (
            "body: Come back\n",
            "body: Come back\n      - {name: push, after: 1d, channel: sms, message: {body: x}}\n",
        ),
        '11:16: the stage "push" is there already, in line 6; rename one',
    ),
    "e-mail without a body": (
        (
            "body: Come back\n",
            (
                "body: Come back\n"
                "      - {name: m, after: 1d, channel: email, message: {subject: x}}\n"
            ),
        ),
        '11:55: an e-mail needs "text" or "html", or both; state one',
    ),
    "unknown name in a template": (
        ("title: Hello", "title: Hello {{Usr.x}}"),
        '9:18: title: unknown name "Usr" in the template; did you mean "User"?',
    ),
    "unknown name in a line of a block": (
        ("body: Come back", "body: |\n            Come\n            back {{Usr.x}}"),
        '12:1: body: unknown name "Usr" in the template; did you mean "User"?',
    ),
    "a matcher about the channel": (
        ("inactive_for: 7d", "inactive_for: 7d\n    match: ['channel=~\"sms|push\"']"),
        "5:13: match: channel is only known in quiet_hours and legal_texts, a rule is about",
    ),
    "a country by its name": (
        ("inactive_for: 7d", "inactive_for: 7d\n    match: ['country=\"France\"']"),
        (
            '5:13: match: unknown country "France"; did you mean "FR"? write the two letters of '
            'ISO 3166, such as "US"'
        ),
    ),
    "a country in lower case": (
        ("inactive_for: 7d", "inactive_for: 7d\n    match: ['country!=\"fr\"']"),
        '5:13: match: unknown country "fr"; did you mean "FR"? write',
    ),
    "a country by another code": (
        ("inactive_for: 7d", "inactive_for: 7d\n    match: ['country=\"UK\"']"),
        '5:13: match: unknown country "UK"; did you mean "GB"? write',
    ),
    "a country that may be two": (
        ("inactive_for: 7d", "inactive_for: 7d\n    match: ['country=\"Korea\"']"),
        '5:13: match: unknown country "Korea"; write the two letters',
    ),
    "a zone by its city": (
        ("inactive_for: 7d", "inactive_for: 7d\n    match: ['timezone=\"New York\"']"),
        (
            '5:13: match: unknown zone "New York"; did you mean "America/New_York"? write an IANA '
            "zone name, such as Europe/Paris"
        ),
    ),
    "a zone that is none": (
        ("inactive_for: 7d", "inactive_for: 7d\n    match: ['timezone=\"PST\"']"),
        '5:13: match: unknown zone "PST"; write an IANA zone name',
    ),
    "an unknown channel in quiet hours": (
        (
            "rules:",
            (
                "quiet_hours:\n  - name: n\n    from: 21:00\n    to: 08:00\n"
                "    match: ['channel=\"fax\"']\nrules:"
            ),
        ),
        '6:13: match: unknown channel "fax"; allowed here: push, email, sms',
    ),
    "an unusable link": (
        ("body: Come back", "body: Come back\n          url: www.shop.example"),
        "11:16: url: the url comes out unusable; write scheme:..., such as https://shop.example",
    ),
    "a text that is too long for anybody": (
        ("body: Come back", f"body: {'x' * 4_000}"),
        "9:11: message: the push message comes out at 40",
    ),
    "merge key": (
        ("title: Hello", "<<: {title: Hello}"),
        "9:11: merge keys (<<) are not supported; write the keys out",
    ),
    "a name with a blank in a template": (
        ("title: Hello", "title: 'Hello {{User.UserAttributes.first name|upper}}'"),
        (
            "9:18: title: the template has an error: expected token 'end of print statement', got "
            "'name'; a name with blanks is written {{User.UserAttributes[\"first name\"]}}"
        ),
    ),
    "a full stop of the template language's own": (
        ("title: Hello", "title: 'Hello {% nope %}'"),
        "9:18: title: the template has an error: Encountered unknown tag 'nope'; values are",
    ),
    "template syntax": (
        ("body: Come back", "body: |\n            Come\n            {% if %} back"),
        "12:1: body: the template has an error:",
    ),
    "unquoted template": (
        ("title: Hello", "title: {{User.UserId}}"),
        (
            "9:19: a key must be text; if this is meant as text that begins with { or [, put it in "
            "quotes"
        ),
    ),
    "unquoted colon": (
        ("title: Hello", "title: Hello: you"),
        (
            "9:23: cannot be read as YAML: mapping values are not allowed here; put text that "
            "contains a colon in quotes"
        ),
    ),
    "tab": (
        ("          title: Hello", "\t  title: Hello"),
        (
            "9:1: cannot be read as YAML: found character '\\t' that cannot start any token; "
            "indent with spaces, not with tabs"
        ),
    ),
    "wrong indentation": (
        ("    stages:", "   stages:"),
        "5:4: cannot be read as YAML: expected <block end>, but found",
    ),
    "unclosed quote": (
        ("title: Hello", 'title: "Hello'),
        "11:1: cannot be read as YAML: found unexpected end of stream, begun in line 9; close",
    ),
    "tag": (
        ("title: Hello", "title: !!python/object:os.system x"),
        "9:18: tags are not allowed; remove the word that begins with !",
    ),
    "unknown alias": (
        ("title: Hello", "title: *bold* Hello"),
        "9:18: no anchor &bold* before this alias; if it is meant as text, put it in quotes",
    ),
    "second document": (
        ("apiVersion: v1", "apiVersion: v1\n---\napiVersion: v1"),
        "2:1: a second document begins here; keep one document a file",
    ),
    "empty entry": (
        ("inactive_for: 7d", "inactive_for: 7d\n    match:\n      -"),
        "6:8: an empty list entry; fill it, or remove the dash",
    ),
    "control character": (
        ("title: Hello", "title: Hel\x07lo"),
        "9:21: the character U+0007 is not allowed; remove it",
    ),
    "limit of nothing": (
        ("rules:", "limits: {user: [{window: rolling}]}\nrules:"),
        "2:17: a limit is either {max: 1, per: 1d, window: ...} or {min_gap: 4h}",
    ),
    "limit of everything": (
        ("rules:", "limits: {user: [{max: 1, per: 1d, min_gap: 4h}]}\nrules:"),
        '2:17: "min_gap" stands alone; put max and per into their own entry',
    ),
    "two gaps": (
        ("rules:", "limits: {user: [{min_gap: 1h}, {min_gap: 4h}]}\nrules:"),
        '2:33: "min_gap" is stated in line 2 already; keep the longer one',
    ),
    "half a calendar day": (
        ("rules:", "limits: {user: [{max: 1, per: 36h, window: calendar}]}\nrules:"),
        "2:31: per 36h: a calendar window counts whole days; write 1d or 7d, or window: rolling",
    ),
    "no count": (
        ("rules:", "limits: {user: [{max: 0, per: 1d}]}\nrules:"),
        '2:23: max: "0" is no whole number from 1 to 999999',
    ),
    "quiet all day": (
        ("rules:", "quiet_hours: [{name: n, from: '08:00', to: '8:00'}]\nrules:"),
        '2:40: "from" and "to" are the same minute, which is either all day or never;',
    ),
    "no time of day": (
        ("rules:", "quiet_hours: [{name: n, from: 9pm, to: '8:00'}]\nrules:"),
        '2:31: from: "9pm" is no time of day; write "00:00" to "23:59"',
    ),
    "unknown zone": (
        (
            "rules:",
            (
                "quiet_hours:\n  - name: n\n    from: 21:00\n    to: 08:00\n"
                "    unknown_timezone: {else: Europe/Pariss}\nrules:"
            ),
        ),
        '6:30: else: unknown zone "Europe/Pariss"; did you mean "Europe/Paris"? write an IANA',
    ),
    "unknown assumption": (
        (
            "rules:",
            (
                "quiet_hours:\n  - name: n\n    from: 21:00\n    to: 08:00\n"
                "    unknown_timezone: {assume: [ip]}\nrules:"
            ),
        ),
        '6:33: assume: unknown value "ip"; allowed here: country, phone_prefix',
    ),
    "no minute left": (
        (
            "rules:",
            (
                "quiet_hours:\n  - {name: a, from: 21:00, to: 08:00}\n"
                "  - {name: b, from: 08:00, to: 21:00}\nrules:"
            ),
        ),
        "4:5: with these quiet hours no minute of the week is left to send in; shorten one",
    ),
    "event pattern": (
        ("rules:", "defaults: {activity: {events: ['']}}\nrules:"),
        '2:32: events: "" is no event pattern; write an event type such as _session.start',
    ),
    "a slip in a key that must be stated": (
        ("    inactive_for: 7d", "    inactivefor: 7d"),
        '4:5: unknown key "inactivefor"; did you mean "inactive_for"? allowed here: rule,',
    ),
    "a slip in the key of the stages": (
        ("stages:", "stagez:"),
        '5:5: unknown key "stagez"; did you mean "stages"? allowed here: rule,',
    ),
    "a key of e-mail in a push": (
        ("title: Hello", "subject: Hello"),
        '9:11: unknown key "subject"; did you mean "title"? allowed here: title, body, url',
    ),
    "a slip in the channel": (
        ("channel: push", "chanel: push"),
        '7:9: unknown key "chanel"; did you mean "channel"?',
    ),
    "a slip in the message": (
        ("        message:", "        mesage:"),
        '8:9: unknown key "mesage"; did you mean "message"? allowed here: name,',
    ),
    "keys and values for a match": (
        ("inactive_for: 7d", "inactive_for: 7d\n    match: {plan: premium}"),
        (
            "5:12: match: expected a list, one entry a line, each behind a dash, found keys and "
            "values; such as match: ['plan=\"premium\"']"
        ),
    ),
    "text for a goal": (
        ("inactive_for: 7d", "inactive_for: 7d\n    conversion: purchase"),
        (
            '5:17: conversion: expected keys and values, found "purchase"; such as conversion: '
            "{event: _session.start, within: 7d}"
        ),
    ),
    "a rule without its dash": (
        ("  - rule: shop\n", "  rule: shop\n"),
        (
            "4:17: cannot be read as YAML: mapping values are not allowed here; it stands deeper "
            "than rule: above it; line the two up, and where they begin an entry of a list, put a "
            "dash before the first: - rule:"
        ),
    ),
    "a text with a colon": (
        ("title: Hello", "title: Hello: you"),
        "9:23: cannot be read as YAML: mapping values are not allowed here; put text that contains",
    ),
    "an abbreviation for a zone": (
        ("rules:", "defaults: {timezone: PST}\nrules:"),
        '2:22: timezone: unknown zone "PST"; write an IANA zone name, such as Europe/Paris',
    ),
    "two rules of a name": (
        ("rules:", RULE[RULE.index("rules:") :].rstrip()),
        '11:11: rule "shop" is there already, in shop.yaml:3; rename one',
    ),
}
"""Name of the mistake to ((old text, new text), beginning of the one message it gives)."""


@pytest.mark.parametrize("mistake", CHANGED)
def test_a_mistake_gives_one_message_with_its_place_and_a_remedy(
    mistake: str, tmp_path: Path
) -> None:
    (old, new), expected = CHANGED[mistake]
    assert old in RULE
    assert only_problem_of(tmp_path, RULE.replace(old, new, 1)).startswith(f"shop.yaml:{expected}")


WHOLE_FILES = {
    "empty file": (b"", "1:1: the file is empty; fill it, or remove it"),
    "only a comment": (b"# rules\n", "1:1: the file is empty; fill it, or remove it"),
    "a list": (b"- rule: x\n", "1:1: the file: expected keys and values, found a list of 1"),
    "plain text": (b"hello\n", '1:1: the file: expected keys and values, found "hello"'),
    "not UTF-8": (b"apiVersion: v1\nx: \xff", "2:4: this is not UTF-8; save the file as UTF-8"),
    "too large": (b"#" * (FILE_BYTES_MAX + 1), "1:1: the file is larger than 1024 KiB; split it"),
    "too many values": (b"- a\n" * 10_001, "10000:3: more than 10000 values, counting each use"),
    "too deep": (b"[" * 3_000, "1:22: nested deeper than 20 levels; flatten it"),
    "alias bomb": (
        b"a: &a [x,x,x,x,x,x,x,x,x,x]\n"
        + b"".join(
            b"%c: &%c [%s]\n" % (i, i, b",".join([b"*%c" % (i - 1)] * 10)) for i in b"bcdef"
        ),
        "4:29: more than 10000 values, counting each use of an alias; split the file",
    ),
    "alias within itself": (b"a: &a [*a]\n", "1:8: no anchor &a before this alias;"),
    "half a character": (b'a: "\\uD800"\n', "1:4: half a character (a lone surrogate);"),
    "impossible character": (b'a: "\\UFFFFFFFF"\n', "1:1: what follows cannot be read as YAML;"),
    "no rule": (b"apiVersion: v1\n", ""),
}


@pytest.mark.parametrize("mistake", WHOLE_FILES)
def test_a_file_that_cannot_be_used_says_why(mistake: str, tmp_path: Path) -> None:
    data, expected = WHOLE_FILES[mistake]
    problem = only_problem_of(tmp_path, data)
    if expected:
        assert problem.startswith(f"shop.yaml:{expected}")
    else:
        assert problem == f"{tmp_path}: no rule in any file here; docs/rules.md shows one"


def test_all_mistakes_of_all_files_are_told_at_once_in_order_of_place(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(
        dedent("""\
        apiVersion: v1
        rules:
          - rule: one
            mode: on
            inactive_for: 7
            exit_on: [match_lost]
            max_inactive: 3d
            stages:
              - {name: a, channel: fax}
              - {name: a, channel: sms, message: {body: "{{Nobody}}"}}
          - rule: two
        """)
    )
    (tmp_path / "a.yaml").write_text("a: [")
    assert [problem.split(" ")[0] for problem in problems_of(tmp_path)] == [
        "a.yaml:1:5:",
        "b.yaml:4:11:",
        "b.yaml:5:19:",
        "b.yaml:6:15:",
        "b.yaml:9:9:",
        "b.yaml:9:28:",
        "b.yaml:10:9:",
        "b.yaml:10:16:",
        "b.yaml:10:49:",
        "b.yaml:11:5:",
        "b.yaml:11:5:",
    ]


@pytest.mark.parametrize("share", ["10", "10%", "{percent: 10}"])
def test_a_share_may_be_stated_alone(share: str, tmp_path: Path) -> None:
    line = f"    holdout: {share}\n    rollout: {share}\n    stages:"
    (tmp_path / "shop.yaml").write_text(RULE.replace("    stages:", line))
    (rule,) = load(tmp_path).rules
    assert rule.holdout is not None
    assert rule.rollout is not None
    assert rule.holdout.percent == rule.rollout.percent == 10
    everybody = RULE.replace("    stages:", "    holdout: 100\n    stages:")
    assert only_problem_of(tmp_path, everybody).startswith("shop.yaml:5:14: holdout: 100 percent")


def test_load_raises_one_error_that_lists_every_problem(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(RULE.replace("7d", "7").replace("channel: push", "x: y"))
    with pytest.raises(RulesError) as caught:
        load(tmp_path)
    assert str(caught.value).splitlines() == [str(p) for p in inspect(tmp_path).problems]
    assert len(inspect(tmp_path).problems) > 1


def test_a_flood_of_problems_is_cut_and_counted(tmp_path: Path) -> None:
    keys = "".join(f"k{i}: x\n" for i in range(250))
    (tmp_path / "shop.yaml").write_text(RULE + keys)
    with pytest.raises(RulesError, match=r"\.\.\. and 50 more$"):
        load(tmp_path)


def test_limits_and_defaults_are_stated_once_and_both_places_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(RULE + "limits: {user: []}\ndefaults: {}\n")
    (tmp_path / "b.yaml").write_text("apiVersion: v1\nlimits: {user: []}\ndefaults: {}\n")
    assert problems_of(tmp_path) == [
        'b.yaml:2:1: "limits" is stated in a.yaml:11 already; it holds for all files, keep one',
        'b.yaml:3:1: "defaults" is stated in a.yaml:12 already; it holds for all files, keep one',
    ]


def test_names_are_unique_over_all_files(tmp_path: Path) -> None:
    quiet = "quiet_hours: [{name: night, from: '21:00', to: '08:00'}]\n"
    (tmp_path / "a.yaml").write_text(RULE + quiet)
    (tmp_path / "b.yaml").write_text(RULE + quiet)
    assert problems_of(tmp_path) == [
        'b.yaml:3:11: rule "shop" is there already, in a.yaml:3; rename one',
        'b.yaml:11:22: name "night" is there already, in a.yaml:11; rename one',
    ]


def test_a_template_file_is_checked_under_its_own_name(tmp_path: Path) -> None:
    stage = RULE[RULE.index("        message") :]
    (tmp_path / "shop.yaml").write_text(RULE.replace(stage, "        template: winback\n"))
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "winback.yaml").write_text(
        "title: x\nbody: |\n  a\n  {{Usr}}\nbdy: x"
    )
    assert [problem.split(";")[0] for problem in problems_of(tmp_path)] == [
        'templates/winback.yaml:4:1: body: unknown name "Usr" in the template',
        'templates/winback.yaml:5:1: unknown key "bdy"',
    ]


def test_a_misspelt_template_names_the_nearest_file(tmp_path: Path) -> None:
    stage = RULE[RULE.index("        message") :]
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "winback.yaml").write_text("title: x\nbody: y")
    text = RULE.replace(stage, "        template: winbak\n")
    assert only_problem_of(tmp_path, text).endswith(
        'for template "winbak"; did you mean "winback"? there are: winback'
    )
    text = RULE.replace(stage, "        template: winback.yaml\n")
    assert only_problem_of(tmp_path, text).endswith("write the name without its ending")


def test_an_e_mail_template_file_needs_a_body(tmp_path: Path) -> None:
    stage = RULE[RULE.index("        channel") :]
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "mail.yaml").write_text("subject: x\n")
    text = RULE.replace(stage, "        channel: email\n        template: mail\n")
    (tmp_path / "shop.yaml").write_text(text)
    assert problems_of(tmp_path) == [
        'templates/mail.yaml:1:1: an e-mail needs "text" or "html", or both; state one'
    ]


def test_a_missing_folder_an_empty_folder_and_a_file_in_its_place_are_told_apart(
    tmp_path: Path,
) -> None:
    none, file = tmp_path / "none", tmp_path / "file"
    assert [str(p) for p in inspect(none).problems] == [
        f"{none}: cannot be listed: No such file or directory; name a folder of rule files"
    ]
    assert [str(p) for p in inspect(tmp_path).problems] == [
        f"{tmp_path}: no rule file in this folder; add one, such as shop.yaml"
    ]
    file.write_text("")
    assert [str(p) for p in inspect(file).problems] == [
        f"{file}: this is a file; name its folder, {tmp_path}/"
    ]


def test_more_rules_than_the_bound_are_refused(tmp_path: Path) -> None:
    for file in "ab":
        head = RULE.replace("stages:\n", "stages: &same\n").replace("shop", f"{file}-first")
        more = (f"  - {{rule: {file}{i}, inactive_for: 1d, stages: *same}}\n" for i in range(500))
        (tmp_path / f"{file}.yaml").write_text(head + "".join(more))
    assert problems_of(tmp_path) == [
        "b.yaml:2:1: more than 1000 rules in the folder; merge those that differ little"
    ]


MATCHERS_THAT_MAY_HOLD = """\
['country="FR"', 'country!="XK"', 'country=""', 'country=~"fr|France"', 'timezone="Europe/Paris"',
 'timezone!=""', 'timezone=~"P.T"', 'user.country="France"', 'endpoint.channel="fax"']
"""


def test_matchers_that_may_hold_are_let_be(tmp_path: Path) -> None:
    match = f"match: {MATCHERS_THAT_MAY_HOLD}".replace("\n", "")
    quiet = "quiet_hours: [{name: n, from: '21:00', to: '08:00', match: ['channel=\"sms\"']}]\n"
    text = RULE.replace("inactive_for: 7d", f"inactive_for: 7d\n    {match}") + quiet
    (tmp_path / "shop.yaml").write_text(text)
    assert inspect(tmp_path).problems == ()
