"""A stack that asks for tokens: the command line has one, acts are on record, no secret is told."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cli.credentials import login_name
from cli.stack import OwnStack, start_stack
from shared.settings import PORTS
from tests.e2e.conftest import FAST, Ended, handfast
from tests.e2e.waiting import eventually
from tests.issuer import SECRET, shared

WITH_SECRET = {"HANDFAST_AUTH_SHARED_SECRET": SECRET}


def command(stack: OwnStack, *arguments: str, secret: str = "", token_file: str = "") -> Ended:
    return handfast(
        *arguments,
        "--port-offset",
        str(stack.settings.port_offset),
        HANDFAST_AUTH_SHARED_SECRET=secret,
        HANDFAST_TOKEN_FILE=token_file,
    )


@pytest.fixture(scope="module")
def stack() -> Iterator[OwnStack]:
    stack = start_stack(environment=FAST | WITH_SECRET | {"HANDFAST_LOG_LEVEL": "DEBUG"})
    yield stack
    stack.stop()


def test_only_livez_answers_without_a_token(stack: OwnStack) -> None:
    for program in PORTS:
        url = stack.settings.url(program)
        assert httpx.get(f"{url}/livez", trust_env=False).status_code == 200
        for path in ("/readyz", "/metrics", "/docs", "/openapi.json", "/api/v1/dead-letters"):
            assert httpx.get(url + path, trust_env=False).status_code == 401, path


def test_the_command_line_works_with_the_secret_and_says_what_is_missing_without(
    stack: OwnStack, tmp_path: Path
) -> None:
    placed = command(
        stack, "orders", "place", "--item", "1:1", "--amount", "5", "--wait", "20", secret=SECRET
    )
    assert placed.code == 0, placed.err
    without = command(stack, "orders", "list")
    assert without.code == 1
    assert "HANDFAST_TOKEN" in without.err
    file = tmp_path / "token"
    file.write_text(shared("customer", sub="guest") + "\n")
    listed = command(stack, "orders", "list", "--json", token_file=str(file))
    assert {one["customerId"] for one in json.loads(listed.out)["items"]} == {"guest"}
    mine = command(stack, "tx", "list", token_file=str(file))
    assert mine.code == 1
    assert "operator" in mine.err


def test_what_is_done_from_the_command_line_is_on_record(stack: OwnStack) -> None:
    silent = command(stack, "reconcile", secret=SECRET)
    assert silent.code == 1
    assert "reason-required" in silent.err
    done = command(stack, "reconcile", "--why", "month's end", secret=SECRET)
    assert done.code == 0, done.err
    told = command(stack, "audit", "--act", "reconcile", "--json", secret=SECRET)
    (act,) = json.loads(told.out)["items"]
    assert (act["program"], act["who"], act["reason"]) == ("coordinator", login_name(), "month's end")
    assert act["outcome"] == "done"


def test_nothing_that_is_written_anywhere_holds_a_secret_or_a_token(stack: OwnStack) -> None:
    stolen = shared("customer", sub="mallory", aud="elsewhere")
    url = stack.settings.url("order")
    refused = httpx.get(
        f"{url}/api/v1/orders", headers={"Authorization": f"Bearer {stolen}"}, trust_env=False
    )
    assert refused.status_code == 401
    assert stolen not in refused.text
    logs = stack.directory.path / "logs"
    eventually(lambda: any(logs.glob("*.log")), "there are logs")
    written = [path for path in stack.directory.path.rglob("*") if path.is_file()]
    assert written
    for path in written:
        content = path.read_bytes()
        assert SECRET.encode() not in content, path
        # What every token here begins with, and no other text does.
        assert b"eyJ0eXAiOi" not in content, path
        assert b"eyJhbGciOi" not in content, path
    assert SECRET not in "\n".join(stack.output)
