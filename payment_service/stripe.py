"""Stripe's REST API as far as it is needed: one call, and what its answer means.

Forms go out, JSON comes back. What Stripe declines for good is Refused, what may have happened or is not
about this payment (a wrong key, too many calls) is Transient. The key goes into one header and nowhere else.
"""

import logging
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from pydantic import SecretStr

from shared.errors import Refused, Transient, Unreachable
from shared.http.caller import Caller, Reply

API_VERSION: Final = "2024-06-20"
"""The version whose answers are read here: https://docs.stripe.com/api/versioning"""

DECLINED: Final = "payment-declined"

_log = logging.getLogger(__name__)


class StripeApi:
    """Calls Stripe. url: without a slash at its end; timeout: of one call, in seconds."""

    def __init__(self, caller: Caller, url: str, key: SecretStr, timeout: float) -> None:
        self._caller = caller
        self._url = url.rstrip("/")
        self._key = key
        self._timeout = timeout

    async def get(self, path: str, **query: str) -> Mapping[str, Any]:
        """Read an object; raise Refused or Transient."""
        return await self._call("GET", f"{path}?{urlencode(query)}" if query else path, None, {})

    async def post(self, path: str, form: Mapping[str, str], key: str) -> Mapping[str, Any]:
        """Create or change an object under an idempotency key; raise Refused or Transient."""
        headers = {"content-type": "application/x-www-form-urlencoded", "idempotency-key": key}
        return await self._call("POST", path, urlencode(form).encode(), headers)

    async def _call(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Mapping[str, Any]:
        reply = await self._caller.call(
            method,
            f"{self._url}/v1/{path}",
            headers={
                **headers,
                "authorization": f"Bearer {self._key.get_secret_value()}",
                "stripe-version": API_VERSION,
            },
            body=body,
            timeout=self._timeout,
        )
        return _read(method, path, reply)


def _read(method: str, path: str, reply: Reply) -> Mapping[str, Any]:
    try:
        content = reply.json()
    except ValueError:
        content = None
    if 200 <= reply.status < 300 and isinstance(content, dict):
        return content
    what = f"{method} {path.partition('?')[0]}"
    if reply.status in (400, 402, 404):
        raise _refusal(what, reply.status, content)
    if reply.status in (401, 403):
        _log.error("Stripe answers %s with %d: look after HANDFAST_STRIPE_API_KEY.", what, reply.status)
        raise Transient("The payment gateway doesn't let this service in.", "gateway-closed")
    # 409 (the key is in use), 429, 5xx and whatever is no answer of Stripe's: it may have happened.
    raise Unreachable(f"Stripe answered {what} with {reply.status}; whether it acted is unknown.")


def _refusal(what: str, status: int, content: Any) -> Refused:
    error = content.get("error") if isinstance(content, dict) else None
    told = error if isinstance(error, dict) else {}
    code = _plain(told.get("decline_code") or told.get("code")) or "no code"
    # A card's message is written for its holder; any other one speaks of our request, and isn't repeated.
    message = _plain(told.get("message")) if status == 402 else ""
    if not message:
        _log.warning("Stripe refuses %s with %d: %s %s", what, status, code, _plain(told.get("param")))
        message = "The payment gateway doesn't take this payment."
    return Refused(DECLINED, f"{message} Pay with another card. ({code})", status=402)


def _plain(text: Any) -> str:
    """Return a text of Stripe's as one bounded line without control characters; "" for none."""
    return "".join(each for each in text[:200] if each.isprintable()) if isinstance(text, str) else ""
