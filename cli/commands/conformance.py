"""`handfast conformance`: drives any participant, in any language, through the participant contract."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx
import typer

from cli.conformance.case import Case
from cli.conformance.cases import CASES
from cli.conformance.junit import write_junit
from cli.conformance.report import Report, Verdict, lines
from cli.conformance.runner import Serving, check
from cli.conformance.target import Begin, Target
from cli.console import Console
from cli.options import AsJson
from cli.outcome import CommandError, Usage

Claim = Annotated[str, typer.Option(metavar="JSON", help="A claim that can be held, or @FILE.")]
RefusedClaim = Annotated[
    str | None,
    typer.Option(metavar="JSON", help="A claim that must be refused, or @FILE.", show_default=False),
]
OtherClaim = Annotated[
    str | None,
    typer.Option(
        metavar="JSON",
        help="A claim that differs from --claim. Default: one more of its first integer.",
        show_default=False,
    ),
]
Watch = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="JSON that shows what is held and kept: effects are then compared, not only answers.",
        show_default=False,
    ),
]
BeginUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Where a transaction is begun for each branch, if the claim needs one of somebody else's.",
        show_default=False,
    ),
]
BeginBody = Annotated[
    str, typer.Option(metavar="JSON", help="What is POSTed to --begin, or @FILE; it answers a transactionId.")
]
CoordinatorUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="The running coordinator that the participant asks.", show_default=False
    ),
]
ServeCoordinator = Annotated[
    str | None,
    typer.Option(
        metavar="[HOST:]PORT",
        help="Be the coordinator that the participant asks, at this address.",
        show_default=False,
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option("--case", metavar="NAME", help="Only this case; may be repeated.", show_default=False),
]
ListCases = Annotated[bool, typer.Option("--list", help="List the cases, and run none.")]
Junit = Annotated[Path | None, typer.Option(metavar="FILE", help="Write JUnit XML too.", show_default=False)]
Skew = Annotated[float, typer.Option(min=0, max=3600, metavar="SECONDS", help="How late a Try may arrive.")]
Expiry = Annotated[
    float, typer.Option(min=0.1, max=3600, metavar="SECONDS", help="How soon a Try expires that is to.")
]
Patience = Annotated[
    float,
    typer.Option(
        min=0.1, max=3600, metavar="SECONDS", help="How long an answer or an inquiry is waited for."
    ),
]
Timeout = Annotated[
    float, typer.Option(min=0.1, max=3600, metavar="SECONDS", help="Longest time for one request.")
]


def conformance(
    url: Annotated[str, typer.Argument(help="The participant's collection, where its Trys are POSTed.")] = "",
    claim: Claim = "",
    refused_claim: RefusedClaim = None,
    other_claim: OtherClaim = None,
    watch: Watch = None,
    begin: BeginUrl = None,
    begin_body: BeginBody = "{}",
    coordinator: CoordinatorUrl = None,
    serve_coordinator: ServeCoordinator = None,
    case: Only = None,
    list_cases: ListCases = False,
    skew_allowance: Skew = 30.0,
    expiry: Expiry = 2.0,
    patience: Patience = 20.0,
    timeout: Timeout = 5.0,
    junit: Junit = None,
    as_json: AsJson = False,
) -> None:
    """Drive a participant through the participant contract, and say where it breaks it.

    For a participant that nobody else uses meanwhile: what the cases hold is let go of, but what they confirm
    stays confirmed. docs/participants.md has the contract, and examples.
    """
    console = Console()
    if list_cases:
        _list(console, CASES, as_json)
        return
    if not url or not claim:
        raise Usage("give the URL of the participant's collection, and --claim (or --list)")
    if coordinator is not None and serve_coordinator is not None:
        raise Usage(
            "--coordinator and --serve-coordinator exclude each other: the participant asks one of them"
        )
    if begin is not None and coordinator is None and serve_coordinator is None:
        raise Usage("--begin needs --coordinator or --serve-coordinator: who decides what was begun?")
    target = Target(
        collection=_collection(url),
        claim=_json("--claim", claim),
        refused_claim=None if refused_claim is None else _json("--refused-claim", refused_claim),
        other_claim=None if other_claim is None else _json("--other-claim", other_claim),
        watch=None if watch is None else _http("--watch", watch),
        begin=None if begin is None else Begin(_http("--begin", begin), _json("--begin-body", begin_body)),
        skew_allowance=skew_allowance,
        expiry=expiry,
        patience=patience,
        timeout=timeout,
    )
    serving = None if serve_coordinator is None else _serving(serve_coordinator)
    asked = None if coordinator is None else _http("--coordinator", coordinator)
    chosen = _chosen(case)
    with console.progress("cases", len(chosen)) as advance:
        report = asyncio.run(check(target, chosen, serving=serving, coordinator=asked, advance=advance))
    _tell(console, report, junit, as_json)


def _tell(console: Console, report: Report, junit: Path | None, as_json: bool) -> None:
    if as_json:
        console.json(report.document())
    else:
        for line, style in lines(report):
            console.line(line, style)
    if junit is not None:
        try:
            write_junit(junit, report)
        except OSError as failure:
            raise CommandError(f"{junit} can't be written: {failure.strerror}") from failure
    if not report.conforms:
        failed = report.count(Verdict.FAILED)
        told = f"{failed} of {len(report.results)} cases failed" if failed else "nothing was checked"
        raise CommandError(told)


def _list(console: Console, cases: Sequence[Case], as_json: bool) -> None:
    if as_json:
        items = [
            {"name": c.name, "does": c.does, "contract": c.contract, "section": c.section.reference}
            for c in cases
        ]
        console.json({"items": items})
    else:
        console.table(
            ("case", "what it does", "what has to come back"), [(c.name, c.does, c.contract) for c in cases]
        )


def _chosen(names: list[str] | None) -> tuple[Case, ...]:
    if not names:
        return CASES
    known = {case.name for case in CASES}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise Usage(f"no such case: {', '.join(unknown)}; --list names them all")
    return tuple(case for case in CASES if case.name in names)


def _http(option: str, url: str) -> str:
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL):
        fine = False
    if not fine:
        raise Usage(f"{option}: {url!r} is no http URL, such as http://127.0.0.1:8888/api/v1/stocks")
    return url


def _collection(url: str) -> str:
    _http("URL", url)
    if "?" in url or "#" in url:
        raise Usage(f"URL: {url!r} has to be a collection, to which /<branch id> can be added")
    return url.rstrip("/")


def _json(option: str, text: str) -> Any:
    if text.startswith("@"):
        try:
            text = Path(text[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as failure:
            raise Usage(f"{option}: {text[1:]} can't be read: {failure}") from failure
    try:
        value = json.loads(text)
    except ValueError as failure:
        raise Usage(f"{option}: this is no JSON: {text[:200]!r} ({failure})") from failure
    if not isinstance(value, dict):
        raise Usage(f"{option}: has to be a JSON object")
    return value


def _serving(text: str) -> Serving:
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65_536:
        raise Usage(f"--serve-coordinator: {text!r} is no port, nor host:port")
    return Serving(host.strip("[]") or "127.0.0.1", int(port))
