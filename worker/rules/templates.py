"""Message texts as Jinja2 templates: checked when rules are loaded, rendered per user. Pure.

The language is Jinja2 cut down to what a message needs: values, filters, `if` and `for` (not a
loop in a loop); no calls, no `set`, no multiplication, and bounds on what filters, loops and the
whole text make, so that no slip makes a template run away. (Templates are written by ops; an author
who means harm can still waste seconds.) Names are those of Pinpoint (`CONTEXT_SHAPE`), so
`{{User.UserAttributes.x}}` works unchanged. A missing value without `default(...)` is an error,
never a hole in a text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from math import isinf
from typing import Any

from jinja2 import (
    Environment,
    StrictUndefined,
    Template,
    TemplateError,
    nodes,
    pass_context,
    pass_environment,
)
from jinja2.exceptions import TemplateRuntimeError, TemplateSyntaxError, UndefinedError
from jinja2.filters import FILTERS, do_replace, do_round, do_truncate
from jinja2.filters import sync_do_join as do_join
from jinja2.meta import find_undeclared_variables
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS

from worker.rules.facts import CONTEXT_SHAPE, Group, LazyContext, Values
from worker.rules.plain_texts import Piece, joined, pieces_of
from worker.rules.problems import Finding, Refused, nearest, not_allowed, quoted
from worker.rules.ruleset import TemplateProblem

TEMPLATE_CHARS_MAX = 64 * 1024

RENDERED_CHARS_MAX = 256 * 1024
"""Of what comes out, and of what a filter makes on the way; far above any provider's limit."""

ROUND_DIGITS_MAX = 20

LOOP_ITEMS_MAX = 500
"""What a loop goes through at most; it may stand over the letters of a text, too."""

# fmt: off
_FILTERS = (
    "capitalize", "count", "d", "default", "e", "escape", "first", "float", "int", "join", "last",
    "length", "lower", "replace", "round", "sort", "title", "trim", "truncate", "unique", "upper",
    "urlencode",
)
_LOOP_FILTER = "at_most"  # stands over every loop, and is for nobody to write
_TESTS = (
    "defined", "undefined", "in", "eq", "equalto", "==", "ne", "!=", "lt", "<", "le", "<=",
    "gt", ">", "ge", ">=", "number", "string",
)
_NODES = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.Getattr,
    nodes.Getitem, nodes.Filter, nodes.Test, nodes.If, nodes.For, nodes.CondExpr, nodes.Compare,
    nodes.Tuple, nodes.List, nodes.And, nodes.Or, nodes.Not, nodes.Concat, nodes.Add, nodes.Sub,
    nodes.Neg,
)
_RENDERING_FAILED = (
    TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError,
    RecursionError, AssertionError, NameError,
)
# fmt: on
_NODE_WORDS = {nodes.Call: "a call such as name()", nodes.Assign: "{% set %}", nodes.Mul: "*"}
_COMPILING_FAILED = (RecursionError, SyntaxError, MemoryError, ValueError, OverflowError)


_BLANK_IN_NAME = re.compile(
    r"\{\{-? *(User\.UserAttributes|Attributes)\.(\w+(?: +\w+)+) *(?=\||-?\}\})"
)


@dataclass(frozen=True, slots=True)
class Text:
    """One compiled text; two are equal when they are written alike."""

    _template: Template = field(compare=False, repr=False)
    fixed: str | None
    """The text itself when it is the same for everybody."""
    source: str
    """As it is written."""
    pieces: tuple[Piece, ...] | None = field(compare=False, repr=False)
    """Those of a text that has nothing but words and values."""

    def render(self, context: Mapping[str, object]) -> str:
        """The text for one user. Raises TemplateProblem, which names variables but no values."""
        if self.fixed is not None:
            return self.fixed
        if self.pieces is not None and isinstance(context, LazyContext):
            text = joined(self.pieces, context.value_of)
            if text is not None and len(text) <= RENDERED_CHARS_MAX:
                return text
        try:
            return _within_bounds(self._template.generate(context))
        except _TooMuch as error:
            raise TemplateProblem(str(error)) from None
        except UndefinedError as error:
            raise TemplateProblem(str(error)) from None
        except _RENDERING_FAILED as error:
            # The library's words may quote a value, so only the kind of the error is passed on.
            raise TemplateProblem(
                f"the template cannot be rendered for this user ({type(error).__name__}); an "
                "attribute is text, turn it into a number with |int or |float before counting"
            ) from None


class _TooMuch(TemplateRuntimeError):
    """A template that runs away; the text quotes no value."""


def _within_bounds(pieces: Iterable[str]) -> str:
    kept: list[str] = []
    left = RENDERED_CHARS_MAX
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            raise _TooMuch(f"the text comes out longer than {RENDERED_CHARS_MAX} characters")
        kept.append(piece)
    return "".join(kept)


