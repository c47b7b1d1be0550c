"""A program for the tests of supervision: it writes down where it runs, then waits for SIGTERM."""

import os
import signal
import sys
import threading


def main() -> None:
    stop = threading.Event()
    if os.environ.get("SAMPLE_IS_DEAF"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
    if os.environ.get("SAMPLE_FAILS"):
        raise RuntimeError("told to fail")
    say(f"running as {os.getpid()} with {os.environ['SAMPLE_WORD']}")
    stop.wait()
    say("stopped")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
