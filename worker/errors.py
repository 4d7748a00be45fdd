"""The error tree. Every leaf says what was found and what the person who reads it should do.

    ComebackError
    ├── UsageError              exit 2   the command line is off
    ├── ProblemsFound           exit 1   a check found what it looks for
    ├── ChangesFound            exit 3   a comparison found that two things differ
    ├── TryLater                exit 75  nothing is wrong here, something else is in the way
    │   ├── StateInUse
    │   ├── StateUnwritable
    │   └── StreamRecreated
    └── ConfigurationError      exit 78  somebody has to change something before it can work
        ├── SettingsError
        ├── RulesError
        ├── StreamNotFound
        ├── AccessDenied
        ├── StateTooNew
        ├── StateDamaged
        └── StateMissing

Library exceptions are translated at the edge where they appear, with the cause kept. Anything
that is not a ComebackError and reaches `main` is a bug: exit 70.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import ClassVar


class ComebackError(Exception):
    """Root of all errors that speak to a person. `str(error)` is the whole message."""

    exit_code: ClassVar[int] = 70


class UsageError(ComebackError):
    """The command line asks for something that does not exist."""

    exit_code = 2


class ProblemsFound(ComebackError):
    """A check did its work and found problems."""

    exit_code = 1


class ChangesFound(ComebackError):
    """A comparison did its work and found that the two differ."""

    exit_code = 3


class TryLater(ComebackError):
    """Nothing to repair: the same command may work later."""

    exit_code = 75


class StateInUse(TryLater):
    """Another process holds the state file."""


class StateUnwritable(TryLater):
    """The state cannot be written now: disk full, read-only, I/O error. Nothing was half done."""


class StreamRecreated(TryLater):
    """The stream was deleted and made anew under the same name; a new start reads the new one."""


class ConfigurationError(ComebackError):
    """Something must be changed by a person first."""

    exit_code = 78


class SettingsError(ConfigurationError):
    """An environment variable is missing, misspelt or out of range."""


class RulesError(ConfigurationError):
    """The rule set cannot be used. Carries every problem found, not just the first."""


class StreamNotFound(ConfigurationError):
    """Kinesis does not know the stream in this account and region."""


class AccessDenied(ConfigurationError):
    """AWS refuses the call; the message names the action that is missing."""


class StateTooNew(ConfigurationError):
    """The state file was written by a newer comeback."""


class StateDamaged(ConfigurationError):
    """The state file is not a database, or fails its integrity check."""


class StateMissing(ConfigurationError):
    """The state file a worker has used is gone, empty, or another one than it was."""


def place_of(error: BaseException) -> str:
    """`worker/quiet.py:120` where an unforeseen error came up: the innermost line of this program,
    and, where a library failed, `(in zoneinfo.py:31)` after it. The error's own text may quote an
    address, a token or a user id, and stays out of logs (P11)."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return "nowhere"
    last, root = frames[-1], Path(__file__).resolve().parents[1]
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(root / "worker")]
    if not own:
        return f"{last.filename}:{last.lineno}"
    place = f"{Path(own[-1].filename).relative_to(root)}:{own[-1].lineno}"
    return place if own[-1] is last else f"{place} (in {Path(last.filename).name}:{last.lineno})"


ERRORS_TRACED_MAX = 10
"""Of a chain of causes."""


def trace_of(error: BaseException) -> str:
    """The traceback of an unforeseen error and of what led to it, the first cause first: kinds and
    lines of code. Texts of errors and values of variables are not in it, for they may quote anybody
    (P11)."""
    chain: list[BaseException] = []
    found: BaseException | None = error
    while found is not None and found not in chain and len(chain) < ERRORS_TRACED_MAX:
        chain.append(found)
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)
    parts = []
    for one in reversed(chain):
        lines = "".join(traceback.format_tb(one.__traceback__))
        parts.append(f"Traceback (most recent call last):\n{lines}{type(one).__qualname__}\n")
    return "\n".join(parts)
