"""The stack's REST interface as the commands use it: answers out, exit codes for what goes wrong."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

from cli.credentials import bearer
from cli.outcome import CommandError, NothingMatched, OutOfReach
from shared.settings import Settings

PAGE = 500
_AWAY = frozenset({502, 503, 504})

Json = dict[str, Any]


class Refusal(CommandError):
    """A service said no. slug: the problem's name; status: the HTTP status; detail: what to do about it."""

    def __init__(self, slug: str, status: int, detail: str) -> None:
        super().__init__(f"{slug}: {detail}" if slug else f"HTTP {status}: {detail}")
        self.slug = slug
        self.status = status
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Answer:
    """A 2xx. body: None where there was none."""

    status: int
    body: Json | None


class Api:
    """Calls the four programs. transport: how, in tests; requests are sent from any thread."""

    def __init__(self, settings: Settings, transport: httpx.BaseTransport | None = None) -> None:
        self._settings = settings
        self._client = httpx.Client(
            trust_env=False,
            timeout=httpx.Timeout(40.0, connect=3.0),
            transport=transport,
            auth=bearer(settings),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def get(self, program: str, path: str, query: Mapping[str, Any] | None = None) -> Json:
        """Read one thing; raise NothingMatched where there is no such thing."""
        known = {name: value for name, value in (query or {}).items() if value is not None}
        body = self.send("GET", program, path, query=known).body
        assert body is not None
        return body

    def items(self, program: str, path: str, query: Mapping[str, Any] | None = None) -> Iterator[Json]:
        """Read a list to its end, page by page, as far as the caller goes."""
        cursor: str | None = None
        while True:
            page = self.get(program, path, {"limit": PAGE, **(query or {}), "cursor": cursor})
            yield from page["items"]
            cursor = page.get("nextCursor")
            if cursor is None:
                return

    def send(
        self,
        method: str,
        program: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request below /api/v1.

        Raises OutOfReach where no usable answer came, NothingMatched for a 404, Refusal for any other
        answer that is no 2xx.
        """
        url = f"{self._settings.url(program)}/api/v1{path}"
        try:
            reply = self._client.request(method, url, json=body, params=query, headers=headers)
        except httpx.TransportError as failure:
            what = str(failure) or type(failure).__name__
            raise OutOfReach(
                f"the {program} service at {self._settings.url(program)} can't be reached: {what}"
            ) from failure
        if not reply.is_success:
            raise _problem(program, reply)
        try:
            return Answer(reply.status_code, reply.json() if reply.content else None)
        except ValueError as failure:
            raise OutOfReach(f"what answers at {url} is no service of Handfast's") from failure


def _problem(program: str, reply: httpx.Response) -> CommandError:
    try:
        body = reply.json()
    except ValueError:
        body = None
    problem: Json = body if isinstance(body, dict) else {}
    slug = str(problem.get("type", "")).removeprefix("urn:handfast:problem:")
    detail = str(problem.get("detail") or reply.text[:200] or reply.reason_phrase)
    for error in problem.get("errors") or []:
        detail += f"\n  {error.get('field')}: {error.get('detail')}"
    if reply.status_code in _AWAY:
        return OutOfReach(f"the {program} service says {reply.status_code}: {detail}")
    if reply.status_code == httpx.codes.NOT_FOUND:
        return NothingMatched(detail)
    if slug == "unauthenticated":
        detail = "a token is asked for: set HANDFAST_TOKEN or HANDFAST_TOKEN_FILE"
    return Refusal(slug, reply.status_code, detail)
