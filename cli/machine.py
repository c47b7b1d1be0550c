"""What the machine is, and what its processes cost: read from /proc where there is one."""

import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def describe() -> dict[str, Any]:
    """Return the facts that a measurement means little without."""
    return {
        "cpu": _field("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory": _field("/proc/meminfo", "MemTotal"),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "loadAverage": [round(load, 2) for load in os.getloadavg()],
    }


def cpu_seconds(pids: Iterable[int]) -> float | None:
    """Return the CPU seconds that processes have used so far, user and system; None without /proc."""
    ticks = 0
    for pid in pids:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return None
        # After the name, which is in brackets: the state is field 3, utime and stime are fields 14 and 15.
        fields = stat.rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float | None:
    """Return the memory that a process has resident, shared pages included, in MiB; None without /proc."""
    text = _field(f"/proc/{pid}/status", "VmRSS")
    return None if text is None else round(int(text.split()[0]) / 1024, 1)


def _field(path: str, name: str) -> str | None:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None
