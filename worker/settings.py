"""Settings from environment variables: what the container is, never what it should send (rules do).

Each field of `Settings` is one variable, `COMEBACK_` + its name in capitals. AWS variables are
botocore's own (`AWS_REGION`, `AWS_ENDPOINT_URL_KINESIS`, ...). A `COMEBACK_` variable nobody knows
is refused: a misspelt limit must not be a silent default.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)

from worker.errors import SettingsError
from worker.event_dialects import Reader
from worker.lifetimes import CALL_MS_MAX
from worker.model import STREAM_BEHIND_MS_MAX
from worker.rules.dialects import readers_of
from worker.rules.durations import parse_duration, written
from worker.rules.problems import Refused

PREFIX = "COMEBACK_"
PORT_MAX = 65_535

TOKEN_CHARS_MIN = 16
TOKEN_CHARS_MAX = 1_000
TOKEN_FILE_BYTES_MAX = 4_096

_STREAM_NAME = r"[A-Za-z0-9_.-]{1,128}"
_STREAM_ARN = rf"arn:aws[a-z-]*:kinesis:[a-z0-9-]+:[0-9]{{12}}:stream/{_STREAM_NAME}"


def _duration(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return parse_duration(value)
    except Refused as refused:
        raise ValueError(str(refused)) from refused


def _address(value: str) -> str:
    found = re.fullmatch(r"(?:\[[0-9a-fA-F:]+\]|[^:\s]*):([0-9]+)", value)
    if found is None:
        raise ValueError("it must look like 0.0.0.0:9464 or 127.0.0.1:9464")
    if int(found[1]) > PORT_MAX:
        raise ValueError(f"the port must be at most {PORT_MAX}")
    return value


def _stream(value: str) -> str:
    # Source: Kinesis API reference, StreamDescription, StreamName and StreamARN. Empty is "not
    # set", which only the commands that read the stream refuse.
    if value.startswith("arn:") and not re.fullmatch(_STREAM_ARN, value):
        raise ValueError(
            "it is not the ARN of a Kinesis stream, arn:aws:kinesis:REGION:ACCOUNT:stream/NAME"
        )
    if not value.startswith("arn:") and not re.fullmatch(f"({_STREAM_NAME})?", value):
        raise ValueError(
            "a stream's name has letters, digits, _ . - and at most 128 of them; an ARN begins"
            " with arn:"
        )
    return value


def _token(value: SecretStr | None) -> SecretStr | None:
    text = "" if value is None else value.get_secret_value()
    if not text:
        return None
    if not re.fullmatch(rf"[!-~]{{{TOKEN_CHARS_MIN},{TOKEN_CHARS_MAX}}}", text):
        raise ValueError(
            f"a token has {TOKEN_CHARS_MIN} to {TOKEN_CHARS_MAX} characters, letters, digits and"
            " signs of ASCII, and no blanks; `openssl rand -hex 32` makes one"
        )
    return value


def _unsubscribe_url(value: str) -> str:
    # It becomes a header: printable ASCII (RFC 5322) within angle brackets (RFC 2369).
    bare = re.sub(r"\{(user_id|send_id)\}", "", value)
    if not re.fullmatch(r"((https://|mailto:)[!-~]+)?", bare):
        raise ValueError("it must begin with https:// or mailto: and be ASCII without spaces")
    if re.search(r"[<>{}]", bare):
        raise ValueError("it may have {user_id} and {send_id} and no other < > { }")
    return value


def _phone_number(value: str) -> str:
    if not re.fullmatch(r"(\+[1-9][0-9]{6,14})?", value):
        raise ValueError("it must be + and up to 15 digits, such as +4915112345678")
    return value


_DURATION = BeforeValidator(_duration)
Milliseconds = Annotated[int, _DURATION]
"""A duration such as `5s`, `2h30m`, `7d`; milliseconds inside."""
BindAddress = Annotated[str, AfterValidator(_address)]
StreamName = Annotated[str, AfterValidator(_stream)]
UnsubscribeUrl = Annotated[str, AfterValidator(_unsubscribe_url)]
PhoneNumber = Annotated[str, AfterValidator(_phone_number)]

NEEDED_BY: Mapping[str, str] = {
    "pinpoint": "pinpoint_application_id",
    "ses": "email_from",
    "end_user_messaging": "sms_origination_identity",
}
"""Sender to the setting it cannot do without."""
OptionalPath = Annotated[Path | None, BeforeValidator(lambda value: value or None)]
"""A file that need not be; empty is none."""
Token = Annotated[SecretStr | None, AfterValidator(_token)]
"""A secret, which nothing prints; empty is none."""


class Settings(BaseModel):
    """Everything `comeback run` can be told by its environment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stream: StreamName = Field(
        default="", description="Kinesis stream to read: its name or its ARN."
    )
    state: Path = Field(
        default=Path("comeback.db"), description="The state file (SQLite); one per deployment."
    )
    rules: Path = Field(default=Path("rules"), description="Folder with the rule files.")
    start_position: str = Field(
        default="LATEST",
        description="Where the very first start begins: LATEST, TRIM_HORIZON, or an instant such"
        " as 2026-11-01T00:00:00Z. Afterwards the state knows.",
    )
    events: str = Field(
        default="pinpoint,ses,end-user-messaging",
        description="In which formats events are, the first that fits: names, and files of"
        " formats of your own (docs/events.md).",
    )
    push_sender: Literal["pinpoint"] = Field(default="pinpoint", description="What sends pushes.")
    email_sender: Literal["ses", "pinpoint"] = Field(
        default="ses", description="What sends e-mail: ses, or pinpoint where it still does."
    )
    sms_sender: Literal["pinpoint", "end_user_messaging"] = Field(
        default="pinpoint", description="What sends SMS."
    )
    pinpoint_application_id: str = Field(
        default="",
        description="Pinpoint / End User Messaging application that pinpoint sends with.",
    )
    email_from: str = Field(
        default="",
        description="From address of e-mail: shop@example.com or Shop <shop@example.com>.",
    )
    email_reply_to: str = Field(
        default="", description="Addresses that replies go to, with commas between them (ses)."
    )
    ses_configuration_set: str = Field(
        default="", description="Configuration set of mail; its events are the receipts (ses)."
    )
    ses_from_arn: str = Field(
        default="", description="ARN of the From identity, when another account owns it (ses)."
    )
    ses_feedback_to: str = Field(
        default="", description="Address that SES forwards bounces and complaints to (ses)."
    )
    ses_feedback_arn: str = Field(
        default="",
        description="ARN of that address's identity, when another account owns it (ses).",
    )
    unsubscribe_url: UnsubscribeUrl = Field(
        default="",
        description="List-Unsubscribe of mail: https://... (one click) or mailto:..., in which"
        " {user_id} and {send_id} are filled in (ses).",
    )
    sms_origination_number: str = Field(default="", description="Number SMS come from (pinpoint).")
    sms_sender_id: str = Field(
        default="", description="Sender id of SMS, where countries know it (pinpoint)."
    )
    sms_origination_identity: str = Field(
        default="",
        description="Phone number, sender id or pool SMS come from: its id or ARN"
        " (end_user_messaging).",
    )
    sms_configuration_set: str = Field(
        default="",
        description="Configuration set of SMS; its events are the receipts (end_user_messaging).",
    )
    sms_check_number: PhoneNumber = Field(
        default="",
        description="A number of your own: at every start AWS is asked by a dry run whether an SMS"
        " to it would go out (end_user_messaging).",
    )
    sms_india_entity_id: str = Field(
        default="", description="Principal entity id (DLT) of SMS to India (end_user_messaging)."
    )
    sms_india_template_id: str = Field(
        default="", description="Template id (DLT) of SMS to India (end_user_messaging)."
    )
    sms_message_type: Literal["PROMOTIONAL", "TRANSACTIONAL"] = Field(
        default="PROMOTIONAL", description="What SMS are declared as."
    )
    http: BindAddress = Field(
        default="0.0.0.0:9464",
        description="Address of /metrics, /-/healthy and /-/ready.",
    )
    http_token: Token = Field(
        default=None,
        description="Who sends it may POST /-/reload; without it nobody may.",
    )
    http_token_file: OptionalPath = Field(
        default=None, description="A file that holds the token, such as a mounted secret."
    )
    poll_interval: Milliseconds = Field(
        default=1_000,
        ge=200,
        le=60_000,
        description="Pause between reads of a shard that is caught up.",
    )
    sweep_interval: Milliseconds = Field(
        default=1_000, ge=20, le=60_000, description="How often due users are looked for."
    )
    max_staleness: Milliseconds = Field(
        default=300_000,
        ge=1_000,
        le=STREAM_BEHIND_MS_MAX,
        description="While any shard lags more than this, nothing is sent.",
    )
    calls_in_flight_max: int = Field(
        default=8, ge=1, le=256, description="Provider calls under way at once."
    )
    call_timeout: Milliseconds = Field(
        default=10_000,
        ge=100,
        le=CALL_MS_MAX,
        description="How long a provider may take to answer.",
    )
    drain_timeout: Milliseconds = Field(
        default=25_000,
        ge=0,
        le=115_000,
        description="How long SIGTERM waits for calls; the orchestrator must wait longer.",
    )
    standby: bool = Field(
        default=True,
        description="true: wait while another process holds the state; false: exit 75 at once.",
    )
    log_format: Literal["auto", "console", "json"] = Field(
        default="auto", description="auto: console on a terminal, JSON otherwise."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The quietest level that is shown."
    )

    @property
    def needed_to_send(self) -> tuple[str, ...]:
        """The settings that the chosen senders cannot do without."""
        chosen = (self.push_sender, self.email_sender, self.sms_sender)
        return tuple(name for sender, name in NEEDED_BY.items() if sender in chosen)

    def require(self, *names: str) -> None:
        """Raises SettingsError naming every variable of `names` that is empty."""
        missing = [name for name in names if not getattr(self, name)]
        if missing:
            lines = [f"{PREFIX}{n.upper()} is not set: {_described(n)}" for n in missing]
            raise SettingsError("\n".join(lines))

    def secret_of_http(self) -> str | None:
        """The token of the HTTP port, from the setting or its file; None: there is none.

        Reads the file. Raises SettingsError, which never shows the token.
        """
        if self.http_token_file is None:
            return None if self.http_token is None else self.http_token.get_secret_value()
        variable = f'{PREFIX}HTTP_TOKEN_FILE="{self.http_token_file}"'
        if self.http_token is not None:
            raise SettingsError(
                f"{variable} and {PREFIX}HTTP_TOKEN are both set; unset one of them"
            )
        try:
            with self.http_token_file.open("rb") as file:
                data = file.read(TOKEN_FILE_BYTES_MAX + 1)
        except OSError as error:
            raise SettingsError(
                f"{variable} cannot be read ({error.strerror}). Mount the secret there, readable"
                " for this user, or unset the variable."
            ) from error
        try:
            token = _token(SecretStr(data.decode("ascii", "replace").strip()))
        except ValueError as error:
            raise SettingsError(f"{variable} cannot be used: {error}") from None
        if token is None:
            raise SettingsError(f"{variable}: the file is empty; put the token in, or unset it")
        return token.get_secret_value()


