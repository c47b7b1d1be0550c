"""`handfast tx`, and how a timeline is drawn."""

from typing import Any

from cli.timeline import BAR, draw
from tests.unit.cli.conftest import Run
from tests.unit.cli.fake_stack import FakeStack

TRANSACTION = {
    "transactionId": "t-1",
    "state": "CONFIRMED",
    "mode": "auto",
    "deadline": "2026-11-21T09:30:10.000Z",
    "attention": None,
    "branches": [
        {
            "branchId": "b-1",
            "participant": "stock",
            "state": "CONFIRMED",
            "attempts": 1,
            "lastError": None,
        }
    ],
}
EVENTS: list[dict[str, Any]] = [
    {"at": "2026-11-21T09:30:00.000Z", "event": "state", "state": "TRYING"},
    {
        "at": "2026-11-21T09:30:00.040Z",
        "event": "call",
        "phase": "try",
        "participant": "stock",
        "branchId": "b-1",
        "answer": 201,
        "milliseconds": 30,
    },
    {"at": "2026-11-21T09:30:00.050Z", "event": "state", "state": "CONFIRMING"},
    {
        "at": "2026-11-21T09:30:00.050Z",
        "event": "published",
        "participant": "stock",
        "branchId": "b-1",
        "attempt": 2,
    },
    {
        "at": "2026-11-21T09:30:20.000Z",
        "event": "outcome",
        "outcome": "confirmed",
        "participant": "stock",
        "branchId": "b-1",
    },
]


def test_show_draws_the_timeline(run: Run, fake: FakeStack) -> None:
    fake.answers["GET coordinator/transactions/t-1"] = (200, TRANSACTION)
    fake.answers["GET coordinator/transactions/t-1/events"] = (200, {"items": EVENTS, "nextCursor": None})
    ended = run("tx", "show", "t-1")
    assert ended.code == 0
    for line in draw(EVENTS):
        assert line in ended.out
    assert "stock\tb-1\tCONFIRMED\t1\t\n" in ended.out


def test_show_gives_programs_everything(run: Run, fake: FakeStack) -> None:
    fake.answers["GET coordinator/transactions/t-1"] = (200, TRANSACTION)
    fake.answers["GET coordinator/transactions/t-1/events"] = (200, {"items": EVENTS, "nextCursor": None})
    assert run("tx", "show", "t-1", "--json").json() == {**TRANSACTION, "events": EVENTS}


def test_list_filters_by_state_and_attention(run: Run, fake: FakeStack) -> None:
    fake.answers["GET coordinator/transactions"] = (200, {"items": [TRANSACTION], "nextCursor": None})
    assert run("tx", "list", "--state", "confirmed", "--attention", "--json").json() == {
        "items": [TRANSACTION]
    }
    assert fake.asked[0].query == {"limit": "50", "state": "CONFIRMED", "attention": "true"}
    assert run("tx", "list").out.startswith("t-1\tCONFIRMED\tstock CONFIRMED\t")


def test_a_filter_that_matches_nothing_ends_with_3(run: Run, fake: FakeStack) -> None:
    fake.answers["GET coordinator/transactions"] = (200, {"items": [], "nextCursor": None})
    assert run("tx", "list").code == 0
    assert run("tx", "list", "--state", "TRYING").code == 3


def test_retry_drives_it_now(run: Run, fake: FakeStack) -> None:
    fake.answers["POST coordinator/transactions/t-1/retries"] = (202, TRANSACTION)
    assert run("tx", "retry", "t-1").code == 0
    assert run("tx", "retry", "unknown").code == 3


def test_a_timeline_says_when_what_took_how_long() -> None:
    lines = draw(EVENTS)
    assert len(lines) == len(EVENTS)
    texts, bars = zip(*(line.split("▏") for line in lines), strict=True)
    assert [text.split()[:2] for text in texts] == [
        ["+0", "ms"],
        ["+40", "ms"],
        ["+50", "ms"],
        ["+50", "ms"],
        ["+20.0", "s"],
    ]
    assert "stock  try: 201 in 30 ms" in texts[1]
    assert "stock  confirm: published, time 2" in texts[3]
    assert bars[0] == "●"
    assert bars[-1] == " " * (BAR - 1) + "←"


def test_a_call_is_drawn_as_long_as_it_took() -> None:
    bars = [line.split("▏")[1] for line in draw(EVENTS[:3])]
    assert bars == ["●", " " * 6 + "━" * 19, " " * 31 + "●"]


def test_an_event_of_a_kind_to_come_is_shown_with_what_it_says() -> None:
    [line] = draw([{"at": "2026-11-21T09:30:00.000Z", "event": "parked", "who": "ann"}])
    assert "parked (who ann)" in line


def test_no_events_draw_nothing() -> None:
    assert draw([]) == []
