"""A rules folder to a `RuleSet`, or to every problem in it at once.

Reads `*.yaml` and `*.yml` directly in the folder and the files of `templates/` that stages name;
hidden files (so also the `..data` of a ConfigMap) and `*.test.yaml` are passed over. Nothing is
kept between calls: a bad folder cannot harm the set in force (P9).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from worker.errors import RulesError
from worker.model import Channel
from worker.rules.build import Source, Template, TemplateKey, build
from worker.rules.checks import check_across, check_email, check_file
from worker.rules.checks_limits import check_limits, check_money, check_open
from worker.rules.defaults import with_defaults
from worker.rules.document import Node
from worker.rules.doubts import doubts, unused_template
from worker.rules.folder import TEMPLATES, Files, Folder, Kept, Reading
from worker.rules.messages import MESSAGE_FORMS
from worker.rules.problems import Problem, nearest, quoted
from worker.rules.ruleset import RuleSet
from worker.rules.schema import RuleFile
from worker.rules.wording import fit

PROBLEMS_SHOWN_MAX = 200


@dataclass(frozen=True)
class Inspection:
    """What a look at a folder found: a rule set, or problems sorted by file and line."""

    rule_set: RuleSet | None
    problems: tuple[Problem, ...] = ()
    sources: tuple[Source, ...] = ()
    """The rule files as written, with their defaults filled in. Empty when there are problems."""
    template_roots: Mapping[str, Node] = field(default_factory=dict)
    """Template name to the file as written, for those that stages name."""

    unused_templates: tuple[str, ...] = ()
    """Files of `templates/` that no stage names, as they are shown to people."""

    @cached_property
    def warnings(self) -> tuple[Problem, ...]:
        """What is allowed and probably not meant; sorted as problems are. None beside problems."""
        if self.rule_set is None:
            return ()
        unused = map(unused_template, self.unused_templates)
        return tuple(sorted({*doubts(self.sources, self.rule_set), *unused}))


def load(folder: Path) -> RuleSet:
    """The rule set of a folder. Raises RulesError, whose text lists every problem."""
    return _rule_set(inspect(folder))


def load_contents(contents: Mapping[str, bytes]) -> RuleSet:
    """The rule set of `RuleSet.contents` kept from before: the same files give the same set, but
    that files are shown by their names alone. Raises RulesError, as `load` does."""
    return _rule_set(_inspected(Reading(Kept(contents))))


def inspect(folder: Path) -> Inspection:
    """Reads and checks everything; never raises on content."""
    return _inspected(Reading(Folder(folder)))


def inspect_files(files: Files) -> Inspection:
    """`inspect`, for files that are not simply a whole folder."""
    return _inspected(Reading(files))


def _rule_set(inspection: Inspection) -> RuleSet:
    if inspection.rule_set is None:
        shown = [str(problem) for problem in inspection.problems[:PROBLEMS_SHOWN_MAX]]
        more = len(inspection.problems) - len(shown)
        raise RulesError("\n".join([*shown, *([f"... and {more} more"] if more else [])]))
    return inspection.rule_set


def _inspected(reading: Reading) -> Inspection:
    documents = with_defaults(reading.rule_documents())
    problems = reading.problems
    sources: list[Source] = []
    for file, root in documents.items():
        form, misfits = fit(RuleFile, root)
        problems += [*misfits, *check_file(root), *check_limits(root)]
        if form is not None:
            sources.append(Source(file=file, form=form, root=root))
    problems += [*check_across(documents), *check_money(documents), *check_open(documents)]
    roots = _template_roots(reading, documents)
    templates = _templates(reading, documents, roots)
    if not problems and not any(source.form.rules for source in sources):
        reading.report_folder("", "no rule in any file here; docs/rules.md shows one")
    if problems:
        return Inspection(None, tuple(sorted(set(problems))))
    rule_set = build(sources, templates, reading.contents)
    unused = [path for name, path in reading.template_names().items() if name not in roots]
    return Inspection(
        rule_set,
        sources=tuple(sources),
        template_roots=roots,
        unused_templates=tuple(map(reading.files.shown, unused)),
    )


def _template_roots(reading: Reading, documents: Mapping[str, Node]) -> dict[str, Node]:
    """The template files that stages name, each read once."""
    names = reading.template_names()
    roots: dict[str, Node | None] = {}
    for owner, _ in _owners_of_templates(documents):
        template = owner.get_text("template")
        assert template is not None
        if template not in names:
            place = owner.value_place("template")
            reading.problems.append(Problem(*place, _no_template(template, names)))
        elif template not in roots:
            roots[template] = reading.read(names[template])
    return {template: root for template, root in roots.items() if root is not None}


def _templates(
    reading: Reading, documents: Mapping[str, Node], roots: Mapping[str, Node]
) -> dict[TemplateKey, Template]:
    """Each template file held against the form of every channel it is used on."""
    templates: dict[TemplateKey, Template] = {}
    seen: set[tuple[str, str]] = set()
    for owner, channel in _owners_of_templates(documents):
        name = owner.get_text("template") or ""
        root = roots.get(name)
        if root is None or channel not in list(Channel) or (name, channel) in seen:
            continue
        seen.add((name, channel))
        form, misfits = fit(MESSAGE_FORMS[Channel(channel)], root)
        reading.problems += misfits
        if channel == Channel.EMAIL:
            reading.problems += check_email(root)
        if form is not None:
            templates[name, Channel(channel)] = Template(message=form, content=root.plain())
    return templates


def _owners_of_templates(documents: Mapping[str, Node]) -> Iterator[tuple[Node, str]]:
    """Stages and variants that name a template, each with its channel as written."""
    for root in documents.values():
        for rule in root.get_items("rules"):
            for stage in rule.get_items("stages"):
                for owner in (stage, *stage.get_items("variants")):
                    # One with both has been told so; which of them is meant is not known.
                    if owner.get_text("template") is not None and owner.get("message") is None:
                        yield owner, stage.get_text("channel") or ""


def _no_template(name: str, known: Mapping[str, str]) -> str:
    if name.removesuffix(".yaml").removesuffix(".yml") in known:
        return f"template {quoted(name)}: write the name without its ending"
    there = f"there are: {', '.join(known)}" if known else f"the folder {TEMPLATES}/ has no files"
    return (
        f"there is no file {TEMPLATES}/{name}.yaml for template {quoted(name)}"
        f"{nearest(name, known) or ';'} {there}"
    )
