"""`handfast demo`: a newcomer's first minute."""

import time

from tests.e2e.conftest import handfast


def test_the_demo_tells_five_stories_and_each_ends_as_it_must() -> None:
    began = time.monotonic()
    ended = handfast("demo", seconds=120)
    assert ended.code == 0, ended.out + ended.err
    assert "5 of 5 stories ended as they must" in ended.out
    assert "✗" not in ended.out
    for told in ("CONFIRMED", "insufficient-stock", "payment-declined", "HELD", "dead letter", "applied"):
        assert told in ended.out
    assert time.monotonic() - began < 60
