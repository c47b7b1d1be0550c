"""What travels on the topic `coupon-issued`: a record for each claim, its key the drop's code."""

from typing import Final

import pydantic_core
from pydantic import Field

from shared.clock import iso
from shared.identity import Id
from shared.messaging.broker import Message
from shared.messaging.cloudevents import event_headers
from shared.messaging.values import Value, read_value
from stock_service.drops.claims import Claim

TOPIC: Final = "coupon-issued"


class Issue(Value):
    """The value of a record: have this claim issued."""

    claim_id: Id = Field(alias="claimId")
    code: Id
    customer_id: Id = Field(alias="customerId")


def issue_message(claim: Claim, source: str, traceparent: str | None = None) -> Message:
    """Return the message that has a claim issued. Its event id is the same whenever it is published again."""
    value = {
        "claimId": claim.id,
        "code": claim.code,
        "customerId": claim.customer_id,
        "claimedAt": iso(claim.created_at),
    }
    headers = event_headers(
        event_id=f"{claim.id}.issue",
        source=source,
        event_type="handfast.issue",
        at=claim.created_at,
        traceparent=traceparent,
    )
    return Message(TOPIC, claim.code.encode(), pydantic_core.to_json(value), headers)


def read_issue(value: bytes | None) -> Issue:
    """Read a record's value; raise InvalidMessage where it is none."""
    return read_value(Issue, value)
