"""Reads the body of a Kinesis request and holds it against botocore's own model of the service.

Pure: bytes in, a dict of parameters out. Timestamps become milliseconds and blobs bytes;
everything else keeps the name and type of the model. What has the right form may still make no
sense: that is for `stream` to say.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

import botocore.session
import msgspec
from botocore.model import ServiceModel, Shape
from botocore.validate import ParamValidator

from worker.sandbox.kinesis_refusals import (
    SerializationException,
    UnknownOperationException,
    ValidationException,
)

Parameters: TypeAlias = dict[str, Any]
"""The parameters of one request, by the names of the service model."""

TARGET_PREFIX = "Kinesis_20131202."


@cache
def _service_model() -> ServiceModel:
    return botocore.session.Session().get_service_model("kinesis")


def read_request(target: str, body: bytes, *, known: frozenset[str]) -> tuple[str, Parameters]:
    """The operation and parameters of a request with header `X-Amz-Target: target`.

    Raises UnknownOperationException for an operation outside `known`, SerializationException for
    a body that is no JSON object, ValidationException when the model does not allow it.
    """
    operation = target.removeprefix(TARGET_PREFIX)
    if operation == target or operation not in known:
        raise UnknownOperationException(f"{target or 'No X-Amz-Target'} is not served here.")
    shape = _service_model().operation_model(operation).input_shape
    try:
        parameters = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise SerializationException(f"The body is not a JSON object: {error}") from error
    parameters = _converted(parameters, shape, _blob_decoded)
    if found := ParamValidator().validate(parameters, shape).generate_report():
        raise ValidationException(found)
    _check_constraints(parameters, shape, "input")
    return operation, _converted(parameters, shape, _timestamp_in_ms)


def _converted(value: Any, shape: Shape, convert: Callable[[Any, Shape], Any]) -> Any:
    """`value` with every scalar put through `convert`; what does not fit its shape is left."""
    if shape.type_name == "structure" and isinstance(value, dict):
        members = shape.members
        return {
            name: _converted(part, members[name], convert) if name in members else part
            for name, part in value.items()
            if part is not None
        }
    if shape.type_name == "list" and isinstance(value, list):
        return [_converted(part, shape.member, convert) for part in value]
    return convert(value, shape)


def _blob_decoded(value: Any, shape: Shape) -> Any:
    if shape.type_name != "blob" or not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except ValueError as error:
        raise SerializationException(f"{shape.name} is not base64: {error}") from error


def _timestamp_in_ms(value: Any, shape: Shape) -> Any:
    return round(value * 1_000) if shape.type_name == "timestamp" else value


def _check_constraints(value: Any, shape: Shape, where: str) -> None:
    """The constraints that botocore leaves to the service: patterns, words, greatest lengths.

    The greatest number is left to the operation, which answers it with another error.
    """
    match shape.type_name:
        case "structure":
            for name, part in value.items():
                _check_constraints(part, shape.members[name], f"{where}.{name}")
        case "list":
            for index, part in enumerate(value):
                _check_constraints(part, shape.member, f"{where}[{index}]")
            _check_length(value, shape, where)
        case "blob":
            _check_length(value, shape, where)
        case "string":
            _check_length(value, shape, where)
            _check_word(value, shape, where)
        case "timestamp" if not isinstance(value, int | float):
            raise ValidationException(f"{where}: a timestamp is a number of seconds.")


def _check_length(value: Any, shape: Shape, where: str) -> None:
    if len(value) > (length_max := shape.metadata.get("max", len(value))):
        raise ValidationException(f"{where}: length {len(value)}, at most {length_max}.")


def _check_word(value: str, shape: Shape, where: str) -> None:
    if (words := shape.metadata.get("enum")) and value not in words:
        raise ValidationException(f"{where}: '{value}' is none of {', '.join(words)}.")
    if (pattern := shape.metadata.get("pattern")) and not re.fullmatch(pattern, value):
        raise ValidationException(f"{where}: '{value}' does not match {pattern}.")
