"""Children that don't outlive their parent, even one that was killed without a chance to say goodbye."""

import ctypes
import os
import signal
import sys
import threading

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(number: signal.Signals = signal.SIGKILL) -> None:
    """Ask the kernel for a signal once the thread that started this process is gone.

    Linux only; elsewhere `watch` must do. Nothing but one system call, so it may run between fork and exec.
    """
    if _libc is not None and _libc.prctl(PR_SET_PDEATHSIG, number) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")


def watch(lifeline: int) -> None:
    """End this process when the other end of a pipe closes: for systems whose kernel can't be asked."""

    def wait() -> None:
        os.read(lifeline, 1)
        os._exit(1)

    if _libc is None:
        threading.Thread(target=wait, name="lifeline", daemon=True).start()


def name_process(name: str) -> None:
    """Show a name of at most 15 characters in ps and top, where the system can."""
    if _libc is not None:
        _libc.prctl(PR_SET_NAME, name.encode()[:15])
