"""What a site holds for secret is set, and checked at start."""

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
