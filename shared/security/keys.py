"""The keys that tokens are verified with: one shared secret, or what the issuer publishes just now."""

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import Any, Final, Protocol

from shared.errors import Transient, Unreachable
from shared.security.issuer import Issuer
from shared.security.signatures import fits, public_key

REFETCH_SECONDS: Final = 5.0
"""Least time between two looks at the issuer's keys, however many unknown keys are named."""
RETRY_SECONDS: Final = 2.0
"""Pause before the issuer is asked again where it could not be reached."""

_log = logging.getLogger(__name__)


class UnknownKey(Exception):
    """No such key is known, and the issuer has been asked lately."""


class Keys(Protocol):
    """Where keys are found. version: changes whenever a key that was believed may be believed no more."""

    version: int

    async def find(self, kid: str | None, alg: str) -> Any:
        """Return the key; raise UnknownKey, or Transient where nobody can tell now."""
        ...


class SharedKey:
    """The one key of a shared secret; what a token says of its key doesn't matter."""

    version = 0

    def __init__(self, key: Any) -> None:
        self._key = key

    async def find(self, _kid: str | None, _alg: str) -> Any:
        return self._key


class IssuerKeys:
    """The issuer's keys: fetched anew now and then, and when a token names one that isn't known.

    period: seconds between two fetches; max_age: seconds for which keys are believed while none succeeds.
    """

    def __init__(self, issuer: Issuer, randomness: random.Random, *, period: float, max_age: float) -> None:
        self._issuer = issuer
        self._randomness = randomness
        self._period = period
        self._max_age = max_age
        self._keys: dict[str | None, list[Any]] = {}
        self._documents: Sequence[Any] = ()
        self._fetched_at: float | None = None
        self._asked_at: float | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._problem: str | None = "The issuer's keys have not been fetched yet."
        self.version = 0

    async def find(self, kid: str | None, alg: str) -> Any:
        if self._age() > self._max_age:
            if not self._may_ask():
                raise Unreachable(self._problem)
            await self._fetch()
        key = self._known(kid, alg)
        if key is None and self._may_ask():
            await self._fetch()
            key = self._known(kid, alg)
        if key is None:
            raise UnknownKey
        return key

    async def run(self) -> None:
        """Fetch the keys now and then, for ever."""
        while True:
            try:
                await self._fetch()
            except Transient:
                pause = RETRY_SECONDS
            else:
                pause = self._period
            await asyncio.sleep(pause * self._randomness.uniform(0.8, 1.0))

    def health(self) -> str | None:
        """Return why nobody's token can be verified, if that is so."""
        return self._problem if self._age() > self._max_age else None

    def _known(self, kid: str | None, alg: str) -> Any:
        # A token that names no key is as good as one that does where there is no other key.
        named = self._keys.get(kid, []) if kid is not None else _only(self._keys)
        return next((key for key in named if fits(key, alg)), None)

    def _age(self) -> float:
        if self._fetched_at is None:
            return float("inf")
        return asyncio.get_running_loop().time() - self._fetched_at

    def _may_ask(self) -> bool:
        now = asyncio.get_running_loop().time()
        return self._fetching is not None or self._asked_at is None or now - self._asked_at >= REFETCH_SECONDS

    async def _fetch(self) -> None:
        """Fetch the keys, once for all who want it at the same time; raise Transient where that fails."""
        if self._fetching is None:
            self._asked_at = asyncio.get_running_loop().time()
            self._fetching = asyncio.create_task(self._fetch_once(), name="issuer's keys")
            self._fetching.add_done_callback(self._fetched)
        await asyncio.shield(self._fetching)

    async def _fetch_once(self) -> None:
        documents = await self._issuer.keys()
        if documents == self._documents:
            return
        keys: dict[str | None, list[Any]] = {}
        for document in documents:
            key = public_key(document)
            if key is not None:
                keys.setdefault(key.kid, []).append(key)
        if not keys:
            raise Unreachable(f"{self._issuer.url} publishes no key that can be used.")
        self._keys, self._documents = keys, documents
        self.version += 1

    def _fetched(self, task: "asyncio.Task[None]") -> None:
        self._fetching = None
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._fetched_at = asyncio.get_running_loop().time()
            self._problem = None
            return
        told = error.detail if isinstance(error, Transient) else f"{type(error).__name__}."
        if self._problem != told:
            _log.warning("The issuer's keys can't be fetched: %s", told)
        self._problem = told


def _only(keys: dict[str | None, list[Any]]) -> list[Any]:
    every = [key for each in keys.values() for key in each]
    return every if len(every) == 1 else []
