"""A stand-in for Stripe: localstripe in a process of its own, and what the tests ask it about."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, NamedTuple

import httpx

from cli.launcher import ROOT
from cli.lifeline import die_with_parent

KEY: Final = "sk_test_only_for_the_stand_in"
GOOD: Final = "4242424242424242"
DECLINED: Final = "4000000000000341"
AUTHENTICATING: Final = "4000002500003155"
"""Card numbers as in https://docs.stripe.com/testing; the last wants its holder to authenticate."""


class Money(NamedTuple):
    """What the stand-in holds and has kept, in minor units; refunded: what it gave back of what it kept."""

    held: int
    captured: int
    refunded: int


class StripeStandIn:
    """A running one."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(
            base_url=f"{url}/v1", headers={"authorization": f"Bearer {KEY}"}, trust_env=False
        )

    def card(self, number: str = GOOD) -> str:
        """Register a card; return its id."""
        card = {"card[number]": number, "card[exp_month]": "12", "card[exp_year]": "2040", "card[cvc]": "123"}
        made = self._client.post("/payment_methods", data={"type": "card", **card}).raise_for_status()
        return str(made.json()["id"])

    def owner_of(self, card: str) -> str:
        """Register a card's owner, who alone may pay with it from now on; return their id."""
        made = self._client.post("/customers", data={"payment_method": card}).raise_for_status()
        return str(made.json()["id"])

    def intents(self) -> list[dict[str, Any]]:
        """Return every payment intent."""
        return self._list("payment_intents")

    def refunds(self) -> list[dict[str, Any]]:
        return self._list("refunds")

    def money(self) -> Money:
        """Add up all payments."""
        held = captured = 0
        for intent in self.intents():
            held += intent["amount"] * (intent["status"] == "requires_capture")
            captured += intent["amount"] * (intent["status"] == "succeeded")
        return Money(held, captured, sum(refund["amount"] for refund in self.refunds()))

    def act(self, intent_id: str, act: str) -> None:
        """Do something to an intent behind everybody's back: cancel, capture."""
        self._client.post(f"/payment_intents/{intent_id}/{act}").raise_for_status()

    def forget(self) -> None:
        """Forget everything."""
        self._client.delete(f"{self.url}/_config/data").raise_for_status()

    def close(self) -> None:
        self._client.close()

    def _list(self, what: str) -> list[dict[str, Any]]:
        found = self._client.get(f"/{what}", params={"limit": "100"}).raise_for_status().json()
        assert not found["has_more"]
        items: list[dict[str, Any]] = found["data"]
        return items


@contextmanager
def stripe_stand_in() -> Iterator[StripeStandIn]:
    """Have a stand-in for the time of a block."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "tests.cards.program"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        preexec_fn=partial(die_with_parent, signal.SIGKILL),
    )
    assert process.stdout is not None
    try:
        port = process.stdout.readline().strip()
        assert port.isdigit(), "the stand-in for Stripe didn't start"
        stand_in = StripeStandIn(f"http://127.0.0.1:{port}")
        try:
            yield stand_in
        finally:
            stand_in.close()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
