"""`handfast orders`: what is sent, what is shown, and how it ends."""

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.cli.fake_stack import Asked, FakeStack, problem

ORDER = {
    "orderId": "o-1",
    "customerId": "guest",
    "items": [{"productId": "1", "qty": 2}],
    "paymentAmt": 500,
    "status": "CONFIRMED",
    "transactionId": "t-1",
    "createdAt": "2026-11-21T09:30:00.000Z",
    "updatedAt": "2026-11-21T09:30:01.000Z",
}


def test_place_sends_what_was_said(run: Run, fake: FakeStack) -> None:
    fake.answers["POST order/orders"] = (201, ORDER)
    ended = run(
        *("orders", "place", "--item", "1:2", "--item", "a:b:3", "--amount", "500", "--customer", "ann"),
        *("--order-id", "o-1", "--hold", "60", "--idempotency-key", "k", "--wait", "5"),
    )
    assert ended.code == 0
    [asked] = fake.asked
    assert asked.body == {
        "items": [{"productId": "1", "qty": 2}, {"productId": "a:b", "qty": 3}],
        "paymentAmt": 500,
        "customerId": "ann",
        "orderId": "o-1",
        "hold": {"seconds": 60},
    }
    assert asked.headers["prefer"] == "wait=5"
    assert asked.headers["idempotency-key"] == "k"
    assert "status       CONFIRMED" in ended.out


def test_place_takes_one_product_the_short_way(run: Run, fake: FakeStack) -> None:
    fake.answers["POST order/orders"] = (201, ORDER)
    assert run("orders", "place", "--product", "1", "--qty", "2", "--amount", "0").code == 0
    assert fake.asked[0].body == {"items": [{"productId": "1", "qty": 2}], "paymentAmt": 0}


@pytest.mark.parametrize(
    "arguments",
    [
        ("--amount", "1"),
        ("--amount", "1", "--item", "1:0"),
        ("--amount", "1", "--item", ":2"),
        ("--amount", "1", "--item", "1:x"),
        ("--amount", "-1", "--item", "1"),
        ("--amount", "1", "--item", "1", "--product", "2"),
        ("--item", "1"),
    ],
)
def test_place_refuses_what_makes_no_sense_without_asking(
    run: Run, fake: FakeStack, arguments: tuple[str, ...]
) -> None:
    assert run("orders", "place", *arguments).code == 2
    assert fake.asked == []


def test_a_refusal_ends_with_1_and_says_why(run: Run, fake: FakeStack) -> None:
    fake.answers["POST order/orders"] = (402, problem("payment-declined", 402, "Choose another account."))
    ended = run("orders", "place", "--item", "1", "--amount", "1")
    assert ended.code == 1
    assert "payment-declined: Choose another account." in ended.err


def test_an_uncertain_order_is_shown_and_ends_with_1(run: Run, fake: FakeStack) -> None:
    fake.answers["POST order/orders"] = (202, {**ORDER, "status": "PENDING"})
    ended = run("orders", "place", "--item", "1", "--amount", "1", "--json")
    assert (ended.code, ended.json()["status"]) == (1, "PENDING")
    assert "handfast orders show o-1" in ended.err


def test_show_writes_the_order_as_json_for_programs(run: Run, fake: FakeStack) -> None:
    fake.answers["GET order/orders/o-1"] = (200, ORDER)
    ended = run("orders", "show", "o-1", "--json")
    assert (ended.code, ended.json()) == (0, ORDER)


@pytest.mark.usefixtures("fake")
def test_an_unknown_order_ends_with_3(run: Run) -> None:
    for command in ("show", "confirm", "cancel"):
        assert run("orders", command, "nobody").code == 3


def test_a_hostile_id_stays_one_path_segment(run: Run, fake: FakeStack) -> None:
    fake.answers["GET order/orders/../../x?y"] = (200, ORDER)
    assert run("orders", "show", "../../x?y").code == 0


def test_list_follows_the_pages_up_to_the_limit(run: Run, fake: FakeStack) -> None:
    def page(asked: Asked) -> tuple[int, dict[str, object]]:
        first = int(asked.query.get("cursor", "0"))
        items = [{**ORDER, "orderId": f"o-{number}"} for number in range(first, first + 2)]
        return 200, {"items": items, "nextCursor": str(first + 2) if first < 6 else None}

    fake.answers["GET order/orders"] = page
    ended = run("orders", "list", "--limit", "5", "--customer", "guest", "--status", "confirmed", "--json")
    assert ended.code == 0
    assert [order["orderId"] for order in ended.json()["items"]] == [f"o-{number}" for number in range(5)]
    assert fake.asked[0].query == {"limit": "5", "customerId": "guest", "status": "CONFIRMED"}


def test_a_list_is_plain_lines_where_nobody_watches(run: Run, fake: FakeStack) -> None:
    fake.answers["GET order/orders"] = (200, {"items": [ORDER], "nextCursor": None})
    ended = run("orders", "list")
    assert ended.out == "o-1\tCONFIRMED\tguest\t2 x 1\t500\t2026-11-21T09:30:01.000Z\t\n"


def test_an_empty_list_is_done_but_a_filter_that_matches_nothing_ends_with_3(
    run: Run, fake: FakeStack
) -> None:
    fake.answers["GET order/orders"] = (200, {"items": [], "nextCursor": None})
    assert run("orders", "list").code == 0
    ended = run("orders", "list", "--status", "HELD", "--json")
    assert (ended.code, ended.json()) == (3, {"items": []})


def test_confirm_pays_by_put_and_cancel_deletes(run: Run, fake: FakeStack) -> None:
    fake.answers["PUT order/orders/o-1"] = (200, ORDER)
    fake.answers["DELETE order/orders/o-1"] = (204, None)
    fake.answers["GET order/orders/o-1"] = (200, {**ORDER, "status": "CANCELLED"})
    assert run("orders", "confirm", "o-1").code == 0
    ended = run("orders", "cancel", "o-1", "--json")
    assert (ended.code, ended.json()["status"]) == (0, "CANCELLED")
    assert fake.requests("PUT") == ["PUT order/orders/o-1"]
    assert fake.requests("DELETE") == ["DELETE order/orders/o-1"]


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_service_that_is_not_there_for_us_ends_with_4(run: Run, fake: FakeStack, status: int) -> None:
    fake.answers["GET order/orders"] = (status, problem("try-again", status, "Later."))
    assert run("orders", "list").code == 4


def test_a_service_out_of_reach_ends_with_4(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDFAST_ORDER_URL", "http://127.0.0.1:9")
    ended = run("orders", "list")
    assert ended.code == 4
    assert "http://127.0.0.1:9 can't be reached" in ended.err


def test_what_a_service_says_cannot_command_the_terminal(run: Run, fake: FakeStack) -> None:
    fake.answers["GET order/orders/o-1"] = (200, {**ORDER, "customerId": "\x1b[2Jboo"})
    assert "\\x1b[2Jboo" in run("orders", "show", "o-1").out


def test_settings_that_cannot_be_used_end_with_2(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDFAST_PORT_OFFSET", "many")
    ended = run("orders", "list")
    assert ended.code == 2
    assert "HANDFAST_PORT_OFFSET" in ended.err


def test_port_offset_wins_over_the_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDFAST_PORT_OFFSET", "1")
    assert "127.0.0.1:8887 " in run("orders", "list", "--port-offset", "0").err
    assert "127.0.0.1:8888 " in run("orders", "list").err
