"""A Caller on which answers get lost, between the gateway and its stand-in, within a test's process."""

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from urllib.parse import urlsplit

from shared.errors import Unreachable
from shared.http.caller import Caller, Reply


class Mishap(StrEnum):
    LOST_REQUEST = "it never arrives"
    LOST_ANSWER = "it is acted upon, and the answer lost"
    BUSY = "429"
    BROKEN = "500, and nothing was done"
    BROKEN_AFTER = "500, and it was done"
    IN_USE = "409: the idempotency key is in use"
    REFUSED = "400"
    NONSENSE = "200 and no JSON"


class UnluckyCaller:
    """Every kind of request (its method and last word) meets the mishaps in their order, one a call.

    calls: what was asked, as `POST confirm`; keys: the idempotency keys that were sent with it.
    """

    def __init__(self, caller: Caller, mishaps: Sequence[Mishap] = ()) -> None:
        self._caller = caller
        self._met: Counter[str] = Counter()
        self.mishaps: Mapping[str, Sequence[Mishap]] | Sequence[Mishap] = mishaps
        self.calls: list[str] = []
        self.keys: list[str] = []

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float,  # noqa: ASYNC109 - the port's signature
    ) -> Reply:
        kind = self._kind(method, url)
        self.calls.append(kind)
        self.keys.append((headers or {}).get("idempotency-key", ""))
        mishap = self._next(kind)
        if mishap is Mishap.LOST_REQUEST:
            raise Unreachable("The request was lost.")
        if mishap in _STATUS:
            return Reply(_STATUS[mishap], {}, b'{"error": {"type": "api_error"}}')
        reply = await self._caller.call(method, url, headers=headers, body=body, timeout=timeout)
        if mishap is Mishap.LOST_ANSWER:
            raise Unreachable("The answer was lost.")
        if mishap is Mishap.BROKEN_AFTER:
            return Reply(500)
        return Reply(200, {}, b"<html>") if mishap is Mishap.NONSENSE else reply

    def forget(self) -> None:
        """Let the mishaps begin anew."""
        self._met.clear()

    async def close(self) -> None:
        await self._caller.close()

    def _kind(self, method: str, url: str) -> str:
        last = urlsplit(url).path.rpartition("/")[2]
        return f"{method} {'intent' if last.startswith('pi_') else last}"

    def _next(self, kind: str) -> Mishap | None:
        mishaps = self.mishaps.get(kind, ()) if isinstance(self.mishaps, Mapping) else self.mishaps
        met = self._met[kind]
        self._met[kind] += 1
        return mishaps[met] if met < len(mishaps) else None


_STATUS = {Mishap.BUSY: 429, Mishap.BROKEN: 500, Mishap.IN_USE: 409, Mishap.REFUSED: 400}
