"""The values of records: JSON objects, read strictly; what can't be read is said in one line."""

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from shared.errors import HandfastError

M = TypeVar("M", bound="Value")


class InvalidMessage(HandfastError):
    """The message is not what this topic carries; it will never be."""


class Value(BaseModel):
    """A record's value. Fields that are unknown are passed over: a newer sender may say more."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, alias_generator=None)


def read_value(model: type[M], value: bytes | None) -> M:
    """Read a record's value; raise InvalidMessage where it is none of that kind."""
    if value is None:
        raise InvalidMessage("The message has no value.")
    try:
        return model.model_validate_json(value)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, found['loc'])) or 'value'}: {found['msg']}" for found in error.errors()[:3]
        )
        raise InvalidMessage(f"The message is no {model.__name__.lower()}: {problems}") from error
