"""Checks JSON bodies against the service models botocore ships, as strictly as AWS would.

For the stubs of AWS services: what a stub takes, the real service's own description allows.
"""

from __future__ import annotations

import re
from collections.abc import Sized
from functools import cache
from typing import Any

import botocore.session
from botocore.model import Shape
from botocore.validate import ParamValidator


def problems(service: str, shape: str, body: object) -> list[str]:
    """Everything in `body` that the named shape of the service does not allow; empty when fine.

    Missing and unknown members, wrong types, and what botocore itself leaves to the service: what
    is too long or too much, and strings outside an enumeration or a pattern.
    """
    found = _StrictValidator()
    report = found.validate(body, _shape(service, shape)).generate_report()
    return [*report.splitlines(), *found.besides]


@cache
def _shape(service: str, shape: str) -> Any:
    return botocore.session.get_session().get_service_model(service).shape_for(shape)


class _StrictValidator(ParamValidator):  # type: ignore[misc]
    """botocore's validator, which also knows upper bounds, enumerations and patterns."""

    def __init__(self) -> None:
        self.besides: list[str] = []

    def _validate(self, params: object, shape: Shape, errors: object, name: str) -> None:
        super()._validate(params, shape, errors, name)
        bound = shape.metadata.get("max")
        size = len(params) if isinstance(params, Sized) else params
        if bound is not None and isinstance(size, int | float) and size > bound:
            self.besides.append(f"{name}: {size} is more than {bound}")
        if isinstance(params, str) and shape.type_name == "string":
            self._look_at_text(params, shape, name)

    def _look_at_text(self, text: str, shape: Shape, name: str) -> None:
        allowed = getattr(shape, "enum", None)
        if allowed and text not in allowed:
            self.besides.append(f"{name}: {text!r} is none of {', '.join(allowed)}")
        pattern = shape.metadata.get("pattern")
        if pattern and not re.fullmatch(pattern, text):
            self.besides.append(f"{name}: {text!r} does not fit {pattern}")