def compile_text(source: str) -> Text:
    """Compiles plain text. Raises Refused with every finding and its line in `source`."""
    return _compile(source, _TEXT)


def compile_html(source: str) -> Text:
    """Compiles HTML: values are escaped. Raises Refused as `compile_text` does."""
    return _compile(source, _HTML)


class _Missing(StrictUndefined):
    """A value a user does not have; names itself by its path in the template."""

    @property
    def _undefined_message(self) -> str:
        if self._undefined_hint:
            return self._undefined_hint
        name, of = self._undefined_name, self._undefined_obj
        if isinstance(of, Group):
            name = f"{of.path}.{name}"
        elif isinstance(of, Values):
            name = f"{of.path}[{name}]"
        return (
            f"{{{{{name}}}}} has no value for this user; "
            f'write {{{{{name}|default("...")}}}} or match only users who have it'
        )


class _Environment(ImmutableSandboxedEnvironment):
    """Looks names up in our values only, so that an attribute called `items` is just a name."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, LoopContext):
            return super().getattr(obj, attribute)
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: str | Any) -> Any:
        value: object | None = None
        if isinstance(obj, Group) and isinstance(argument, str):
            value = obj.member(argument)
        elif isinstance(obj, Values) and isinstance(argument, int) and argument < len(obj):
            value = obj[argument]
        return self.undefined(obj=obj, name=argument) if value is None else value


@pass_environment
def _truncate(
    environment: Environment,
    text: str,
    length: int = 255,
    killwords: bool = False,
    end: str = "...",
    leeway: int | None = None,
) -> str:
    # Jinja measures and cuts with len() and [:n], which on Values go by value, not by character;
    # and it asserts that the end fits into the length.
    text = str(text) if isinstance(text, Values) else text
    return do_truncate(environment, text, max(length, len(end)), killwords, end, leeway)


# The context is asked for so that Jinja does not try these on constants, at every level of a chain
# anew, while it compiles.


@pass_context
def _replace(context: Context, text: Any, old: Any, new: Any, count: int = -1) -> str:
    text, old, new = (str(part) if isinstance(part, Values) else part for part in (text, old, new))
    times = str(text).count(str(old))
    if count >= 0:
        times = min(times, count)
    if len(str(text)) + times * len(str(new)) > RENDERED_CHARS_MAX:
        raise _TooMuch(f"replace makes more than {RENDERED_CHARS_MAX} characters")
    return do_replace(context.eval_ctx, text, old, new, count)


@pass_context
def _join(context: Context, value: Any, d: Any = "") -> str:
    items = list(value)
    if sum(map(len, map(str, items))) + len(items) * len(str(d)) > RENDERED_CHARS_MAX:
        raise _TooMuch(f"join makes more than {RENDERED_CHARS_MAX} characters")
    joined: str = do_join(context.eval_ctx, items, d)
    return joined


@pass_context
def _round(_: Context, value: Any, precision: int = 0, method: str = "common") -> Any:
    if not -ROUND_DIGITS_MAX <= precision <= ROUND_DIGITS_MAX:
        raise _TooMuch(f"round to more than {ROUND_DIGITS_MAX} digits")
    return do_round(value, precision, method)  # type: ignore[arg-type] # checked there


def _at_most(value: Any) -> list[Any]:
    items = list(islice(value, LOOP_ITEMS_MAX + 1))
    if len(items) > LOOP_ITEMS_MAX:
        raise _TooMuch(f"a loop over more than {LOOP_ITEMS_MAX} values")
    return items


def _environment(*, autoescape: bool) -> Environment:
    # A line that holds nothing but a block leaves no empty line in the message.
    environment = _Environment(
        undefined=_Missing,
        autoescape=autoescape,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.clear()
    own = {"truncate": _truncate, "replace": _replace, "join": _join, "round": _round}
    environment.filters = {name: FILTERS[name] for name in _FILTERS} | own
    environment.filters[_LOOP_FILTER] = _at_most
    environment.tests = {name: TESTS[name] for name in _TESTS}
    return environment


_TEXT = _environment(autoescape=False)
_HTML = _environment(autoescape=True)


def _compile(source: str, environment: Environment) -> Text:
    if len(source) > TEMPLATE_CHARS_MAX:
        raise Refused(f"longer than {TEMPLATE_CHARS_MAX} characters; shorten it")
    try:
        tree = environment.parse(source)
        findings = list(_findings(tree)) or list(_unknown_names(tree))
        if findings:
            raise Refused(*findings)
        for loop in list(tree.find_all(nodes.For)):
            few = nodes.Filter(loop.iter, _LOOP_FILTER, [], [], None, None, lineno=loop.lineno)
            loop.iter = few
        pieces = None if environment.autoescape else pieces_of(tree)
        template = environment.from_string(tree)
        fixed = template.render() if _is_fixed(tree) else None
        return Text(template, fixed, source, pieces)
    except TemplateSyntaxError as error:
        raise Refused(Finding(_syntax_message(error, source), error.lineno - 1)) from error
    except UndefinedError as error:
        raise Refused(
            f"a name stands behind what has no values; a value begins with"
            f" {', '.join(CONTEXT_SHAPE)}"
        ) from error
    except _COMPILING_FAILED as error:
        raise Refused("the template is nested too deep or too large; simplify it") from error


def _is_fixed(tree: nodes.Template) -> bool:
    written = (nodes.Output, nodes.TemplateData)
    return all(isinstance(node, written) for node in tree.find_all(nodes.Node))


def _syntax_message(error: TemplateSyntaxError, source: str) -> str:
    told = f"the template has an error: {(error.message or 'it cannot be read').rstrip('.')}"
    blank = _BLANK_IN_NAME.search(source.splitlines()[error.lineno - 1])
    if blank:
        return f'{told}; a name with blanks is written {{{{{blank[1]}["{blank[2]}"]}}}}'
    if "char '#'" in told:
        return f"{told}; Pinpoint's {{{{#if x}}}} is written {{% if x %}} ... {{% endif %}} here"
    return f"{told}; values are written {{{{User.UserAttributes.name}}}}, blocks {{% if ... %}}"


def _findings(tree: nodes.Template) -> Iterator[Finding]:
    for node in tree.find_all(nodes.Node):
        message = _objection(node)
        if message:
            yield Finding(message, (node.lineno or 1) - 1)
    for loop in tree.find_all(nodes.For):
        for inner in loop.find_all(nodes.For):
            yield Finding("a loop within a loop is not allowed", inner.lineno - 1)


def _objection(node: nodes.Node) -> str | None:
    if isinstance(node, nodes.Helper | nodes.Keyword):
        return None
    if not isinstance(node, _NODES):
        name = _NODE_WORDS.get(type(node), type(node).__name__.lower())
        return f"{name} is not allowed in a message; use values, filters, if and for"
    if isinstance(node, nodes.Filter) and node.name not in _FILTERS:
        return not_allowed("unknown filter", node.name, _FILTERS)
    if isinstance(node, nodes.Test) and node.name not in _TESTS:
        return not_allowed("unknown test", node.name, _TESTS)
    if isinstance(node, nodes.Const) and isinstance(node.value, float) and isinf(node.value):
        return "a number is too large; write one below 1e308"
    if isinstance(node, nodes.Getitem) and not isinstance(node.arg, nodes.Const):
        return "only a number or a quoted name may stand in [ ]"
    if isinstance(node, nodes.Getattr | nodes.Getitem):
        return _unknown_member(node.node.name, node) if isinstance(node.node, nodes.Name) else None
    for child in node.iter_child_nodes():
        group = _group_named_by(child)
        if group:
            return f"{group} holds several values; name one of them"
    return None


def _group_named_by(node: nodes.Node) -> str | None:
    if isinstance(node, nodes.Name) and node.name in CONTEXT_SHAPE:
        return node.name
    if isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name):
        path = f"{node.node.name}.{node.attr}"
        return path if path == "User.UserAttributes" else None
    return None


def _unknown_member(group: str, node: nodes.Getattr | nodes.Getitem) -> str | None:
    members = CONTEXT_SHAPE.get(group)
    name = node.attr if isinstance(node, nodes.Getattr) else str(node.arg.as_const())
    if members is None or name in members:
        return None
    told = not_allowed(f"{group} has no value", name, sorted(members))
    if group == "User" and not nearest(name, members):
        return f"{told}; an attribute is written {{{{User.UserAttributes.{name}}}}}"
    return told


def _unknown_names(tree: nodes.Template) -> Iterator[Finding]:
    lines: dict[str, int] = {}
    for node in tree.find_all(nodes.Name):
        lines[node.name] = min(node.lineno, lines.get(node.name, node.lineno))
    # Jinja itself defines `self` in every template.
    unknown = (find_undeclared_variables(tree) | {"self"}) & lines.keys() - CONTEXT_SHAPE.keys()
    for name in sorted(unknown):
        value = _value_named(tree, name)
        guess = nearest(name, CONTEXT_SHAPE)
        yield Finding(
            f"unknown name {quoted(name)} in the template{guess or ';'} a value begins with "
            f"{', '.join(CONTEXT_SHAPE)}, such as {{{{User.UserAttributes.{value}}}}}",
            lines[name] - 1,
        )


def _value_named(tree: nodes.Template, name: str) -> str:
    """`first_name` of `{{user.first_name}}`, for the name `user`; the name itself when it has no
    member."""
    for member in tree.find_all(nodes.Getattr):
        root: nodes.Node = member
        while isinstance(root, nodes.Getattr):
            root = root.node
        if isinstance(root, nodes.Name) and root.name == name:
            return member.attr
    return name
