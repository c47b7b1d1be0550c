"""How the demo tells a story: every request and answer as it happens, and every promise that is checked."""

import json
import time
from collections.abc import Callable
from typing import Any

from cli.api import Api, Json, Refusal
from cli.console import Console
from cli.outcome import CommandError, NothingMatched, OutOfReach

PATIENCE = 20.0
"""Seconds after which something that should come true by itself is given up."""


class WentWrong(CommandError):
    """A story didn't end as it must."""


class Story:
    """One story, told while it happens."""

    def __init__(self, api: Api, console: Console) -> None:
        self._api = api
        self._console = console

    def request(self, method: str, program: str, path: str, body: Any = None, **headers: str) -> Json:
        """Send a request and tell it with its answer; return the answer's body, a problem's included."""
        said = "" if body is None else f" {json.dumps(body)}"
        extra = "".join(f" [{name}: {value}]" for name, value in headers.items())
        self._console.line(f"  {method} {program}/api/v1{path}{extra}{said}", "bold")
        began = time.monotonic()
        try:
            answer = self._api.send(method, program, path, body, headers=headers)
            status, shown = answer.status, answer.body or {}
        except Refusal as refusal:
            status, shown = refusal.status, {"problem": refusal.slug, "detail": refusal.detail}
        except (NothingMatched, OutOfReach) as failure:
            raise WentWrong(str(failure)) from failure
        took = (time.monotonic() - began) * 1000
        self._console.line(f"    {status} in {took:.0f} ms{_essence(shown)}")
        return {"httpStatus": status, **shown}

    def look(self, program: str, path: str) -> Json:
        """Read something without telling it."""
        return self._api.get(program, path)

    def promise(self, what: str, kept: bool) -> None:
        """Tell a promise; raise WentWrong where it isn't kept."""
        self._console.line(f"    {'✓' if kept else '✗'} {what}", "green" if kept else "red")
        if not kept:
            raise WentWrong(what)

    def wait(self, what: str, look: Callable[[], Json | None]) -> Json:
        """Tell that something is waited for, and return it once it is there; raise WentWrong if it isn't."""
        self._console.line(f"    … {what}")
        began = last_told = time.monotonic()
        while True:
            found = look()
            now = time.monotonic()
            if found is not None:
                self._console.line(f"    ✓ after {now - began:.1f} s", "green")
                return found
            if now - began > PATIENCE:
                raise WentWrong(f"not within {PATIENCE:.0f} s: {what}")
            if now - last_told >= 1.0:
                last_told = now
                self._console.line(f"      {now - began:.0f} s")
            time.sleep(0.05)

    def tell(self, text: str) -> None:
        self._console.line(f"  {text}")


def _essence(body: Json) -> str:
    """Return what matters of an answer, in half a line."""
    names = (
        "status",
        "state",
        "reason",
        "problem",
        "detail",
        "available",
        "held",
        "sold",
        "frozen",
        "expiresAt",
    )
    shown = [f"{name} {body[name]}" for name in names if body.get(name) is not None]
    return f": {', '.join(shown)}" if shown else ""
