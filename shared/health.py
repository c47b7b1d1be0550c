"""Health: what must work for a program to be ready, as named checks that answer None or what is wrong."""

from collections.abc import Callable

Check = Callable[[], str | None]


class Health:
    """The checks behind `GET /readyz`. A check looks at what is known already: it waits for nothing."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}

    def add(self, name: str, check: Check) -> None:
        """Add a check, or replace the one of that name; it returns None, or what is wrong."""
        self._checks[name] = check

    def problems(self) -> dict[str, str]:
        """Return what is wrong, by the name of the check; empty when the program is ready."""
        found = {name: _ask(check) for name, check in self._checks.items()}
        return {name: problem for name, problem in found.items() if problem is not None}


def _ask(check: Check) -> str | None:
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - a check that fails to tell is itself what is wrong
        return f"The check failed: {type(error).__name__}."
