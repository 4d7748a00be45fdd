"""Texts that only put values into fixed words: joined here, as Jinja would, at a tenth of its cost.

Most texts are like that: words, `{{User.UserAttributes.x}}`, and `|default("...")`. What has more
to it, and a user who lacks a value that has no default, is Jinja's matter. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from jinja2 import nodes

DEFAULTS: Final = frozenset({"d", "default"})
PATHS_MAX: Final = 3
"""Names in the longest path of a value."""

Path: TypeAlias = tuple[str, ...]
"""`("User", "UserAttributes", "first_name")`."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A value, and what stands there when the user has none; None: then the text has a hole."""

    path: Path
    otherwise: str | None = None


Piece: TypeAlias = str | Wanted


def pieces_of(tree: nodes.Template) -> tuple[Piece, ...] | None:
    """The pieces of a template that holds nothing but words and values; None for any other."""
    pieces: list[Piece] = []
    for output in tree.body:
        if not isinstance(output, nodes.Output):
            return None
        for node in output.nodes:
            piece = node.data if isinstance(node, nodes.TemplateData) else _wanted(node)
            if piece is None:
                return None
            pieces.append(piece)
    return tuple(pieces)


def joined(pieces: Sequence[Piece], value_of: Callable[[Path], str | None]) -> str | None:
    """The text for a user whose values these are; None when a value is missing."""
    found: list[str] = []
    for piece in pieces:
        if isinstance(piece, str):
            found.append(piece)
            continue
        value = value_of(piece.path)
        if value is None:
            value = piece.otherwise
            if value is None:
                return None
        found.append(value)
    return "".join(found)


def _wanted(node: nodes.Node) -> Wanted | None:
    if not isinstance(node, nodes.Filter):
        path = _path(node)
        return None if path is None else Wanted(path)
    if node.name not in DEFAULTS or len(node.args) != 1:
        return None
    if node.kwargs or node.dyn_args or node.dyn_kwargs or node.node is None:
        return None
    path, otherwise = _path(node.node), node.args[0]
    if path is None or not isinstance(otherwise, nodes.Const):
        return None
    return Wanted(path, otherwise.value) if isinstance(otherwise.value, str) else None


def _path(node: nodes.Node) -> Path | None:
    names: list[str] = []
    while isinstance(node, nodes.Getattr | nodes.Getitem):
        name = node.attr if isinstance(node, nodes.Getattr) else _constant(node.arg)
        if not isinstance(name, str) or len(names) == PATHS_MAX:
            return None
        names.append(name)
        node = node.node
    if not isinstance(node, nodes.Name):
        return None
    path = (node.name, *reversed(names))
    depth = 3 if path[:2] == ("User", "UserAttributes") else 2
    return path if len(path) == depth else None


def _constant(node: nodes.Node) -> object:
    return node.value if isinstance(node, nodes.Const) else None
