"""What all tests share: their order, and settings that hold on a busy machine."""

from pathlib import Path
from typing import Final

import pytest
from hypothesis import settings

HERE: Final = Path(__file__).resolve().parent
FIRST: Final = ("e2e", "simulation", "model", "chaos", "integration")
"""Directories whose files take longest: of several processes that share the files, the one that began such a
file last would keep the others waiting."""

# How long one example takes says nothing while other processes want the machine too.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    directory = item.path.relative_to(HERE).parts[0]
    return FIRST.index(directory) if directory in FIRST else len(FIRST)
