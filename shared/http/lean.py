"""The hot, uniform route: documented by FastAPI from its signature, served without FastAPI's machinery.

An endpoint is a coroutine function that takes any of: the `Request`, path parameters (ids), and one body
model; it returns a `Response`. Serving it is: check the ids, read the bytes, let pydantic validate them in
one go, call. Nothing else runs: no dependency is solved, no exit stack entered, no response model applied.
What an operator does (`open_to(..., act=)`) goes on record first.
"""

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, cast, get_args

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.alias_generators import to_camel
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive

from shared.errors import Refused, Transient
from shared.http.answers import problem_answer
from shared.http.decode import decoder
from shared.http.recorder import recorder_of
from shared.identity import ID_PATTERN
from shared.security.roles import ACT

Respond = Callable[[Request, Mapping[str, str]], Awaitable[Response]]

_ID: Final = re.compile(ID_PATTERN.removeprefix("^").removesuffix("$"))


class LeanRoute(APIRoute):
    """A route class: `APIRouter(route_class=LeanRoute)`. Raises TypeError for an endpoint it can't serve.

    What it documents besides its signature (headers, answers) comes from `responses=`, `response_model=`
    and `openapi_extra=`; none of that costs anything when it is served.
    """

    respond: Respond

    def get_route_handler(self) -> Callable[[Request], Any]:
        """Return the handler for an application that routes by FastAPI itself."""
        act = (self.openapi_extra or {}).get(ACT)
        respond = self.respond = _respond(self.endpoint, self.dependant, act)

        async def handle(request: Request) -> Response:
            return await respond(request, request.path_params)

        return handle


async def read_body(receive: Receive) -> bytes:
    """Read a request's whole body; how much may come is the guard's business."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        return body
    chunks = [body]
    while message.get("more_body", False):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunks.append(message.get("body", b""))
    return b"".join(chunks)


def _respond(endpoint: Callable[..., Any], dependant: Dependant, act: str | None = None) -> Respond:
    _check(endpoint, dependant)
    request_name = dependant.request_param_name
    body_name, decode, reason_name = _body(endpoint, dependant)

    async def respond(request: Request, path_params: Mapping[str, str]) -> Response:
        try:
            arguments: dict[str, Any] = {}
            for name, value in path_params.items():
                if _ID.fullmatch(value) is None:
                    raise _no_id(name)
                arguments[name] = value
            if decode is not None:
                arguments[body_name] = decode(await read_body(request.receive), request)
            if request_name is not None:
                arguments[request_name] = request
            if act is not None and (recorder := recorder_of(request)) is not None:
                reason = getattr(arguments.get(body_name), reason_name, None) if reason_name else None
                return await recorder.record(
                    request,
                    act,
                    reasoned=bool(reason_name),
                    reason=reason,
                    work=partial(endpoint, **arguments),
                )
            return cast(Response, await endpoint(**arguments))
        except (Refused, Transient) as error:
            return problem_answer(error)

    return respond


def _body(
    endpoint: Callable[..., Any], dependant: Dependant
) -> tuple[str, Callable[[bytes, Request], Any] | None, str]:
    """Return the body's parameter, its decoder, and which field of it says why, as far as there are any."""
    if not dependant.body_params:
        return "", None, ""
    parameter = dependant.body_params[0]
    annotation = parameter.field_info.annotation
    choices = [choice for choice in (annotation, *get_args(annotation)) if inspect.isclass(choice)]
    model = next((choice for choice in choices if issubclass(choice, BaseModel)), None)
    if model is None:
        raise TypeError(f"{endpoint.__qualname__}: the body must be a pydantic model, not {annotation}")
    reason_name = next((name for name in ("why", "reason") if name in model.model_fields), "")
    return parameter.name, decoder(model, optional=not parameter.field_info.is_required()), reason_name


def _check(endpoint: Callable[..., Any], dependant: Dependant) -> None:
    if not inspect.iscoroutinefunction(endpoint):
        raise TypeError(f"{endpoint.__qualname__} must be a coroutine function")
    unserved = [*dependant.query_params, *dependant.header_params, *dependant.cookie_params]
    if unserved or dependant.dependencies or len(dependant.body_params) > 1:
        raise TypeError(
            f"{endpoint.__qualname__}: a lean route takes the request, ids of its path and one body; "
            "read headers from the request and document them by openapi_extra="
        )


def _no_id(name: str) -> Refused:
    name = to_camel(name)
    detail = f"{name} must match {ID_PATTERN}."
    return Refused("invalid-request", detail, 422, errors=[{"field": name, "detail": detail}])
