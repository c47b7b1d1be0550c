"""What is written for people and what for programs."""

import io

from cli.console import Console


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_table_is_drawn_on_a_terminal_and_plain_lines_otherwise() -> None:
    rows = [("o-1", 5, None), ("o-2", 6, "a\tb\nc")]
    terminal, pipe = Terminal(), io.StringIO()
    Console(out=terminal).table(("order", "amount", "reason"), rows)
    Console(out=pipe).table(("order", "amount", "reason"), rows)
    assert "order" in terminal.getvalue()
    assert "┃" in terminal.getvalue()
    assert pipe.getvalue() == "o-1\t5\t\no-2\t6\ta b c\n"


def test_markup_in_a_value_stays_text() -> None:
    terminal = Terminal()
    Console(out=terminal).table(("order",), [("[red]o-1[/red]",)])
    assert "[red]o-1[/red]" in terminal.getvalue()


def test_progress_is_a_bar_on_a_terminal() -> None:
    out, err = io.StringIO(), Terminal()
    with Console(out=out, err=err).progress("replaying", 2) as advance:
        advance()
        advance()
    assert "2/2" in err.getvalue()
    assert out.getvalue() == ""


def test_progress_is_a_line_otherwise() -> None:
    err = io.StringIO()
    with Console(out=io.StringIO(), err=err).progress("replaying", 2) as advance:
        advance()
        advance()
    assert err.getvalue() == "replaying: 2 of 2\n"
