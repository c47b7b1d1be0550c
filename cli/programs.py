"""What a stack consists of: four programs and a broker, where each listens, and the order of stopping."""

from collections.abc import Iterable
from dataclasses import dataclass

from shared.http.sockets import bound
from shared.settings import BROKER_PORT, PORTS, Settings

BROKER = "broker"

PACKAGES = {
    "coordinator": "coordinator",
    "order": "order_service",
    "stock": "stock_service",
    "payment": "payment_service",
}

STOPPING_ORDER = (("order",), ("coordinator",), ("stock", "payment"))
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


@dataclass(frozen=True, slots=True)
class Instance:
    """One process of a program. number: 0 where it is the only one; port: at which it alone answers."""

    program: Program
    name: str
    number: int
    port: int


def programs(settings: Settings) -> tuple[Program, ...]:
    """Return the four programs where these settings put them."""
    return tuple(Program(name, settings.port(name), settings.url(name)) for name in PORTS)


def instances(settings: Settings, each: int) -> tuple[Instance, ...]:
    """Return the instances of every program: one that has its port to itself, or several that share it."""
    numbers = range(1, each + 1) if each > 1 else (0,)
    numbered = [settings.model_copy(update={"instance": number}) for number in numbers]
    return tuple(
        Instance(program, own.named(program.name), own.instance, own.own_port(program.name))
        for program in programs(settings)
        for own in numbered
    )


def stopping_order(running: Iterable[Instance]) -> list[list[str]]:
    """Return the names of processes by the stage in which they are stopped."""
    known = list(running)
    stages = [[one.name for one in known if one.program.name in stage] for stage in STOPPING_ORDER]
    return [*stages, [BROKER]]


def broker_port(settings: Settings) -> int:
    """Return the embedded broker's port."""
    return BROKER_PORT + settings.port_offset


def taken(ports: Iterable[int], host: str = "127.0.0.1") -> list[int]:
    """Return those of the ports that somebody listens on already."""
    return [port for port in ports if not _free(port, host)]


def _free(port: int, host: str) -> bool:
    try:
        bound(host, port).close()
    except OSError:
        return False
    return True
