"""The command line: what it says of itself, and what it says to a slip."""

from __future__ import annotations

import http.server
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

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
