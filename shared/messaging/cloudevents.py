"""CloudEvents in Kafka's binary mode: the attributes travel as headers, the value is the data alone."""

from typing import Final

from shared.clock import Millis, iso
from shared.messaging.broker import Headers

SPEC_VERSION: Final = b"1.0"


def event_headers(
    *, event_id: str, source: str, event_type: str, at: Millis, traceparent: str | None = None
) -> Headers:
    """Return the headers of one event.

    event_id: unique for the source; source: the program's name; event_type: as in `handfast.confirm`;
    at: when it happened; traceparent: the W3C trace context in which it did.
    """
    headers = (
        ("ce_specversion", SPEC_VERSION),
        ("ce_id", event_id.encode()),
        ("ce_source", source.encode()),
        ("ce_type", event_type.encode()),
        ("ce_time", iso(at).encode()),
    )
    return headers if traceparent is None else (*headers, ("traceparent", traceparent.encode()))
