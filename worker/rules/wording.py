"""Holds a document against a form, and says what is off in our words, at the place it stands.

The form is pydantic's; its errors name a path of keys, which is walked through the document's
nodes to a line and column.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from worker.model import Channel
from worker.rules.document import Node
from worker.rules.forms import OUR_ERROR, Form
from worker.rules.problems import Place, Problem, not_allowed, quoted

_FormT = TypeVar("_FormT", bound=Form)
_Loc = Sequence[int | str]

_TO_STATE: Mapping[str, str] = {"apiVersion": "write apiVersion: v1"}
"""What to do about a missing key, where there is one thing to write."""

_KEY_MEANT: Mapping[str, str] = {
    "subject": "title",
    "title": "subject",
    "text": "body",
    "body": "text",
    "wait": "after",
    "delay": "after",
}
"""What a key is called here that people know by another name; where it is allowed."""

EXAMPLE_CHARS_MAX = 80

_EXPECTED: Mapping[str, str] = {
    "string_type": "expected text",
    "list_type": "expected a list, one entry a line, each behind a dash",
    "dict_type": "expected keys and values",
    "model_type": "expected keys and values",
    "model_attributes_type": "expected keys and values",
    "too_short": "expected at least one entry",
}


_WITH_EXAMPLE = ("list_type", "dict_type", "model_type", "model_attributes_type")


def fit(form: type[_FormT], node: Node) -> tuple[_FormT | None, list[Problem]]:
    """The filled-in form, or every problem that keeps the node from fitting it."""
    try:
        return form.model_validate(node.plain()), []
    except ValidationError as refusal:
        errors = refusal.errors(include_url=False)
        misspelt = _misspelt(form, errors)
        return None, [
            Problem(*place, message)
            for error in errors
            if error["type"] != "missing" or error["loc"] not in misspelt
            for place, message in _told(form, node, error)
        ]


def key_meant(word: str, allowed: Iterable[str]) -> str | None:
    """The allowed key somebody means who writes another one; None when there is none near."""
    by_name = list(allowed)
    if _KEY_MEANT.get(word) in by_name:
        return _KEY_MEANT[word]
    found = get_close_matches(word.lower(), by_name, n=1, cutoff=0.6)
    return found[0] if found else None


def _misspelt(form: type[Form], errors: Iterable[ErrorDetails]) -> set[tuple[int | str, ...]]:
    """Paths of keys that are there under a name that is not theirs: one slip, told once."""
    found = set()
    for error in errors:
        if error["type"] == "extra_forbidden":
            *above, word = error["loc"]
            meant = key_meant(str(word), _keys_at(form, above))
            found.update([(*above, meant)] if meant else [])
    return found


def _told(form: type[Form], root: Node, error: ErrorDetails) -> Iterator[tuple[Place, str]]:
    loc, kind, context = error["loc"], error["type"], error.get("ctx", {})
    last = str(loc[-1]) if loc else ""
    named = loc[:-2] if last == "[key]" else loc
    name = next((part for part in reversed(named) if isinstance(part, str)), "the file")
    node = _node_at(root, loc)
    if kind == "missing":
        remedy = _TO_STATE.get(last, "it has no default, so state it")
        yield node.place, f'the key "{last}" is missing here; {remedy}'
    elif kind == "extra_forbidden":
        keys = _keys_at(form, loc[:-1])
        message = not_allowed("unknown key", last, keys, key_meant(last, keys))
        yield _node_at(root, loc[:-1]).key_place(last), message
    elif node.is_nothing:
        # The reader has reported it already.
        return
    elif kind == OUR_ERROR:
        begin = _node_at(root, loc[:-2]).key_place(str(loc[-2])) if last == "[key]" else node.place
        for line, message in context["findings"]:
            yield _place_in(node, begin, line), f"{name}: {message}"
    elif kind.startswith("union_tag"):
        channel = node.get("channel")
        slip = next((key for key in node.entries or () if key_meant(key, ["channel"])), None)
        if channel is None and slip is not None:
            yield node.key_place(slip), f'unknown key {quoted(slip)}; did you mean "channel"?'
        elif channel is None:
            yield (
                node.place,
                f'the key "channel" is missing here; state one of {", ".join(Channel)}',
            )
        else:
            yield channel.place, _choice("channel", channel, list(Channel))
    elif kind in ("enum", "literal_error"):
        allowed = re.findall(r"'([^']*)'", str(context["expected"]))
        yield node.place, _choice(name, node, allowed)
    else:
        expected = _EXPECTED.get(kind) or error["msg"][:1].lower() + error["msg"][1:]
        example = _example_at(form, loc) if kind in _WITH_EXAMPLE else ""
        yield node.place, f"{name}: {expected}, found {_found(node)}{example}"


def _node_at(root: Node, loc: _Loc) -> Node:
    """The node a path leads to, or the last one on the way when a key is missing."""
    node = root
    for index, part in enumerate(loc):
        if index >= 2 and loc[index - 2] == "stages" and isinstance(loc[index - 1], int):
            continue  # pydantic names the channel it chose; the document has no such level
        below = node.items[part] if isinstance(part, int) and node.items else node.get(str(part))
        node = below or node
    return node


def _place_in(node: Node, begin: Place, line: int) -> Place:
    """The place of a line of a text: exact within a `|` block, else where the text begins."""
    return Place(begin.file, begin.line + 1 + line, 1) if node.is_block else begin


def _choice(name: str, node: Node, allowed: Sequence[str]) -> str:
    if node.text is None:
        return f"{name}: expected one of {', '.join(allowed)}, found {_found(node)}"
    return not_allowed(f"{name}: unknown value", node.text, allowed)


def _found(node: Node) -> str:
    if node.items is not None:
        return f"a list of {len(node.items)}"
    if node.entries is not None:
        return "keys and values"
    return quoted(node.text or "")


def _example_at(form: type[Form], loc: _Loc) -> str:
    """What might stand where a path leads, with a leading semicolon, or nothing."""
    if not loc or not isinstance(loc[-1], str):
        return ""
    for above in _forms_at(form, loc[:-1]):
        for key, field in _fields(above):
            if key == loc[-1] and field.examples:
                example = field.examples[0]
                shown = _flow(example[:1] if isinstance(example, list) else example)
                return f"; such as {key}: {shown}" if len(shown) <= EXAMPLE_CHARS_MAX else ""
    return ""


def _flow(value: object) -> str:
    """A value as YAML in one line."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_flow(item)}' for key, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if re.fullmatch(r"[\w.]([\w./ -]*[\w.])?", text) else f"'{text}'"


def _keys_at(form: type[Form], loc: _Loc) -> list[str]:
    """The keys allowed where a path leads."""
    return list(dict.fromkeys(key for form in _forms_at(form, loc) for key, _ in _fields(form)))


def _forms_at(form: type[Form], loc: _Loc) -> list[type[Form]]:
    """The forms of what stands where a path leads."""
    forms = [form]
    for part in loc:
        fields = [field for form in forms for key, field in _fields(form) if key == part]
        if fields:
            forms = [form for field in fields for form in _forms_in(field.annotation)]
        elif isinstance(part, str) and any(map(_forms_channel, forms)):
            forms = [form for form in forms if part in _forms_channel(form)]
    return forms


def _fields(form: type[Form]) -> Iterator[tuple[str, Any]]:
    for name, field in form.model_fields.items():
        yield field.alias or name, field


def _forms_channel(form: type[Form]) -> tuple[str, ...]:
    field = form.model_fields.get("channel")
    return get_args(field.annotation) if field else ()


def _forms_in(annotation: Any) -> Iterator[type[Form]]:
    if isinstance(annotation, type) and issubclass(annotation, Form):
        yield annotation
    for argument in get_args(annotation):
        yield from _forms_in(argument)
