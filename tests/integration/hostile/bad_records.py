"""Records that no topic can take: garbage, JSON of the wrong shape, nulls, odd keys and headers."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Bad:
    """A record that no program can apply. why: part of the exception's class."""

    name: str
    value: bytes | None
    why: str = "InvalidMessage"
    key: bytes | None = b"key"
    headers: tuple[tuple[str, bytes | None], ...] = ()


def bad_records(good: dict[str, Any]) -> list[Bad]:
    """Return what can't be applied on any topic, made from a message that could be."""

    def spelled(**changes: Any) -> bytes:
        return json.dumps({**good, **changes}).encode()

    whole = json.dumps(good).encode()
    instant_field = "decidedAt" if "decidedAt" in good else "at"
    branch_field = "reservationId" if "reservationId" in good else "branchId"
    return [
        Bad("garbage bytes", b"\xff\xfe\x00\x80"),
        Bad("noise", bytes(range(256))),
        Bad("empty", b""),
        Bad("null", None),
        Bad("null, null key", None, key=None),
        Bad("null, empty key", None, key=b""),
        Bad("spaces", b" \n"),
        Bad("a list", b"[" + whole + b"]"),
        Bad("JSON null", b"null"),
        Bad("a number", b"1"),
        Bad("a text", b'"confirm"'),
        Bad("an empty object", b"{}"),
        Bad("cut off", whole[:-1]),
        Bad("two", whole + whole),
        Bad("UTF-16", whole.decode().encode("utf-16")),
        Bad("a byte order mark", b"\xef\xbb\xbf" + whole),
        Bad("deep", b"[" * 100_000),
        Bad("large", b'{"x":"' + b"a" * 900_000 + b'"}'),
        *(Bad(f"without {field}", without(good, field)) for field in good if field != "transactionId"),
        *(Bad(f"{field} a number", spelled(**{field: 1})) for field in good),
        *(Bad(f"{field} null", spelled(**{field: None})) for field in good if field != "transactionId"),
        *(Bad(f"{field} a list", spelled(**{field: [good[field]]})) for field in good),
        *(
            Bad(f"a hostile id {number}", spelled(**{branch_field: hostile}))
            for number, hostile in enumerate(
                ("", "a" * 65, "a/b", "a\0b", "a\r\nb", "é", "'--", "a" * 100_000)
            )
        ),
        *(
            Bad(f"no instant {number}", spelled(**{instant_field: hostile}))
            for number, hostile in enumerate(
                ("", "now", "2026-01-01", "9999-12-31T23:59:59-23:59", "0" * 41, "\0")
            )
        ),
        Bad("null key", b'{"null":"key"}', key=None),
        Bad("a key that is no text", b'{"a":1}', key=b"\xff\x00"),
        Bad("a long key", b'{"a":2}', key=b"k" * 10_000),
        Bad(
            "repeated headers",
            b'{"a":3}',
            headers=(("twice", b"a"), ("twice", b"b"), ("", b""), ("\u00e9", b"\xff")),
        ),
        Bad("a null header", b'{"a":4}', headers=(("null", None), ("traceparent", None))),
        Bad("a bad trace", b'{"a":5}', headers=(("traceparent", b"\xff" * 100), ("traceparent", b"00-zz"))),
        Bad("many headers", b'{"a":6}', headers=tuple((f"h{number}", b"x" * 100) for number in range(500))),
        Bad(
            "forged headers",
            b'{"a":7}',
            headers=(
                ("kafka_dlt-exception-message", b"forged"),
                ("kafka_dlt-original-offset", b"x"),
                ("handfast-letter-id", b"\xff"),
                ("handfast-attempts", b"-1"),
            ),
        ),
        Bad("a secret", b'{"password":"hunter2-hunter2"}'),
    ]


def without(message: dict[str, Any], field: str) -> bytes:
    """Write a message without one of its fields."""
    return json.dumps({name: value for name, value in message.items() if name != field}).encode()
