"""What the user says of a participant: where it is, what it takes, and what shows its effects."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

Json = Any
Names = Mapping[str, str]

_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z][A-Za-z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class Begin:
    """How a transaction is begun by somebody else: `body` is POSTed to `url`, the answer names it."""

    url: str
    body: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A participant to be driven.

    collection: its URL, without a slash at its end; claim: one that can be held; other_claim: one that
    differs from it; refused_claim: one that must be refused; watch: a URL whose JSON shows what is held and
    kept; begin: where a claim needs a transaction of somebody else's, how to get one. In seconds:
    skew_allowance: how late a Try may be; expiry: how soon a Try of an expiry case runs out; patience: how
    long an answer may stay unknown, or an inquiry may take to come; timeout: of one request.
    """

    collection: str
    claim: Json
    other_claim: Json | None = None
    refused_claim: Json | None = None
    watch: str | None = None
    begin: Begin | None = None
    skew_allowance: float = 30.0
    expiry: float = 2.0
    patience: float = 20.0
    timeout: float = 5.0

    @property
    def differing_claim(self) -> Json | None:
        """A claim unlike `claim`: as given, else one more of its first integer, else the refused one."""
        if self.other_claim is not None:
            return self.other_claim
        changed, done = _one_more(self.claim)
        return changed if done else self.refused_claim


def filled(value: Json, names: Names) -> Json:
    """Return a JSON value with {name} in its texts replaced by what it stands for; unknown names stay."""
    if isinstance(value, str):
        return _PLACEHOLDER.sub(lambda found: names.get(found[1], found[0]), value)
    if isinstance(value, list):
        return [filled(item, names) for item in value]
    if isinstance(value, dict):
        return {key: filled(item, names) for key, item in value.items()}
    return value


def canonical(value: Json) -> str:
    """Write a JSON value in one spelling."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _one_more(value: Json) -> tuple[Json, bool]:
    """Return the value with its first integer increased, and whether there was one."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value + 1, True
    if isinstance(value, dict):
        for key, item in value.items():
            changed, done = _one_more(item)
            if done:
                return {**value, key: changed}, True
    if isinstance(value, list):
        for at, item in enumerate(value):
            changed, done = _one_more(item)
            if done:
                return [*value[:at], changed, *value[at + 1 :]], True
    return value, False
