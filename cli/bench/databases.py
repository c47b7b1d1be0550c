"""Orders on SQLite and on PostgreSQL, a round of either in turn, so that both see the same machine."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack

from cli.bench.figures import Figures
from cli.bench.run import ENVIRONMENT, Handfast, generator
from cli.bench.side_by_side import side_by_side
from cli.stack import own_stack

Say = Callable[[str], None]


def compare(
    database_url: str, levels: Iterable[int], orders: int, rounds: int, say: Say
) -> list[tuple[Figures, Figures]]:
    """Measure both at each level; return the figures of SQLite and of PostgreSQL.

    database_url: of a PostgreSQL, in which the stack's schemas are made, and removed at the end; orders: at
    each level, over all rounds. Raises CommandError where an accepted order isn't CONFIRMED.
    """
    environment = {**ENVIRONMENT, "HANDFAST_DATABASE_URL": database_url}
    with ExitStack() as blocks:
        load = blocks.enter_context(generator())
        stacks = {
            "SQLite": Handfast(blocks.enter_context(own_stack(environment=ENVIRONMENT)), load),
            "PostgreSQL": Handfast(blocks.enter_context(own_stack(environment=environment)), load),
        }
        measured = side_by_side(stacks, levels, orders, rounds, say)
    return [(on_file, on_server) for on_file, on_server in measured]
