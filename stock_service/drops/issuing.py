"""Claims are issued as their records come in; what becomes of those that can't be.

A batch of records is one local transaction, in which one that fails is undone alone. Given up, a record takes
its claim back with it: the unit and the customer's place are free again in the commit that keeps the letter.
"""

import logging
from collections.abc import Callable, Sequence

from sqlalchemy import Connection

from shared.database.failures import is_store_failure
from shared.database.port import Database, Savepoint
from shared.errors import Refused
from shared.messaging.broker import Message, Record
from shared.messaging.letters import DeadLetter
from shared.messaging.listener import Listener, Subject
from shared.messaging.retry import Retry
from shared.messaging.values import InvalidMessage
from stock_service.drops import offers
from stock_service.drops.domain import ReturnReason
from stock_service.drops.journal import Journal
from stock_service.drops.messages import TOPIC, Issue, read_issue

_log = logging.getLogger(__name__)


def issuing_listener(
    database: Database, journal: Journal, retry: Retry, issued: Callable[[str], None]
) -> Listener:
    """Return the Kafka door of drops. issued: is told the id of each claim, after the commit."""
    door = _IssueDoor(database, journal, issued)
    return Listener(
        topic=TOPIC,
        handle=door.handle,
        subject=_subject,
        retry=retry,
        is_fatal=_is_fatal,
        on_dead_letter=door.on_dead_letter,
    )


def return_unpublishable(journal: Journal) -> Callable[[Connection, Message], None]:
    """Return what is done where a claim's record can never be published: the claim gives its unit back."""

    def on_unpublishable(connection: Connection, message: Message) -> None:
        wanted = read_issue(message.value)
        if journal.give_back(connection, wanted, ReturnReason.UNPUBLISHABLE):
            _log.error("Claim %s is returned: its record can't be published.", wanted.claim_id)

    return on_unpublishable


class _IssueDoor:
    def __init__(self, database: Database, journal: Journal, issued: Callable[[str], None]) -> None:
        self._database = database
        self._journal = journal
        self._issued = issued

    async def handle(self, records: Sequence[Record]) -> list[Exception | None]:
        """Issue a batch; return one verdict for each record, in order."""
        read = [_read(record) for record in records]
        verdicts = await self._database.write(lambda connection: self._issue_all(connection, read))
        for wanted, verdict in zip(read, verdicts, strict=True):
            if verdict is None and isinstance(wanted, Issue):
                self._issued(wanted.claim_id)
        return verdicts

    def on_dead_letter(self, connection: Connection, record: Record, letter: DeadLetter) -> None:
        """Give back the claim of a record that is given up, if it is indeed that claim's."""
        wanted = _read(record)
        if isinstance(wanted, InvalidMessage):
            return  # Nobody can tell whose it was. The claim's own record is published again.
        if self._journal.give_back(connection, wanted, ReturnReason.DEAD_LETTERED):
            _log.warning("Claim %s is returned with dead letter %s.", wanted.claim_id, letter.id)

    def _issue_all(
        self, connection: Connection, read: Sequence[Issue | InvalidMessage]
    ) -> list[Exception | None]:
        verdicts: list[Exception | None] = []
        codes: set[str] = set()
        # The drops' rows before the claims', as everybody takes them: no two wait for each other.
        for code in sorted({wanted.code for wanted in read if isinstance(wanted, Issue)}):
            offers.lock(connection, code)
        for wanted in read:
            if isinstance(wanted, InvalidMessage):
                verdicts.append(wanted)
                continue
            try:
                with Savepoint(connection):
                    if self._journal.issue(connection, wanted):
                        codes.add(wanted.code)
            except Exception as error:
                if is_store_failure(error):
                    # Nothing in this transaction can be trusted to commit.
                    raise
                verdicts.append(error)
            else:
                verdicts.append(None)
        for code in sorted(codes):
            offers.count_issued(connection, code)
        return verdicts


def _read(record: Record) -> Issue | InvalidMessage:
    try:
        return read_issue(record.value)
    except InvalidMessage as error:
        return error


def _subject(record: Record) -> Subject:
    return Subject(read_issue(record.value).claim_id)


def _is_fatal(error: Exception) -> bool:
    return isinstance(error, Refused | InvalidMessage)
