"""What goes in and out as JSON: strict bodies, camelCase views, and bounded numbers and texts.

A field's type says exactly what is accepted, so that the schema in /openapi.json is the whole truth.
"""

from typing import Annotated, Final, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from shared.clock import from_iso

T = TypeVar("T")

MAX_NUMBER: Final = 2**53 - 1
"""The largest integer that every JSON implementation reads exactly."""


class Body(BaseModel):
    """What a client sends: strict types, camelCase names, unknown fields refused, immutable.

    Python code may build one by its attributes' names; over HTTP only the camelCase names are taken.
    """

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=True,
        serialize_by_alias=True,
        allow_inf_nan=False,
    )


class View(BaseModel):
    """What a client is shown: built by the attributes' names, written in camelCase."""

    model_config = ConfigDict(
        frozen=True,
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=True,
        serialize_by_alias=True,
    )


def _is_none(value: object) -> bool:
    return value is None


Maybe = Annotated[T | None, Field(exclude_if=_is_none)]
"""A View's field that is left out when it is None: `reason: Maybe[str] = None`."""

Number = Annotated[int, Field(ge=-MAX_NUMBER, le=MAX_NUMBER)]
Quantity = Annotated[int, Field(ge=1, le=1_000_000_000)]
Stock = Annotated[int, Field(ge=0, le=1_000_000_000_000)]
Delta = Annotated[int, Field(ge=-1_000_000_000, le=1_000_000_000)]
Money = Annotated[int, Field(ge=0, le=MAX_NUMBER, description="Minor units.")]
PositiveMoney = Annotated[int, Field(ge=1, le=MAX_NUMBER, description="Minor units.")]
Seconds = Annotated[int, Field(ge=1, le=86_400, description="Seconds.")]


def _instant(text: str) -> str:
    from_iso(text)
    return text


Instant = Annotated[
    str, Field(max_length=40, json_schema_extra={"format": "date-time"}), AfterValidator(_instant)
]
"""An instant as ISO 8601 with a zone."""

# Control characters have no place in a name or a reason, and PostgreSQL stores no NUL.
Text = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""A name or a reason: 1 to 200 characters without control characters."""
