"""The dead letter office of a program: all that people, and the replayer, may have done to its letters.

Before a record is published again, or its letter thrown away, what it stands for by now is asked
(`prospects`): outside of any transaction, which is safe because a decision never changes. Each act is one
transaction that looks at the letter again, so that of two who want something at once one comes first.
"""

import asyncio
import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from sqlalchemy import Connection

from shared.clock import Clock, Millis
from shared.database.port import Database
from shared.errors import HandfastError, Refused, Transient
from shared.identity import NewId
from shared.messaging.edits import Decoder, edit, subject_of_edit
from shared.messaging.ledger import Act, Asked, LedgerLine, history, replays_of
from shared.messaging.letters import CLOSED, DeadLetter, Standing, find, settle_by_id, standings
from shared.messaging.listener import Listener, Subject
from shared.messaging.outbox import Outbox
from shared.messaging.parking import park, release
from shared.messaging.prospects import Prospect, Prospects
from shared.messaging.purges import Kept, kept_because, needs_asking, purge
from shared.messaging.replays import ReplayOutcome, replay
from shared.messaging.selection import Group, Place, Selection, groups, page, place_of

ASKED_AT_ONCE: Final = 16
"""Letters of one purge about which is asked at the same time."""
REPLAYED_AT_ONCE: Final = 25
"""Letters of one request that are seen to at the same time: many share a commit, and a hundred are answered
within the time of four inquiries, even where each waits in vain."""

T = TypeVar("T")

_INSTEAD: Final = {
    Prospect.APPLIED: ReplayOutcome.SETTLED,
    Prospect.CANCELLED: ReplayOutcome.CANCELLED,
    Prospect.UNDECIDED: ReplayOutcome.UNDECIDED,
}


@dataclass(frozen=True, slots=True)
class Purged:
    """What came of a purge, or would. kept: why each other letter stays; more: where to go on."""

    gone: list[str]
    kept: dict[str, Kept]
    more: Place | None


