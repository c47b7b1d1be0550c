"""What the programs of tests stand on: files or a PostgreSQL server, the embedded broker or Apache Kafka.

A test that asks for the fixture `backing`, or for a stack, runs once on each that the command line lets in.
"""

import argparse
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.database.inline import InlineDatabase
from shared.database.place import Place, Schema
from shared.database.port import Database
from shared.database.postgres import PostgresDatabase
from tests.kafka_in_place import put_in_place
from tests.postgres import Server, server


@dataclass(frozen=True, slots=True)
class Backing:
    """database: a server that runs, None: SQLite files. kafka: whether stacks have Apache Kafka as broker."""

    database: Server | None = None
    kafka: bool = False

    def environment(self, data_dir: Path | None = None) -> dict[str, str]:
        """Return what a stack has to be told, as variables.

        Two stacks over one data directory have the same data, also where it lies elsewhere; ephemeral ones
        (None) each have their own.
        """
        # It needs more memory than the embedded one, and none of it for records.
        told = {"HANDFAST_BROKER_MEMORY_MIB": "0"} if self.kafka else {}
        if self.database is None:
            return told
        schema = "test" if data_dir is None else _schema_of(data_dir)
        return {**told, "HANDFAST_DATABASE_URL": self.database.url, "HANDFAST_DATABASE_SCHEMA": schema}

    def emptied(self, prefix: str, *programs: str) -> dict[str, Any]:
        """Return the settings with which these programs find their databases empty in a new data directory.

        prefix: of schemas that are kept for whoever comes next and names it. Outside an event loop.
        """
        if self.database is None:
            return {}
        for program in programs:
            self.database.emptied(f"{prefix}_{program}")
        return {"database_url": self.database.url, "database_schema": prefix}

    def store(self, name: str) -> Database:
        """Return a store for a program within this process, in memory or in an emptied schema of that name.

        Outside an event loop.
        """
        return InlineDatabase() if self.database is None else PostgresDatabase(self.database.emptied(name))

    def place(self, program: str, data_dir: Path) -> Place:
        """Return where a program of a stack over that data directory has its data."""
        if self.database is None:
            return data_dir / f"{program}.db"
        return Schema(self.database.url, f"{_schema_of(data_dir)}_{program}")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Let whoever runs a program of the tests choose where its stacks have their data."""
    parser.add_argument(
        "--postgres", action="store_true", help="on a PostgreSQL of its own instead of SQLite files"
    )
    parser.add_argument(
        "--kafka", action="store_true", help="on an Apache Kafka of its own instead of the embedded broker"
    )


@contextmanager
def chosen(arguments: argparse.Namespace) -> Iterator[Backing]:
    """Have what was chosen for the time of a block. Raises CannotRun, saying why, where it can't be had."""
    if arguments.kafka:
        put_in_place()
    if not arguments.postgres:
        yield Backing(kafka=arguments.kafka)
        return
    with server() as running:
        yield Backing(database=running, kafka=arguments.kafka)


def _schema_of(data_dir: Path) -> str:
    return f"test_{zlib.crc32(str(data_dir.resolve()).encode()):08x}"
