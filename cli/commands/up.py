"""`handfast up` as the command line declares it."""

import asyncio
from typing import Annotated

import typer

from cli.options import DataDir, PortOffset, load_settings
from cli.outcome import Usage
from cli.printable import printable
from cli.up import run_up
from shared.settings import MOST_INSTANCES

Ephemeral = Annotated[
    bool, typer.Option(help="Use a temporary data directory, and remove it at the end.", show_default=False)
]

Instances = Annotated[
    int,
    typer.Option(
        help="Run so many of each service, behind one port each; they need a PostgreSQL to share "
        "(HANDFAST_DATABASE_URL).",
        min=1,
        max=MOST_INSTANCES,
    ),
]


def up(
    data_dir: DataDir = None,
    port_offset: PortOffset = None,
    ephemeral: Ephemeral = False,
    instances: Instances = 1,
) -> None:
    """Start the four services and the embedded broker; print `ready` once all are; Ctrl-C stops them."""
    if ephemeral and data_dir is not None:
        raise Usage("--ephemeral brings its own data directory: leave out --data-dir")
    settings = load_settings(port_offset, data_dir)
    if ephemeral and settings.outbox == "cdc":
        raise Usage("nobody captures schemas of a moment: leave out --ephemeral, or HANDFAST_OUTBOX=cdc")
    asyncio.run(run_up(settings, ephemeral=ephemeral, announce=Announcer().say, instances_of_each=instances))


class Announcer:
    """Prints each line at once, for as long as somebody reads them."""

    def __init__(self) -> None:
        self._heard = True

    def say(self, line: str) -> None:
        if not self._heard:
            return
        try:
            print(printable(line), flush=True)
        except OSError:
            # Whoever started `up` stopped listening, which is no reason to stop the stack.
            self._heard = False
