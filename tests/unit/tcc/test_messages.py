"""What travels over Kafka, as the contract writes it, and back again."""

import pydantic_core
import pytest

from shared.messaging.broker import Message, Record
from shared.messaging.values import InvalidMessage
from shared.tcc.confirmations import (
    confirm_message,
    outcome_message,
    read_confirm,
    read_outcome,
    traceparent_of,
)

AT = 1_795_253_400_250


def received(message: Message) -> Record:
    return Record(message.topic, 0, 0, 0, 0, message.key, message.value, message.headers)


def value_of(message: Message) -> object:
    assert message.value is not None
    return pydantic_core.from_json(message.value)


def test_a_confirm_is_written_as_the_contract_says() -> None:
    message = confirm_message(
        "stock-adjustment",
        "product-1",
        reservation_id="branch",
        transaction_id="tx",
        decided_at=AT,
        source="coordinator",
        traceparent="00-trace",
    )

    assert (message.topic, message.key) == ("stock-adjustment", b"product-1")
    assert value_of(message) == {
        "transactionId": "tx",
        "reservationId": "branch",
        "decision": "confirm",
        "decidedAt": "2026-11-21T09:30:00.250Z",
    }
    headers = dict(message.headers)
    assert headers["ce_id"] == b"branch.confirm"
    assert headers["ce_source"] == b"coordinator"
    assert headers["ce_type"] == b"handfast.confirm"
    assert headers["ce_time"] == b"2026-11-21T09:30:00.250Z"
    assert traceparent_of(received(message)) == "00-trace"
    confirm = read_confirm(received(message))
    assert (confirm.transaction_id, confirm.reservation_id) == ("tx", "branch")


def test_a_standalone_confirm_names_no_transaction() -> None:
    message = confirm_message("toys", "key", reservation_id="branch", decided_at=AT, source="toy")

    assert "transactionId" not in str(value_of(message))
    assert read_confirm(received(message)).transaction_id is None
    assert traceparent_of(received(message)) is None


def test_an_outcome_is_written_as_the_contract_says() -> None:
    message = outcome_message(
        transaction_id="tx",
        branch_id="branch",
        outcome="dead-lettered",
        reason="frozen",
        at=AT,
        source="stock",
    )

    assert (message.topic, message.key) == ("tcc-outcomes", b"tx")
    assert value_of(message) == {
        "transactionId": "tx",
        "branchId": "branch",
        "outcome": "dead-lettered",
        "reason": "frozen",
        "at": "2026-11-21T09:30:00.250Z",
    }
    assert read_outcome(received(message)).reason == "frozen"


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"{}",
        b'{"transactionId":"t","branchId":"b","outcome":"lost","at":"2026-11-21T09:30:00Z"}',
        b'{"transactionId":"t","branchId":"b","outcome":"confirmed","at":"now"}',
        b'{"transactionId":"t","branchId":"b c","outcome":"confirmed","at":"2026-11-21T09:30:00Z"}',
        b'{"transactionId":"t","branchId":"b","outcome":"confirmed","reason":7,"at":"2026-11-21T09:30:00Z"}',
    ],
)
def test_what_is_no_outcome_is_invalid(value: bytes | None) -> None:
    with pytest.raises(InvalidMessage):
        read_outcome(Record("tcc-outcomes", 0, 0, 0, 0, None, value))


def test_an_invalid_message_is_described_without_its_values() -> None:
    with pytest.raises(InvalidMessage) as invalid:
        read_confirm(Record("toys", 0, 0, 0, 0, None, b'{"reservationId": "s3cret value"}'))

    assert "reservationId" in invalid.value.detail
    assert "s3cret" not in invalid.value.detail
