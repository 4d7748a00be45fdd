"""What is fuzzed: for each target, how an input is drawn and what must hold when it is taken.

A target raises when something did not hold: an exception that is none of the errors a person can
act on, a value no database takes, a quick way that tells another story than the slow one.
`Target.draw` depends on its seed alone, so every input can be had again by its number.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.fuzz.people import Environments, Formats, Rules, RuleTests, Templates
from tests.fuzz.strangers import Answers, AppEvents, Events, Imports, Recordings, Verdicts
from tests.fuzz.target import Target

TARGETS: Sequence[type[Target]] = (
    Events,
    AppEvents,
    Answers,
    Verdicts,
    Recordings,
    Imports,
    Rules,
    RuleTests,
    Templates,
    Formats,
    Environments,
)
