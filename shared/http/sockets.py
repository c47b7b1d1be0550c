"""Listening sockets: a port bound for oneself, or one that several processes accept from."""

import socket
from typing import Final

BACKLOG: Final = 2048
"""Connections that may wait to be accepted."""


class ListeningSocket(socket.socket):
    """A socket that accepts one connection at a time, whose queue is long all the same.

    Asyncio takes one number for both: how many connections may wait, and how many it accepts in one go. One
    in one go leaves the next to whoever is idle, where several processes accept from the same queue.
    """

    def listen(self, _in_one_go: int = BACKLOG) -> None:
        super().listen(BACKLOG)


def bound(host: str, port: int) -> ListeningSocket:
    """Return a socket that is bound and doesn't listen yet; raise OSError where the port is taken."""
    own = ListeningSocket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    # A connection that lingers from before doesn't count as taken.
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        own.bind((host, port))
    except OSError:
        own.close()
        raise
    return own
