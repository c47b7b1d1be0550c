"""`handfast db`: the databases of the four programs."""

import typer

from cli.console import Console
from cli.options import DataDir, PortOffset, load_settings
from cli.outcome import CommandError
from cli.publication import publish
from shared.errors import HandfastError
from shared.migrations import upgrade as upgrade_schema
from shared.settings import PORTS, database_place

database = typer.Typer(help="The databases' schema.", no_args_is_help=True)


@database.callback()
def _group() -> None:
    # With a callback, Typer keeps `upgrade` a command of its own although it is the only one.
    return


@database.command()
def upgrade(data_dir: DataDir = None, port_offset: PortOffset = None) -> None:
    """Bring all databases to the schema of this release. `handfast up` does it by itself."""
    settings = load_settings(port_offset, data_dir)
    console = Console()
    for program in PORTS:
        place = database_place(settings, program)
        try:
            changed = upgrade_schema(place, program)
        except HandfastError as error:
            raise CommandError(f"{place}: {error.detail}") from error
        console.line(f"{place}: {'upgraded' if changed else 'up to date'}")
    if (publication := publish(settings)) is not None:
        console.line(f"outboxes published as {publication}")
