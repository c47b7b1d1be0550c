"""docs/proof.md: its tables are written by the programs that prove, between marks of their own."""

from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "proof.md"


def put(section: str, text: str) -> None:
    """Replace what stands between a section's marks; raise ValueError where the page has none."""
    put_between(f"<!-- {section}: begin -->", f"<!-- {section}: end -->", text)


def put_between(begin: str, end: str, text: str, page: Path = PAGE) -> None:
    """Do the same between marks of one's own."""
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{page.name} has no marks {begin} and {end}")
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")
