"""Old and new programs work side by side during an upgrade: so a migration adds, and takes nothing away."""

import ast
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Final

import pytest

from shared.migrations import COMPONENTS, locations

UNRELEASED: Final = frozenset({"messaging_0002"})
"""They took something away while there was no release yet that could miss it."""
ADDING: Final = frozenset({"create_table", "create_index", "add_column", "f"})

VERSIONS: Final = sorted(
    {
        file
        for location in chain.from_iterable(locations(program) for program in COMPONENTS)
        for file in location.glob("*_[0-9][0-9][0-9][0-9].py")
        if file.stem not in UNRELEASED
    }
)


def operations(source: str) -> Iterator[tuple[str, ast.Call]]:
    """Return every call of a function of Alembic's `op`, by the function's name."""
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "op"
        ):
            yield node.func.attr, node


def contractions(source: str) -> list[str]:
    """Return what in a migration a program of the release before might miss or trip over."""
    found = []
    new = {_text(call, 0) for name, call in operations(source) if name == "create_table"}
    for name, call in operations(source):
        if name not in ADDING:
            found.append(f"op.{name}")
        elif name == "add_column" and not _may_be_left_out(call.args[1]):
            found.append("op.add_column of a column that must be given")
        elif name == "create_index" and _text(call, 1) not in new and any(map(_is_unique, call.keywords)):
            found.append("op.create_index of a unique index")
    return found


def _text(call: ast.Call, argument: int) -> str:
    value = call.args[argument]
    assert isinstance(value, ast.Constant)
    return str(value.value)


def _may_be_left_out(column: ast.expr) -> bool:
    assert isinstance(column, ast.Call)
    given = {keyword.arg: keyword.value for keyword in column.keywords}
    nullable = given.get("nullable")
    empty = nullable is None or (isinstance(nullable, ast.Constant) and nullable.value is True)
    return empty or "server_default" in given


def _is_unique(keyword: ast.keyword) -> bool:
    return keyword.arg == "unique" and isinstance(keyword.value, ast.Constant) and keyword.value.value is True


@pytest.mark.parametrize("file", VERSIONS, ids=lambda file: file.stem)
def test_a_migration_only_adds(file: Path) -> None:
    first = file.stem.endswith("_0001")
    assert first or contractions(file.read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        'op.drop_table("a")',
        'op.drop_column("a", "b")',
        'op.alter_column("a", "b", nullable=False)',
        'op.add_column("a", sa.Column("b", sa.Integer(), nullable=False))',
        'op.create_index("c", "a", ["b"], unique=True)',
        'op.execute("DELETE FROM a")',
    ],
)
def test_what_takes_something_away_is_seen(line: str) -> None:
    assert len(contractions(line)) == 1
