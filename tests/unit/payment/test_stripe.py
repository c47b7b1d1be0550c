"""Stripe's answers sort into done, refused and unknown, and its key goes into one header only."""

import json
import logging
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import SecretStr

from payment_service.stripe import StripeApi
from shared.errors import Refused, Transient
from shared.http.caller import Reply

KEY = "sk_live_never_to_be_seen"


class Scripted:
    """A Caller that answers as told; sent: the last request's url, headers and body."""

    def __init__(self, status: int, body: Any) -> None:
        self._reply = Reply(status, {}, body if isinstance(body, bytes) else json.dumps(body).encode())
        self.sent: tuple[str, Mapping[str, str], bytes | None] = ("", {}, None)

    async def call(
        self,
        method: str,  # noqa: ARG002 - the port's signature
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float,  # noqa: ASYNC109, ARG002 - the port's signature
    ) -> Reply:
        self.sent = (url, headers or {}, body)
        return self._reply

    async def close(self) -> None:
        pass


def api(caller: Scripted) -> StripeApi:
    return StripeApi(caller, "https://stripe.test/", SecretStr(KEY), 1.0)


async def test_a_form_goes_out_under_its_idempotency_key_and_an_object_comes_back() -> None:
    caller = Scripted(200, {"id": "pi_1"})
    assert await api(caller).post("payment_intents", {"metadata[a]": "b&c"}, "branch:try:0") == {"id": "pi_1"}
    url, headers, body = caller.sent
    assert url == "https://stripe.test/v1/payment_intents"
    assert body == b"metadata%5Ba%5D=b%26c"
    assert headers["idempotency-key"] == "branch:try:0"
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    assert "stripe-version" in headers


@pytest.mark.parametrize("status", [400, 402, 404])
async def test_what_stripe_declines_is_refused(status: int) -> None:
    with pytest.raises(Refused) as refused:
        await api(Scripted(status, {"error": {"code": "card_declined"}})).post("payment_intents", {}, "key")
    assert (refused.value.slug, refused.value.status) == ("payment-declined", 402)
    assert "card_declined" in refused.value.detail


@pytest.mark.parametrize("status", [302, 401, 403, 409, 429, 500, 502, 503])
async def test_what_may_have_happened_or_is_our_own_fault_is_unknown(status: int) -> None:
    with pytest.raises(Transient):
        await api(Scripted(status, {"error": {}})).post("payment_intents", {}, "key")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b"\xff"])
async def test_a_success_that_says_nothing_is_unknown(body: bytes) -> None:
    with pytest.raises(Transient):
        await api(Scripted(200, body)).post("payment_intents", {}, "key")


@pytest.mark.parametrize("error", [None, [], "x", {"error": "x"}, {"error": {"message": 7, "code": []}}])
async def test_a_refusal_that_says_nothing_is_one_all_the_same(error: Any) -> None:
    with pytest.raises(Refused, match="no code"):
        await api(Scripted(402, error)).post("payment_intents", {}, "key")


async def test_what_a_card_says_is_told_in_one_bounded_line() -> None:
    told = {"error": {"message": "No.\r\nSet-Cookie: x" + "y" * 1_000, "decline_code": "lost_card"}}
    with pytest.raises(Refused) as refused:
        await api(Scripted(402, told)).post("payment_intents", {}, "key")
    assert refused.value.detail.startswith("No.Set-Cookie")
    assert refused.value.detail.isprintable()
    assert len(refused.value.detail) < 300


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 429, 500])
async def test_the_key_is_neither_logged_nor_told(status: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caller = Scripted(status, {"error": {"message": f"Invalid API Key provided: {KEY}"}})
    called = api(caller)
    with pytest.raises((Refused, Transient)) as error:
        await called.post("payment_intents", {}, "key")
    assert KEY not in f"{error.value!r} {error.value.detail}"
    assert KEY not in caplog.text
    assert KEY not in f"{called!r} {vars(called)!r}"
    assert KEY not in caller.sent[0]
