"""Confirm and Cancel: one decision for a branch, repeated without effect, never contradicted in silence."""

from dataclasses import replace
from typing import Final

from cli.conformance.case import Case, Section, expect_changed, expect_same
from cli.conformance.drive import Branch, Drive
from cli.conformance.exchange import Exchange, Skipped, Violation, expect_done, expect_refused
from cli.conformance.try_cases import expect_same_answer

PROBLEM_JSON: Final = "application/problem+json"


async def confirm_repeated(drive: Drive) -> None:
    branch = await _tried(drive)
    expect_done(await drive.confirmed(branch), "a Confirm")
    kept = await drive.watched()
    expect_done(await drive.confirmed(branch), "the same Confirm again")
    expect_same(kept, await drive.watched(), "the same Confirm again")


async def try_after_confirm(drive: Drive) -> None:
    branch = await drive.branch()
    first = await drive.tried(branch)
    expect_done(first, "a Try")
    expect_done(await drive.confirmed(branch), "its Confirm")
    kept = await drive.watched()
    expect_same_answer(first, await drive.tried(branch), "the Try again, after its Confirm")
    expect_same(kept, await drive.watched(), "the Try again, after its Confirm")


async def confirm_unknown(drive: Drive) -> None:
    before = await drive.watched()
    branch = await drive.branch()
    expect_refused(await drive.confirmed(branch), "a Confirm of a branch that was never tried", 404)
    expect_same(before, await drive.watched(), "a Confirm of a branch that was never tried")


async def confirm_after_cancel(drive: Drive) -> None:
    branch = await _tried(drive)
    expect_done(await drive.cancelled(branch), "its Cancel")
    free = await drive.watched()
    expect_refused(await drive.confirmed(branch), "a Confirm of what is cancelled", 409)
    expect_same(free, await drive.watched(), "a Confirm of what is cancelled")
    expect_done(await drive.cancelled(branch), "the Cancel again")


async def cancel_lets_go(drive: Drive) -> None:
    before = await drive.watched()
    branch = await _tried(drive)
    held = await drive.watched()
    answer = await drive.cancelled(branch)
    expect_done(answer, "a Cancel")
    if before != held:
        expect_changed(held, await drive.watched(), "a Cancel")
        expect_same(before, await drive.watched(), "Try and Cancel together")


async def cancel_repeated(drive: Drive) -> None:
    branch = await _tried(drive)
    expect_done(await drive.cancelled(branch), "a Cancel")
    free = await drive.watched()
    expect_done(await drive.cancelled(branch), "the same Cancel again")
    expect_same(free, await drive.watched(), "the same Cancel again")


async def cancel_before_try(drive: Drive) -> None:
    before = await drive.watched()
    branch = await drive.branch()
    expect_done(await drive.cancelled(branch), "a Cancel that comes before its Try")
    expect_refused(await drive.tried(branch), "the Try that comes after its Cancel", 409)
    expect_same(before, await drive.watched(), "a Try that comes after its Cancel")
    expect_refused(await drive.confirmed(branch), "a Confirm of what was cancelled untried", 409)
    expect_done(await drive.cancelled(branch), "the Cancel again")


async def try_after_cancel(drive: Drive) -> None:
    branch = await _tried(drive)
    expect_done(await drive.cancelled(branch), "its Cancel")
    free = await drive.watched()
    expect_refused(await drive.tried(branch), "the Try again, after its Cancel", 409)
    expect_same(free, await drive.watched(), "the Try again, after its Cancel")


async def cancel_after_confirm(drive: Drive) -> None:
    branch = await _tried(drive)
    expect_done(await drive.confirmed(branch), "its Confirm")
    kept = await drive.watched()
    expect_refused(await drive.cancelled(branch), "a Cancel of what is confirmed", 409)
    expect_same(kept, await drive.watched(), "a Cancel of what is confirmed")
    expect_done(await drive.confirmed(branch), "the Confirm again")


async def strangers_decide_nothing(drive: Drive) -> None:
    branch = await _tried(drive)
    held = await drive.watched()
    stranger = replace(branch, transaction_id=drive.new_id())
    expect_refused(await drive.confirmed(stranger), "a Confirm by another transaction", 409)
    expect_refused(await drive.cancelled(stranger), "a Cancel by another transaction", 409)
    expect_same(held, await drive.watched(), "another transaction's Confirm and Cancel")
    expect_done(await drive.tried(branch), "the Try again: still held")


async def nobody_decides(drive: Drive) -> None:
    branch = await _tried(drive)
    held = await drive.watched()
    for label, method in (("Confirm", "PUT"), ("Cancel", "DELETE")):
        answer = await drive.send(label, method, drive.place(branch), {})
        expect_refused(answer, f"a {label} without TCC-Transaction-Id")
    expect_same(held, await drive.watched(), "a Confirm and a Cancel without TCC-Transaction-Id")
    expect_done(await drive.tried(branch), "the Try again: still held")


