"""The protocol's model, checked by TLC: the safe configurations hold, each unsafe one breaks as expected.

Skipped, and said, where Java is not found; `python -m tests.model.check --full` checks the larger ones too.
"""

import pytest

from tests.model import tables
from tests.model.checker import NO_ERROR, CheckerMissing, Finding, check, configurations

SHORT = configurations(full=False)


@pytest.fixture(scope="module")
def findings() -> dict[str, Finding]:
    """What TLC says of the small configurations, by their names."""
    try:
        return {one.configuration.name: one for one in check(SHORT)}
    except CheckerMissing as missing:
        pytest.skip(f"The model was not checked. {missing}")


@pytest.mark.parametrize("name", [one.name for one in SHORT])
def test_a_configuration_ends_as_expected(name: str, findings: dict[str, Finding]) -> None:
    one = findings[name]
    assert one.found == one.configuration.expected, one.output
    assert one.states > 0


def test_the_model_takes_every_edge_that_the_code_can_take(findings: dict[str, Finding]) -> None:
    safe = [one for one in findings.values() if one.configuration.expected == NO_ERROR]
    taken = frozenset[tuple[str, str, str]]().union(*(one.edges for one in safe))
    assert {(one, to) for what, one, to in taken if what == "transaction"} >= tables.transaction_edges()
    assert {(one, to) for what, one, to in taken if what == "branch"} >= tables.branch_edges()
