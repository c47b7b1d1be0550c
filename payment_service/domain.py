"""The rules of payment, pure: money in minor units, authorised first, captured or given free later.

An authorisation holds money and leaves the balance alone; a capture takes it from both and counts as
captured; a refund brings captured money back. Whatever changes a balance otherwise is a recorded deposit, so
that `balance + captured - refunded` is always the sum of the deposits: no money appears, none is lost.
"""

from dataclasses import dataclass
from enum import StrEnum

from shared.errors import Refused

MAX_MONEY = 2**53 - 1
"""The most that one account counts, in minor units: what any JSON reader takes exactly."""

GUEST = "guest"
"""The customer of whoever names none."""


class RefundState(StrEnum):
    """How far a refund got."""

    PENDING = "PENDING"  # on its way through the gateway -> DONE, FAILED
    DONE = "DONE"  # with its customer
    FAILED = "FAILED"  # the gateway declined it: nothing is given back


@dataclass(frozen=True, slots=True)
class Funds:
    """What an account counts, in minor units. Held money is still part of the balance."""

    balance: int
    held: int
    captured: int
    refunded: int

    @property
    def available(self) -> int:
        return self.balance - self.held

    @property
    def deposited(self) -> int:
        """What was ever put in, withdrawals subtracted."""
        return self.balance + self.captured - self.refunded


NO_FUNDS = Funds(balance=0, held=0, captured=0, refunded=0)


def rebalanced(funds: Funds, balance: int) -> Funds:
    """Return the funds with another balance.

    Raises Refused `below-held` where that is less than what is held, `too-much-money` where the account would
    count more than it can.
    """
    if balance < funds.held:
        raise Refused(
            "below-held",
            f"{funds.held} are held, so the balance can't be {balance}. "
            "Confirm or cancel what holds them first.",
            held=funds.held,
            balance=funds.balance,
        )
    changed = Funds(balance, funds.held, funds.captured, funds.refunded)
    if changed.deposited > MAX_MONEY:
        raise Refused("too-much-money", f"An account may be given at most {MAX_MONEY} in all.")
    return changed


def differences(
    funds: Funds, *, held: int, captured: int, refunded: int, deposited: int
) -> dict[str, tuple[int, int]]:
    """Return what an account counts otherwise than it should, as (is, should be) by name.

    held, captured: what payments hold and have taken; refunded, deposited: the sums of all refunds and of all
    deposits.
    """
    pairs = {
        "held": (funds.held, held),
        "captured": (funds.captured, captured),
        "refunded": (funds.refunded, refunded),
        "balance": (funds.balance, deposited - captured + refunded),
    }
    return {name: (found, due) for name, (found, due) in pairs.items() if found != due}


def declined(customer_id: str, amount: int, funds: Funds | None) -> Refused:
    """Say why an authorisation is declined, given the account (None: there is none)."""
    if funds is None:
        why = f"Customer {customer_id} has no account."
    elif funds.available < amount:
        why = f"The account of {customer_id} has less than {amount} available. Pay in, or ask for less."
    else:
        why = f"The account of {customer_id} can't take more captures: it has counted {funds.captured}."
    return Refused("payment-declined", why, status=402)


def refund_amount(payment_id: str, captured: int, refunded: int, wanted: int | None) -> int:
    """Return how much to refund: what is wanted, or all that is left.

    Raises Refused `refund-exceeds-capture` where that is more than what is left of the capture, or nothing.
    """
    left = captured - refunded
    amount = left if wanted is None else wanted
    if not 0 < amount <= left:
        raise Refused(
            "refund-exceeds-capture",
            f"Of payment {payment_id} {left} of {captured} can still be refunded.",
            captured=captured,
            refunded=refunded,
        )
    return amount
