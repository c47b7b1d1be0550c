"""Counters against the rows that they stand for, in one statement: each source says what it counts of which
subject, and the database adds up and tells where the sums don't agree. So no row is kept in the program's
memory, and one snapshot is enough."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    cast,
    false,
    func,
    literal,
    or_,
    select,
    union_all,
)

Amounts = Mapping[str, ColumnElement[int]]


class Sums:
    """What some sources say of the same subjects.

    keys: the columns that name a subject (ids, so that a space may separate them); columns: what is added up;
    sources: selects of the keys and of any of these columns (one that a source leaves out counts 0 in it);
    differ: says of the sums, by their names, which subjects to tell of.
    """

    def __init__(
        self,
        keys: Sequence[str],
        columns: Sequence[str],
        sources: Sequence[Select[Any]],
        differ: Callable[[Amounts], ColumnElement[bool]],
    ) -> None:
        self._keys = tuple(keys)
        rows = union_all(*(_padded(source, keys, columns) for source in sources)).subquery("rows")
        names = [rows.c[key] for key in keys]
        # A sum of BIGINTs is a NUMERIC in PostgreSQL.
        amounts = {column: cast(func.sum(rows.c[column]), BigInteger) for column in columns}
        self._statement = (
            select(*names, *(amount.label(column) for column, amount in amounts.items()))
            .where(_behind(names))
            .group_by(*names)
            .having(differ(amounts))
            .order_by(*names)
            .limit(bindparam("most"))
        )

    def differing(self, connection: Connection, after: str, most: int) -> list[tuple[Any, ...]]:
        """Return up to `most` subjects behind a place: their keys and sums, in the order of the keys."""
        parts = after.split(" ") if after else [""] * len(self._keys)
        place = {f"after_{number}": part for number, part in enumerate(parts)}
        return [tuple(row) for row in connection.execute(self._statement, {**place, "most": most})]


def _padded(source: Select[Any], keys: Sequence[str], columns: Sequence[str]) -> Select[Any]:
    given = source.subquery().c
    return select(
        *(given[key] for key in keys),
        *(given[name] if name in given else literal(0).label(name) for name in columns),
    )


def _behind(names: Sequence[ColumnElement[Any]]) -> ColumnElement[bool]:
    """Say that a subject comes behind the one whose keys are bound as after_0, after_1, ..."""
    conditions: list[ColumnElement[bool]] = []
    for number, name in enumerate(names):
        equal = [one == bindparam(f"after_{before}") for before, one in enumerate(names[:number])]
        conditions.append(and_(*equal, name > bindparam(f"after_{number}")))
    return or_(false(), *conditions)
