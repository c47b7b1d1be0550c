"""The tokens that a program shows to others: fetched from the issuer, or signed with the shared secret."""

import asyncio
import base64
import logging
import random
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Protocol
from urllib.parse import quote_plus, urlencode

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from shared.clock import Clock
from shared.errors import Unreachable
from shared.security.issuer import Issuer
from shared.security.signatures import sign

SIGNED_SECONDS: Final = 3_600
"""Life of a token that a program signs itself: long enough to outlast clocks that are minutes apart."""
SHORTEST_SECONDS: Final = 10.0
RETRY_SECONDS: Final = 5.0
"""Least time between a token that could not be had and the next attempt."""

_log = logging.getLogger(__name__)


class _Grant(BaseModel):
    """What a token endpoint answers (RFC 6749, 5.1)."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    access_token: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._~+/=-]{1,8192}$")]
    token_type: Annotated[str, StringConstraints(pattern=r"^(?i:bearer)$")]
    expires_in: Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)] = 60.0


class Tokens(Protocol):
    """Where a program's own token comes from."""

    async def token(self) -> str:
        """Return a token that is good now; raise Unreachable where none can be had."""
        ...

    def refused(self, token: str) -> None:
        """Take note that a token was not believed: the next is another."""
        ...


class SignedTokens:
    """Tokens that are signed here. claims: what they say, besides when."""

    def __init__(self, key: Any, claims: Mapping[str, Any], clock: Clock) -> None:
        self._key = key
        self._claims = claims
        self._clock = clock
        self._token = ""
        self._renew_at = 0

    async def token(self) -> str:
        now = self._clock.now() // 1000
        if now >= self._renew_at:
            self._token = sign({**self._claims, "iat": now, "exp": now + SIGNED_SECONDS}, self._key)
            self._renew_at = now + SIGNED_SECONDS // 2
        return self._token

    def refused(self, token: str) -> None:
        if token == self._token:
            self._renew_at = 0


class IssuedTokens:
    """Tokens by client credentials (RFC 6749, 4.4), fetched once for all who wait, and anew before they end.

    secret: reads the client's secret, which may change while the program runs.
    """

    def __init__(
        self,
        issuer: Issuer,
        client_id: str,
        secret: Callable[[], str],
        randomness: random.Random,
        *,
        scope: str | None = None,
    ) -> None:
        self._issuer = issuer
        self._client_id = client_id
        self._secret = secret
        self._randomness = randomness
        self._scope = scope
        self._token = ""
        self._renew_at = self._ends_at = self._ask_at = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    async def token(self) -> str:
        now = asyncio.get_running_loop().time()
        if now >= max(self._renew_at, self._ask_at):
            fetching = self._fetch()
            if now >= self._ends_at:
                await asyncio.shield(fetching)
        elif now >= self._ends_at:
            raise Unreachable(f"No token could be had as {self._client_id} a moment ago; try again soon.")
        return self._token

    def refused(self, token: str) -> None:
        if token == self._token:
            self._renew_at = self._ends_at = float("-inf")

    def _fetch(self) -> "asyncio.Task[None]":
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch_once(), name="own token")
            self._fetching.add_done_callback(self._fetched)
        return self._fetching

    async def _fetch_once(self) -> None:
        endpoint = (await self._issuer.endpoints()).tokens
        if endpoint is None:
            raise Unreachable(f"{self._issuer.url} names no token endpoint.")
        wanted = {"grant_type": "client_credentials"}
        if self._scope is not None:
            wanted["scope"] = self._scope
        # RFC 6749, 2.3.1: both are form-encoded before they are put together.
        pair = f"{quote_plus(self._client_id)}:{quote_plus(self._secret())}"
        headers = {
            "authorization": f"Basic {base64.b64encode(pair.encode()).decode()}",
            "content-type": "application/x-www-form-urlencoded",
        }
        reply = await self._issuer.call("POST", endpoint, headers, urlencode(wanted).encode())
        token, seconds = _granted(reply.json)
        now = asyncio.get_running_loop().time()
        self._token, self._ends_at = token, now + seconds
        # Not all instances at once, and well before the end.
        self._renew_at = now + seconds * self._randomness.uniform(0.6, 0.8)

    def _fetched(self, task: "asyncio.Task[None]") -> None:
        self._fetching = None
        error = None if task.cancelled() else task.exception()
        if error is not None:
            told = error.detail if isinstance(error, Unreachable) else type(error).__name__
            _log.warning("No token can be had as %s: %s", self._client_id, told)
            self._ask_at = asyncio.get_running_loop().time() + RETRY_SECONDS


def _granted(read: Callable[[], Any]) -> tuple[str, float]:
    """Return the token of an answer and its life in seconds; raise Unreachable where there is none."""
    try:
        grant = _Grant.model_validate(read())
    except ValueError:
        raise Unreachable("The issuer's token endpoint answered with no bearer token.") from None
    return grant.access_token, max(grant.expires_in, SHORTEST_SECONDS)
