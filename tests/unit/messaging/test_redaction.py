"""What a site holds for secret is set, and checked at start."""

import time

import pytest
from pydantic import ValidationError

from shared.messaging.failure import failure_of
from shared.messaging.redaction import Redactor
from shared.settings import Settings


def test_a_site_s_own_patterns_are_taken_out_of_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDFAST_REDACT_PATTERNS", '["(?i)iban [a-z0-9]+"]')
    redactor = Redactor(Settings(_env_file=None).redact_patterns)
    failure = failure_of(ValueError("no such account: IBAN DE02, password=x"), redactor)
    assert failure.message == "no such account: ***, password=***"
    assert "DE02" not in failure.stack_trace


def test_a_pattern_that_is_none_is_named_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDFAST_REDACT_PATTERNS", '["("]')
    with pytest.raises(ValidationError, match="no regular expression"):
        Settings(_env_file=None)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"password": "correct horse, battery", "x": "y"}', '{"password": "***", "x": "y"}'),
        ("{'api_key': 'a b', 'x': 1}", "{'api_key': '***', 'x': 1}"),
        (r'{"password": "a\"b c", "x": 1}', '{"password": "***", "x": 1}'),
        (r'{"body": "{\"token\": \"t 1\", \"x\": 1}"}', r'{"body": "{\"token\": \"***\", \"x\": 1}"}'),
        ("x" * 60 + "-secret=abc&x=1", "x" * 60 + "-secret=***&x=1"),
        ('{"token": "", "x": 1}', '{"token": "", "x": 1}'),
        ('"authorization": "Bearer abcdef"', '"authorization": "Bearer ***"'),
    ],
)
def test_a_secret_is_taken_out_whole(text: str, shown: str) -> None:
    assert Redactor()(text) == shown


@pytest.mark.parametrize("unit", ["a-", "token ", "token\\", 'token:"', "passwor", "://a:", "basic "])
def test_no_text_takes_much_longer_than_another(unit: str) -> None:
    """Letters are shown by the process that takes orders: what somebody sent must not stall it."""

    def cost(unit: str) -> float:
        text = unit * (100_000 // len(unit))
        began = time.process_time()
        Redactor()(text)
        return time.process_time() - began

    assert min(cost(unit) for _ in range(3)) < 20 * min(cost("a") for _ in range(3))
