"""Four programs and an issuer over real sockets: client credentials, rotation under load, an issuer away."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.backing import Backing
from tests.integration.hostile.programs import Programs, running
from tests.integration.security.bearers import head
from tests.issuer import Issuer, served

CLIENTS = {"coordinator": "all", "order": "all", "stock": "all", "payment": "all"}


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with served() as issuer:
        issuer.clients = CLIENTS
        yield issuer


@pytest.fixture(scope="module")
def programs(issuer: Issuer, backing: Backing) -> Iterator[Programs]:
    with running(
        backing, auth_issuer=issuer.url, auth_client_secret="all", auth_keys_seconds=3_600.0
    ) as four:
        operator = head(issuer.token("operator", sub="olga"))
        for program, path, body in (
            ("stock", "/products/p", {"onHand": 100_000}),
            ("payment", "/accounts/ann", {"balance": 100_000}),
        ):
            assert four.send("PUT", program, path, body, operator).status == 201
        yield four


def buy(programs: Programs, token: str) -> tuple[int, str]:
    body = {"productId": "p", "qty": 1, "paymentAmt": 1}
    answer = programs.send("POST", "order", "/orders", body, {**head(token), "Prefer": "wait=20"})
    return answer.status, answer.slug if answer.status >= 400 else answer.json()["status"]


def until(seen: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until something is seen; fail where it isn't in time."""
    end = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_an_order_goes_through_with_everybodys_own_token(programs: Programs, issuer: Issuer) -> None:
    granted = issuer.granted
    assert buy(programs, issuer.token("customer", sub="ann")) == (201, "CONFIRMED")
    assert buy(programs, issuer.token("customer", sub="ann")) == (201, "CONFIRMED")
    # Order and coordinator call others; each has fetched its token once, whatever was called.
    assert issuer.granted - granted <= 2


def test_a_rotation_under_load_costs_no_order(
    programs: Programs, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if nobody had asked for the keys for a while.
    monkeypatch.setattr("shared.security.keys.REFETCH_SECONDS", 0.0)
    old = issuer.token("customer", sub="ann")
    ended: list[tuple[int, str]] = []
    rotated = threading.Event()

    def customer() -> None:
        for number in range(8):
            fresh = issuer.token("customer", sub="ann") if rotated.is_set() else old
            ended.append(buy(programs, fresh))
            if number == 2:
                rotated.wait()

    customers = [threading.Thread(target=customer) for _ in range(4)]
    for each in customers:
        each.start()
    until(lambda: len(ended) >= 8)
    issuer.rotate("rotated", keep=True)
    rotated.set()
    for each in customers:
        each.join()
    assert ended == [(201, "CONFIRMED")] * 32


def test_a_forged_key_id_is_refused_and_tells_nothing(programs: Programs, issuer: Issuer) -> None:
    stranger = Issuer(issuer.url)
    stranger.rotate("stranger's")
    fetched = issuer.fetched
    answers = [
        programs.send("GET", "order", "/orders", headers=head(stranger.token("operator"))) for _ in range(50)
    ]
    assert {answer.told for answer in answers} == {(401, "invalid-token")}
    assert issuer.fetched - fetched <= 1 + 50 / 5
    assert 'error="invalid_token"' in answers[0].headers["www-authenticate"]


def test_everything_goes_on_while_the_issuer_is_away(programs: Programs, issuer: Issuer) -> None:
    token = issuer.token("customer", sub="ann")
    issuer.away = True
    try:
        assert buy(programs, token) == (201, "CONFIRMED")
    finally:
        issuer.away = False
