"""`handfast dlt`: one list of all programs' letters, and replays that can be interrupted."""

import functools
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.api import Api
from tests.unit.cli.conftest import Run
from tests.unit.cli.fake_stack import Asked, FakeStack, problem


class Keeper:
    """The dead letters of one program, as its REST interface has them; a replay is soon applied."""

    def __init__(self, fake: FakeStack, program: str, *letters: dict[str, Any]) -> None:
        self.letters = {letter["letterId"]: letter for letter in letters}
        self.refuses: set[str] = set()
        self.comes_back: set[str] = set()
        self.skips: dict[str, str] = {}
        self.requests: list[list[str]] = []
        fake.answers[f"GET {program}/dead-letters"] = self._list
        fake.answers[f"GET {program}/dead-letters/standings"] = self._standings
        fake.answers[f"POST {program}/dead-letters/replays"] = self.replays
        for letter_id in self.letters:
            fake.answers[f"GET {program}/dead-letters/{letter_id}"] = self._show
            for noun, state in (("parkings", "PARKED"), ("releases", "OPEN")):
                what = f"POST {program}/dead-letters/{letter_id}/{noun}"
                fake.answers[what] = functools.partial(self._move, state)

    def state(self, letter_id: str) -> str:
        return str(self.letters[letter_id]["state"])

    def _list(self, asked: Asked) -> tuple[int, Any]:
        found = [
            dict(letter)
            for letter in self.letters.values()
            if asked.query.get("topic") in (None, letter["topic"])
            and asked.query.get("state") in (None, letter["state"])
        ]
        return 200, {"items": found, "nextCursor": None}

    def _standings(self, asked: Asked) -> tuple[int, Any]:
        asked_about = asked.queries["letterId"]
        assert len(asked_about) <= 100
        found = [dict(self.letters[letter_id]) for letter_id in asked_about if letter_id in self.letters]
        for letter_id in asked_about:
            letter = self.letters.get(letter_id, {})
            if letter.get("state") == "REPLAYING":
                letter["state"] = "OPEN" if letter_id in self.comes_back else "SETTLED"
        return 200, {"items": found}

    def _show(self, asked: Asked) -> tuple[int, Any]:
        return 200, self.letters[asked.what.rpartition("/")[2]]

    def _move(self, state: str, asked: Asked) -> tuple[int, Any]:
        letter_id = asked.what.split("/")[2]
        if letter_id in self.refuses:
            return 409, problem("letter-settled", 409, "Nothing is left to do.")
        self.letters[letter_id]["state"] = state
        return 200, {"letterId": letter_id, "state": state}

    def replays(self, asked: Asked) -> tuple[int, Any]:
        self.requests.append(asked.body["letterIds"])
        assert 1 <= len(self.requests[-1]) <= 100
        return 200, {"items": [self._replay(letter_id) for letter_id in self.requests[-1]]}

    def _replay(self, letter_id: str) -> dict[str, Any]:
        if letter_id in self.refuses:
            return {"letterId": letter_id, "problem": problem("unreachable", 503, "Ask again.")}
        letter = self.letters[letter_id]
        result = {"letterId": letter_id, "state": letter["state"], "replays": 1}
        if letter_id in self.skips:
            result |= {"replays": 7, "skipped": self.skips[letter_id]}
        elif letter["state"] == "SETTLED":
            result["skipped"] = "settled"
        else:
            result["state"] = letter["state"] = "REPLAYING"
        return {"letterId": letter_id, "result": result}


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
        "createdAt": "2026-11-24T10:00:00.000Z",
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
        "POST payment/dead-letters/replays",
        "POST stock/dead-letters/replays",
    ]


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
    assert "L1  stock-adjustment  could not be replayed: unreachable: Ask again." in ended.out
    assert (payment.state("L2"), payment.state("L3")) == ("SETTLED", "SETTLED")


def test_what_an_interrupted_replay_published_is_not_published_again(run: Run, fake: FakeStack) -> None:
    stock = Keeper(fake, "stock", letter("L1", state="REPLAYING"), letter("L2"))
    ended = run("dlt", "replay", "--topic", "stock-adjustment")
    assert ended.code == 0
    assert stock.requests == [["L2"]]
    assert (stock.state("L1"), stock.state("L2")) == ("SETTLED", "SETTLED")


EVERY_FILTER = {
    "--topic": ("topic", "t"),
    "--state": ("state", "OPEN"),
    "--exception": ("exception", "Refused"),
    "--group": ("group", "0123456789abcdef"),
    "--key": ("key", "1"),
    "--since": ("since", "2026-11-24T10:00:00.000Z"),
    "--until": ("until", "2026-11-24T11:00:00.000Z"),
    "--attempts": ("attempts", "3"),
    "--transaction": ("transactionId", "t1"),
}


