"""`comeback test`: unit tests for rules, in virtual time."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from worker.clock import SystemClock
from worker.errors import ProblemsFound, UsageError
from worker.ports import Clock
from worker.rules.document import FILE_BYTES_MAX
from worker.rules.folder import Folder
from worker.rules.problems import Problem
from worker.ruletests.cases import ENDINGS, Suite, read_suite
from worker.ruletests.junit import junit
from worker.ruletests.report import FileRun, Run, as_json, lines
from worker.ruletests.timeline import play_case
from worker.ruletests.verdict import judge


@click.command()
@click.argument("paths", type=click.Path(path_type=Path), nargs=-1, metavar="[FOLDER_OR_FILE]...")
@click.option("-k", "like", metavar="NAME", help="Only tests whose name contains this.")
@click.option(
    "--junit",
    "junit_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write a JUnit XML report.",
)
@click.option("--json", "as_data", is_flag=True, help="Print JSON instead of text.")
def test(paths: tuple[Path, ...], like: str | None, junit_file: Path | None, as_data: bool) -> None:
    """Run the tests of rule files (*.test.yaml) in virtual time.

    Exit code 1 when one fails, a file cannot be read, or there is none. docs/testing-rules.md tells
    how to write them.

    \b
    comeback test rules/
    comeback test rules/shop.test.yaml -k "quiet hours"
    """
    clock = SystemClock()
    found = [path for given in paths or (Path("rules"),) for path in _test_files(given)]
    files = [run_file(_suite(path), like, clock) for path in dict.fromkeys(found)]
    if like is not None:
        files = [file for file in files if file.runs or file.suite.problems]
        if not files:
            raise ProblemsFound(f"no test has {like!r} in its name; leave -k out to see them all")
    if junit_file is not None:
        _write(junit_file, junit(files))
    if as_data:
        click.echo(json.dumps(as_json(files), indent=2, ensure_ascii=False))
    else:
        for line in lines(files):
            click.echo(line)
    if not all(file.passed for file in files):
        sys.exit(ProblemsFound.exit_code)


def run_file(suite: Suite, like: str | None, clock: Clock) -> FileRun:
    """Runs the tests of a file, or those whose name contains `like`, whatever its case."""
    runs = []
    for case in suite.cases if suite.rules else ():
        assert suite.rules is not None
        if like is not None and like.casefold() not in case.form.name.casefold():
            continue
        begun = clock.monotonic()
        story = play_case(case.form, suite.rules)
        seconds = clock.monotonic() - begun
        runs.append(Run(verdict=judge(case, story), story=story, seconds=seconds))
    return FileRun(suite=suite, runs=tuple(runs))


def _test_files(given: Path) -> Iterator[Path]:
    """The test files of a folder, in order, or the one that was named."""
    if given.is_file():
        if not given.name.endswith(ENDINGS):
            raise UsageError(
                f"{given} is no test file, whose name ends in .test.yaml; name the folder "
                f"{given.parent} or a test file in it"
            )
        yield given
        return
    if not given.is_dir():
        raise UsageError(f"{given} is neither a file nor a folder; name a folder of rule files")
    found = [
        path
        for path in sorted(given.iterdir())
        if path.name.endswith(ENDINGS) and not path.name.startswith(".") and path.is_file()
    ]
    if not found:
        raise ProblemsFound(
            f"no tests in {given}: a test file is named like shop.test.yaml and stands beside the "
            "rules; docs/testing-rules.md shows one"
        )
    yield from found


def _suite(path: Path) -> Suite:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        told = f"cannot be read: {error.strerror}; check owner and permissions"
        return Suite(file=str(path), rules=None, problems=(Problem(str(path), 1, 1, told),))
    return read_suite(data, str(path), Folder(path.parent))


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}; name another file"
        ) from error
