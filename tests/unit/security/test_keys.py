"""The issuer's keys: rotated, withheld, flooded with questions, and never believed beyond their time."""

import asyncio
from typing import Any

import pytest
from joserfc.jwk import OctKey

from shared.errors import Unreachable
from shared.security.keys import REFETCH_SECONDS, IssuerKeys, UnknownKey
from tests.issuer import Issuer, key_named
from tests.unit.security.world import keys_of


async def test_a_new_key_is_fetched_when_a_token_names_it() -> None:
    issuer = Issuer()
    keys = keys_of(issuer)
    await keys.find("first", "RS256")
    issuer.rotate("second", keep=True)
    await asyncio.sleep(REFETCH_SECONDS)
    assert (await keys.find("second", "RS256")).kid == "second"
    assert (await keys.find("first", "RS256")).kid == "first"
    assert issuer.fetched == 2


async def test_a_flood_of_unknown_keys_asks_the_issuer_once_in_a_while() -> None:
    issuer = Issuer()
    keys = keys_of(issuer)
    await keys.find("first", "RS256")
    for round_ in range(3):
        await asyncio.sleep(REFETCH_SECONDS)
        for number in range(100):
            with pytest.raises(UnknownKey):
                await keys.find(f"unknown-{round_}-{number}", "RS256")
    assert issuer.fetched == 4


async def test_all_who_wait_share_one_fetch() -> None:
    issuer = Issuer()
    issuer.pause = asyncio.Event()
    keys = keys_of(issuer)
    waiting = [asyncio.create_task(keys.find("first", "RS256")) for _ in range(50)]
    await asyncio.sleep(1)
    issuer.pause.set()
    assert {key.kid for key in await asyncio.gather(*waiting)} == {"first"}
    assert issuer.fetched == 1


async def test_who_stops_waiting_stops_nobody_else() -> None:
    issuer = Issuer()
    issuer.pause = asyncio.Event()
    keys = keys_of(issuer)
    impatient = asyncio.create_task(keys.find("first", "RS256"))
    patient = asyncio.create_task(keys.find("first", "RS256"))
    await asyncio.sleep(1)
    impatient.cancel()
    issuer.pause.set()
    assert (await patient).kid == "first"


async def test_known_keys_go_on_for_a_while_without_the_issuer() -> None:
    issuer = Issuer()
    keys = keys_of(issuer)
    running = asyncio.create_task(keys.run())
    await asyncio.sleep(1)
    issuer.away = True
    await asyncio.sleep(3_000)
    assert keys.health() is None
    assert (await keys.find("first", "RS256")).kid == "first"
    await asyncio.sleep(1_200)
    assert "503" in (keys.health() or "")
    with pytest.raises(Unreachable):
        await keys.find("first", "RS256")
    issuer.away = False
    await asyncio.sleep(5)
    assert keys.health() is None
    assert (await keys.find("first", "RS256")).kid == "first"
    running.cancel()


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"redirects": True}, "307"),
        ({"giant": True}, "larger than"),
        ({"away": True}, "503"),
        ({"names_itself": "https://other.test"}, "another issuer"),
        ({"url": "http://issuer.test"}, "not https"),
        ({"published": []}, "no key"),
    ],
)
async def test_what_the_issuer_must_not_answer_is_not_believed(wrong: dict[str, Any], why: str) -> None:
    issuer = Issuer()
    keys = keys_of(issuer)
    if "url" in wrong:
        issuer.names_itself = issuer.url
    for name, value in wrong.items():
        setattr(issuer, name, value)
    with pytest.raises(Unreachable, match=why):
        await keys.find("first", "RS256")


async def test_an_issuer_that_never_answers_is_given_up() -> None:
    issuer = Issuer()
    issuer.pause = asyncio.Event()
    with pytest.raises(Unreachable, match="within 5 s"):
        await keys_of(issuer).find("first", "RS256")


async def test_keys_that_are_no_use_are_passed_over() -> None:
    issuer = Issuer()
    secret = OctKey.import_key("x" * 32, {"kid": "secret"})
    weak = {**key_named("weak").as_dict(private=False), "n": "t" * 171}
    sealing = {**key_named("sealing").as_dict(private=False), "use": "enc"}
    issuer.documents = [
        {"kty": "RSA", "kid": "broken"},
        {"kty": "XYZ", "kid": "strange"},
        {"kid": ["no", "text"]},
        dict(secret.as_dict(private=True)),
        weak,
        dict(key_named("private").as_dict(private=True)),
        sealing,
    ]
    keys = keys_of(issuer)
    assert (await keys.find("first", "RS256")).kid == "first"
    for kid in ("broken", "strange", "secret", "weak", "private", "sealing"):
        assert not await _knows(keys, kid), kid


async def _knows(keys: IssuerKeys, kid: str) -> bool:
    for alg in ("RS256", "HS256"):
        try:
            await keys.find(kid, alg)
        except UnknownKey:
            continue
        return True
    return False


async def test_a_key_is_used_for_what_it_is_only() -> None:
    issuer = Issuer()
    elliptic = key_named("first", "EC")
    issuer.published = [key_named("first"), elliptic]
    keys = keys_of(issuer)
    assert (await keys.find("first", "ES256")).key_type == "EC"
    assert (await keys.find("first", "RS256")).key_type == "RSA"
    with pytest.raises(UnknownKey):
        await keys.find("first", "HS256")


async def test_an_unnamed_key_is_the_only_one_or_none() -> None:
    issuer = Issuer()
    keys = keys_of(issuer)
    assert (await keys.find(None, "RS256")).kid == "first"
    issuer.rotate("second", keep=True)
    await asyncio.sleep(REFETCH_SECONDS)
    with pytest.raises(UnknownKey):
        await keys.find("third", "RS256")
    with pytest.raises(UnknownKey):
        await keys.find(None, "RS256")


async def test_an_issuer_that_is_away_is_not_asked_by_every_request() -> None:
    issuer = Issuer()
    keys = keys_of(issuer)
    issuer.redirects = True
    for _ in range(50):
        with pytest.raises(Unreachable):
            await keys.find("first", "RS256")
    assert issuer.fetched == 1
    issuer.redirects = False
    await asyncio.sleep(REFETCH_SECONDS)
    assert (await keys.find("first", "RS256")).kid == "first"
