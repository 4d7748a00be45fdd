"""A rules folder to a `RuleSet`, or to every problem in it at once.

Reads `*.yaml` and `*.yml` directly in the folder and the files of `templates/` that stages name;
hidden files (so also the `..data` of a ConfigMap) and `*.test.yaml` are passed over. Nothing is
kept between calls: a bad folder cannot harm the set in force (P9).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from worker.errors import RulesError
from worker.model import Channel
from worker.rules.build import Source, Template, TemplateKey, build
from worker.rules.checks import check_across, check_email, check_file
from worker.rules.document import Node
from worker.rules.folder import TEMPLATES, Folder
from worker.rules.messages import MESSAGE_FORMS
from worker.rules.problems import Problem, nearest, quoted
from worker.rules.ruleset import RuleSet
from worker.rules.schema import RuleFile
from worker.rules.wording import fit

PROBLEMS_SHOWN_MAX = 200


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a look at a folder found: a rule set, or problems sorted by file and line."""

    rule_set: RuleSet | None
    problems: tuple[Problem, ...] = ()


def load(folder: Path) -> RuleSet:
    """The rule set of a folder. Raises RulesError, whose text lists every problem."""
    inspection = inspect(folder)
    if inspection.rule_set is None:
        shown = [str(problem) for problem in inspection.problems[:PROBLEMS_SHOWN_MAX]]
        more = len(inspection.problems) - len(shown)
        raise RulesError("\n".join([*shown, *([f"... and {more} more"] if more else [])]))
    return inspection.rule_set


def inspect(folder: Path) -> Inspection:
    """Reads and checks everything; never raises on content."""
    files = Folder(folder)
    documents = files.rule_documents()
    sources: list[Source] = []
    for file, root in documents.items():
        form, problems = fit(RuleFile, root, file)
        files.problems += [*problems, *check_file(root, file)]
        if form is not None:
            sources.append(Source(file=file, form=form, root=root))
    files.problems += check_across(documents)
    templates = _templates(files, documents)
    if not files.problems and not any(source.form.rules for source in sources):
        files.report_folder(folder, "no rule in any file here; docs/rules.md shows one")
    if files.problems:
        return Inspection(None, tuple(sorted(set(files.problems))))
    return Inspection(build(sources, templates, files.contents))


def _templates(files: Folder, documents: Mapping[str, Node]) -> dict[TemplateKey, Template]:
    """The template files that stages name, each held against the form of the stage's channel."""
    paths = files.template_paths()
    roots: dict[str, Node | None] = {}
    templates: dict[TemplateKey, Template] = {}
    for file, stage in _stages_with_template(documents):
        name, channel = stage.get_text("template"), stage.get_text("channel")
        assert name is not None
        if name not in paths:
            place = (stage.get("template") or stage).place
            files.problems.append(Problem(file, *place, _no_template(name, paths)))
            continue
        if name not in roots:
            roots[name] = files.read(paths[name])
        root = roots[name]
        if root is None or channel not in list(Channel):
            continue
        shown = str(paths[name])
        form, problems = fit(MESSAGE_FORMS[Channel(channel)], root, shown)
        files.problems += problems
        if channel == Channel.EMAIL:
            files.problems += check_email(root, shown)
        if form is not None:
            templates[name, Channel(channel)] = Template(message=form, content=root.plain())
    return templates


def _stages_with_template(documents: Mapping[str, Node]) -> Iterator[tuple[str, Node]]:
    for file, root in documents.items():
        for rule in root.get_items("rules"):
            for stage in rule.get_items("stages"):
                # A stage with both has been told so; which of them is meant is not known.
                if stage.get_text("template") is not None and stage.get("message") is None:
                    yield file, stage


def _no_template(name: str, known: Mapping[str, Path]) -> str:
    if name.removesuffix(".yaml").removesuffix(".yml") in known:
        return f"template {quoted(name)}: write the name without its ending"
    there = f"there are: {', '.join(known)}" if known else f"the folder {TEMPLATES}/ has no files"
    return (
        f"there is no file {TEMPLATES}/{name}.yaml for template {quoted(name)}"
        f"{nearest(name, known) or ';'} {there}"
    )
