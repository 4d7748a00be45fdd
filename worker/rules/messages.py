"""The messages of the three channels: their keys in YAML, and their text for one user. Pure.

Each may have other texts per locale, and gets what the law of the user's country wants around it.

A rendered message is ready for the provider or it is refused: nothing empty, nothing longer than
the provider takes. What no user's values can mend is refused when the rules are read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from html import escape
from typing import Annotated, Any, Final, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import InitErrorDetails

from worker.drafts import quick
from worker.model import Channel, Message
from worker.rules.facts import Group
from worker.rules.finishing import (
    email_fits,
    filled,
    line,
    link,
    made,
    push_fits,
    sms_text,
    stripped,
    subject_line,
)
from worker.rules.forms import Form, HtmlText, Name, PlainText, refused
from worker.rules.locales import TAG_PATTERN, best, normal, parse_tag
from worker.rules.problems import Refused
from worker.rules.ruleset import LegalText, TemplateProblem
from worker.rules.templates import Text

DATA_KEYS_MAX = 50
LOCALES_MAX = 100

_new_message = quick(Message)

_BODY_END = re.compile(r"</body\s*>", re.IGNORECASE)


def _held_to(finish: Callable[[str, str], object], name: str) -> AfterValidator:
    """Finishes a text that is the same for everybody when the rules are read, to see if it can."""

    def held(text: Text) -> Text:
        if text.fixed is not None:
            try:
                finish(name, text.fixed)
            except TemplateProblem as problem:
                raise refused(str(problem)) from problem
        return text

    return AfterValidator(held)


def _least(text: Text) -> str:
    return text.fixed or ""


def _tag(text: str) -> str:
    try:
        return parse_tag(text)
    except Refused as refusal:
        raise refused(*refusal.findings) from refusal


def _once(locales: Any) -> Any:
    """Before the texts are read: no locale in two spellings."""
    spelled: dict[str, str] = {}
    for tag in locales if isinstance(locales, dict) else ():
        first = spelled.setdefault(normal(str(tag)), str(tag))
        if first != tag:
            raise refused(f"{first} and {tag} are the same locale; keep one of them")
    return locales


LocaleTag: TypeAlias = Annotated[
    str, AfterValidator(_tag), WithJsonSchema({"type": "string", "pattern": TAG_PATTERN})
]
_PerLocale: Final = (Field(max_length=LOCALES_MAX), BeforeValidator(_once))
_LOCALES: Final = (
    "Texts for users of other languages, by locale (fr, pt-BR). A user gets those of their locale, "
    "else of its language; what is not stated there is as above."
)

_Title: TypeAlias = Annotated[PlainText, _held_to(line, "title")]
_Body: TypeAlias = Annotated[PlainText, _held_to(stripped, "body")]
_Url: TypeAlias = Annotated[PlainText, _held_to(link, "url")]
_Data: TypeAlias = Annotated[dict[Name, PlainText], Field(max_length=DATA_KEYS_MAX)]
_Subject: TypeAlias = Annotated[PlainText, _held_to(subject_line, "subject")]
_MailText: TypeAlias = Annotated[PlainText, _held_to(filled, "text")]
_MailHtml: TypeAlias = Annotated[HtmlText, _held_to(filled, "html")]
_SmsBody: TypeAlias = Annotated[PlainText, _held_to(sms_text, "body")]


class _Texts(Form):
    """What one locale says otherwise."""

    @model_validator(mode="after")
    def _say_something(self) -> Self:
        if not self.model_fields_set:
            raise refused("no text is stated here; state one, or remove this locale")
        return self


class _Localized(Form):
    """A message that may have other texts in other locales (`locales`, of each form)."""

    @cached_property
    def by_locale(self) -> Mapping[str, Self]:
        """Normal tag to the whole message in that locale; those texts of it that are not stated
        are the message's own."""
        stated: Mapping[str, _Texts] = getattr(self, "locales")  # noqa: B009 - each form has its own
        return {normal(tag): self._with(texts) for tag, texts in stated.items()}

    def render(self, context: Mapping[str, object]) -> Message:
        """In the locale the context names. Raises TemplateProblem."""
        return self._in_locale_of(context).rendered(context)

    def rendered(self, context: Mapping[str, object]) -> Message:
        """In this locale. Raises TemplateProblem."""
        raise NotImplementedError

    def _in_locale_of(self, context: Mapping[str, object]) -> Self:
        if not self.by_locale:
            return self
        said = context.get("Demographic")
        locale = said.member("Locale") if isinstance(said, Group) else None
        tag = best(locale if isinstance(locale, str) else None, self.by_locale)
        return self if tag is None else self.by_locale[tag]

    def _with(self, texts: _Texts) -> Self:
        stated = {name: getattr(texts, name) for name in texts.model_fields_set}
        if "data" in stated:
            stated["data"] = {**getattr(self, "data", {}), **stated["data"]}
        return self.model_copy(update={**stated, "locales": {}})


def _at_locale(tag: str, texts: _Texts, problem: TemplateProblem) -> ValidationError:
    """A problem with a message as one locale makes it; stands where the locale does."""
    error = InitErrorDetails(type=refused(str(problem)), loc=("locales", tag), input=texts)
    return ValidationError.from_exception_data("locales", [error])


