"""The registry: who may take part in a transaction, where each is found and how its Confirms travel.

Participants come from the settings alone. A caller names one; it never supplies an address.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from shared.errors import Refused
from shared.identity import Id

_KAFKA = "kafka:"


def _http_url(url: str) -> str:
    if not url.startswith(("http://", "https://")) or url.rstrip("/").count("/") != 2:
        raise ValueError(
            "a participant's url is scheme and authority only, for example http://127.0.0.1:8888"
        )
    return url.rstrip("/")


class Registration(BaseModel):
    """One participant, as the setting HANDFAST_PARTICIPANTS spells it (a JSON array of these)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Id
    url: Annotated[str, AfterValidator(_http_url)]
    path: Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9._~/-]+[A-Za-z0-9._~-]$")]
    confirm: Literal["rest"] | Annotated[str, StringConstraints(pattern=r"^kafka:[a-zA-Z0-9._-]{1,200}$")] = (
        "rest"
    )
    timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 2.0
    calls_in_flight: Annotated[int, Field(ge=1, le=10_000)] = 256


@dataclass(frozen=True, slots=True)
class Participant:
    """A registered participant. topic: where its Confirms are published, or None when they are PUT."""

    name: str
    url: str
    collection: str
    health: str
    topic: str | None
    timeout: float
    calls_in_flight: int

    def branch_url(self, branch_id: str) -> str:
        return f"{self.collection}/{branch_id}"

    @property
    def confirm(self) -> str:
        return f"{_KAFKA}{self.topic}" if self.topic else "rest"


class Registry:
    """All participants by name."""

    def __init__(self, registrations: Sequence[Registration]) -> None:
        self._by_name: Mapping[str, Participant] = {one.name: _participant(one) for one in registrations}
        if len(self._by_name) != len(registrations):
            raise ValueError("HANDFAST_PARTICIPANTS names a participant twice; give each a name of its own.")

    def find(self, name: str) -> Participant:
        """Return a participant; raise Refused where none has that name."""
        try:
            return self._by_name[name]
        except KeyError:
            known = ", ".join(sorted(self._by_name))
            detail = f"No participant is registered as {name!r}. Registered are: {known}."
            raise Refused("unknown-participant", detail, 422) from None

    def __iter__(self) -> Iterator[Participant]:
        return iter(self._by_name.values())

    @property
    def published(self) -> frozenset[str]:
        """The participants whose Confirms travel over Kafka."""
        return frozenset(name for name, one in self._by_name.items() if one.topic)


def _participant(one: Registration) -> Participant:
    return Participant(
        name=one.name,
        url=one.url,
        collection=one.url + one.path,
        health=f"{one.url}/readyz",
        topic=one.confirm.removeprefix(_KAFKA) if one.confirm.startswith(_KAFKA) else None,
        timeout=one.timeout_seconds,
        calls_in_flight=one.calls_in_flight,
    )
