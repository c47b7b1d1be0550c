"""What is done about dead letters: replay, park, release, edit. The ledger learns who and why."""

import base64
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

from cli.api import Api, Json
from cli.console import Console
from cli.editor import edited
from cli.letters import OPEN, PARKED, REPLAYING, SETTLED, Found, Letter, asked, find, one, path, to_replay
from cli.options import AsJson, PortOffset, Why, load_settings
from cli.outcome import CommandError, NothingMatched, Usage
from cli.replays import AT_ONCE, DONE, Fate, Manner, Result, replay
from cli.selection import Everything, Selection, Yes, selecting

LetterIds = Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Letters, by their ids.")]


@selecting
def replay_letters(
    selection: Selection,
    letter_ids: LetterIds = None,
    everything: Everything = False,
    yes: Yes = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Replay the oldest so many.")] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.01, help="Replay no more than so many a second.")
    ] = None,
    canary: Annotated[
        int, typer.Option(min=0, help="Replay so many first, and the others only if all of them are applied.")
    ] = 0,
    max_replays: Annotated[
        int | None,
        typer.Option(min=1, help="Park what was replayed so often since its release (HANDFAST_MAX_REPLAYS)."),
    ] = None,
    why: Why = None,
    dry_run: Annotated[bool, typer.Option(help="Say what would be replayed, and replay nothing.")] = False,
    as_json: AsJson = False,
    port_offset: PortOffset = None,
) -> None:
    """Have dead letters published again, and wait to hear what becomes of them.

    What is settled or cancelled is skipped, and what is parked unless it is named. Interrupted, it is resumed
    by running it again.
    """
    _insist_on_which(letter_ids, selection, everything, yes or dry_run)
    console = Console()
    with Api(load_settings(port_offset)) as api:
        found = _named(api, letter_ids) if letter_ids else to_replay(api, selection)
        letters = found.letters[:limit]
        if not letters:
            found.insist()
            raise NothingMatched("no dead letter to replay")
        if dry_run:
            _say_plan(console, letters, as_json)
            found.insist()
            return
        request = {**asked(why), "parked": bool(letter_ids), "maxReplays": max_replays}
        with console.progress("replaying", len(letters)) as advance:
            results = replay(api, letters, Manner(request, rate=rate, canary=canary), advance)
    _say_results(console, results, as_json)
    found.insist()
    _insist_on_all(results)


@selecting
def park_letters(
    selection: Selection,
    letter_ids: LetterIds = None,
    everything: Everything = False,
    yes: Yes = False,
    why: Why = None,
    as_json: AsJson = False,
    port_offset: PortOffset = None,
) -> None:
    """Set dead letters aside: nothing replays them then but `dlt replay ID`."""
    _insist_on_which(letter_ids, selection, everything, yes)
    with Api(load_settings(port_offset)) as api:
        found = _named(api, letter_ids) if letter_ids else to_replay(api, selection)
        _act_on_all(api, found, "parkings", "parked", why, as_json)


@selecting
def release_letters(
    selection: Selection,
    letter_ids: LetterIds = None,
    everything: Everything = False,
    yes: Yes = False,
    why: Why = None,
    as_json: AsJson = False,
    port_offset: PortOffset = None,
) -> None:
    """Open parked dead letters again; how often they were replayed counts from here."""
    _insist_on_which(letter_ids, selection, everything, yes)
    with Api(load_settings(port_offset)) as api:
        states = () if selection.state else (PARKED,)
        found = _named(api, letter_ids) if letter_ids else find(api, selection, *states)
        _act_on_all(api, found, "releases", "released", why, as_json)


