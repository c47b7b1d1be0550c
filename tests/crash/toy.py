"""A participant with an external effect, as a program of its own: counters here, mirrored at a gateway.

It is made of the kit like any other, registered with the coordinator by its settings, and runs under
tests.crash.program as `toy`.
"""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pydantic_core
from fastapi import FastAPI
from sqlalchemy import Connection
from sqlmodel import SQLModel

from shared.database.port import Database, insert_new
from shared.database.postgres import PostgresDatabase
from shared.database.sqlite import SqliteDatabase
from shared.errors import Unreachable
from shared.http.caller import Caller, Reply
from shared.http.server import serve
from shared.program import Program, Surroundings
from shared.settings import Settings, database_place
from shared.tcc.effects import Intent
from shared.tcc.routes import reservation_routes
from shared.tcc.service import host_participant
from shared.telemetry import configure_logging
from tests.contract.cases import KIT_TABLES, TOY, ToyClaim, toy
from tests.stores import within

NAME: Final = "toy"
PORT: Final = "TOY_PORT"
GATEWAY: Final = "TOY_GATEWAY"
"""Variables: where it listens, and the gateway's base URL."""
TOYS: Final = 100


class RemoteGateway:
    """The external effect: a gateway reached over HTTP, under each intent's idempotency key."""

    def __init__(self, caller: Caller, url: str) -> None:
        self._caller = caller
        self._url = url

    async def perform(self, intent: Intent[ToyClaim]) -> Mapping[str, Any]:
        body = {
            "phase": intent.phase.value,
            "branchId": intent.branch_id,
            "claim": intent.claim.model_dump(by_alias=True),
            "remembered": dict(intent.remembered),
        }
        return self._read(await self._call("POST", intent.key, pydantic_core.to_json(body)))

    async def look_up(self, intent: Intent[ToyClaim]) -> Mapping[str, Any] | None:
        reply = await self._call("GET", intent.key, None)
        return None if reply.status == 404 else self._read(reply)

    async def _call(self, method: str, key: str, body: bytes | None) -> Reply:
        url = f"{self._url}/effects/{quote(key, safe='')}"
        return await self._caller.call(method, url, headers=None, body=body, timeout=5.0)

    def _read(self, reply: Reply) -> Mapping[str, Any]:
        if reply.status != 200:
            raise Unreachable(f"The gateway answered {reply.status}.")
        heard: Mapping[str, Any] = reply.json()
        return heard


def opened(settings: Settings) -> Database:
    """Return the toy's database, with its toys in it, before it is started; outside an event loop."""
    place = database_place(settings, NAME)
    row = {"name": "bear", "free": TOYS, "held": 0, "kept": 0}

    def prepare(connection: Connection) -> None:
        SQLModel.metadata.create_all(connection, tables=[TOY, *KIT_TABLES])
        insert_new(connection, TOY, row)

    within(place, prepare)
    return SqliteDatabase(place) if isinstance(place, Path) else PostgresDatabase(place)


def create_app(settings: Settings, database: Database, port: int, gateway: str) -> FastAPI:
    program = Program(NAME, settings, Surroundings(database=database))
    host = host_participant(program, toy(RemoteGateway(program.caller, gateway)))
    return program.api(
        title="A participant with an external effect",
        description="",
        routers=[reservation_routes(host, base_url=f"http://127.0.0.1:{port}")],
    )


async def run(settings: Settings, database: Database) -> None:
    port = int(os.environ[PORT])
    await database.start()
    try:
        await serve(create_app(settings, database, port, os.environ[GATEWAY]), settings.host, port)
    finally:
        await database.close()


def main() -> None:
    settings = Settings()
    configure_logging(settings, NAME)
    asyncio.run(run(settings, opened(settings)))
