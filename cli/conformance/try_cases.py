"""Try: held once, under the branch's own id, until its deadline."""

from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from cli.conformance.case import Case, Section, expect_changed, expect_same
from cli.conformance.drive import Branch, Drive
from cli.conformance.exchange import Exchange, Skipped, Violation, expect_done, expect_refused
from shared.tcc.protocol import Sort

SKEW_BEYOND: Final = 5.0
"""Seconds past the skew allowance at which a Try is certainly too late, however slow the way."""


async def holds(drive: Drive) -> None:
    before = await drive.watched()
    branch = await drive.branch()
    answer = await drive.tried(branch)
    expect_reservation(answer, branch, "a Try")
    held = await drive.watched()
    expect_done(await drive.confirmed(branch), "the Confirm after it")
    if before == held:
        # Some only check at Try, which is theirs to choose; but a Confirm that changes nothing keeps nothing.
        expect_changed(before, await drive.watched(), "Try and Confirm")


async def repeated(drive: Drive) -> None:
    branch = await drive.branch()
    first = await drive.tried(branch)
    expect_done(first, "a Try")
    held = await drive.watched()
    again = await drive.tried(branch)
    expect_same_answer(first, again, "the same Try again")
    expect_same(held, await drive.watched(), "the same Try again")


async def refused(drive: Drive) -> None:
    before = await drive.watched()
    branch = await drive.branch(claim=_refused_claim(drive))
    first = await drive.tried(branch)
    expect_refused(first, "a Try of the claim that must be refused")
    again = await drive.tried(branch)
    expect_refused(again, "the same Try again", first.status)
    expect_same(before, await drive.watched(), "a refused Try")


async def refused_then_cancelled(drive: Drive) -> None:
    branch = await drive.branch(claim=_refused_claim(drive))
    expect_refused(await drive.tried(branch), "a Try of the claim that must be refused")
    after = await drive.watched()
    expect_done(await drive.cancelled(branch), "the Cancel of a refused Try")
    expect_same(after, await drive.watched(), "the Cancel of a refused Try")


async def other_body(drive: Drive) -> None:
    branch = await drive.branch()
    other = drive.other_body(branch)
    expect_done(await drive.tried(branch), "a Try")
    held = await drive.watched()
    expect_refused(await drive.tried(other), "a Try of the same branch id with another body", 409)
    expect_same(held, await drive.watched(), "a Try of the same branch id with another body")
    expect_done(await drive.tried(branch), "the first Try again")


async def other_transaction(drive: Drive) -> None:
    branch = await drive.branch()
    expect_done(await drive.tried(branch), "a Try")
    held = await drive.watched()
    stranger = replace(branch, transaction_id=drive.new_id())
    expect_refused(await drive.tried(stranger), "a Try of the same branch id in another transaction", 409)
    expect_same(held, await drive.watched(), "a Try of the same branch id in another transaction")
    expect_done(await drive.tried(branch), "the first Try again")


async def late(drive: Drive) -> None:
    before = await drive.watched()
    branch = await drive.branch(seconds=-drive.target.skew_allowance - SKEW_BEYOND)
    expect_refused(await drive.tried(branch), "a Try past its deadline by more than the skew allowance", 410)
    expect_same(before, await drive.watched(), "a Try past its deadline")


async def within_skew(drive: Drive) -> None:
    allowed = drive.target.skew_allowance
    if allowed < SKEW_BEYOND:
        raise Skipped(f"a skew allowance of {allowed:g} s leaves no room to be late in")
    branch = await drive.branch(seconds=-allowed / 2)
    expect_done(await drive.tried(branch), f"a Try {allowed / 2:g} s late, of {allowed:g} s allowed")


def expect_reservation(answer: Exchange, branch: Branch, what: str) -> None:
    """Raise Violation unless the answer is 201 with id, uri and expires as they have to be."""
    if answer.status != 201:
        raise Violation(f"{what}: expected 201, saw {answer.outcome}", answer)
    found = _object(answer, what)
    if found.get("id") != branch.branch_id:
        raise Violation(f"{what}: id has to be the branch id, saw {found.get('id')!r}", answer)
    uri = found.get("uri")
    if not isinstance(uri, str) or uri.rsplit("/", 1)[-1] != branch.branch_id:
        raise Violation(f"{what}: uri has to end in the branch id, saw {uri!r}", answer)
    if not _is_instant(found.get("expires")):
        told = f"{what}: expires has to be an ISO 8601 instant with a zone, saw {found.get('expires')!r}"
        raise Violation(told, answer)


def expect_same_answer(first: Exchange, again: Exchange, what: str) -> None:
    """Raise Violation unless the second answer says what the first did: status, id, uri and expires."""
    if again.sort is not Sort.DONE or again.status != first.status:
        raise Violation(f"{what}: expected {first.outcome} as before, saw {again.outcome}", again)
    before, now = _object(first, what), _object(again, what)
    for name in ("id", "uri", "expires"):
        if before.get(name) != now.get(name):
            told = f"{what}: {name} was {before.get(name)!r}, now {now.get(name)!r}"
            raise Violation(told, again)


def _object(answer: Exchange, what: str) -> dict[str, Any]:
    document = answer.document()
    if not isinstance(document, dict):
        raise Violation(f"{what}: the answer's body has to be a JSON object", answer)
    return document


def _is_instant(value: Any) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _refused_claim(drive: Drive) -> Any:
    if drive.target.refused_claim is None:
        raise Skipped("no claim is known that must be refused: give --refused-claim")
    return drive.target.refused_claim


CASES: Final = (
    Case(
        "try-holds",
        Section.TRY,
        "sends one Try, then confirms it",
        "201 with id (the branch id), uri (its own) and expires (an instant); together they have an effect",
        holds,
    ),
    Case(
        "try-repeated",
        Section.REPEATS,
        "sends the same Try twice",
        "the second answers as the first did and holds nothing more",
        repeated,
    ),
    Case(
        "try-refused",
        Section.TRY,
        "sends the refused claim twice",
        "both are refused with the same 4xx (not 408, 425 or 429), and nothing is held",
        refused,
    ),
    Case(
        "refused-try-cancelled",
        Section.CANCEL,
        "cancels a Try that was refused",
        "204: there is nothing to let go of, and nothing changes",
        refused_then_cancelled,
    ),
    Case(
        "try-with-another-body",
        Section.REPEATS,
        "sends a Try, and then another claim under the same branch id",
        "409, and the first stays as it is",
        other_body,
    ),
    Case(
        "try-in-another-transaction",
        Section.REPEATS,
        "sends a Try, and then one of another transaction under the same branch id",
        "409, and the first stays as it is",
        other_transaction,
    ),
    Case(
        "try-past-its-deadline",
        Section.TRY,
        "sends a Try whose deadline is past by more than the skew allowance",
        "410, and nothing is held",
        late,
    ),
    Case(
        "try-within-the-skew-allowance",
        Section.TRY,
        "sends a Try whose deadline is past by half of the skew allowance",
        "201: clocks differ, and it may have been in time where it was sent",
        within_skew,
    ),
)
