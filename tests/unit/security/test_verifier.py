"""Only a token that is genuine, meant for us and of this hour opens the door, and it says only why not."""

import asyncio
import base64
import hashlib
import hmac
import json
import re
from typing import Any

import pytest
from joserfc.jwk import OctKey

from shared.errors import Transient
from shared.security.access import Unauthenticated
from shared.security.roles import Role
from tests.issuer import SECRET, Issuer, claims, key_named, shared, signed
from tests.unit.security.world import NOW, by_issuer, by_secret, seconds


def token(*roles: str, **more: Any) -> str:
    return shared(*roles, **{"now": seconds(), **more})


async def test_a_token_says_who_its_bearer_is() -> None:
    door = by_secret()
    customer = await door.admit(token("customer", sub="ann"), "bearer")
    assert (customer.subject, customer.customer) == ("ann", "ann")
    assert customer.roles == {Role.CUSTOMER}
    service = await door.admit(token("service", client_id="stock"))
    assert (service.service, service.customer) == ("stock", None)
    both = await door.admit(token("operator", "emperor", sub="eve"))
    assert both.roles == {Role.OPERATOR}


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"aud": "somebody-else"}, "aud"),
        ({"aud": ["a", "b"]}, "aud"),
        ({"aud": None}, "aud"),
        ({"lasts": -31}, "expired"),
        ({"exp": None}, "exp"),
        ({"exp": "tomorrow"}, "exp"),
        ({"exp": True}, "exp"),
        ({"exp": 1e300}, "exp"),
        ({"nbf": NOW / 1000 + 31}, "isn't valid yet"),
        ({"sub": None}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": "a\r\nb"}, "sub"),
        ({"sub": "x" * 201}, "sub"),
        ({"sub": 7}, "sub"),
        ({"sub": "an|id"}, "customer"),
    ],
)
async def test_what_is_not_meant_for_us_now_is_no_good(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(Unauthenticated, match=re.escape(why)) as refused:
        await by_secret().admit(token("customer", **wrong))
    assert refused.value.status == 401
    assert SECRET not in refused.value.detail


async def test_clocks_may_be_apart_by_the_skew_allowance() -> None:
    door = by_secret()
    await door.admit(token("customer", lasts=-29))
    await door.admit(token("customer", nbf=seconds() + 29))


async def test_a_service_without_a_client_is_nobody() -> None:
    with pytest.raises(Unauthenticated, match="client"):
        await by_secret().admit(token("service"))


async def test_a_forged_signature_is_no_good() -> None:
    door = by_secret()
    genuine = token("operator")
    head, payload, signature = genuine.split(".")
    other = token("customer", sub="eve").split(".")[1]
    forgeries = [
        f"{head}.{other}.{signature}",
        f"{head}.{payload}.{'A' * len(signature)}",
        f"{head}.{payload}.",
        f"{head}.{payload}",
        shared("operator", now=seconds(), secret=SECRET + "!"),
        "not.a.token",
        "x",
        f"{genuine}.x",
    ]
    for forgery in forgeries:
        with pytest.raises(Unauthenticated):
            await door.admit(forgery)


def _unsigned(alg: str, said: dict[str, Any]) -> str:
    parts = [{"alg": alg, "typ": "JWT"}, said]
    return ".".join([*(_encoded(json.dumps(part).encode()) for part in parts), ""])


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "", "HS999"])
async def test_no_token_without_a_signature_is_taken(alg: str) -> None:
    said = claims("operator", now=seconds())
    for door in (by_secret(), by_issuer(Issuer())):
        with pytest.raises(Unauthenticated):
            await door.admit(_unsigned(alg, said))


async def test_a_public_key_is_no_shared_secret() -> None:
    issuer = Issuer()
    door = by_issuer(issuer)
    public = issuer.published[0]
    said = claims("operator", now=seconds())
    for secret in (public.as_pem(private=False), json.dumps(public.as_dict(private=False)).encode()):  # type: ignore[union-attr]
        # The library refuses to sign with such a secret, as a forger's wouldn't.
        forged = _by_hand(said, secret, kid=public.kid)
        with pytest.raises(Unauthenticated):
            await door.admit(forged)


