"""What limits, quiet hours, legal texts and money must be to one another. Pure; works on nodes.

As in `checks.py`, what does not fit the schema is passed over here: it has been told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from worker.model import DAY_MS, Channel
from worker.rules.amounts import Amount, parse_amount
from worker.rules.checks import Documents, Told, duration, problems
from worker.rules.document import Node
from worker.rules.forms import DEFAULT_PRICE, parse_time_of_day
from worker.rules.problems import Place, Problem, Refused, quoted
from worker.rules.reach import check_matchers
from worker.rules.ruleset import MINUTES_PER_DAY, OpenWeek, open_but
from worker.rules.weeks import DAYS, open_week, parse_days

_ALL_WEEK: OpenWeek = (((0, MINUTES_PER_DAY),),) * len(DAYS)


def check_limits(root: Node) -> Iterator[Problem]:
    """What is wrong with the limits, quiet hours, legal texts and prices of one file."""
    for window in root.get_items("quiet_hours"):
        yield from problems(check_matchers(window, of_rule=False))
        yield from problems(_hours(window))
    for text in root.get_items("legal_texts"):
        yield from problems(check_matchers(text, of_rule=False))
        if text.entries is not None and not {"prefix", "suffix"} & text.entries.keys():
            told = 'a legal text needs "prefix" or "suffix", or both; state one'
            yield Problem(*text.place, told)
    limits, prices = root.get("limits"), root.get("prices")
    if limits is not None:
        yield from problems(_user_limits(limits))
    if prices is not None:
        yield from problems(_price_lists(prices))


def check_money(documents: Documents) -> Iterator[Problem]:
    """One currency in all files, and a price for everything money is compared with."""
    prices = next((root.get("prices") for root in documents.values() if root.get("prices")), None)
    yield from problems(_one_currency(documents, prices))
    priced = set((prices.entries if prices else None) or {})
    for root in documents.values():
        limits = root.get("limits")
        for entry in limits.get_items("budget") if limits else ():
            yield from problems(_priced(entry, "max", "a budget", priced))
        for rule in root.get_items("rules"):
            for stage in rule.get_items("stages"):
                if "max_price" not in stage.inherited and stage.get("max_price"):
                    yield from problems(_priced(stage, "max_price", "max_price", priced))


def check_open(documents: Documents) -> Iterator[Problem]:
    """Quiet hours for everybody that leave no minute of the week."""
    left = _ALL_WEEK
    for root in documents.values():
        for window in root.get_items("quiet_hours"):
            week = None if window.get_items("match") else _week(window)
            if week is None or not any(week):
                continue
            left = common((left, week))
            if not any(left):
                told = (
                    "with these quiet hours no minute of the week is left to send in; shorten one"
                )
                yield Problem(*window.place, told)
                return


def common(weeks: Iterable[OpenWeek]) -> OpenWeek:
    """The minutes open in all of them; all of the week when there are none."""
    shared = _ALL_WEEK
    for week in weeks:
        shared = tuple(_overlap(mine, other) for mine, other in zip(shared, week, strict=True))
    return shared


def _overlap(
    mine: Iterable[tuple[int, int]], other: Iterable[tuple[int, int]]
) -> tuple[tuple[int, int], ...]:
    both = [(max(a, c), min(b, d)) for a, b in mine for c, d in other]
    return tuple(sorted((begin, end) for begin, end in both if begin < end))


# --- quiet hours -------------------------------------------------------------------------------


def _hours(window: Node) -> Told:
    if window.entries is None:
        return
    stated = {"from", "to", "allow"} & window.entries.keys()
    if "allow" in stated and len(stated) > 1:
        told = 'quiet hours have either "from" and "to", or "allow"; remove one'
        yield window.key_place("allow"), told
    elif stated in ({"from"}, {"to"}):
        (missing,) = {"from", "to"} - stated
        yield window.place, f'the key "{missing}" is missing here; it has no default, so state it'
    elif not stated:
        told = 'quiet hours need "from" and "to", or "allow" with the open hours of each day'
        yield window.place, told
    begin, end = _minute(window, "from"), _minute(window, "to")
    if begin is not None and begin == end:
        yield window.key_place("to"), _ALWAYS_OR_NEVER
    allow = window.get("allow")
    if allow is not None and allow.entries is not None:
        yield from _days(allow)


def _days(allow: Node) -> Told:
    seen: dict[int, str] = {}
    for key in allow.entries or {}:
        try:
            days = parse_days(key)
        except Refused:
            return
        twice = next((day for day in days if day in seen), None)
        if twice is not None:
            told = f"allow: {DAYS[twice]} is in {quoted(seen[twice])} already; name each day once"
            yield allow.key_place(key), told
            return
        seen.update(dict.fromkeys(days, key))
    try:
        open_week(allow.plain())
    except Refused as refusal:
        if all(entry.value.text in ("none", None) for entry in (allow.entries or {}).values()):
            yield allow.place, f"allow: {refusal}"
    except AttributeError:
        return


_ALWAYS_OR_NEVER = (
    '"from" and "to" are the same minute, which is either all day or never; make them differ, or '
    "remove these quiet hours"
)


def _week(window: Node) -> OpenWeek | None:
    allow = window.get("allow")
    if allow is not None and allow.entries is not None:
        try:
            return open_week(allow.plain())
        except (Refused, AttributeError):
            return None
    begin, end = _minute(window, "from"), _minute(window, "to")
    return None if begin is None or end is None or begin == end else open_but(begin, end)


def _minute(node: Node, key: str) -> int | None:
    try:
        return parse_time_of_day(node.get_text(key) or "")
    except Refused:
        return None


# --- limits ------------------------------------------------------------------------------------


def _user_limits(limits: Node) -> Told:
    gap: Place | None = None
    for entry in limits.get_items("user"):
        if entry.entries is None:
            continue
        keys = entry.entries.keys()
        if "min_gap" in keys:
            if {"max", "per", "window"} & keys:
                told = '"min_gap" stands alone; put max and per into their own entry'
                yield entry.place, told
            if gap is not None:
                told = f'"min_gap" is stated in line {gap.line} already; keep the longer one'
                yield entry.key_place("min_gap"), told
            gap = entry.key_place("min_gap")
        elif not {"max", "per"} <= keys:
            yield entry.place, "a limit is either {max: 1, per: 1d, window: ...} or {min_gap: 4h}"
        per = duration(entry, "per")
        if entry.get_text("window") == "calendar" and per is not None and per % DAY_MS:
            told = (
                f"per {entry.get_text('per')}: a calendar window counts whole days; write 1d or "
                "7d, or window: rolling"
            )
            yield entry.value_place("per"), told


# --- money -------------------------------------------------------------------------------------


def _price_lists(prices: Node) -> Told:
    for channel, entry in (prices.entries or {}).items():
        listed = entry.value.entries
        if channel in list(Channel) and listed is not None and DEFAULT_PRICE not in listed:
            told = (
                f'the key "{DEFAULT_PRICE}" is missing here; state what one costs in the countries '
                f"that are not listed, such as {DEFAULT_PRICE}: 0.05 USD"
            )
            yield entry.value.place, told


def _priced(owner: Node, key: str, what: str, priced: set[str]) -> Told:
    channel = owner.get_text("channel")
    if channel is None and not priced:
        told = f"{what} needs prices to compare with; state them, such as prices: {_PRICES}"
        yield owner.key_place(key), told
    elif channel in list(Channel) and channel not in priced:
        told = (
            f"{what} on {channel} needs its price to compare with; state it, such as prices: "
            f"{_PRICES.replace('sms', channel or '')}"
        )
        yield owner.key_place(key), told


_PRICES = "{sms: {default: 0.05 USD}}"


def _one_currency(documents: Documents, prices: Node | None) -> Told:
    amounts = [*_amounts_of_prices(prices), *_other_amounts(documents)]
    first: tuple[Place, str] | None = None
    seen: set[Place] = set()
    for node in amounts:
        amount = _amount(node)
        if amount is None or node.place in seen:
            continue
        seen.add(node.place)
        if first is None:
            first = node.place, amount.currency
        elif amount.currency != first[1]:
            place, currency = first
            told = (
                f"{quoted(node.text or '')} is in {amount.currency}, and {place.file}:{place.line} "
                f"counts in {currency}; a folder has one currency, convert one"
            )
            yield node.place, told


def _amounts_of_prices(prices: Node | None) -> Iterator[Node]:
    for channel in ((prices.entries if prices else None) or {}).values():
        yield from (entry.value for entry in (channel.value.entries or {}).values())


def _other_amounts(documents: Documents) -> Iterator[Node]:
    for root in documents.values():
        limits, defaults = root.get("limits"), root.get("defaults")
        owners = [(entry, "max") for entry in (limits.get_items("budget") if limits else ())]
        stage = defaults.get("stage") if defaults else None
        owners += [(stage, "max_price")] if stage else []
        for rule in root.get_items("rules"):
            owners += [(stage, "max_price") for stage in rule.get_items("stages")]
        for owner, key in owners:
            value = owner.get(key)
            if value is not None:
                yield value


def _amount(node: Node) -> Amount | None:
    try:
        return parse_amount(node.text or "")
    except Refused:
        return None
