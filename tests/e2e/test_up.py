"""`handfast up`: what it promises about starting, stopping and staying up."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cli.broker import ENVIRONMENT, broker_command
from cli.datadir import started_at
from cli.launcher import execute
from cli.programs import taken
from cli.stack import OwnStack, free_port_offset, start_stack
from shared.settings import BROKER_PORT, PORTS
from tests.e2e.conftest import FAST, Rest, StartStack, handfast
from tests.e2e.waiting import eventually, freeze

RestOf = Callable[[OwnStack], Rest]

ALL = ("coordinator", "order", "stock", "payment", "broker")


def ports(stack: OwnStack) -> list[int]:
    return [port + stack.settings.port_offset for port in (*PORTS.values(), BROKER_PORT)]


def is_gone(pid: int) -> bool:
    return started_at(pid) is None


def test_it_says_ready_and_where(stack: OwnStack) -> None:
    for program in PORTS:
        address = f"  {program:<12} http://127.0.0.1:{stack.settings.port(program)}"
        eventually(lambda address=address: address in stack.output, address)  # type: ignore[misc]


def test_each_process_is_its_own_and_written_down(stack: OwnStack) -> None:
    processes = stack.processes()
    assert set(processes) == set(ALL)
    assert len({process["pid"] for process in processes.values()}) == 5
    assert sorted(process["port"] for process in processes.values()) == sorted(ports(stack))
    assert all(started_at(process["pid"]) == process["startedAt"] for process in processes.values())


def test_a_new_data_directory_gets_the_samples_and_keeps_what_becomes_of_them(
    start: StartStack, rest_of: RestOf, tmp_path: Path
) -> None:
    first = start(data_dir=tmp_path)
    rest = rest_of(first)
    products = {one["productId"]: one["onHand"] for one in rest.get("stock/products")["items"]}
    assert products == {"1": 1000, "2": 1000, "3": 1000, "prd-0001": 10, "prd-0002": 20, "prd-0003": 30}
    assert rest.get("payment/accounts/guest")["available"] >= 10**9
    assert rest.order("kept", "prd-0001", 4).json()["status"] == "CONFIRMED"
    rest.send("PUT", "stock/products/3", {"onHand": 7}).raise_for_status()
    assert first.stop() == 0
    again = rest_of(start(data_dir=tmp_path, port_offset=first.settings.port_offset))
    assert again.get("stock/products/prd-0001")["onHand"] == 6
    assert again.get("stock/products/3")["onHand"] == 7
    assert again.get("order/orders/kept")["status"] == "CONFIRMED"


def test_an_order_accepted_before_a_stop_is_confirmed_after_the_next_start(
    start: StartStack, rest_of: RestOf, tmp_path: Path
) -> None:
    first = start(data_dir=tmp_path)
    rest = rest_of(first)
    orders = [f"early-{number}" for number in range(20)]
    for order_id in orders:
        answer = rest.send(
            "POST", "order/orders", {"orderId": order_id, "productId": "1", "qty": 1, "paymentAmt": 5}
        )
        assert answer.status_code == 201
    assert first.stop() == 0
    again = rest_of(start(data_dir=tmp_path))
    for order_id in orders:
        eventually(
            lambda order_id=order_id: again.get(f"order/orders/{order_id}")["status"] == "CONFIRMED",  # type: ignore[misc]
            f"{order_id} is CONFIRMED",
        )
    product = again.get("stock/products/1")
    assert (product["sold"], product["held"], product["onHand"]) == (20, 0, 980)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_within_10_seconds_and_leaves_nothing(start: StartStack, number: signal.Signals) -> None:
    stack = start()
    pids = [process["pid"] for process in stack.processes().values()]
    directory = stack.settings.data_dir
    assert directory.exists()
    began = time.monotonic()
    stack.process.send_signal(number)
    assert stack.process.wait(15) == 0
    assert time.monotonic() - began < 10
    assert all(is_gone(pid) for pid in pids)
    assert taken(ports(stack)) == []
    assert not directory.exists()


@pytest.fixture(scope="module")
def sturdy() -> Iterator[OwnStack]:
    """A stack of which one process after the other is killed."""
    stack = start_stack(environment=FAST | {"HANDFAST_BODY_LIMIT_BYTES": "2000"})
    yield stack
    stack.stop()


@pytest.mark.parametrize("name", ALL)
def test_what_is_killed_is_back_and_works(sturdy: OwnStack, rest_of: RestOf, name: str) -> None:
    rest = rest_of(sturdy)
    assert rest.order(f"before-{name}").json()["status"] == "CONFIRMED"
    killed = sturdy.pid(name)
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: sturdy.processes().get(name, {"pid": killed})["pid"] != killed, f"{name} is back")
    eventually(lambda: all(rest.ready(program) for program in PORTS), "all are ready")
    assert rest.order(f"after-{name}").json()["status"] == "CONFIRMED"
    assert any(line.startswith(f"{name} was ended by SIGKILL") for line in sturdy.output)


def test_settings_reach_the_programs_also_after_a_restart(sturdy: OwnStack, rest_of: RestOf) -> None:
    rest = rest_of(sturdy)
    killed = sturdy.pid("stock")
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: sturdy.processes().get("stock", {"pid": killed})["pid"] != killed, "stock is back")
    eventually(lambda: rest.ready("stock"), "stock is ready")
    assert rest.send("PUT", "stock/products/large", {"name": "x" * 2_000}).status_code == 413


def test_killed_itself_it_takes_everything_along_and_can_start_again(
    start: StartStack, rest_of: RestOf, tmp_path: Path
) -> None:
    first = start(data_dir=tmp_path)
    assert rest_of(first).order("before").json()["status"] == "CONFIRMED"
    pids = [process["pid"] for process in first.processes().values()]
    first.kill()
    second = start(data_dir=tmp_path, port_offset=first.settings.port_offset)
    assert all(is_gone(pid) for pid in pids)
    assert rest_of(second).get("order/orders/before")["status"] == "CONFIRMED"


def test_a_data_directory_has_one_stack(start: StartStack, tmp_path: Path) -> None:
    stack = start(data_dir=tmp_path)
    offset = str(free_port_offset())
    ended = handfast("up", "--data-dir", str(tmp_path), "--port-offset", offset)
    assert ended.code == 2
    assert f"another `handfast up` (pid {stack.process.pid}) uses the data directory" in ended.err


def test_a_database_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "stock.db").write_bytes(b"this is no database" * 1_000)
    ended = handfast("up", "--data-dir", str(tmp_path), "--port-offset", str(free_port_offset()))
    assert ended.code == 1
    assert "stock.db" in ended.err
    assert "Traceback" not in ended.err


def test_a_missing_broker_is_said(tmp_path: Path) -> None:
    ended = handfast(
        "up", "--ephemeral", "--port-offset", str(free_port_offset()), CALF_TANSU_BIN=str(tmp_path)
    )
    assert ended.code == 1
    assert "the embedded broker can't be found" in ended.err


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    offset = free_port_offset()
    with socket.create_server(("127.0.0.1", 8888 + offset)):
        ended = handfast("up", "--data-dir", str(tmp_path), "--port-offset", str(offset))
    assert ended.code == 2
    assert f"port {8888 + offset} (stock)" in ended.err
    assert "--port-offset" in ended.err


async def test_a_configured_broker_is_used_instead_of_an_embedded_one(
    start: StartStack, rest_of: RestOf, tmp_path: Path
) -> None:
    port = 9092 + free_port_offset()
    broker = await execute(broker_command(port), tmp_path / "broker.log", ENVIRONMENT)
    stack = await asyncio.to_thread(
        start, environment={"HANDFAST_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{port}"}
    )
    rest = rest_of(stack)
    order = await asyncio.to_thread(rest.order, "elsewhere")
    assert order.json()["status"] == "CONFIRMED"
    assert "broker" not in stack.processes()
    assert taken([stack.settings.port_offset + BROKER_PORT]) == []
    os.kill(broker.pid, signal.SIGKILL)
    await broker.wait()


def test_whoever_waits_is_answered_when_the_stack_stops(start: StartStack, rest_of: RestOf) -> None:
    stack = start()
    rest = rest_of(stack)
    freeze(stack.pid("coordinator"))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(rest.order, "waiting")
        eventually(lambda: rest.get("order/orders?status=PENDING")["items"], "the order waits")
        assert stack.stop() == 0
        answer = waiting.result()
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:handfast:problem:stopping")
    # Who stands still can't stop by himself; everybody else does.
    assert [line for line in stack.output if "killed" in line] == [
        "killed, because they took too long to stop: coordinator"
    ]
