"""The gateway over HTTP: the outside world, which outlives every crash of the participant that calls it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from shared.errors import Refused
from shared.tcc.effects import Intent
from shared.tcc.protocol import Phase
from tests.contract.cases import ToyClaim
from tests.contract.gateway import Gateway

HOST: Final = "127.0.0.1"


@asynccontextmanager
async def served(gateway: Gateway) -> AsyncIterator[str]:
    """Serve a gateway on a free port for the time of a block; gives its base URL."""
    application = web.Application()
    doors = _Doors(gateway)
    application.add_routes(
        [web.post("/effects/{key}", doors.perform), web.get("/effects/{key}", doors.look_up)]
    )
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, HOST, 0)
        await site.start()
        port = runner.addresses[0][1]
        yield f"http://{HOST}:{port}"
    finally:
        await runner.cleanup()


class _Doors:
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def perform(self, request: web.Request) -> web.Response:
        asked = await request.json()
        intent = Intent(
            phase=Phase(asked["phase"]),
            branch_id=asked["branchId"],
            transaction_id=None,
            claim=ToyClaim.model_validate(asked["claim"]),
            remembered=asked["remembered"],
        )
        assert intent.key == request.match_info["key"]
        return web.json_response(dict(await self._gateway.perform(intent)))

    async def look_up(self, request: web.Request) -> web.Response:
        key = request.match_info["key"]
        self._gateway.calls.append(f"look up {key}")
        heard = self._gateway.performed.get(key)
        if heard is None:
            return web.Response(status=404)
        assert not isinstance(heard, Refused)
        return web.json_response(dict(heard))
