"""An issuer of the tests' own: discovery, keys that are rotated, tokens for clients, and whatever goes wrong.

Over `AsgiCaller` it needs no socket; `served` has it listen on one.
"""

import asyncio
import base64
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import parse_qs, unquote_plus

import uvicorn
from joserfc import jws, jwt
from joserfc.jwk import ECKey, Key, KeyParameters, OctKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

SECRET: Final = "a shared secret of more than thirty-two bytes"
AUDIENCE: Final = "handfast"
_KEYS: Final[dict[str, Key]] = {}


def key_named(kid: str, kind: str = "RSA") -> Key:
    """Return a key of that name, made once for all tests: RSA keys take a while."""
    known = _KEYS.get(f"{kind} {kid}")
    if known is None:
        how: KeyParameters = {"kid": kid, "use": "sig"}
        known = RSAKey.generate_key(2048, how) if kind == "RSA" else ECKey.generate_key("P-256", how)
        _KEYS[f"{kind} {kid}"] = known
    return known


def claims(
    *roles: str, sub: str = "somebody", now: float | None = None, lasts: float = 86_400, **more: Any
) -> dict[str, Any]:
    """Return what an issuer says of somebody; a claim that is None is left out."""
    now = time.time() if now is None else now
    said = {
        "iss": "https://issuer.test",
        "aud": AUDIENCE,
        "sub": sub,
        "roles": list(roles),
        "exp": now + lasts,
    }
    return {name: value for name, value in {**said, **more}.items() if value is not None}


def signed(said: dict[str, Any], key: Key, alg: str = "RS256", **header: Any) -> str:
    """Return a token. header: what it says besides alg and kid."""
    head = {"alg": alg, **({"kid": key.kid} if key.kid else {}), **header}
    return jwt.encode(head, said, key, [alg], jws.JWSRegistry(algorithms=[alg], strict_check_header=False))


def shared(*roles: str, secret: str = SECRET, **more: Any) -> str:
    """Return a token that is signed with a shared secret."""
    return signed(claims(*roles, **more), OctKey.import_key(secret), "HS256")


class Issuer:
    """The issuer. url: as it names itself; what goes wrong is set on its attributes."""

    def __init__(self, url: str = "https://issuer.test") -> None:
        self.url = url
        self.published: list[Key] = [key_named("first")]
        self.clients = {"order": "order's", "coordinator": "coordinator's"}
        self.documents: list[dict[str, Any]] = []
        self.fetched = 0
        self.granted = 0
        self.lasts = 300.0
        self.away = False
        self.redirects = False
        self.giant = False
        self.pause: asyncio.Event | None = None
        self.names_itself: str | None = None
        self.app = Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._discovery),
                Route("/keys", self._keys),
                Route("/token", self._token, methods=["POST"]),
                Route("/elsewhere", lambda _: JSONResponse({"keys": []})),
            ]
        )

    def rotate(self, kid: str, *, keep: bool = False) -> Key:
        """Publish another key, and sign with it from now on."""
        key = key_named(kid)
        self.published = [key, *(self.published if keep else [])]
        return key

    def token(self, *roles: str, **more: Any) -> str:
        """Return a token as this issuer signs it now."""
        return signed(claims(*roles, **{"iss": self.url, **more}), self.published[0])

    async def _discovery(self, _request: Request) -> Response:
        if self.away:
            return PlainTextResponse("away", 503)
        return JSONResponse(
            {
                "issuer": self.names_itself or self.url,
                "jwks_uri": f"{self.url}/keys",
                "token_endpoint": f"{self.url}/token",
            }
        )

    async def _keys(self, _request: Request) -> Response:
        self.fetched += 1
        if self.pause is not None:
            await self.pause.wait()
        if self.redirects:
            return RedirectResponse(f"{self.url}/elsewhere")
        if self.giant:
            return JSONResponse({"keys": [], "padding": "x" * 2_000_000})
        keys = [key.as_dict(private=False) for key in self.published]
        return JSONResponse({"keys": [*self.documents, *keys]})

    async def _token(self, request: Request) -> Response:
        form = parse_qs((await request.body()).decode())
        pair = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode()
        client, _, secret = (unquote_plus(part) for part in pair.partition(":"))
        if self.pause is not None:
            await self.pause.wait()
        if form["grant_type"] != ["client_credentials"] or self.clients.get(client) != secret:
            return JSONResponse({"error": "invalid_client"}, 401)
        self.granted += 1
        token = self.token("service", sub=client, client_id=client, jti=str(self.granted), lasts=self.lasts)
        return JSONResponse({"access_token": token, "token_type": "Bearer", "expires_in": self.lasts})


@contextlib.contextmanager
def served() -> Iterator[Issuer]:
    """Have an issuer listen at a free port for the time of a block."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        issuer = Issuer(f"http://127.0.0.1:{listening.getsockname()[1]}")
        config = uvicorn.Config(issuer.app, log_config=None, access_log=False, lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])), name="issuer")
        listening.listen()
        thread.start()
        try:
            yield issuer
        finally:
            server.should_exit = True
            thread.join()
