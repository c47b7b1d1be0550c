"""What went wrong besides the invariants is found, and what was done on purpose isn't."""

import json
from pathlib import Path

from tests.chaos.aftermath import alarms, unable_to_start, unexplained_ends

KILLED = "stock was ended by SIGKILL; it is started again in 0.1 s"
UNABLE = "order ended with exit code 3; it is started again in 0.1 s"
GIVEN_UP = "Application startup failed. Exiting."
RESTARTED = "order ended with exit code 0; it is started again in 0.1 s"


def test_an_end_by_our_signal_is_explained() -> None:
    output = ["ready", "  stock   http://127.0.0.1:8888", KILLED, RESTARTED, "stopping"]
    assert unexplained_ends(output, {"stock": 1, "order": 1}) == []


def test_one_end_more_than_signals_is_found() -> None:
    [finding] = unexplained_ends([KILLED, KILLED], {"stock": 1})
    assert "stock ended 2 times" in finding


def test_a_crash_is_found_where_a_signal_would_explain_it() -> None:
    crash = "order ended with exit code 1; it is started again in 0.1 s"
    [finding] = unexplained_ends([crash], {"order": 1})
    assert "order ended with exit code 1" in finding


def test_a_broker_that_is_renewed_is_explained() -> None:
    output = [
        "broker holds 130 MiB of records and is renewed",
        "broker was ended by SIGTERM; it is started again in 0.1 s",
    ]
    assert unexplained_ends(output, {}) == []


def test_a_start_without_the_server_of_the_database_is_explained_and_no_alarm(tmp_path: Path) -> None:
    said = "Startup can't go on: There is no connection to postgresql://127.0.0.1:5432/shop, schema x: reset"
    lines = [{"level": "ERROR", "message": said}, {"level": "ERROR", "message": GIVEN_UP}]
    (tmp_path / "order.log").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    unable = unable_to_start(tmp_path)
    assert unable == {"order": 1}
    assert alarms(tmp_path) == []
    assert unexplained_ends([UNABLE], {}, unable) == []
    assert len(unexplained_ends([UNABLE, UNABLE], {}, unable)) == 2


def test_a_start_that_fails_for_another_reason_is_an_alarm(tmp_path: Path) -> None:
    said = "Startup can't go on: The database of order has no schema yet"
    lines = [{"level": "ERROR", "message": said}, {"level": "ERROR", "message": GIVEN_UP}]
    (tmp_path / "order.log").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert unable_to_start(tmp_path) == {}
    assert len(alarms(tmp_path)) == 2


def test_errors_in_the_logs_of_programs_are_alarms(tmp_path: Path) -> None:
    (tmp_path / "stock.log").write_text(
        '{"level": "INFO", "message": "all is well"}\n'
        '{"level": "WARNING", "message": "the broker is away"}\n'
        '{"level": "ERROR", "message": "Conflict at stock"}\n'
        '{"level": "ERROR", "mess'
    )
    (tmp_path / "order.log.1").write_text("Traceback (most recent call last):\n  File ...\nKeyError: 7\n")
    (tmp_path / "forkserver.log").write_text("Traceback (most recent call last):\n")
    assert [finding.split(": ", 1)[1] for finding in alarms(tmp_path)] == [
        "Traceback (most recent call last):",
        "None Conflict at stock",
    ]