async def reading_tells(drive: Drive) -> None:
    branch = await _tried(drive)
    held = await drive.read(branch)
    if held.status in (404, 405):
        raise Skipped(f"the participant shows no reservations: GET of one that is held answers {held.status}")
    _expect_shown(held, "a branch that is held", confirmed=False)
    expect_done(await drive.confirmed(branch), "its Confirm")
    _expect_shown(await drive.read(branch), "a branch that is confirmed", confirmed=True)
    branch = await _tried(drive)
    expect_done(await drive.cancelled(branch), "its Cancel")
    _expect_shown(await drive.read(branch), "a branch that is cancelled", confirmed=False)


def _expect_shown(answer: Exchange, what: str, *, confirmed: bool) -> None:
    document = answer.document() if answer.status == 200 else None
    state = document.get("state") if isinstance(document, dict) else None
    if (state == "CONFIRMED") is not confirmed:
        wanted = "CONFIRMED" if confirmed else "anything but CONFIRMED"
        raise Violation(f"{what}: its state has to be {wanted}, saw {state!r} ({answer.outcome})", answer)


async def refusals_say_why(drive: Drive) -> None:
    tombstone = await drive.branch()
    expect_done(await drive.cancelled(tombstone), "a Cancel that comes before its Try")
    _expect_problem(await drive.tried(tombstone), "cancelled-before-try")
    branch = await _tried(drive)
    stranger = replace(branch, transaction_id=drive.new_id())
    _expect_problem(await drive.tried(stranger), "branch-id-reused")


def _expect_problem(answer: Exchange, slug: str) -> None:
    kind = answer.answer_headers.get("content-type", "").partition(";")[0].strip()
    if kind != PROBLEM_JSON:
        raise Violation(f"a refusal has to be {PROBLEM_JSON}, saw {kind or 'no content type'}", answer)
    document = answer.document()
    named = document.get("type") if isinstance(document, dict) else None
    if named != f"urn:handfast:problem:{slug}":
        raise Violation(f"its type has to be urn:handfast:problem:{slug}, saw {named!r}", answer)


async def _tried(drive: Drive) -> Branch:
    branch = await drive.branch()
    expect_done(await drive.tried(branch), "a Try")
    return branch


CASES: Final = (
    Case(
        "confirm-repeated",
        Section.CONFIRM,
        "confirms what is held, twice",
        "200 or 204 once applied (202: not yet), and the second changes nothing",
        confirm_repeated,
    ),
    Case(
        "try-after-confirm",
        Section.REPEATS,
        "sends the Try again after its Confirm",
        "as it was answered before, and nothing more is held",
        try_after_confirm,
    ),
    Case(
        "confirm-of-the-unknown",
        Section.CONFIRM,
        "confirms a branch that was never tried",
        "404, never a success",
        confirm_unknown,
    ),
    Case(
        "reading-tells-the-truth",
        Section.CONFIRM,
        "reads a branch while it is held, once it is confirmed, and one that is cancelled",
        "where a GET is answered at all, its state is CONFIRMED when it is confirmed, and only then",
        reading_tells,
    ),
    Case(
        "confirm-after-cancel",
        Section.REPEATS,
        "confirms what is cancelled",
        "409, and nothing changes",
        confirm_after_cancel,
    ),
    Case(
        "cancel-lets-go",
        Section.CANCEL,
        "cancels what is held",
        "204 once let go of (202: not yet), and nothing is held any more",
        cancel_lets_go,
    ),
    Case(
        "cancel-repeated",
        Section.CANCEL,
        "cancels what is held, twice",
        "204 both times, and the second lets nothing more go",
        cancel_repeated,
    ),
    Case(
        "cancel-before-try",
        Section.CANCEL,
        "sends a Cancel first, and then its Try and a Confirm",
        "204, and the late Try and the Confirm are refused with 409",
        cancel_before_try,
    ),
    Case(
        "try-after-cancel",
        Section.REPEATS,
        "sends the Try again after its Cancel",
        "409, and nothing is held",
        try_after_cancel,
    ),
    Case(
        "cancel-after-confirm",
        Section.REPEATS,
        "cancels what is confirmed",
        "409, and it stays confirmed",
        cancel_after_confirm,
    ),
    Case(
        "decisions-of-another-transaction",
        Section.REPEATS,
        "confirms and cancels in another transaction's name",
        "409 to both, and the branch stays held",
        strangers_decide_nothing,
    ),
    Case(
        "decisions-without-a-transaction",
        Section.REPEATS,
        "confirms and cancels without TCC-Transaction-Id",
        "both are refused (4xx), and the branch stays held",
        nobody_decides,
    ),
    Case(
        "refusals-say-why",
        Section.MALFORMED,
        "has a late Try and a reused branch id refused",
        "application/problem+json with the types cancelled-before-try and branch-id-reused",
        refusals_say_why,
    ),
)
