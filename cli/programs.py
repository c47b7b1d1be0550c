"""What a stack consists of: four programs and a broker, where each listens, and the order of stopping."""

import socket
from collections.abc import Iterable
from dataclasses import dataclass

from shared.settings import BROKER_PORT, PORTS, Settings

BROKER = "broker"

PACKAGES = {
    "coordinator": "coordinator",
    "order": "order_service",
    "stock": "stock_service",
    "payment": "payment_service",
}

STOPPING_ORDER = (("order",), ("coordinator",), ("stock", "payment"), (BROKER,))
"""The front door first, so that nothing new comes in; the broker last, so that the others can finish."""


@dataclass(frozen=True, slots=True)
class Program:
    """One of the four programs. name: as the settings call it; url: where it answers, no slash at the end."""

    name: str
    port: int
    url: str

    @property
    def package(self) -> str:
        return PACKAGES[self.name]

    @property
    def module(self) -> str:
        return f"{self.package}.app"


def programs(settings: Settings) -> tuple[Program, ...]:
    """Return the four programs where these settings put them."""
    return tuple(Program(name, settings.port(name), settings.url(name)) for name in PORTS)


def broker_port(settings: Settings) -> int:
    """Return the embedded broker's port."""
    return BROKER_PORT + settings.port_offset


def taken(ports: Iterable[int], host: str = "127.0.0.1") -> list[int]:
    """Return those of the ports that somebody listens on already."""
    return [port for port in ports if not _free(port, host)]


def _free(port: int, host: str) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # As the servers do it: a connection that lingers from before doesn't count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
