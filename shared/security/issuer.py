"""The issuer of tokens: what its discovery document says of it, its keys, and the tokens it gives to clients.

Every answer is bounded by the caller, no redirect is followed, and an address that it names must be as safe
as its own.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shared.errors import Unreachable
from shared.http.address import keeps_secrets
from shared.http.caller import Caller, Reply

TIMEOUT: Final = 5.0
"""The bound on one exchange with the issuer, in seconds."""
MOST_KEYS: Final = 100

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the issuer has its keys, and where it gives tokens to clients."""

    keys: str
    tokens: str | None


class Issuer:
    """Speaks to the issuer. url: as tokens name it in iss; caller: one that adds no token of ours."""

    def __init__(self, url: str, caller: Caller) -> None:
        self.url = url
        self._caller = caller

    async def endpoints(self) -> Endpoints:
        """Read the discovery document; raise Unreachable where it can't be had or can't be used."""
        url = f"{self.url.rstrip('/')}/.well-known/openid-configuration"
        found = _object(await self.call("GET", url), url)
        if found.get("issuer") != self.url:
            raise Unreachable(f"{url} names another issuer than {self.url}.")
        keys, tokens = found.get("jwks_uri"), found.get("token_endpoint")
        if not _is_safe(keys) or (tokens is not None and not _is_safe(tokens)):
            raise Unreachable(f"{url} names addresses that are not https.")
        return Endpoints(str(keys), tokens)

    async def keys(self) -> Sequence[Mapping[str, Any]]:
        """Return the documents of its keys; raise Unreachable."""
        url = (await self.endpoints()).keys
        keys = _object(await self.call("GET", url), url).get("keys")
        if not isinstance(keys, list) or len(keys) > MOST_KEYS:
            raise Unreachable(f"{url} is no set of keys.")
        return [key for key in keys if isinstance(key, dict)]

    async def call(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Reply:
        """Return an answer that is a 200; raise Unreachable for any other."""
        reply = await self._caller.call(method, url, headers=headers, body=body, timeout=TIMEOUT)
        if reply.status != 200:
            raise Unreachable(f"{method} {url} answered {reply.status}.")
        return reply


def _object(reply: Reply, url: str) -> Mapping[str, Any]:
    # A megabyte of JSON takes a few milliseconds to read, and it is read once in minutes.
    try:
        document = reply.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise Unreachable(f"{url} is no JSON object.")
    return document


def _is_safe(url: Any) -> bool:
    return isinstance(url, str) and keeps_secrets(url)
