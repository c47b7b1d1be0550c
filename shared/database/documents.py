"""Looking into JSON that is stored as text, spelled for each database: SQLite has functions for it,
PostgreSQL operators."""

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, String, literal_column
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class TextOf(FunctionElement[Any]):
    """A member of a document as text."""

    inherit_cache = True
    type = String()


class WholeOf(FunctionElement[Any]):
    """A member of a document as an integer."""

    inherit_cache = True
    type = BigInteger()


class ElementsOf(FunctionElement[Any]):
    """The elements of an array in a document, as rows with one column, `value`."""

    inherit_cache = True


def text_of(document: ColumnElement[Any], member: str) -> ColumnElement[str]:
    """Return a member of a document as text; NULL where it isn't there."""
    return TextOf(document, _name(member))


def whole_of(document: ColumnElement[Any], member: str) -> ColumnElement[int]:
    """Return a member of a document as an integer; NULL where it isn't there."""
    return WholeOf(document, _name(member))


def elements_of(document: ColumnElement[Any], member: str) -> Any:
    """Return the elements of a document's array as something to join, whose column `value` is a document."""
    return ElementsOf(document, _name(member)).table_valued("value", name="element")


def _name(member: str) -> ColumnElement[Any]:
    # It is written into the statement, so it is never a stranger's.
    assert member.isalnum(), f"{member!r} is no member's name"
    return literal_column(f"'{member}'")


def _parts(element: FunctionElement[Any], compiler: Any, options: Any) -> tuple[str, str]:
    document, name = (compiler.process(part, **options) for part in element.clauses)
    return document, name.strip("'")


@compiles(TextOf)
@compiles(WholeOf)
def _extract(element: Any, compiler: Any, **options: Any) -> str:
    document, name = _parts(element, compiler, options)
    return f"json_extract({document}, '$.{name}')"


@compiles(TextOf, "postgresql")
def _text(element: Any, compiler: Any, **options: Any) -> str:
    document, name = _parts(element, compiler, options)
    return f"(CAST({document} AS jsonb) ->> '{name}')"


@compiles(WholeOf, "postgresql")
def _whole(element: Any, compiler: Any, **options: Any) -> str:
    return f"CAST({_text(element, compiler, **options)} AS bigint)"


@compiles(ElementsOf)
def _each(element: Any, compiler: Any, **options: Any) -> str:
    document, name = _parts(element, compiler, options)
    return f"json_each({document}, '$.{name}')"


@compiles(ElementsOf, "postgresql")
def _each_element(element: Any, compiler: Any, **options: Any) -> str:
    document, name = _parts(element, compiler, options)
    return f"jsonb_array_elements(CAST({document} AS jsonb) -> '{name}')"
