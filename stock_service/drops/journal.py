"""The journal: every move of a claim, as plain functions within one local transaction.

A claim is PENDING from its first commit on, with its record in the outbox of that commit; it is ISSUED when
the record comes back, or RETURNED where that failed for good. The drop's counter and the unique place of each
live claim are constraints of the database: whatever a gate says, no unit is taken twice.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from sqlalchemy import BigInteger, Connection, bindparam, update

from shared import idempotency
from shared.clock import Clock, Millis
from shared.database.prepared import Prepared
from shared.errors import Refused
from shared.messaging.outbox import Outbox
from stock_service.drops import claims, offers
from stock_service.drops.claims import Claim
from stock_service.drops.domain import (
    ClaimState,
    ReturnReason,
    already_claimed,
    closed,
    free_slot,
    sold_out,
    unknown_drop,
)
from stock_service.drops.entry import Declined, Entered, Stale, Verdict, Want
from stock_service.drops.messages import Issue, issue_message
from stock_service.drops.offers import Offer
from stock_service.drops.tables import DROP_CLAIM


class Journal:
    """Moves claims. source: the program; gate_elsewhere: whether a gate outside has to be told of returns.

    republish_ms, republish_max_ms: the pause before a record that was not heard of is published again, which
    doubles, and its longest.
    """

    def __init__(
        self,
        outbox: Outbox,
        clock: Clock,
        *,
        source: str,
        republish_ms: Millis,
        republish_max_ms: Millis,
        gate_elsewhere: bool = False,
    ) -> None:
        self._outbox = outbox
        self._clock = clock
        self._source = source
        self._republish_ms = republish_ms
        self._republish_max_ms = republish_max_ms
        self._gate_elsewhere = gate_elsewhere
        self._owes = False

    def enter(self, connection: Connection, wants: Sequence[Want]) -> list[Verdict]:
        """Decide about claims in the order in which they came, and write down those that are let in."""
        batch = Batch(connection, wants)
        verdicts = [self._enter(batch, want) for want in wants]
        self._close(batch, wants, verdicts)
        return verdicts

    def enter_from(
        self, connection: Connection, wants: Sequence[Want], epochs: Mapping[str, int]
    ) -> list[Verdict | Stale]:
        """Do the same with what a gate elsewhere has let in; epochs: the one of its count, by drop.

        Where a drop's epoch is another one by now, the gate has to be asked again: Stale.
        """
        batch = Batch(connection, wants)
        verdicts = [Stale() if batch.is_stale(want, epochs) else self._enter(batch, want) for want in wants]
        self._close(batch, wants, verdicts)
        return verdicts

    def issue(self, connection: Connection, wanted: Issue) -> bool:
        """Issue a claim; return whether this did it (False: it is issued already).

        Raises Refused where there is no such claim, or it was returned.
        """
        parameters = {
            "of_id": wanted.claim_id,
            "of_code": wanted.code,
            "of_customer": wanted.customer_id,
            "now": self._clock.now(),
        }
        if _ISSUE.run(connection, parameters) == 1:
            return True
        claim = claims.find(connection, wanted.claim_id)
        if claim is None or (claim.code, claim.customer_id) != (wanted.code, wanted.customer_id):
            raise Refused("unknown-claim", f"The journal has no claim {wanted.claim_id} of that kind.", 404)
        if claim.state is ClaimState.RETURNED:
            raise Refused(
                "claim-returned",
                f"Claim {claim.id} was returned ({claim.reason}), and its unit may have gone to somebody "
                "else. `handfast drops reissue` issues it if a unit is left.",
            )
        return False

    def give_back(self, connection: Connection, wanted: Issue, reason: ReturnReason) -> bool:
        """Return the PENDING claim of a record and its unit; return whether there was one to return."""
        # The drop's row before the claim's, as everybody takes them: no two wait for each other.
        offers.lock(connection, wanted.code)
        parameters = {
            "of_id": wanted.claim_id,
            "of_code": wanted.code,
            "of_customer": wanted.customer_id,
            "why": reason.value,
            "owe": self._gate_elsewhere,
            "now": self._clock.now(),
        }
        if _RETURN.run(connection, parameters) == 0:
            return False
        offers.take(connection, wanted.code, -1)
        self._owes = self._gate_elsewhere
        return True

    def publish_again(self, connection: Connection, most: int) -> int:
        """Publish the records of claims again of which nothing was heard; return how many."""
        now = self._clock.now()
        due = claims.due(connection, now, most)
        for claim in due:
            pause = min(self._republish_ms << min(claim.publications + 1, 16), self._republish_max_ms)
            _POSTPONE.run(
                connection,
                {"of_id": claim.id, "publication": claim.publications + 1, "due": now + pause},
            )
        self._outbox.add(connection, [issue_message(claim, self._source) for claim in due])
        return len(due)

    def settle(self, connection: Connection, told: Iterable[Claim]) -> None:
        """Note that the gate elsewhere has been told of these returns."""
        _SETTLE.run_many(connection, [{"of_id": claim.id} for claim in told])

    def take_owing(self) -> bool:
        """Say whether anything was returned since the last time this was asked."""
        owes, self._owes = self._owes, False
        return owes

    def _close(self, batch: "Batch", wants: Sequence[Want], verdicts: Sequence[Verdict | Stale]) -> None:
        """Count what was taken, and have it published."""
        for code in sorted(batch.taken):
            offers.take(batch.connection, code, batch.taken[code])
        self._outbox.add(
            batch.connection,
            [
                issue_message(verdict.claim, self._source, want.traceparent)
                for want, verdict in zip(wants, verdicts, strict=True)
                if isinstance(verdict, Entered) and not verdict.repeated
            ],
        )

    def _enter(self, batch: "Batch", want: Want) -> Verdict:
        decided = Declined(want.refusal) if want.refusal is not None else self._decide(batch, want)
        if want.intent is not None:
            try:
                known = self._recall(batch, want, decided)
            except Refused as remembered:
                return Declined(remembered)
            if known is not None:
                return Entered(claims.read(batch.connection, known), repeated=True)
        if isinstance(decided, Declined):
            return decided
        batch.taken[want.code] += 1
        return Entered(self._write(batch, want, decided))

    def _decide(self, batch: "Batch", want: Want) -> int | Declined:
        """Return the place that the claim takes among its customer's, or why it takes none."""
        offer = batch.offers[want.code]
        if offer is None:
            return Declined(unknown_drop(want.code))
        refusal = (
            self._not_again(batch.connection, want)
            if want.again
            else closed(want.code, offer.terms, self._clock.now())
        )
        if refusal is not None:
            return Declined(refusal)
        held = claims.slots(batch.connection, want.code, want.customer_id)
        slot = free_slot(held, offer.per_customer)
        if slot is None:
            return Declined(already_claimed(want.code, want.customer_id, offer.per_customer), counted=True)
        if offer.taken + batch.taken[want.code] >= offer.quantity:
            return Declined(sold_out(want.code), counted=True)
        return slot

    def _not_again(self, connection: Connection, want: Want) -> Refused | None:
        """Say why a claim can't be issued again; None: it can."""
        claim = claims.find(connection, want.claim_id)
        if claim is None or claim.code != want.code:
            return Refused("unknown-claim", f"Drop {want.code} has no claim {want.claim_id}.", 404)
        if claim.state is not ClaimState.RETURNED:
            return Refused("claim-not-returned", f"Claim {claim.id} is {claim.state}: nothing is to be done.")
        if claim.owed and self._gate_elsewhere:
            return Refused(
                "claim-under-way", f"The unit of claim {claim.id} is just being given back. Try again."
            )
        return None

    def _recall(self, batch: "Batch", want: Want, decided: int | Declined) -> str | None:
        """Return the claim of the same request before, or None where this is the first with its key."""
        assert want.intent is not None
        now = self._clock.now()
        if isinstance(decided, Declined):
            return idempotency.remember(batch.connection, want.intent, decided.error, now)
        return idempotency.claim(batch.connection, want.intent, now, want.claim_id)

    def _write(self, batch: "Batch", want: Want, slot: int) -> Claim:
        now = self._clock.now()
        due_at = now + self._republish_ms
        if want.again:
            _AGAIN.run(batch.connection, {"of_id": want.claim_id, "place": slot, "due": due_at, "now": now})
            return claims.read(batch.connection, want.claim_id)
        claim = Claim(
            id=want.claim_id,
            code=want.code,
            customer_id=want.customer_id,
            slot=slot,
            state=ClaimState.PENDING,
            reason=None,
            publications=0,
            due_at=due_at,
            owed=False,
            created_at=now,
            updated_at=now,
        )
        _INSERT.run(batch.connection, claim._asdict())
        return claim