def _by_hand(said: dict[str, Any], secret: bytes, **header: Any) -> str:
    """Sign what the library would refuse to sign."""
    parts = [{"alg": "HS256", "typ": "JWT", **header}, said]
    encoded = [_encoded(json.dumps(part).encode()) for part in parts]
    digest = hmac.new(secret, ".".join(encoded).encode(), hashlib.sha256).digest()
    return ".".join([*encoded, _encoded(digest)])


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


async def test_a_shared_secret_takes_no_other_algorithm() -> None:
    key = OctKey.import_key(SECRET)
    for alg in ("HS384", "HS512"):
        with pytest.raises(Unauthenticated, match=r"algorithm|JWT"):
            await by_secret().admit(signed(claims("operator", now=seconds()), key, alg))


async def test_only_the_issuer_of_the_settings_is_believed() -> None:
    issuer = Issuer()
    door = by_issuer(issuer)
    assert (await door.admit(issuer.token("operator", now=seconds()))).roles == {Role.OPERATOR}
    with pytest.raises(Unauthenticated, match="issuer"):
        await door.admit(issuer.token("operator", now=seconds(), iss="https://elsewhere.test"))
    with pytest.raises(Unauthenticated, match="key"):
        await door.admit(signed(claims("operator", now=seconds()), key_named("stranger")))


async def test_what_is_no_access_token_is_not_taken() -> None:
    key = OctKey.import_key(SECRET)
    said = claims("operator", now=seconds())
    await by_secret().admit(signed(said, key, "HS256", typ="at+jwt"))
    for header in ({"typ": "logout+jwt"}, {"typ": 7}, {"crit": ["exp"]}, {"crit": ["b64"], "b64": False}):
        with pytest.raises(Unauthenticated):
            await by_secret().admit(_by_hand(said, SECRET.encode(), **header))


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Bearer ")],
        [(b"authorization", b"Basic YTpi")],
        [(b"authorization", b"Bearer a b")],
        [(b"authorization", b"Bearer a,b")],
        [(b"authorization", b"Bearer a\r\nX-Other: b")],
        [(b"authorization", b"Bearer \xff\xfe")],
        [(b"authorization", b"Bearer " + b"a" * 8_193)],
    ],
)
async def test_a_head_without_one_whole_token_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(Unauthenticated):
        await by_secret().verifier(headers)


async def test_two_tokens_are_none() -> None:
    good = (b"authorization", f"Bearer {token('operator')}".encode())
    door = by_secret()
    assert (await door.verifier([good])).roles == {Role.OPERATOR}
    with pytest.raises(Unauthenticated, match="one Authorization"):
        await door.verifier([good, good])


async def test_a_remembered_token_ends_when_it_says() -> None:
    door = by_secret()
    good = token("customer", lasts=60)
    await door.admit(good)
    door.clock.at += 89_000
    await door.admit(good)
    door.clock.at += 1_000
    with pytest.raises(Unauthenticated, match="expired"):
        await door.admit(good)


async def test_a_remembered_token_is_verified_once(monkeypatch: pytest.MonkeyPatch) -> None:
    door = by_secret()
    good = token("customer")
    await door.admit(good)
    monkeypatch.setattr("shared.security.verifier.verify", None)
    await door.admit(good)


async def test_a_withdrawn_key_takes_what_it_signed_with_it() -> None:
    issuer = Issuer()
    door = by_issuer(issuer)
    old = issuer.token("operator", now=seconds())
    await door.admit(old)
    issuer.rotate("second")
    await _later(door.keys)
    with pytest.raises(Unauthenticated, match="key"):
        await door.admit(old)


async def _later(keys: Any) -> None:
    running = asyncio.create_task(keys.run())
    await asyncio.sleep(600)
    running.cancel()


async def test_an_issuer_out_of_reach_is_not_the_callers_fault() -> None:
    issuer = Issuer()
    issuer.away = True
    with pytest.raises(Transient) as away:
        await by_issuer(issuer).admit(issuer.token("operator", now=seconds()))
    assert (away.value.slug, away.value.status) == ("issuer-unreachable", 503)
