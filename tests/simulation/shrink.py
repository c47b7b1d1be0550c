"""Makes a failing case small: fewer orders, fewer troubles, and still a finding of the same kind."""

from collections.abc import Callable
from dataclasses import replace

from tests.simulation.plan import Trouble
from tests.simulation.simulate import Case, Report

Run = Callable[[Case], Report]


def shrink(failed: Report, run: Run, *, most_runs: int = 60) -> Report:
    """Return the smallest failing report that was found within so many runs.

    Troubles are left out by halves, then one by one; a smaller case counts as the same failure where it
    breaks one of the same invariants.
    """
    wanted = kinds(failed)
    best, runs = failed, 0

    def try_plan(plan: tuple[Trouble, ...], orders: int) -> bool:
        nonlocal best, runs
        if runs >= most_runs:
            return False
        runs += 1
        report = run(replace(best.case, plan=plan, orders=orders))
        if not kinds(report) & wanted:
            return False
        best = report
        return True

    while best.case.orders > 1 and try_plan(_plan(best), best.case.orders // 2):
        continue
    size = max(1, len(_plan(best)) // 2)
    while size and runs < most_runs:
        start = 0
        while start < len(_plan(best)):
            plan = _plan(best)
            if not try_plan((*plan[:start], *plan[start + size :]), best.case.orders):
                start += size
        size //= 2
    return best


def kinds(report: Report) -> frozenset[str]:
    """Return which invariants a report breaks, by the name in its brackets."""
    return frozenset(finding.partition("]")[0].lstrip("[") for finding in report.findings)


def _plan(report: Report) -> tuple[Trouble, ...]:
    assert report.case.plan is not None, "a report's case has its plan"
    return report.case.plan
