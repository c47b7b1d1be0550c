"""The publication that the outboxes are captured from, made where the settings say that they are."""

from cli.outcome import CommandError
from shared.database.place import Schema
from shared.errors import HandfastError
from shared.settings import PORTS, Settings, database_place


def publish(settings: Settings) -> str | None:
    """Have the outboxes of all programs published; return the publication, or None where the relay does it.

    Every database has to be migrated. Raises CommandError, which says why, where it can't be done.
    """
    if settings.outbox != "cdc":
        return None
    from shared.migrations.publication import publish_outboxes  # A driver that SQLite spares.

    places = [database_place(settings, program) for program in PORTS]
    schemas = [place for place in places if isinstance(place, Schema)]
    try:
        publish_outboxes(settings.outbox_slot, schemas)
    except HandfastError as error:
        raise CommandError(error.detail) from error
    return settings.outbox_slot
