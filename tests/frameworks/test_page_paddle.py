"""The page on Paddle in the documentation: every block runs, and prints what the page shows."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from pages import DOCS, walk


@pytest.mark.slow
def test_every_block_runs_and_prints_what_is_shown(needed: Callable[[str], ModuleType], tmp_path: Path) -> None:
    for module in ("paddle", "paddle2onnx"):
        needed(module)
    assert walk(DOCS / "how-to" / "from-paddle.md", tmp_path) == 3
