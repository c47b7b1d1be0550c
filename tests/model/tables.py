"""docs/spec/Tables.tla: what the code does, as constants of which the model is made.

The verdict table is written out as it stands. The coordinator's state machine is code, so it is asked: every
fact is told to a branch in every state, and every mix of branch states is judged at every time. `make docs`
writes the module; a test compares it with what is committed.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from coordinator.branch import Answered, Branch, BranchState, DeadLettered, Fact, Policy, Settled
from coordinator.transaction import Mode, State, Transaction, add_branch, advance, decide, learn
from shared.tcc import protocol
from shared.tcc.protocol import VERDICTS, Phase, Sort

ROOT: Final = Path(__file__).resolve().parents[2]
MODULE: Final = ROOT / "docs" / "spec" / "Tables.tla"

BEGAN: Final = 1_000_000
TIMEOUT: Final = 10_000
TIMES: Final = {
    "early": BEGAN,
    "margin": BEGAN + TIMEOUT - 1,
    "past": BEGAN + TIMEOUT,
}
"""One instant of each kind: decidable, too late to confirm by itself, past the deadline."""

POLICY: Final = Policy(published=frozenset({"order", "stock"}))
BEFORE: Final = (BranchState.TRYING, BranchState.TRIED, BranchState.REFUSED, BranchState.CLOSED)
"""What a branch may be while nothing is decided."""
_CONFIRMED_WITH: Final = (BranchState.CLOSED, BranchState.CONFIRMED)
_CANCELLED_WITH: Final = (BranchState.REFUSED, BranchState.CLOSED, BranchState.CANCELLED)

FACTS: Final[Mapping[str, tuple[Fact, bool]]] = {
    "ok": (Answered(Phase.TRY, "b1", Sort.DONE), False),
    "no": (Answered(Phase.TRY, "b1", Sort.REFUSED), False),
    "no_to_added": (Answered(Phase.TRY, "b1", Sort.REFUSED), True),
    "silence": (Answered(Phase.TRY, "b1", Sort.UNKNOWN), False),
    "confirmed": (Settled("b1"), False),
    "confirmed_by_call": (Answered(Phase.CONFIRM, "b1", Sort.DONE), False),
    "confirm_unanswered": (Answered(Phase.CONFIRM, "b1", Sort.UNKNOWN), False),
    "dead": (DeadLettered("b1", "why"), False),
    "cancelled": (Answered(Phase.CANCEL, "b1", Sort.DONE), False),
    "cancel_unanswered": (Answered(Phase.CANCEL, "b1", Sort.UNKNOWN), False),
}
"""What the coordinator may hear of branch b1, and whether that branch was added to a held transaction."""

_HEAD: Final = """\
------------------------------- MODULE Tables -------------------------------
(* What the code says, read from shared/tcc/protocol.py and coordinator/transaction.py by
   tests/model/tables.py. `make docs` writes this file; a test compares it with the code. *)
"""


def render() -> str:
    """Return the whole module."""
    parts = [
        _HEAD,
        _definition("FenceStates", _set(protocol.State)),
        _definition("TransactionStates", _set(State)),
        _definition("BranchStates", _set(BranchState)),
        "\\* What a participant does: by the state of its fence, by the phase of the command.",
        _definition("Verdicts", _verdicts()),
        "\\* What a branch becomes in the coordinator's row: by what is heard, by its state (or it stays).",
        _definition("Learned", _learned()),
        "\\* What a branch becomes with the decision. Of a REFUSED one: its only Try was answered.",
        _definition("Decided", _decided()),
        "\\* What becomes of a TRYING transaction: by its mode, by the time, by the states of its branches.",
        _definition("Judged", _judged()),
        "\\* With which mixes of branch states a decided transaction is at its end.",
        _definition("Ended", _ended()),
        "\\* Every change of state that is possible, of a transaction and of a branch in it.",
        _definition("TransactionEdges", _pairs(transaction_edges())),
        _definition("BranchEdges", _pairs(branch_edges())),
        "=" * 77 + "\n",
    ]
    return "\n".join(parts)


def transaction_edges() -> set[tuple[str, str]]:
    """Return the transaction's changes of state, found by trying everything on every small transaction."""
    edges = {(one.state.value, after.state.value) for one, after in _moves()}
    return {edge for edge in edges if edge[0] != edge[1]}


def branch_edges() -> set[tuple[str, str]]:
    """Return the changes of state of the branches in a transaction."""
    edges = set()
    for one, after in _moves():
        for before, then in zip(one.branches, after.branches, strict=False):
            if before.state is not then.state:
                edges.add((before.state.value, then.state.value))
    return edges


def _moves() -> Iterable[tuple[Transaction, Transaction]]:
    """Take every step of every small transaction: facts, decisions, an added branch, and time alone."""
    seen: set[Transaction] = set()
    waiting = [
        _transaction(mode, states)
        for mode in Mode
        for states in itertools.product((BranchState.TRYING, BranchState.TRIED), repeat=2)
    ]
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        for after in _nexts(one):
            yield one, after
            waiting.append(_comparable(after))


def _nexts(one: Transaction) -> Iterable[Transaction]:
    for now in TIMES.values():
        yield _one_step(one, now)
    for branch in one.branches:
        for fact, _ in FACTS.values():
            yield learn(one, fact._replace(branch_id=branch.branch_id), BEGAN, POLICY)
    if one.state in (State.TRYING, State.TRIED):
        yield decide(one, State.CANCELLING, BEGAN)
    if one.state is State.TRIED and one.mode is Mode.MANUAL:
        yield decide(one, State.CONFIRMING, BEGAN)
        if len(one.branches) < 4 and one.open_branch_of("payment") is None:
            yield add_branch(one, Branch(f"b{len(one.branches) + 1}", "payment", _Empty()))