@pytest.mark.parametrize(
    "command",
    [
        ("list",),
        ("groups",),
        ("export",),
        ("replay",),
        ("park",),
        ("release",),
        ("purge", "--yes"),
    ],
)
def test_every_command_that_picks_letters_takes_every_filter(
    run: Run, fake: FakeStack, command: tuple[str, ...]
) -> None:
    empty: dict[str, Any] = {"items": [], "nextCursor": None}
    fake.answers["GET stock/dead-letters/groups"] = (200, empty)
    fake.answers["POST stock/dead-letters/purges"] = (200, {"purged": [], "kept": [], "nextCursor": None})
    given = itertools.chain(*((option, value) for option, (_, value) in EVERY_FILTER.items()))
    assert run("dlt", *command, *given, "--program", "stock").code == 3
    [asked] = fake.asked
    assert asked.what.split()[1].startswith("stock/dead-letters")
    sent = {name: str(value) for name, value in (asked.body or asked.query).items()}
    assert dict(EVERY_FILTER.values()).items() <= sent.items()


@pytest.mark.parametrize(
    "wrong",
    [
        ("--state", "DEAD"),
        ("--program", "bank"),
        ("--since", "yesterday"),
        ("--since", "2026-11-24T10:00:00"),
        ("--attempts", "0"),
    ],
)
@pytest.mark.usefixtures("fake")
def test_a_filter_that_can_not_be_meant_is_a_usage_error(run: Run, wrong: tuple[str, str]) -> None:
    assert run("dlt", "list", *wrong).code == 2


@pytest.mark.usefixtures("fake")
def test_since_may_say_how_long_ago(run: Run, fake: FakeStack) -> None:
    assert run("dlt", "list", "--since", "2h").code == 3
    assert fake.asked[0].query["since"].endswith("Z")


def many(fake: FakeStack, count: int, **options: Any) -> Keeper:
    return Keeper(fake, "stock", *(letter(f"L{number}", **options) for number in range(count)))


def test_limit_replays_the_oldest_only(run: Run, fake: FakeStack) -> None:
    keeper = many(fake, 4)
    assert run("dlt", "replay", "--topic", "stock-adjustment", "--limit", "2").code == 0
    states = [keeper.state(f"L{number}") for number in range(4)]
    assert states == ["SETTLED", "SETTLED", "OPEN", "OPEN"]


def test_canaries_go_first_and_stop_the_rest_when_they_come_back(run: Run, fake: FakeStack) -> None:
    keeper = many(fake, 5)
    keeper.comes_back.add("L1")
    ended = run("dlt", "replay", "--topic", "stock-adjustment", "--canary", "2", "--json")
    assert ended.code == 1
    assert ended.json()["counts"] | {"applied": 1, "back": 1, "stopped": 3} == ended.json()["counts"]
    assert [keeper.state(f"L{number}") for number in (2, 3, 4)] == ["OPEN"] * 3
    assert "1 of 2 canaries" in ended.json()["items"][4]["detail"]


def test_the_rest_follows_when_the_canaries_are_applied(run: Run, fake: FakeStack) -> None:
    keeper = many(fake, 5)
    assert run("dlt", "replay", "--topic", "stock-adjustment", "--canary", "2").code == 0
    assert {keeper.state(f"L{number}") for number in range(5)} == {"SETTLED"}


