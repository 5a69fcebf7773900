"""Hostile names through every command, at the size that fits a test run."""

from pathlib import Path

import pytest

from tests.fault import hostile
from tests.fault.browser import Seen, browser, chromium


@pytest.mark.slow
def test_whatever_a_model_names_its_parts_nothing_but_text_comes_out(tmp_path: Path) -> None:
    complaints = [complaint for case in hostile.cases(tmp_path, 0, 0, hostile.FORMATS) for complaint in case.complaints]
    assert complaints == []


@pytest.mark.parametrize(
    "content",
    [b"a\x1b[31mb", b"\x9b", b"a\xc2\x9bb", b"\xe2\x80\xae", b"x\rerror", b"error: all is lost\n", b"Traceback (most"],
)
def test_the_tool_sees_what_it_looks_for(content: bytes) -> None:
    assert list(hostile.said_wrong(content, coloured=False))


def test_colours_of_ours_are_no_complaint_where_they_are_asked_for() -> None:
    assert not list(hostile.said_wrong(b"\x1b[1mweight\x1b[0m\n", coloured=True))
    assert list(hostile.said_wrong(b"\x1b[2Jweight\n", coloured=True))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.py", "LAYERS = {'a': print(1)}\n"),
        ("a.py", "'doc'\nfor x in y: pass\n"),
        ("a.csv", "parameter,zeros\n=1+1,2\n"),
        ("a.csv", 'parameter,zeros\n"a\nb",2\n'),
        ("a.json", '"\u202e"\n'),
    ],
)
def test_the_tool_sees_what_is_wrong_with_a_file(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert list(hostile.file_wrong(tmp_path / name))


@pytest.mark.skipif(chromium() is None, reason="Chromium is not installed")
def test_the_browser_sees_dialogs_requests_and_complaints(tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text("<script>alert(1); console.error('x'); nothing()</script><img src='http://127.0.0.1:9/x'>")
    program = chromium()
    assert program is not None
    with browser(program) as opened:
        seen: Seen = opened.visit(page, "1 + 1")
    assert seen.dialogs == ["1"] and seen.requests == ["http://127.0.0.1:9/x"] and seen.answers == [2]
    assert any("nothing" in complaint for complaint in seen.complaints)
