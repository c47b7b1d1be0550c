"""From a request's path and method to its route: one table for all routes, lean ones served on the spot.

FastAPI's own routing asks each route in turn and each included router twice; here a fixed path is one look
into a dictionary. It also answers what FastAPI leaves half done: 405 names all methods of the path in
`Allow`, HEAD is served by GET's route, OPTIONS tells the methods, and 404 is a problem. A known
sender whose roles a route is not open to goes no further (403).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fastapi.routing import iter_route_contexts
from starlette.requests import Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.errors import Refused
from shared.http.answers import no_content, problem_answer
from shared.http.lean import LeanRoute, Respond
from shared.security.access import PRINCIPAL, insist_on_roles
from shared.security.roles import Role, roles_of

ROUTE: Final = "handfast.route"
"""Where the scope keeps the template of the route that was chosen, for the metrics."""


@dataclass(slots=True)
class _Target:
    template: str
    pattern: re.Pattern[str]
    # None: FastAPI serves that method.
    methods: dict[str, Respond | None] = field(default_factory=dict)
    # Whom a method is open to; empty: everybody whom the guard lets in.
    roles: dict[str, frozenset[Role]] = field(default_factory=dict)


class Dispatch:
    """An ASGI application over the routes that are known when it is made; `others` serves the plain ones."""

    def __init__(self, routes: Sequence[BaseRoute], others: ASGIApp) -> None:
        self._others = others
        targets = _targets(routes)
        self._fixed = {target.template: target for target in targets if "{" not in target.template}
        self._patterns = [target for target in targets if "{" in target.template]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._others(scope, receive, send)
            return
        method, path = scope["method"], scope["path"]
        target = self._fixed.get(path)
        params: dict[str, str] = {}
        if target is None or method not in target.methods:
            for candidate in self._patterns:
                # Not match: its "$" would pass over a line break at the end.
                match = candidate.pattern.fullmatch(path)
                if match is not None and method in candidate.methods:
                    target, params = candidate, match.groupdict()
                    break
        if target is None or method not in target.methods:
            await self._unusual(scope, receive, send)
            return
        scope[ROUTE] = target.template
        principal = scope.get(PRINCIPAL)
        if principal is not None and target.roles[method]:
            insist_on_roles(principal, target.roles[method])
        respond = target.methods[method]
        if respond is None:
            await self._others(scope, receive, send)
            return
        scope["path_params"] = params
        response = await respond(Request(scope, receive, send), params)
        await response(scope, receive, send)

    async def _unusual(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a path that nobody has, or a method that its routes don't declare."""
        targets = self._at(scope["path"])
        if not targets:
            unknown = Refused("not-found", "Nothing is at this address; see /docs for what there is.", 404)
            await problem_answer(unknown)(scope, receive, send)
            return
        scope[ROUTE] = targets[0].template
        methods = {method for target in targets for method in target.methods}
        if scope["method"] == "HEAD" and "GET" in methods:
            await self({**scope, "method": "GET"}, receive, _without_body(send))
            return
        methods |= {"OPTIONS", "HEAD"} if "GET" in methods else {"OPTIONS"}
        allow = {"allow": ", ".join(sorted(methods))}
        if scope["method"] == "OPTIONS":
            await no_content(allow)(scope, receive, send)
            return
        detail = f"Use one of the methods that this address has: {allow['allow']}."
        await problem_answer(Refused("method-not-allowed", detail, 405), allow)(scope, receive, send)

    def _at(self, path: str) -> list[_Target]:
        fixed = self._fixed.get(path)
        found = [target for target in self._patterns if target.pattern.fullmatch(path) is not None]
        return found if fixed is None else [fixed, *found]


def _targets(routes: Sequence[BaseRoute]) -> list[_Target]:
    """Gather the routes by their template, in the order of their declaration."""
    targets: dict[str, _Target] = {}
    for context in iter_route_contexts(routes):
        effective: Any = context
        template, methods = context.path, context.methods
        if template is None or not methods:
            raise TypeError(f"{context.original_route!r}: only routes with a path and methods can be served")
        target = targets.setdefault(template, _Target(template, effective.path_regex))
        route = context.original_route
        for method in methods:
            target.methods.setdefault(method, route.respond if isinstance(route, LeanRoute) else None)
            target.roles.setdefault(method, _roles(route, template))
    return list(targets.values())


def _roles(route: BaseRoute | None, template: str) -> frozenset[Role]:
    """Return whom a route is open to; raise TypeError where it belongs to an API and doesn't say."""
    roles = roles_of(getattr(route, "openapi_extra", None))
    if roles is None and getattr(route, "include_in_schema", False):
        raise TypeError(f"{template}: say whom the route is open to, by `openapi_extra=open_to(...)`")
    return roles or frozenset()


def _without_body(send: Send) -> Send:
    async def send_head(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return send_head