def test_a_rate_is_kept(run: Run, fake: FakeStack, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = many(fake, 9)
    moments: list[float] = []
    send = Api.send

    def noting(self: Api, method: str, *arguments: Any, **options: Any) -> Any:
        if method == "POST":
            moments.append(time.monotonic())
        return send(self, method, *arguments, **options)

    monkeypatch.setattr(Api, "send", noting)
    assert run("dlt", "replay", "--topic", "stock-adjustment", "--rate", "20").code == 0
    assert moments[-1] - moments[0] >= 8 / 20 - 0.01
    assert [len(request) for request in keeper.requests] == [2, 2, 2, 2, 1]


def test_canaries_count_for_the_rate_too(run: Run, fake: FakeStack) -> None:
    keeper = many(fake, 4)
    moments: list[float] = []

    def noting(asked: Asked) -> tuple[int, Any]:
        moments.append(time.monotonic())
        return keeper.replays(asked)

    fake.answers["POST stock/dead-letters/replays"] = noting
    assert run("dlt", "replay", "--topic", "stock-adjustment", "--canary", "2", "--rate", "3").code == 0
    assert [len(request) for request in keeper.requests] == [1, 1, 1, 1]
    assert moments[3] - moments[0] >= 1.0, "three a second"


def test_many_letters_go_in_few_requests(run: Run, fake: FakeStack) -> None:
    keeper = many(fake, 250)
    assert run("dlt", "replay", "--topic", "stock-adjustment").code == 0
    assert sorted(len(request) for request in keeper.requests) == [50, 100, 100]
    assert {keeper.state(f"L{number}") for number in range(250)} == {"SETTLED"}


def test_a_request_without_an_answer_is_said_of_its_letters_only(
    run: Run, fake: FakeStack, keepers: tuple[Keeper, Keeper]
) -> None:
    stock, payment = keepers
    fake.answers["POST payment/dead-letters/replays"] = (500, problem("internal-error", 500, "Oh dear."))
    ended = run("dlt", "replay", "--all", "--yes")
    assert ended.code == 1
    assert ended.out.count("could not be replayed: internal-error: Oh dear.") == 2
    assert (stock.state("L1"), payment.state("L2")) == ("SETTLED", "OPEN")


def test_a_letter_that_is_gone_while_it_is_waited_for_is_said(run: Run, fake: FakeStack) -> None:
    keeper = many(fake, 2, state="REPLAYING")
    del keeper.letters["L0"]
    listed = [letter("L0", state="REPLAYING"), letter("L1", state="REPLAYING")]
    fake.answers["GET stock/dead-letters"] = (200, {"items": listed, "nextCursor": None})
    ended = run("dlt", "replay", "--state", "replaying")
    assert ended.code == 1
    assert "there is no dead letter L0 any more" in ended.out
    assert "L1  stock-adjustment  applied" in ended.out


def test_while_a_program_is_away_its_letters_are_waited_for(run: Run, fake: FakeStack) -> None:
    keeper = many(fake, 1, state="REPLAYING")
    answers = iter([(503, problem("stopping", 503, "Not now."))])
    standings = fake.answers["GET stock/dead-letters/standings"]
    assert callable(standings)
    fake.answers["GET stock/dead-letters/standings"] = lambda asked: next(answers, None) or standings(asked)
    assert run("dlt", "replay", "--topic", "stock-adjustment").code == 0
    assert keeper.state("L0") == "SETTLED"


@pytest.mark.parametrize(
    ("skipped", "said", "code"),
    [
        ("cancelled", "skipped: what it confirms is cancelled", 0),
        ("edited", "skipped: another letter took its place", 0),
        ("undecided", "not replayed: nothing is decided yet", 1),
        ("parked", "parked: after 7 replays", 1),
    ],
)
def test_what_is_not_replayed_is_said(run: Run, fake: FakeStack, skipped: str, said: str, code: int) -> None:
    many(fake, 1).skips["L0"] = skipped
    ended = run("dlt", "replay", "L0")
    assert ended.code == code
    assert said in ended.out


def test_only_letters_that_are_named_are_replayed_when_they_are_parked(run: Run, fake: FakeStack) -> None:
    many(fake, 1, state="PARKED")
    assert run("dlt", "replay", "--topic", "stock-adjustment").code == 3
    assert run("dlt", "replay", "L0", "--max-replays", "4").code == 0
    [asked] = [asked for asked in fake.asked if asked.what.startswith("POST")]
    assert (asked.body["parked"], asked.body["maxReplays"]) == (True, 4)


def test_letters_are_parked_and_released(run: Run, fake: FakeStack) -> None:
    keeper = many(fake, 3)
    keeper.refuses.add("L2")
    ended = run("dlt", "park", "--topic", "stock-adjustment", "--why", "ask Ann")
    assert ended.code == 1
    assert ended.out.splitlines()[0] == "L0\tstock-adjustment\tparked"
    assert "letter-settled" in ended.out
    assert [keeper.state(f"L{number}") for number in range(3)] == ["PARKED", "PARKED", "OPEN"]
    assert run("dlt", "release", "L0").code == 0
    assert run("dlt", "release", "--all").code == 2
    assert run("dlt", "release", "--all", "--yes").code == 0
    assert keeper.state("L1") == "OPEN"


def test_groups_of_all_programs_are_put_together(run: Run, fake: FakeStack) -> None:
    for program, count, seen in (("stock", 2, "2026-11-24T10"), ("payment", 3, "2026-11-24T09")):
        fake.answers[f"GET {program}/dead-letters/groups"] = (
            200,
            {"items": [group(program, count, f"{seen}:00:00.000Z")], "nextCursor": None},
        )
    for program in ("order", "coordinator"):
        fake.answers[f"GET {program}/dead-letters/groups"] = (200, {"items": [], "nextCursor": None})
    [one] = run("dlt", "groups", "--json").json()["items"]
    assert (one["count"], one["topics"], one["states"]) == (5, {"stock": 2, "payment": 3}, {"OPEN": 5})
    assert (one["firstSeen"][11:13], one["lastSeen"][11:13]) == ("09", "10")
    assert "a.Refused\ttcc/branches.py in _apply\tpayment 3, stock 2\tOPEN 5" in run("dlt", "groups").out


def group(topic: str, count: int, seen: str) -> dict[str, Any]:
    return {
        "group": "0123456789abcdef",
        "exception": "a.Refused",
        "place": "tcc/branches.py in _apply",
        "count": count,
        "topics": {topic: count},
        "states": {"OPEN": count},
        "firstSeen": seen,
        "lastSeen": seen,
    }


def purges(fake: FakeStack, *pages: dict[str, Any]) -> None:
    for program in ("coordinator", "order", "stock", "payment"):
        nothing: dict[str, Any] = {"purged": [], "kept": [], "nextCursor": None}
        fake.answers[f"POST {program}/dead-letters/purges"] = (200, nothing)
    answers: Iterator[dict[str, Any]] = iter(pages)
    fake.answers["POST stock/dead-letters/purges"] = lambda _: (200, next(answers))


def test_a_purge_needs_a_yes_and_goes_on_to_the_last_page(run: Run, fake: FakeStack) -> None:
    purges(
        fake,
        {"purged": ["L0"], "kept": [], "nextCursor": "c"},
        {"purged": [], "kept": [{"letterId": "L1", "reason": "open"}], "nextCursor": None},
    )
    assert run("dlt", "purge", "--older-than", "30d").code == 2
    assert fake.asked == []
    assert run("dlt", "purge", "--yes").code == 2
    ended = run("dlt", "purge", "--older-than", "30d", "--yes", "--why", "cleaned up")
    assert ended.code == 0
    assert "L0\tstock\tdeleted" in ended.out
    assert "1 deleted, 1 kept" in ended.out
    first, second = [asked.body for asked in fake.asked if asked.what.startswith("POST stock")]
    assert (first["olderThanSeconds"], first["force"], first["cursor"]) == (30 * 86_400, False, None)
    assert (second["cursor"], second["why"]) == ("c", "cleaned up")


def test_a_purge_says_which_letters_are_needed(run: Run, fake: FakeStack) -> None:
    purges(fake, {"purged": [], "kept": [{"letterId": "L1", "reason": "decided"}], "nextCursor": None})
    ended = run("dlt", "purge", "--all", "--yes", "--force")
    assert ended.code == 1
    assert "decided and not yet applied: replay it" in ended.out


def edits(fake: FakeStack, **shown: Any) -> None:
    Keeper(fake, "stock", letter("L0") | shown, letter("L1", state="SETTLED"))
    edited = {"letterId": "L1", "state": "REPLAYING", "replaces": "L0"}
    fake.answers["POST stock/dead-letters/L0/edits"] = (201, edited)


def edit_sent(fake: FakeStack) -> dict[str, Any]:
    [asked] = [asked for asked in fake.asked if asked.what.startswith("POST")]
    return {name: value for name, value in asked.body.items() if name.startswith("value")}


def test_an_edit_sends_a_file_s_bytes(run: Run, fake: FakeStack, tmp_path: Path) -> None:
    edits(fake)
    file = tmp_path / "value"
    file.write_bytes(b"\xff\x00")
    ended = run("dlt", "edit", "L0", "--value", str(file))
    assert ended.code == 0
    assert "L1  stock-adjustment  applied" in ended.out
    assert edit_sent(fake) == {"value": "/wA=", "valueEncoding": "base64"}
    assert fake.asked[-1].queries == {"letterId": ["L1"]}
    assert run("dlt", "edit", "L0", "--value", str(tmp_path / "none")).code == 2


def test_an_edit_that_comes_back_at_once_is_said_and_not_published_again(
    run: Run, fake: FakeStack, tmp_path: Path
) -> None:
    edits(fake)
    fake.answers["GET stock/dead-letters/standings"] = (200, {"items": [letter("L1")]})
    file = tmp_path / "value"
    file.write_text("{}")
    ended = run("dlt", "edit", "L0", "--value", str(file))
    assert ended.code == 1
    assert "L1  stock-adjustment  came back: product 1 is frozen" in ended.out
    assert len(fake.requests("POST")) == 1


def test_an_edit_opens_the_editor_on_what_the_value_really_is(
    run: Run, fake: FakeStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edits(fake, value='{"old": 1}')
    script = tmp_path / "editor"
    script.write_text('#!/bin/sh\nsed -i -e "s/old/new/" "$1"; echo >> "$1"\n')
    script.chmod(0o700)
    monkeypatch.setenv("VISUAL", str(script))
    assert run("dlt", "edit", "L0").code == 0
    assert edit_sent(fake) == {"value": '{"new": 1}'}, "the line break is the editor's"
    assert [asked.query for asked in fake.asked if asked.what == "GET stock/dead-letters/L0"] == [
        {"redact": "false"}
    ]
    monkeypatch.setenv("VISUAL", "true")
    assert run("dlt", "edit", "L0").code == 1, "nothing was changed"
    monkeypatch.setenv("VISUAL", "false")
    assert run("dlt", "edit", "L0").code == 1, "the editor failed"


def test_the_ledger_of_all_programs_is_one(run: Run, fake: FakeStack) -> None:
    for program, hour in (("stock", "10"), ("payment", "09"), ("order", ""), ("coordinator", "")):
        lines = [act(f"A-{program}", f"2026-11-24T{hour}:00:00.000Z")] if hour else []
        fake.answers[f"GET {program}/dead-letters/history"] = (200, {"items": lines, "nextCursor": None})
    listed = run("dlt", "history", "--json").json()["items"]
    assert [line["actId"] for line in listed] == ["A-payment", "A-stock"]
    assert "purge\tL0\tstock\tann\tdone with\ttopic t" in run("dlt", "history", "L0").out
    assert fake.asked[-1].query["letterId"] == "L0"


def act(act_id: str, at: str) -> dict[str, Any]:
    return {
        "actId": act_id,
        "letterId": "L0",
        "act": "purge",
        "at": at,
        "who": "ann",
        "why": "done with",
        "details": {"topic": "t"},
    }


def lines_of(text: str) -> list[str]:
    return [json.loads(line)["letterId"] for line in text.splitlines()]


def test_an_export_is_a_letter_a_line_of_plain_ascii(run: Run, fake: FakeStack) -> None:
    Keeper(fake, "stock", letter("L0") | {"value": "\x1b[2J\u202e\u00e9"}, letter("L1"))
    ended = run("dlt", "export", "--no-redact")
    assert ended.code == 0
    assert lines_of(ended.out) == ["L0", "L1"]
    assert ended.out.isascii()
    assert "\x1b" not in ended.out
    assert json.loads(ended.out.splitlines()[0])["value"] == "\x1b[2J\u202e\u00e9"
    assert fake.asked[0].query["redact"] == "false"
    run("dlt", "export")
    assert fake.asked[-1].query["redact"] == "true"


def test_an_export_that_was_cut_short_is_resumed(run: Run, fake: FakeStack, tmp_path: Path) -> None:
    whole, file = tmp_path / "whole", tmp_path / "part"
    Keeper(fake, "stock", *(letter(f"L{number}") for number in range(3)))
    Keeper(fake, "payment", letter("P0", "payment-capture"))
    assert run("dlt", "export", "--output", str(whole)).code == 0
    content = whole.read_bytes()
    for cut in (0, 5, content.index(b"\n") + 1, content.index(b"\n") + 9, len(content) - 3, len(content)):
        file.write_bytes(content[:cut])
        assert run("dlt", "export", "--output", str(file), "--resume").code == 0
        assert file.read_bytes() == content
    assert run("dlt", "export", "--output", str(whole)).code == 2, "it is not written over"
    assert run("dlt", "export", "--resume").code == 2
    file.write_text("something else\n")
    assert run("dlt", "export", "--output", str(file), "--resume").code == 2


def test_nothing_that_a_terminal_obeys_is_written_to_it(run: Run, fake: FakeStack) -> None:
    hostile = "\x1b[2J\x9b31m\x07\u202e\x7f"
    Keeper(fake, "stock", letter("L0") | {"value": hostile, "key": hostile})
    for command in (("list",), ("show", "L0"), ("list", "--json"), ("show", "L0", "--json")):
        out = run("dlt", *command).out
        assert all(character.isprintable() or character in "\n\t" for character in out), command
    assert run("dlt", "show", "L0", "--json").json()["value"] == hostile
