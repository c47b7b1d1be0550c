"""The four programs as a simulation starts them."""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import fastapi.dependencies.models
from fastapi import FastAPI
from sqlalchemy import Table

import coordinator.app
import coordinator.settings
import coordinator.tables
import order_service.app
import order_service.settings
import order_service.tables
import payment_service.app
import payment_service.settings
import payment_service.tables
import stock_service.app
import stock_service.settings
import stock_service.tables
from shared.settings import Settings


class Program(NamedTuple):
    """How a program is made."""

    create: Callable[..., FastAPI]
    settings: type[Settings]
    tables: tuple[Table, ...]


PROGRAMS: Final[Mapping[str, Program]] = {
    "coordinator": Program(
        coordinator.app.create_app, coordinator.settings.CoordinatorSettings, coordinator.tables.TABLES
    ),
    "order": Program(
        order_service.app.create_app, order_service.settings.OrderSettings, order_service.tables.TABLES
    ),
    "stock": Program(
        stock_service.app.create_app, stock_service.settings.StockSettings, stock_service.tables.TABLES
    ),
    "payment": Program(
        payment_service.app.create_app,
        payment_service.settings.PaymentSettings,
        payment_service.tables.TABLES,
    ),
}


def instances(each: int) -> dict[str, str]:
    """Return which program each instance runs, by its name: so many of each, the first without a number."""
    more = {f"{name}-{number}": name for number in range(2, each + 1) for name in PROGRAMS}
    return {name: name for name in PROGRAMS} | more


def forget() -> None:
    """Let go of programs that have ended: FastAPI remembers which kind of function each route has, and
    keeps the whole program with it."""
    for cached in vars(fastapi.dependencies.models).values():
        if hasattr(cached, "cache_clear"):
            cached.cache_clear()
