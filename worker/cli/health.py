"""`comeback health`: the container's HEALTHCHECK, without a shell or curl."""

from __future__ import annotations

import http.client
import os

import click

from worker.errors import ProblemsFound
from worker.settings import read_settings

TIMEOUT_SECONDS = 5.0
LINE_BYTES_MAX = 500
"""Of the answer: whoever listens on that port may be somebody else, with a whole page to say."""


@click.command()
@click.option("--ready", is_flag=True, help="Ask whether it is at work, not only alive.")
def health(*, ready: bool) -> None:
    """Ask the worker on this machine whether it is well. Exit 0 or 1.

    The address is COMEBACK_HTTP, as for the worker itself.
    """
    host, _, port = read_settings(os.environ).http.rpartition(":")
    local = "127.0.0.1" if host in ("", "0.0.0.0") else host.strip("[]")  # noqa: S104
    connection = http.client.HTTPConnection(local, int(port), timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/-/ready" if ready else "/-/healthy")
        with connection.getresponse() as answer:
            text = answer.readline(LINE_BYTES_MAX).decode("utf-8", "replace").strip()
    except OSError as error:
        raise ProblemsFound(f"no answer from {local}:{port}: {error}") from error
    except http.client.HTTPException as error:
        told = f"what answers at {local}:{port} is no HTTP server ({type(error).__name__})"
        raise ProblemsFound(f"{told}; is another program listening there?") from error
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise ProblemsFound(f"{local}:{port} answers {answer.status}: {text or answer.reason}")
    click.echo(text)
