"""The command line: data on standard output, everything else on standard error.

Exit codes are part of the interface and listed in `comeback --help`.
"""

from __future__ import annotations

import sys
import traceback

import click

from worker import __version__
from worker.cli.check import check
from worker.cli.explain import explain
from worker.cli.health import health
from worker.cli.run import run
from worker.cli.state import state
from worker.errors import ComebackError, UsageError

HELP = """Brings quiet users back: push, then e-mail, then SMS, until they return.

\b
  comeback check rules/            are the rules right?
  comeback run                     read the stream, send, until SIGTERM
  comeback explain USER            what happened to a user, what comes next, and why
  comeback state                   counts, positions, uncertain sends, dead letters

\b
Settings are environment variables; `comeback run --help` lists them.
Exit codes: 0 all right, 1 problems found, 2 wrong usage, 70 a bug in comeback,
75 try again later (state in use), 78 somebody has to change the configuration.
"""


@click.group(help=HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(version)s")
def commands() -> None:
    """The group all commands hang on."""


@commands.command()
def version() -> None:
    """Print the version."""
    click.echo(__version__)


for command in (run, check, explain, state, health):
    commands.add_command(command)


def main() -> None:
    """Entry point of `comeback`: runs a command and turns its errors into messages and codes."""
    try:
        commands(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(UsageError.exit_code)
    except ComebackError as error:
        click.echo(f"comeback: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)
    except Exception:  # noqa: BLE001 - the last resort; what is foreseen is a ComebackError
        traceback.print_exc()
        click.echo("comeback: this is a bug; please report the lines above", err=True)
        sys.exit(ComebackError.exit_code)
