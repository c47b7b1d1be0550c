"""The sections of docs/proof.md that programs write."""

from pathlib import Path

import pytest

from tests.proof_page import put_between

BEGIN = "<!-- figures: begin -->"
END = "<!-- figures: end -->"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return tmp_path / "proof.md"


def test_a_section_is_put_where_it_was(page: Path) -> None:
    page.write_text(f"# Proof\n\n{BEGIN}\nold\n{END}\n\n## Another section\n")
    for text in ("new", "newer"):
        put_between(BEGIN, END, text, page)
    assert page.read_text() == f"# Proof\n\n{BEGIN}\n\nnewer\n\n{END}\n\n## Another section\n"


@pytest.mark.parametrize("text", ["# Proof\n", f"{BEGIN}\nold\n", f"old\n{END}\n"])
def test_a_page_without_the_marks_is_left_alone_and_said(page: Path, text: str) -> None:
    page.write_text(text)
    with pytest.raises(ValueError, match=r"proof\.md has no marks"):
        put_between(BEGIN, END, "new", page)
    assert page.read_text() == text
