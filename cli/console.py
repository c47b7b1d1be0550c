"""What a command says: tables on a terminal, plain lines otherwise, JSON where asked; progress on stderr."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, Protocol

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from cli.printable import printable


class Advance(Protocol):
    def __call__(self, count: int = 1) -> None: ...


class Console:
    """Where a command's words go. out and err: text streams, the process's own unless told otherwise."""

    def __init__(self, out: IO[str] | None = None, err: IO[str] | None = None) -> None:
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._rich = RichConsole(file=self._out, highlight=False)
        self.interactive = self._out.isatty()

    def line(self, text: str = "", style: str | None = None) -> None:
        """Say one thing."""
        if self.interactive:
            self._rich.print(Text(printable(text), style=style or ""), soft_wrap=True)
        else:
            print(printable(text), file=self._out, flush=True)

    def note(self, text: str) -> None:
        """Say something that isn't part of the result."""
        print(printable(text), file=self._err, flush=True)

    def json(self, value: Any) -> None:
        """Write a value as JSON, ready for another program."""
        text = json.dumps(value, indent=2, ensure_ascii=False)
        # What JSON leaves as it is, a terminal may still obey.
        print("".join(map(_harmless, text)), file=self._out, flush=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, heading: bool = False) -> None:
        """Write a table; where nobody watches, a line for each row, its fields separated by tabs.

        heading: whether the columns' names go before plain lines too.
        """
        if not self.interactive:
            for row in [columns, *rows] if heading else rows:
                self.line("\t".join(_cell(value) for value in row))
            return
        table = Table(*columns)
        for row in rows:
            table.add_row(*(Text(_cell(value)) for value in row))
        self._rich.print(table)

    def pairs(self, pairs: Sequence[tuple[str, Any]]) -> None:
        """Write what is known of one thing, a line for each name and value."""
        width = max((len(name) for name, _ in pairs), default=0)
        for name, value in pairs:
            self.line(f"{name:<{width}}  {_cell(value)}")

    @contextmanager
    def progress(self, what: str, total: int | None) -> Iterator[Advance]:
        """Show how far some work is; the function it gives says that one more, or so many more, are done.

        total: None where nobody knows.
        A bar on a terminal, otherwise a line every two seconds; on stderr, so that results stay clean.
        """
        if self._err.isatty():
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            with Progress(*columns, console=RichConsole(file=self._err)) as bar:
                task = bar.add_task(what, total=total)
                yield lambda count=1: bar.advance(task, count)
            return
        yield _Counter(what, total, self.note).advance


class _Counter:
    def __init__(self, what: str, total: int | None, say: Callable[[str], None]) -> None:
        self._what, self._total, self._say = what, total, say
        self._done = 0
        self._last = time.monotonic()

    def advance(self, count: int = 1) -> None:
        self._done += count
        now = time.monotonic()
        if now - self._last >= 2.0 or (self._done == self._total and self._done > 1):
            self._last = now
            self._say(f"{self._what}: {self._done}" + (f" of {self._total}" if self._total else ""))


def _harmless(character: str) -> str:
    return character if character.isprintable() or character == "\n" else json.dumps(character)[1:-1]


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return printable(text).replace("\n", " ").replace("\t", " ")
