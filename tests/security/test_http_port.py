"""The HTTP port gives strangers metrics and two words of health, takes nothing, and stays up.

Asked over loopback with hand-written requests, for a well-behaved client cannot misbehave.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from worker.cli.run import _help
from worker.errors import SettingsError
from worker.health import Health
from worker.metrics import Metrics
from worker.rules.problems import Problem
from worker.settings import TOKEN_CHARS_MIN, Settings, read_settings
from worker.testing import FakeClock
from worker.web import (
    BODY_BYTES_MAX,
    CONNECTIONS_MAX,
    HEADER_BYTES_MAX,
    HEADERS_MAX,
    SECURITY_HEADERS,
    Web,
)

TOKEN = "0123456789abcdef-token"
PATHS = ("/", "/metrics", "/-/healthy", "/-/ready")
ANSWER_SECONDS_MAX = 10.0
IMPATIENT_SECONDS = 0.03


class Port:
    """A web server of its own that counts what it was made to do."""

    def __init__(self, token: str | None) -> None:
        self.reloads = 0
        self.web = Web(
            bind="127.0.0.1:0",
            metrics=Metrics(),
            health=Health(clock=FakeClock()),
            token=token,
        )
        self.web.reload = self.reload
        self.port = 0

    async def reload(self) -> Sequence[Problem]:
        self.reloads += 1
        return ()

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def say(self, request: bytes, *, patient: bool = True) -> bytes:
        """Everything that is answered to these bytes until the connection ends; who is not patient
        ends it soon."""
        reader, writer = await self.open()
        told = b""
        try:
            writer.write(request)
            if not patient:
                with suppress(TimeoutError):
                    told = await asyncio.wait_for(reader.read(1 << 16), IMPATIENT_SECONDS)
                writer.write_eof()
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                return told + await reader.read()
        except ConnectionError:
            return told
        finally:
            writer.close()

    async def ask(
        self, method: str, path: str, *headers: str, body: bytes = b""
    ) -> tuple[int, dict[str, str], str]:
        """Status, headers by lower-case name, text."""
        lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", *headers]
        lines += [f"Content-Length: {len(body)}"] * bool(body)
        told = await self.say("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        head, _, text = told.partition(b"\r\n\r\n")
        status, *fields = head.decode("latin-1").split("\r\n")
        pairs = (field.partition(": ") for field in fields)
        return int(status.split()[1]), {n.lower(): value for n, _, value in pairs}, text.decode()


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    one = Port(TOKEN)
    one.port = int((await one.web.start()).rpartition(":")[2])
    yield one
    await one.web.stop()


# --- the token --------------------------------------------------------------------------------


async def test_without_a_token_nobody_reloads_and_is_told_what_to_do_instead(port: Port) -> None:
    open_port = Port(None)
    open_port.port = int((await open_port.web.start()).rpartition(":")[2])
    for header in ("X: y", "Authorization: Bearer ", "Authorization: Bearer None"):
        status, _, text = await open_port.ask("POST", "/-/reload", header)
        assert status == 403
        assert "COMEBACK_HTTP_TOKEN" in text
        assert "SIGHUP" in text
    assert open_port.reloads == 0
    await open_port.web.stop()


async def test_the_token_reloads(port: Port) -> None:
    for header in (f"Authorization: Bearer {TOKEN}", f"authorization: bearer {TOKEN}"):
        assert (await port.ask("POST", "/-/reload", header))[0] == 200
    assert port.reloads == 2


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ("Authorization: Bearer",),
        ("Authorization: Bearer ",),
        (f"Authorization: {TOKEN}",),
        (f"Authorization: Basic {TOKEN}",),
        (f"Authorization: Bearer {TOKEN[:-1]}",),
        (f"Authorization: Bearer {TOKEN}x",),
        (f"Authorization: Bearer {TOKEN.upper()}",),
        (f"Authorization: Bearer {TOKEN} {TOKEN}",),
        (f"Authorization: Bearer {TOKEN}", "Authorization: Bearer x"),
        ("Authorization: Bearer \xff\xfe",),
        (f"Cookie: token={TOKEN}",),
    ],
)
async def test_anything_else_does_not(port: Port, headers: Sequence[str]) -> None:
    status, fields, text = await port.ask("POST", "/-/reload", *headers)
    assert status == 401
    assert fields["www-authenticate"] == "Bearer"
    assert TOKEN not in text
    assert port.reloads == 0


async def test_a_token_in_the_address_is_no_token(port: Port) -> None:
    assert (await port.ask("POST", f"/-/reload?token={TOKEN}"))[0] == 401
    assert port.reloads == 0


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
async def test_only_post_reloads_also_with_the_token(port: Port, method: str) -> None:
    status, fields, _ = await port.ask(method, "/-/reload", f"Authorization: Bearer {TOKEN}")
    assert (status, fields["allow"]) == (405, "POST")
    assert port.reloads == 0


def test_a_token_comes_from_the_variable_or_from_a_file(tmp_path: Path) -> None:
    assert Settings().secret_of_http() is None
    assert read_settings({"COMEBACK_HTTP_TOKEN": TOKEN}).secret_of_http() == TOKEN
    empty = {"COMEBACK_HTTP_TOKEN": "", "COMEBACK_HTTP_TOKEN_FILE": ""}
    assert read_settings(empty).secret_of_http() is None
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert read_settings({"COMEBACK_HTTP_TOKEN_FILE": str(file)}).secret_of_http() == TOKEN


@pytest.mark.parametrize("token", ["S3cret!", "S3cret with a blank in it", "S3cret-ключ-ключ-ключ"])
def test_a_token_that_cannot_be_one_is_refused_without_being_shown(
    tmp_path: Path, token: str
) -> None:
    file = tmp_path / "token"
    file.write_text(token)
    for variable, value in (("HTTP_TOKEN", token), ("HTTP_TOKEN_FILE", str(file))):
        with pytest.raises(SettingsError) as refused:
            read_settings({f"COMEBACK_{variable}": value}).secret_of_http()
        assert f"COMEBACK_{variable}" in str(refused.value)
        assert f"{TOKEN_CHARS_MIN} to " in str(refused.value)
        shown = [repr(refused.value), repr(refused.value.__cause__)]
        assert "S3cret" not in " ".join(shown)


def test_a_token_file_that_is_missing_or_empty_or_one_too_many_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    for environment, told in (
        ({"COMEBACK_HTTP_TOKEN_FILE": str(tmp_path / "none")}, "cannot be read"),
        ({"COMEBACK_HTTP_TOKEN_FILE": str(empty)}, "is empty"),
        ({"COMEBACK_HTTP_TOKEN_FILE": "/x", "COMEBACK_HTTP_TOKEN": TOKEN}, "both set"),
    ):
        with pytest.raises(SettingsError, match=told) as refused:
            read_settings(environment).secret_of_http()
        assert TOKEN not in str(refused.value)


def test_settings_and_help_never_show_the_token() -> None:
    settings = read_settings({"COMEBACK_HTTP_TOKEN": TOKEN})
    for shown in (repr(settings), str(settings), settings.model_dump_json(), _help()):
        assert TOKEN not in shown
    with pytest.raises(SettingsError) as refused:
        read_settings({"COMEBACK_HTTP_TOKEN": TOKEN, "COMEBACK_HTTP": "nowhere"})
    assert TOKEN not in str(refused.value)


# --- what strangers may do --------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
async def test_what_is_read_is_only_read(port: Port, path: str) -> None:
    assert (await port.ask("GET", path))[0] in {200, 503}
    assert (await port.ask("HEAD", path))[2] == ""
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"):
        status, fields, _ = await port.ask(method, path)
        assert (status, fields["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "path",
    [
        "/metrics/",
        "//metrics",
        "/-/",
        "/rules",
        "/../etc/passwd",
        "/%2e%2e/etc/passwd",
        "/-/reload/",
    ],
)
async def test_there_is_no_directory_and_no_file(port: Port, path: str) -> None:
    assert (await port.ask("GET", path))[0] == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/metrics"), ("GET", "/x"), ("PUT", "/"), ("POST", "/-/reload")],
)
async def test_every_answer_forbids_scripts_frames_and_caches(
    port: Port, method: str, path: str
) -> None:
    _, fields, _ = await port.ask(method, path)
    assert {name.lower(): value for name, value in SECURITY_HEADERS.items()}.items() <= (
        fields.items()
    )
    assert fields["content-type"].startswith("text/plain")


async def test_an_answer_to_what_is_no_http_carries_them_too(port: Port) -> None:
    told = await port.say(b"\x16\x03\x01 hello\r\n\r\n")
    assert b" 400 " in told
    assert b"nosniff" in told
    assert b"aiohttp" not in told


async def test_a_bug_is_told_without_its_text(
    port: Port, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise RuntimeError("kim@example.com")

    port.web.refresh = broken
    status, _, text = await port.ask("GET", "/metrics")
    assert status == 500
    out, err = capsys.readouterr()
    assert "kim@" not in text + out + err
    assert "http_failed" in out + err


# --- what strangers may cost ------------------------------------------------------------------


async def test_bodies_and_headers_have_their_bounds(port: Port) -> None:
    bearer = f"Authorization: Bearer {TOKEN}"
    assert (await port.ask("POST", "/-/reload", bearer, body=b"x" * BODY_BYTES_MAX))[0] == 200
    large = b"x" * (BODY_BYTES_MAX + 1)
    assert (await port.ask("POST", "/-/reload", bearer, body=large))[0] == 413
    assert port.reloads == 1
    for request in (
        ("GET", "/" + "x" * 2 * HEADER_BYTES_MAX),
        ("GET", "/", "X: " + "x" * 2 * HEADER_BYTES_MAX),
        ("GET", "/", *["X: y"] * 2 * HEADERS_MAX),
    ):
        assert (await port.ask(*request))[0] == 400


async def test_who_only_holds_connections_open_keeps_nobody_out(port: Port) -> None:
    held = []
    for _ in range(2 * CONNECTIONS_MAX):
        reader, writer = await port.open()
        writer.write(b"GET / HTTP/1.1\r\nHost: ")
        held.append((reader, writer))
    for path in PATHS:
        assert (await port.ask("GET", path))[0] in {200, 503}
    async with asyncio.timeout(ANSWER_SECONDS_MAX):
        assert await held[0][0].read() == b"", "the oldest was closed"
    for _, writer in held:
        writer.close()


async def test_a_body_without_end_is_not_waited_for(port: Port) -> None:
    head = b"POST /-/reload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    told = await port.say(head + b"1\r\nx\r\n")
    assert b" 401 " in told


INPUTS = 200
GOOD = f"POST /-/reload HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
SCRAPS = (
    *(b"\r\n", b"\n", b"\0", b" ", b":", b"\xff", b"\r\n ", b"chunked", b"0\r\n\r\n", b"%00"),
    *(b"Content-Length: -1\r\n", b"Content-Length: 9\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"Expect: 100-continue\r\n", b"Upgrade: h2c\r\nConnection: Upgrade\r\n", b"HTTP/0.9"),
    *(b"Content-Encoding: gzip\r\n", b"GET / HTTP/1.1\r\n\r\n", b"Range: bytes=0-\r\n"),
)


async def test_no_bytes_make_it_fail_and_none_reload_without_the_whole_token(
    port: Port, capsys: pytest.CaptureFixture[str]
) -> None:
    answered = 0
    for number in range(INPUTS):
        chance = Random(number)
        data = GOOD.replace(TOKEN.encode(), TOKEN[:-1].encode())
        for _ in range(chance.choice((1, 2, 5))):
            at = chance.choice((chance.randrange(len(data) + 1), data.find(b"\r\n") + 2))
            data = data[:at] + chance.choice(SCRAPS) + data[at + chance.choice((0, 0, 1, 9)) :]
        told = await port.say(data, patient=False)
        answered += told.startswith(b"HTTP/1.")
        assert b" 500 " not in told, data
    assert answered > INPUTS / 2
    assert port.reloads == 0
    assert (await port.ask("GET", "/-/healthy"))[0] == 200
    assert capsys.readouterr() == ("", "")
