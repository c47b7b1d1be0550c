"""Who sent a request, as routes ask for it. Without authentication nobody is known and everything is open."""

from typing import Final

from starlette.requests import Request

from shared.errors import Refused
from shared.security.roles import COORDINATOR, Principal, Role

PRINCIPAL: Final = "handfast.principal"
"""Where the scope keeps whose token the guard has verified."""


class Unauthenticated(Refused):
    """No token was sent, or none that is any good."""

    def __init__(self, detail: str, slug: str = "invalid-token") -> None:
        super().__init__(slug, detail, 401)


def principal_of(request: Request) -> Principal | None:
    """Return who sent a request; None without authentication."""
    principal: Principal | None = request.scope.get(PRINCIPAL)
    return principal


def confined_to(request: Request) -> str | None:
    """Return the customer whose things alone the request may touch; None: it may touch everybody's."""
    principal = principal_of(request)
    return None if principal is None else principal.confined_to


def asked_by_service(request: Request) -> str | None:
    """Return the service for whose branches alone the request may speak; None: it may speak for all."""
    principal = principal_of(request)
    return None if principal is None else principal.asks_as


def own_customer(request: Request, named: str, *, explicitly: bool) -> str:
    """Return for whom a request is made. explicitly: whether it names the customer itself.

    A customer who names nobody is meant. Raises Refused (403) where a customer names another.
    """
    own = confined_to(request)
    if own is None or named == own:
        return named
    if explicitly:
        raise forbidden(f"Your token is customer {own}'s: name that one, or leave customerId out.")
    return own


def insist_on_coordinator(request: Request) -> None:
    """Raise Refused (403) unless the coordinator itself asks."""
    principal = principal_of(request)
    if principal is not None and principal.service != COORDINATOR:
        raise forbidden("Only the coordinator may call this: its client's name must be `coordinator`.")


def insist_on_roles(principal: Principal, roles: frozenset[Role]) -> None:
    """Raise Refused (403) unless somebody has one of the roles."""
    if not roles & principal.roles:
        wanted = " or ".join(sorted(roles))
        raise forbidden(f"This takes the role {wanted}; your token doesn't carry it.")


def forbidden(detail: str) -> Refused:
    """Return the refusal of what somebody who is known may not do."""
    return Refused("forbidden", detail, 403)
