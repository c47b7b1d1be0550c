"""A program's API: its routers behind the guard, its health, its metrics and the whole truth in OpenAPI."""

import logging
import random
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.drain import Drain
from shared.errors import HandfastError, Refused, Transient
from shared.health import Health
from shared.http.answers import answer_of, json_answer, problem_answer, raw_answer
from shared.http.decode import refusal_of
from shared.http.dispatch import Dispatch
from shared.http.guard import LIVE, Authenticate, Guard
from shared.http.lean import LeanRoute
from shared.http.openapi import complete
from shared.http.problems import internal_error, problem
from shared.http.recorder import Recorder
from shared.security.roles import Role, open_to
from shared.settings import Settings
from shared.telemetry import Metrics

logger = logging.getLogger(__name__)

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_api(
    *,
    title: str,
    description: str,
    routers: Sequence[APIRouter],
    settings: Settings,
    health: Health,
    metrics: Metrics,
    lifespan: Lifespan | None = None,
    sheds: Collection[tuple[str, str]] = (),
    randomness: random.Random | None = None,
    drain: Drain | None = None,
    authenticate: Authenticate | None = None,
    recorder: Recorder | None = None,
) -> FastAPI:
    """Build a program's API.

    lifespan: starts and stops everything; sheds: (method, path) of the customers' creating calls, turned away
    first under overload; randomness: where new trace ids come from; drain: what the server does at the end;
    authenticate: tells who sends a request, None where nobody is asked; recorder: keeps the record of
    operators' acts.
    """
    api = _Api(
        title=title,
        description=description,
        version=version("handfast"),
        lifespan=lifespan,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={
            HandfastError: _handle_error,
            RequestValidationError: _handle_invalid,
            HTTPException: _handle_http,
            Exception: _handle_anything,
        },
    )
    trace_ids = randomness or random.Random()  # noqa: S311 - a trace id is no secret
    api.guarded = lambda app: Guard(
        app,
        settings=settings,
        metrics=metrics,
        randomness=trace_ids,
        sheds=sheds,
        authenticate=authenticate,
    )
    api.state.drain = drain or Drain()
    health.add("program", api.state.drain.problem)
    api.authenticated = authenticate is not None
    api.state.recorder = recorder
    api.include_router(_operations(health, metrics))
    for router in routers:
        api.include_router(router)
    return api


class Status(BaseModel):
    """What a program says of itself."""

    status: str


class _Api(FastAPI):
    guarded: Callable[[ASGIApp], ASGIApp]
    authenticated: bool

    def build_middleware_stack(self) -> ASGIApp:
        return self.guarded(Dispatch(self.routes, super().build_middleware_stack()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self.middleware_stack is not None:
            scope["app"] = self
            await self.middleware_stack(scope, receive, send)
        else:
            await super().__call__(
                scope, receive, _log_failure(send) if scope["type"] == "lifespan" else send
            )

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = complete(super().openapi(), authenticated=self.authenticated)
        return self.openapi_schema


def _log_failure(send: Send) -> Send:
    """Log in our own words why a start or stop failed; the server would print a traceback as one message."""

    async def tell(message: Message) -> None:
        # Starlette sends this from within its `except`, so the error is the one being handled.
        error = sys.exc_info()[1]
        if message["type"].endswith(".failed") and error is not None:
            if isinstance(error, HandfastError):
                logger.error("%s can't go on: %s", message["type"].split(".")[1].capitalize(), error.detail)
            else:
                logger.error("%s failed", message["type"].split(".")[1].capitalize(), exc_info=error)
            message = {"type": message["type"], "message": ""}
        await send(message)

    return tell


# The coordinator asks participants how they are.
_WATCHED: Final = open_to(Role.MONITOR, Role.OPERATOR, Role.SERVICE)


def _operations(health: Health, metrics: Metrics) -> APIRouter:
    router = APIRouter(route_class=LeanRoute, tags=["operations"])

    @router.get(LIVE, response_model=Status, openapi_extra=open_to())
    async def live() -> Response:
        """Whether the program runs; depends on nothing."""
        return json_answer(Status(status="live"))

    @router.get("/readyz", response_model=Status, openapi_extra=_WATCHED)
    async def ready() -> Response:
        """Whether the program can do its work: 503 and the reasons while it can't."""
        problems = health.problems()
        if problems:
            told = "; ".join(f"{name}: {what}" for name, what in problems.items())
            return answer_of(problem("not-ready", 503, told, problems=problems), {"retry-after": "1"})
        return json_answer(Status(status="ready"))

    @router.get(
        "/metrics",
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
        openapi_extra=_WATCHED,
    )
    async def read_metrics() -> Response:
        """The program's metrics, for Prometheus."""
        return raw_answer(generate_latest(metrics.registry), 200, CONTENT_TYPE_LATEST)

    return router


async def _handle_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HandfastError)
    if isinstance(error, Refused | Transient):
        return problem_answer(error)
    raise error  # One of our own mistakes: the guard logs it.


async def _handle_invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return problem_answer(refusal_of([(tuple(each["loc"][1:]), each["msg"]) for each in error.errors()]))


async def _handle_http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    slug = error.detail.lower().replace(" ", "-") if error.detail.replace(" ", "").isalpha() else "refused"
    return answer_of(problem(slug, error.status_code, error.detail), error.headers)


async def _handle_anything(_request: Request, _error: Exception) -> Response:
    # FastAPI raises the error again after this answer, and the guard logs it.
    return answer_of(internal_error())
