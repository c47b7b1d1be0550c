"""The model in docs/spec and the code say the same, so that neither changes alone."""

import re

import pytest

from coordinator import transaction
from coordinator.branch import BranchState
from shared.tcc import protocol
from shared.tcc.protocol import Phase, State, Verdict
from tests.model import tables
from tests.model.checker import NO_ERROR, SPEC, configurations

MODEL = (SPEC / "TCC.tla").read_text()
UNSAFE = [one for one in configurations(full=True) if one.expected != NO_ERROR]


def test_the_models_tables_are_what_the_code_does() -> None:
    assert tables.MODULE.read_text() == tables.render(), "run `make docs`, then check the model"


def test_a_changed_verdict_changes_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(protocol.VERDICTS, (State.CONFIRMED, Phase.CONFIRM), Verdict.APPLY)
    assert tables.render() != tables.MODULE.read_text()


def test_a_changed_state_machine_changes_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    unsettled = frozenset({BranchState.CONFIRMING})
    monkeypatch.setattr(transaction, "UNSETTLED", unsettled)
    assert tables.render() != tables.MODULE.read_text()


@pytest.mark.parametrize(
    "table", ["Verdicts", "Learned", "Decided", "Judged", "Ended", "TransactionEdges", "BranchEdges"]
)
def test_the_model_is_made_of_the_tables(table: str) -> None:
    assert re.search(rf"\b{table}\b", _without_comments(MODEL))


def test_the_edges_are_those_that_the_module_names() -> None:
    """The state machine's docstring lists its edges; they are the ones that it takes."""
    listed = set()
    for one, others in re.findall(r"^ {4}([A-Z]+) -> (.+)$", transaction.__doc__ or "", re.MULTILINE):
        listed |= {(one, to) for to in re.findall(r"[A-Z]{2,}", others)}
    assert listed == tables.transaction_edges()


def test_every_rule_is_left_out_once() -> None:
    listed = re.search(r"^Rules == \{(.*?)\}", MODEL, re.MULTILINE | re.DOTALL)
    assert listed
    rules = re.findall(r'"([^"]+)"', _without_comments(listed[1]))
    assert sorted(rules) == sorted(rule for one in UNSAFE for rule in _left_out(one.name))
    for rule in rules:
        assert f'Keeps("{rule}")' in MODEL


def test_the_safe_configurations_leave_nothing_out() -> None:
    safe = [one for one in configurations(full=True) if one.expected == NO_ERROR]
    assert safe
    assert not any(_left_out(one.name) for one in safe)


def _left_out(name: str) -> list[str]:
    without = re.search(r"^ +Without = \{(.*)\}$", (SPEC / f"{name}.cfg").read_text(), re.MULTILINE)
    assert without
    return re.findall(r'"([^"]+)"', without[1])


def _without_comments(module: str) -> str:
    return re.sub(r"\\\*.*", "", re.sub(r"\(\*.*?\*\)", "", module, flags=re.DOTALL))