class PushTexts(_Texts):
    """A push notification in another locale."""

    title: _Title | None = Field(default=None, description="Headline of the notification.")
    body: _Body | None = Field(default=None, description="Text of the notification.")
    url: _Url | None = Field(default=None, description="What a tap opens: a web or app link.")
    data: _Data = Field(
        default_factory=dict, description="Values handed to the app, besides those above."
    )


class PushMessage(_Localized):
    """A push notification."""

    title: _Title = Field(description="Headline of the notification.")
    body: _Body = Field(description="Text of the notification.")
    url: _Url | None = Field(default=None, description="What a tap opens: a web or app link.")
    data: _Data = Field(default_factory=dict, description="Values handed to the app.")
    locales: Annotated[dict[LocaleTag, PushTexts], *_PerLocale] = Field(
        default_factory=dict, description=_LOCALES
    )

    def rendered(self, context: Mapping[str, object]) -> Message:
        message = _new_message(
            title=made(line, "title", self.title, context),
            body=made(stripped, "body", self.body, context),
            url=made(link, "url", self.url, context) if self.url else None,
            data={key: text.render(context) for key, text in self.data.items()},
        )
        push_fits(message)
        return message

    @model_validator(mode="after")
    def _fits_somebody(self) -> Self:
        """The parts share one bound; what a value adds is not known and counts as nothing."""
        try:
            push_fits(_least_of(self))
        except TemplateProblem as problem:
            raise refused(str(problem)) from problem
        for tag, texts in self.locales.items():
            try:
                push_fits(_least_of(self._with(texts)))
            except TemplateProblem as problem:
                raise _at_locale(tag, texts, problem) from problem
        return self


def _least_of(form: PushMessage) -> Message:
    return Message(
        title=_least(form.title),
        body=_least(form.body),
        url=_least(form.url) if form.url else None,
        data={key: _least(text) for key, text in form.data.items()},
    )


class EmailTexts(_Texts):
    """An e-mail in another locale."""

    subject: _Subject | None = Field(default=None, description="Subject line.")
    text: _MailText | None = Field(default=None, description="The mail as plain text.")
    html: _MailHtml | None = Field(
        default=None, description="The mail as HTML; values are escaped."
    )


class EmailMessage(_Localized):
    """An e-mail, as text, as HTML or as both."""

    subject: _Subject = Field(description="Subject line.")
    text: _MailText | None = Field(default=None, description="The mail as plain text.")
    html: _MailHtml | None = Field(
        default=None, description="The mail as HTML; values are escaped."
    )
    locales: Annotated[dict[LocaleTag, EmailTexts], *_PerLocale] = Field(
        default_factory=dict, description=_LOCALES
    )

    def rendered(self, context: Mapping[str, object]) -> Message:
        message = _new_message(
            title=made(subject_line, "subject", self.subject, context),
            body=made(filled, "text", self.text, context) if self.text else "",
            html=made(filled, "html", self.html, context) if self.html else None,
        )
        email_fits(message)
        return message


class SmsTexts(_Texts):
    """A text message in another locale."""

    body: _SmsBody | None = Field(default=None, description="Text of the message.")


class SmsMessage(_Localized):
    """A text message."""

    body: _SmsBody = Field(description="Text of the message.")
    locales: Annotated[dict[LocaleTag, SmsTexts], *_PerLocale] = Field(
        default_factory=dict, description=_LOCALES
    )

    def rendered(self, context: Mapping[str, object]) -> Message:
        return _new_message(body=made(sms_text, "body", self.body, context))


MessageForm: TypeAlias = PushMessage | EmailMessage | SmsMessage
MESSAGE_FORMS: Final[Mapping[Channel, type[MessageForm]]] = {
    Channel.PUSH: PushMessage,
    Channel.EMAIL: EmailMessage,
    Channel.SMS: SmsMessage,
}


def decorated(message: Message, channel: Channel, legal: Sequence[LegalText]) -> Message:
    """The message with what the law wants at its beginning and end, in the order of `legal`.

    A prefix goes before the body of an SMS, the title of a push, the subject of an e-mail; a suffix
    after the body, and of an e-mail after its text and its HTML (escaped), on a line of its own.
    Nothing is put between otherwise: blanks belong to the legal text. Raises TemplateProblem when
    it comes out longer than the provider takes.
    """
    if not legal:
        return message
    prefix = "".join(text.prefix for text in legal)
    suffix = "".join(text.suffix for text in legal)
    match channel:
        case Channel.SMS:
            return replace(message, body=sms_text("body", prefix + message.body + suffix))
        case Channel.PUSH:
            title = line("title", prefix + (message.title or ""))
            push = replace(message, title=title, body=stripped("body", message.body + suffix))
            push_fits(push)
            return push
        case Channel.EMAIL:
            subject = subject_line("subject", prefix + (message.title or ""))
            mail = replace(message, title=subject)
            if suffix:
                mail = replace(
                    mail,
                    body=_text_and(message.body, suffix),
                    html=_html_and(message.html, suffix),
                )
            email_fits(mail)
            return mail


def _text_and(text: str, suffix: str) -> str:
    """None stays none: a mail of HTML alone gets no text of its own."""
    if not text:
        return text
    return f"{text}{suffix}" if text.endswith("\n") else f"{text}\n{suffix}"


def _html_and(html: str | None, suffix: str) -> str | None:
    if html is None:
        return None
    end = max((found.start() for found in _BODY_END.finditer(html)), default=len(html))
    lines = "<br>".join(escape(suffix.strip()).splitlines())
    return f"{html[:end]}<p>{lines}</p>{html[end:]}"
