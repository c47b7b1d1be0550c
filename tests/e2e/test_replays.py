"""A replay of many letters: at its rate, killed on the way and run again, each letter applied once."""

from cli.stack import OwnStack
from tests.e2e.replays import play


def test_a_killed_replay_is_resumed_and_each_letter_applied_once_at_the_rate(stack: OwnStack) -> None:
    report = play(stack, 120, 60.0, "counted")
    assert report.wrong == []
    assert 0 < report.before_the_kill < 120, "it was killed on the way"
    assert report.said, "progress is shown"
