"""`handfast dlt`: one list of all programs' letters, and replays that can be interrupted."""

from typing import Any

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.cli.fake_stack import Asked, FakeStack, problem


class Keeper:
    """The dead letters of one program, as its REST interface has them; a replay is soon applied."""

    def __init__(self, fake: FakeStack, program: str, *letters: dict[str, Any]) -> None:
        self.letters = {letter["letterId"]: letter for letter in letters}
        self.refuses: set[str] = set()
        self.comes_back: set[str] = set()
        fake.answers[f"GET {program}/dead-letters"] = self._list
        for letter_id in self.letters:
            fake.answers[f"GET {program}/dead-letters/{letter_id}"] = self._show
            fake.answers[f"POST {program}/dead-letters/{letter_id}/replays"] = self._replay

    def state(self, letter_id: str) -> str:
        return str(self.letters[letter_id]["state"])

    def _list(self, asked: Asked) -> tuple[int, Any]:
        found = [
            dict(letter)
            for letter in self.letters.values()
            if asked.query.get("topic") in (None, letter["topic"])
            and asked.query.get("state") in (None, letter["state"])
        ]
        for letter in self.letters.values():
            if letter["state"] == "REPLAYING":
                letter["state"] = "OPEN" if letter["letterId"] in self.comes_back else "SETTLED"
        return 200, {"items": found, "nextCursor": None}

    def _show(self, asked: Asked) -> tuple[int, Any]:
        return 200, self.letters[asked.what.rpartition("/")[2]]

    def _replay(self, asked: Asked) -> tuple[int, Any]:
        letter_id = asked.what.split("/")[2]
        if letter_id in self.refuses:
            return 500, problem("internal-error", 500, "Oh dear.")
        letter = self.letters[letter_id]
        if letter["state"] == "SETTLED":
            return 200, {"letterId": letter_id, "state": "SETTLED", "replays": 1, "skipped": "settled"}
        letter["state"] = "REPLAYING"
        return 202, {"letterId": letter_id, "state": "REPLAYING", "replays": 1}


def letter(letter_id: str, topic: str = "stock-adjustment", state: str = "OPEN") -> dict[str, Any]:
    return {
        "letterId": letter_id,
        "topic": topic,
        "state": state,
        "attempts": 4,
        "replays": 0,
        "key": "1",
        "value": "{}",
        "headers": [{"name": "ce_id", "value": "7"}],
        "exception": {"type": "E", "cause": "E", "message": "product 1 is frozen"},
        "stackTrace": "line one\nline two",
    }


@pytest.fixture
def keepers(fake: FakeStack) -> tuple[Keeper, Keeper]:
    stock = Keeper(fake, "stock", letter("L1"), letter("L4", state="SETTLED"))
    payment = Keeper(fake, "payment", letter("L2", "payment-capture"), letter("L3", "payment-capture"))
    return stock, payment


@pytest.mark.usefixtures("keepers")
def test_list_puts_all_programs_together(run: Run) -> None:
    ended = run("dlt", "list", "--json")
    assert ended.code == 0
    found = [(one["letterId"], one["program"]) for one in ended.json()["items"]]
    assert found == [("L1", "stock"), ("L2", "payment"), ("L3", "payment"), ("L4", "stock")]


@pytest.mark.usefixtures("keepers")
def test_list_filters_and_says_when_nothing_matches(run: Run) -> None:
    ended = run("dlt", "list", "--topic", "payment-capture")
    assert ended.code == 0
    assert [line.split("\t")[0] for line in ended.out.splitlines()] == ["L2", "L3"]
    assert run("dlt", "list", "--topic", "tcc-outcomes").code == 3


@pytest.mark.usefixtures("fake")
def test_an_empty_list_is_done(run: Run) -> None:
    assert run("dlt", "list", "--json").json() == {"items": []}


