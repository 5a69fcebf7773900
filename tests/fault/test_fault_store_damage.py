"""Damaged stores, at the size that fits a test run."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from onnxsens.scan.store import FILE, Store
from onnxsens.scan.tables import TABLES
from tests.fault import store_damage
from tests.fault.commits import IDENTITY, MADE_BY, SETTINGS


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where that can be: stores wait for the disk at every commit."""
    with tempfile.TemporaryDirectory(dir=store_damage.in_memory() or tmp_path) as made:
        yield Path(made)


def test_no_damage_changes_a_row_unseen(folder: Path) -> None:
    result = store_damage.run_cases(folder, 0, 1000)
    assert result.failures == []
    assert result.endings.total() == 1000
    assert min(result.endings["mended"], result.endings["unnoticed"]) > 100


def test_the_tool_sees_a_row_that_was_changed_and_one_that_is_gone(folder: Path) -> None:
    closed, _, original = store_damage.make(folder)
    table = TABLES["point"]
    with Store(closed, IDENTITY, SETTINGS, MADE_BY) as store:
        [row, *_] = original["point"]
        store._db.execute("DELETE FROM point WHERE weight = 'layer1.weight'")
        store._db.execute(table.insertion, table.sealed((*row[:5], 0.125, *row[6:-1])))
    result = store_damage.Result()
    store_damage.judge("changed by hand", closed, False, original, result)
    assert any("which was not written" in failure for failure in result.failures)
    assert any("gone without a word" in failure for failure in result.failures)
    assert (closed / FILE).exists()
