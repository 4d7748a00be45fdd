"""Templates: Pinpoint's names work, a missing value never leaves a hole, work stays bounded."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from worker.model import Endpoint, Message, UserView
from worker.rules.facts import render_context
from worker.rules.forms import Form
from worker.rules.messages import EmailMessage, PushMessage, SmsMessage
from worker.rules.problems import Refused
from worker.rules.ruleset import TemplateProblem
from worker.rules.templates import TEMPLATE_CHARS_MAX, compile_html, compile_text

SECRET = "s3cret-value"


def rendered(template: str, **attributes: str | tuple[str, ...]) -> str:
    return compile_text(template).render(context(**attributes))


def context(**attributes: str | tuple[str, ...]) -> dict[str, object]:
    values = {k: (v,) if isinstance(v, str) else v for k, v in attributes.items()}
    endpoint = Endpoint(
        endpoint_id="e", at_ms=1, timezone="Asia/Seoul", user_attributes=values, attributes=values
    )
    return dict(render_context(UserView(user_id="u1", last_active_ms=None, endpoints=(endpoint,))))


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("Hi {{User.UserAttributes.name}}!", "Hi Ann!"),
        ("{{ Attributes.name }} {{User.UserId}}", "Ann u1"),
        ("{{Demographic.Timezone}}", "Asia/Seoul"),
        ("{{User.UserAttributes['name']}}", "Ann"),
        ("{{User.UserAttributes.likes}}", "tea, shoes"),
        ("{{User.UserAttributes.likes[1]}}", "shoes"),
        ("{{User.UserAttributes.likes|length}} {{User.UserAttributes.likes|last}}", "2 shoes"),
        ("{{User.UserAttributes.likes|join(' + ')}}", "tea + shoes"),
        ("{% for like in User.UserAttributes.likes %}<{{like}}>{% endfor %}", "<tea><shoes>"),
        ("{% for name in User.UserAttributes.name %}<{{name}}>{% endfor %}", "<Ann>"),
        ("{% if 'tea' in User.UserAttributes.likes %}tea!{% endif %}", "tea!"),
        ("{% if User.UserAttributes.name == 'Ann' %}yes{% endif %}", "yes"),
        ("{% if User.UserAttributes.nick is defined %}x{% else %}none{% endif %}", "none"),
        ("{{User.UserAttributes.nick|default('friend')}}", "friend"),
        ("{{User.UserAttributes.blank|default('friend')}}", "friend"),
        ("{{User.UserAttributes.name|upper}}", "ANN"),
        ("{{User.UserAttributes.name|truncate(2, true, '', 0)}}", "An"),
        ("{{User.UserAttributes.likes|truncate(5, true, '', 0)}}", "tea, "),
        ("{{User.UserAttributes.likes|truncate(1, leeway=0)}}", "..."),
        ("{{User.UserAttributes.points|int - 1}}", "41"),
        ("{{User.UserAttributes.items}} {{User.UserAttributes.get}}", "a b"),
        ("a\n{% if User.UserId %}\nb\n{% endif %}\nc", "a\nb\nc"),
        ("<b>{{User.UserAttributes.html}}</b>", "<b><i></b>"),
    ],
)
def test_a_template_renders(template: str, expected: str) -> None:
    told = rendered(
        template,
        name="Ann",
        likes=("tea", "shoes"),
        points="42",
        blank="  ",
        items="a",
        get="b",
        html="<i>",
    )
    assert told == expected


def test_html_escapes_values_and_keeps_the_template() -> None:
    text = compile_html("<b>{{User.UserAttributes.x}}{{User.UserAttributes.y|join(',')}}</b>")
    assert text.render(context(x="<&>", y=("<", ">"))) == "<b>&lt;&amp;&gt;&lt;,&gt;</b>"


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("Hi {{User.UserAttributes.nick}}", "{{User.UserAttributes.nick}}"),
        ("Hi {{Attributes.nick|upper}}", "{{Attributes.nick}}"),
        ("Hi {{User.UserAttributes.blank}}", "{{User.UserAttributes.blank}}"),
        ("Hi {{Demographic.Locale}}", "{{Demographic.Locale}}"),
        ("Hi {{User.UserAttributes.secret[3]}}", "{{User.UserAttributes.secret[3]}}"),
        ("{% if User.UserAttributes.nick %}{% endif %}", "{{User.UserAttributes.nick}}"),
        ("{% for x in User.UserAttributes.nick %}{% endfor %}", "{{User.UserAttributes.nick}}"),
        ("{{ User.UserAttributes.secret ~ User.UserAttributes.nick }}", "UserAttributes.nick}}"),
    ],
)
def test_a_missing_value_is_a_problem_that_names_the_variable(template: str, name: str) -> None:
    with pytest.raises(TemplateProblem) as problem:
        rendered(template, blank="", secret=SECRET)
    assert name in str(problem.value)
    assert "has no value for this user; write" in str(problem.value)
    assert SECRET not in str(problem.value)


@pytest.mark.parametrize(
    "template",
    [
        "{{User.UserAttributes.secret + 1}}",
        "{{User.UserAttributes.secret|round}}",
        "{{User.UserAttributes.secret < 3}}",
        "{{ -User.UserAttributes.secret }}",
        "{{User.UserAttributes.secret|truncate(9, true, '', -1)}}",
    ],
)
def test_whatever_goes_wrong_with_a_value_is_a_problem_that_hides_it(template: str) -> None:
    with pytest.raises(TemplateProblem) as problem:
        rendered(template, secret=SECRET)
    assert SECRET not in str(problem.value)
    assert problem.value.__cause__ is None


@pytest.mark.parametrize(
    ("template", "line", "message"),
    [
        ("{{Usr.x}}", 0, 'unknown name "Usr" in the template; did you mean "User"?'),
        ("a\nb {{name}}", 1, 'unknown name "name" in the template; a value begins with User'),
        ("{{user.first_name}}", 0, "such as {{User.UserAttributes.first_name}}"),
        ("{{user.attributes.first_name}}", 0, "such as {{User.UserAttributes.first_name}}"),
        ("{{first_name}}", 0, "such as {{User.UserAttributes.first_name}}"),
        ("{{User.first_name}}", 0, "is written {{User.UserAttributes.first_name}}"),
        ("{{self}}", 0, 'unknown name "self"'),
        ("{{loop.index}}", 0, 'unknown name "loop"'),
        ("{{Address}}", 0, 'unknown name "Address"'),
        ("\n{{User.Userid}}", 1, 'User has no value "Userid"; did you mean "UserId"?'),
        ("{{User['x']}}", 0, 'User has no value "x"; allowed here: UserAttributes, UserId'),
        ("{{User.__class__}}", 0, 'User has no value "__class__"'),
        ("{{User}}", 0, "User holds several values; name one of them"),
        ("{{User.UserAttributes}}", 0, "User.UserAttributes holds several values"),
        ("{% for x in Attributes %}{% endfor %}", 0, "Attributes holds several values"),
        ("{{#if x}}", 0, "Pinpoint's {{#if x}} is written {% if x %}"),
        ("{{ x", 0, "the template has an error"),
        ("\n\n{% if %}", 2, "the template has an error"),
        ("{% endif %}", 0, "the template has an error"),
        ("{{User.UserId|shout}}", 0, 'unknown filter "shout"'),
        ("{{User.UserId|safe}}", 0, 'unknown filter "safe"'),
        ("{{Attributes.x|random}}", 0, 'unknown filter "random"'),
        ("{% if User.UserId is callable %}{% endif %}", 0, 'unknown test "callable"'),
        ("{{User.UserId.upper()}}", 0, "a call such as name() is not allowed"),
        ("{{range(9)}}", 0, "a call such as name() is not allowed"),
        ("{% set x = 1 %}", 0, "{% set %} is not allowed"),
        ("{{'x' * 9}}", 0, "* is not allowed"),
        ("{{9 ** 9}}", 0, "pow is not allowed"),
        ("{% include 'x' %}", 0, "include is not allowed"),
        ("{% macro x() %}{% endmacro %}", 0, "macro is not allowed"),
        ("{{User.UserAttributes[User.UserId]}}", 0, "only a number or a quoted name"),
        (
            "{% for a in Attributes.x %}\n{% for b in Attributes.y %}{% endfor %}{% endfor %}",
            1,
            "a loop within a loop is not allowed",
        ),
    ],
)
def test_what_can_be_known_before_any_user_is_refused_when_it_is_loaded(
    template: str, line: int, message: str
) -> None:
    with pytest.raises(Refused) as refused:
        compile_text(template)
    assert (refused.value.findings[0].line, True) == (
        line,
        refused.value.findings[0].message.find(message) >= 0,
    )


def test_every_finding_in_a_text_is_told() -> None:
    with pytest.raises(Refused) as refused:
        compile_text("{{User.a}}\n{{User.UserId|x}}\n{{9 ** 9}}")
    assert [finding.line for finding in refused.value.findings] == [0, 1, 2]


@pytest.mark.parametrize(
    "template",
    [
        "x" * (TEMPLATE_CHARS_MAX + 1),
        "{{" + "(" * 5_000 + "1" + ")" * 5_000 + "}}",
        "{{" + "9" * 5_000 + "}}",
        "{% if User.UserId %}" * 2_000 + "{% endif %}" * 2_000,
    ],
)
def test_a_template_beyond_the_bounds_is_refused(template: str) -> None:
    with pytest.raises(Refused):
        compile_text(template)


@given(st.text(st.sampled_from(list("{}%#|. ()[]'\"User.Attributes.x+-*~\nifor")), max_size=40))
def test_any_text_renders_or_is_refused_or_is_a_problem(template: str) -> None:
    with suppress(Refused, TemplateProblem):
        assert isinstance(rendered(template, x="y"), str)


# --- messages ---------------------------------------------------------------------------------


def message(form: type[Form], _context: dict[str, object] | None = None, **keys: object) -> Message:
    filled = form.model_validate(keys)
    assert isinstance(filled, PushMessage | EmailMessage | SmsMessage)
    return filled.render(context() if _context is None else _context)


def test_each_channel_fills_the_message_the_senders_know() -> None:
    assert message(
        PushMessage, title="T", body="B\n", url="app://x", data={"k": "{{User.UserId}}"}
    ) == (Message(title="T", body="B", url="app://x", data={"k": "u1"}))
    assert message(EmailMessage, subject="S", text="T", html="<p>") == (
        Message(title="S", body="T", html="<p>")
    )
    assert message(SmsMessage, body="B\n") == Message(body="B")


def test_a_line_break_in_a_value_cannot_begin_a_mail_header() -> None:
    told = message(
        EmailMessage,
        context(name="Ann\r\nBcc: all@example.test"),
        subject="Hi {{User.UserAttributes.name}}",
        text="x",
    )
    assert told.title == "Hi Ann Bcc: all@example.test"


UNUSABLE = [
    (SmsMessage, "body", "x" * 1_601, "1601 characters, the provider takes 1600"),
    (SmsMessage, "body", "€" * 801, "1602 characters"),
    (SmsMessage, "body", "다" * 631, "outside GSM comes out at 631 characters"),
    (SmsMessage, "body", "😀" * 316, "632 characters, the provider takes 630"),
    (SmsMessage, "body", "  ", "the body comes out empty"),
    (PushMessage, "title", "\n", "the title comes out empty"),
    (PushMessage, "body", "ü" * 2_000, "the push message comes out at"),
    (PushMessage, "url", "nowhere", "the url comes out unusable"),
    (PushMessage, "url", "a://b c", "the url comes out unusable"),
    (EmailMessage, "subject", "x" * 901, "the subject comes out at 901"),
    (EmailMessage, "html", " ", "the html comes out empty"),
]
"""Form, key, what cannot be sent under it, and how the refusal begins."""
USABLE: dict[type[Form], dict[str, str]] = {
    SmsMessage: {"body": "x"},
    PushMessage: {"title": "x", "body": "x"},
    EmailMessage: {"subject": "x", "text": "x"},
}


@pytest.mark.parametrize(("form", "key", "text", "told"), UNUSABLE)
def test_a_text_that_comes_out_for_a_user_as_the_provider_would_refuse_it_is_a_problem(
    form: type[Form], key: str, text: str, told: str
) -> None:
    keys = USABLE[form] | {key: "{% if User.UserId %}" + text + "{% endif %}"}
    with pytest.raises(TemplateProblem) as problem:
        message(form, context(), **keys)
    assert told in str(problem.value)


@pytest.mark.parametrize(("form", "key", "text", "told"), UNUSABLE)
def test_a_text_that_is_the_same_for_everybody_is_refused_before_there_is_a_user(
    form: type[Form], key: str, text: str, told: str
) -> None:
    with pytest.raises(ValidationError) as refusal:
        form.model_validate(USABLE[form] | {key: text})
    (error,) = refusal.value.errors()
    ((_, finding),) = error["ctx"]["findings"]
    assert told in finding


@pytest.mark.parametrize(("form", "key", "text", "_told"), UNUSABLE)
def test_a_text_that_some_user_may_mend_is_not_refused(
    form: type[Form], key: str, text: str, _told: str
) -> None:
    form.model_validate(
        USABLE[form] | {key: "{% if User.UserAttributes.x %}" + text + "{% endif %}"}
    )


def test_fixed_parts_of_a_push_count_together_and_values_count_as_nothing() -> None:
    half = {"title": "{{User.UserId}}", "body": "x" * 3_000}
    PushMessage.model_validate(half)
    with pytest.raises(ValidationError):
        PushMessage.model_validate(half | {"data": {"more": "x" * 1_000}})


@pytest.mark.parametrize("body", ["x" * 1_600, "€" * 800, "다" * 630, "😀" * 315])
def test_the_longest_sms_the_provider_takes_is_rendered(body: str) -> None:
    assert message(SmsMessage, body=body).body == body
