"""The files of a rules folder: which take part, their bytes, their documents.

The only module here that reads files. Every file is read once, so that what is checked is what is
taken into force. Symbolic links are followed, as a Kubernetes ConfigMap is made of them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from worker.rules.document import FILE_BYTES_MAX, Node, read_document
from worker.rules.problems import Problem

FILES_MAX = 200
TEMPLATES = "templates"

_ENDINGS = (".yaml", ".yml")


@dataclass(slots=True)
class Folder:
    """One reading of one folder, with the problems met and the bytes of every file read."""

    path: Path
    problems: list[Problem] = field(default_factory=list)
    contents: dict[str, bytes] = field(default_factory=dict)
    """Name within the folder to bytes."""

    def rule_documents(self) -> dict[str, Node]:
        """File name, as shown to people, to root node, for every readable rule file."""
        paths = self._listed(self.path)
        if not paths and not self.problems:
            told = "no rule file in this folder; add one, such as shop.yaml"
            self.report_folder(self.path, told)
        roots = {str(path): self.read(path) for path in paths}
        return {file: root for file, root in roots.items() if root is not None}

    def template_paths(self) -> dict[str, Path]:
        """Template name, which is the file name without its ending, to path."""
        folder = self.path / TEMPLATES
        paths: dict[str, Path] = {}
        for path in self._listed(folder) if folder.exists() else []:
            if path.stem in paths:
                self.report(path, f"{paths[path.stem].name} has the same name; rename one")
            paths[path.stem] = path
        return paths

    def read(self, path: Path) -> Node | None:
        """The root of a file, None when there is none to use; problems are kept."""
        try:
            with path.open("rb") as file:
                data = file.read(FILE_BYTES_MAX + 1)
        except OSError as error:
            self.report(path, f"cannot be read: {error.strerror}; check owner and permissions")
            return None
        self.contents[path.relative_to(self.path).as_posix()] = data
        document = read_document(data, str(path))
        self.problems += document.problems
        if document.root is None and not document.problems:
            self.report(path, "the file is empty; fill it, or remove it")
        return document.root

    def report(self, path: Path, message: str) -> None:
        """Keeps a problem about a file as a whole."""
        self.problems.append(Problem(str(path), 1, 1, message))

    def report_folder(self, path: Path, message: str) -> None:
        """Keeps a problem about a folder, in which there is no line to point at."""
        self.problems.append(Problem(str(path), 0, 0, message))

    def _listed(self, folder: Path) -> list[Path]:
        try:
            paths = sorted(path for path in folder.iterdir() if _takes_part(path))
        except NotADirectoryError:
            self.report_folder(folder, f"this is a file; name its folder, {folder.parent}/")
            return []
        except OSError as error:
            told = f"cannot be listed: {error.strerror}; name a folder of rule files"
            self.report_folder(folder, told)
            return []
        if len(paths) > FILES_MAX:
            self.report_folder(folder, f"more than {FILES_MAX} files; merge some")
        return paths[:FILES_MAX]


def fingerprint(path: Path) -> str:
    """Digest of the names and bytes of every file that may take part; cheap enough to poll.

    A file or folder that cannot be read counts as that, so that it changes the digest too.
    """
    digest = hashlib.blake2b(digest_size=16)
    for folder in (path, path / TEMPLATES):
        try:
            files = sorted(file for file in folder.iterdir() if _takes_part(file))[:FILES_MAX]
        except OSError as error:
            digest.update(f"\x00{folder.name}\x00{error.errno}".encode())
            continue
        for file in files:
            digest.update(f"\x00{folder.name}/{file.name}\x00".encode())
            try:
                with file.open("rb") as opened:
                    digest.update(opened.read(FILE_BYTES_MAX + 1))
            except OSError as error:
                digest.update(f"\x00{error.errno}".encode())
    return digest.hexdigest()


def _takes_part(path: Path) -> bool:
    return (
        path.suffix in _ENDINGS
        and not path.name.startswith(".")
        and not path.stem.endswith(".test")
        and path.is_file()
    )