class Batch:
    """The drops of a batch, their rows locked in one order, and the units taken of each so far."""

    def __init__(self, connection: Connection, wants: Sequence[Want]) -> None:
        self.connection = connection
        self.offers: dict[str, Offer | None] = {
            code: offers.lock(connection, code) for code in sorted({want.code for want in wants})
        }
        self.taken: Counter[str] = Counter()

    def is_stale(self, want: Want, epochs: Mapping[str, int]) -> bool:
        """Say whether a gate has let it in that doesn't count any more."""
        offer = self.offers[want.code]
        return want.refusal is None and (offer is None or offer.epoch != epochs[want.code])


_INSERT: Final = Prepared(DROP_CLAIM.insert().inline())
_THIS: Final = DROP_CLAIM.c.id == bindparam("of_id")
_PENDING: Final = DROP_CLAIM.c.state == ClaimState.PENDING.value
_NOW: Final = bindparam("now", type_=BigInteger())
_WANTED: Final = (
    _THIS,
    DROP_CLAIM.c.code == bindparam("of_code"),
    DROP_CLAIM.c.customer_id == bindparam("of_customer"),
    _PENDING,
)
_ISSUE: Final = Prepared(
    update(DROP_CLAIM).where(*_WANTED).values(state=ClaimState.ISSUED.value, updated_at=_NOW)
)
_RETURN: Final = Prepared(
    update(DROP_CLAIM)
    .where(*_WANTED)
    .values(state=ClaimState.RETURNED.value, reason=bindparam("why"), owed=bindparam("owe"), updated_at=_NOW)
)
_AGAIN: Final = Prepared(
    update(DROP_CLAIM)
    .where(_THIS, DROP_CLAIM.c.state == ClaimState.RETURNED.value)
    .values(
        state=ClaimState.PENDING.value,
        reason=None,
        owed=False,
        slot=bindparam("place"),
        publications=0,
        due_at=bindparam("due"),
        updated_at=_NOW,
    )
)
_POSTPONE: Final = Prepared(
    update(DROP_CLAIM)
    .where(_THIS, _PENDING)
    .values(publications=bindparam("publication"), due_at=bindparam("due"))
)
_SETTLE: Final = Prepared(update(DROP_CLAIM).where(_THIS, DROP_CLAIM.c.owed.is_(True)).values(owed=False))
