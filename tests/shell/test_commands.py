"""The command line: what it says of itself, and what it says to a slip."""

from __future__ import annotations

import http.server
import json
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.store.world import World, open_store, phone
from worker import __version__
from worker.cli import commands
from worker.errors import ProblemsFound, UsageError


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(commands, arguments, env=environment)


def test_the_version_is_an_option_and_a_command() -> None:
    assert run("--version").output == run("version").output == f"{__version__}\n"


def test_settings_are_listed_with_their_defaults_as_they_are_written() -> None:
    told = run("run", "--help").output
    defaults = dict(re.findall(r"(COMEBACK_\w+) \[(.+)\]", told))
    assert defaults["COMEBACK_POLL_INTERVAL"] == "1s"
    assert defaults["COMEBACK_MAX_STALENESS"] == "5m"
    assert defaults["COMEBACK_DRAIN_TIMEOUT"] == "25s"
    assert defaults["COMEBACK_STANDBY"] == "true"
    assert "milliseconds" not in told


@pytest.mark.parametrize("count", ["-3", "1001", "some"])
def test_a_number_of_dead_letters_that_cannot_be_shown_is_wrong_usage(count: str) -> None:
    result = run("state", "--dead-letters", count)
    assert result.exit_code == 2
    assert "--dead-letters" in result.output


def test_a_rule_file_in_the_place_of_its_folder_is_told_the_command_to_give(
    tmp_path: Path,
) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text("apiVersion: v1\n")
    result = run("check", str(file))
    assert isinstance(result.exception, UsageError)
    told = f"{file} is a file; name its folder: comeback check {tmp_path}/"
    assert str(result.exception) == told


RULES = """\
apiVersion: v1
rules:
  - rule: first
    match: ['plan="a"']
    inactive_for: 7d
    stages: [{name: s, channel: sms, message: {body: "Hi {{Attributes.nick}}"}}]
"""
MEETING = RULES + RULES[RULES.index("  - rule") :].replace("first", "second")


def checked(folder: Path, text: str, *options: str) -> Result:
    (folder / "shop.yaml").write_text(text)
    return run("check", str(folder), *options)


def test_check_tells_the_ladders_of_a_sound_folder(tmp_path: Path) -> None:
    result = checked(tmp_path, RULES, "--strict")
    assert result.exit_code == 0
    first, last = result.output.splitlines()
    assert first == f"{tmp_path}/shop.yaml:3: first (shadow): s"
    assert last.startswith("ok: 1 rule, revision ")


def test_check_prints_warnings_and_fails_on_them_only_when_told_to(tmp_path: Path) -> None:
    result = checked(tmp_path, MEETING)
    assert result.exit_code == 0
    assert result.output.startswith(f'{tmp_path}/shop.yaml:7:5: warning: rule "second" and rule')
    assert "ok: 2 rules, 1 warning, revision " in result.output
    result = checked(tmp_path, MEETING, "--strict")
    assert isinstance(result.exception, ProblemsFound)
    assert str(result.exception) == f"1 warning in {tmp_path}, with --strict"


def test_check_fails_on_problems_and_counts_them(tmp_path: Path) -> None:
    result = checked(tmp_path, RULES.replace("7d", "7"))
    assert isinstance(result.exception, ProblemsFound)
    assert str(result.exception) == f"1 problem in {tmp_path}"
    assert result.output.startswith(f"{tmp_path}/shop.yaml:5:19: inactive_for: ")


def test_check_speaks_to_machines(tmp_path: Path) -> None:
    told = json.loads(checked(tmp_path, MEETING, "--json").output)
    assert told["ok"] is True
    assert [rule["rule"] for rule in told["rules"]] == ["first", "second"]
    assert told["rules"][0]["stages"] == [{"stage": "s", "channel": "sms", "after_ms": 0}]
    (warning,) = told["warnings"]
    assert (warning["line"], warning["column"]) == (7, 5)
    told = json.loads(checked(tmp_path, RULES.replace("7d", "7"), "--json").output)
    assert (told["ok"], told["revision"], told["rules"]) == (False, None, [])
    assert [(p["line"], p["column"]) for p in told["problems"]] == [(5, 19)]


async def test_check_asks_the_state_for_names_that_nobody_has(tmp_path: Path) -> None:
    state = tmp_path / "comeback.db"
    store = await open_store(state)
    world = await World(store).begin()
    ann = phone("ann")
    attributes = {"plan": ("a",)}, {"nick_name": ("Ann",)}
    await world.tell(replace(ann, user_attributes=attributes[0], attributes=attributes[1]))
    await store.close()
    rules = tmp_path / "rules"
    rules.mkdir()
    for result in (
        checked(rules, RULES, "--state", str(state)),
        run("check", str(rules), "--with-state", COMEBACK_STATE=str(state)),
    ):
        assert result.exit_code == 0, result.output
        (warning,) = [line for line in result.output.splitlines() if "warning:" in line]
        assert 'no user has {{Attributes.nick}}; did you mean "nick_name"?' in warning
        assert "Ann" not in result.output
    assert "warning" not in checked(rules, RULES).output


def test_schema_prints_what_is_committed() -> None:
    rules = Path(__file__).parents[2] / "rules"
    assert run("schema").output == (rules / "schema.json").read_text()
    template = run("schema", "--kind", "template").output
    assert template == (rules / "templates" / "schema.json").read_text()
    assert run("schema", "--kind", "song").exit_code == 2


# --- health -----------------------------------------------------------------------------------


class _SomebodyElse(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(404)
        self.end_headers()
        self.wfile.write(b"<html>\n" + b"a page of another program\n" * 100)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def another_server() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), _SomebodyElse) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_health_repeats_only_the_first_line_of_what_answers(another_server: str) -> None:
    result = run("health", COMEBACK_HTTP=another_server)
    assert isinstance(result.exception, ProblemsFound)
    assert str(result.exception) == f"{another_server} answers 404: <html>"


def test_health_says_so_when_what_listens_speaks_no_http() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1_024)
                connection.sendall(b"220 mail.example ESMTP\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        result = run("health", COMEBACK_HTTP=address)
        thread.join()
    assert isinstance(result.exception, ProblemsFound)
    assert f"what answers at {address} is no HTTP server" in str(result.exception)
