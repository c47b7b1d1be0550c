"""The `handfast` command: every subcommand is declared in a module of its own and put together here."""

import sys
from collections.abc import Sequence

import typer

from cli.outcome import CommandError, Exit
from cli.commands.up import up

app = typer.Typer(
    name="handfast",
    help="A coordinator for distributed transactions in the Try-Confirm/Cancel pattern.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(up)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and end the process with its exit code."""
    try:
        app(args=arguments)
    except CommandError as error:
        print(f"handfast: {error}", file=sys.stderr)
        sys.exit(error.code)
    except KeyboardInterrupt:
        sys.exit(Exit.FAILED)


if __name__ == "__main__":
    main()
