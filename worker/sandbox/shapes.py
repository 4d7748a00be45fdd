"""Checks JSON bodies against the service models botocore ships, as strictly as AWS would.

For the stubs of AWS services: what a stub takes, the real service's own description allows.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import botocore.session
from botocore.model import Shape
from botocore.validate import ParamValidator


def problems(service: str, shape: str, body: object) -> list[str]:
    """Everything in `body` that the named shape of the service does not allow; empty when fine.

    Missing and unknown members, wrong types, lengths, and values outside an enumeration (which
    botocore itself leaves to the service).
    """
    found = _StrictValidator()
    report = found.validate(body, _shape(service, shape)).generate_report()
    return [*report.splitlines(), *found.outside_enums]


@cache
def _shape(service: str, shape: str) -> Any:
    return botocore.session.get_session().get_service_model(service).shape_for(shape)


class _StrictValidator(ParamValidator):  # type: ignore[misc]
    """botocore's validator, which also knows enumerations."""

    def __init__(self) -> None:
        self.outside_enums: list[str] = []

    def _validate_string(self, param: object, shape: Shape, errors: object, name: str) -> None:
        super()._validate_string(param, shape, errors, name)
        allowed = getattr(shape, "enum", None)
        if allowed and param not in allowed:
            self.outside_enums.append(f"{name}: {param!r} is none of {', '.join(allowed)}")
