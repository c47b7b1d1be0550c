"""Orders on SQLite and on PostgreSQL, a round of either in turn, so that both see the same machine."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack

from cli.bench.figures import Figures
from cli.bench.run import ENVIRONMENT, WARM_UP, Handfast, generator
from cli.stack import own_stack

SQLITE, POSTGRES = "SQLite", "PostgreSQL"

Say = Callable[[str], None]


def compare(
    database_url: str, levels: Iterable[int], orders: int, rounds: int, say: Say
) -> list[tuple[Figures, Figures]]:
    """Measure both at each level; return the figures of SQLite and of PostgreSQL.

    database_url: of a PostgreSQL, in which the stack's schemas are made, and removed at the end; orders: at
    each level, over all rounds. Raises CommandError where an accepted order isn't CONFIRMED.
    """
    pairs = [(Figures(SQLITE, level), Figures(POSTGRES, level)) for level in levels]
    share = max(1, orders // rounds)
    with ExitStack() as stacks:
        load = stacks.enter_context(generator())
        file = Handfast(stacks.enter_context(own_stack(environment=ENVIRONMENT)), load)
        environment = {**ENVIRONMENT, "HANDFAST_DATABASE_URL": database_url}
        server = Handfast(stacks.enter_context(own_stack(environment=environment)), load)
        say("warming up")
        for stack in (file, server):
            stack.round(Figures("", 32), "warm", min(WARM_UP, share))
        for on_file, on_server in pairs:
            for number in range(1, rounds + 1):
                name = f"{on_file.in_flight}-{number}"
                file.round(on_file, name, share)
                server.round(on_server, name, share)
                rates = f"SQLite {on_file.rates[-1]:.0f}/s, PostgreSQL {on_server.rates[-1]:.0f}/s"
                say(f"{on_file.in_flight} in flight, round {number} of {rounds}: {rates}")
        say("checking every order")
        for stack, column in ((file, 0), (server, 1)):
            for order_id, took in stack.check().items():
                for pair in pairs:
                    if order_id.startswith(f"{pair[column].in_flight}-"):
                        pair[column].settling.append(took)
    return pairs