def edit_letter(
    letter_id: Annotated[str, typer.Argument(help="The letter's id.")],
    value: Annotated[
        Path | None,
        typer.Option(help="The file with the new value, - for standard input; otherwise $EDITOR is opened."),
    ] = None,
    why: Why = None,
    as_json: AsJson = False,
    port_offset: PortOffset = None,
) -> None:
    """Replay a dead letter's record with another value, as a new letter; the old one is kept.

    What the record is about can't be changed.
    """
    console = Console()
    with Api(load_settings(port_offset)) as api:
        letter = one(api, letter_id, redact=False)
        content = _by_hand(letter) if value is None else _read(value)
        answer = api.send("POST", letter.program, f"{path(letter_id)}/edits", {**asked(why), **content})
        assert answer.body is not None
        successor_id = answer.body["letterId"]
        console.note(f"letter {successor_id} takes the place of {letter_id}")
        # It was published with the edit: whatever its state is by now, it is only waited for.
        view = {**api.get(letter.program, path(successor_id)), "state": REPLAYING}
        results = replay(api, [Letter(letter.program, view)], Manner(asked(why)), lambda: None)
    _say_results(console, results, as_json)
    _insist_on_all(results)


def _insist_on_which(
    letter_ids: Sequence[str] | None, selection: Selection, everything: bool, sure: bool
) -> None:
    """Raise Usage unless it is clear which letters are meant."""
    if sum((bool(letter_ids), bool(selection), everything)) != 1:
        raise Usage("say which letters: either their ids, or a filter such as --topic T, or --all")
    if everything and not sure:
        raise Usage("--all means every letter of every program: add --yes if that is meant")


def _named(api: Api, letter_ids: Sequence[str]) -> Found:
    return Found([one(api, letter_id) for letter_id in dict.fromkeys(letter_ids)], [])


def _act_on_all(api: Api, found: Found, noun: str, done: str, why: str | None, as_json: bool) -> None:
    """Do one thing about each letter, and say what came of it."""
    if not found.letters:
        found.insist()
        raise NothingMatched("no dead letter matches")
    console = Console()

    def act(letter: Letter) -> str | None:
        """Return what went wrong, None where it was done."""
        try:
            api.send("POST", letter.program, f"{path(letter.id)}/{noun}", asked(why))
        except CommandError as failure:
            return str(failure)
        return None

    failures = []
    with (
        console.progress(done, len(found.letters)) as advance,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        for failure in pool.map(act, found.letters):
            failures.append(failure)
            advance()
    rows = [
        (letter.id, letter.topic, failure or done)
        for letter, failure in zip(found.letters, failures, strict=True)
    ]
    if as_json:
        console.json({"items": [{"letterId": i, "topic": t, "result": what} for i, t, what in rows]})
    else:
        console.table(("letter", "topic", "result"), rows)
    found.insist()
    failed = len(failures) - failures.count(None)
    if failed:
        raise CommandError(f"{failed} of {len(rows)} letters are not {done}")


def _by_hand(letter: Letter) -> Json:
    """Have the value changed in an editor; return the body's part with it."""
    value = letter.view["value"]
    if value is None or "valueEncoding" in letter.view:
        raise Usage("the value is no text that an editor could show: give the new one by --value FILE")
    changed = edited(value, ".json")
    if changed == value:
        raise CommandError("the value is as it was: to send it as it is, use `dlt replay`")
    return {"value": changed}


def _read(file: Path) -> Json:
    """Read the new value from a file or standard input; return the body's part with it."""
    try:
        content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise Usage(f"--value {file}: {error.strerror}") from error
    try:
        return {"value": content.decode("utf-8")}
    except UnicodeDecodeError:
        return {"value": base64.b64encode(content).decode(), "valueEncoding": "base64"}


def _say_plan(console: Console, letters: Sequence[Letter], as_json: bool) -> None:
    plan = {
        OPEN: "would be replayed",
        PARKED: "would be replayed",
        REPLAYING: "would be waited for: on its way already",
        SETTLED: "would be skipped: already settled",
    }
    rows = [
        (letter.id, letter.topic, plan.get(letter.state, "would be skipped: another took its place"))
        for letter in letters
    ]
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


def _insist_on_all(results: Sequence[Result]) -> None:
    failed = sum(result.fate not in DONE for result in results)
    if failed:
        raise CommandError(f"{failed} of {len(results)} letters are not applied")
