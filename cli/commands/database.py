"""`handfast db`: the databases of the four programs."""

import typer

from cli.console import Console
from cli.options import DataDir, PortOffset, load_settings
from cli.outcome import CommandError
from shared.errors import HandfastError
from shared.migrations import upgrade as upgrade_schema
from shared.settings import PORTS, database_path

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
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    for program in PORTS:
        path = database_path(settings, program)
        try:
            changed = upgrade_schema(path, program)
        except HandfastError as error:
            raise CommandError(f"{path}: {error.detail}") from error
        console.line(f"{path}: {'upgraded' if changed else 'up to date'}")
