"""The one family of exceptions. A class's docstring is its default message.

`Refused` is business and expected, `Conflict` is a broken protocol and raises an alarm, `Transient` says
"not now": only that is ever tried again.
"""

from typing import Any


class HandfastError(Exception):
    """Something went wrong."""

    def __init__(self, detail: str | None = None) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip().splitlines()[0]
        super().__init__(self.detail)


class Refused(HandfastError):
    """The request was understood and declined; repeating it won't help.

    slug: the problem's name, as in `urn:handfast:problem:<slug>`; detail: what to do about it;
    status: the HTTP status (a 4xx); extra: further members of the problem document.
    """

    def __init__(self, slug: str, detail: str, status: int = 409, **extra: Any) -> None:
        super().__init__(detail)
        self.slug = slug
        self.status = status
        self.extra = extra


class Conflict(Refused):
    """The protocol's rules were broken by somebody: answered 409, and an alarm is raised."""


class NotFound(Refused):
    """There is no such thing."""

    def __init__(self, detail: str, slug: str = "not-found") -> None:
        super().__init__(slug, detail, 404)


class Transient(HandfastError):
    """Not now: try again later.

    slug and status describe the answer over HTTP: 503 unless told otherwise; retry_after: seconds.
    """

    def __init__(
        self, detail: str | None = None, slug: str = "try-again", status: int = 503, retry_after: int = 1
    ) -> None:
        super().__init__(detail)
        self.slug = slug
        self.status = status
        self.retry_after = retry_after


class Outdated(Transient):
    """What was read before the transaction has changed since; nothing was changed."""


class DatabaseUnavailable(Transient):
    """The database can't be reached or can't write just now.

    Nothing was changed, unless its connection broke in the middle of the commit: then nobody knows.
    """


class Unreachable(Transient):
    """No usable answer came from the other side: whether it acted is unknown."""
