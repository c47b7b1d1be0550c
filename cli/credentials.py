"""Who is at the terminal, and by which token the stack knows him.

A token that is given is sent as it is. Without one, whoever has what the programs have gets one as they do:
by the shared secret, or as the client `handfast` at the issuer.
"""

import asyncio
import getpass
import os
import random
import threading
from collections.abc import AsyncGenerator, Generator, Mapping
from typing import TYPE_CHECKING

import httpx

from cli.outcome import OutOfReach, Usage
from shared.clock import SystemClock
from shared.errors import HandfastError, Unreachable
from shared.http.caller import MAX_REPLY_BYTES, Reply
from shared.security.roles import Role
from shared.security.service import own_tokens
from shared.security.settings import secret_from
from shared.settings import Settings

if TYPE_CHECKING:
    from shared.security.credentials import Tokens

CLIENT = "handfast"
"""The command line's own client at the issuer, and the program that `{program}` stands for."""


def login_name() -> str:
    """Return the login name, or the user's number where that has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def bearer(settings: Settings) -> httpx.Auth | None:
    """Return what adds the token to every request; None where there is none to be had.

    Raises Usage where what is set can't be used.
    """
    try:
        if settings.token is not None or settings.token_file is not None:
            return _Bearer(_Given(settings))
        if settings.has_shared_secret:
            return _Bearer(_own(settings, login_name()))
        if settings.auth_client_secret is not None or settings.auth_client_secret_file is not None:
            return _Bearer(_own(settings, CLIENT))
    except (HandfastError, ValueError) as error:
        raise Usage(f"no token can be had: {error}") from error
    return None


def insist_on_token(settings: Settings) -> httpx.Auth | None:
    """Return the same; raise Usage where a token is needed and there is none."""
    auth = bearer(settings)
    if auth is None and settings.authenticated:
        raise Usage(
            "the programs ask for a token, and there is none to ask them with: set HANDFAST_TOKEN or "
            f"HANDFAST_TOKEN_FILE, or HANDFAST_AUTH_CLIENT_SECRET_FILE with a secret of the client {CLIENT}"
        )
    return auth


def _own(settings: Settings, name: str) -> "Tokens":
    caller = _OneByOne()
    # Jitter is no secret.
    return own_tokens(settings, name, Role.OPERATOR, caller, SystemClock(), random.Random())  # noqa: S311


class _Given:
    """A token that somebody else has got; a file is read again for each request, as it may be renewed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._read()

    async def token(self) -> str:
        return self._read()

    def refused(self, token: str) -> None:
        """There is no other."""

    def _read(self) -> str:
        given = secret_from(self._settings.token, self._settings.token_file, "HANDFAST_TOKEN").decode()
        if not given or not given.isascii() or not given.isprintable() or " " in given:
            raise ValueError("HANDFAST_TOKEN is no token")
        return given


class _Bearer(httpx.Auth):
    def __init__(self, tokens: "Tokens") -> None:
        self._tokens = tokens
        # Requests are sent from several threads, and one of them is enough to fetch a token.
        self._one_at_a_time = threading.Lock()

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        with self._one_at_a_time:
            token = asyncio.run(self._token())
        yield _with(request, token)

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        yield _with(request, await self._token())

    async def _token(self) -> str:
        try:
            return await self._tokens.token()
        except Unreachable as error:
            raise OutOfReach(f"no token can be had: {error.detail}") from error


def _with(request: httpx.Request, token: str) -> httpx.Request:
    request.headers["authorization"] = f"Bearer {token}"
    return request


class _OneByOne:
    """A Caller that opens a connection for each request: a command makes two in all."""

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float,  # noqa: ASYNC109 - the port's signature
    ) -> Reply:
        try:
            async with (
                asyncio.timeout(timeout),
                httpx.AsyncClient(trust_env=False, timeout=timeout) as client,
                client.stream(method, url, headers=dict(headers or {}), content=body) as reply,
            ):
                content = b""
                async for chunk in reply.aiter_bytes():
                    content += chunk
                    if len(content) > MAX_REPLY_BYTES:
                        raise Unreachable(
                            f"{method} {url}: the answer is larger than {MAX_REPLY_BYTES} bytes."
                        )
                return Reply(reply.status_code, dict(reply.headers), content)
        except (TimeoutError, httpx.HTTPError) as error:
            raise Unreachable(f"{method} {url} got no answer: {type(error).__name__}.") from error

    async def close(self) -> None:
        """Nothing is kept open."""
