"""Matchers that hold for nobody, or for everybody, whoever the users are. Pure; works on nodes.

What an app calls its own attributes is not known here. `country`, `timezone` and `channel` are
ours (`facts.match_facts`), so a value they never have is a slip. Only `=` and `!=` are looked at: a
regular expression may hold for values nobody foresees.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from worker.countries import alpha_2
from worker.model import Channel
from worker.rules.document import Node
from worker.rules.matchers import parse_matcher
from worker.rules.problems import Place, Refused, nearest, not_allowed, quoted
from worker.rules.ruleset import Matcher
from worker.rules.zones import country_names, zone_names


def check_matchers(
    owner: Node, *, of_rule: bool, key: str = "match"
) -> Iterator[tuple[Place, str]]:
    """What is wrong with the readable matchers of a rule or stage, or of what knows a channel."""
    for item in owner.get_items(key):
        try:
            matcher = parse_matcher(item.text or "")
        except Refused:
            continue
        told = objection(matcher, of_rule=of_rule)
        if told:
            yield item.place, f"{key}: {told}"


def objection(matcher: Matcher, *, of_rule: bool) -> str | None:
    """Why an equality holds for nobody, or for everybody; None when it may be meant."""
    if matcher.name == "channel" and of_rule:
        return (
            "channel is only known in quiet_hours and legal_texts, a rule is about users; remove "
            "this matcher, the stages name the channels"
        )
    if matcher.operator not in ("=", "!=") or not matcher.value:
        return None
    match matcher.name:
        case "channel" if matcher.value not in list(Channel):
            return not_allowed("unknown channel", matcher.value, Channel)
        case "country" if matcher.value not in country_names():
            return unknown_country(matcher.value)
        case "timezone" if matcher.value not in zone_names():
            return unknown_zone(matcher.value)
        case _:
            return None


def unknown_country(value: str) -> str:
    """What to say to a country that is none."""
    code = _country_meant(value)
    guess = f'; did you mean "{code}"?' if code else ";"
    return f'unknown country {quoted(value)}{guess} write the two letters of ISO 3166, such as "US"'


def _country_meant(value: str) -> str | None:
    """The code of a country named by another code, another case or its English name."""
    if alpha_2(value) in country_names():
        return alpha_2(value)
    word = value.strip().lower()
    codes = {"uk": {"GB"}}  # what people write; ISO keeps it free for that
    for code, name in country_names().items():
        for spelling in _spellings(name.lower()):
            codes.setdefault(spelling, set()).add(code)
    near = word if word in codes else next(iter(get_close_matches(word, codes, 1, 0.85)), "")
    # "Korea" may mean two countries, and a guess must not choose.
    meant = codes.get(near, set())
    return next(iter(meant)) if len(meant) == 1 else None


def _spellings(name: str) -> tuple[str, ...]:
    """The names of the table read `France`, `Korea (South)`, `Britain (UK)`."""
    main, _, aside = name.rstrip(")").partition(" (")
    return (main, f"{aside} {main}") if aside else (main,)


def unknown_zone(value: str) -> str:
    """What to say to a zone that is none. An abbreviation such as PST is near to many."""
    city = value.strip().replace(" ", "_").lower()
    # Etc/GMT+1 is an hour west of Greenwich: nobody means it who writes GMT+1.
    places = [zone for zone in sorted(zone_names()) if "/" in zone and "GMT" not in zone]
    meant = next((zone for zone in places if zone.lower().rpartition("/")[2] == city), None)
    guess = f'; did you mean "{meant}"?' if meant else nearest(value, places) or ";"
    return f"unknown zone {quoted(value)}{guess} write an IANA zone name, such as Europe/Paris"
