"""What every request passes before a route sees it, as one pure ASGI middleware.

It asks who sends it, bounds the body, refuses what is not JSON, puts the request under its trace, admits it
to its lane or turns it away before anything is written, and sees to it that whatever goes wrong ends as a
problem.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.errors import HandfastError, Refused, Transient
from shared.http.answers import answer_of, problem_answer
from shared.http.decode import is_json, not_json
from shared.http.dispatch import ROUTE
from shared.http.problems import internal_error
from shared.security.access import PRINCIPAL
from shared.security.roles import Principal
from shared.settings import Settings
from shared.tcc.protocol import BRANCH_ID, TRANSACTION_ID
from shared.telemetry import Metrics, next_traceparent, reset_traceparent, set_traceparent

logger = logging.getLogger(__name__)

Authenticate = Callable[[Iterable[tuple[bytes, bytes]]], Awaitable[Principal]]
"""Tells from a head who sends a request; raises Refused (401) where it doesn't say."""

LIVE: Final = "/livez"
UNGUARDED: Final = frozenset({LIVE, "/readyz", "/metrics"})
BODY_SECONDS: Final = 10.0
"""How long a body may take to arrive while many requests are under way."""
STOPPING: Final = "The service is being stopped, and the outcome is not known yet. Send the request again."
_BODILESS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_METHODS: Final = _BODILESS | {"POST", "PUT", "DELETE", "PATCH"}
_TCC: Final = (TRANSACTION_ID.encode(), BRANCH_ID.encode())


@dataclass(slots=True)
class Lane:
    """Requests of one sort, and how many of them may be worked on at once."""

    name: str
    limit: int
    in_flight: int = 0


class Guard:
    """Wraps the application.

    sheds: (method, path) of the customers' creating calls, shed before all else; authenticate: None where
    nobody is asked who he is.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: Settings,
        metrics: Metrics,
        randomness: random.Random,
        sheds: Collection[tuple[str, str]] = (),
        authenticate: Authenticate | None = None,
    ) -> None:
        self._app = app
        self._limit = settings.body_limit_bytes
        self._metrics = metrics
        self._randomness = randomness
        self._sheds = frozenset(sheds)
        self._authenticate = authenticate
        self._orders = Lane("orders", settings.max_orders_in_flight)
        self._protocol = Lane("protocol", settings.max_protocol_in_flight)
        self._other = Lane("other", settings.max_other_in_flight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        began = loop.time()
        headers = dict(scope["headers"])
        traceparent = headers.get(b"traceparent")
        token = set_traceparent(
            next_traceparent(None if traceparent is None else traceparent.decode("latin-1"), self._randomness)
        )
        sent = _Sent(send)
        lane = self._lane(scope, headers)
        lane.in_flight += 1
        try:
            if self._authenticate is not None and scope["path"] != LIVE:
                scope[PRINCIPAL] = await self._authenticate(scope["headers"])
            receive = self._check(scope, headers, lane, receive)
            await self._app(scope, receive, sent.send)
        except HandfastError as error:
            await _answer(error, scope, receive, sent)
        except ClientDisconnect:
            logger.debug(
                "%s %s: the client left before it had sent its request", scope["method"], scope["path"]
            )
        except asyncio.CancelledError:
            if not _is_stopping(scope):
                raise
            # The server cancelled it, for it took too long: that ends here, in an answer.
            await _answer(Transient(STOPPING, "stopping"), scope, receive, sent)
        except Exception as error:  # noqa: BLE001 - the last resort of every route
            await _answer(error, scope, receive, sent)
        finally:
            lane.in_flight -= 1
            reset_traceparent(token)
            method = scope["method"]
            self._metrics.served(
                method if method in _METHODS else "other",
                scope.get(ROUTE, "unknown"),
                sent.status,
                loop.time() - began,
            )

    def _lane(self, scope: Scope, headers: dict[bytes, bytes]) -> Lane:
        path: str = scope["path"]
        if (scope["method"], path) in self._sheds:
            return self._orders
        if _TCC[0] in headers or _TCC[1] in headers or path.endswith("/inquiries"):
            return self._protocol
        return self._other

    def _check(self, scope: Scope, headers: dict[bytes, bytes], lane: Lane, receive: Receive) -> Receive:
        """Raise what speaks against the request; return receive, counted and hurried where it must be."""
        if lane.in_flight > lane.limit and scope["path"] not in UNGUARDED:
            self._metrics.shed(lane.name)
            raise Transient("Too much is under way; nothing was done. Try again later.", "overloaded")
        if scope["method"] in _BODILESS:
            return receive
        length = headers.get(b"content-length")
        if length == b"0" or (length is None and b"transfer-encoding" not in headers):
            return receive
        known = length is not None and length.isdigit()
        if known and int(length or 0) > self._limit:
            raise self._too_large()
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise Refused(
                "unsupported-media-type", "Send the body as it is, without a Content-Encoding.", 415
            )
        content_type = headers.get(b"content-type")
        if content_type != b"application/json" and not is_json(
            None if content_type is None else content_type.decode("latin-1")
        ):
            raise not_json()
        if 2 * lane.in_flight > lane.limit:
            # Only now, because it costs as much as a tenth of a request: half of the places are always given
            # back in time, however many connections wait with bodies that never come.
            receive = _hurried(receive)
        return receive if known else self._counted(receive)

    def _counted(self, receive: Receive) -> Receive:
        seen = 0

        async def receive_counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._limit:
                raise self._too_large()
            return message

        return receive_counted

    def _too_large(self) -> Refused:
        return Refused("body-too-large", f"Send at most {self._limit} bytes in a body.", 413)


def _hurried(receive: Receive) -> Receive:
    deadline = asyncio.get_running_loop().time() + BODY_SECONDS

    async def receive_hurried() -> Message:
        try:
            async with asyncio.timeout_at(deadline):
                return await receive()
        except TimeoutError:
            detail = "The body did not arrive in time; nothing was done. Send the request again."
            raise Refused("request-timeout", detail, 408) from None

    return receive_hurried


def _is_stopping(scope: Scope) -> bool:
    """Say whether the server has begun to cancel requests (shared.http.server)."""
    return bool(getattr(scope["app"].state, "stopping", False))


class _Sent:
    """What has been sent of an answer."""

    __slots__ = ("_send", "complete", "status")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0  # No answer was begun.
        self.complete = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            await self._send(message)
        else:
            await self._send(message)
            self.complete = not message.get("more_body", False)


async def _answer(error: Exception, scope: Scope, receive: Receive, sent: _Sent) -> None:
    """Answer with the error's problem; what nobody expected is logged and told as a bare 500."""
    expected = isinstance(error, Refused | Transient)
    if not expected:
        logger.error("%s %s failed", scope["method"], scope["path"], exc_info=error)
    if sent.complete:
        return
    if sent.status:
        # Half an answer is out: only a broken connection tells the client that the rest is missing.
        raise error
    answer = problem_answer(error) if isinstance(error, Refused | Transient) else answer_of(internal_error())
    await answer(scope, receive, sent.send)
