"""The image's health check: asks /readyz of whichever program listens in this container.

One program runs in a container, each on a port of its own, so the first port that answers is the one. It
exits 0 when that program is ready, and 1 with what it says, or when nothing listens. Where programs ask for
a token, it has one as the command line has.
"""

import http.client
import os
import sys

PORTS = (8886, 8887, 8888, 8889)


def token() -> dict[str, str]:
    """Return the header that proves who asks; none where nobody is asked."""
    if not any(name.startswith(("HANDFAST_AUTH_", "HANDFAST_TOKEN")) for name in os.environ):
        return {}
    # Half a second of imports, which a check without a token is spared.
    import httpx

    from cli.credentials import insist_on_token
    from shared.settings import Settings

    auth = insist_on_token(Settings())
    if auth is None:
        return {}
    request = next(auth.sync_auth_flow(httpx.Request("GET", "http://127.0.0.1/readyz")))
    return {"Authorization": request.headers["authorization"]}


def main() -> int:
    headers = token()
    for port in PORTS:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=4)
        try:
            connection.request("GET", "/readyz", headers=headers)
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
