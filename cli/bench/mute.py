"""A participant that can be told to answer nobody: `python -m cli.bench.mute PORT`.

It speaks the participant contract and remembers nothing. What it answers is said over its own port:

    PUT /mode/all     everything, as a participant should
    PUT /mode/tries   Trys only; everything else is taken and never answered
    PUT /mode/none    nothing at all
"""

import asyncio
import json
import sys
from typing import Final

BRANCH_ID: Final = "tcc-branch-id"
ALL, TRIES, NONE = "all", "tries", "none"


class MuteParticipant:
    """Serves connections; mode: what it answers."""

    def __init__(self) -> None:
        self.mode = ALL

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection, or swallow them, until its client closes it."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                request, *lines = head.decode("latin-1").split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in lines if line)
                await reader.readexactly(int(headers.get("content-length", "0")))
                method, path, _ = request.split(" ")
                if path.startswith("/mode/"):
                    self.mode = path.rpartition("/")[2]
                elif self.mode == NONE or (self.mode == TRIES and method != "POST"):
                    continue
                writer.write(_answer(method, headers))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


def _answer(method: str, headers: dict[str, str]) -> bytes:
    if method != "POST":
        return b"HTTP/1.1 204 No Content\r\n\r\n"
    branch_id = headers[BRANCH_ID]
    reservation = {"id": branch_id, "uri": f"/reservations/{branch_id}", "expires": "2030-01-01T00:00:00Z"}
    body = json.dumps(reservation).encode()
    head = f"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def main() -> None:
    server = await asyncio.start_server(MuteParticipant().serve, "127.0.0.1", int(sys.argv[1]), backlog=2048)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
