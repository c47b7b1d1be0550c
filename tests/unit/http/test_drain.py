"""The steps of a program's end: each once, in their order."""

from shared.drain import Drain


def test_each_step_is_taken_once_and_a_hurry_begins_where_nobody_did() -> None:
    drain, taken = Drain(), list[str]()
    drain.at_begin(lambda: taken.append("begin"))
    drain.at_hurry(lambda: taken.append("hurry"))
    assert drain.problem() is None
    drain.hurry()
    drain.begin()
    drain.hurry()
    assert taken == ["begin", "hurry"]
    assert "draining" in str(drain.problem())
