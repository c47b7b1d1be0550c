"""Counters against rows, in SQL that each database understands."""

from typing import Any

from sqlalchemy import Column, MetaData, String, Table, select, true
from sqlalchemy.dialects import registry

from shared.database.documents import elements_of, text_of, whole_of

CLAIMS = Table("claims", MetaData(), Column("claim", String))


def sql(statement: Any, dialect: str) -> str:
    return " ".join(str(statement.compile(dialect=registry.load(dialect)())).split())


def test_a_document_is_looked_into_as_each_database_does_it() -> None:
    item = elements_of(CLAIMS.c.claim, "items")
    statement = select(text_of(CLAIMS.c.claim, "customerId"), whole_of(item.c.value, "qty")).select_from(
        CLAIMS.join(item, true())
    )
    assert sql(statement, "sqlite") == (
        "SELECT json_extract(claims.claim, '$.customerId') AS anon_1, "
        "json_extract(element.value, '$.qty') AS anon_2 "
        "FROM claims JOIN json_each(claims.claim, '$.items') AS element ON 1 = 1"
    )
    assert sql(statement, "postgresql") == (
        "SELECT (CAST(claims.claim AS jsonb) ->> 'customerId') AS anon_1, "
        "CAST((CAST(element.value AS jsonb) ->> 'qty') AS bigint) AS anon_2 "
        "FROM claims JOIN jsonb_array_elements(CAST(claims.claim AS jsonb) -> 'items') AS element ON true"
    )
