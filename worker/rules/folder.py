"""The files of a rule set: which take part, their bytes, their documents.

`Folder` is a folder on disk, the only reader of files here; `Kept` holds bytes that were read
before. Every file is read once, so that what is checked is what is taken into force. Symbolic
links are followed, as a Kubernetes ConfigMap is made of them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol

from worker.rules.document import FILE_BYTES_MAX, Node, read_document
from worker.rules.problems import Problem

FILES_MAX = 200
TEMPLATES = "templates"

_ENDINGS = (".yaml", ".yml")


class Unlistable(Exception):
    """A folder cannot be listed; the text says why, and what to do."""


class Files(Protocol):
    """Where a rule set comes from. Names are within the folder: `shop.yaml`, `templates/x.yaml`."""

    def shown(self, name: str) -> str:
        """A name as people read it in problems; "" is the folder itself."""

    def names(self, within: str) -> list[str]:
        """The files that may take part, directly in a folder ("" or `templates`), in order; none
        when there is no `templates`. Raises Unlistable."""

    def data(self, name: str) -> bytes:
        """The bytes of a file, cut off above FILE_BYTES_MAX. Raises OSError."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder on disk."""

    path: Path

    def shown(self, name: str) -> str:
        """The path of a file."""
        return str(self.path / name) if name else str(self.path)

    def names(self, within: str) -> list[str]:
        """Raises Unlistable."""
        folder = self.path / within
        if within and not folder.exists():
            return []
        try:
            paths = sorted(path for path in folder.iterdir() if _takes_part(path))
        except NotADirectoryError:
            raise Unlistable(f"this is a file; name its folder, {folder.parent}/") from None
        except OSError as error:
            raise Unlistable(
                f"cannot be listed: {error.strerror}; name a folder of rule files"
            ) from error
        return [path.relative_to(self.path).as_posix() for path in paths]

    def data(self, name: str) -> bytes:
        """Raises OSError."""
        with (self.path / name).open("rb") as file:
            return file.read(FILE_BYTES_MAX + 1)


@dataclass(frozen=True, slots=True)
class Kept:
    """`RuleSet.contents` of a set that was in force before."""

    contents: Mapping[str, bytes]

    def shown(self, name: str) -> str:
        """The name itself."""
        return name or "kept rules"

    def names(self, within: str) -> list[str]:
        """Never raises."""
        paths = [PurePosixPath(name) for name in self.contents]
        folder = PurePosixPath(within)
        taken = [p for p in paths if p.parent == folder and _is_named_as_rules(p)]
        return sorted(path.as_posix() for path in taken)

    def data(self, name: str) -> bytes:
        """Never raises for a name of `names`."""
        return self.contents[name]


@dataclass(slots=True)
class Reading:
    """One reading of one set of files, with the problems met and the bytes of every file read."""

    files: Files
    problems: list[Problem] = field(default_factory=list)
    contents: dict[str, bytes] = field(default_factory=dict)
    """Name within the folder to bytes."""

    def rule_documents(self) -> dict[str, Node]:
        """File name, as shown to people, to root node, for every readable rule file."""
        names = self._listed("")
        if not names and not self.problems:
            self.report_folder("", "no rule file in this folder; add one, such as shop.yaml")
        roots = {self.files.shown(name): self.read(name) for name in names}
        return {file: root for file, root in roots.items() if root is not None}

    def template_names(self) -> dict[str, str]:
        """Template name, which is the file name without its ending, to name within the folder."""
        names: dict[str, str] = {}
        for name in self._listed(TEMPLATES):
            path = PurePosixPath(name)
            if path.stem in names:
                other = PurePosixPath(names[path.stem]).name
                self._report(name, f"{other} has the same name; rename one")
            names[path.stem] = name
        return names

    def read(self, name: str) -> Node | None:
        """The root of a file, None when there is none to use; problems are kept."""
        try:
            data = self.files.data(name)
        except OSError as error:
            self._report(name, f"cannot be read: {error.strerror}; check owner and permissions")
            return None
        self.contents[name] = data
        document = read_document(data, self.files.shown(name))
        self.problems += document.problems
        if document.root is None and not document.problems:
            self._report(name, "the file is empty; fill it, or remove it")
        return document.root

    def report_folder(self, name: str, message: str) -> None:
        """Keeps a problem about a folder, in which there is no line to point at."""
        self.problems.append(Problem(self.files.shown(name), 0, 0, message))

    def _report(self, name: str, message: str) -> None:
        self.problems.append(Problem(self.files.shown(name), 1, 1, message))

    def _listed(self, within: str) -> list[str]:
        try:
            names = self.files.names(within)
        except Unlistable as error:
            self.report_folder(within, str(error))
            return []
        if len(names) > FILES_MAX:
            self.report_folder(within, f"more than {FILES_MAX} files; merge some")
        return [name for name in names[:FILES_MAX] if self._is_text(within, name)]

    def _is_text(self, within: str, name: str) -> bool:
        shown = name.encode("utf-8", "backslashreplace").decode()
        if shown != name:
            told = f"the name of the file {shown} is not UTF-8; rename it"
            self.report_folder(within, told)
        return shown == name


def fingerprint(path: Path) -> str:
    """Digest of the names and bytes of every file that may take part; cheap enough to poll.

    A file or folder that cannot be read counts as that, so that it changes the digest too.
    """
    digest = hashlib.blake2b(digest_size=16)
    for folder in (path, path / TEMPLATES):
        try:
            files = sorted(file for file in folder.iterdir() if _takes_part(file))[:FILES_MAX]
        except OSError as error:
            digest.update(b"\x00%b\x00%d" % (os.fsencode(folder.name), error.errno or 0))
            continue
        for file in files:
            digest.update(b"\x00%b/%b\x00" % (os.fsencode(folder.name), os.fsencode(file.name)))
            try:
                with file.open("rb") as opened:
                    digest.update(opened.read(FILE_BYTES_MAX + 1))
            except OSError as error:
                digest.update(f"\x00{error.errno}".encode())
    return digest.hexdigest()


def _takes_part(path: Path) -> bool:
    return _is_named_as_rules(path) and path.is_file()


def _is_named_as_rules(path: PurePosixPath | Path) -> bool:
    return (
        path.suffix in _ENDINGS
        and not path.name.startswith(".")
        and not path.stem.endswith(".test")
    )
