"""Dead letters as JSON lines: written while they are read, so that any number of them needs little memory.

Programs come one after another, each one's letters in the order in which they were written. So the last whole
line of a file that was cut short says where to go on.
"""

import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Final

from cli.api import Api, Json
from cli.letters import Letter, stream
from cli.outcome import CommandError, Usage
from cli.selection import Selection

BLOCK: Final = 64 * 1024


def export(api: Api, selection: Selection, output: Path | None, *, resume: bool, redact: bool) -> int:
    """Write the selected letters to a file (standard output where there is none); return how many.

    resume: go on in a file that was cut short. Raises Usage where that isn't what it is, or where there is a
    file already that nobody said to go on with.
    """
    if resume and output is None:
        raise Usage("--resume goes on in a file: say which by --output")
    selection.query()
    count = 0
    with _opened(output, resume) as (file, last):
        for letter in _letters(api, selection, last, redact):
            file.write(json.dumps(letter.as_json()) + "\n")
            count += 1
        file.flush()
    return count


def _letters(api: Api, selection: Selection, last: Json | None, redact: bool) -> Iterator[Letter]:
    """Go through the letters of all programs, those after the last that was written."""
    programs = selection.programs
    if last is None:
        for program in programs:
            yield from stream(api, program, selection, redact=redact)
        return
    if last["program"] not in programs:
        raise Usage(f"the file's last letter is of {last['program']}, which is not among those selected")
    # What was written at the same instant comes again, in the same order: by its id.
    since = replace(selection, since=last["createdAt"])
    for letter in stream(api, last["program"], since, redact=redact):
        if (letter.view["createdAt"], letter.id) > (last["createdAt"], last["letterId"]):
            yield letter
    for program in programs[programs.index(last["program"]) + 1 :]:
        yield from stream(api, program, selection, redact=redact)


@contextlib.contextmanager
def _opened(output: Path | None, resume: bool) -> Iterator[tuple[IO[str], Json | None]]:
    """Open what is to be written; give it with the last letter that it holds whole."""
    if output is None:
        yield sys.stdout, None
        return
    last = None
    try:
        if resume and output.exists():
            last = _cut_to_whole_lines(output)
        with output.open("a" if resume else "x", encoding="ascii") as file:
            yield file, last
    except FileExistsError as error:
        raise Usage(f"{output} is there already: --resume goes on in it, or name another file") from error
    except OSError as error:
        raise CommandError(f"{output} can't be written: {error.strerror}") from error


def _cut_to_whole_lines(path: Path) -> Json | None:
    """Take a line that was cut short off a file's end; return what its last whole line holds, if any."""
    with path.open("r+b") as file:
        end = _after_last_break(file, file.seek(0, 2))
        file.truncate(end)
        if end == 0:
            return None
        file.seek(_after_last_break(file, end - 1))
        line = file.read()
    try:
        letter = json.loads(line)
        return {name: letter[name] for name in ("program", "letterId", "createdAt")}
    except (ValueError, KeyError, TypeError) as error:
        raise Usage(f"{path} holds no letters: --resume goes on where an export was cut short") from error


def _after_last_break(file: IO[bytes], end: int) -> int:
    """Return where, before `end`, the last line break ends; 0 where there is none."""
    while end > 0:
        start = max(0, end - BLOCK)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
