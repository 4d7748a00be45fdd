"""What can honestly be said offline about what is installed: it fits together, it is what the lock
names, every lock line has a hash and comes from nowhere in particular, and its licence is known.

Whether a version has a known weakness cannot be said offline: `make audit` asks, with a network.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.lock", "requirements-dev.lock")
PIN = re.compile(r"[a-z0-9._-]+==[^\s;@]+( ; [^@\n]+)?")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")

LICENCES = (
    *("apache", "mit", "bsd", "psf-2.0", "python software foundation", "repoze public"),
    *("isc", "mpl-2.0", "mozilla public"),
)
"""Words of licences that let us ship a package unchanged in an image."""


def roots() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [Requirement(text) for text in project["dependencies"]]


def installed(wanted: list[Requirement]) -> tuple[dict[str, Distribution], list[str]]:
    """All that these requirements bring along, by name, and every one that is not fulfilled."""
    found: dict[str, Distribution] = {}
    missing: list[str] = []
    todo = list(wanted)
    while todo:
        one = todo.pop()
        name = canonicalize_name(one.name)
        try:
            package = found.setdefault(name, distribution(name))
        except PackageNotFoundError:
            missing.append(f"{one} is not installed")
            continue
        if not one.specifier.contains(package.version, prereleases=True):
            missing.append(f"{one} is wanted, {package.version} is installed")
        if sum(canonicalize_name(other.name) == name for other in todo) == 0:
            todo += [more for more in _needs(package, one) if more.name not in found]
    return found, missing


def _needs(package: Distribution, asked: Requirement) -> Iterator[Requirement]:
    for text in package.requires or []:
        needed = Requirement(text)
        extras = asked.extras or {""}
        if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in extras):
            yield needed


def unlocked(lines: str) -> list[str]:
    """What a lock holds besides pins with hashes."""
    wrong = []
    for entry in lines.replace("\\\n", " ").splitlines():
        pin, *hashes = re.split(r"\s+(?=--)", entry.strip())
        if not entry.strip() or entry.startswith("#"):
            continue
        if not PIN.fullmatch(pin) or not hashes or not all(map(HASH.fullmatch, hashes)):
            wrong.append(pin)
    return wrong


def licence_of(*told: str | None) -> str:
    """Whatever a package says of its licence, in one line."""
    return " ".join([text[:200] for text in told if text]).casefold()


def test_what_is_installed_fits_together() -> None:
    found, missing = installed(roots())
    assert len(found) > 20
    assert missing == []


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_pins_with_hashes_and_nothing_else(lock: str) -> None:
    assert unlocked((ROOT / lock).read_text()) == []


def test_everything_the_product_brings_along_may_be_shipped() -> None:
    found, _ = installed(roots())
    told = {}
    for name, one in found.items():
        classifiers = one.metadata.get_all("Classifier") or []
        licences = [text for text in classifiers if text.startswith("License")]
        stated = one.metadata.get_all("License-Expression") or one.metadata.get_all("License")
        told[name] = licence_of(*(stated or []), *licences)
    assert {name: text for name, text in told.items() if not _is_known(text)} == {}


def _is_known(text: str) -> bool:
    return any(word in text for word in LICENCES) and "gpl" not in text


def test_what_is_missing_or_too_old_is_told() -> None:
    _, missing = installed([Requirement("no-such-package"), Requirement("click<1")])
    assert len(missing) == 2


@pytest.mark.parametrize(
    "line",
    [
        "click==8.1",
        "click>=8 --hash=sha256:" + "0" * 64,
        "click @ git+ssh://example.com/click --hash=sha256:" + "0" * 64,
        "click==8.1 --hash=md5:" + "0" * 32,
        "-e .",
        "--trusted-host example.com",
    ],
)
def test_a_lock_line_that_pins_nothing_is_found(line: str) -> None:
    good = "rich==14.0 ; python_version >= '3.11' \\\n    --hash=sha256:" + "0" * 64
    assert unlocked(good) == []
    assert len(unlocked(f"{good}\n{line}\n")) == 1


def test_a_licence_nobody_looked_at_is_found() -> None:
    assert _is_known(licence_of("MIT OR Apache-2.0"))
    assert not _is_known(licence_of(None, "GNU LGPL, also MIT"))
    assert not _is_known(licence_of(None, ""))
