"""Who may call what, in docs/security.md: made from the routes by `make docs`, compared by a test."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from shared.clock import SystemClock
from shared.database.inline import InlineDatabase
from shared.http.asgi_caller import AsgiCaller
from shared.messaging.memory import MemoryBroker
from shared.program import Surroundings
from shared.security.roles import ACT, SCHEME, Role
from tests.issuer import SECRET
from tests.simulation.programs import PROGRAMS

PAGE: Final = Path(__file__).resolve().parents[3] / "docs" / "security.md"
BEGIN: Final = "<!-- The tables are made from the routes by `make docs`. -->\n"
END: Final = "<!-- Here they end. -->\n"

Call = tuple[str, str, frozenset[str], str | None]
"""Method, path, roles (none: everybody), and the act that it is of an operator."""


def render(page: str) -> str:
    """Return the page with its tables as the routes have them."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + tables() + END + after


def tables() -> str:
    """Return a table of what all programs have in common, and one for each."""
    calls = {program: list(_calls(_description(program))) for program in PROGRAMS}
    common = [call for call in calls["coordinator"] if all(call in each for each in calls.values())]
    parts = [_table("Every program", common)]
    for program, own in calls.items():
        title = f"The {program}" if program == "coordinator" else f"The {program} service"
        parts.append(_table(title, [call for call in own if call not in common]))
    return "\n".join(parts)


def _description(program: str) -> Mapping[str, Any]:
    create, settings, _ = PROGRAMS[program]
    surroundings = Surroundings(
        clock=SystemClock(),
        randomness=random.Random(program),
        database=InlineDatabase(),
        broker=MemoryBroker(SystemClock()),
        caller=AsgiCaller({}),
    )
    described: Mapping[str, Any] = create(
        settings(_env_file=None, auth_shared_secret=SECRET), surroundings
    ).openapi()
    return described


def _calls(description: Mapping[str, Any]) -> list[Call]:
    return [
        (method.upper(), path, _roles(operation), operation.get(ACT))
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]


def _roles(operation: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(role for alternative in operation["security"] for role in alternative[SCHEME])


def _table(title: str, calls: list[Call]) -> str:
    head = ["call", *Role, "on record as"]
    lines = [f"**{title}**", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for method, path, roles, act in calls:
        marks = ["●" if role in roles or not roles else "" for role in Role]
        lines.append(f"| `{method} {path}` | {' | '.join(marks)} | {act or ''} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
