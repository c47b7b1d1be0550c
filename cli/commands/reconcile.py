"""`handfast reconcile`: compares the coordinator's log with every participant, and shows what differs."""

from typing import Annotated, Any, Final

import typer

from cli.api import Answer, Api, Json, Refusal
from cli.console import Console
from cli.options import AsJson, PortOffset, Why, load_settings, reasoned
from cli.outcome import CommandError

PATH: Final = "/reconciliations"
BUSY: Final = "reconciliation-running"
_COUNTED: Final = ("participant", "kind", "verdict", "found", "repaired")


def reconcile(
    dry_run: Annotated[bool, typer.Option(help="Say what would be repaired, and repair nothing.")] = False,
    why: Why = None,
    as_json: AsJson = False,
    port_offset: PortOffset = None,
) -> None:
    """Compare the coordinator's decisions with what every participant has, and repair what differs.

    Exits 1 where something is left: a finding that isn't right yet, or that a person has to look at, or
    something that could not be compared.
    """
    console = Console()
    with Api(load_settings(port_offset)) as api:
        run = _follow(api, console, _begin(api, {"dryRun": dry_run, **reasoned(why)}))
        findings = list(api.items("coordinator", f"{PATH}/{run['reconciliationId']}/findings"))
    if as_json:
        console.json({**run, "findings": findings})
    else:
        _tell(console, run, findings)
    left = run["found"] - run["repaired"]
    if run["state"] != "DONE":
        raise CommandError(f"the reconciliation ended {run['state']}")
    if run["problems"]:
        raise CommandError("not everything could be compared")
    if left:
        raise CommandError(f"{left} of {run['found']} findings are left")


def _begin(api: Api, body: Json) -> Json:
    """Begin a run; where one of the other sort is under way, once that has ended."""
    while True:
        try:
            return _body(api.send("POST", "coordinator", PATH, body))
        except Refusal as refusal:
            if refusal.slug != BUSY:
                raise
        [newest] = api.get("coordinator", PATH, {"limit": 1})["items"]
        _look(api, newest)


def _follow(api: Api, console: Console, run: Json) -> Json:
    """Show how far a run is until it has ended; return it as it is then."""
    seen = 0
    with console.progress("rows compared", None) as advance:
        while run["state"] == "RUNNING":
            run = _look(api, run)
            advance(run["read"] - seen)
            seen = run["read"]
    return run


def _look(api: Api, run: Json) -> Json:
    """Return a run as it is in a second, or as soon as it has ended."""
    path = f"{PATH}/{run['reconciliationId']}"
    return _body(api.send("GET", "coordinator", path, headers={"prefer": "wait=1"}))


def _body(answer: Answer) -> Json:
    assert answer.body is not None
    return answer.body


def _tell(console: Console, run: Json, findings: list[Json]) -> None:
    for problem in run["problems"]:
        console.line(f"{problem['participant']} ({problem['phase']}): {problem['detail']}")
    for participant, branches in run["uncompared"].items():
        console.line(f"{branches} branches of {participant} can't be compared: it doesn't tell of them")
    if run["counts"]:
        console.table(
            _COUNTED,
            [[one[name] for name in _COUNTED] for one in run["counts"]],
            heading=True,
        )
    left = [one for one in findings if not one["repaired"]]
    if left:
        console.line()
        console.table(
            ("participant", "kind", "subject", "transaction", "repair"), [_row(one) for one in left]
        )
    done = "would be repaired" if run["dryRun"] else "repaired"
    repairable = sum(one["found"] for one in run["counts"] if one["verdict"] == "repairable")
    repaired = repairable if run["dryRun"] else run["repaired"]
    console.line(f"{run['read']} rows compared, {run['found']} findings, {repaired} {done}")


def _row(finding: Json) -> tuple[Any, ...]:
    owner, done = finding.get("transactionId"), finding.get("repair")
    return finding["participant"], finding["kind"], finding["subject"], owner, done
