"""Stacks for tests: one that is shared by those that only use it, and a way to start others."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.launcher import ROOT
from cli.stack import OwnStack, start_stack
from tests.backing import Backing

FAST = {"HANDFAST_RETRY": "fixed:100ms,3", "HANDFAST_LOG_LEVEL": "INFO"}

StartStack = Callable[..., OwnStack]


@pytest.fixture(scope="module")
def stack(backing: Backing) -> Iterator[OwnStack]:
    """A running stack that the tests of a file share: what they do to it must not be in each other's way."""
    stack = start_stack(environment=FAST | backing.environment())
    yield stack
    stack.stop()


@pytest.fixture
def start(backing: Backing) -> Iterator[StartStack]:
    """Starts stacks (see cli.stack.start_stack) that are stopped after the test."""
    stacks: list[OwnStack] = []

    def start(**how: Any) -> OwnStack:
        chosen = FAST | backing.environment(how.get("data_dir"))
        how["environment"] = chosen | how.get("environment", {})
        stacks.append(start_stack(**how))
        return stacks[-1]

    yield start
    for stack in stacks:
        stack.stop()


class Rest:
    """The REST interface of one stack. A path begins with the program: "order/orders/1"."""

    def __init__(self, stack: OwnStack) -> None:
        self._stack = stack
        self._client = httpx.Client(trust_env=False, timeout=35.0)

    def url(self, path: str) -> str:
        program, _, rest = path.partition("/")
        return f"{self._stack.settings.url(program)}/api/v1/{rest}"

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        return self._client.request(method, self.url(path), json=body, headers=headers)

    def get(self, path: str) -> Any:
        return self.send("GET", path).raise_for_status().json()

    def ready(self, program: str) -> bool:
        try:
            answer = self._client.get(f"{self._stack.settings.url(program)}/readyz")
        except httpx.TransportError:
            return False
        return answer.status_code == httpx.codes.OK

    def order(
        self, order_id: str, product: str = "1", qty: int = 1, amount: int = 5, **more: Any
    ) -> httpx.Response:
        """Place an order and wait for its final state."""
        body = {"orderId": order_id, "productId": product, "qty": qty, "paymentAmt": amount, **more}
        return self.send("POST", "order/orders", body, Prefer="wait=20")

    def close(self) -> None:
        self._client.close()


@pytest.fixture
def rest_of() -> Iterator[Callable[[OwnStack], Rest]]:
    """Gives the REST interface of a stack."""
    opened: list[Rest] = []

    def rest_of(stack: OwnStack) -> Rest:
        opened.append(Rest(stack))
        return opened[-1]

    yield rest_of
    for rest in opened:
        rest.close()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def handfast(
    *arguments: str, seconds: float = 60.0, directory: Path | None = None, **environment: str
) -> Ended:
    """Run the command line as a user does, from a directory without a .env."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HANDFAST_")}
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "cli.main", *arguments],
        capture_output=True,
        text=True,
        timeout=seconds,
        cwd=directory or "/",
        env={**inherited, "PYTHONPATH": str(ROOT), **environment},
        check=False,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)
