"""docs/security.md says what the routes enforce, and names tests that are there."""

import re
from pathlib import Path

from tests.unit.repo.roles_page import BEGIN, END, PAGE, render

ROOT = Path(__file__).resolve().parents[3]


def test_the_tables_are_what_the_routes_say() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page.count(BEGIN) == page.count(END) == 1
    assert page == render(page), "run `make docs`"


def test_every_test_that_the_page_names_is_there() -> None:
    named = re.findall(r"`(tests/[a-z_/]+\.py)::(test_[a-z0-9_]+)`", PAGE.read_text(encoding="utf-8"))
    assert len(named) > 20
    for path, test in named:
        assert f"def {test}(" in (ROOT / path).read_text(encoding="utf-8"), (path, test)
