"""The command line: data on standard output, everything else on standard error.

Exit codes are part of the interface and listed in `comeback --help`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from keyword import iskeyword

import click

from worker import __version__
from worker.errors import ComebackError, UsageError, trace_of

HELP = """Brings quiet users back: push, then e-mail, then SMS, until they return.

\b
Begin with these:
  comeback check rules/            are the rules right?
  comeback test rules/             do they do what their tests say?
  comeback run                     read the stream, send, until SIGTERM
  comeback explain USER            what happened to a user, what comes next, and why
  comeback kill                    stop all sending at once

\b
Settings are environment variables; `comeback run --help` lists them.
Exit codes: 0 all right, 1 problems found, 2 wrong usage, 3 the rules differ (plan),
70 a bug in comeback, 75 try again later (state in use), 78 somebody has to change
the configuration.
"""

COMMANDS: Mapping[str, tuple[str, str]] = {
    "run": ("run", "Read the stream, decide, send, until SIGTERM."),
    "check": ("check", "Every mistake of a rules folder, and what looks odd."),
    "test": ("test", "Run the tests beside the rules, with a clock that jumps."),
    "backtest": ("backtest", "What rules would have sent over recorded events."),
    "plan": ("plan", "What an edit would do to the users of the state."),
    "explain": ("explain", "One user: what happened, what comes next, why not."),
    "state": ("state", "Counts, holds, money, positions, uncertain sends."),
    "silence": ("silence", "Hold the stages that matchers fit, until an end."),
    "pause": ("silence", "Hold a rule, a channel, or all."),
    "resume": ("silence", "End a pause, or the kill switch."),
    "kill": ("silence", "Stop all sending at once."),
    "events": ("events", "How real records would be read, field by field."),
    "forget": ("forget", "Erase one person, for good."),
    "backup": ("backup", "Copy the state while the worker runs."),
    "restore": ("restore", "Put a copy in the place of the state."),
    "doctor": ("doctor", "Is everything in place? Settings, state, stream, permissions."),
    "import": ("import_", "Address books of Pinpoint: export files, CSV, JSON, S3."),
    "export": ("export", "The address book as Pinpoint exports it; segments as CSV."),
    "schema": ("schema", "The JSON Schema of rule files."),
    "health": ("health", "Ask the worker on this machine whether it is well."),
}
"""Command to its module here, and what `--help` says of it. Imported when asked for: the health
check of a container runs every few seconds and must not pay for a backtest."""


class _Commands(click.Group):
    """The commands of the table, imported one by one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module = import_module(f"worker.cli.{COMMANDS[cmd_name][0]}")
        command = getattr(module, f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in COMMANDS.items()])


@click.group(cls=_Commands, help=HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(version)s")
def commands() -> None:
    """The group all commands hang on."""


@commands.command()
def version() -> None:
    """Print the version."""
    click.echo(__version__)


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
    except Exception as error:  # noqa: BLE001 - the last resort; the foreseen is a ComebackError
        click.echo(trace_of(error), err=True)
        click.echo("comeback: this is a bug; please report the lines above", err=True)
        sys.exit(ComebackError.exit_code)
