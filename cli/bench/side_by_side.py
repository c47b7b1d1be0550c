"""Several stacks under the same load, a round of each in turn, so that all see the same machine."""

from collections.abc import Callable, Iterable, Mapping

from cli.bench.figures import Figures
from cli.bench.run import WARM_UP, Handfast

Say = Callable[[str], None]


def side_by_side(
    stacks: Mapping[str, Handfast], levels: Iterable[int], orders: int, rounds: int, say: Say
) -> list[list[Figures]]:
    """Measure every stack at each level; return for each level the figures of all, in the stacks' order.

    stacks: by what they are called; orders: at each level, over all rounds. Raises CommandError where an
    accepted order isn't CONFIRMED.
    """
    measured = [[Figures(name, level) for name in stacks] for level in levels]
    share = max(1, orders // rounds)
    say("warming up")
    for stack in stacks.values():
        stack.round(Figures("", 32), "warm", min(WARM_UP, share))
    for at_level in measured:
        in_flight = at_level[0].in_flight
        for number in range(1, rounds + 1):
            for stack, figures in zip(stacks.values(), at_level, strict=True):
                stack.round(figures, f"{in_flight}-{number}", share)
            rates = ", ".join(f"{figures.system} {figures.rates[-1]:.0f}/s" for figures in at_level)
            say(f"{in_flight} in flight, round {number} of {rounds}: {rates}")
    say("checking every order")
    for column, stack in enumerate(stacks.values()):
        for order_id, took in stack.check().items():
            for at_level in measured:
                if order_id.startswith(f"{at_level[0].in_flight}-"):
                    at_level[column].settling.append(took)
    return measured
