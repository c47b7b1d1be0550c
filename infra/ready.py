"""The image's health check: asks /readyz of whichever program listens in this container.

One program runs in a container, each on a port of its own, so the first port that answers is the one. It
exits 0 when that program is ready, and 1 with what it says, or when nothing listens.
"""

import http.client
import sys

PORTS = (8886, 8887, 8888, 8889)


def main() -> int:
    for port in PORTS:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=4)
        try:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            text = answer.read(4096).decode(errors="replace")
        except ConnectionRefusedError:
            continue
        finally:
            connection.close()
        sys.stdout.write(f"{port}: {answer.status} {text}\n")
        return 0 if answer.status == 200 else 1
    sys.stdout.write("nothing listens\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
