"""The `handfast` command: every subcommand is declared in a module of its own and put together here.

Only the module of the command that is asked for is imported: with all of them, `handfast up` would begin its
work a third of a second later.
"""

import sys
from collections.abc import Sequence
from importlib import import_module

import typer

from cli.outcome import CommandError, Exit
from cli.printable import printable

COMMANDS = {
    "up": "cli.commands.up:up",
    "restart": "cli.commands.restart:restart",
    "demo": "cli.commands.demo:demo",
    "orders": "cli.commands.orders:orders",
    "drops": "cli.commands.drops:drops",
    "tx": "cli.commands.transactions:transactions",
    "dlt": "cli.commands.dead_letters:dead_letters",
    "audit": "cli.commands.audit:audit",
    "db": "cli.commands.database:database",
    "reconcile": "cli.commands.reconcile:reconcile",
    "bench": "cli.commands.bench:bench",
    "sim": "cli.commands.sim:sim",
    "conformance": "cli.commands.conformance:conformance",
}
"""Where each command is: a function, or a group of commands."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and end the process with its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _app(given[0] if given else "")(args=given)
    except CommandError as error:
        print(f"handfast: {printable(str(error))}", file=sys.stderr)
        sys.exit(error.code)
    except KeyboardInterrupt:
        sys.exit(Exit.FAILED)


def _app(wanted: str) -> typer.Typer:
    """Return the application: with one command where that is one of ours, otherwise with all."""
    app = typer.Typer(
        name="handfast",
        help="A coordinator for distributed transactions in the Try-Confirm/Cancel pattern.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    # With a callback, Typer takes a name for a command even where there is only one.
    app.callback()(_nothing)
    for name in [wanted] if wanted in COMMANDS else COMMANDS:
        module, _, member = COMMANDS[name].partition(":")
        command = getattr(import_module(module), member)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return app


def _nothing() -> None:
    """A coordinator for distributed transactions in the Try-Confirm/Cancel pattern."""


if __name__ == "__main__":
    main()
