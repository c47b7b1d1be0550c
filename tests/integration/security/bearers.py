"""Those who send requests here, each with the head that proves it."""

from typing import Final

from shared.security.roles import Role
from tests.issuer import shared


def head(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def customer(name: str) -> dict[str, str]:
    return head(shared("customer", sub=name))


def service(name: str) -> dict[str, str]:
    return head(shared("service", sub=name, client_id=name))


def operator(name: str = "olga") -> dict[str, str]:
    return head(shared("operator", sub=name))


BY_ROLE: Final = {
    Role.CUSTOMER: customer("ann"),
    Role.SERVICE: service("coordinator"),
    Role.OPERATOR: operator(),
    Role.MONITOR: head(shared("monitor", sub="prometheus")),
}
