"""Options that many commands share, and the settings that they lead to."""

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from cli.outcome import Usage
from shared.settings import Settings

PortOffset = Annotated[
    int | None,
    typer.Option(help="Number added to every port (HANDFAST_PORT_OFFSET).", show_default=False, min=0),
]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Directory of databases and logs (HANDFAST_DATA_DIR).", show_default=False),
]
Limit = Annotated[int, typer.Option(min=1, help="List at most so many.")]
Wait = Annotated[
    int | None,
    typer.Option(min=0, max=30, metavar="SECONDS", help="Wait for the final state.", show_default=False),
]
Why = Annotated[str | None, typer.Option(help="The reason, for the record.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON, for another program to read.")]


def load_settings(port_offset: int | None = None, data_dir: Path | None = None) -> Settings:
    """Return the settings as the services find them, with what the command line says on top.

    Raises Usage, naming the setting, where one has no valid value.
    """
    said: dict[str, Any] = {"port_offset": port_offset, "data_dir": data_dir}
    try:
        return Settings(**{name: value for name, value in said.items() if value is not None})
    except ValidationError as error:
        # What concerns several settings belongs to none of them, and names them itself.
        wrong = "; ".join(
            ": ".join([*(f"HANDFAST_{'_'.join(map(str, e['loc'])).upper()}" for _ in e["loc"][:1]), e["msg"]])
            for e in error.errors()
        )
        raise Usage(f"settings that can't be used: {wrong}") from error


def reasoned(why: str | None) -> dict[str, Any]:
    """Return the part of a request's body that says why."""
    return {} if why is None else {"reason": why}


def levels(text: str, option: str = "--in-flight") -> list[int]:
    """Return the numbers of an option like `--in-flight 1,32,128`; raise Usage where there are none."""
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1 or len(set(found)) != len(found):
        raise Usage(f"{option} {text!r}: write different numbers with commas between them, like 1,32,128")
    return found