class LetterOffice:
    """Looks after one program's letters. max_replays: after so many a letter is parked, unless told."""

    def __init__(
        self,
        *,
        database: Database,
        outbox: Outbox,
        clock: Clock,
        new_id: NewId,
        listeners: Collection[Listener],
        prospects: Prospects,
        max_replays: int,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._clock = clock
        self._new_id = new_id
        self._decoders: Mapping[str, Decoder] = {one.topic: one.subject for one in listeners}
        self._prospects = prospects
        self._max_replays = max_replays

    async def page(
        self, selection: Selection, after: Place | None, limit: int
    ) -> tuple[list[DeadLetter], bool]:
        """Return letters in the order in which they were written, and whether more follow."""
        return await self._database.read(
            lambda connection: page(connection, selection, after=after, limit=limit)
        )

    async def standings(self, letter_ids: Collection[str]) -> list[Standing]:
        """Return how it stands with those of some letters that there are."""
        return await self._database.read(lambda connection: standings(connection, letter_ids))

    async def groups(self, selection: Selection, after: str | None, limit: int) -> tuple[list[Group], bool]:
        """Return the groups of letters that failed alike, and whether more follow."""
        return await self._database.read(
            lambda connection: groups(connection, selection, after=after, limit=limit)
        )

    async def show(self, letter_id: str) -> tuple[DeadLetter, list[LedgerLine]]:
        """Return a letter and its replays; raise NotFound."""
        return await self._database.read(
            lambda connection: (find(connection, letter_id), replays_of(connection, letter_id))
        )

    async def history(
        self,
        *,
        letter_id: str | None = None,
        act: Act | None = None,
        since: Millis | None = None,
        until: Millis | None = None,
        after: tuple[Millis, str] | None = None,
        limit: int,
    ) -> tuple[list[LedgerLine], bool]:
        """Return lines of the ledger, oldest first, and whether more follow."""
        return await self._database.read(
            lambda connection: history(
                connection, letter_id=letter_id, act=act, since=since, until=until, after=after, limit=limit
            )
        )

    async def replay(
        self, letter_id: str, asked: Asked, *, max_replays: int | None = None, also_parked: bool = True
    ) -> tuple[ReplayOutcome, DeadLetter]:
        """Publish a letter's record again, if that is any use.

        Raises NotFound, or Transient where nobody can tell just now what was decided.
        """
        letter = await self._database.read(lambda connection: find(connection, letter_id))
        if letter.state not in CLOSED:
            instead = _INSTEAD.get(await self._prospects.of(letter))
            if instead is ReplayOutcome.SETTLED:
                letter = await self._write(lambda connection, now: _settled(connection, letter_id, now))
            if instead is not None:
                return instead, letter
        return await self._write(
            lambda connection, now: replay(
                connection,
                letter_id,
                outbox=self._outbox,
                now=now,
                new_id=self._new_id,
                asked=asked,
                max_replays=self._max_replays if max_replays is None else max_replays,
                also_parked=also_parked,
            )
        )

    async def replay_each(
        self,
        letter_ids: Sequence[str],
        asked: Asked,
        *,
        max_replays: int | None = None,
        also_parked: bool = True,
    ) -> list[tuple[ReplayOutcome, DeadLetter] | HandfastError]:
        """Replay several letters, each as if it were alone; return for each what came of it, or why not."""
        at_once = asyncio.Semaphore(REPLAYED_AT_ONCE)

        async def one(letter_id: str) -> tuple[ReplayOutcome, DeadLetter] | HandfastError:
            async with at_once:
                try:
                    return await self.replay(
                        letter_id, asked, max_replays=max_replays, also_parked=also_parked
                    )
                except (Refused, Transient) as error:
                    return error

        return list(await asyncio.gather(*map(one, letter_ids)))

    async def park(self, letter_id: str, asked: Asked) -> DeadLetter:
        """Set a letter aside (see `parking.park`)."""
        return await self._write(
            lambda connection, now: park(connection, letter_id, asked=asked, now=now, new_id=self._new_id)
        )

    async def release(self, letter_id: str, asked: Asked) -> DeadLetter:
        """Open a parked letter again (see `parking.release`)."""
        return await self._write(
            lambda connection, now: release(connection, letter_id, asked=asked, now=now, new_id=self._new_id)
        )

    async def edit(self, letter_id: str, value: bytes, asked: Asked) -> tuple[DeadLetter, bool]:
        """Publish a letter's record with another value (see `edits.edit`).

        Raises Refused too where the decision is not to confirm, or there is none (`not-decided`).
        """
        letter = await self._database.read(lambda connection: find(connection, letter_id))
        subject = subject_of_edit(letter, value, self._decoder(letter.topic))
        if letter.state not in CLOSED:
            prospect = await self._prospects.of(dataclasses.replace(letter, value=value))
            if prospect in _INSTEAD:
                raise _pointless(letter, subject, prospect)
        return await self._write(
            lambda connection, now: edit(
                connection,
                letter_id,
                value,
                subject,
                outbox=self._outbox,
                asked=asked,
                now=now,
                new_id=self._new_id,
            )
        )

    async def purge(
        self,
        selection: Selection,
        asked: Asked,
        *,
        quiet_ms: Millis = 0,
        force: bool = False,
        dry_run: bool = False,
        after: Place | None = None,
        limit: int,
    ) -> Purged:
        """Delete the letters of one page that nobody needs (see `purges`).

        quiet_ms: only those to which nothing has happened for so long; force: open ones too.
        """
        quiet_since = self._clock.now() - quiet_ms + 1
        letters, more = await self._database.read(
            lambda connection: page(connection, selection, after=after, quiet_since=quiet_since, limit=limit)
        )
        reasons = await self._kept(letters, force)
        kept = {letter.id: reason for letter, reason in zip(letters, reasons, strict=True) if reason}
        gone = [letter.id for letter in letters if letter.id not in kept]
        if not dry_run and gone:
            going = [letter for letter in letters if letter.id not in kept]
            gone = await self._write(
                lambda connection, now: purge(connection, going, asked=asked, now=now, new_id=self._new_id)
            )
            kept |= {letter.id: Kept.CHANGED for letter in going if letter.id not in gone}
        return Purged(gone, kept, place_of(letters[-1]) if more else None)

    async def _kept(self, letters: Sequence[DeadLetter], force: bool) -> list[Kept | None]:
        at_once = asyncio.Semaphore(ASKED_AT_ONCE)

        async def reason(letter: DeadLetter) -> Kept | None:
            prospect = None
            if needs_asking(letter, force):
                async with at_once:
                    prospect = await self._prospect(letter)
            return kept_because(letter, prospect, force)

        return list(await asyncio.gather(*map(reason, letters)))

    async def _prospect(self, letter: DeadLetter) -> Prospect | None:
        try:
            return await self._prospects.of(letter)
        except Transient:
            return None

    def _decoder(self, topic: str) -> Decoder:
        decoder = self._decoders.get(topic)
        if decoder is None:
            raise Refused(
                "topic-not-consumed", f"This program no longer consumes {topic}: nothing can be edited."
            )
        return decoder

    async def _write(self, act: Callable[[Connection, Millis], T]) -> T:
        return await self._database.write(lambda connection: act(connection, self._clock.now()))


def _settled(connection: Connection, letter_id: str, now: Millis) -> DeadLetter:
    """Settle a letter of which turned out that it is applied."""
    settle_by_id(connection, (letter_id,), now)
    return find(connection, letter_id)


def _pointless(letter: DeadLetter, subject: Subject, prospect: Prospect) -> Refused:
    if prospect is Prospect.APPLIED:
        return Refused(
            "letter-settled", f"Branch {subject.branch_id} is confirmed already: replay the letter."
        )
    if prospect is Prospect.CANCELLED:
        detail = f"Branch {subject.branch_id} is cancelled: letter {letter.id} can only be parked and purged."
        return Refused("decision-is-cancel", detail)
    return Refused(
        "not-decided", f"Nothing is decided about branch {subject.branch_id} yet: ask again later."
    )
