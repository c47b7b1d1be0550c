"""Roles, and who somebody is; pure.

A route says which roles it is open to by `open_to`, in the words that OpenAPI has for it: an alternative for
each role under `security`. What stands there is what is enforced.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

COORDINATOR: Final = "coordinator"
"""What the coordinator is called among services; participants have their names in the registry."""

SCHEME: Final = "bearer"
"""How OpenAPI calls the way in which a token is given."""

ACT: Final = "x-handfast-act"
"""Under which OpenAPI tells that a request is an operator's act, and which: it is put on record."""


class Role(StrEnum):
    """What somebody is to Handfast."""

    CUSTOMER = "customer"
    SERVICE = "service"
    OPERATOR = "operator"
    MONITOR = "monitor"


CLIENTS: Final = (Role.CUSTOMER, Role.SERVICE, Role.OPERATOR)
"""Whoever does business here."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody whose token was verified.

    subject: for the record; customer: whose orders are this one's own, None unless the role is among roles;
    service: the participant's name, or COORDINATOR, None unless the role is among roles.
    """

    subject: str
    roles: frozenset[Role]
    customer: str | None = None
    service: str | None = None

    @property
    def confined_to(self) -> str | None:
        """Return the customer beyond whose things this one sees nothing; None: one who sees everything.

        A customer who is an operator too acts as an operator, one who is a service too as a customer.
        """
        return None if Role.OPERATOR in self.roles else self.customer

    @property
    def asks_as(self) -> str | None:
        """Return the service beyond whose branches this one sees nothing; None: one who sees everything."""
        return None if Role.OPERATOR in self.roles else self.service


def open_to(*roles: Role, act: str | None = None) -> dict[str, Any]:
    """Return the part of `openapi_extra=` that opens a route to some roles; to none: to everybody.

    act: what an operator does by it, for the record.
    """
    declared: dict[str, Any] = {"security": [{SCHEME: [role.value]} for role in roles]}
    return declared if act is None else {**declared, ACT: act}


def roles_of(declared: Mapping[str, Any] | None) -> frozenset[Role] | None:
    """Read what `open_to` wrote: the roles, empty for everybody; None where a route says nothing."""
    if declared is None or "security" not in declared:
        return None
    return frozenset(Role(role) for alternative in declared["security"] for role in alternative[SCHEME])
