"""`handfast dlt`: the dead letters of all programs together."""

import getpass
import os
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from cli.api import Api
from cli.console import Console
from cli.letters import REPLAYING, SETTLED, Fate, Found, Letter, Result, error_of, find, one, replay
from cli.options import AsJson, PortOffset, load_settings
from cli.outcome import CommandError, NothingMatched, Usage

dead_letters = typer.Typer(help="List and show dead letters, and replay them.", no_args_is_help=True)

PATIENCE = 30.0


@dead_letters.command("list")
def list_letters(
    topic: Annotated[str | None, typer.Option(help="Only those of this topic.")] = None,
    state: Annotated[
        str | None, typer.Option(help="Only those in this state: OPEN, REPLAYING or SETTLED.")
    ] = None,
    as_json: AsJson = False,
    port_offset: PortOffset = None,
) -> None:
    """List dead letters."""
    with Api(load_settings(port_offset)) as api:
        found = find(api, topic, state and state.upper())
    console = Console()
    if as_json:
        console.json({"items": [_as_json(letter) for letter in found.letters]})
    else:
        columns = ("letter", "state", "topic", "kept by", "key", "attempts", "replays", "error")
        console.table(columns, [_row(letter) for letter in found.letters])
    found.insist()
    if not found.letters and (topic or state):
        raise NothingMatched("no dead letter matches")


@dead_letters.command()
def show(
    letter_id: Annotated[str, typer.Argument(help="The letter's id.")],
    as_json: AsJson = False,
    port_offset: PortOffset = None,
) -> None:
    """Show one dead letter with all that is known of it."""
    with Api(load_settings(port_offset)) as api:
        letter = one(api, letter_id)
    console = Console()
    if as_json:
        console.json(_as_json(letter))
        return
    long = {name: value for name, value in letter.view.items() if isinstance(value, str) and "\n" in value}
    console.pairs([("program", letter.program), *_flat(letter.view, without=long)])
    for name, value in long.items():
        console.line(f"{name}:")
        for line in value.splitlines():
            console.line(f"  {line}")


@dead_letters.command("replay")
def replay_letters(
    letter_ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID...", help="Letters to replay.")
    ] = None,
    topic: Annotated[str | None, typer.Option(help="All of this topic that are not settled.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that are not settled; needs --yes.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Yes, all of them.")] = False,
    why: Annotated[str | None, typer.Option(help="The reason, for the ledger of replays.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Say what would be replayed, and replay nothing.")] = False,
    as_json: AsJson = False,
    port_offset: PortOffset = None,
) -> None:
    """Have dead letters published again, and wait to hear what becomes of them.

    A letter that is settled is skipped. Interrupted, it is resumed by running it again.
    """
    if sum((bool(letter_ids), topic is not None, everything)) != 1:
        raise Usage("say which letters: either their ids, or --topic T, or --all")
    if everything and not (yes or dry_run):
        raise Usage("--all replays every letter of every program: add --yes if that is meant, or --dry-run")
    console = Console()
    with Api(load_settings(port_offset)) as api:
        found = _chosen(api, letter_ids or [], topic)
        if not found.letters:
            found.insist()
            raise NothingMatched("no dead letter to replay")
        if dry_run:
            _say_plan(console, found.letters, as_json)
            found.insist()
            return
        with console.progress("replaying", len(found.letters)) as advance:
            asked = {"who": _who(), **({} if why is None else {"why": why})}
            results = replay(api, found.letters, asked=asked, patience=PATIENCE, advance=advance)
    _say_results(console, results, as_json)
    failed = sum(result.fate not in (Fate.APPLIED, Fate.SKIPPED) for result in results)
    found.insist()
    if failed:
        raise CommandError(f"{failed} of {len(results)} letters are not applied")


def _who() -> str:
    """Return who is at the terminal: the login name, or the user's number where that has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _chosen(api: Api, letter_ids: Sequence[str], topic: str | None) -> Found:
    if letter_ids:
        return Found([one(api, letter_id) for letter_id in dict.fromkeys(letter_ids)], [])
    found = find(api, topic)
    return Found([letter for letter in found.letters if letter.state != SETTLED], found.away)


def _say_plan(console: Console, letters: Sequence[Letter], as_json: bool) -> None:
    plan = {
        SETTLED: "would be skipped: already settled",
        REPLAYING: "would be waited for: on its way already",
    }
    rows = [(letter.id, letter.topic, plan.get(letter.state, "would be replayed")) for letter in letters]
    if as_json:
        console.json({"items": [{"letterId": i, "topic": t, "plan": what} for i, t, what in rows]})
    else:
        console.table(("letter", "topic", "plan"), rows)


def _say_results(console: Console, results: Sequence[Result], as_json: bool) -> None:
    counts = Counter(result.fate for result in results)
    if as_json:
        items = [
            {"letterId": r.letter.id, "topic": r.letter.topic, "result": r.fate.value, "detail": r.detail}
            for r in results
        ]
        console.json({"items": items, "counts": {fate.name.lower(): counts[fate] for fate in Fate}})
        return
    for result in results:
        detail = f": {result.detail}" if result.detail else ""
        console.line(f"{result.letter.id}  {result.letter.topic}  {result.fate.value}{detail}")
    console.line(", ".join(f"{count} {fate.value}" for fate, count in counts.items()))


def _as_json(letter: Letter) -> dict[str, Any]:
    return {"program": letter.program, **letter.view}


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