def event_readers(text: str) -> tuple[Reader, ...]:
    """The formats of COMEBACK_EVENTS. Raises SettingsError with every problem, one a line."""
    readers, wrong = readers_of(text, lambda name: Path(name).read_bytes())
    if wrong:
        lines = "\n".join(wrong)
        raise SettingsError(f'{PREFIX}EVENTS="{text}" cannot be used:\n{lines}')
    return readers


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Settings from the environment. Raises SettingsError with every problem, one a line."""
    known = Settings.model_fields
    values: dict[str, Any] = {}
    problems: list[str] = []
    for variable in sorted(environment):
        if not variable.startswith(PREFIX):
            continue
        name = variable.removeprefix(PREFIX).lower()
        if not _is_text(variable + environment[variable]):
            shown = variable.encode("utf-8", "backslashreplace").decode()
            problems.append(f"{shown} is not UTF-8; set it anew, or unset it")
        elif name in known:
            values[name] = environment[variable]
        else:
            problems.append(_unknown(variable, known))
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        problems += [_explained(detail, environment) for detail in error.errors()]
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


def _is_text(value: str) -> bool:
    """False when the environment held other bytes than UTF-8 (PEP 383 keeps them as halves of
    characters)."""
    return not any("\ud800" <= char <= "\udfff" for char in value)


def _unknown(variable: str, known: Mapping[str, object]) -> str:
    names = [PREFIX + name.upper() for name in known]
    near = difflib.get_close_matches(variable, names, n=1)
    hint = f"did you mean {near[0]}?" if near else "`comeback run --help` lists all of them"
    return f"{variable} is not a setting of comeback; {hint}"


def _explained(detail: Any, environment: Mapping[str, str]) -> str:
    name = str(detail["loc"][0])
    variable = PREFIX + name.upper()
    is_secret = SecretStr in get_args(Settings.model_fields[name].annotation)
    found = variable if is_secret else f'{variable}="{environment.get(variable, "")}"'
    return f"{found} cannot be used: {_objection(name, detail)}. {_described(name)}"


def _objection(name: str, detail: Any) -> str:
    """What pydantic found, in the words and units the setting is written in."""
    context = detail.get("ctx", {})
    match detail["type"]:
        case "value_error":
            return str(context["error"])
        case "greater_than_equal":
            return f"it must be at least {in_words(name, context['ge'])}"
        case "less_than_equal":
            return f"it must be at most {in_words(name, context['le'])}"
        case "literal_error":
            return f"it must be {context['expected']}"
        case "int_parsing":
            return "it must be a whole number"
        case "bool_parsing":
            return "it must be true or false"
        case _:
            return str(detail["msg"])


def in_words(name: str, value: object) -> str:
    """A value of a setting as it is written in the environment: `5m`, `true`, `rules`; empty when
    there is none."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and _DURATION in Settings.model_fields[name].metadata:
        return written(value)
    return str(value)


def _described(name: str) -> str:
    return Settings.model_fields[name].description or ""
