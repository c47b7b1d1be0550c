"""Requests that make no sense: refused for good, so that nobody repeats them, and without a trace."""

from typing import Final

from cli.conformance.case import Case, Section, expect_same
from cli.conformance.drive import Branch, Drive
from cli.conformance.exchange import expect_done, expect_refused

DEADLINES: Final = {
    "no instant": "tomorrow",
    "a bare number": "1790000000000",
    "an instant without a zone": "2099-01-01T00:00:00",
    "a day that isn't": "2099-02-30T00:00:00Z",
}
IDS: Final = {
    "a blank": "a b",
    "a slash": "../x",
    "65 characters": "x" * 65,
    "nothing": "",
}
BODIES: Final = {
    "nothing": b"",
    "half a document": b'{"a": ',
    "no JSON": b"\xff\xfe",
    "a list": b"[]",
    "null": b"null",
    "a text": b'"claim"',
}


async def missing_headers(drive: Drive) -> None:
    before = await drive.watched()
    branch = await drive.branch()
    for missing in branch.headers:
        headers = {name: value for name, value in branch.headers.items() if name != missing}
        expect_refused(await drive.try_(branch, headers), f"a Try without {missing}")
    await _untouched(drive, branch, before)


async def malformed_deadlines(drive: Drive) -> None:
    before = await drive.watched()
    branch = await drive.branch()
    for what, deadline in DEADLINES.items():
        headers = branch.headers | {"TCC-Deadline": deadline}
        expect_refused(await drive.try_(branch, headers), f"a Try whose TCC-Deadline is {what}")
    await _untouched(drive, branch, before)


async def malformed_ids(drive: Drive) -> None:
    before = await drive.watched()
    branch = await drive.branch()
    for name in ("TCC-Transaction-Id", "TCC-Branch-Id"):
        for what, value in IDS.items():
            answer = await drive.try_(branch, branch.headers | {name: value})
            expect_refused(answer, f"a Try whose {name} is {what}")
    await _untouched(drive, branch, before)


async def malformed_bodies(drive: Drive) -> None:
    before = await drive.watched()
    branch = await drive.branch()
    headers = branch.headers | {"Content-Type": "application/json"}
    for what, body in BODIES.items():
        answer = await drive.send("Try", "POST", drive.target.collection, headers, body)
        expect_refused(answer, f"a Try whose body is {what}")
    await _untouched(drive, branch, before)


async def _untouched(drive: Drive, branch: Branch, before: object) -> None:
    """Expect that what was refused left nothing behind: the branch can be tried as if nothing had been."""
    expect_same(before, await drive.watched(), "what makes no sense")
    expect_done(await drive.tried(branch), "a proper Try of the same branch afterwards")


CASES: Final = (
    Case(
        "missing-headers",
        Section.MALFORMED,
        "sends Trys that lack one of the three headers each",
        "each is refused (4xx), and the branch can still be tried",
        missing_headers,
    ),
    Case(
        "malformed-ids",
        Section.MALFORMED,
        "sends Trys whose ids don't match [A-Za-z0-9._~-]{1,64}",
        "each is refused (4xx), and the branch can still be tried",
        malformed_ids,
    ),
    Case(
        "malformed-deadlines",
        Section.MALFORMED,
        "sends Trys whose deadline is no ISO 8601 instant with a zone",
        "each is refused (4xx), and the branch can still be tried",
        malformed_deadlines,
    ),
    Case(
        "malformed-bodies",
        Section.MALFORMED,
        "sends Trys whose body is no JSON object",
        "each is refused (4xx, never a 5xx, which would be repeated), and the branch can still be tried",
        malformed_bodies,
    ),
)
