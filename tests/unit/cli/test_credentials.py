"""Which token the command line sends, and what it says where there is none."""

import asyncio
import runpy
import time
from pathlib import Path
from typing import Any, Final

import pytest

from cli.credentials import login_name
from cli.launcher import ROOT
from shared.settings import PORTS
from tests.issuer import SECRET, Issuer, served
from tests.unit.cli.conftest import Run
from tests.unit.cli.fake_stack import FakeStack, problem
from tests.unit.security.world import by_secret

GET = "GET order/orders"
EMPTY: Final[tuple[int, Any]] = (200, {"items": [], "nextCursor": None})


def sent(fake: FakeStack) -> str | None:
    return fake.asked[-1].headers.get("authorization")


def test_without_authentication_no_token_is_sent(fake: FakeStack, run: Run) -> None:
    fake.answers[GET] = EMPTY
    assert run("orders", "list").code == 0
    assert sent(fake) is None


def test_a_token_that_is_given_is_sent(
    fake: FakeStack, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake.answers[GET] = EMPTY
    monkeypatch.setenv("HANDFAST_TOKEN", "a.b.c")
    assert run("orders", "list").code == 0
    assert sent(fake) == "Bearer a.b.c"
    monkeypatch.setenv("HANDFAST_TOKEN", "")
    file = tmp_path / "token"
    file.write_text("d.e.f\n")
    monkeypatch.setenv("HANDFAST_TOKEN_FILE", str(file))
    assert run("orders", "list").code == 0
    assert sent(fake) == "Bearer d.e.f"


@pytest.mark.parametrize("token", ["two words", "a\tb", "ä"])
def test_what_is_no_token_is_a_usage_error_that_does_not_repeat_it(
    fake: FakeStack, run: Run, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("HANDFAST_TOKEN", token)
    ended = run("orders", "list")
    assert ended.code == 2
    assert "HANDFAST_TOKEN" in ended.err
    assert token not in ended.err
    assert fake.asked == []


async def test_with_the_shared_secret_the_login_name_is_an_operator(
    fake: FakeStack, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.answers[GET] = EMPTY
    monkeypatch.setenv("HANDFAST_AUTH_SHARED_SECRET", SECRET)
    ended = await asyncio.to_thread(run, "orders", "list")
    assert ended.code == 0
    door = by_secret()
    door.clock.at = round(time.time() * 1000)
    principal = await door.verifier([(b"authorization", str(sent(fake)).encode())])
    assert (principal.subject, sorted(principal.roles)) == (login_name(), ["operator"])


def test_with_an_issuer_the_client_handfast_gets_one_for_all_requests(
    fake: FakeStack, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served() as issuer:
        issuer.clients = {"handfast": "its secret"}
        as_client(issuer, monkeypatch, "its secret")
        fake.answers[GET] = lambda asked: (
            200,
            {"items": [], "nextCursor": None if "cursor" in asked.query else "more"},
        )
        assert run("orders", "list").code == 0
        assert len({asked.headers["authorization"] for asked in fake.asked}) == 1
        assert (len(fake.asked), issuer.granted) == (2, 1)


def test_an_issuer_that_gives_none_is_out_of_reach(
    fake: FakeStack, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served() as issuer:
        as_client(issuer, monkeypatch, "a wrong one")
        ended = run("orders", "list")
        assert ended.code == 4
        assert "401" in ended.err
        assert "a wrong one" not in ended.err
        assert fake.asked == []


def as_client(issuer: Issuer, monkeypatch: pytest.MonkeyPatch, known: str) -> None:
    monkeypatch.setenv("HANDFAST_AUTH_ISSUER", issuer.url)
    monkeypatch.setenv("HANDFAST_AUTH_CLIENT_SECRET", known)


def test_where_a_token_is_missing_it_says_how_to_give_one(fake: FakeStack, run: Run) -> None:
    fake.answers[GET] = 401, problem("unauthenticated", 401, "Send a token.")
    ended = run("orders", "list")
    assert ended.code == 1
    assert "HANDFAST_TOKEN_FILE" in ended.err


def test_the_record_of_all_programs_is_shown_together_the_newest_first(fake: FakeStack, run: Run) -> None:
    def acts(*instants: int) -> tuple[int, object]:
        items = [
            {
                "actId": f"{at}",
                "at": f"2026-11-24T0{at}:00:00Z",
                "who": "olga",
                "role": "operator",
                "act": "retry",
                "target": f"/t/{at}",
                "outcome": "refused",
                "problem": "not-open",
            }
            for at in instants
        ]
        return 200, {"items": items, "nextCursor": None}

    for program, instants in (("coordinator", (5, 1)), ("order", (4,)), ("stock", ()), ("payment", (3,))):
        fake.answers[f"GET {program}/audit"] = acts(*instants)
    ended = run("audit", "--who", "olga", "--limit", "3")
    assert [line.split("\t")[3] for line in ended.out.splitlines()] == ["coordinator", "order", "payment"]
    assert "refused: not-open" in ended.out
    assert {asked.query["who"] for asked in fake.asked} == {"olga"}
    fake.answers = {f"GET {program}/audit": acts() for program in PORTS}
    assert run("audit", "--who", "nobody").code == 3
    assert run("audit").code == 0


def test_the_health_check_of_the_image_has_a_token_where_one_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    token = runpy.run_path(str(ROOT / "infra" / "ready.py"))["token"]
    assert token() == {}
    monkeypatch.setenv("HANDFAST_TOKEN", "a.b.c")
    assert token() == {"Authorization": "Bearer a.b.c"}
