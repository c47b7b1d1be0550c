"""Headers that lean routes read by themselves, as OpenAPI sees them."""

from typing import Any, Final

from shared.http.prefer import LONGEST_SECONDS
from shared.identity import ID_PATTERN


def header(
    name: str, description: str, *, required: bool = False, schema: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the OpenAPI parameter of a header; schema: any string unless told."""
    return {
        "name": name,
        "in": "header",
        "required": required,
        "description": description,
        "schema": schema or {"type": "string"},
    }


def with_headers(*parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the `openapi_extra=` that documents these headers."""
    return {"parameters": list(parameters)}


_ID_SCHEMA: Final = {"type": "string", "pattern": ID_PATTERN, "minLength": 1, "maxLength": 64}

PREFER: Final = header(
    "Prefer", f"`wait=N`: wait up to N seconds (at most {LONGEST_SECONDS}) for the final state (RFC 7240)."
)
IDEMPOTENCY_KEY: Final = header(
    "Idempotency-Key",
    "Any name for this request: repeated with the same body it has the same result.",
    schema={"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[\x21-\x7e]+$"},
)
TCC_TRANSACTION_ID: Final = header(
    "TCC-Transaction-Id", "The transaction that this branch belongs to.", schema=_ID_SCHEMA
)
TCC_BRANCH_ID: Final = header("TCC-Branch-Id", "The branch, which names the reservation.", schema=_ID_SCHEMA)
TCC_DEADLINE: Final = header(
    "TCC-Deadline", "Until when the Try may be made.", schema={"type": "string", "format": "date-time"}
)
TCC_REASON: Final = header("TCC-Reason", "Why the transaction was cancelled, as a slug.")