def _one_step(one: Transaction, now: int) -> Transaction:
    """Advance, but show the decision: `advance` also takes the steps that follow from it at once."""
    after, _ = advance(one, now, POLICY)
    if one.state in (State.TRYING, State.TRIED) and after.state in (State.CONFIRMED, State.CANCELLED):
        decision = State.CONFIRMING if after.state is State.CONFIRMED else State.CANCELLING
        return decide(one, decision, now)
    return after


def _comparable(one: Transaction) -> Transaction:
    """Forget what only counts or dates, so that equal situations are equal values."""
    branches = tuple(
        branch._replace(attempts=0, due_at=0, last_error=None, problem=None) for branch in one.branches
    )
    return one._replace(branches=branches, reason=None, attention=None, decided_at=None)


class _Empty(dict[str, Any]):
    """An empty claim that can be a member of a set."""

    def __hash__(self) -> int:  # type: ignore[override]
        return 0


def _transaction(
    mode: Mode, states: Iterable[BranchState], state: State = State.TRYING, *, added: bool = False
) -> Transaction:
    names = ("order", "stock", "payment", "gift")
    return Transaction(
        transaction_id="t",
        mode=mode,
        state=state,
        timeout=TIMEOUT,
        deadline=BEGAN + TIMEOUT,
        initiator="order",
        branches=tuple(
            Branch(f"b{number}", names[number - 1], _Empty(), state=branch, added=added)
            for number, branch in enumerate(states, 1)
        ),
        body_hash="",
        created_at=BEGAN,
        updated_at=BEGAN,
    )


def _verdicts() -> str:
    rows = {
        state.value: _record({phase.value: _text(VERDICTS[state, phase]) for phase in Phase})
        for state in protocol.State
    }
    return _record(rows, lines=True)


def _learned() -> str:
    rows = {}
    for name, (fact, added) in FACTS.items():
        changed = []
        for state in BranchState:
            before = _transaction(Mode.AUTO, (state,), added=added)
            after = learn(before, fact, BEGAN, POLICY).branches[0].state
            if after is not state:
                changed.append(f"{state} |-> {_text(after)}")
        rows[name] = "[" + ", ".join(changed) + "]" if changed else "<<>>"
    return _record(rows, lines=True)


def _decided() -> str:
    agreed = (BranchState.TRIED, BranchState.CLOSED)
    rows = {}
    for to, allowed in ((State.CONFIRMING, agreed), (State.CANCELLING, BEFORE)):
        changed = {}
        for state in allowed:
            after = decide(_transaction(Mode.AUTO, (state,)), to, BEGAN)
            changed[state.value] = _text(after.branches[0].state)
        rows[to.value] = _record(changed)
    return _record(rows, lines=True)


def _judged() -> str:
    rows = {}
    for mode in Mode:
        judged = {}
        for when, now in TIMES.items():
            found: dict[str, list[str]] = {}
            for states in _mixes(BEFORE):
                after = _one_step(_transaction(mode, states), now)
                found.setdefault(after.state.value, []).append(_set(states))
            judged[when] = _record(
                {to: _in_lines(kinds, "{", "}", indent=20) for to, kinds in sorted(found.items())},
                lines=True,
                indent=12,
            )
        rows[mode.value] = _record(judged, lines=True, indent=8)
    return _record(rows, lines=True)


def _ended() -> str:
    rows = {}
    for decision, end, states in (
        (State.CONFIRMING, State.CONFIRMED, (*_CONFIRMED_WITH, BranchState.CONFIRMING)),
        (State.CANCELLING, State.CANCELLED, (*_CANCELLED_WITH, BranchState.CANCELLING)),
    ):
        ended = []
        for mixed in _mixes(states):
            after, _ = advance(_transaction(Mode.AUTO, mixed, decision), BEGAN, POLICY)
            if after.state is end:
                ended.append(_set(mixed))
        rows[decision.value] = "{" + ", ".join(ended) + "}"
    return _record(rows, lines=True)


def _mixes(states: Sequence[BranchState]) -> Iterable[tuple[BranchState, ...]]:
    for size in range(1, len(states) + 1):
        yield from itertools.combinations(states, size)


def _definition(name: str, value: str) -> str:
    return f"{name} ==\n    {value}\n"


def _text(value: str) -> str:
    return f'"{value}"'


def _set(values: Iterable[str]) -> str:
    return "{" + ", ".join(_text(value) for value in values) + "}"


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    written = [f"<<{_text(one)}, {_text(other)}>>" for one, other in sorted(pairs)]
    return _in_lines(written, "{", "}", indent=4)


def _record(fields: Mapping[str, str], *, lines: bool = False, indent: int = 4) -> str:
    written = [f"{name} |-> {value}" for name, value in fields.items()]
    return _in_lines(written, "[", "]", indent=indent) if lines else "[" + ", ".join(written) + "]"


def _in_lines(values: Iterable[str], opening: str, closing: str, *, indent: int) -> str:
    pad = "\n" + " " * indent
    return opening + pad + " " + f",{pad} ".join(values) + pad + closing


def main() -> None:
    """Write the module anew."""
    MODULE.write_text(render())


if __name__ == "__main__":
    main()
