"""Expiry: past its deadline a participant asks the coordinator, and does what it is told.

Whether a branch is still held is seen by sending its Try again, which changes nothing.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from cli.conformance.arbiters import Ruling
from cli.conformance.case import Case, Section
from cli.conformance.drive import Branch, Drive
from cli.conformance.exchange import Skipped, Violation, expect_done, expect_refused
from shared.tcc.protocol import Sort

LOOK_EVERY: Final = 0.1
"""Seconds between two looks at what the participant does by itself."""
ASKED_AGAIN: Final = 2
"""How often it has to ask before it is told: it has not given up then, nor acted on the first answer."""


async def waits(drive: Drive) -> None:
    coordinator = drive.served
    branch = await _expiring(drive, "wait")
    await _asked(drive, branch, ASKED_AGAIN)
    expect_done(await drive.tried(branch), "the Try again, after it was told to wait: still held")
    coordinator.rule(branch.transaction_id, "cancel")
    await _let_go(drive, branch)
    expect_done(await drive.cancelled(branch), "a Cancel of what it let go of when it was told to")


async def keeps(drive: Drive) -> None:
    branch = await _expiring(drive, "confirm")
    await _asked(drive, branch, 1)
    await _applied(drive, branch)
    expect_refused(await drive.cancelled(branch), "a Cancel after it was told to confirm", 409)
    expect_done(await drive.confirmed(branch), "a Confirm after it was told to confirm")


async def holds_on(drive: Drive) -> None:
    coordinator = drive.served
    branch = await _expiring(drive, "away")
    await _asked(drive, branch, ASKED_AGAIN)
    expect_done(await drive.tried(branch), "the Try again, while the coordinator is away: still held")
    coordinator.rule(branch.transaction_id, "cancel")
    await _let_go(drive, branch)


async def confirm_past_expiry(drive: Drive) -> None:
    branch = await _expiring(drive, "wait")
    await _asked(drive, branch, 1)
    expect_done(await drive.confirmed(branch), "a Confirm past the expiry")
    expect_refused(await drive.cancelled(branch), "a Cancel after that Confirm", 409)


async def asks_a_real_one(drive: Drive) -> None:
    coordinator = drive.real
    branch = await _expiring(drive, None)
    if not branch.begun and await coordinator.knows(branch.transaction_id):
        raise Skipped(f"{coordinator.url} knows a transaction that nobody began: is it a coordinator?")
    await _let_go(drive, branch)
    # It answers the first question about an id that it doesn't know by writing it down as cancelled.
    if not await coordinator.knows(branch.transaction_id):
        raise Violation(
            f"it was let go of on the participant's own word: {coordinator.url} was never asked about "
            f"transaction {branch.transaction_id}"
        )


async def _expiring(drive: Drive, ruling: Ruling | None) -> Branch:
    """Try a branch that expires soon. ruling: what the kit says about it (None: it isn't the coordinator)."""
    if ruling is not None:
        # Looked at first, so that a case that can't be driven is skipped before it holds anything.
        coordinator = drive.served
        branch = await drive.branch(seconds=drive.target.expiry)
        coordinator.rule(branch.transaction_id, ruling)
    else:
        branch = await drive.branch(seconds=drive.target.expiry)
    expect_done(await drive.tried(branch), "a Try")
    return branch


async def _asked(drive: Drive, branch: Branch, times: int) -> None:
    """Wait until the coordinator was asked about the branch so often, and that it is held till then."""
    coordinator = drive.served

    def asked() -> bool:
        return len(coordinator.inquiries(branch.transaction_id)) >= times

    if not await _held_until(drive, branch, asked):
        often = len(coordinator.inquiries(branch.transaction_id))
        raise Violation(
            f"POST /api/v1/transactions/{branch.transaction_id}/inquiries was received {often} times within "
            f"{drive.target.patience:g} s of its expiry, expected {times}"
        )
    for document in coordinator.inquiries(branch.transaction_id):
        named = document.get("branchId") if isinstance(document, dict) else None
        if named is not None and named != branch.branch_id:
            raise Violation(f"the inquiry names branch {named!r}, not {branch.branch_id!r}")


async def _held_until(drive: Drive, branch: Branch, come: Callable[[], bool]) -> bool:
    end = _end(drive)
    while not come():
        answer = await drive.try_(branch)
        if answer.sort is Sort.REFUSED and not come():
            raise Violation("it was let go of before anybody had said so", answer)
        if asyncio.get_running_loop().time() > end:
            return False
        await asyncio.sleep(LOOK_EVERY)
    return True


async def _let_go(drive: Drive, branch: Branch) -> None:
    """Wait until the branch is held no more."""
    end = _end(drive)
    while (answer := await drive.try_(branch)).sort is not Sort.REFUSED:
        if asyncio.get_running_loop().time() > end:
            late = f"{drive.target.patience:g} s past its expiry"
            raise Violation(f"it is still held {late}, although the coordinator says cancel", answer)
        await asyncio.sleep(LOOK_EVERY)
    expect_refused(answer, "the Try again, after it was told to cancel", 409)


async def _applied(drive: Drive, branch: Branch) -> None:
    """Give it the time to do what it was told: until it shows so, or where it shows nothing, a fixed one."""
    end = _end(drive)
    while (answer := await drive.read(branch)).status == 200:
        document = answer.document()
        settled = isinstance(document, dict) and document.get("state") in ("CONFIRMED", "CANCELLED")
        if settled or asyncio.get_running_loop().time() > end:
            return
        await asyncio.sleep(LOOK_EVERY)
    await asyncio.sleep(drive.target.expiry)


def _end(drive: Drive) -> float:
    return asyncio.get_running_loop().time() + drive.target.expiry + drive.target.patience


CASES: Final = (
    Case(
        "expired-and-told-to-wait",
        Section.EXPIRY,
        "lets a Try expire; says wait when asked, and later cancel",
        "it asks, stays held until it is told to cancel, and is then let go of",
        waits,
        waits=True,
    ),
    Case(
        "expired-and-told-to-confirm",
        Section.EXPIRY,
        "lets a Try expire, and says confirm when asked",
        "it asks, and is confirmed: its Cancel is answered 409",
        keeps,
        waits=True,
    ),
    Case(
        "expired-and-coordinator-away",
        Section.EXPIRY,
        "lets a Try expire, and answers 503 when asked; later says cancel",
        "it is held, asked about again, and let go of when it is told to",
        holds_on,
        waits=True,
    ),
    Case(
        "confirmed-past-its-expiry",
        Section.EXPIRY,
        "lets a Try expire, and then confirms it",
        "2xx: a Confirm is a decision, however late it comes",
        confirm_past_expiry,
        waits=True,
    ),
    Case(
        "expired-at-a-running-coordinator",
        Section.EXPIRY,
        "lets a Try expire whose transaction the running coordinator doesn't have",
        "it asks the coordinator, which says cancel, and is let go of",
        asks_a_real_one,
        waits=True,
    ),
)
