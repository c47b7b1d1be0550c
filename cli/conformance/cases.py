"""All cases of the kit, in the order in which they run."""

from typing import Final

from cli.conformance import decision_cases, expiry_cases, malformed_cases, race_cases, try_cases
from cli.conformance.case import Case

CASES: Final[tuple[Case, ...]] = (
    *try_cases.CASES,
    *decision_cases.CASES,
    *malformed_cases.CASES,
    *race_cases.CASES,
    *expiry_cases.CASES,
)
