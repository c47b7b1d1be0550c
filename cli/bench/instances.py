"""Orders on one, two and more instances of every program, each stack on the same PostgreSQL, in turn."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack

from cli.bench.figures import Figures
from cli.bench.run import ENVIRONMENT, Handfast, generator
from cli.bench.side_by_side import side_by_side
from cli.stack import own_stack

Say = Callable[[str], None]


def compare(
    database_url: str, numbers: Sequence[int], levels: Iterable[int], orders: int, rounds: int, say: Say
) -> list[list[Figures]]:
    """Measure stacks of so many instances each; return for each level the figures of all.

    Every stack has schemas of its own in that database, removed at the end. Raises CommandError where an
    accepted order isn't CONFIRMED.
    """
    environment = {**ENVIRONMENT, "HANDFAST_DATABASE_URL": database_url}
    with ExitStack() as blocks:
        load = blocks.enter_context(generator())
        stacks = {
            f"{number} of each": Handfast(
                blocks.enter_context(own_stack(environment=environment, instances=number)), load
            )
            for number in numbers
        }
        return side_by_side(stacks, levels, orders, rounds, say)
