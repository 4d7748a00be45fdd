"""What the values of a rules folder must be to one another. Pure; works on nodes.

Each check looks at the document as written and passes over what does not fit the schema, so that
a file with both kinds of mistakes shows them all at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from worker.model import DAY_MS, Channel
from worker.rules.document import Node
from worker.rules.durations import parse_duration
from worker.rules.forms import parse_time_of_day
from worker.rules.problems import Place, Problem, Refused, quoted
from worker.rules.reach import check_matchers

RULES_MAX = 1_000

Documents: TypeAlias = Mapping[str, Node]
"""File name, as shown to people, to its root node."""
_Told: TypeAlias = Iterator[tuple[Place, str]]

_MINUTES_PER_DAY = 24 * 60


def check_file(root: Node, file: str) -> Iterator[Problem]:
    """What is wrong within one file."""
    for rule in root.get_items("rules"):
        yield from _at(file, _rule(rule))
        yield from _at(file, check_matchers(rule, of_rule=True))
        for stage in rule.get_items("stages"):
            message = stage.get("message")
            if message is not None and stage.get_text("channel") == Channel.EMAIL:
                yield from check_email(message, file)
    for window in root.get_items("quiet_hours"):
        yield from _at(file, check_matchers(window, of_rule=False))
        begin, end = _minute(window, "from"), _minute(window, "to")
        if begin is not None and begin == end:
            yield from _at(file, iter([(window.key_place("to"), _ALWAYS_OR_NEVER)]))
    limits = root.get("limits")
    if limits is not None:
        yield from _at(file, _limits(limits))


def check_email(message: Node, file: str) -> Iterator[Problem]:
    """An e-mail needs a text or an HTML part."""
    if message.entries is not None and not {"text", "html"} & message.entries.keys():
        told = 'an e-mail needs "text" or "html", or both; state one'
        yield from _at(file, iter([(message.place, told)]))


def check_across(documents: Documents) -> Iterator[Problem]:
    """What is wrong between files."""
    yield from _unique(documents, "rules", "rule")
    yield from _unique(documents, "quiet_hours", "name")
    for key in ("defaults", "limits"):
        stated = [(file, root) for file, root in documents.items() if root.get(key)]
        for file, root in stated[1:]:
            place = root.key_place(key)
            first, line = stated[0][0], stated[0][1].key_place(key).line
            told = f'"{key}" is stated in {first}:{line} already; it holds for all files, keep one'
            yield Problem(file, *place, told)
    yield from _too_many_rules(documents)
    yield from _never_open(documents)


_ALWAYS_OR_NEVER = (
    '"from" and "to" are the same minute, which is either all day or never; make them differ, or '
    "remove these quiet hours"
)


def _rule(rule: Node) -> _Told:
    inactive_for, max_inactive = _duration(rule, "inactive_for"), _duration(rule, "max_inactive")
    if inactive_for is not None and max_inactive is not None and max_inactive <= inactive_for:
        told = (
            f"max_inactive {rule.get_text('max_inactive')} must be longer than inactive_for "
            f"{rule.get_text('inactive_for')}, or nobody is ever in between"
        )
        yield _value_place(rule, "max_inactive"), told
    exit_on = rule.get_items("exit_on")
    if exit_on and "activity" not in [item.text for item in exit_on]:
        told = (
            "exit_on must contain activity: nobody gets a message after they came back "
            "(promise P3); add it"
        )
        yield exit_on[0].place, told
    names: dict[str, Place] = {}
    for index, stage in enumerate(rule.get_items("stages")):
        yield from _stage(stage, is_first=index == 0, names=names)


def _stage(stage: Node, *, is_first: bool, names: dict[str, Place]) -> _Told:
    if stage.entries is None:
        return
    name = stage.get_text("name")
    if name is not None and name in names:
        told = f"the stage {quoted(name)} is there already, in line {names[name].line}; rename one"
        yield _value_place(stage, "name"), told
    elif name is not None:
        names[name] = _value_place(stage, "name")
    if not is_first and "after" not in stage.entries:
        told = 'a later stage must state "after", the wait since the stage before, such as 2d'
        yield stage.place, told
    if "message" in stage.entries and "template" in stage.entries:
        told = 'a stage has either "message" or "template"; remove one'
        yield stage.key_place("template"), told
    if not {"message", "template"} & stage.entries.keys():
        told = 'the stage has nothing to say; state "message" here, or "template" for a file'
        yield stage.place, told


def _limits(limits: Node) -> _Told:
    gap: Place | None = None
    for entry in limits.get_items("user"):
        if entry.entries is None:
            continue
        keys = entry.entries.keys() & {"max", "per", "window", "min_gap"}
        if "min_gap" in keys:
            if keys != {"min_gap"}:
                yield entry.place, '"min_gap" stands alone; put max and per into their own entry'
            if gap is not None:
                told = f'"min_gap" is stated in line {gap.line} already; keep the longer one'
                yield entry.key_place("min_gap"), told
            gap = entry.key_place("min_gap")
        elif not {"max", "per"} <= keys:
            yield entry.place, "a limit is either {max: 1, per: 1d, window: ...} or {min_gap: 4h}"
        per = _duration(entry, "per")
        if entry.get_text("window") == "calendar" and per is not None and per % DAY_MS:
            told = (
                f"per {entry.get_text('per')}: a calendar window counts whole days; write 1d or "
                "7d, or window: rolling"
            )
            yield _value_place(entry, "per"), told


def _unique(documents: Documents, section: str, key: str) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for file, root in documents.items():
        for item in root.get_items(section):
            name, place = item.get_text(key), _value_place(item, key)
            if name is None:
                continue
            if name in seen:
                told = f"{key} {quoted(name)} is there already, in {seen[name]}; rename one"
                yield Problem(file, *place, told)
            else:
                seen[name] = f"{file}:{place.line}"


def _too_many_rules(documents: Documents) -> Iterator[Problem]:
    count = 0
    for file, root in documents.items():
        count += len(root.get_items("rules"))
        if count > RULES_MAX:
            told = f"more than {RULES_MAX} rules in the folder; merge those that differ little"
            yield Problem(file, *root.key_place("rules"), told)
            return


def _never_open(documents: Documents) -> Iterator[Problem]:
    """Quiet hours for everybody that leave no minute of the day."""
    open_minutes = set(range(_MINUTES_PER_DAY))
    for file, root in documents.items():
        for window in root.get_items("quiet_hours"):
            begin, end = _minute(window, "from"), _minute(window, "to")
            if begin is None or end is None or window.get_items("match"):
                continue
            length = (end - begin) % _MINUTES_PER_DAY
            open_minutes -= {(begin + i) % _MINUTES_PER_DAY for i in range(length)}
            if not open_minutes:
                told = "with these quiet hours no minute of the day is left to send in; shorten one"
                yield Problem(file, *window.place, told)
                return


def _duration(node: Node, key: str) -> int | None:
    try:
        return parse_duration(node.get_text(key) or "")
    except Refused:
        return None


def _minute(node: Node, key: str) -> int | None:
    try:
        return parse_time_of_day(node.get_text(key) or "")
    except Refused:
        return None


def _value_place(node: Node, key: str) -> Place:
    value = node.get(key)
    return value.place if value else node.place


def _at(file: str, told: Iterable[tuple[Place, str]]) -> Iterator[Problem]:
    for place, message in told:
        yield Problem(file, *place, message)
