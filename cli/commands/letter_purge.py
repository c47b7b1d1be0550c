"""`handfast dlt purge`: dead letters that nobody needs any more are deleted, a page at a time."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Final

import typer

from cli.api import Api, Json
from cli.console import Console
from cli.letters import asked
from cli.options import AsJson, PortOffset, Why, load_settings
from cli.outcome import CommandError, NothingMatched, OutOfReach, Usage
from cli.selection import Everything, Selection, Yes, seconds, selecting

PAGE: Final = 200
_KEPT: Final = {
    "open": "it is open: replay or park it, or add --force",
    "replaying": "it is on its way",
    "decided": "what it confirms is decided and not yet applied: replay it",
    "undecided": "nothing is decided yet about what it confirms",
    "unknown": "nobody can tell what hangs on it: add --force if you can",
    "unreachable": "the coordinator, which could tell what hangs on it, can't be reached",
    "changed": "something happened to it meanwhile",
}
_NEEDED: Final = frozenset({"decided", "undecided", "unknown", "unreachable"})
"""The reasons for which a letter that was to go may still be needed."""


@selecting
def purge_letters(
    selection: Selection,
    everything: Everything = False,
    yes: Yes = False,
    older_than: Annotated[
        str | None, typer.Option(help="Only those to which nothing has happened for so long: 12h, 30d.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Open letters too.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Say what would be deleted, and delete nothing.")] = False,
    why: Why = None,
    as_json: AsJson = False,
    port_offset: PortOffset = None,
) -> None:
    """Delete dead letters that nobody needs: settled and edited ones, and parked ones on which nothing hangs.

    A Confirm that is decided and not yet applied is never deleted. The ledger keeps what was.
    """
    if not (selection or older_than or everything):
        raise Usage("say which letters: by a filter, by --older-than, or --all")
    if not (yes or dry_run):
        raise Usage("a purge deletes letters: add --yes if that is meant, or --dry-run")
    body = {
        **asked(why),
        **selection.query(),
        "olderThanSeconds": 0 if older_than is None else seconds("--older-than", older_than),
        "force": force,
        "dryRun": dry_run,
        "limit": PAGE,
    }
    purged: list[Json] = []
    kept: list[Json] = []
    away: list[OutOfReach] = []
    console = Console()
    with Api(load_settings(port_offset)) as api, console.progress("purging", None) as advance:
        for program in selection.programs:
            try:
                for page in _pages(api, program, body):
                    purged += [{"letterId": gone, "program": program} for gone in page["purged"]]
                    kept += [{**letter, "program": program} for letter in page["kept"]]
                    advance(len(page["purged"]) + len(page["kept"]))
            except OutOfReach as failure:
                away.append(failure)
    _say(console, purged, kept, dry_run, as_json)
    if away:
        raise OutOfReach("\n".join(map(str, away)))
    if not purged and not kept:
        raise NothingMatched("no dead letter matches")
    needed = sum(letter["reason"] in _NEEDED for letter in kept)
    if needed:
        raise CommandError(f"{needed} letters were not deleted because they may still be needed: see above")


def _pages(api: Api, program: str, body: Json) -> Iterator[Json]:
    """Purge page after page; give what came of each."""
    cursor: str | None = None
    while True:
        page = api.send("POST", program, "/dead-letters/purges", {**body, "cursor": cursor}).body
        assert page is not None
        yield page
        cursor = page["nextCursor"]
        if cursor is None:
            return


def _say(
    console: Console, purged: Sequence[Json], kept: Sequence[Json], dry_run: bool, as_json: bool
) -> None:
    gone = "would be deleted" if dry_run else "deleted"
    if as_json:
        console.json({"purged": purged, "kept": kept, "dryRun": dry_run})
        return
    rows = [(one["letterId"], one["program"], gone) for one in purged]
    rows += [(one["letterId"], one["program"], f"kept: {_KEPT[one['reason']]}") for one in kept]
    console.table(("letter", "kept by", "result"), rows)
    console.line(f"{len(purged)} {gone}, {len(kept)} kept")
