"""localstripe as a process of a test's own: on loopback, on a port that is free, with nothing kept on disk.

It is localstripe as published; only its habit of writing every change to one file in /tmp is left out, which
two test runs would share. Prints its port once it listens.
"""

import socket
import sys

from aiohttp import web
from localstripe.resources import Store
from localstripe.server import app


def main() -> None:
    """Serve until killed."""
    Store.dump_to_disk = lambda _self: None
    with socket.create_server(("127.0.0.1", 0), backlog=1_024) as listener:
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        web.run_app(app, sock=listener, access_log=None, print=None)


if __name__ == "__main__":
    main()
