"""What is looked for once a stack was mistreated, besides the invariants; each finding is a readable line."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import psutil

from cli.datadir import started_at
from cli.programs import BROKER, taken
from cli.stack import OwnStack
from shared.settings import BROKER_PORT, PORTS
from tests.customers import Customers
from tests.snapshot import Snapshot

ALARMING: Final = frozenset({"ERROR", "CRITICAL"})
_END: Final = re.compile(
    r"(?P<name>[\w-]+) (?P<how>(?:ended with|was ended by|could not be) .*); it is started again"
)
_RENEWAL: Final = f"{BROKER} holds "
_UNABLE: Final = "ended with exit code 3"
_NO_SERVER: Final = re.compile(r"Startup can't go on: .*\bno connection to postgresql://", re.DOTALL)
_GIVEN_UP: Final = re.compile(r"Application startup failed\. Exiting\.$")
"""What the server of the programs says and does after that."""
_NOBODY: Final[Mapping[str, int]] = {}


def standing_alone(customers: Customers, snapshot: Snapshot) -> list[str]:
    """Return the standalone reservations that didn't end as they were told, and refunds that don't add up."""
    states = {one.reservation_id: one.state for one in snapshot.reservations}
    findings = [
        f"[standalone reservations] reservation {name} is {states.get(name)} instead of {wanted}"
        for name, wanted in customers.reservations.items()
        if states.get(name) != wanted
    ]
    refunded = Counter({one.customer_id: one.refunded for one in snapshot.accounts if one.refunded})
    if refunded != customers.refunded:
        findings.append(f"[refunds] {dict(refunded)} instead of {dict(customers.refunded)}")
    return findings


def ends(output: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield name and manner of each end that `up` told of."""
    for line in output:
        if found := _END.match(line):
            yield found["name"], found["how"]


def unexplained_ends(
    output: Sequence[str], sent: Mapping[str, int], unable: Mapping[str, int] = _NOBODY
) -> list[str]:
    """Return the processes that ended by themselves.

    output: of `up`; sent: how often each was told to; unable: how often each could not start.
    """
    told = list(ends(output))
    expected = Counter(sent) + Counter({BROKER: sum(line.startswith(_RENEWAL) for line in output)})
    for name, times in unable.items():
        for _ in range(times):
            if (name, _UNABLE) in told:
                told.remove((name, _UNABLE))
    counted = Counter(name for name, _ in told)
    findings = [
        f"[nobody ends by himself] {name} ended {times} times, and was told to {expected[name]} times"
        for name, times in counted.items()
        if times > expected[name]
    ]
    findings += [
        f"[nobody ends by himself] {name} {how}"
        for name, how in told
        if name != BROKER and not how.endswith(("SIGKILL", "SIGTERM", "exit code 0"))
    ]
    return findings


def unable_to_start(logs: Path) -> Counter[str]:
    """Return how often each program could not start because its database's server could not be reached.

    It ends then, and is started again: nobody waits for a server that may have another address by now.
    """
    return Counter(
        name for name, log in _of_programs(logs) for line in _errors(log) if _NO_SERVER.search(line)
    )


def alarms(logs: Path) -> list[str]:
    """Return what programs logged as an error, but for a start that found no server: what must not happen
    while everybody keeps the rules."""
    return [
        f"[no alarm] {log.name}: {line}"
        for _, log in _of_programs(logs)
        for before, line in pairwise(("", *_errors(log)))
        if not _NO_SERVER.search(line) and not (_GIVEN_UP.search(line) and _NO_SERVER.search(before))
    ]


def left_behind(running: Mapping[int, int | None], stack: OwnStack, code: int) -> list[str]:
    """Return what a stopped stack left. running: what ran before, its start by pid; code: of `up`."""
    findings = [] if code == 0 else [f"[it stops cleanly] handfast up ended with exit code {code}"]
    left = [pid for pid, started in running.items() if started is not None and started_at(pid) == started]
    if left:
        findings.append(f"[it stops cleanly] still running: {left}")
    offset = stack.settings.port_offset
    if ports := taken(port + offset for port in (*PORTS.values(), BROKER_PORT)):
        findings.append(f"[it stops cleanly] still taken: ports {ports}")
    return findings


def family_of(stack: OwnStack) -> dict[int, int | None]:
    """Return what runs under `up` now, with `up` itself: its start by pid."""
    try:
        up = psutil.Process(stack.process.pid)
        return {one.pid: started_at(one.pid) for one in (up, *up.children(recursive=True))}
    except psutil.NoSuchProcess:
        return {}  # It ended by itself, as its exit code will say.


def tail(logs: Path, lines: int) -> str:
    """Return the ends of all logs."""
    ends = []
    for log in sorted(logs.glob("*.log")):
        last = log.read_text(errors="replace").splitlines()[-lines:]
        ends.append("\n".join([f"the end of {log}:", *(f"  {line[:500]}" for line in last)]))
    return "\n".join(ends)


def _of_programs(logs: Path) -> Iterator[tuple[str, Path]]:
    """Yield the logs of programs, with whose each is."""
    for log in sorted(logs.glob("*.log*")):
        name = log.name.split(".")[0]
        if name.partition("-")[0] in PORTS:
            yield name, log


def _errors(log: Path) -> Iterator[str]:
    for line in log.read_text(errors="replace").splitlines():
        try:
            said = json.loads(line)
        except json.JSONDecodeError:
            # Programs log JSON alone, so this is what Python itself wrote as it broke down; a line that was
            # cut off when its process was killed ends without its bracket, and tells nothing.
            if line.startswith(("Traceback", "Fatal Python error")):
                yield line
            continue
        if isinstance(said, dict) and said.get("level") in ALARMING:
            yield f"{said.get('time')} {said.get('message')} {said.get('exception', '')}".strip()
