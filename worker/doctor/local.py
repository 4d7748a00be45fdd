"""This installation: versions, settings, rules. Reads files and the environment, nothing else."""

from __future__ import annotations

import platform
import re
import sqlite3
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from worker import __version__
from worker.doctor.findings import Finding, fail, ok, warn
from worker.errors import ComebackError, SettingsError
from worker.rules.load import inspect
from worker.settings import Settings, read_settings
from worker.store.connection import require_sqlite

DISTRIBUTION = "comeback"


def versions() -> Iterator[Finding]:
    """comeback, Python, SQLite and the packages it was built on."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    yield ok("comeback", f"{__version__} on {python}, {platform.machine()}")
    try:
        require_sqlite()
        yield ok("sqlite", sqlite3.sqlite_version)
    except ComebackError as error:
        yield fail("sqlite", sqlite3.sqlite_version, str(error))
    found, missing = _packages()
    if missing:
        todo = "Install comeback anew, or use its container image."
        yield fail("packages", f"missing: {', '.join(missing)}", todo)
    else:
        yield ok("packages", ", ".join(found))


def settings_of(environment: Mapping[str, str]) -> tuple[Settings | None, list[Finding]]:
    """The settings, and what is wrong with them; None when they cannot be used at all."""
    try:
        settings = read_settings(environment)
    except SettingsError as error:
        return None, [fail("settings", "cannot be used", str(error))]
    try:
        settings.require("stream", *settings.needed_to_send)
    except SettingsError as error:
        return settings, [fail("settings", "incomplete", str(error))]
    told = sorted(settings.model_fields_set)
    return settings, [ok("settings", f"{len(told)} set, the rest are defaults")]


def rules(folder: Path) -> Finding:
    """What `comeback check` says, in a line."""
    if not folder.is_dir():
        return fail("rules", f"{folder} is not there", "Make the folder, or set COMEBACK_RULES.")
    inspection = inspect(folder)
    if inspection.rule_set is None:
        count = len(inspection.problems)
        found = f"{folder} has {count} problem{'s' if count != 1 else ''}"
        return fail("rules", found, f"Run `comeback check {folder}`; it names every place.")
    live = sum(rule.mode == "live" for rule in inspection.rule_set.rules)
    found = f"{folder}: {len(inspection.rule_set.rules)} rules, {live} live"
    if inspection.warnings:
        return warn(
            "rules",
            f"{found}, {len(inspection.warnings)} doubts",
            f"Run `comeback check {folder}`; it names every place.",
        )
    return ok("rules", f"{found}, revision {inspection.rule_set.revision}")


def _packages() -> tuple[list[str], list[str]]:
    """The packages comeback asks for: with their version, and those that are not there."""
    found, missing = [], []
    for name in _required():
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    return found, missing


def _required() -> list[str]:
    try:
        wanted = requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        return []  # run from its source
    names = (re.match(r"[A-Za-z0-9._-]+", line) for line in wanted if "extra ==" not in line)
    return sorted(name[0] for name in names if name)
