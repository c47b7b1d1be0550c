"""`handfast dlt`: the dead letters of all programs together. What is done about them is in `letter_acts` and
`letter_purge`."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.api import Api, Json
from cli.commands import letter_acts, letter_purge
from cli.console import Console
from cli.export import export
from cli.letters import Letter, error_of, find, one
from cli.options import AsJson, PortOffset, load_settings
from cli.outcome import NothingMatched, OutOfReach
from cli.selection import Selection, instant, selecting
from shared.settings import PORTS

dead_letters = typer.Typer(
    help="Find dead letters, replay, park, edit and purge them, and read who did.", no_args_is_help=True
)

NoRedact = Annotated[
    bool, typer.Option("--no-redact", help="Show secrets too; otherwise what looks like one is ***.")
]


@dead_letters.command("list")
@selecting
def list_letters(selection: Selection, as_json: AsJson = False, port_offset: PortOffset = None) -> None:
    """List dead letters."""
    with Api(load_settings(port_offset)) as api:
        found = find(api, selection)
    console = Console()
    if as_json:
        console.json({"items": [letter.as_json() for letter in found.letters]})
    else:
        columns = ("letter", "state", "topic", "kept by", "key", "attempts", "replays", "error")
        console.table(columns, [_row(letter) for letter in found.letters])
    found.insist()
    if not found.letters and selection:
        raise NothingMatched("no dead letter matches")


@dead_letters.command("groups")
@selecting
def list_groups(selection: Selection, as_json: AsJson = False, port_offset: PortOffset = None) -> None:
    """Count dead letters that failed alike: with the same exception, from the same place."""
    parts: dict[str, list[Json]] = {}
    away: list[OutOfReach] = []
    with Api(load_settings(port_offset)) as api:
        for program in selection.programs:
            try:
                for part in api.items(program, "/dead-letters/groups", selection.query()):
                    parts.setdefault(part["group"], []).append(part)
            except OutOfReach as failure:
                away.append(failure)
    groups = sorted(map(_together, parts.values()), key=lambda group: (-group["count"], group["group"]))
    console = Console()
    if as_json:
        console.json({"items": groups})
    else:
        columns = ("group", "count", "exception", "place", "topics", "states", "first seen", "last seen")
        console.table(columns, [_group_row(group) for group in groups])
    if away:
        raise OutOfReach("\n".join(map(str, away)))
    if not groups and selection:
        raise NothingMatched("no dead letter matches")


@dead_letters.command()
def show(
    letter_id: Annotated[str, typer.Argument(help="The letter's id.")],
    no_redact: NoRedact = False,
    as_json: AsJson = False,
    port_offset: PortOffset = None,
) -> None:
    """Show one dead letter with all that is known of it."""
    with Api(load_settings(port_offset)) as api:
        letter = one(api, letter_id, redact=not no_redact)
    console = Console()
    if as_json:
        console.json(letter.as_json())
        return
    long = {name: value for name, value in letter.view.items() if isinstance(value, str) and "\n" in value}
    console.pairs([("program", letter.program), *_flat(letter.view, without=long)])
    for name, value in long.items():
        console.line(f"{name}:")
        for line in value.splitlines():
            console.line(f"  {line}")


@dead_letters.command("history")
def read_history(
    letter_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="A letter; otherwise the whole ledger.")
    ] = None,
    act: Annotated[
        str | None, typer.Option(help="Only acts of this kind: replay, park, release, edit or purge.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Only acts since then: ISO 8601, or 2h for two hours ago.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Only acts before then.")] = None,
    as_json: AsJson = False,
    port_offset: PortOffset = None,
) -> None:
    """Read the ledger: who did what to dead letters, when and why."""
    query = {"act": act, "since": instant("--since", since), "until": instant("--until", until)}
    with Api(load_settings(port_offset)) as api:
        lines, away = _ledger(api, letter_id, query)
    console = Console()
    if as_json:
        console.json({"items": lines})
    else:
        columns = ("at", "act", "letter", "kept by", "who", "why", "details")
        console.table(columns, [_act_row(line) for line in lines])
    if away:
        raise OutOfReach("\n".join(map(str, away)))
    if not lines and (letter_id or act or since or until):
        raise NothingMatched("the ledger has nothing of that")


@dead_letters.command("export")
@selecting
def export_letters(
    selection: Selection,
    output: Annotated[
        Path | None, typer.Option(help="The file to write; standard output otherwise.", show_default=False)
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an export into --output was cut short.")
    ] = False,
    no_redact: NoRedact = False,
    port_offset: PortOffset = None,
) -> None:
    """Write dead letters as JSON lines in ASCII; keys and values that are no text are base64."""
    console = Console()
    with Api(load_settings(port_offset)) as api:
        count = export(api, selection, output, resume=resume, redact=not no_redact)
    console.note(f"{count} letters written")
    if count == 0 and selection and not resume:
        raise NothingMatched("no dead letter matches")


dead_letters.command("replay")(letter_acts.replay_letters)
dead_letters.command("park")(letter_acts.park_letters)
dead_letters.command("release")(letter_acts.release_letters)
dead_letters.command("edit")(letter_acts.edit_letter)
dead_letters.command("purge")(letter_purge.purge_letters)


def _ledger(api: Api, letter_id: str | None, query: Json) -> tuple[list[Json], list[OutOfReach]]:
    """Return the lines of all programs in the order of their instants, and what could not be asked."""
    lines: list[Json] = []
    away: list[OutOfReach] = []
    for program in PORTS:
        try:
            found = list(api.items(program, "/dead-letters/history", {**query, "letterId": letter_id}))
        except OutOfReach as failure:
            away.append(failure)
        else:
            lines += [{"program": program, **line} for line in found]
    return sorted(lines, key=lambda line: (line["at"], line["actId"])), away


def _together(parts: list[Json]) -> Json:
    """Put together what several programs say of one group."""
    topics: Counter[str] = Counter()
    states: Counter[str] = Counter()
    for part in parts:
        topics.update(part["topics"])
        states.update(part["states"])
    return {
        **parts[0],
        "count": sum(part["count"] for part in parts),
        "topics": dict(topics),
        "states": dict(states),
        "firstSeen": min(part["firstSeen"] for part in parts),
        "lastSeen": max(part["lastSeen"] for part in parts),
    }


def _group_row(group: Json) -> tuple[Any, ...]:
    def counted(counts: Json) -> str:
        return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))

    return (
        group["group"],
        group["count"],
        group["exception"],
        group["place"],
        counted(group["topics"]),
        counted(group["states"]),
        group["firstSeen"],
        group["lastSeen"],
    )


def _act_row(line: Json) -> tuple[Any, ...]:
    details = ", ".join(f"{name} {value}" for name, value in (line.get("details") or {}).items())
    return (
        line["at"],
        line["act"],
        line["letterId"],
        line["program"],
        line["who"],
        line.get("why"),
        details,
    )


def _row(letter: Letter) -> tuple[Any, ...]:
    view = letter.view
    return (
        letter.id,
        letter.state,
        letter.topic,
        letter.program,
        view.get("key"),
        view.get("attempts"),
        view.get("replays"),
        error_of(view),
    )


def _flat(view: Any, without: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Return a view's members as pairs, those of members written as `outer.inner`."""
    pairs: list[tuple[str, Any]] = []
    for name, value in view.items():
        if name in without and not prefix:
            continue
        if isinstance(value, dict):
            pairs += _flat(value, without, f"{prefix}{name}.")
        elif isinstance(value, list):
            pairs += [(f"{prefix}{name}", _short(one)) for one in value]
        elif value is not None:
            pairs.append((f"{prefix}{name}", value))
    return pairs


def _short(member: Any) -> str:
    """Return a member of a list in a line: a header as `name: value`, anything else as what it holds."""
    if not isinstance(member, dict):
        return str(member)
    if "name" in member and "value" in member:
        return f"{member['name']}: {member['value']}"
    return ", ".join(f"{name} {value}" for name, value in member.items() if value is not None)
