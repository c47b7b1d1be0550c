"""Stopping and restarting under load: no request fails, and whoever waits is answered."""

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from cli.stack import OwnStack
from tests.e2e.conftest import Rest, StartStack, handfast
from tests.e2e.load import PRODUCT, answers, failures, under_load
from tests.e2e.waiting import eventually, freeze

RestOf = Callable[[OwnStack], Rest]


def test_the_only_process_of_a_program_restarts_under_load_and_no_request_fails(
    stack: OwnStack, rest_of: RestOf
) -> None:
    program = "coordinator"
    rest = rest_of(stack)
    rest.send("PUT", f"stock/products/{PRODUCT}", {"onHand": 1_000_000})
    pid = stack.pid(program)
    with under_load(stack) as clients:
        os.kill(pid, signal.SIGTERM)
        eventually(lambda: stack.processes().get(program, {}).get("pid", pid) != pid, f"{program} is back")
        before = answers(clients).total()
        eventually(lambda: answers(clients).total() > before + 50, "its clients go on")
    assert failures(clients) == []
    assert f"{program} ended with exit code 0; it is started again in 0.1 s" in stack.output


def test_whoever_waits_for_long_is_answered_with_what_there_is_when_the_program_stops(
    start: StartStack, rest_of: RestOf
) -> None:
    stack = start()
    rest = rest_of(stack)
    freeze(stack.pid("broker"))  # Now nothing that is decided can be settled.
    with ThreadPoolExecutor(2) as pool:
        order = {"productId": PRODUCT, "qty": 1, "paymentAmt": 5}
        waiting = pool.submit(rest.send, "POST", "order/orders", order, Prefer="wait=30")
        eventually(lambda: rest.get("order/orders?status=CONFIRMING")["items"], "it waits for its end")
        began = time.monotonic()
        os.kill(stack.pid("order"), signal.SIGTERM)
        answer = waiting.result()
    assert (answer.status_code, answer.json()["status"]) == (201, "CONFIRMING")
    assert time.monotonic() - began < 10
    os.kill(stack.pid("broker"), signal.SIGCONT)


def test_restarting_what_does_not_run_is_told() -> None:
    ended = handfast("restart", "--data-dir", "/nonexistent")
    assert ended.code == 3
    assert "no `handfast up` runs on the data directory /nonexistent" in ended.err
