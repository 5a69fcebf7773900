"""Files that the user names."""

import sys
from pathlib import Path

import pytest

from onnxsens.usercode import cause_of, run_file


def test_a_file_can_import_its_neighbours_and_prints_to_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "neighbour_of_mine.py").write_text("value = 3\n")
    (tmp_path / "mine.py").write_text("import neighbour_of_mine\nprint('here')\nvalue = neighbour_of_mine.value\n")
    assert run_file(tmp_path / "mine.py").value == 3
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "here\n")


def test_a_cause_names_the_last_line_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def inner():\n    return {}['x']\n\ninner()\n")
    with pytest.raises(KeyError) as caught:
        run_file(path)
    assert cause_of(caught.value, path) == "KeyError: 'x' at line 2"
