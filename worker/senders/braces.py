"""Keeps providers from taking our rendered texts for templates of their own. Pure.

Texts come rendered, so what still looks like a variable was put there by a value: Pinpoint and
SES's templates would fill it in, or find no value for it and send nothing.
"""

from __future__ import annotations

import re

_BRACE_BEFORE_BRACE = re.compile(r"\{(?=\{)")


def literal(text: str) -> str:
    """The text with `{{` made `{ {`. A space stays within the GSM alphabet, so the guard never
    makes an SMS longer than by itself."""
    return text if "{{" not in text else _guard(text, "{ ")


def literal_html(html: str) -> str:
    """The same for HTML, which shows it as it was: `&#123;{`."""
    return _guard(html, "&#123;")


def literal_url(url: str) -> str:
    """The same for a link, which leads where it led: `%7B{`."""
    return _guard(url, "%7B")


def _guard(text: str, brace: str) -> str:
    return _BRACE_BEFORE_BRACE.sub(brace, text) if "{{" in text else text
