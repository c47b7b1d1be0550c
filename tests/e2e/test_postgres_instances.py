"""Several instances of every program on one PostgreSQL: one port each, and what becomes of those that go."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import httpx
import pytest

from cli.stack import OwnStack, start_stack
from shared.settings import PORTS
from tests.e2e.conftest import FAST, Rest, handfast
from tests.e2e.waiting import eventually, freeze
from tests.postgres import Server

RestOf = Callable[[OwnStack], Rest]
EACH: Final = 2


@pytest.fixture(scope="module")
def stack(postgres: Server) -> Iterator[OwnStack]:
    environment = {
        "HANDFAST_DATABASE_URL": postgres.url,
        "HANDFAST_DATABASE_SCHEMA": postgres.prefix(),
        "HANDFAST_REPUBLISH_SECONDS": "1",
    }
    stack = start_stack(environment=FAST | environment, instances=EACH)
    yield stack
    stack.stop()


def own_url(stack: OwnStack, name: str) -> str:
    return f"http://127.0.0.1:{stack.processes()[name]['port']}"


def served(stack: OwnStack, name: str) -> float:
    """How many requests an instance has served, without those that ask it how it is."""
    text = httpx.get(f"{own_url(stack, name)}/metrics", trust_env=False).raise_for_status().text
    counts = [line for line in text.splitlines() if line.startswith("handfast_http_request_seconds_count")]
    return sum(float(line.split()[-1]) for line in counts if "/api/" in line)


def names(program: str) -> list[str]:
    return [f"{program}-{number}" for number in range(1, EACH + 1)]


def place(rest: Rest, prefix: str, count: int) -> list[str]:
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda number: rest.order(f"{prefix}-{number}").json()["status"], range(count)))


def test_each_instance_serves_the_one_port_and_is_asked_how_it_is_at_its_own(
    stack: OwnStack, rest_of: RestOf
) -> None:
    assert set(place(rest_of(stack), "shared", 40)) == {"CONFIRMED"}
    for program in PORTS:
        for name in names(program):
            assert f"    {name:<10} {own_url(stack, name)}" in stack.output
            assert httpx.get(f"{own_url(stack, name)}/readyz", trust_env=False).status_code == 200
            assert served(stack, name) > 0


@pytest.mark.at_length
def test_an_instance_that_stands_still_or_is_killed_takes_no_port_with_it(
    stack: OwnStack, rest_of: RestOf
) -> None:
    for program in PORTS:
        pid = stack.pid(f"{program}-1")
        freeze(pid)
        try:
            # Connections of its own: those that stand open may be with the one that stands still.
            assert set(place(rest_of(stack), f"{program}-still", 4)) == {"CONFIRMED"}
        finally:
            os.kill(pid, signal.SIGKILL)
        assert set(place(rest_of(stack), f"{program}-gone", 4)) == {"CONFIRMED"}
        eventually(lambda name=f"{program}-1", pid=pid: _is_back(stack, name, pid), f"{program}-1 is back")  # type: ignore[misc]


def test_several_instances_need_a_database_that_they_share() -> None:
    ended = handfast("up", "--ephemeral", "--instances", "2")
    assert ended.code == 2
    assert "HANDFAST_DATABASE_URL" in ended.err


def _is_back(stack: OwnStack, name: str, pid: int) -> bool:
    process = stack.processes().get(name)
    if process is None or process["pid"] == pid:
        return False
    try:
        return httpx.get(f"{own_url(stack, name)}/readyz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
