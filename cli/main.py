"""The `handfast` command: every subcommand is declared in a module of its own and put together here."""

import sys
from collections.abc import Sequence

import typer

from cli.commands.bench import bench
from cli.commands.database import database
from cli.commands.dead_letters import dead_letters
from cli.commands.demo import demo
from cli.commands.orders import orders
from cli.commands.transactions import transactions
from cli.commands.up import up
from cli.outcome import CommandError, Exit

app = typer.Typer(
    name="handfast",
    help="A coordinator for distributed transactions in the Try-Confirm/Cancel pattern.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(up)
app.command()(demo)
app.command()(bench)
app.add_typer(orders, name="orders")
app.add_typer(transactions, name="tx")
app.add_typer(dead_letters, name="dlt")
app.add_typer(database, name="db")


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
