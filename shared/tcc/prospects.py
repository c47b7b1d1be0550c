"""What a dead-lettered Confirm stands for by now: the fence is looked at, then the coordinator is asked.

The question is the sweeper's (rule 5), so its answer is durable: what it says is cancelled will never be
confirmed.
"""

from typing import Final

from shared.database.port import Database
from shared.messaging.letters import DeadLetter
from shared.messaging.prospects import Prospect
from shared.messaging.values import InvalidMessage
from shared.tcc import fence
from shared.tcc.confirmations import read_confirm
from shared.tcc.inquiry import Inquires, Settled
from shared.tcc.protocol import State

_SETTLED: Final = {
    State.CONFIRMED: Prospect.APPLIED,
    State.CANCELLING: Prospect.CANCELLED,
    State.CANCELLED: Prospect.CANCELLED,
}
_DECISIONS: Final = {
    "confirm": Prospect.DECIDED,
    "cancel": Prospect.CANCELLED,
    "wait": Prospect.UNDECIDED,
}


class ConfirmProspects:
    """The prospects of the letters on one participant's topic."""

    def __init__(self, database: Database, inquirer: Inquires) -> None:
        self._database = database
        self._inquirer = inquirer

    async def of(self, letter: DeadLetter) -> Prospect:
        """Return what a letter stands for; raise Unreachable where the coordinator would have to say.

        One whose branch is gone after its retention was applied, or it would be here still.

        What can't be decoded, or names a standalone reservation that isn't there, confirms nothing: whoever
        sent it sends a Confirm that was decided again, for of that no outcome was told.
        """
        try:
            confirm = read_confirm(letter.record())
        except InvalidMessage:
            return Prospect.UNBOUND
        held = await self._database.read(lambda connection: fence.peek(connection, confirm.reservation_id))
        if held is not None and held.state in _SETTLED:
            return _SETTLED[held.state]
        transaction_id = confirm.transaction_id or (held.transaction_id if held else None)
        if transaction_id is not None:
            if held is None and await self._is_over(transaction_id, confirm.reservation_id):
                return Prospect.APPLIED
            decision = await self._inquirer.ask(transaction_id, confirm.reservation_id)
            return _DECISIONS[decision.decision]
        if held is None:
            return Prospect.UNBOUND
        return Prospect.DECIDED if held.state is State.CONFIRMING else Prospect.UNDECIDED

    async def _is_over(self, transaction_id: str, branch_id: str) -> bool:
        """Say whether a branch that isn't here was confirmed so long ago that it was forgotten."""
        confirmed = Settled(transaction_id, branch_id, State.CONFIRMED)
        return branch_id in await self._inquirer.forgettable([confirmed])