@pytest.mark.usefixtures("keepers")
def test_list_shows_what_it_can_and_ends_with_4_where_a_program_is_away(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANDFAST_PAYMENT_URL", "http://127.0.0.1:9")
    ended = run("dlt", "list", "--json")
    assert ended.code == 4
    assert [one["letterId"] for one in ended.json()["items"]] == ["L1", "L4"]
    assert "payment" in ended.err


@pytest.mark.usefixtures("keepers")
def test_show_finds_a_letter_wherever_it_is_kept(run: Run) -> None:
    assert run("dlt", "show", "L3", "--json").json() == {
        "program": "payment",
        **letter("L3", "payment-capture"),
    }
    shown = run("dlt", "show", "L3").out
    assert "exception.message  product 1 is frozen" in shown
    assert "headers            ce_id: 7" in shown
    assert "stackTrace:\n  line one\n  line two\n" in shown
    assert run("dlt", "show", "L9").code == 3


@pytest.mark.usefixtures("keepers")
def test_replay_by_id_is_applied(run: Run, fake: FakeStack) -> None:
    ended = run("dlt", "replay", "L1", "L2", "L1")
    assert ended.code == 0
    assert "L1  stock-adjustment  applied" in ended.out
    assert ended.out.endswith("2 applied\n")
    assert sorted(fake.requests("POST")) == [
        "POST payment/dead-letters/L2/replays",
        "POST stock/dead-letters/L1/replays",
    ]


@pytest.mark.usefixtures("keepers")
@pytest.mark.usefixtures("keepers")
def test_the_ledger_learns_who_and_why(run: Run, fake: FakeStack) -> None:
    assert run("dlt", "replay", "L1", "--why", "thawed").code == 0
    [asked] = [asked for asked in fake.asked if asked.what.startswith("POST")]
    assert asked.body["why"] == "thawed"
    assert asked.body["who"]


def test_what_settled_meanwhile_is_skipped_too(run: Run, fake: FakeStack) -> None:
    keeper = Keeper(fake, "stock", letter("L1"))
    shown = keeper.letters["L1"]
    fake.answers["GET stock/dead-letters/L1"] = lambda _: (200, shown | {"state": "OPEN"})
    shown["state"] = "SETTLED"
    ended = run("dlt", "replay", "L1")
    assert ended.code == 0
    assert "L1  stock-adjustment  skipped: already settled" in ended.out


@pytest.mark.usefixtures("keepers")
def test_what_is_settled_is_skipped_and_said(run: Run, fake: FakeStack) -> None:
    ended = run("dlt", "replay", "L4")
    assert ended.code == 0
    assert "L4  stock-adjustment  skipped: already settled" in ended.out
    assert fake.requests("POST") == []


def test_replay_by_topic_takes_that_topic_only(run: Run, keepers: tuple[Keeper, Keeper]) -> None:
    stock, payment = keepers
    assert run("dlt", "replay", "--topic", "payment-capture").code == 0
    assert (payment.state("L2"), payment.state("L3"), stock.state("L1")) == ("SETTLED", "SETTLED", "OPEN")


@pytest.mark.usefixtures("keepers")
def test_all_needs_a_yes(run: Run, fake: FakeStack) -> None:
    assert run("dlt", "replay", "--all").code == 2
    assert fake.requests("POST") == []
    ended = run("dlt", "replay", "--all", "--yes", "--json")
    assert ended.code == 0
    assert ended.json()["counts"]["applied"] == 3


@pytest.mark.usefixtures("keepers")
def test_replayed_again_there_is_nothing_left(run: Run) -> None:
    assert run("dlt", "replay", "--all", "--yes").code == 0
    assert run("dlt", "replay", "--all", "--yes").code == 3


@pytest.mark.parametrize(
    "arguments", [(), ("L1", "--all"), ("L1", "--topic", "t"), ("--topic", "t", "--all")]
)
@pytest.mark.usefixtures("fake")
def test_replay_wants_to_know_exactly_which(run: Run, arguments: tuple[str, ...]) -> None:
    assert run("dlt", "replay", *arguments).code == 2


@pytest.mark.usefixtures("keepers")
def test_dry_run_says_what_would_be_done_and_does_nothing(run: Run, fake: FakeStack) -> None:
    ended = run("dlt", "replay", "--all", "--dry-run")
    assert ended.code == 0
    assert ended.out.splitlines() == [
        f"{name}\twould be replayed"
        for name in ("L1\tstock-adjustment", "L2\tpayment-capture", "L3\tpayment-capture")
    ]
    assert fake.requests("POST") == []


def test_what_comes_back_is_said_and_ends_with_1(run: Run, keepers: tuple[Keeper, Keeper]) -> None:
    stock, _ = keepers
    stock.comes_back.add("L1")
    ended = run("dlt", "replay", "--all", "--yes")
    assert ended.code == 1
    assert "L1  stock-adjustment  came back: product 1 is frozen" in ended.out
    assert "1 of 3 letters are not applied" in ended.err


def test_one_letter_that_cannot_be_replayed_does_not_stop_the_others(
    run: Run, keepers: tuple[Keeper, Keeper]
) -> None:
    stock, payment = keepers
    stock.refuses.add("L1")
    ended = run("dlt", "replay", "--all", "--yes")
    assert ended.code == 1
    assert "L1  stock-adjustment  could not be replayed: internal-error: Oh dear." in ended.out
    assert (payment.state("L2"), payment.state("L3")) == ("SETTLED", "SETTLED")


def test_what_an_interrupted_replay_published_is_not_published_again(run: Run, fake: FakeStack) -> None:
    stock = Keeper(fake, "stock", letter("L1", state="REPLAYING"), letter("L2"))
    ended = run("dlt", "replay", "--topic", "stock-adjustment")
    assert ended.code == 0
    assert fake.requests("POST") == ["POST stock/dead-letters/L2/replays"]
    assert (stock.state("L1"), stock.state("L2")) == ("SETTLED", "SETTLED")
