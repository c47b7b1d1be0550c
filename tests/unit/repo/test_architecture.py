"""The documents say what is true: what they name exists, and what they claim is held by something."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.main import COMMANDS
from shared.tcc.protocol import VERDICTS, Phase, State
from tests.unit.repo.settings_page import ROOT

ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
INVARIANTS = re.findall(r"\*\*Architecture Invariant:\*\*(.*?)(?=\n- |\n\n|\Z)", ARCHITECTURE, re.DOTALL)
NAMED_TEST = re.compile(r"`(tests/[\w/.]+\.py)::(test_\w+)`")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
PACKAGES = ("shared", "coordinator", "order_service", "stock_service", "payment_service")

WALL_CLOCK = {
    "time.sleep",
    "time.time",
    "time.time_ns",
    "datetime.now",
    "datetime.utcnow",
    "date.today",
    "uuid.uuid4",
    "uuid.uuid1",
    *(f"random.{name}" for name in ("random", "randint", "choice", "shuffle", "uniform", "randrange")),
}
every_document = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=[path.relative_to(ROOT).as_posix() for path in DOCUMENTS]
)


def test_the_architecture_has_invariants() -> None:
    assert len(INVARIANTS) > 20


@pytest.mark.parametrize("invariant", INVARIANTS, ids=[" ".join(text.split())[:60] for text in INVARIANTS])
def test_every_invariant_names_a_test_or_a_contract_that_exists(invariant: str) -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    known = {contract["id"] for contract in contracts["contracts"]}
    named = re.findall(r"`contract: ([a-z-]+)`", invariant)
    tests = NAMED_TEST.search(invariant)
    assert named or tests, "nothing holds it"
    assert set(named) <= known


@every_document
def test_every_test_that_is_spoken_of_exists(document: Path) -> None:
    for path, name in NAMED_TEST.findall(document.read_text(encoding="utf-8")):
        text = (ROOT / path).read_text(encoding="utf-8")
        assert re.search(rf"^\s*(?:async )?def {name}\(", text, re.MULTILINE), name


@every_document
def test_every_file_that_is_spoken_of_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for name in re.findall(r"`([\w/]+\.(?:py|md|toml|yml))`", text):
        assert (ROOT / name).exists() or any(
            path.as_posix().endswith(f"/{name}") for path in ROOT.glob(f"[!.]*/**/{Path(name).name}")
        ), name


@every_document
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
        assert "://" in target or (document.parent / target).exists(), target


@every_document
def test_every_command_that_is_spoken_of_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    tasks = set(re.findall(r"^([a-z]+):.*## ", makefile, re.MULTILINE))
    blocks = "\n".join(re.findall(r"```\n(.*?)```", text, re.DOTALL))
    spoken = re.findall(r"`(?:[^`\n]*\s)?make ([a-z]+)", text) + re.findall(
        r"^make ([a-z]+)", blocks, re.MULTILINE
    )
    assert set(spoken) <= tasks
    commands = re.findall(r"`(?:[^`\n]*\s)?handfast ([a-z]+)", text)
    commands += re.findall(r"bin/handfast ([a-z]+)", text)
    assert set(commands) <= set(COMMANDS)


def test_the_documented_verdicts_are_the_table_in_the_code() -> None:
    text = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    header, *rows = re.findall(r"^\| (?:state|`[A-Z]+`) .*\|$", text, re.MULTILINE)
    phases = [Phase(cell.strip().lower()) for cell in header.strip("|").split("|")[1:]]
    documented = {
        (State(state.strip(" `")), phase): verdict.strip()
        for state, *verdicts in (row.strip("|").split("|") for row in rows)
        for phase, verdict in zip(phases, verdicts, strict=True)
    }
    assert documented == {key: verdict.value for key, verdict in VERDICTS.items()}


@pytest.mark.parametrize("package", PACKAGES)
def test_time_randomness_and_ids_are_parameters(package: str) -> None:
    """The one clock that looks at the wall is `SystemClock`, the one caller of it `shared/clock.py`."""
    used = {
        (path.relative_to(ROOT).as_posix(), call)
        for path in (ROOT / package).rglob("*.py")
        for call in calls_in(path)
        if call in WALL_CLOCK and path != ROOT / "shared" / "clock.py"
    }
    assert used == set()


def calls_in(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield ".".join(ast.unparse(node.func).split(".")[-2:])


def test_importing_the_programs_starts_nothing(tmp_path: Path) -> None:
    """They are imported once and forked four times, which no thread, loop or connection would survive."""
    script = (
        "import importlib, os, threading\n"
        "before = set(os.listdir('/proc/self/fd')) if os.path.exists('/proc/self/fd') else set()\n"
        "for name in ('coordinator', 'order_service', 'stock_service', 'payment_service'):\n"
        "    importlib.import_module(name + '.app')\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
        "after = set(os.listdir('/proc/self/fd')) if before else set()\n"
        "assert len(after) <= len(before), [os.readlink('/proc/self/fd/' + fd) for fd in after - before]\n"
        "assert os.listdir('.') == [], os.listdir('.')\n"
    )
    run = subprocess.run(
        [sys.executable, "-B", "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.stderr == ""
    assert run.returncode == 0
