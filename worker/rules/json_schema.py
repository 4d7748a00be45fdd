"""The rule file as a JSON Schema (draft 7), for editors: completion, hover, early mistakes. Pure.

Made from the same forms that read the files. It says less than `comeback check` does: relations
between values, names of zones and templates, and the language of the texts are not in it. Where a
person writes a number or a truth without quotes, both that and text are allowed, for we read text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.json_schema import models_json_schema

from worker.rules.forms import Form
from worker.rules.messages import EmailMessage, PushMessage, SmsMessage
from worker.rules.schema import RuleFile

DRAFT: Final = "http://json-schema.org/draft-07/schema#"

_REF: Final = "#/definitions/{model}"


def schema_of(form: type[Form], title: str) -> dict[str, Any]:
    """Of any file that is read by a form."""
    made = TypeAdapter(form).json_schema(ref_template=_REF)
    return _tidied({**made, "title": title})


def rules_schema() -> dict[str, Any]:
    """Of a file of the rules folder."""
    return schema_of(RuleFile, "Rules of comeback")


def template_schema() -> dict[str, Any]:
    """Of a file of `templates/`: the message of one channel."""
    forms: tuple[type[Form], ...] = (PushMessage, EmailMessage, SmsMessage)
    _, made = models_json_schema([(form, "validation") for form in forms], ref_template=_REF)
    choice = [{"$ref": _REF.format(model=form.__name__)} for form in forms]
    return _tidied({**made, "title": "Message template of comeback", "anyOf": choice})


KINDS: Final = {"rules": rules_schema, "template": template_schema}


_MESSAGE_EXAMPLES: Final[Mapping[str, Any]] = {
    "title": "New since your last visit",
    "body": 'Hello {{User.UserAttributes.first_name|default("there")}}, come and have a look.',
    "url": "https://shop.example/welcome-back",
    "data": {"screen": "home"},
    "subject": "New since your last visit",
    "text": 'Hello {{User.UserAttributes.first_name|default("there")}}!',
    "html": '<p>Hello {{User.UserAttributes.first_name|default("there")}}!</p>',
}
"""For the texts of messages, which are the same in every form that has them."""


def _with_example(name: str, shape: dict[str, Any], beside: Mapping[str, object]) -> dict[str, Any]:
    if "examples" in shape:
        return shape
    if name == "locales":
        text = next(key for key in ("title", "subject", "body") if key in beside)
        return {**shape, "examples": [{"fr": {text: "Quoi de neuf depuis votre visite ?"}}]}
    return {**shape, "examples": [_MESSAGE_EXAMPLES[name]]} if name in _MESSAGE_EXAMPLES else shape


def _tidied(made: Mapping[str, Any]) -> dict[str, Any]:
    definitions = {name: _shape(shape) for name, shape in sorted(made.get("$defs", {}).items())}
    head = {"$schema": DRAFT, "title": made["title"]}
    body = _shape({key: value for key, value in made.items() if key not in ("$defs", "title")})
    return {**head, **body, "definitions": definitions}


def _shape(shape: Mapping[str, Any]) -> dict[str, Any]:
    """One schema without what only Python knows: titles, nulls, discriminators."""
    tidy = {key: value for key, value in shape.items() if key not in ("title", "discriminator")}
    if tidy.get("default", "") in (None, [], {}):
        del tidy["default"]  # an editor would write it out; leaving the key out says the same
    if "description" in tidy:
        tidy["description"] = " ".join(tidy["description"].split())
    for key in ("properties", "patternProperties"):
        if key in tidy:
            shapes = {name: _shape(below) for name, below in tidy[key].items()}
            tidy[key] = {n: _with_example(n, s, shapes) for n, s in shapes.items()}
    if "patternProperties" in tidy:
        tidy["additionalProperties"] = False
    for key in ("items", "additionalProperties", "propertyNames"):
        if isinstance(tidy.get(key), Mapping):
            tidy[key] = _shape(tidy[key])
    for key in ("anyOf", "oneOf", "allOf"):
        if key in tidy:
            tidy[key] = [_shape(below) for below in tidy[key] if below != {"type": "null"}]
    if len(tidy.get("anyOf", ())) == 1:
        (only,) = tidy.pop("anyOf")
        tidy = {**only, **tidy}
    if "$ref" in tidy and len(tidy) > 1:
        # Draft 7 ignores whatever stands beside a $ref.
        reference = tidy.pop("$ref")
        tidy = {**tidy, "allOf": [{"$ref": reference}]}
    return tidy
