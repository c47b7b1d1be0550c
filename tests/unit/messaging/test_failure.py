"""What an error may tell the outside."""

import pytest
from pydantic import BaseModel, ValidationError

from shared.messaging.failure import MESSAGE_LIMIT, STACK_TRACE_LIMIT, failure_of, redact


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    """Return an error that has been raised, so that it has a traceback."""
    with pytest.raises(type(error)) as caught:
        raise error from cause
    return caught.value


def test_names_are_module_qualified_and_the_cause_is_the_root() -> None:
    failure = failure_of(raised(RuntimeError("outer"), KeyError("inner")))
    assert failure.type == "builtins.RuntimeError"
    assert failure.cause == "builtins.KeyError"
    assert failure.message == "outer"
    assert "test_failure.py" in failure.stack_trace
    assert failure_of(ValueError("alone")).cause == "builtins.ValueError"


def test_a_chain_that_bites_its_tail_ends() -> None:
    error, other = ValueError("a"), ValueError("b")
    error.__cause__, other.__cause__ = other, error
    assert failure_of(error).cause == "builtins.ValueError"


def test_message_and_stack_trace_are_capped() -> None:
    failure = failure_of(raised(ValueError("x" * 1_000_000)))
    assert len(failure.message) == MESSAGE_LIMIT
    assert len(failure.stack_trace) <= STACK_TRACE_LIMIT


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("postgresql://ann:hunter2@db/orders", "hunter2"),
        ("password=hunter2", "hunter2"),
        ('{"api_key": "hunter2-long"}', "hunter2"),
        ("Authorization: Bearer abcdef.ghijkl", "abcdef"),
        ("authorization: basic YW5uOmh1bnRlcjI=", "YW5u"),
        ("X-Secret-Token = hunter2", "hunter2"),
        ("card 4111 1111 1111 1111 declined", "1111"),
        ("card 4111111111111111 declined", "4111"),
        ("[SQL: INSERT]\n[parameters: ('ann', 'hunter2')]", "hunter2"),
        ('File "/home/ann/secret-project/shared/tcc/x.py", line 3', "ann"),
    ],
)
def test_secrets_are_taken_out(text: str, gone: str) -> None:
    assert gone not in redact(text)


@pytest.mark.parametrize(
    "text", ["offset 1234567890123 of tx-1", "at 1795235192032", "the token bucket is empty", "3 passwords"]
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


def test_what_a_validation_error_saw_is_taken_out() -> None:
    class Claim(BaseModel):
        qty: int

    body = b'{"qty": "hunter%d"}' % 2
    with pytest.raises(ValidationError) as caught:
        Claim.model_validate_json(body)
    failure = failure_of(caught.value)
    assert "hunter2" not in failure.message + failure.stack_trace
    assert "int_parsing" in failure.message


def test_what_cannot_be_written_as_utf8_is_escaped() -> None:
    failure = failure_of(ValueError("\ud800 and \x00"))
    assert failure.message.encode() == b"\\ud800 and \\x00"
