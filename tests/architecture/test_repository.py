"""Rules for everything that is in the repository: portable, pinned, and without dead links."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import worker

ROOT = Path(__file__).resolve().parents[2]
HIDDEN_BUT_OURS = {".ci", ".github"}
NOT_OURS = {"node_modules", "dist", "__pycache__"}


def files_of(root: Path) -> Iterator[Path]:
    """Every file that people wrote: no virtual environment, no cache, no fetched peer."""
    for entry in sorted(root.iterdir()):
        if entry.is_dir():
            hidden = entry.name.startswith(".") and entry.name not in HIDDEN_BUT_OURS
            if not hidden and entry.name not in NOT_OURS:
                yield from files_of(entry)
        elif entry.suffix not in {".pyc", ".db"}:
            yield entry


def texts_of(root: Path) -> Iterator[tuple[str, str]]:
    """Repository path and text of every file that is text."""
    for path in files_of(root):
        data = path.read_bytes()
        if b"\0" not in data:
            yield path.relative_to(root).as_posix(), data.decode(errors="replace")


# --- portable ---------------------------------------------------------------------------------

# Named by pattern, so that this file holds no such address either.
REGISTRY = re.compile(
    r"\b(?:pypi|pythonhosted|npmjs|yarnpkg)\.[a-z]{2,3}\b"
    r"|(?:index[-_]url|find[-_]links|registry|resolved)[\s'\x22:=]{1,4}[a-z+]+://",
    re.IGNORECASE,
)
MACHINE_PATH = re.compile(r"(?<![\w.}~-])/(?:root|work|home/\w+|Users/\w+)/[\w.]")


def not_portable(name: str, text: str) -> Iterator[str]:
    """Addresses of package registries, paths of one machine, any address in a lock file."""
    for number, line in enumerate(text.splitlines(), start=1):
        if REGISTRY.search(line):
            yield f"{name}:{number}: names a package registry; who installs chooses it"
        if MACHINE_PATH.search(line):
            yield f"{name}:{number}: a path of somebody's machine"
        if name.endswith((".lock", "-lock.json")) and "://" in line:
            yield f"{name}:{number}: a lock file holds names, versions and hashes, no address"


def test_nothing_in_the_repository_is_bound_to_a_registry_or_a_machine() -> None:
    assert [found for name, text in texts_of(ROOT) for found in not_portable(name, text)] == []


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("Makefile", "pip install --index-" + "url https://packages.example/simple"),
        ("package-lock.json", '"resolved": "' + 'https://packages.example/a.tgz"'),
        ("docs/a.md", "see py" + "pi.org for more"),
        ("worker/a.py", 'OPEN = "/ho' + 'me/somebody/state.db"'),
        ("package-lock.json", '"url": "' + 'https://example.com/fund-me"'),
        ("requirements.lock", "a @ https" + "://packages.example/a.whl"),
    ],
)
def test_what_binds_to_a_registry_or_a_machine_is_found(name: str, line: str) -> None:
    assert list(not_portable(name, line)) != []


@pytest.mark.parametrize("line", ["ARG PIP_INDEX_URL", "https://example.com/home/a/b", "/homepage"])
def test_what_binds_to_nothing_is_let_be(line: str) -> None:
    assert list(not_portable("docs/a.md", line)) == []


# --- pinned -----------------------------------------------------------------------------------

PIN = re.compile(r"^(?P<name>[a-z0-9._-]+)==(?P<version>[^\s;]+)(?P<rest>.*(?:\n +.*)*)", re.M)


def pins_of(lock: str) -> dict[str, str]:
    """Name to version of every pin that has at least one hash."""
    return {pin["name"]: pin["version"] for pin in PIN.finditer(lock) if "--hash=sha256:" in pin[0]}


def not_pinned(requirements: list[str], pins: Mapping[str, str]) -> list[str]:
    """The requirements that no pin fulfils."""
    missing = []
    for text in requirements:
        wanted = Requirement(text)
        version = pins.get(canonicalize_name(wanted.name))
        if version is None or not wanted.specifier.contains(version):
            missing.append(text)
    return missing


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUNTIME_LOCK = (ROOT / "requirements.lock").read_text()
DEV_LOCK = (ROOT / "requirements-dev.lock").read_text()


def test_every_dependency_is_pinned_with_hashes() -> None:
    runtime = PROJECT["project"]["dependencies"]
    assert not_pinned(runtime, pins_of(RUNTIME_LOCK)) == []
    tools = PROJECT["dependency-groups"]["dev"] + PROJECT["build-system"]["requires"]
    assert not_pinned(runtime + tools, pins_of(DEV_LOCK)) == []


def test_what_is_tested_is_what_is_shipped() -> None:
    assert pins_of(RUNTIME_LOCK).items() <= pins_of(DEV_LOCK).items()


def test_a_pin_without_hash_or_outside_the_range_does_not_count() -> None:
    lock = "good==2.0 \\\n    --hash=sha256:00\nbare==1.0\nold==1.0 \\\n    --hash=sha256:00\n"
    assert not_pinned(["good>=2", "bare", "old>=2", "absent"], pins_of(lock)) == [
        "bare",
        "old>=2",
        "absent",
    ]


def test_the_version_is_the_same_wherever_it_is_told() -> None:
    assert PROJECT["project"]["version"] == worker.__version__
    assert f"ARG VERSION={worker.__version__}\n" in (ROOT / "Dockerfile").read_text()


# --- links ------------------------------------------------------------------------------------

FENCE = re.compile(r"^(```|~~~).*?^\1", re.M | re.S)
LINK = re.compile(r"\]\(<?([^)\s>]+)|^\[[^\]]+\]: *(\S+)|\b(?:src|href)=\"([^\"]+)\"", re.M)
HEADING = re.compile(r"^#+ +(.+?) *#*$", re.M)


def anchors_of(markdown: str) -> set[str]:
    """The anchors GitHub makes of headings: lower case, no punctuation, hyphens for spaces."""
    headings = HEADING.findall(FENCE.sub("", markdown))
    bare = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in bare}


def dead_links(path: Path) -> Iterator[str]:
    """Relative links of a Markdown file that lead to no file, or to no heading of one."""
    for groups in LINK.findall(FENCE.sub("", path.read_text())):
        link = "".join(groups)
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        if not target.exists():
            yield f"{path}: {link}: no such file"
        elif anchor and target.suffix == ".md" and anchor not in anchors_of(target.read_text()):
            yield f"{path}: {link}: no such heading"


def test_every_link_in_the_documents_leads_somewhere() -> None:
    documents = [path for path in files_of(ROOT) if path.suffix == ".md"]
    assert documents
    assert [found for path in documents for found in dead_links(path)] == []


def test_a_dead_link_is_found_and_a_live_one_is_not(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# It's `there`, now\n```\n# no heading\n```\n")
    (tmp_path / "a.md").write_text(
        "[x](there.md) [x](there.md#its-there-now) [x](https://example.com/x.md)\n"
        "```\n[x](in/code.md)\n```\n"
        '[x](gone.md) [x](there.md#no-heading) <img src="gone.svg">\n\n[ref]: gone-too.md\n'
    )
    found = [line.partition(": ")[2] for line in dead_links(tmp_path / "a.md")]
    assert found == [
        "gone.md: no such file",
        "there.md#no-heading: no such heading",
        "gone.svg: no such file",
        "gone-too.md: no such file",
    ]
