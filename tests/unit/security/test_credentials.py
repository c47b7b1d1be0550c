"""A program's own token: fetched once for all, renewed before its end, and never sent to strangers."""

import asyncio
import random
from collections.abc import Mapping

import pytest

from shared.errors import Unreachable
from shared.http.asgi_caller import AsgiCaller
from shared.http.caller import Caller, Reply
from shared.security.credentials import RETRY_SECONDS, SIGNED_SECONDS, IssuedTokens, SignedTokens
from shared.security.issuer import Issuer as IssuerClient
from shared.security.peers import PeerCaller
from shared.security.signatures import secret_key
from tests.issuer import SECRET, Issuer
from tests.unit.security.world import Hands, by_secret


def issued(issuer: Issuer, known: str = "order's") -> IssuedTokens:
    client = IssuerClient(issuer.url, AsgiCaller({issuer.url: issuer.app}))
    return IssuedTokens(client, "order", lambda: known, random.Random(3))


async def test_one_fetch_serves_all_who_wait() -> None:
    issuer = Issuer()
    issuer.pause = asyncio.Event()
    tokens = issued(issuer)
    waiting = [asyncio.create_task(tokens.token()) for _ in range(50)]
    await asyncio.sleep(1)
    issuer.pause.set()
    assert len(set(await asyncio.gather(*waiting))) == 1
    assert issuer.granted == 1


async def test_a_token_is_renewed_before_its_end_while_nobody_waits() -> None:
    issuer = Issuer()
    tokens = issued(issuer)
    first = await tokens.token()
    await asyncio.sleep(0.55 * issuer.lasts)
    assert await tokens.token() == first
    await asyncio.sleep(0.3 * issuer.lasts)
    assert await tokens.token() == first
    await asyncio.sleep(1)
    assert await tokens.token() != first
    assert issuer.granted == 2


async def test_a_token_serves_to_its_end_while_the_issuer_is_away() -> None:
    issuer = Issuer()
    tokens = issued(issuer)
    first = await tokens.token()
    issuer.away = True
    await asyncio.sleep(0.95 * issuer.lasts)
    assert await tokens.token() == first
    await asyncio.sleep(0.1 * issuer.lasts)
    with pytest.raises(Unreachable, match="503"):
        await tokens.token()
    issuer.away = False
    with pytest.raises(Unreachable, match="a moment ago"):
        await tokens.token()
    await asyncio.sleep(RETRY_SECONDS)
    assert await tokens.token() != first


async def test_a_wrong_secret_is_told_without_it() -> None:
    with pytest.raises(Unreachable, match="401") as refused:
        await issued(Issuer(), "a wrong secret").token()
    assert "wrong secret" not in refused.value.detail


async def test_a_signed_token_is_believed_and_renewed() -> None:
    clock, door = Hands(), by_secret()
    said = {"sub": "stock", "aud": "handfast", "client_id": "stock", "roles": ["service"]}
    tokens = SignedTokens(secret_key(SECRET.encode()), said, clock)
    first = await tokens.token()
    assert (await door.admit(first)).service == "stock"
    clock.at += 1000 * SIGNED_SECONDS // 2 - 1_000
    assert await tokens.token() == first
    clock.at += 1_000
    second = await tokens.token()
    assert second != first
    tokens.refused(second)
    clock.at += 1_000
    assert await tokens.token() != second


class Peer:
    """A Caller that notes what it is sent, and answers as it is told."""

    def __init__(self, *statuses: int, body: bytes = b"") -> None:
        self.statuses = list(statuses)
        self.body = body
        self.sent: list[Mapping[str, str]] = []

    async def call(
        self,
        method: str,  # noqa: ARG002
        url: str,  # noqa: ARG002
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,  # noqa: ARG002
        timeout: float,  # noqa: ARG002, ASYNC109
    ) -> Reply:
        self.sent.append(headers or {})
        return Reply(self.statuses.pop(0), {}, self.body)

    async def close(self) -> None:
        pass


def peers(peer: Caller, issuer: Issuer) -> PeerCaller:
    return PeerCaller(peer, issued(issuer))


async def test_a_refused_token_is_replaced_once() -> None:
    peer, issuer = Peer(401, 200), Issuer()
    reply = await peers(peer, issuer).call("PUT", "https://stock.test", headers={"a": "b"}, timeout=2)
    assert (reply.status, issuer.granted) == (200, 2)
    assert peer.sent[0]["a"] == peer.sent[1]["a"] == "b"
    assert peer.sent[0]["authorization"] != peer.sent[1]["authorization"]


FORBIDDEN = b'{"type":"urn:handfast:problem:forbidden","status":403}'
NOT_OPEN = b'{"type":"urn:handfast:problem:not-open","status":403}'


async def test_a_token_that_is_not_taken_says_nothing_of_a_branch() -> None:
    for peer in (Peer(401, 401), Peer(403, body=FORBIDDEN)):
        with pytest.raises(Unreachable, match="token"):
            await peers(peer, Issuer()).call("PUT", "https://stock.test", timeout=2)


async def test_a_participants_own_403_is_its_answer() -> None:
    for body in (NOT_OPEN, b"", b"no JSON"):
        reply = await peers(Peer(403, body=body), Issuer()).call("POST", "https://seats.test", timeout=2)
        assert (reply.status, reply.body) == (403, body)


async def test_no_call_is_made_without_a_token() -> None:
    peer, issuer = Peer(200), Issuer()
    issuer.pause = asyncio.Event()
    with pytest.raises(Unreachable):
        await peers(peer, issuer).call("PUT", "https://stock.test", timeout=2)
    assert peer.sent == []


async def test_a_signed_token_outlasts_clocks_that_are_minutes_apart() -> None:
    said = {"sub": "stock", "aud": "handfast", "client_id": "stock", "roles": ["service"]}
    for apart in (-600_000, 600_000):
        clock, door = Hands(), by_secret()
        tokens = SignedTokens(secret_key(SECRET.encode()), said, clock)
        clock.at += apart
        for _ in range(4):
            assert (await door.admit(await tokens.token())).service == "stock"
            clock.at += 900_000
            door.clock.at += 900_000
