"""What passed between the programs of a simulated world, for it to come again when nobody expects it."""

import httpx

from shared.messaging.broker import Message


class Past:
    """messages: all that were published, each once; calls: all protocol calls, each once, with whom they were
    for. Both in the order in which they were first made."""

    def __init__(self) -> None:
        self._messages: dict[tuple[str, bytes | None], Message] = {}
        self._calls: dict[tuple[str, str, bytes], tuple[str, httpx.Request]] = {}

    @property
    def messages(self) -> list[Message]:
        return list(self._messages.values())

    @property
    def calls(self) -> list[tuple[str, httpx.Request]]:
        return list(self._calls.values())

    def published(self, message: Message) -> None:
        self._messages.setdefault((message.topic, message.value), message)

    def called(self, target: str, request: httpx.Request) -> None:
        what = (request.method, str(request.url), b"\n".join(value for _, value in request.headers.raw))
        self._calls.setdefault(what, (target, request))
